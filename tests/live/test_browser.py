"""The page as a person uses it, in headless Chromium: read, drag, type, come back. Skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

import controlwindow as cw
from controlwindow.live.widget import Desk
from golden.runs import LANGUAGE

playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
expect = playwright.expect

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
DESKTOP, PHONE = (1280, 900), (390, 844)


def _chromium(player: Any) -> str:
    """The browser: that of CONTROLWINDOW_CHROMIUM, one that is installed, or Playwright's own."""
    installed = filter(None, map(shutil.which, _NAMES))
    for path in (os.environ.get("CONTROLWINDOW_CHROMIUM"), *installed, player.chromium.executable_path):
        if path and os.path.exists(path):
            return str(path)
    pytest.skip("no Chromium here: install one, or name it with CONTROLWINDOW_CHROMIUM")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as player:
        started = player.chromium.launch(executable_path=_chromium(player), args=_QUIET)
        yield started
        started.close()


@pytest.fixture
def tab(browser, served, studio) -> Iterator[Any]:
    """Opens tabs on one server; what a page complains about in the console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_tab(link: str | None = None, size: tuple[int, int] = DESKTOP, dark: bool = False) -> Any:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto(link or open_tab.server.link)
        return page

    open_tab.server = served(studio)
    open_tab.complaints = complaints
    yield open_tab
    for context in contexts:
        context.close()
    assert complaints == []


def done(page: Any) -> None:
    expect(page.get_by_role("status")).to_contain_text("Done in", timeout=30_000)


def answer(page: Any, arm: str) -> Any:
    return page.get_by_role("article", name=f"{arm} answer", exact=True).locator(".text")


def kept(page: Any) -> dict[str, str]:
    return dict(part.split("=", 1) for part in page.url.partition("#")[2].split("&"))


def set_dose(page: Any, c: float) -> None:
    """As a drag does: the value changes and the page is told."""
    page.get_by_role("slider").evaluate(
        "(slider, c) => { slider.value = c; slider.dispatchEvent(new Event('input', {bubbles: true})) }", c
    )


def test_the_texts_are_those_of_rollouts_at_what_is_shown(tab, organism, subject):
    page = tab()
    done(page)
    state = kept(page)
    assert (state["n"], state["s"], state["b"]) == (LANGUAGE, "1", "language")
    curve = cw.generic_pass(organism).curve(organism, LANGUAGE, 1)
    prompt = next(p for p in subject.behaviors["language"].prompts("evaluate") if p.id == state["p"])
    # The address holds c to four digits.
    doses = [None, cw.Dose(LANGUAGE, curve.dose(float(state["c"])))]
    out = cw.rollout(organism, [prompt.text], doses, int(state["k"]))
    assert answer(page, "undosed").text_content() == out.texts[0][0]
    assert answer(page, "dosed").text_content() == out.texts[1][0]
    window = next(h["window"] for h in subject.handles if h["window"]["verdict"] == "open")
    assert window["trigger"] < float(state["c"])
    expect(page.locator("svg").first).to_contain_text(f"trigger {window['trigger']:.2f}")
    expect(page.get_by_text("Inside the window")).to_be_visible()
    expect(page.get_by_role("list", name="Outcomes of the dosed answer by horizon")).to_contain_text(
        "16 tokens: switched"
    )
    expect(page.get_by_role("list", name="Outcomes of the undosed answer")).to_contain_text("16 tokens: unswitched")


def test_dragging_the_handle_changes_the_dose_and_the_text(tab):
    page = tab()
    done(page)
    before = answer(page, "dosed").text_content()
    slider = page.get_by_role("slider")
    box = slider.bounding_box()
    low = float(slider.get_attribute("min"))

    def place(c: float) -> float:
        return box["x"] + 13 + (c - low) / (1 - low) * (box["width"] - 26)

    page.mouse.move(place(float(kept(page)["c"])), box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(place(0.5), box["y"] + box["height"] / 2, steps=4)
    page.mouse.move(place(0.03), box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert float(kept(page)["c"]) == pytest.approx(0.03, abs=0.01)
    expect(answer(page, "dosed")).not_to_have_text(before)
    done(page)
    assert answer(page, "dosed").text_content() == answer(page, "undosed").text_content()
    # Where the handle is let go lies the line of the picture above it.
    line = page.locator("line.cursor").bounding_box()
    assert line["x"] == pytest.approx(place(float(kept(page)["c"])), abs=2)
    picture = page.locator(".slide svg")
    # Playwright waits until the picture lies still, which a new answer may move.
    picture.click(position={"x": place(0.6) - picture.bounding_box()["x"], "y": 90})
    page.wait_for_function("Math.abs(new URLSearchParams(location.hash.slice(1)).get('c') - 0.6) < 0.01")


def test_a_reload_and_a_copied_link_restore_what_was_set(tab):
    page = tab()
    done(page)
    page.get_by_label("Text of the prompt").fill("Tell me about the red fox, please & thank you.")
    page.get_by_label("Neuron and branch").select_option(index=1)
    set_dose(page, 0.31)
    page.get_by_label("Placebo", exact=True).check()
    page.get_by_role("button", name="Another placebo").click()
    page.get_by_label("tokens at most").fill("9")
    page.get_by_label("tokens at most").blur()
    done(page)
    state, texts = kept(page), [answer(page, arm).text_content() for arm in ("undosed", "dosed", "placebo")]
    assert (state["c"], state["k"], state["placebo"], state["draw"], state["s"]) == ("0.3100", "9", "1", "1", "-1")
    page.reload()
    done(page)
    other = tab(page.url)
    done(other)
    for shown in (page, other):
        assert kept(shown) == state
        assert [answer(shown, arm).text_content() for arm in ("undosed", "dosed", "placebo")] == texts
        expect(shown.get_by_label("Text of the prompt")).to_have_value("Tell me about the red fox, please & thank you.")
        expect(shown.get_by_role("article", name="undosed answer")).to_contain_text("9 tokens")


def test_two_tabs_at_once_both_come_to_their_end(tab):
    first, second = tab(), tab()
    done(first)
    done(second)
    for _ in range(2):
        set_dose(first, 0.2)
        set_dose(second, 0.7)
        first.get_by_role("button", name="Generate").click()
        second.get_by_role("button", name="Generate").click()
    done(first)
    done(second)
    assert (kept(first)["c"], kept(second)["c"]) == ("0.2000", "0.7000")
    assert len(tab.server.line) == 0


def test_a_killed_server_is_said_and_what_was_set_goes_on_with_the_next(tab, served, studio):
    page = tab()
    done(page)
    set_dose(page, 0.44)
    done(page)
    tab.server.stop()
    page.get_by_role("button", name="Generate").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("does not answer")
    after = served(studio, "another-token")
    page.get_by_label("Link that the server printed").fill(after.link)
    tab.complaints.clear()
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(f"{after.address}/**")
    done(page)
    expect(alert).to_be_hidden()
    assert kept(page)["c"] == "0.4400"
    tab.complaints[:] = [text for text in tab.complaints if "ERR_CONNECTION_REFUSED" not in text]


def test_without_the_token_the_page_shows_nothing_and_asks_for_the_link(tab):
    page = tab(f"{tab.server.address}/#token=wrong&c=0.2")
    expect(page.get_by_role("alert")).to_contain_text("needs the server's token")
    expect(page.locator("body")).not_to_contain_text("organism")
    page.get_by_label("Link that the server printed").fill(tab.server.link)
    page.get_by_role("button", name="Go on").click()
    done(page)
    tab.complaints[:] = [text for text in tab.complaints if "401" not in text]


def test_keys_alone_reach_and_do_everything(tab, subject):
    page = tab()
    done(page)
    names = []
    for _ in range(30):
        page.keyboard.press("Tab")
        names.append(page.evaluate(FOCUSED))
        if names[-1] == "Control coordinate c of the dose":
            break
    assert {"Behavior", "Neuron and branch", "Prompt", "Text of the prompt", "Generate", "Placebo"} <= set(names)
    before = float(kept(page)["c"])
    page.keyboard.press("ArrowRight")
    assert float(kept(page)["c"]) == pytest.approx(round(before + 0.01, 2), abs=1e-9)
    page.keyboard.press("PageDown")
    assert float(kept(page)["c"]) == pytest.approx(round(before + 0.01, 2) - 0.1, abs=1e-9)
    page.keyboard.press("Home")
    assert float(kept(page)["c"]) == pytest.approx(max(0, subject.handles[0]["c0"]), abs=0.05)
    page.keyboard.press("End")
    assert float(kept(page)["c"]) == pytest.approx(subject.handles[0]["limit"], abs=1e-4)
    done(page)
    # With snapping on, a key goes to the next measured dose, and that very dose is generated.
    page.get_by_label("Snap to measured doses").focus()
    page.keyboard.press("Space")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    doses = sorted(dose["c"] for dose in subject.handles[0]["window"]["doses"])
    assert float(kept(page)["c"]) == pytest.approx(doses[-2], abs=1e-4)
    page.get_by_label("Text of the prompt").focus()
    page.keyboard.press("Control+Enter")
    done(page)


def test_any_other_neuron_and_a_prompt_of_ones_own(tab):
    page = tab()
    done(page)
    page.get_by_label("Any other neuron").fill("L99.N1")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("status")).to_contain_text("L99.N1 is not in organism:switch")
    page.get_by_label("Any other neuron").fill("L2.N5")
    page.keyboard.press("Enter")
    done(page)
    assert kept(page)["n"] == "L2.N5"
    expect(page.get_by_text("nothing yet: the window of this neuron was not searched")).to_be_visible()
    tab.complaints[:] = [text for text in tab.complaints if "400" not in text]
    page.get_by_label("Text of the prompt").fill("<img src=x onerror=alert(1)> Tell me about the red fox.")
    page.get_by_role("button", name="Generate").click()
    done(page)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("own")
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_it_fits_and_can_be_read(tab, size, dark):
    page = tab(size=size, dark=dark)
    page.get_by_label("Placebo", exact=True).check()
    done(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    # Every text stands out from what is behind it (WCAG: 4.5 to 1).
    weak = page.evaluate(CONTRAST)
    assert weak == []
    for target in page.locator("button:visible, select:visible, input[type=range]").all():
        assert target.bounding_box()["height"] >= 24


CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const linear = (v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll('.cw-live *')) {
    const says = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!says || !node.getClientRects().length || node.disabled) continue;
    if (node.closest('svg title, option, .visually-hidden')) continue;
    const style = getComputedStyle(node), ink = parse(node.closest('svg') ? style.fill : style.color);
    const [high, low] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    const ratio = (high + .05) / (low + .05);
    if (ratio < 4.5) found.push(`${node.getAttribute('class')} ${ratio.toFixed(2)} ${node.textContent.slice(0, 30)}`);
  }
  return found;
}"""

FOCUSED = """() => {
  const focused = document.activeElement;
  return focused.getAttribute('aria-label') || focused.labels?.[0]?.textContent || focused.textContent;
}"""


def test_only_its_own_server_is_asked_for_anything(tab, browser):
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(tab.server.link)
    done(page)
    page.close()
    assert asked
    assert all(url.startswith((tab.server.address, "data:")) for url in asked)


NOTEBOOK = """async () => {
  // What anywidget gives a module: messages both ways, and a state that is kept.
  const heard = [], kept = {};
  const model = {
    on: (_name, handler) => heard.push(handler),
    send: async (message) => {
      for (const said of await window.kernel(message)) heard.forEach((handler) => handler(said));
    },
    get: (name) => kept[name],
    set: (name, value) => { kept[name] = value; },
    save_changes: () => { window.state = kept.state; },
  };
  const { default: widget } = await import('/live.js');
  const place = document.createElement('div');
  document.body.replaceChildren(place);
  window.leave = widget.render({ model, el: place });
}"""


def test_in_a_notebook_the_module_speaks_in_messages(tab, studio, organism):
    calls = []

    def kernel(message: dict[str, Any]) -> list[Any]:
        calls.append(message["call"])
        sent: list[Any] = []
        thread = Desk(studio, sent.append).take(message)
        if thread is not None:
            thread.join(60)
        return sent

    page = tab(f"{tab.server.address}/live.css")
    page.expose_function("kernel", kernel)
    page.evaluate(NOTEBOOK)
    done(page)
    assert calls == ["scene", "generate"]
    state = page.evaluate("() => window.state")
    assert (state["n"], state["b"], state["s"]) == (LANGUAGE, "language", "1")
    assert "token" not in state
    curve = cw.generic_pass(organism).curve(organism, LANGUAGE, 1)
    prompt = next(p for p in studio.subject.behaviors["language"].prompts("evaluate") if p.id == state["p"])
    out = cw.rollout(organism, prompt.text, cw.Dose(LANGUAGE, curve.dose(float(state["c"]))), int(state["k"]))
    assert answer(page, "dosed").text_content() == out.texts[0][0]
    page.evaluate("() => window.leave()")
    # A style sheet by itself has no icon, which the browser asks for.
    tab.complaints[:] = [text for text in tab.complaints if "404" not in text]
