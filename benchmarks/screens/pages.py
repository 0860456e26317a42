"""The comparison of screens as tables in Markdown and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from benchmarks.screens.summary import Aim, Standing, aims, paired_recall
from benchmarks.tables import markdown_table, seconds
from controlwindow.report.canvas import attach, finish, table
from controlwindow.report.drawing import render
from controlwindow.report.palette import INK, MUTED, SOURCE_STATE, VERDICTS
from controlwindow.validation.methods import DEPTHS
from controlwindow.validation.rates import Rate


def markdown(standings: Sequence[Standing], conditions: str) -> str:
    """Everything as Markdown."""
    scored = [s for s in standings if s.score is not None]
    blocks = [
        "**Known controllers.** k of n planted ones among the first 1, 4 and 16 neurons, exact 95 % intervals; neurons "
        "that share a write column are one controller, found where one of them is. AUC: probability that a planted "
        "neuron, copies among them, ranks above a neuron known closed, mean over behaviors, 95 % interval over "
        "lineages.",
        markdown_table(
            ("screen", *(f"planted at {k}" for k in DEPTHS), "AUC", "sign right"),
            [
                (f"`{s.name}`", *(_rate(s.score.recall(k)) for k in DEPTHS), s.auc_words("planted"),
                 _rate(s.score.signs()))
                for s in scored if s.score
            ],
        ),
        "**Natural controllers**, which the census found open, among the census' neurons alone; and what else ranks "
        "high: decoys (contrast without control) and constructed failures.",
        markdown_table(
            ("screen", "natural at 16 of the census", "AUC", "decoys in the top 16", "failures in the top 16",
             "precision at 16"),
            [
                (f"`{s.name}`", _rate(s.score.natural_recall(16)), s.auc_words("natural"),
                 _rate(s.score.false_alarms(16, "decoy")), _rate(s.score.false_alarms(16, "failure")),
                 _rate(s.score.precision(16)))
                for s in scored if s.score
            ],
        ),
        "**By kind of controller**, planted ones among the first 16. The last columns: score of the first place over "
        "that of the 16th, where a single neuron controls and where none does (distributed).",
        _by_trait(scored),
        "**Cost**, medians over behaviors of organisms; seconds of the processor; the ratio to plain passes over as "
        "many tokens (least and largest), and the share of what rolling every neuron out at one dose on both branches "
        "takes.",
        markdown_table(
            ("screen", "forward", "backward", "tokens", "seconds", "× plain passes", "of all rollouts"),
            [_cost_row(s) for s in scored],
        ),
        "**Aims**",
        markdown_table(("aim", "found", ""), [(a.what, a.found, _met(a)) for a in aims(standings)]),
        *_paired(standings),
        *_unavailable(standings),
        conditions + ".",
    ]  # fmt: skip
    return "\n\n".join(block for block in blocks if block) + "\n"


def _rate(rate: Rate) -> str:
    if not rate.n:
        return "–"
    low, high = rate.interval
    return f"{rate.k}/{rate.n} [{100 * low:.0f}, {100 * high:.0f}]"


def _by_trait(scored: Sequence[Standing]) -> str:
    traits = list(dict.fromkeys(t for s in scored if s.score for t in s.score.traits()))
    rows = []
    for s in scored:
        assert s.score is not None
        cells = [_rate(s.score.recall(16, trait)) for trait in traits]
        rows.append((f"`{s.name}`", *cells, _number(s.lead(False)), _number(s.lead(True))))
    heads = [trait.replace("_", " ") for trait in traits]
    return markdown_table(("screen", *heads, "lead", "lead, distributed"), rows)


def _cost_row(s: Standing) -> tuple[str, ...]:
    e = s.expense
    if e is None:
        return (f"`{s.name}`", *("–",) * 6)
    plain = "–"
    if e.plain is not None and e.plain_range is not None:
        plain = f"{e.plain:.2f} [{e.plain_range.low:.2f}, {e.plain_range.high:.2f}]"
    share = "–" if not e.tokens else f"{100 * e.rollouts:.2g} %"
    return (
        f"`{s.name}`",
        f"{e.forward:,.0f}",
        f"{e.backward:,.0f}",
        f"{e.tokens:,.0f}",
        seconds(e.seconds),
        plain,
        share,
    )


def _met(aim: Aim) -> str:
    return "" if aim.met is None else "met" if aim.met else "missed"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _paired(standings: Sequence[Standing]) -> list[str]:
    lines = []
    for other in (s.name for s in standings if s.name not in ("causal", "random")):
        found = paired_recall(standings, "causal", other)
        if found is not None:
            difference, spread, n = found
            interval = "" if spread is None else f" [{spread.low:+.2f}, {spread.high:+.2f}]"
            lines.append(f"`{other}` {difference:+.2f}{interval} (n {n})")
    if not lines:
        return []
    return ["Recall at 16 of `causal` less that of another screen, on the same controllers, intervals over lineages: "
            + "; ".join(lines) + "."]  # fmt: skip


def _unavailable(standings: Sequence[Standing]) -> list[str]:
    lines = [f"`{s.name}` on {on}: {reason}" for s in standings for on, reason in s.unavailable]
    return ["Not run: " + "; ".join(lines) + "."] if lines else []


def draw(standings: Sequence[Standing]) -> str:
    """Recall at 16 with exact intervals, by screen, beside seconds on a logarithmic axis."""
    rows: list[dict[str, Any]] = []
    for s in standings:
        if s.score is None:
            continue
        for kind, rate in (("planted", s.score.recall(16)), ("natural", s.score.natural_recall(16))):
            if rate.n:
                low, high = rate.interval
                rows.append({"screen": s.name, "kind": kind, "share": rate.value, "low": low, "high": high,
                             "text": f"{rate.k}/{rate.n}"})  # fmt: skip
    best = sorted((r for r in rows if r["kind"] == "planted"), key=lambda r: -r["share"])
    order = list(dict.fromkeys([r["screen"] for r in best] + [s.name for s in standings if s.score is not None]))
    costs = [
        {"screen": s.name, "seconds": s.expense.seconds, "text": seconds(s.expense.seconds)}
        for s in standings
        if s.expense is not None and s.expense.seconds > 0
    ]
    y = alt.Y("screen:N", sort=order, axis=alt.Axis(title=None, ticks=False, domain=False, labelColor=INK))
    color = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=["planted", "natural"], range=[VERDICTS["open"], "#b0851a"]),
        legend=alt.Legend(orient="top", symbolType="circle"),
    )
    share = alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%"),
                  title="controllers among the first 16, exact 95 %")  # fmt: skip
    offset = alt.YOffset("kind:N", sort=["planted", "natural"])
    base = table("recall").encode(y=y, yOffset=offset, color=color)
    recall = alt.layer(
        base.mark_rule(strokeWidth=2, opacity=0.5).encode(
            x=alt.X("low:Q", scale=alt.Scale(domain=[0, 1])), x2="high:Q"
        ),
        base.mark_circle(size=55, opacity=1).encode(x=share),
        base.mark_text(align="left", dx=6, fontSize=9, color=MUTED).encode(x=alt.X("high:Q"), text="text:N"),
    ).properties(width=380, height=26 * len(order))
    least = min((row["seconds"] for row in costs), default=1.0)
    cost_base = alt.Chart(alt.NamedData(name="costs")).encode(
        y=alt.Y("screen:N", sort=order, axis=None),
        x=alt.X(
            "seconds:Q",
            scale=alt.Scale(type="log", domainMin=least / 2),
            axis=alt.Axis(values=[0.01, 0.1, 1, 10, 100], format="~g"),
            title="seconds of the processor",
        ),
    )
    cost = alt.layer(
        cost_base.mark_circle(size=55, opacity=1, color=SOURCE_STATE),
        cost_base.mark_text(align="left", dx=8, fontSize=9, color=MUTED).encode(text="text:N"),
    ).properties(width=200, height=26 * len(order))
    described = "; ".join(f"{r['screen']} {r['kind']} {r['text']}" for r in rows)
    specification = attach(finish(alt.hconcat(recall, cost, spacing=24)), {"recall": rows, "costs": costs})
    return render(specification, "screens", f"Controllers among the first 16 by screen: {described}")
