"""Figures of single tables: a screen's ranking and an atlas of predicted ceilings, as SVG files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from controlwindow.errors import ReportError
from controlwindow.report.canvas import Rows, attach, finish, table
from controlwindow.report.drawing import render
from controlwindow.report.palette import FAINT, INK, MUTED, PREDICTED
from controlwindow.report.writing import write_svg

_TOP = 30


def draw_screen(ranking: pl.DataFrame, path: Path, title: str) -> None:
    """Draw a screen: the size of every score against its rank, and the layers of its top neurons.

    Args:
        ranking: Table of a screen, best first.
        path: SVG file to write.
        title: Screen and behavior, for the heading.

    Raises:
        ReportError: The file cannot be written.
    """
    rows = (
        ranking.select(
            "rank", "neuron", "layer", size=pl.col("score").abs(), sign=pl.col("sign").replace_strict(_SIGNS)
        )
        .filter(pl.col("size") > 0)
        .to_dicts()
    )
    scores = (
        table("scores")
        .mark_circle(size=16, opacity=0.8)
        .encode(
            x=alt.X("rank:Q", scale=alt.Scale(type="log"), title="rank"),
            y=alt.Y("size:Q", title="|score|"),
            color=alt.Color("sign:N", scale=alt.Scale(domain=["positive", "negative"], range=["#d1495b", PREDICTED])),
        )
        .properties(width=460, height=230)
    )
    names = (
        alt.Chart(alt.NamedData(name="named"))
        .mark_text(align="left", dx=7, dy=-7, fontSize=10, color=MUTED, baseline="middle")
        .encode(x="rank:Q", y=alt.Y("place:Q"), text="neuron:N")
    )
    top = ranking.head(_TOP).group_by("layer").agg(count=pl.len()).sort("layer").to_dicts()
    layers = (
        table("layers")
        .mark_bar(color=MUTED, size=12)
        .encode(
            x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("count:Q", title=f"neurons among the top {_TOP}"),
        )
        .properties(width=220, height=230)
    )
    specification = finish(alt.hconcat(scores + names, layers, spacing=30, title=_title(title)))
    write_figure(
        specification,
        {"scores": rows, "named": _apart(rows[:3]), "layers": top},
        path,
        f"{title}: size of the score against rank, and layers of the top {_TOP}",
    )


def _apart(rows: Rows) -> list[dict[str, Any]]:
    """Rows with places for their labels, from the top down, a label's height apart at least."""
    height = 0.055 * max((float(row["size"]) for row in rows), default=1.0)
    placed: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: -float(row["size"])):
        place = float(row["size"])
        if placed:
            place = min(place, placed[-1]["place"] - height)
        placed.append({**row, "place": place})
    return placed


_SIGNS = {-1: "negative", 0: "positive", 1: "positive"}


def draw_atlas(ceilings: pl.DataFrame, path: Path, title: str) -> None:
    """Draw an atlas: the middle 90 % of the predicted ceilings of every layer's neurons, and its median.

    Args:
        ceilings: Table of `predict_ceilings`.
        path: SVG file to write.
        title: The model, for the heading.

    Raises:
        ReportError: The file cannot be written, or nothing is predicted.
    """
    found = ceilings.filter(pl.col("ceiling_predicted").is_not_null())
    if found.is_empty():
        raise ReportError("no ceiling is predicted, so there is nothing to draw", "print the table instead")
    rows = (
        found.group_by("layer")
        .agg(
            low=pl.col("ceiling_predicted").quantile(0.05),
            middle=pl.col("ceiling_predicted").median(),
            high=pl.col("ceiling_predicted").quantile(0.95),
            certain_low=pl.col("ceiling_low").median(),
            certain_high=pl.col("ceiling_high").median(),
        )
        .sort("layer")
        .to_dicts()
    )
    layer = alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0))
    base = table("layers").properties(width=max(240, 26 * len(rows)), height=240)
    uncertainty = base.mark_bar(color=FAINT, size=14).encode(
        x=layer,
        y=alt.Y("certain_low:Q", scale=alt.Scale(domain=[0, 1]), title="predicted ceiling c"),
        y2="certain_high:Q",
    )
    spread = base.mark_bar(color=PREDICTED, size=6).encode(x=layer, y="low:Q", y2="high:Q")
    median = base.mark_tick(color=INK, thickness=2, size=16).encode(x=layer, y="middle:Q")
    specification = finish((uncertainty + spread + median).properties(title=_title(title)))
    write_figure(
        specification,
        {"layers": rows},
        path,
        f"{title}: predicted ceilings by layer; blue: middle 90 % of the neurons, grey: 90 % prediction interval",
    )


def write_figure(specification: dict[str, Any], tables: dict[str, Rows], path: Path, description: str) -> None:
    """Draw a specification into an SVG file, whole or not at all.

    Raises:
        ReportError: The file cannot be written.
    """
    svg = render(attach(specification, tables), "figure", description)
    write_svg(path, svg)


def _title(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, anchor="start", fontSize=13, fontWeight="normal", color=INK, offset=10)
