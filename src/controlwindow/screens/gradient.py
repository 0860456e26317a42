"""First-order baselines: the gradient of F, its products with activations, and the direct readout.

They say what an infinitely small change of an activation does to F; LAW reports that they anti-predict control.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlwindow.cells import ActivationCell, Cell, GradientCell, ReadoutCell
from controlwindow.instruments.arrays import unpack_array
from controlwindow.screens.base import Activations, Floats, Screen, register
from controlwindow.screens.perturbation import agreement


class _Gradients(Screen):
    """Moments of one quantity at the last prompt position of X+."""

    quantity = "gradient"

    def cells(self) -> Sequence[Cell]:
        """Gradients on X+."""
        return [GradientCell(self.behavior.name, self.split)]

    def _read(self, name: str) -> Floats:
        return unpack_array(self.rows[self.cells()[0]][name])

    def scores(self) -> Floats:
        """Mean over prompts."""
        return self._read(self.quantity)

    def coherence(self) -> Floats:
        """|mean|/RMS over prompts."""
        return agreement(self._read(self.quantity), self._read(f"{self.quantity}_square"))


@register
class GradientScreen(_Gradients):
    """Ranks by |mean ∂F/∂a| at the last prompt position of X+."""

    name = "gradient"
    passes = 3.0


@register
class GradientTimesActivation(_Gradients):
    """Ranks by |mean a·∂F/∂a| at the last prompt position of X+: to first order, minus what ablation does to F.

    The sign is that of the dose that raises F, which is the gradient's, not the product's.
    """

    name = "gradient_x_activation"
    quantity = "product"

    def signs(self) -> Floats:
        """The sign of the mean gradient."""
        return np.sign(self._read("gradient"))


@register
class AttributionPatching(_Gradients):
    """Ranks by |mean (a(X~) − a(X))·∂F/∂a| over perturbation pairs, to first order what patching does to F.

    Where the behavior defines no perturbation, the mean activation on X− stands for a(X~). The sign is the gradient's.
    """

    name = "attribution_patching"
    quantity = "patching"

    @property
    def paired(self) -> bool:
        """Whether the behavior defines a perturbation."""
        return bool(self.behavior.perturbation_pairs())

    def cells(self) -> Sequence[Cell]:
        """Gradients, and without a perturbation the activations on X−."""
        gradients = GradientCell(self.behavior.name, self.split, self.paired)
        return [gradients] if self.paired else [gradients, ActivationCell(self.behavior.name, self.split)]

    def scores(self) -> Floats:
        """The patched difference times the gradient, mean over prompts."""
        if self.paired:
            return super().scores()
        patch = Activations.from_row(self.rows[self.cells()[1]]).negative_mean
        # Mean over prompts of (ā(X−) − a)·g.
        return patch * self._read("gradient") - self._read("product")

    def signs(self) -> Floats:
        """The sign of the mean gradient."""
        return np.sign(self._read("gradient"))

    def coherence(self) -> Floats:
        """|mean|/RMS over pairs; without pairs that of the gradient."""
        if self.paired:
            return super().coherence()
        return agreement(self._read("gradient"), self._read("gradient_square"))


@register
class Readout(Screen):
    """Ranks by |d_F·v|: what the write direction does to F when read out directly, without a final norm."""

    name = "readout"

    def cells(self) -> Sequence[Cell]:
        """d_F·v."""
        return [ReadoutCell(self.behavior.name, self.split)]

    def scores(self) -> Floats:
        """d_F·v, in logits per unit of activation."""
        return unpack_array(self.rows[self.cells()[0]]["alignment"])
