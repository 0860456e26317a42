"""Draws the pictures of the concept pages: `python guide/pictures.py` writes docs/pictures/*.svg.

Curves come from `controlwindow.geometry`, colours and drawing from `controlwindow.report`, data from what the
repository holds: the law document and what a gate knows of screens. A test draws them again and compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from controlwindow.geometry import RANGE_END, control_coordinate, dose_for
from controlwindow.jobs.gate.recall import screen_recall
from controlwindow.jobs.law.cases import distinct
from controlwindow.report.canvas import attach, finish, table
from controlwindow.report.drawing import render
from controlwindow.report.palette import FAINT, INK, MUTED, PREDICTED, VERDICTS
from controlwindow.values import from_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
Rows = list[dict[str, Any]]
SCREENS = (
    *("causal", "gradient", "one", "gradient_x_activation", "attribution_patching"),
    *("contrastive", "window", "perturbation", "readout", "random"),
)


def coordinate() -> str:
    """The saturation curve for three undosed cosines."""
    rows: Rows = [
        {"t": round(float(t), 3), "c": round(float(control_coordinate(t, c0)), 5), "c0": f"c0 = {c0:+.1f}"}
        for c0 in (-0.4, 0.0, 0.4)
        for t in np.linspace(0, 5.5, 111)
    ]
    end: Rows = [{"t": round(dose_for(RANGE_END), 4), "c": RANGE_END, "label": "end of the range: c 0.98, t 4.92"}]
    base = table("curves").properties(width=460, height=260)
    lines = base.mark_line(strokeWidth=2.2).encode(
        x=alt.X("t:Q", title="dose t, in budgets"),
        y=alt.Y("c:Q", title="control coordinate c", scale=alt.Scale(domain=[-0.4, 1])),
        color=_colors("c0", ["c0 = -0.4", "c0 = +0.0", "c0 = +0.4"], [MUTED, INK, PREDICTED]),
        strokeDash=alt.StrokeDash("c0:N", legend=None),
    )
    point = table("end").mark_point(filled=True, color=VERDICTS["open"], size=60, opacity=1).encode(x="t:Q", y="c:Q")
    label = table("end").mark_text(align="right", dy=16, color=INK).encode(x="t:Q", y="c:Q", text="label:N")
    return _draw(lines + point + label, {"curves": rows, "end": end}, "coordinate", "The saturation curve c(t)")


def budget() -> str:
    """A residual and the same push at three doses: one budget is as long as the residual."""
    along = np.deg2rad(75)
    tip = (float(np.cos(along)), float(np.sin(along)))
    rows: Rows = [{"x": 0.0, "y": 0.0, "x2": tip[0], "y2": tip[1], "part": "residual r"}]
    labels: Rows = [{"x": tip[0] / 2 - 0.04, "y": tip[1] / 2, "label": "r", "side": 0}]
    for number, dose in enumerate((0.5, 1.0, 1.5)):
        end = (tip[0] + dose, tip[1])
        shown = control_coordinate(dose, float(np.cos(along)))
        rows.append({"x": 0.0, "y": 0.0, "x2": end[0], "y2": end[1], "part": "residual under the dose"})
        labels.append({"x": end[0], "y": end[1] + 0.07, "label": f"t {dose:g}, c {shown:.2f}", "side": number})
    rows.append({"x": tip[0], "y": tip[1], "x2": tip[0] + 1.5, "y2": tip[1], "part": "dose, along v"})
    names, colors = ["residual r", "dose, along v", "residual under the dose"], [INK, VERDICTS["open"], MUTED]
    rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.1, 2.1]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.05, 1.15]))
    arrows = table("arrows").properties(width=500, height=270)
    lines = arrows.mark_rule(strokeWidth=2.2).encode(
        x=x, y=y, x2="x2:Q", y2="y2:Q", color=_colors("part", names, colors)
    )
    points = arrows.mark_point(filled=True, size=40, opacity=1).encode(
        x=alt.X("x2:Q"), y=alt.Y("y2:Q"), color=_colors("part", names, colors)
    )
    texts = table("labels").mark_text(color=INK).encode(x="x:Q", y="y:Q", text="label:N")
    return _draw(
        lines + points + texts,
        {
            "arrows": rounded,
            "labels": [{k: round(v, 4) if isinstance(v, float) else v for k, v in r.items()} for r in labels],
        },
        "budget",
        "One residual pushed along one direction by 0.5, 1 and 1.5 of its own length",
    )


def thresholds() -> str:
    """Measured ceilings of random neurons, by model."""
    rows: Rows = [
        {"model": record["model"].removeprefix("organism:"), "c": round(record["ceiling"], 3)}
        for record in _held_out()
        if record["source"] == "random" and record["ceiling"] is not None
    ]
    order = sorted({row["model"] for row in rows}, key=lambda m: np.median([r["c"] for r in rows if r["model"] == m]))
    base = table("ceilings").properties(width=440, height=24 * len(order))
    x = alt.X("c:Q", title="measured ceiling c", scale=alt.Scale(domain=[0, 1]))
    y = alt.Y("model:N", sort=order, title=None)
    dots = base.mark_tick(color=PREDICTED, opacity=0.35, thickness=1.5, size=14).encode(x=x, y=y)
    middle = base.mark_tick(color=INK, thickness=3, size=20).encode(
        x=alt.X("median(c):Q", title="measured ceiling c"), y=y
    )
    told = "Ceilings of random neurons by model, with the median of each"
    return _draw(dots + middle, {"ceilings": rows}, "thresholds", told)


def windows() -> str:
    """Every held-out pair of the law document by what became of it."""
    counts: dict[str, int] = {}
    for record in _held_out():
        outcome = "open" if record["open"] else record["failure_mode"] or "closed"
        counts[outcome] = counts.get(outcome, 0) + 1
    order = sorted(counts, key=lambda outcome: -counts[outcome])
    rows: Rows = [{"outcome": outcome.replace("_", " "), "pairs": counts[outcome]} for outcome in order]
    names = [row["outcome"] for row in rows]
    base = table("outcomes").properties(width=420, height=34 * len(rows))
    x = alt.X("pairs:Q", title="pairs of a neuron, a branch and a behavior")
    y = alt.Y("outcome:N", sort=names, title=None)
    color = alt.Color(
        "outcome:N", scale=alt.Scale(domain=names, range=[VERDICTS.get(o, INK) for o in order]), legend=None
    )
    bars = base.mark_bar().encode(x=x, y=y, color=color)
    texts = base.mark_text(align="left", dx=4, color=INK).encode(x=x, y=y, text="pairs:Q")
    return _draw(bars + texts, {"outcomes": rows}, "windows", "What became of the held-out pairs of the law's test")


def screens() -> str:
    """How many planted controllers each screen brings among its first 1, 4 and 16."""
    rows: Rows = []
    for name in SCREENS:
        for places in (1, 4, 16):
            found = screen_recall([name], places)
            if found is not None:
                rows.append({"screen": name, "places": f"first {places}", "found": found.found})
    order = sorted({r["screen"] for r in rows}, key=lambda s: (-max(r["found"] for r in rows if r["screen"] == s), s))
    places = ["first 16", "first 4", "first 1"]
    base = table("found").properties(width=420, height=24 * len(order))
    x = alt.X("found:Q", title="planted controllers found, of 26", scale=alt.Scale(domain=[0, 26]))
    bars = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x,
        y=alt.Y("screen:N", sort=order, title=None),
        color=_colors("places", places, [FAINT, PREDICTED, VERDICTS["open"]]),
        shape=alt.Shape("places:N", scale=alt.Scale(domain=places, range=["square", "circle", "diamond"])),
    )
    return _draw(bars, {"found": rows}, "screens", "Planted controllers among the first places of every screen")


PICTURES = {f.__name__: f for f in (coordinate, budget, thresholds, windows, screens)}


def _held_out() -> Rows:
    """Held-out pairs of the law document, neurons that share a write column once."""
    document = json.loads((DOCS / "results" / "law.json").read_text("utf-8"))
    return [r for r in distinct(from_table(document["records"])).records if r["role"] == "held_out"]


def _colors(field: str, names: list[str], colors: list[str]) -> alt.Color:
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=names, range=colors), title=None, sort=names)


def _draw(chart: alt.LayerChart, tables: dict[str, Rows], name: str, told: str) -> str:
    return render(attach(finish(chart), tables), name, told)


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (DOCS / "pictures" / f"{name}.svg").write_text(draw() + "\n", "utf-8")
