"""The page of a check: what this package's audit finds of what is known of the organisms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controlwindow.report.canvas import attach
from controlwindow.report.page import Page, Sheet
from controlwindow.report.rates import RateRow, rates_figure
from controlwindow.report.wording import branch_sign

CHECK_COLUMNS = ("organism", "behavior", "neuron", "known as", "rank", "trigger", "expected", "verdict", "")


def render_check(document: Mapping[str, Any], rates: Sequence[RateRow], *, screen: str, top: int, seed: int) -> Page:
    """Draw a check. Organisms hold nothing that is withheld: their controllers are published.

    Args:
        document: What `organisms check --json` prints.
        rates: Its rates, in the order in which they are shown.
        screen: The audit's screen.
        top: How many of the screen's top neurons were tested.
        seed: Seed of the audits.
    """
    sheet = Sheet("check.html.jinja")
    figure = None
    if rates:
        specification, tables, description = rates_figure(rates, "Rates over all organisms")
        figure = sheet.draw("check", attach(specification, tables), description)
    opened = document["random_open_rate"]
    return sheet.page(
        check=document,
        columns=CHECK_COLUMNS,
        rows=list(check_rows(document["organisms"])),
        figure=figure,
        opened=opened,
        failed=[(o["name"], behavior, why) for o in document["organisms"] for behavior, why in o["failed"].items()],
        origin=[("screen", screen), ("top", str(top)), ("seed", str(seed))],
    )


def check_rows(scores: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Every known neuron as it is shown, column by column of `CHECK_COLUMNS`; the last says right or wrong."""
    for found in scores:
        name = found["name"].removeprefix("organism:")
        for row in (*found["planted"], *found["natural"], *found["known"]):
            if row["role"] == "natural" and row["verdict"] is None:
                continue
            yield [
                name,
                row["behavior"],
                f"{row['neuron']} {branch_sign(row['branch'])}",
                _known_as(row),
                "–" if row["screen_rank"] is None else str(row["screen_rank"]),
                "–" if row["trigger"] is None else f"{row['trigger']:.2f}{_interval(row['trigger_interval'])}",
                _expected(row),
                _verdict(row),
                "right" if _as_known(row) else "wrong",
            ]
        for case in found["distributed"]:
            opened = len(case["opened"])
            tested, right = f"{case['tested']} neurons", "wrong" if opened else "right"
            yield [name, case["behavior"], tested, "distributed", "", "", "closed", f"{opened} open", right]


def _known_as(row: Mapping[str, Any]) -> str:
    words = {"planted": f"planted by {row['by']}", "natural": "census", "failure": "failure", "decoy": "decoy"}
    traits = [trait.replace("_", " ") for trait in row["traits"]]
    return ", ".join((words[row["role"]], *traits))


def _expected(row: Mapping[str, Any]) -> str:
    if row["trigger_expected"] is not None:
        low, high = row["trigger_expected"]
        return f"open, {low:.2f}–{high:.2f}"
    if row["role"] in ("planted", "natural"):
        return "open"
    return (row["mode_expected"] or "closed").replace("_", " ")


def _verdict(row: Mapping[str, Any]) -> str:
    if row["verdict"] is None:
        return "not tested"
    words: str = row["verdict"] if row["failure_mode"] is None else row["failure_mode"].replace("_", " ")
    return words if row["decided"] else f"{words}?"


def _as_known(row: Mapping[str, Any]) -> bool:
    """Whether everything that is known of a neuron was found."""
    return row["right"] and not any(row[part] is False for part in ("trigger_right", "branch_right", "mode_right"))


def _interval(ends: Sequence[float | None] | None) -> str:
    if ends is None:
        return ""
    low, high = ("–" if end is None else f"{end:.2f}" for end in ends)
    return f" [{low}, {high}]"
