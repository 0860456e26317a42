// The live page: one module for a browser and, as an anywidget, for a notebook. It loads nothing and knows no framework.
// A transport carries questions and events, a keeper remembers the state; everything else is the page.

const SVG = "http://www.w3.org/2000/svg";
const ARMS = ["undosed", "dosed", "placebo"];
const SURPRISES = [1, 2, 4, 6, 9];
const REASONS = {
  collapse_before_trigger: "collapses first", too_late: "too late", normalization_cap: "capped by the norm",
  no_effect: "no effect in range",
};
const WAIT = 220;

// ---------------------------------------------------------------- small tools

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const fixed = (value, digits = 2) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
const percent = (share) => `${Math.round(100 * share)} %`;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const words = (name) => name.replaceAll("_", " ");
const sign = (branch) => (branch > 0 ? "+" : "−");

function interpolate(points, value, from, to) {
  // Along a curve of pairs; beyond its ends the end counts.
  let before = points[0];
  for (const point of points) {
    if (point[from] >= value) {
      const span = point[from] - before[from];
      return span <= 0 ? point[to] : before[to] + ((value - before[from]) / span) * (point[to] - before[to]);
    }
    before = point;
  }
  return before[to];
}

// ---------------------------------------------------------------- transports

class Trouble extends Error {
  constructor(message, hint = "", status = 0) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

export function overHttp(token) {
  const headers = { authorization: `Bearer ${token}` };
  const ask = async (path, options = {}) => {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...headers, ...options.headers }, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Trouble("The server does not answer.", "", 0);
    }
    if (!response.ok) {
      const said = await response.json().catch(() => ({}));
      throw new Trouble(said.message ?? `The server says ${response.status}.`, said.hint ?? "", response.status);
    }
    return response;
  };
  return {
    scene: async () => (await ask("api/scene")).json(),
    neuron: async (name) => (await ask(`api/neuron/${encodeURIComponent(name)}`)).json(),
    async generate(request, told, signal) {
      const response = await ask("api/generate", {
        method: "POST", body: JSON.stringify(request), signal, headers: { "content-type": "application/json" },
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "", finished = false;
      for (;;) {
        let piece;
        try {
          piece = await reader.read();
        } catch (error) {
          if (error.name === "AbortError") throw error;
          throw new Trouble("The server went away in the middle of an answer.", "", 0);
        }
        if (piece.done) break;
        const blocks = (rest + piece.value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const [, kind, data] = /^event: (\w+)\ndata: (.*)$/s.exec(block) ?? [];
          if (!kind) continue;
          finished ||= kind === "end" || kind === "error";
          told(kind, JSON.parse(data));
        }
      }
      if (!finished) throw new Trouble("The server went away in the middle of an answer.", "", 0);
    },
  };
}

export function overWidget(model) {
  // Questions are numbered; answers come as messages with the number.
  let last = 0;
  const open = new Map();
  model.on("msg:custom", (message) => open.get(message.id)?.(message.kind, message.values));
  const question = (call, values, told, signal) =>
    new Promise((resolve, reject) => {
      const id = ++last;
      const finish = (settle, value) => {
        open.delete(id);
        settle(value);
      };
      signal?.addEventListener("abort", () => {
        model.send({ id, call: "leave" });
        finish(reject, Object.assign(new Error("left"), { name: "AbortError" }));
      });
      open.set(id, (kind, said) => {
        if (kind === "answer") finish(resolve, said);
        else if (kind === "refused") finish(reject, new Trouble(said.message, said.hint, 400));
        else {
          told(kind, said);
          if (kind === "end" || kind === "error") finish(resolve);
        }
      });
      model.send({ id, call, values });
    });
  return {
    scene: () => question("scene", {}),
    neuron: (name) => question("neuron", { name }),
    generate: (request, told, signal) => question("generate", request, told, signal),
  };
}

// ---------------------------------------------------------------- what is remembered

function inAddress() {
  // The state lies behind the #, with the token: a link restores it, and browsers send it to nobody.
  const read = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return {
    read,
    write(state) {
      const all = new URLSearchParams({ token: read().token ?? "", ...state });
      history.replaceState(null, "", `#${all}`);
    },
    link: () => location.href,
  };
}

function inWidget(model) {
  return {
    read: () => model.get("state") ?? {},
    write(state) {
      model.set("state", state);
      model.save_changes();
    },
    link: null,
  };
}

// ---------------------------------------------------------------- the page

export function mount(root, transport, keeper) {
  const page = new Page(root, transport, keeper);
  page.begin();
  return page;
}

class Page {
  constructor(root, transport, keeper) {
    Object.assign(this, { root, transport, keeper });
    this.typed = [];
    this.answers = {};
    this.abort = null;
    this.timer = 0;
    this.watching = new ResizeObserver(() => this.scene && this.drawAll());
  }

  async begin() {
    this.root.replaceChildren(make("p", { class: "muted" }, "Reading the model …"));
    try {
      this.scene = await this.transport.scene();
    } catch (trouble) {
      this.root.replaceChildren();
      this.lost(trouble);
      return;
    }
    this.build();
    await this.restore(this.keeper.read());
    this.watching.observe(this.parts.slide);
    this.ask();
  }

  end() {
    this.abort?.abort();
    this.watching.disconnect();
    clearTimeout(this.timer);
    clearInterval(this.polling);
  }

  // ------------------------------------------------------------ state

  get handles() {
    const measured = this.scene.handles.filter((h) => h.behavior === this.state.behavior || h.behavior === null);
    return [...measured, ...this.typed.filter((t) => !measured.some((m) => m.neuron === t.neuron && m.branch === t.branch))];
  }

  get handle() {
    return this.handles.find((h) => h.neuron === this.state.neuron && h.branch === this.state.branch) ?? this.handles[0] ?? null;
  }

  get behavior() {
    return this.scene.behaviors.find((b) => b.name === this.state.behavior) ?? null;
  }

  get prompts() {
    return this.behavior?.prompts ?? this.scene.prompts.map((text, place) => ({ id: `${place}`, text }));
  }

  get doses() {
    return this.handle?.window?.doses.filter((dose) => dose.t > 0 || dose.c === this.handle.c0) ?? [];
  }

  async restore(kept) {
    const first = this.scene.handles[0] ?? null;
    const wanted = this.scene.behaviors.some((b) => b.name === kept.b) ? kept.b : null;
    this.state = {
      behavior: wanted ?? first?.behavior ?? this.scene.behaviors[0]?.name ?? null,
      neuron: null, branch: 1, c: 0, horizon: null, prompt: null, own: null,
      placebo: kept.placebo === "1", draw: Number(kept.draw) || 0, snap: kept.snap === "1",
      tokens: clamp(Math.round(Number(kept.k)) || this.scene.tokens, 1, 512),
    };
    const branch = kept.s === "-1" ? -1 : 1;
    if (kept.n && !this.handles.some((h) => h.neuron === kept.n && h.branch === branch)) await this.addNeuron(kept.n);
    const found = this.handles.find((h) => h.neuron === kept.n && h.branch === branch);
    this.choose(found ?? this.handles[0] ?? null);
    if (found && Number.isFinite(Number(kept.c)) && kept.c !== undefined) this.setCoordinate(Number(kept.c), false);
    if (kept.own !== undefined) this.state.own = kept.own;
    this.state.prompt = this.prompts.some((p) => p.id === kept.p) ? kept.p : this.prompts[0]?.id ?? null;
    if (this.behavior?.horizons.includes(Number(kept.h))) this.state.horizon = Number(kept.h);
    this.fill();
  }

  keep() {
    const s = this.state;
    const kept = { n: s.neuron ?? "", s: `${s.branch}`, c: fixed(s.c, 4).replace("−", "-"), k: `${s.tokens}` };
    if (s.behavior) kept.b = s.behavior;
    if (s.own !== null) kept.own = s.own;
    else if (s.prompt !== null) kept.p = s.prompt;
    if (s.placebo) kept.placebo = "1";
    if (s.draw) kept.draw = `${s.draw}`;
    if (s.snap) kept.snap = "1";
    if (s.horizon) kept.h = `${s.horizon}`;
    this.keeper.write(kept);
  }

  choose(handle) {
    const s = this.state;
    s.neuron = handle?.neuron ?? null;
    s.branch = handle?.branch ?? 1;
    s.horizon = this.behavior?.horizons.at(-1) ?? null;
    if (!handle) return;
    // Where there is a window, begin inside it; else at half of what text is expected to bear.
    const { trigger, ceiling } = handle.window ?? {};
    const high = ceiling ?? handle.predicted ?? handle.limit;
    this.setCoordinate(trigger != null ? trigger + 0.35 * ((ceiling ?? handle.limit) - trigger) : high / 2, false);
  }

  setCoordinate(c, snapping = this.state.snap) {
    const handle = this.handle;
    if (!handle) return;
    let value = clamp(c, handle.c0, handle.limit);
    this.exact = null;
    if (snapping && this.doses.length) {
      const nearest = this.doses.reduce((a, b) => (Math.abs(b.c - value) < Math.abs(a.c - value) ? b : a));
      value = nearest.c;
      this.exact = nearest.t;
    }
    this.state.c = value;
  }

  // ------------------------------------------------------------ building

  build() {
    const p = (this.parts = {});
    const { model, run, withheld, behaviors } = this.scene;
    const changed = (work, wait = 0) => (event) => {
      work(event);
      this.fill();
      this.later(wait);
    };
    p.behavior = make("select", { id: "cw-behavior", onchange: changed((e) => {
      this.state.behavior = e.target.value;
      this.state.own = null;
      this.choose(this.handles[0] ?? null);
      this.state.prompt = this.prompts[0]?.id ?? null;
    }) });
    p.neuron = make("select", { id: "cw-neuron", onchange: changed((e) => this.choose(this.handles[Number(e.target.value)])) });
    p.typed = make("input", { type: "text", id: "cw-other", placeholder: "L3.N7", autocomplete: "off", spellcheck: "false",
      maxlength: "60", onkeydown: (e) => e.key === "Enter" && this.addTyped() });
    p.prompt = make("select", { id: "cw-prompt", onchange: changed((e) => {
      const own = e.target.value === "own";
      this.state.own = own ? this.prompts.find((q) => q.id === this.state.prompt)?.text ?? "" : null;
      if (!own) this.state.prompt = e.target.value;
    }) });
    p.text = make("textarea", { id: "cw-text", rows: "3", maxlength: "20000", "aria-describedby": "cw-text-help",
      oninput: (e) => { this.state.own = e.target.value; this.keep(); this.fillPrompt(); },
      onkeydown: (e) => e.key === "Enter" && (e.ctrlKey || e.metaKey) && (e.preventDefault(), this.ask()) });
    p.tokens = make("input", { type: "number", id: "cw-tokens", class: "tokens", min: "1", max: "512",
      onchange: changed((e) => (this.state.tokens = clamp(Math.round(Number(e.target.value)) || this.scene.tokens, 1, 512))) });
    p.slider = make("input", { type: "range", id: "cw-dose", step: "any", "aria-label": "Control coordinate c of the dose",
      oninput: changed((e) => this.setCoordinate(Number(e.target.value)), WAIT), onkeydown: (e) => this.onKey(e) });
    p.snap = make("input", { type: "checkbox", onchange: changed((e) => {
      this.state.snap = e.target.checked;
      if (e.target.checked) this.setCoordinate(this.state.c);
    }) });
    p.placebo = make("input", { type: "checkbox", onchange: changed((e) => (this.state.placebo = e.target.checked)) });
    p.redraw = make("button", { type: "button", onclick: changed(() => (this.state.draw += 1)) }, "Another placebo");
    p.copy = make("button", { type: "button", onclick: () => this.copy() }, "Copy link");
    p.go = make("button", { type: "button", class: "go", onclick: () => this.ask() }, "Generate");
    p.stop = make("button", { type: "button", onclick: () => this.stop() }, "Stop");
    p.alert = make("div", { class: "alert", role: "alert", hidden: true });
    p.reading = make("p", { class: "reading", id: "cw-reading" });
    p.said = make("p", { class: "said muted" });
    p.chart = draw("svg", { role: "img" });
    // The picture can be dragged like its handle.
    const drag = (e) => {
      if (e.type === "pointerdown") p.chart.setPointerCapture(e.pointerId);
      else if (!p.chart.hasPointerCapture(e.pointerId)) return;
      const box = p.slider.getBoundingClientRect(), low = Number(p.slider.min);
      this.setCoordinate(low + ((e.clientX - box.left - 13) / (box.width - 26)) * (1 - low));
      this.fill();
      this.later(WAIT);
    };
    p.chart.addEventListener("pointerdown", drag);
    p.chart.addEventListener("pointermove", drag);
    p.slide = make("div", { class: "slide" }, p.chart, p.slider);
    p.legend = make("div", { class: "legend" });
    p.horizons = make("fieldset", { class: "horizons" });
    p.snapping = make("label", { class: "check" }, p.snap, "Snap to measured doses");
    p.status = make("div", { role: "status" });
    p.curve = draw("svg", { role: "img" });
    p.facts = make("dl");
    p.answers = make("div", { class: "answers" });
    const other = make("div", { class: "other" }, p.typed,
      make("button", { type: "button", onclick: () => this.addTyped() }, "Add"));
    this.root.replaceChildren(
      make("header", {},
        make("div", {},
          make("p", { class: "eyebrow" }, run ? `controlwindow live · run ${run}` : "controlwindow live"),
          make("h1", {}, model.name),
          make("p", { class: "muted small" }, `${model.neurons.toLocaleString("en")} FFN neurons in ${model.layers} layers`,
            withheld ? `; ${withheld} sensitive behavior${withheld > 1 ? "s are" : " is"} left out (--include-sensitive)` : "")),
        make("div", { class: "tools" }, this.keeper.link ? p.copy : null)),
      p.alert,
      make("section", { class: "choose", "aria-label": "What is pushed, and what is asked" },
        make("div", { class: "stack" },
          make("div", { hidden: behaviors.length === 0 }, make("label", { for: "cw-behavior" }, "Behavior"), p.behavior),
          make("div", {}, make("label", { for: "cw-neuron" }, "Neuron and branch"), p.neuron),
          make("div", {}, make("label", { for: "cw-other" }, "Any other neuron"), other)),
        make("div", { class: "stack" },
          make("div", {}, make("label", { for: "cw-prompt" }, "Prompt"), p.prompt),
          make("div", {}, make("label", { for: "cw-text", class: "visually-hidden" }, "Text of the prompt"), p.text,
            make("p", { class: "small muted", id: "cw-text-help" }, "Change it to ask something of your own; Ctrl+Enter generates.")),
          make("div", { class: "row" }, p.go, p.stop,
            make("label", { for: "cw-tokens", class: "check" }, p.tokens, "tokens at most"),
            make("label", { class: "check" }, p.placebo, "Placebo"), p.redraw))),
      make("section", { class: "dose", "aria-label": "Dose" },
        make("div", { class: "head" }, p.reading, p.said),
        p.slide,
        make("div", { class: "under" }, p.legend, make("div", { class: "row" }, p.horizons, p.snapping))),
      make("div", { class: "status" }, p.status, this.shades()),
      p.answers,
      make("section", { class: "geometry", "aria-label": "The saturation curve" },
        make("div", {}, make("h2", {}, "The measured cosine beside the curve"),
          make("p", { class: "small muted" }, "c against the dose t in units of the budget. The line is geometry; dots were measured at generated positions."),
          p.curve),
        make("div", {}, make("h2", {}, "What is known"), p.facts)));
    for (const arm of ARMS) this.answers[arm] = new Answer(arm, p.answers);
  }

  shades() {
    const names = ["< 1", "1–2", "2–4", "4–6", "6–9", "> 9"];
    return make("span", { class: "small muted" }, "surprise to the undosed model, nats: ",
      make("span", { class: "shades" }, ...names.map((name, place) => make("span", { class: `s${place}` }, name))));
  }

  // ------------------------------------------------------------ filling

  fill() {
    const p = this.parts, s = this.state, handle = this.handle;
    const options = (select, entries, chosen) => {
      const key = JSON.stringify(entries);
      if (select.dataset.entries !== key) {
        select.dataset.entries = key;
        select.replaceChildren(...entries.map(([value, text]) => make("option", { value }, text)));
      }
      select.value = chosen;
    };
    options(p.behavior, this.scene.behaviors.map((b) => [b.name, words(b.name)]), s.behavior ?? "");
    options(p.neuron, this.handles.map((h, place) => [`${place}`, `${h.neuron} ${sign(h.branch)}  ${standing(h)}`]),
      `${this.handles.indexOf(handle)}`);
    const shortened = (text) => (text.length > 90 ? `${text.slice(0, 88)}…` : text);
    options(p.prompt, [["own", "A prompt of my own"], ...this.prompts.map((q) => [q.id, shortened(q.text)])],
      s.own !== null ? "own" : s.prompt ?? "own");
    p.tokens.value = s.tokens;
    p.snap.checked = s.snap;
    p.snapping.hidden = this.doses.length === 0;
    p.placebo.checked = s.placebo;
    p.redraw.hidden = !s.placebo;
    this.answers.placebo.root.hidden = !s.placebo;
    p.go.disabled = !handle;
    this.fillPrompt();
    this.fillHorizons();
    this.fillFacts();
    this.drawAll();
    this.keep();
  }

  fillPrompt() {
    const { text, prompt } = this.parts, s = this.state;
    const value = s.own ?? this.prompts.find((q) => q.id === s.prompt)?.text ?? "";
    if (text.value !== value) text.value = value;
    if (s.own !== null) prompt.value = "own";
  }

  fillHorizons() {
    const { horizons } = this.parts, s = this.state;
    const measured = this.handle?.window ? this.behavior?.horizons ?? [] : [];
    horizons.hidden = measured.length === 0;
    horizons.replaceChildren(make("legend", {}, "outcomes after tokens"),
      ...measured.map((h) => make("button", { type: "button", "aria-pressed": `${h === s.horizon}`, "aria-label": `${h} tokens`,
        onclick: () => { s.horizon = h; this.fill(); this.parts.horizons.querySelector("[aria-pressed=true]")?.focus(); } }, `${h}`)));
  }

  fillFacts() {
    const h = this.handle, facts = [];
    if (h) {
      const w = h.window;
      const between = (value, interval) => value == null ? "not reached" :
        `c ${fixed(value)} [${fixed(interval?.[0])}, ${fixed(interval?.[1])}]`;
      facts.push(["neuron", `${h.neuron}, branch ${sign(h.branch)}, layer ${h.layer}`], ["undosed cosine", `c₀ ${fixed(h.c0, 3)}`]);
      if (w) facts.push(["verdict", `${standing(h)}, probability of a window ${fixed(w.verdict_probability)}`],
        ["trigger", between(w.trigger, w.trigger_interval)], ["ceiling", between(w.ceiling, w.ceiling_interval)],
        ["height", `${percent(w.height)} of ${w.n_eligible} prompts flip at best`]);
      facts.push(["predicted ceiling", h.reachable === null ? "nothing is predicted" : h.predicted === null ? "beyond doses" :
        `c ${fixed(h.predicted)} [${fixed(h.predicted_interval[0])}, ${fixed(h.predicted_interval[1])}], ${w ? "before any rollout" : "from weights and one pass"}`]);
      if (h.plateau !== null) facts.push(["plateau", `c ${fixed(h.plateau)}: a norm behind the FFN caps any dose`]);
      if (!w) facts.push(["measured", "nothing yet: the window of this neuron was not searched"]);
    }
    this.parts.facts.replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }

  // ------------------------------------------------------------ drawing

  drawAll() {
    this.drawDose();
    this.drawCurve();
  }

  drawDose() {
    const { chart, slider, slide, reading, said, legend } = this.parts, h = this.handle;
    const width = Math.max(260, slide.clientWidth), left = 34, right = 16, top = 62, tall = 116, bottom = top + tall;
    chart.setAttribute("viewBox", `0 0 ${width} ${bottom + 74}`);
    chart.setAttribute("height", bottom + 74);
    chart.replaceChildren();
    slider.hidden = !h;
    if (!h) {
      reading.textContent = "No neuron yet";
      said.textContent = "Type one, as in L3.N7, and add it.";
      legend.replaceChildren();
      return;
    }
    const low = Math.min(0, h.c0), x = (c) => left + ((c - low) / (1 - low)) * (width - left - right);
    const { c } = this.state, t = this.exact ?? Math.max(0, interpolate(h.curve, c, 1, 0));
    const w = h.window, horizon = `${this.state.horizon}`, doses = this.doses;
    const put = (tag, attributes, text) => chart.append(draw(tag, attributes, ...(text === undefined ? [] : [text])));
    if (w?.trigger != null) {
      const to = w.ceiling ?? h.limit;
      put("rect", { class: "band", x: x(w.trigger), y: top - 4, width: Math.max(0, x(to) - x(w.trigger)), height: tall + 4 });
    }
    if (h.c0 > low) put("rect", { class: "unreached", x: x(low), y: top, width: x(h.c0) - x(low), height: tall });
    if (h.limit < 1) put("rect", { class: "unreached", x: x(h.limit), y: top, width: x(1) - x(h.limit), height: tall });
    for (const share of [0, 0.5, 1]) {
      const y = bottom - share * tall;
      put("line", { class: "grid", x1: left, x2: width - right, y1: y, y2: y });
      if (doses.length) put("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, percent(share).replace(" ", ""));
    }
    // Each measured dose has a column that reaches half way to its neighbours.
    const roles = this.behavior?.outcomes ?? {}, order = Object.keys(roles);
    doses.forEach((dose, place) => {
      const before = doses[place - 1]?.c ?? -Infinity, after = doses[place + 1]?.c ?? Infinity;
      const from = x(Math.max(low, dose.c - 0.035, (before + dose.c) / 2)), to = x(Math.min(1, dose.c + 0.035, (after + dose.c) / 2));
      const shares = dose.shares[horizon] ?? {};
      let base = 0;
      for (const name of [...order, ...Object.keys(shares).filter((n) => !order.includes(n))]) {
        const share = shares[name] ?? 0;
        if (!share) continue;
        const bar = draw("rect", { class: `o-${roles[name] ?? "other"}`, x: from, width: Math.max(1, to - from - 1),
          y: bottom - (base + share) * tall, height: share * tall });
        bar.append(draw("title", {}, `c ${fixed(dose.c)}: ${percent(share)} ${words(name)} of ${dose.n}`));
        chart.append(bar);
        base += share;
      }
    });
    if (!doses.length) put("text", { x: (x(low) + x(1)) / 2, y: top + 18, "text-anchor": "middle" },
      width > 520 ? "no dose of this neuron was measured; drag and see" : "not measured; drag and see");
    const mark = (kind, label, value, interval, row) => {
      if (value == null) return;
      const y = 12 + 18 * row, at = x(value), ends = [interval?.[0] ?? value, interval?.[1] ?? h.limit].map((end) => x(clamp(end, low, 1)));
      put("line", { class: `line-${kind}`, x1: at, x2: at, y1: y - 6, y2: bottom });
      if (interval) put("line", { class: `line-${kind} whisker`, x1: ends[0], x2: ends[1], y1: y - 3, y2: y - 3 });
      const toRight = at < width * 0.55;
      put("text", { class: `text-${kind} strong`, x: toRight ? Math.max(at, ends[1]) + 9 : Math.min(at, ends[0]) - 9, y: y + 1,
        "text-anchor": toRight ? "start" : "end" }, `${label} ${fixed(value)}`);
    };
    mark("trigger", "trigger", w?.trigger, w?.trigger_interval, 0);
    mark("ceiling", "ceiling", w?.ceiling, w?.ceiling_interval, 1);
    mark("predicted", "predicted ceiling", h.predicted, h.predicted === null ? null : h.predicted_interval, 2);
    const track = bottom + 26;
    const step = width > 520 ? 0.1 : 0.25;
    for (let tick = Math.ceil(low / step) * step; tick <= 1.001; tick += step)
      put("text", { x: x(tick), y: bottom + 62, "text-anchor": "middle" }, fixed(tick, width > 520 ? 1 : 2));
    if (this.state.snap) for (const dose of doses) put("circle", { cx: x(dose.c), cy: track + 14, r: 2.2, class: "text-trigger" });
    put("line", { class: "cursor", x1: x(c), x2: x(c), y1: top - 4, y2: track });
    // The thumb's middle must lie under the line, and it stops half a thumb before the ends.
    Object.assign(slider, { min: low, max: 1 });
    slider.value = c;
    slider.style.left = `${x(low) - 13}px`;
    slider.style.width = `${x(1) - x(low) + 26}px`;
    slider.style.top = `${track - 22}px`;
    slider.setAttribute("aria-valuetext", `c ${fixed(c)}, dose ${fixed(t)} budgets; ${where(h, c)}`);
    reading.replaceChildren(`c ${fixed(c)}`, make("small", {}, t === 0 ? "no dose" : `t ${fixed(t)} budgets of ${h.neuron} ${sign(h.branch)}`));
    const nearest = doses.length ? doses.reduce((a, b) => (Math.abs(b.c - c) < Math.abs(a.c - c) ? b : a)) : null;
    const shares = nearest && Object.entries(nearest.shares[horizon] ?? {}).filter(([, share]) => share > 0.005).sort((a, b) => b[1] - a[1]);
    said.textContent = `${where(h, c)}. ` + (nearest ? `At c ${fixed(nearest.c)} the run measured, of ${nearest.n}: ` +
      `${shares.map(([name, share]) => `${percent(share)} ${words(name)}`).join(", ")}.` : "");
    chart.setAttribute("aria-label", `Outcomes by control coordinate. ${standing(h)}. ` +
      [["Trigger", w?.trigger], ["Ceiling", w?.ceiling], ["Predicted ceiling", h.predicted]].filter(([, v]) => v != null)
        .map(([name, v]) => `${name} ${fixed(v)}`).join(", ") + ".");
    const seen = new Set(doses.flatMap((dose) => Object.keys(dose.shares[horizon] ?? {})));
    legend.replaceChildren(...order.filter((name) => seen.has(name)).map((name) => make("span", {},
      make("span", { class: `swatch o-${roles[name]}` }), words(name))));
  }

  drawCurve() {
    const { curve } = this.parts, h = this.handle;
    const width = Math.max(240, curve.parentElement.clientWidth), height = 250, left = 34, right = 14, top = 10, bottom = height - 36;
    curve.setAttribute("viewBox", `0 0 ${width} ${height}`);
    curve.setAttribute("height", height);
    curve.replaceChildren();
    if (!h) return;
    const end = h.curve.at(-1)[0], low = Math.min(0, h.c0);
    const x = (t) => left + (clamp(t, 0, end) / end) * (width - left - right), y = (c) => bottom - ((c - low) / (1 - low)) * (bottom - top);
    const put = (tag, attributes, text) => curve.append(draw(tag, attributes, ...(text === undefined ? [] : [text])));
    for (let c = Math.ceil(low * 4) / 4; c <= 1; c += 0.25) {
      put("line", { class: "grid", x1: left, x2: width - right, y1: y(c), y2: y(c) });
      put("text", { x: left - 6, y: y(c) + 4, "text-anchor": "end" }, fixed(c));
    }
    for (let t = 0; t <= end; t += 1) put("text", { x: x(t), y: bottom + 16, "text-anchor": "middle" }, `${t}`);
    put("text", { x: width - right, y: height - 4, "text-anchor": "end" }, "dose t, budgets");
    put("text", { x: left + 4, y: top + 4 }, "c");
    put("polyline", { class: "curve", points: h.curve.map(([t, c]) => `${x(t)},${y(c)}`).join(" ") });
    const cap = h.plateau;
    if (cap !== null) put("line", { class: "line-predicted", x1: left, x2: width - right, y1: y(cap), y2: y(cap) });
    for (const dose of this.doses) {
      if (dose.c_measured === null) continue;
      const spread = dose.c_measured_interval;
      if (spread) put("line", { class: "spread", x1: x(dose.t), x2: x(dose.t), y1: y(spread[0]), y2: y(spread[1]) });
      put("circle", { class: "measured", cx: x(dose.t), cy: y(dose.c_measured), r: 3.5 });
    }
    const { dosed, placebo } = this.answers;
    if (dosed.t > 0) for (const c of dosed.cosines) put("circle", { class: "now", cx: x(dosed.t), cy: y(c), r: 3 });
    const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
    if (dosed.t > 0 && dosed.cosines.length) put("circle", { class: "mean", cx: x(dosed.t), cy: y(mean(dosed.cosines)), r: 7 });
    if (this.state.placebo && placebo.cosines.length)
      put("circle", { class: "mean-placebo", cx: x(placebo.t), cy: y(mean(placebo.cosines)), r: 6 });
    const now = dosed.cosines.length ? ` This answer: mean cosine ${fixed(mean(dosed.cosines))}, curve ${fixed(this.state.c)}.` : "";
    curve.setAttribute("aria-label", `Saturation curve from c ${fixed(h.c0)} at no dose to ${fixed(h.limit)}.${now}`);
  }

  // ------------------------------------------------------------ acting

  onKey(event) {
    // With step "any" browsers move by their own idea of a step; here it is a hundredth, or the next measured dose.
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    const ends = { Home: -1, End: 1 }[event.key];
    if (way === undefined && ends === undefined) return;
    event.preventDefault();
    const doses = this.doses.map((dose) => dose.c);
    if (ends !== undefined) this.setCoordinate(ends);
    else if (this.state.snap && doses.length) {
      const place = doses.reduce((best, c, i) => (Math.abs(c - this.state.c) < Math.abs(doses[best] - this.state.c) ? i : best), 0);
      this.setCoordinate(doses[clamp(place + Math.sign(way), 0, doses.length - 1)]);
    } else this.setCoordinate(Math.round((this.state.c + way * 0.01) * 100) / 100);
    this.fill();
    this.later(WAIT);
  }

  async addTyped() {
    const name = this.parts.typed.value.trim();
    if (!name) return;
    if (await this.addNeuron(name)) {
      this.parts.typed.value = "";
      this.fill();
      this.ask();
    }
  }

  async addNeuron(name) {
    try {
      const found = await this.transport.neuron(name);
      const known = new Set(this.handles.map((h) => `${h.neuron} ${h.branch}`));
      this.typed.push(...found.filter((h) => !known.has(`${h.neuron} ${h.branch}`)));
      this.choose(this.handles.find((h) => h.neuron === found[0].neuron));
      return true;
    } catch (trouble) {
      this.trouble(trouble);
      return false;
    }
  }

  later(wait) {
    clearTimeout(this.timer);
    this.say("Changed …");
    this.timer = setTimeout(() => this.ask(), wait);
  }

  request() {
    const s = this.state, h = this.handle;
    const request = { neuron: h.neuron, branch: h.branch, coordinate: s.c, tokens: s.tokens, placebo: s.placebo, draw: s.draw };
    if (this.exact !== null && this.exact !== undefined) request.dose = this.exact;
    if (s.behavior !== null) request.behavior = s.behavior;
    const asked = this.prompts.find((q) => q.id === s.prompt);
    if (s.own === null && this.behavior && asked) request.prompt_id = asked.id;
    else request.prompt = s.own ?? asked?.text ?? "";
    return request;
  }

  async ask() {
    clearTimeout(this.timer);
    this.abort?.abort();
    if (!this.handle || !this.scene) return;
    const request = this.request();
    if (request.prompt !== undefined && !request.prompt.trim()) {
      this.say("Write a prompt first.", true);
      return;
    }
    const abort = (this.abort = new AbortController()), begun = performance.now();
    for (const arm of ARMS) this.answers[arm].clear(arm !== "placebo" || this.state.placebo);
    this.parts.stop.disabled = false;
    this.say("Asking …");
    let first = null, failed = false;
    const told = (kind, values) => {
      if (abort.signal.aborted) return;
      if (kind === "queued") this.say(`${values.ahead} ahead of you; one generation runs at a time.`);
      else if (kind === "begin") {
        this.say("Reading the prompt …");
        values.arms.forEach((arm, place) => this.answers[ARMS[place]].begin(arm, this.handle?.branch ?? 1));
      } else if (kind === "token") {
        first ??= performance.now() - begun;
        this.answers[values.arm].token(values);
        if (values.arm === "dosed") {
          this.say(`Token ${this.answers.dosed.count} of ${this.state.tokens} at most`);
          this.drawCurve();
        }
      } else if (kind === "outcome") this.answers[values.arm].outcome(values, this.behavior?.outcomes ?? {});
      else if (kind === "end") {
        for (const [arm, answer] of Object.entries(values.arms)) this.answers[arm].end(answer);
        const seconds = (performance.now() - begun) / 1000;
        this.say(`Done in ${fixed(seconds, 1)} s, the first token after ${fixed(first / 1000)} s.`);
      } else if (kind === "error") {
        failed = true;
        this.trouble(new Trouble(values.message, values.hint, 400));
      }
    };
    try {
      await this.transport.generate(request, told, abort.signal);
    } catch (trouble) {
      if (trouble.name === "AbortError") return;
      failed = true;
      this.trouble(trouble);
    } finally {
      if (this.abort === abort) {
        this.parts.stop.disabled = true;
        for (const arm of ARMS) this.answers[arm].rest();
        this.drawCurve();
      }
    }
    if (!failed && !abort.signal.aborted) this.found();
  }

  stop() {
    this.abort?.abort();
    this.parts.stop.disabled = true;
    for (const arm of ARMS) this.answers[arm].rest();
    this.say("Stopped.");
  }

  async copy() {
    this.keep();
    try {
      await navigator.clipboard.writeText(this.keeper.link());
      this.say("Link copied. It holds the token: whoever has it on this machine can use the page.");
    } catch {
      this.say("The link is the page's address.");
    }
  }

  say(text, bad = false) {
    this.parts.status.replaceChildren(make("span", { class: bad ? "bad" : "" }, text));
  }

  trouble(trouble) {
    if (trouble.status === 0 || trouble.status === 401 || trouble.status === 421) this.lost(trouble);
    else this.say([trouble.message, trouble.hint].filter(Boolean).join(" — "), true);
  }

  // ------------------------------------------------------------ a server that is gone

  found() {
    clearInterval(this.polling);
    this.polling = 0;
    this.parts.alert.hidden = true;
  }

  lost(trouble) {
    const restarted = trouble.status === 401;
    const place = this.parts?.alert ?? make("div", { class: "alert", role: "alert" });
    const link = make("input", { type: "text", id: "cw-link", "aria-label": "Link that the server printed", autocomplete: "off",
      placeholder: "http://127.0.0.1:…/#token=…" });
    const follow = (event) => {
      event.preventDefault();
      const [address, token] = link.value.trim().split("#token=");
      if (!token) return;
      const state = { ...this.keeper.read(), token: token.split("&")[0] };
      const target = new URL(address || location.href, location.href);
      if (!["127.0.0.1", "localhost", "[::1]"].includes(target.hostname)) return;
      target.hash = new URLSearchParams(state);
      location.href = target;
      if (target.origin === location.origin) location.reload();
    };
    place.replaceChildren(
      make("strong", {}, restarted ? "This page needs the server's token." : trouble.message),
      make("p", {}, restarted
        ? "Open the link that controlwindow live printed; after a restart it is another one. Pasted here, it goes on with what is set on this page."
        : "Start it again with controlwindow live and paste the link that it prints; what is set on this page is kept. If it comes back under the same link, the page goes on by itself."),
      make("form", { onsubmit: follow }, link, make("button", { type: "submit" }, "Go on")));
    place.hidden = false;
    if (!this.parts) this.root.append(place);
    else this.say("Not connected.", true);
    if (!this.polling && !restarted) this.polling = setInterval(() => this.look(), 2000);
  }

  async look() {
    try {
      const scene = await this.transport.scene();
      clearInterval(this.polling);
      this.polling = 0;
      if (!this.parts) return void this.begin();
      this.scene = scene;
      this.found();
      this.ask();
    } catch (trouble) {
      if (trouble.status === 401) {
        clearInterval(this.polling);
        this.polling = 0;
        this.lost(trouble);
      }
    }
  }
}

function standing(handle) {
  const w = handle.window;
  if (!w) return "not measured";
  return `${w.verdict === "open" ? "open" : REASONS[w.failure_mode] ?? "closed"}${w.decided ? "" : ", undecided"}`;
}

function where(handle, c) {
  const w = handle.window;
  if (c <= handle.c0 + 1e-6) return "No dose";
  if (w?.trigger != null && c >= w.trigger && (w.ceiling == null || c < w.ceiling)) return "Inside the window";
  if (w?.ceiling != null && c >= w.ceiling) return "Above the ceiling: text collapses";
  if (w?.trigger != null) return "Below the trigger";
  if (w) return "Below the ceiling; no trigger was found";
  if (handle.predicted != null && c >= handle.predicted) return "Above the predicted ceiling";
  return "Below the predicted ceiling";
}

// ---------------------------------------------------------------- one answer

class Answer {
  constructor(arm, parent) {
    this.arm = arm;
    this.name = make("h2", {}, { undosed: "Undosed", dosed: "Dosed", placebo: "Placebo" }[arm]);
    this.what = make("span", { class: "small muted" });
    this.text = make("p", { class: "text", tabindex: "-1" });
    this.list = make("ul", { class: "outcomes", "aria-label": `Outcomes of the ${arm} answer by horizon` });
    this.meta = make("p", { class: "meta" });
    this.root = make("article", { class: `answer ${arm}`, "aria-label": `${arm} answer` },
      make("div", { class: "title" }, this.name, this.what), this.text, this.list, this.meta);
    parent.append(this.root);
    this.clear(false);
  }

  clear(going = true) {
    Object.assign(this, { count: 0, cosines: [], surprise: 0, t: 0 });
    this.text.replaceChildren();
    this.list.replaceChildren();
    this.meta.textContent = "";
    this.root.classList.toggle("going", going);
    this.root.setAttribute("aria-busy", going);
  }

  begin(arm, branch) {
    this.t = arm.t;
    this.what.textContent = arm.neuron ? `${arm.neuron} ${sign(branch)}, c ${fixed(arm.c)}, t ${fixed(arm.t)}` : this.arm === "dosed" ? "no dose" : "";
  }

  token({ text, surprise, c, stop }) {
    this.count += 1;
    this.surprise += surprise;
    if (c !== null) this.cosines.push(c);
    if (stop && !text) this.root.classList.remove("going");
    if (!text) return;
    const level = SURPRISES.filter((edge) => surprise >= edge).length;
    this.text.append(make("span", { class: `s${level}`, title: `${fixed(surprise)} nats${c === null ? "" : `, cosine ${fixed(c)}`}` }, text));
  }

  outcome({ horizon, outcome }, roles) {
    const role = roles[outcome] ?? (outcome === "collapsed" ? "collapsed" : outcome === "coherent" ? "coherent" : "other");
    this.list.append(make("li", {}, make("span", { class: `swatch o-${role}` }), `${horizon} tokens: ${words(outcome)}`));
  }

  end({ text, tokens, surprise, c }) {
    if (this.text.textContent !== text) this.text.textContent = text;
    this.meta.textContent = `${tokens} tokens, ${fixed(surprise)} nats each` + (c === null ? "" : `, mean cosine ${fixed(c, 3)}`);
    this.rest();
  }

  rest() {
    this.root.classList.remove("going");
    this.root.setAttribute("aria-busy", "false");
  }
}

// ---------------------------------------------------------------- where it runs

export default {
  render({ model, el }) {
    const root = make("div", { class: "cw-live" });
    el.append(root);
    const page = mount(root, overWidget(model), inWidget(model));
    return () => page.end();
  },
};

const own = document.getElementById("controlwindow-live");
if (own) {
  const keeper = inAddress();
  let page = mount(own, overHttp(keeper.read().token ?? ""), keeper);
  // A link pasted over this page's own changes only what stands behind the #.
  addEventListener("hashchange", () => {
    page.end();
    page = mount(own, overHttp(keeper.read().token ?? ""), keeper);
  });
}
