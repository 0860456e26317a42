"""The contrast in budget units: how much of the window a neuron's natural contrast already spans."""

from __future__ import annotations

import numpy as np

from controlwindow.instruments.dosing import model_budgets
from controlwindow.screens.base import ContrastScreen, Floats, register


@register
class WindowWeighted(ContrastScreen):
    """Ranks by |δ|·‖v‖/‖r_L‖, the contrast in budget units (LAW's screen "made precise by the window"; our reading)."""

    name = "window"

    def scores(self) -> Floats:
        """δ/B, in budget units; 0 for a neuron that writes nothing and has no budget."""
        return np.nan_to_num(self.activations.difference / model_budgets(self.model, self.generic))
