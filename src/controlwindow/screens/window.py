"""The contrast in budget units: how much of the window a neuron's natural contrast already spans."""

from __future__ import annotations

import numpy as np

from controlwindow.instruments.dosing import model_budgets
from controlwindow.screens.base import ContrastScreen, Floats, register


@register
class WindowWeighted(ContrastScreen):
    """Ranks by |δ|/B, the contrast in budget units.

    For a plain budget that is |δ|·‖v‖/‖r_L‖ (LAW's screen "made precise by the window"; our reading).
    """

    name = "window"

    def scores(self) -> Floats:
        """δ/B, in budget units."""
        budgets = model_budgets(self.model, self.generic)
        # A neuron without a budget spans nothing of a window that no dose of it can open.
        return np.where(np.isnan(budgets), 0.0, self.activations.difference / budgets)
