"""What a dose nearby made of the same prompts: drafts for a rollout, and judgements that need not be made again.

Doses of one neuron often say the same for a long stretch: the undosed answer below the trigger, one and the same other
answer above it. So the text of the nearest dose in the ledger is the draft of a row (`Row.draft`): what the row itself
says does not depend on it. Where the row says the very same, its judgement is the same too and is taken over. Only the
ledger is read, never memory, so that a run gone on with has the rows of one that was not cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from controlwindow.cells import RolloutCell, Rows
from controlwindow.instruments.rows import RowRollout
from controlwindow.measuring.store import Store

TEXTS = 3
"""Most different texts of a prompt that are tried as drafts."""


class Neighbours:
    """Rows of measured doses by the cells that lie near them.

    Args:
        ledger: Where measured cells are.
    """

    def __init__(self, ledger: Store) -> None:
        self._ledger = ledger

    def nearest(self, cell: RolloutCell, prompts: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """For each prompt whole rows of the nearest doses of a cell's neuron on its branch, each text once.

        Nearest in log t, the lower one of two; the same dose in another precision is nearest of all. A prompt has no
        rows where nothing is measured or completions are not at hand, and so have all of them for the undosed model and
        for samples.

        Args:
            cell: The cell that is about to be measured.
            prompts: Ids of its prompts.
        """
        found: dict[str, list[dict[str, Any]]] = {prompt: [] for prompt in prompts}
        if cell.neuron is None or cell.sample_seed is not None or cell.t <= 0:
            return found
        known = [
            other
            for other in self._ledger.rollout_cells(cell.behavior, cell.neuron)
            if other.t > 0 and _place(other) == _place(cell) and other != cell
        ]
        missing = set(prompts)
        for other in sorted(known, key=lambda other: (abs(math.log(other.t / cell.t)), other.t)):
            if not missing:
                break
            if other.prompts and missing.isdisjoint(other.prompts):
                continue
            for row in whole_rows(self._ledger, other) or []:
                texts = found.get(row["prompt"])
                if row["prompt"] in missing and texts is not None:
                    if all(row["token_ids"] != known_row["token_ids"] for known_row in texts):
                        texts.append(row if other.precision == cell.precision else {"token_ids": row["token_ids"]})
                    if len(texts) == TEXTS:
                        missing.discard(row["prompt"])
        return found


def whole_rows(ledger: Store, cell: RolloutCell) -> Rows | None:
    """A cell's rows with their completions, which sensitive behaviors keep apart; None where either is missing."""
    rows = ledger.rows(cell)
    if rows is None or all("token_ids" in row for row in rows):
        return rows
    completions = ledger.completions(cell)
    return None if completions is None else [{**a, **b} for a, b in zip(rows, completions, strict=True)]


def already_judged(rollout: RowRollout, neighbours: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """A neighbour's row whose text and judgement hold for a rollout word for word, or None."""
    for row in neighbours:
        same = row["token_ids"] == list(rollout.token_ids) and row.get("cut", False) == rollout.cut
        if same and "outcomes" in row:
            return row
    return None


def _place(cell: RolloutCell) -> RolloutCell:
    """What cells have in common whose texts may be alike: all but the dose, the prompts and the precision."""
    return replace(cell, t=0.0, alpha=0.0, prompts=(), precision="model")
