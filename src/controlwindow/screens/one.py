"""ONE's attribution with its re-ranking sweep (arXiv 2605.08513)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlwindow.cells import Cell, PinCell, ReferenceCell, Rows
from controlwindow.instruments.arrays import unpack_array
from controlwindow.instruments.dosing import model_budgets
from controlwindow.screens.base import Floats, Screen, register
from controlwindow.screens.perturbation import agreement

SWEPT = 5
"""Neurons that are re-ranked by the sweep (ONE)."""

LADDER = (0.25, 0.5, 1.0, 2.0)
"""Sizes of the pinned value in budget units (ours; ONE sweeps raw values)."""

SELECT_PROMPTS = 16
"""Most prompts of the select split that the sweep uses."""


def reference_point(row: Mapping[str, Any], place: int) -> tuple[float, int]:
    """Where ONE reads one neuron: its gap at t*, and how many positions come after the instruction.

    Args:
        row: The row of a `ReferenceCell`.
        place: Place of the neuron among all of the model.

    Returns:
        d = a_H − a_h at t*, the position of the largest G·(a_h − a_H), and the number of positions.
    """
    names = ("positive_gradient", "negative_gradient", "positive_activation", "negative_activation")
    gradient, other, active, inactive = (unpack_array(row[name])[:, place] for name in names)
    best = int(((gradient + other) * (inactive - active)).argmax())
    return float(active[best] - inactive[best]), len(active)


@register
class OneNeuron(Screen):
    """ONE: gradient of −log(p_ref/(1 − p_ref)) times activation difference, then a sweep of pinned values.

    score = G·(a_h − a_H), with G = mean gradient on H (X+) + mean gradient on h (X−) at t*, the position after the
    instruction where the score is largest. Ranked by signed score among the first two thirds of the layers and the
    neurons with |a_H| > |a_h| at t*; the top 5 are ranked again by how often a pinned value of sign opposite to a_H
    gives a target outcome on the select split. p_ref is the probability of the behavior's control texts together.
    """

    name = "one"
    passes = 6.0
    needs_rollouts = True
    selects = True

    def next_cells(self) -> Sequence[Cell]:
        """Gradients first, then the sweep of the five best."""
        first = ReferenceCell(self.behavior.name, self.split)
        if first not in self.rows:
            return [first]
        return [cell for cell in self.sweep() if cell not in self.rows]

    def update(self, results: Mapping[Cell, Rows]) -> None:
        """Take gradients, or rollouts with their share of target outcomes."""
        targets = self.behavior.target_outcomes
        judged: dict[tuple[str, tuple[int, ...]], tuple[int, int]] = {}
        for cell, rows in results.items():
            if isinstance(cell, PinCell):
                flips = [row["outcomes"][str(cell.horizon)] in targets for row in rows]
                lengths = list(map(len, self.model.token_ids([self._texts[row["prompt"]] for row in rows])))
                new = sum(row["tokens"] for row in rows)
                cost = {"forward": len(rows), "backward": 0, "tokens": sum(lengths) + new, "scored": new}
                self.rows[cell] = {"success": sum(flips) / len(flips)}
                self.cost = self.cost.plus(cost)
                judged |= {
                    (row["prompt"], tuple(row.get("token_ids") or ())): (length, row["tokens"])
                    for row, length in zip(rows, lengths, strict=True)
                }
            else:
                super().update({cell: rows})
                if not self.sweep():
                    self.notes.append("the behavior has no select prompts, so the top 5 are not ranked again")
        # Whether an answer is coherent is read off a pass of the undosed model over it, once for each that differs.
        read, scored = (sum(part) for part in zip(*judged.values(), strict=True)) if judged else (0, 0)
        self.cost = self.cost.plus({"forward": len(judged), "backward": 0, "tokens": read + scored, "scored": scored})

    @property
    def _texts(self) -> dict[str, str]:
        return {prompt.id: prompt.text for prompt in self.behavior.prompts("select")}

    def _read(self, name: str) -> Floats:
        return unpack_array(self.rows[ReferenceCell(self.behavior.name, self.split)][name])

    def _at_best(self, values: Floats) -> Floats:
        """Values at each neuron's t*, [positions, neurons] to [neurons]."""
        best = self._all_scores().argmax(0)
        return np.asarray(np.take_along_axis(values, best[None], 0)[0])

    def _all_scores(self) -> Floats:
        gradient = self._read("positive_gradient") + self._read("negative_gradient")
        return gradient * (self._read("negative_activation") - self._read("positive_activation"))

    def scores(self) -> Floats:
        """G·(a_h − a_H) at t*."""
        scores = self._at_best(self._all_scores())
        return scores[self.matched()] if self.control == "random" else scores

    def signs(self) -> Floats:
        """The sign of the pinned value: opposite to a_H."""
        return -np.sign(self._at_best(self._read("positive_activation")))

    def coherence(self) -> Floats:
        """|mean|/RMS of the gradient on H at t*."""
        return self._at_best(agreement(self._read("positive_gradient"), self._read("positive_gradient_square")))

    def dropped(self) -> dict[str, NDArray[np.bool_]]:
        """Neurons outside ONE's choice."""
        layers = np.repeat(np.arange(self.model.layers), self.model.neurons.widths)
        active = np.abs(self._at_best(self._read("positive_activation")))
        left_out = {
            "last third of the layers": layers >= math.ceil(2 * self.model.layers / 3),
            "|a| on X+ not above |a| on X−": active <= np.abs(self._at_best(self._read("negative_activation"))),
        }
        if self.control == "random":
            # Random neurons take the places of those chosen, with what was left out there.
            return {reason: mask[self.matched()] for reason, mask in left_out.items()}
        return left_out

    def swept(self) -> list[int]:
        """The neurons that are ranked again, best first, by their places."""
        kept = ~np.any(list(self.dropped().values()), axis=0) & np.isfinite(model_budgets(self.model, self.generic))
        scores = np.where(kept, self.scores(), -np.inf)
        order = np.argsort(-scores, kind="stable")[:SWEPT]
        return [int(place) for place in order if np.isfinite(scores[place])]

    def sweep(self) -> list[PinCell]:
        """Rollouts of the swept neurons, values of one neuron together."""
        prompts = tuple(prompt.id for prompt in self.behavior.prompts("select")[:SELECT_PROMPTS])
        if not prompts:
            return []
        budgets, signs = model_budgets(self.model, self.generic), self.signs()
        return [
            PinCell(
                self.behavior.name,
                "select",
                str(self.model.neurons[place]),
                round(float(signs[place] * t * budgets[place]), 6),
                self.behavior.horizons[-1],
                prompts,
            )
            for place in self.swept()
            for t in LADDER
        ]

    def success(self) -> dict[int, float]:
        """Largest share of target outcomes over the ladder, by place of the neuron."""
        cells = self.sweep()
        found: dict[int, float] = {}
        for place in self.swept():
            name = str(self.model.neurons[place])
            shares = [self.rows[cell]["success"] for cell in cells if cell.neuron == name and cell in self.rows]
            if shares:
                found[place] = max(shares)
        return found

    def order(self) -> Floats:
        """Signed score, the swept neurons first by their success."""
        order = np.argsort(np.argsort(self.scores(), kind="stable"), kind="stable").astype(float)
        again = sorted(self.success().items(), key=lambda item: (item[1], order[item[0]]))
        for step, (place, _) in enumerate(again):
            order[place] = len(order) + step
        return order
