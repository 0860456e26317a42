"""Answers prompt by prompt behind a window, read back from an audit's ledger, so that two models can be paired."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.runs.ledger import Ledger


class Evidence(NamedTuple):
    """Flips of one neuron on one branch.

    Attributes:
        prompts: Ids of the eligible prompts.
        coordinates: c of the doses measured on all of them, ascending.
        flips: Whether each answer flips coherently, [doses, prompts].
        height: Place of the dose with the largest share of flips.
    """

    prompts: tuple[str, ...]
    coordinates: NDArray[np.float64]
    flips: NDArray[np.bool_]
    height: int

    def at(self, prompts: tuple[str, ...]) -> NDArray[np.bool_]:
        """Flips on some of the prompts, in that order."""
        places = {prompt: place for place, prompt in enumerate(self.prompts)}
        return self.flips[:, [places[prompt] for prompt in prompts]]


def read_evidence(ledger: Ledger, window: Mapping[str, Any], targets: frozenset[str]) -> Evidence | None:
    """The evidence of a window.

    Args:
        ledger: The ledger of the audit that measured it.
        window: The window as recorded.
        targets: Outcomes that count as a flip.

    Returns:
        None where the ledger holds no dose that was tried on every prompt.
    """
    rows: dict[float, dict[str, bool]] = {}
    for cell in ledger.rollout_cells(window["behavior"], window["neuron"]):
        usual = cell.site == "activation" and cell.precision == "model" and cell.role == "positive"
        if cell.branch != window["branch"] or cell.sample_seed is not None or not usual:
            continue
        for row in ledger.rows(cell) or []:
            rows.setdefault(cell.t, {})[row["prompt"]] = row["outcomes"][str(cell.horizon)] in targets
    whole = {t: found for t, found in sorted(rows.items()) if len(found) == window["n_eligible"]}
    coordinates = {dose["t"]: dose["c"] for dose in window["doses"]}
    doses = [t for t in whole if t in coordinates]
    if not doses:
        return None
    prompts = tuple(sorted(whole[doses[0]]))
    flips = np.array([[whole[t][prompt] for prompt in prompts] for t in doses], dtype=bool)
    # Undosed, an eligible prompt is in the source state.
    flips = np.vstack([np.zeros((1, len(prompts)), dtype=bool), flips])
    c = np.array([window["c0"], *(coordinates[t] for t in doses)])
    return Evidence(prompts, c, flips, int(flips.mean(1).argmax()))
