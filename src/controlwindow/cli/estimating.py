"""How long a command will take, as options, as a line and as a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from controlwindow.cli.display import output, print_json
from controlwindow.errors import UsageError
from controlwindow.jobs.audit.estimate import Estimate, say_seconds
from controlwindow.report.terminal import plain_table
from controlwindow.report.wording import size_words

EstimateOption = Annotated[
    bool, typer.Option("--estimate", help="Time a sample, say how long it would take, and stop there.")
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget", help="Leave out what does not fit into this time by estimate, as in 30m or 1h30m.", metavar="TIME"
    ),
]

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as 90s, 30m or 1h30m.

    Raises:
        UsageError: It is none, or nothing.

    Example:
        >>> parse_duration("1h30m")
        5400.0
    """
    found = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    parts = [float(part or 0) for part in found.groups()] if found else []
    seconds = parts[0] * 3600 + parts[1] * 60 + parts[2] if parts else 0.0
    if seconds <= 0:
        raise UsageError(f"{text!r} is not a duration", "write it as in 90s, 30m or 1h30m")
    return seconds


def say_estimate(estimate: Estimate, given_up: Sequence[str]) -> str:
    """One line before the work."""
    low, high = estimate.interval
    line = (
        f"about {say_seconds(estimate.seconds)} ({say_seconds(low)} to {say_seconds(high)}), "
        f"{estimate.rows:,} rollouts, {size_words(estimate.memory)}"
    )
    return line if not given_up else f"{line}; to fit the budget: {'; '.join(given_up)}"


def show_estimate(estimate: Estimate, given_up: Sequence[str], as_json: bool) -> None:
    """The estimate, part by part."""
    if as_json:
        low, high = estimate.interval
        print_json(
            {
                "seconds": estimate.seconds,
                "interval": [low, high],
                "rollouts": estimate.rows,
                "memory_bytes": estimate.memory,
                "parts": [{"name": p.name, "seconds": p.seconds, "rollouts": p.rows} for p in estimate.parts],
                "given_up": list(given_up),
            },
            "estimate",
        )
        return
    rows = [[p.name, say_seconds(p.seconds), f"{p.rows:,}" if p.rows else "–"] for p in estimate.parts]
    output().print(plain_table([("part", "left"), ("expected", "right"), ("rollouts", "right")], rows))
    output().print(say_estimate(estimate, given_up), soft_wrap=True, highlight=False)
