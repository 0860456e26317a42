"""Figures of a validation of the law: predicted against measured ceilings, errors by lineage, coverage, control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from controlwindow.report.canvas import attach, finish, table
from controlwindow.report.palette import FAINT, INK, MUTED, PREDICTED

SETTINGS = {"known": "held-out neurons of known models", "left_out": "lineages left out"}
_REGIONS = {"early": "#b0851a", "bulk": "#0f6b6b", "late": "#7059a6"}
_CONTENDERS = {"law": PREDICTED, "median of the model": "#8a5a44", "best constant": "#98a3ae"}

Specification = dict[str, Any]


def predicted_against_measured(records: Sequence[Mapping[str, Any]], setting: str) -> Specification | None:
    """Every held-out pair that reached its ceiling; None without one."""
    rows = [
        {
            "predicted": r[setting]["ceiling"][0],
            "low": r[setting]["ceiling"][1],
            "high": r[setting]["ceiling"][2],
            "measured": r["ceiling"],
            "region": r["region"],
        }
        for r in records
        if r["role"] == "held_out" and (r.get(setting) or {}).get("ceiling") and r["ceiling"] is not None
    ]
    rows = [row for row in rows if row["predicted"] is not None]
    if not rows:
        return None
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("predicted:Q", scale=scale, title="predicted ceiling (c)", axis=alt.Axis(tickCount=5, format=".1f"))
    y = alt.Y("measured:Q", scale=scale, title="measured ceiling (c)", axis=alt.Axis(tickCount=5, format=".1f"))
    color = alt.Color("region:N", scale=alt.Scale(domain=list(_REGIONS), range=list(_REGIONS.values())))
    ideal = alt.Chart(alt.InlineData(values=[{"a": 0, "b": 0}, {"a": 1, "b": 1}])).mark_line(color=FAINT)
    chart = alt.layer(
        ideal.encode(x=alt.X("a:Q", scale=scale), y=alt.Y("b:Q", scale=scale)),
        table("pairs").mark_point(filled=True, size=16, opacity=0.55).encode(x=x, y=y, color=color),
    )
    return attach(finish(chart.properties(width=290, height=290)), {"pairs": rows})


def errors_by_group(scores: Mapping[str, Any]) -> Specification | None:
    """Mean absolute error of the law and of the best constant, lineage by lineage left out; None without one."""
    rows = []
    for lineage, values in scores["ceilings"]["left_out"]["skill_by_lineage"].items():
        for contender, key in (("law", "mae"), ("best constant", "mae_constant")):
            if values[key] is not None:
                rows.append({"lineage": lineage, "contender": contender, "error": values[key]})
    if not rows:
        return None
    color = alt.Color(
        "contender:N", scale=alt.Scale(domain=["law", "best constant"], range=[PREDICTED, _CONTENDERS["best constant"]])
    )
    base = table("errors").encode(y=alt.Y("lineage:N", title=None, axis=alt.Axis(grid=False)))
    line = base.mark_line(color=FAINT, strokeWidth=2).encode(
        x=alt.X("error:Q", title="mean absolute error in c", scale=alt.Scale(zero=True)), detail="lineage:N"
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x="error:Q", color=color)
    aim = alt.Chart(alt.InlineData(values=[{"aim": 0.08}])).mark_rule(color=MUTED, strokeDash=[3, 3]).encode(x="aim:Q")
    chart = alt.layer(line, aim, points)
    return attach(finish(chart.properties(width=330, height=alt.Step(22))), {"errors": rows})


def coverage_by_model(scores: Mapping[str, Any], setting: str) -> Specification | None:
    """Coverage of nominal 90 % intervals, model by model, with Wilson intervals; None without a pair."""
    rows = [
        {
            "model": model.removeprefix("organism:"),
            "value": c["value"],
            "low": c["interval"][0],
            "high": c["interval"][1],
        }
        for model, c in scores["ceilings"][setting]["coverage_by_model"].items()
        if c["value"] is not None
    ]
    if not rows:
        return None
    scale = alt.Scale(domain=[0, 1], nice=False)
    y = alt.Y("model:N", title=None, axis=alt.Axis(grid=False))
    band = alt.Chart(alt.InlineData(values=[{"from": 0.85, "to": 0.95}])).mark_rect(color=FAINT)
    base = table("coverage")
    x = alt.X("low:Q", scale=scale, title="share inside the 90 % interval", axis=alt.Axis(format=".0%", tickCount=5))
    chart = alt.layer(
        band.encode(x=alt.X("from:Q", scale=scale), x2="to:Q"),
        base.mark_rule(color=MUTED).encode(x=x, x2="high:Q", y=y),
        base.mark_point(filled=True, fill=INK, size=46, opacity=1).encode(x=alt.X("value:Q", scale=scale), y=y),
    )
    return attach(finish(chart.properties(width=330, height=alt.Step(22))), {"coverage": rows})


def constants(scores: Mapping[str, Any]) -> Specification | None:
    """Leave-one-out errors in log dose of constant α, t and c for ceilings and triggers of natural neurons."""
    rows = []
    for threshold, groups in scores["universality"].items():
        for scope in ("within_models", "across_lineages"):
            found = groups["natural"][scope]
            for name in ("alpha", "t", "c"):
                if found["n"]:
                    low, high = found[name]["interval"] or (None, None)
                    rows.append(
                        {
                            "panel": f"{threshold}, {scope.replace('_', ' ')}",
                            "constant": f"constant {'α' if name == 'alpha' else name}",
                            "value": found[name]["value"],
                            "low": low,
                            "high": high,
                        }
                    )
    if not rows:
        return None
    y = alt.Y("constant:N", title=None, sort=["constant α", "constant t", "constant c"], axis=alt.Axis(grid=False))
    panels = []
    tables = {}
    for place, name in enumerate(dict.fromkeys(row["panel"] for row in rows)):
        tables[f"panel{place}"] = [row for row in rows if row["panel"] == name]
        base = table(f"panel{place}")
        x = alt.X("value:Q", title="mean error in log dose", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=4))
        panels.append(
            alt.layer(
                base.mark_rule(color=MUTED).encode(x=alt.X("low:Q"), x2="high:Q", y=y),
                base.mark_point(filled=True, fill=INK, size=46, opacity=1).encode(x=x, y=y),
            ).properties(width=200, height=70, title=alt.TitleParams(name, fontSize=11, fontWeight="normal"))
        )
    return attach(finish(alt.concat(*panels, columns=2, spacing=30)), tables)


def roc(models: Mapping[str, Mapping[str, Any]]) -> Specification | None:
    """ROC of the coherence detector on the behaviors' labelled controls, a line for each model and behavior."""
    rows = []
    for model, values in models.items():
        for behavior, check in values["detector"]["checked_on_behaviors"].items():
            points = [[0.0, 0.0, 0.0], *check.get("roc", [])[::-1], [0.0, 1.0, 1.0]] if check["controls"] else []
            rows += [
                {"line": f"{model} {behavior}", "order": i, "false": point[1], "true": point[2]}
                for i, point in enumerate(points)
            ]
    if not rows:
        return None
    chart = (
        table("roc")
        .mark_line(color=PREDICTED, opacity=0.5, strokeWidth=1.2)
        .encode(
            x=alt.X("false:Q", title="coherent controls judged collapsed", axis=alt.Axis(format=".0%", tickCount=4)),
            y=alt.Y("true:Q", title="collapsed controls judged collapsed", axis=alt.Axis(format=".0%", tickCount=4)),
            detail="line:N",
            order="order:Q",
        )
    )
    return attach(finish(chart.properties(width=240, height=240)), {"roc": rows})
