"""Synthetic neurons: from a control coordinate to each prompt's outcome, without any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from controlwindow.cells import RolloutCell
from controlwindow.curves import SaturationCurve
from controlwindow.windows.search import Candidate, SearchTask, WindowSearch

HORIZONS = (8, 16)
Respond = Callable[[float], Sequence[str]]
"""Outcomes of all prompts at a control coordinate."""


def rows_of(outcomes: Sequence[str], coordinate: float, earlier: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Rows as the engine stores them; `earlier` are the outcomes at the first horizon."""
    return [
        {
            "prompt": f"evaluate.p{i:03d}",
            "outcomes": {"8": (earlier or outcomes)[i], "16": outcome},
            "coordinate": coordinate + 0.001 * i,
            "ties": i % 2,
        }
        for i, outcome in enumerate(outcomes)
    ]


def spread(centre: float, width: float, count: int) -> np.ndarray:
    """Per-prompt thresholds around a centre."""
    return centre + width * np.linspace(-0.5, 0.5, count)


def window(triggers: Sequence[float], ceilings: Sequence[float]) -> Respond:
    """Each prompt switches at its trigger and collapses at its ceiling."""

    def respond(c: float) -> list[str]:
        return [
            "collapsed" if c >= high else "switched" if c >= low else "unswitched"
            for low, high in zip(triggers, ceilings, strict=True)
        ]

    return respond


def search_for(count: int = 16, cosine: float = 0.0, branch: int = 1, **task: Any) -> WindowSearch:
    """A search that has measured nothing yet."""
    prompts = tuple(f"evaluate.p{i:03d}" for i in range(count))
    return WindowSearch(
        Candidate("L1.N2", branch, SaturationCurve(cosine), budget=2.5),
        SearchTask("mode", "evaluate", prompts, HORIZONS[-1], frozenset({"switched"}), **task),
        rows_of(["unswitched"] * count, cosine),
    )


def drive(search: WindowSearch, respond: Respond, limit: int = 60) -> list[list[RolloutCell]]:
    """Answer a search until it is done; gives back what it asked for, round by round."""

    def answer(cell: RolloutCell) -> list[dict[str, Any]]:
        c = search.candidate.coordinate(cell.t)
        return rows_for(cell, respond(c), c)

    return drive_rows(search, answer, limit)


def rows_for(
    cell: RolloutCell, outcomes: Sequence[str], coordinate: float, earlier: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows of a cell's own prompts, from the outcomes of all."""
    rows = {row["prompt"]: row for row in rows_of(outcomes, coordinate, earlier)}
    return [rows[prompt] for prompt in cell.prompts]


def drive_rows(
    search: WindowSearch, answer: Callable[[RolloutCell], list[dict[str, Any]]], limit: int = 60
) -> list[list[RolloutCell]]:
    """Answer a search cell by cell until it is done."""
    rounds = []
    while cells := search.next_cells():
        rounds.append(list(cells))
        assert len(rounds) <= limit, "the search does not end"
        search.update({cell: answer(cell) for cell in cells})
    return rounds
