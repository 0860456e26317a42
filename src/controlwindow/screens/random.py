"""The random control: every neuron in seeded random order, so that layers appear as often as they have neurons."""

from __future__ import annotations

import numpy as np

from controlwindow.screens.base import Floats, Screen, register
from controlwindow.statistics import stable_seed


@register
class Random(Screen):
    """A ranking that knows nothing. Its score is a seeded uniform number without meaning."""

    name = "random"
    needs_contrast = False

    def scores(self) -> Floats:
        """Uniform numbers, all different."""
        generator = np.random.default_rng(stable_seed("random screen", self.behavior.name, self.seed))
        count = len(self.model.neurons)
        return np.asarray((1 + generator.permutation(count)) / count)
