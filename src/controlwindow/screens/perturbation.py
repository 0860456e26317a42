"""PP's perturbation probing as a screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.cells import Cell, PerturbationCell, Rows
from controlwindow.errors import ScreenError
from controlwindow.instruments.arrays import unpack_array
from controlwindow.screens.base import Floats, Screen, register


def agreement(mean: Floats, mean_square: Floats) -> Floats:
    """|mean|/RMS over prompts, 0 to 1: 1 when all prompts show the same value, 0 where all are 0 (PP's coherence)."""
    root = np.sqrt(np.maximum(mean_square, 0))
    return np.asarray(np.where(root > 0, np.minimum(np.abs(mean) / np.where(root > 0, root, 1), 1), 0.0))


@register
class PerturbationScreen(Screen):
    """Ranks by |mean I|, I = (d_F·v)·(a(X~) − a(X)) over pairs of a prompt and a perturbed one (PP, arXiv 2604.27401).

    The sign says which way the perturbation's change of this neuron moves F: + towards the target.
    """

    name = "perturbation"
    needs_contrast = False

    @classmethod
    def check(cls, behavior: Behavior, split: str = "find", control: str | None = None) -> None:
        """Also require perturbation pairs that differ.

        Raises:
            ScreenError: There are none.
        """
        super().check(behavior, split, control)
        pairs = behavior.perturbation_pairs()
        if not pairs:
            raise ScreenError(
                f"{behavior.where}behavior '{behavior.name}' defines no perturbation",
                "add [perturbation] to its file, as in controlwindow guide behaviors",
            )
        if all(one == other for one, other in pairs):
            raise ScreenError(
                f"{behavior.where}behavior '{behavior.name}': the perturbation changes none of its {len(pairs)} "
                "prompts",
                'give pairs that differ with kind = "pairs"',
            )

    def cells(self) -> Sequence[Cell]:
        """The behavior's perturbation pairs."""
        return [PerturbationCell(self.behavior.name, self.split)]

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take the pairs, and note those that flip nothing."""
        super().update(results)
        pairs = self.rows[self.cells()[0]]["pairs"]
        still = [(place, pair) for place, pair in enumerate(pairs) if not pair["flips"]]
        if still:
            self.notes.append(
                f"the perturbation flips {len(pairs) - len(still)} of {len(pairs)} prompts; I is then what a change "
                "that decided nothing adds to F"
            )
        self.notes += [
            f"pair {place} does not flip: log-odds {pair['log_odds']:+.2f} → {pair['log_odds_perturbed']:+.2f}"
            for place, pair in still
        ]

    def scores(self) -> Floats:
        """Mean I, in logits."""
        return unpack_array(self.rows[self.cells()[0]]["mean"])

    def coherence(self) -> Floats:
        """|mean I|/RMS(I)."""
        return agreement(self.scores(), unpack_array(self.rows[self.cells()[0]]["mean_square"]))
