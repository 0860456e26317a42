"""The page and the figures of a comparison of interventions, and the same for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from controlwindow.interventions.comparison import METRICS, Comparison, Estimate, LevelResult
from controlwindow.report import wording
from controlwindow.report.canvas import attach, finish, heading, table
from controlwindow.report.page import Page, Sheet
from controlwindow.report.pages.compare.document import ComparisonDocument, comparison_document
from controlwindow.report.palette import FAINT, MUTED
from controlwindow.report.sharing import shareable
from controlwindow.report.terminal import Fitting
from controlwindow.report.writing import write_page
from controlwindow.runs.provenance import NO_WORK, Made, Work
from controlwindow.secrecy import WITHHELD

_COLORS = ("#0f6b6b", "#3b6fb6", "#7059a6", "#b0851a", "#d1495b", "#8a5a44", "#98a3ae", "#c3cad1")
_SHOWN = (
    "behavior_rate",
    "collapsed",
    "excess_nll",
    "capability_excess_nll",
    "capability_agreement",
    "benign_changed",
    "benign_verbatim",
)
"""Metrics that the figure of costs shows, one panel each."""
_PERCENT = frozenset(METRICS) - {"excess_nll", "capability_excess_nll", "benign_excess_nll"}


OFF_LEVEL = "*"
"""Mark of a method whose rate on unseen prompts is not the one that it was matched to."""


class MethodView(NamedTuple):
    """A method as a table shows it, level by level."""

    name: str
    kind: str
    rows: tuple[LevelResult, ...]


def write_comparison(
    comparison: Comparison,
    directory: Path,
    *,
    sensitive: bool = False,
    organism: bool = False,
    include_neurons: bool = False,
    work: Work = NO_WORK,
) -> Path:
    """Write `report.html` and its figures into a run directory, whole or not at all.

    Args:
        comparison: The comparison.
        directory: The run directory; made if absent.
        sensitive: Whether its behavior is.
        organism: Whether its model is one.
        include_neurons: Name neurons and strengths of a sensitive behavior on a model that is no organism.
        work: When it was measured, for how long and by which command.

    Returns:
        The path of the page.

    Raises:
        ReportError: A figure cannot be drawn, or a file cannot be written.
    """
    document = comparison_document(comparison, sensitive=sensitive, organism=organism)
    shown = shareable(document, include_neurons=include_neurons)
    return write_page(render_comparison(shown, work.rows(hide=shown.withheld)), directory)


def render_comparison(document: ComparisonDocument, made: Made = ()) -> Page:
    """Draw a document that has already been made shareable.

    Raises:
        ReportError: A figure cannot be drawn.
    """
    comparison = document.comparison()
    sheet = Sheet("comparison.html.jinja", {"written": written, "setting": setting_words})
    figures = {
        name: sheet.draw(name, specification, description)
        for name, (specification, description) in comparison_figures(comparison).items()
    }
    views = [
        MethodView(arm, rows[0].kind, rows)
        for arm in comparison.arms
        if (rows := tuple(row for row in comparison.results if row.arm == arm))
    ]
    certain = [row for row in comparison.differences if row.p_holm < 0.05]
    return sheet.page(
        comparison=comparison,
        methods=views,
        metrics=METRICS,
        figures=figures,
        hidden=document.withheld,
        lines=comparison_lines(comparison),
        differences=comparison.differences,
        certain=certain,
        off={(row.arm, row.level) for row in comparison.results if off_level(row)},
        off_mark=OFF_LEVEL,
        written=written,
        setting=setting_words,
        notes=wording.gathered(comparison.notes),
        origin=[
            *made,
            ("model", comparison.model),
            ("behavior", comparison.behavior),
            ("prompts", f"{comparison.n_select} chosen on, {comparison.n_evaluate} others reported on"),
            ("seed", None if document.seed is None else str(document.seed)),
        ],
    )


def comparison_figures(comparison: Comparison) -> dict[str, tuple[dict[str, Any], str]]:
    """Specifications of the figures with their descriptions, by name; those without rows are left out."""
    figures = {}
    costs = _cost_rows(comparison.results)
    if costs:
        figures["comparison-costs"] = (
            _costs(costs, comparison),
            "What every method does and costs at the levels of the behavior that it matches, with 95 % intervals.",
        )
    if comparison.curves:
        figures["comparison-rates"] = (
            _rates(comparison),
            "Rate of the behavior and of collapse against strength, on the select split, for every method.",
        )
    return figures


def _cost_rows(results: Sequence[LevelResult]) -> list[dict[str, Any]]:
    return [
        {
            "arm": result.arm,
            "level": f"{result.level:.0%}",
            "metric": metric,
            "value": result.metrics[metric].value,
            "low": result.metrics[metric].low,
            "high": result.metrics[metric].high,
        }
        for result in results
        for metric in _SHOWN
        if metric in result.metrics
    ]


def _costs(rows: list[dict[str, Any]], comparison: Comparison) -> dict[str, Any]:
    arms = list(comparison.arms)
    levels = [f"{level:.0%}" for level in comparison.levels]
    panels, tables = [], {}
    for metric in _SHOWN:
        mine = [row for row in rows if row["metric"] == metric]
        if not mine:
            continue
        share = metric in _PERCENT
        color = alt.Color(
            "arm:N",
            scale=alt.Scale(domain=arms, range=[_COLORS[i % len(_COLORS)] for i in range(len(arms))]),
            legend=alt.Legend(orient="top", columns=4, labelLimit=0),
        )
        x = alt.X(
            "level:O",
            sort=levels,
            scale=alt.Scale(domain=levels, paddingInner=0.3),
            axis=alt.Axis(labelAngle=0),
            title="rate aimed at",
        )
        offset = alt.XOffset("arm:N", sort=arms, scale=alt.Scale(domain=arms))
        axis = alt.Axis(format=".3~p") if share else alt.Axis(format=".2g")
        # Agreement stays near 1, where a scale from 0 would hide every difference.
        scale = alt.Scale(zero=metric != "capability_agreement")
        y = alt.Y("value:Q", title=None, axis=axis, scale=scale)
        base = table(metric).encode(x=x, xOffset=offset, color=color)
        bars = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title=None, axis=axis, scale=scale), y2="high:Q")
        points = base.mark_circle(size=42, opacity=1).encode(y=y)
        panels.append((bars + points + heading(METRICS[metric])).properties(width=300, height=150))
        tables[metric] = mine
    return attach(finish(alt.concat(*panels, columns=2, spacing=34)), tables)


def _rates(comparison: Comparison) -> dict[str, Any]:
    panels, tables = [], {}
    for place, (arm, curve) in enumerate(comparison.curves.items()):
        name = f"curve{place}"
        tables[name] = [
            {"strength": strength, "share": share, "what": what}
            for strength, rate, collapsed in curve
            for what, share in (("behavior", rate), ("collapsed", collapsed))
        ]
        logarithmic = not arm.startswith("ablate")
        scale = alt.Scale(type="log", nice=False) if logarithmic else alt.Scale(domain=[0, 1])
        lines = (
            table(name)
            .mark_line(point=alt.OverlayMarkDef(size=16))
            .encode(
                x=alt.X("strength:Q", scale=scale, title="strength", axis=alt.Axis(format="~g", tickCount=5)),
                y=alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), title=None, axis=alt.Axis(format=".0%")),
                color=alt.Color(
                    "what:N",
                    scale=alt.Scale(domain=["behavior", "collapsed"], range=["#d1495b", MUTED]),
                    legend=alt.Legend(orient="top"),
                ),
            )
        )
        levels = [{"level": level} for level in comparison.levels]
        rules = alt.Chart(alt.InlineData(values=levels)).mark_rule(color=FAINT).encode(y="level:Q")
        panels.append((rules + lines + heading(arm)).properties(width=200, height=110))
    return attach(finish(alt.concat(*panels, columns=3, spacing=30)), tables)


def written(metric: str, estimate: Estimate | None) -> str:
    """An estimate with its interval, as tables show it.

    Example:
        >>> written("collapsed", Estimate(0.25, 0.1, 0.5, 16)), written("excess_nll", None)
        ('25 % [10, 50]', '–')
    """
    if estimate is None:
        return "–"
    if metric in _PERCENT:
        value, low, high = (f"{100 * part:.0f}".replace("-", wording.MINUS) for part in estimate[:3])
        return f"{value} % [{low}, {high}]"
    return "{} [{}, {}]".format(*(wording.number(part, 3) for part in estimate[:3]))


def off_level(result: LevelResult) -> str:
    """The mark of a rate whose interval on unseen prompts leaves the level out: its costs are those of another rate."""
    return OFF_LEVEL if result.level_covered is False else ""


def setting_words(result: LevelResult) -> str:
    """What a method chose, in a few words."""
    if result.strength is None or result.sign is None:
        return WITHHELD
    parts = [] if result.layer is None else [f"layer {result.layer}"]
    if result.method in ("ablate", "directional_ablation"):
        return ", ".join([*parts, f"share {wording.quantity(result.strength)}"])
    unit = "‖r‖" if result.method == "mean_difference" else "budgets"
    parts.append(f"{wording.quantity(result.sign * result.strength)} {unit}")
    return ", ".join([*parts, *([] if result.multiple is None else [f"k = {result.multiple}"])])


def comparison_table(comparison: Comparison) -> Table:
    """Every method at every level, for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    metrics = {
        "behavior_rate": "flips",
        "collapsed": "collapsed",
        "capability_excess_nll": "generic, excess nats",
        "benign_verbatim": "benign unchanged",
    }
    shown.add_column("method", no_wrap=True)
    shown.add_column("aim", justify="right", no_wrap=True)
    shown.add_column("chosen", no_wrap=True, max_width=26)
    for name in metrics.values():
        shown.add_column(name, no_wrap=True)
    for arm in comparison.arms:
        label = arm
        for result in (row for row in comparison.results if row.arm == arm):
            cells = [Text(wording.visible(label)), Text(f"{result.level:.0%}")]
            if result.matched:
                cells += [Text(setting_words(result), style="dim")]
                mark = off_level(result)
                cells += [
                    Text(written(metric, result.metrics.get(metric)) + (mark if metric == "behavior_rate" else ""))
                    for metric in metrics
                ]
            else:
                cells += [Text(f"unmatched, nearest {result.select_rate:.0%}", style="dim")]
                cells += [Text("–", style="dim") for _ in metrics]
            shown.add_row(*cells)
            label = ""
        shown.add_section()
    return shown


def comparison_lines(comparison: Comparison) -> tuple[str, ...]:
    """What to print under the table."""
    costs = [row for row in comparison.differences if row.metric != "behavior_rate"]
    lines = [
        f"{comparison.n_evaluate} prompts reported on, {comparison.n_select} others that strengths were matched on; "
        "95 % intervals; a level that no strength matches is left out, not extrapolated",
        f"{sum(row.p_holm < 0.05 for row in costs)} of {len(costs)} differences between a neuron method and a residual "
        "baseline at one level hold after Holm's correction (p < 0.05)"
        if costs
        else "no level is matched by both a neuron method and a residual baseline, so their costs are not compared",
    ]
    if any(map(off_level, comparison.results)):
        lines.append(f"{OFF_LEVEL} the interval on unseen prompts leaves the level out: the costs are at another rate")
    return (*lines, *comparison.notes)


def comparison_terminal(
    found: Comparison, *, sensitive: bool, organism: bool, include_neurons: bool = False
) -> Iterator[RenderableType]:
    """What a reader at a terminal is shown of a comparison; arguments as `write_comparison`."""
    document = comparison_document(found, sensitive=sensitive, organism=organism)
    shown = shareable(document, include_neurons=include_neurons).comparison()
    yield Text(f"{shown.behavior} on {shown.model}: what each method costs at one rate", style="bold")
    yield Fitting([comparison_table(shown)])
    for line in comparison_lines(shown):
        yield Text(line, style="dim")
