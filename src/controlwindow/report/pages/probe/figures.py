"""The figures of a probe: Σ I against ΔF, ladders with their controls, the injection grid, the ranking, flips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from controlwindow.models import Neuron
from controlwindow.report.canvas import attach, finish, heading, table
from controlwindow.report.pages.probe.words import NAMES
from controlwindow.report.palette import FAINT, INK, MUTED, PREDICTED, SOURCE_STATE

CIRCUIT = "#d1495b"
ARMS = {"circuit": CIRCUIT, "random": "#98a3ae", "shuffled labels": "#7059a6"}
Document = Mapping[str, Any]


def sums(document: Document) -> dict[str, Any]:
    """Σ I against the measured ΔF, one point for each pair; hollow where the perturbation flips nothing."""
    rows = [
        {"explained": row["explained"], "measured": row["measured"], "flips": "flips" if row["flips"] else "does not"}
        for row in document["sums"]["pairs"]
    ]
    color = alt.Color(
        "flips:N",
        scale=alt.Scale(domain=["flips", "does not"], range=[CIRCUIT, SOURCE_STATE]),
        legend=alt.Legend(orient="bottom", title="the perturbation", direction="horizontal"),
    )
    points = table("pairs").mark_circle(size=46, opacity=0.85).encode(
        x=alt.X("explained:Q", title="Σ I, logits", scale=alt.Scale(zero=True)),
        y=alt.Y("measured:Q", title="measured ΔF, logits", scale=alt.Scale(zero=True)),
        color=color,
    )  # fmt: skip
    return attach(finish(alt.layer(points, heading("Σ I and ΔF")).properties(width=330, height=230)), {"pairs": rows})


def ladders(document: Document) -> dict[str, Any] | None:
    """The effect of every set operation on F against k, with controls; None where that is withheld."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for line in document["effects"]:
        found = line["setting"]
        if not found["intervention"].startswith("inject"):
            name = NAMES[found["intervention"]]
            title = f"{name} ×{found['factor']:g}" if found["intervention"] == "amplify" else name
            groups.setdefault(title, []).append(line)
    if not groups:
        return None
    panels, tables = [], {}
    for place, (title, lines) in enumerate(groups.items()):
        name = f"ladder{place}"
        tables[name] = _ladder_rows(lines)
        panels.append(_ladder(name, title))
    return attach(finish(alt.hconcat(*panels, spacing=26).resolve_scale(y="independent")), tables)


def _ladder_rows(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        size, (low, high) = line["setting"]["size"], line["interval"]
        controls = line["controls"]
        rows.append({"k": size, "arm": "circuit", "value": line["shift"], "low": low, "high": high})
        for arm, name in (("random", "random"), ("shuffled labels", "shuffled")):
            draws = controls[f"{name}_draws"]
            if draws:
                value = {"value": controls[name], "low": min(draws), "high": max(draws)}
                rows.append({"k": size, "arm": arm, **value})
    return rows


def _ladder(name: str, title: str) -> alt.LayerChart:
    color = alt.Color(
        "arm:N",
        scale=alt.Scale(domain=list(ARMS), range=list(ARMS.values())),
        legend=alt.Legend(orient="bottom", direction="horizontal"),
    )
    base = table(name).encode(x=alt.X("k:Q", scale=alt.Scale(type="log", base=2), title="k", axis=alt.Axis(grid=False)))
    value = alt.Y("value:Q", title="shift of F, nats")
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=FAINT).encode(y="zero:Q")
    return alt.layer(
        zero,
        base.mark_rule(opacity=0.5, strokeWidth=1.6).encode(y="low:Q", y2="high:Q", color=color),
        base.mark_line(strokeWidth=1.8).encode(y=value, color=color),
        base.mark_point(filled=True, size=28, opacity=1).encode(y=value, color=color),
        heading(title),
    ).properties(width=190, height=190)


def grid(document: Document) -> dict[str, Any] | None:
    """How far each injection moves F on select, by layer and strength; None where that is withheld."""
    if not document["grid"]:
        return None
    panels, tables = [], {}
    most = max(abs(row["shift"]) for row in document["grid"]) or 1.0
    for name in ("inject_objective", "inject_mean_difference"):
        tables[name] = [row for row in document["grid"] if row["intervention"] == name]
        base = table(name).encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("strength:O", title="strength, ‖r‖", sort="descending"),
        )
        scale = alt.Scale(domain=[-most, 0, most], range=[PREDICTED, "#ffffff", CIRCUIT])
        cells = base.mark_rect(stroke="white").encode(color=alt.Color("shift:Q", scale=scale, legend=None))
        # The numbers stand in the cells: a gradient's legend would not survive the cleaning of the SVG.
        numbers = base.mark_text(fontSize=11, color=INK).encode(text=alt.Text("shift:Q", format="+.1f"))
        width = 42 * len({row["layer"] for row in tables[name]})
        panels.append(alt.layer(cells, numbers, heading(NAMES[name])).properties(width=width, height=150))
    return attach(finish(alt.hconcat(*panels, spacing=30)), tables)


def ranking(document: Document) -> dict[str, Any] | None:
    """The size of |mean I| against rank with intervals, and the layers of the neurons; None where withheld."""
    if not document["ranking"]["top"]:
        return None
    rows, counts = [], dict[int, int]()
    for rank, row in enumerate(document["ranking"]["top"], start=1):
        low, high = sorted(abs(bound) for bound in row["interval"])
        crosses = row["interval"][0] * row["interval"][1] < 0
        rows.append({"rank": rank, "size": abs(row["mean"]), "low": 0.0 if crosses else low, "high": high})
        layer = Neuron.parse(row["neuron"]).layer
        counts[layer] = counts.get(layer, 0) + 1
    across = alt.X("rank:Q", title="rank", axis=alt.Axis(grid=False))
    left = alt.layer(
        table("ranks").mark_rule(color=SOURCE_STATE, strokeWidth=2).encode(x=across, y="low:Q", y2="high:Q"),
        table("ranks").mark_circle(color=INK, size=24, opacity=1).encode(
            x=across, y=alt.Y("size:Q", title="|mean I|, logits")
        ),
        heading("importance of the first neurons"),
    ).properties(width=330, height=200)  # fmt: skip
    right = alt.layer(
        table("layers").mark_bar(color=MUTED, size=12).encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)), y=alt.Y("count:Q", title=None)
        ),
        heading("their layers"),
    ).properties(width=190, height=200)  # fmt: skip
    layers = [{"layer": layer, "count": count} for layer, count in sorted(counts.items())]
    return attach(finish(alt.hconcat(left, right, spacing=34)), {"ranks": rows, "layers": layers})


def ratio_against_effect(document: Document) -> dict[str, Any]:
    """Flips of ablation and of injection with those of their controls, above what the ratio predicts."""
    lines = document["rollouts"] or list(document["chosen"].values())
    rows = []
    for line in lines:
        name, controls = NAMES[line["setting"]["intervention"]], line["controls"]
        low, high = line["interval"] if document["rollouts"] else (line["flips"], line["flips"])
        rows.append({"what": name, "arm": "circuit", "value": line["flips"], "low": low, "high": high})
        if document["rollouts"]:
            for arm, key in (("random", "random"), ("shuffled labels", "shuffled")):
                if controls[key] is not None:
                    draws = controls[f"{key}_draws"]
                    spread = {"low": min(draws), "high": max(draws)}
                    rows.append({"what": name, "arm": arm, "value": controls[key], **spread})
    order = [NAMES[line["setting"]["intervention"]] for line in lines]
    color = alt.Color(
        "arm:N",
        scale=alt.Scale(domain=list(ARMS), range=list(ARMS.values())),
        legend=alt.Legend(orient="bottom", direction="horizontal"),
    )
    scale = alt.Scale(domain=[0, 1], nice=False)
    base = table("flips").encode(
        x=alt.X("what:N", sort=order, title=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("arm:N", sort=list(ARMS)),
        color=color,
    )
    left = alt.layer(
        base.mark_rule(opacity=0.5, strokeWidth=1.8).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_point(filled=True, size=46, opacity=1).encode(
            y=alt.Y("value:Q", scale=scale, title="flips", axis=alt.Axis(format=".0%", tickCount=5))
        ),
        heading("flips on evaluate"),
    ).properties(width=430, height=200)
    found = document["ratio"]
    low, high = found["interval"]
    end = max(1.2, 1.1 * (high or found["ratio"]), 1.1 * found["ratio"])
    bounds = {"routing": (0.0, 0.2), "undecided": (0.2, 0.3), "opposition": (0.3, end)}
    zones = [{"zone": zone, "from": a, "to": b, "middle": (a + b) / 2} for zone, (a, b) in bounds.items()]
    axis = alt.Scale(domain=[0, end], nice=False)
    hues = alt.Scale(domain=list(bounds), range=["#dbe6f4", FAINT, "#f7d9d1"])
    right = alt.layer(
        table("zones").mark_rect(opacity=0.5).encode(
            y=alt.Y("from:Q", scale=axis, title="FFN-to-skip ratio"),
            y2="to:Q",
            color=alt.Color("zone:N", scale=hues, legend=None),
        ),
        # Names stand in the zones, left of the ratio: as a key, colours this pale could not be told apart.
        table("zones").mark_text(align="left", fontSize=11, color=MUTED).encode(
            x=alt.value(6), y=alt.Y("middle:Q", scale=axis), text="zone:N"
        ),
        table("ratio").mark_rule(color=INK, strokeWidth=2).encode(y=alt.Y("low:Q", scale=axis), y2="high:Q"),
        table("ratio").mark_point(filled=True, color=INK, size=60, opacity=1).encode(y=alt.Y("ratio:Q", scale=axis)),
        heading("what the ratio predicts"),
    ).properties(width=170, height=200)  # fmt: skip
    chart = alt.hconcat(left, right, spacing=40).resolve_scale(color="independent")
    ratio = [{"ratio": found["ratio"], "low": low, "high": high}]
    return attach(finish(chart), {"flips": rows, "zones": zones, "ratio": ratio})


def stability(document: Document) -> dict[str, Any]:
    """How much of the top k is there again when pairs are resampled."""
    rows = [
        {"k": row["size"], "overlap": row["overlap"], "low": row["interval"][0], "high": row["interval"][1],
         "chance": row["chance"]}
        for row in document["ranking"]["stability"]
    ]  # fmt: skip
    scale = alt.Scale(domain=[0, 1], nice=False)
    base = table("stability").encode(
        x=alt.X("k:Q", scale=alt.Scale(type="log", base=2), title="k", axis=alt.Axis(grid=False))
    )
    chart = alt.layer(
        base.mark_rule(color=SOURCE_STATE, strokeWidth=2).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_line(color=INK).encode(
            y=alt.Y("overlap:Q", scale=scale, title=None, axis=alt.Axis(format=".0%", tickCount=5))
        ),
        base.mark_line(color=MUTED, strokeDash=[3, 3]).encode(y=alt.Y("chance:Q", scale=scale)),
        heading("the top k again, pairs resampled"),
    ).properties(width=260, height=230)
    return attach(finish(chart), {"stability": rows})
