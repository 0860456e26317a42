"""The figures of a circuit: strength against behavior and cost, layers, base against aligned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from controlwindow.report.canvas import attach, finish, heading, table
from controlwindow.report.palette import INK, SOURCE_STATE

ARM_COLORS = {
    "circuit": "#d1495b",
    "random": "#98a3ae",
    "shuffled": "#7059a6",
    "attention": "#b0851a",
}
ARM_NAMES = {
    "undosed": "undosed",
    "circuit": "circuit",
    "random": "random, same selection",
    "shuffled": "shuffled labels",
    "attention": "attention pushed",
}

_PANELS = (
    ("flip", "coherent flips", None),
    ("coherent", "coherent rollouts", None),
    ("perplexity_ratio", "perplexity of generic answers, ratio", "log"),
)


def strengths(ladder: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Flips, coherence and perplexity of generic answers against the multiplier, the circuit beside its controls."""
    arms = [arm for arm in ARM_COLORS if any(entry["arm"] == arm for entry in ladder)]
    panels, tables = [], {}
    for key, title, scale in _PANELS:
        # The circuit last, so that it lies above its controls.
        rows = [row for arm in reversed(arms) for row in _curve(ladder, arm, key)]
        tables[key] = rows
        panels.append(_panel(key, title, scale, arms))
    chart = alt.hconcat(*panels, spacing=34)
    return attach(finish(chart), tables)


def _curve(ladder: Sequence[Mapping[str, Any]], arm: str, key: str) -> list[dict[str, Any]]:
    """Points of one arm, the undosed model among them at m = 1."""
    rows = []
    for entry in ladder:
        if entry["arm"] not in ("undosed", arm):
            continue
        found = entry[key] if key in entry else None if entry["retention"] is None else entry["retention"][key]
        if found is None:
            found = {"value": 1.0, "interval": [1.0, 1.0]}
        low, high = found["interval"]
        rows.append({"arm": ARM_NAMES[arm], "m": entry["factor"], "value": found["value"], "low": low, "high": high})
    return rows


def _panel(key: str, title: str, scale: str | None, arms: Sequence[str]) -> alt.LayerChart:
    color = alt.Color(
        "arm:N",
        scale=alt.Scale(domain=[ARM_NAMES[arm] for arm in arms], range=[ARM_COLORS[arm] for arm in arms]),
        legend=alt.Legend(orient="bottom", direction="horizontal"),
    )
    if scale == "log":
        vertical, axis = alt.Scale(type="log", nice=False), alt.Axis(tickCount=4, format="~g")
    else:
        vertical, axis = alt.Scale(domain=[0, 1], nice=False), alt.Axis(tickCount=5, format=".0%")
    across = alt.X(
        "m:Q", sort="descending", scale=alt.Scale(nice=False), title="multiplier m", axis=alt.Axis(grid=False)
    )
    base = table(key).encode(x=across)
    value = alt.Y("value:Q", scale=vertical, axis=axis, title=None)
    chart = alt.layer(
        base.mark_rule(opacity=0.45, strokeWidth=1.6).encode(
            y=alt.Y("low:Q", scale=vertical), y2="high:Q", color=color
        ),
        base.mark_line(strokeWidth=1.8, interpolate="linear").encode(y=value, color=color),
        base.mark_point(filled=True, size=30, opacity=1).encode(y=value, color=color),
        heading(title),
    )
    return chart.properties(width=212, height=200)


def by_layer(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Each layer's share of the circuit, and the flips of its part alone and without it; None where withheld."""
    if not layers:
        return None
    shares = [{"layer": row["layer"], "share": row["share"]} for row in layers]
    names = {"alone": "this layer's part alone", "all_but": "all but this layer", "random": "random, same layer"}
    points = [
        {
            "layer": row["layer"],
            "part": names[part],
            "value": row[part]["flip"]["value"],
            "low": row[part]["flip"]["interval"][0],
            "high": row[part]["flip"]["interval"][1],
        }
        for row in layers
        for part in names
        if row[part] is not None
    ]
    across = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0))
    percent = alt.Axis(format=".0%", tickCount=5)
    color = alt.Color(
        "part:N",
        scale=alt.Scale(domain=list(names.values()), range=["#d1495b", INK, "#98a3ae"]),
        legend=alt.Legend(orient="bottom", direction="horizontal"),
    )
    domain = alt.Scale(domain=[0, 1], nice=False)
    flips = table("points").encode(x=across, xOffset=alt.XOffset("part:N", sort=list(names.values())), color=color)
    left = alt.layer(
        table("shares")
        .mark_bar(color=SOURCE_STATE, size=14)
        .encode(x=across, y=alt.Y("share:Q", axis=percent, title=None)),
        heading("share of the circuit"),
    ).properties(width=250, height=200)
    right = alt.layer(
        flips.mark_rule(opacity=0.5, strokeWidth=1.6).encode(y=alt.Y("low:Q", scale=domain), y2="high:Q"),
        flips.mark_point(filled=True, size=34, opacity=1).encode(
            y=alt.Y("value:Q", scale=domain, axis=percent, title=None)
        ),
        heading("coherent flips"),
    ).properties(width=410, height=200)
    return attach(finish(alt.hconcat(left, right, spacing=40)), {"shares": shares, "points": points})


def base_against_aligned(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Outcomes that ablation changes, and how well the circuit's neurons tell X+ from X−, in both models."""
    base = document["base"]
    if base is None:
        return None
    # The caption names the models: names of any length would not fit beside the axis.
    kinds = ("base", "aligned")
    changed = [
        {"model": kind, "arm": ARM_NAMES[row["arm"]], **_span(row["changed"])}
        for kind in kinds
        for row in base["changed"][kind]
    ]
    panels = [_dots("changed", "outcomes changed", changed, "model")]
    tables = {"changed": changed}
    if base["detection"] is not None and document["detection"] is not None:
        found = {"base": base["detection"], "aligned": document["detection"]}
        areas = [
            {
                "model": kind,
                "arm": ARM_NAMES[arm["arm"]],
                **_span({"value": arm["area"], "interval": arm["interval"]}),
            }
            for kind in kinds
            for arm in found[kind]["arms"]
        ]
        panels.append(_dots("areas", "area under the curve, X+ against X−", areas, None))
        tables["areas"] = areas
    return attach(finish(alt.hconcat(*panels, spacing=30)), tables)


def _span(found: Mapping[str, Any]) -> dict[str, float]:
    low, high = found["interval"]
    return {"value": found["value"], "low": low, "high": high}


def _dots(name: str, title: str, rows: Sequence[Mapping[str, Any]], label: str | None) -> alt.LayerChart:
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    colors = {ARM_NAMES[arm]: color for arm, color in ARM_COLORS.items()}
    color = alt.Color(
        "arm:N",
        scale=alt.Scale(domain=arms, range=[colors[arm] for arm in arms]),
        legend=alt.Legend(orient="bottom", direction="horizontal") if label else None,
    )
    axis = alt.Axis(title=None, labels=label is not None, ticks=False, domain=False, labelColor=INK, labelPadding=8)
    base = table(name).encode(
        y=alt.Y("model:N", sort=None, axis=axis), yOffset=alt.YOffset("arm:N", sort=arms), color=color
    )
    domain = alt.Scale(domain=[0, 1], nice=False)
    across = alt.X("value:Q", scale=domain, title=None, axis=alt.Axis(tickCount=5, format=".1f"))
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.6, opacity=0.6).encode(x=alt.X("low:Q", scale=domain), x2="high:Q"),
        base.mark_point(filled=True, size=40, opacity=1).encode(x=across),
        heading(title),
    )
    return chart.properties(width=230, height=110)
