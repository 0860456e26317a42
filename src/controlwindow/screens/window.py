"""The contrast in budget units: how much of the window a neuron's natural contrast already spans."""

from __future__ import annotations

import numpy as np

from controlwindow.models.directions import write_norms
from controlwindow.screens.base import Floats, Screen, register


@register
class WindowWeighted(Screen):
    """Ranks by |δ|·‖v‖/‖r_L‖, the contrast in budget units (LAW's screen "made precise by the window"; our reading)."""

    name = "window"

    def scores(self) -> Floats:
        """δ/B, in budget units."""
        assert self.activations is not None
        norms = np.concatenate(
            [write_norms(self.model, layer).cpu().double().numpy() for layer in range(self.model.layers)]
        )
        residuals = np.repeat(np.asarray(self.generic.residual_norm), self.model.neurons.widths)
        return np.asarray(self.activations.difference * norms / residuals)
