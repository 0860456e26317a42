"""CNA's contrastive screen: the difference of mean activations between X+ and X−."""

from __future__ import annotations

from controlwindow.screens.base import ContrastScreen, Floats, register


@register
class Contrastive(ContrastScreen):
    """Ranks by |δ|, δ = mean a(X+) − mean a(X−) at the last prompt position (CNA, arXiv 2605.12290)."""

    name = "contrastive"

    def scores(self) -> Floats:
        """δ in activation units."""
        return self.activations.difference
