"""Whether a neuron comes too late to steer: predicted before any rollout, from what its dose moves on generic text."""

from __future__ import annotations

from controlwindow.instruments.dosing import layer_offsets
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.operations import Add
from controlwindow.instruments.probes import propagation
from controlwindow.models import Model, Neuron
from controlwindow.windows.failure import RECOMPUTED

COORDINATE = 0.6
"""|c| of the dose: about where ceilings begin (method section 2)."""

_TEXTS = 2
"""Generic answers that are read."""

_ALIKE = 3
"""After so many neurons of a layer that all came too late, the others of that layer are taken to be like them."""


class Lateness:
    """Predicts for one neuron after another whether its windows can only be closed as `too_late`.

    Behind the last block nothing is recomputed, so its neurons are late without a pass. In earlier layers a dose at
    c = 0.6 is run over generic text: below `windows.failure.RECOMPUTED` what arrives at the readout is the write.

    Args:
        model: The model.
        generic: Its generic pass.
    """

    def __init__(self, model: Model, generic: GenericPass) -> None:
        self._model, self._generic = model, generic
        self._measured: dict[int, list[float]] = {}

    def __call__(self, name: str, branch: int) -> float | None:
        """Predicted propagation of a neuron on a branch if it comes too late, else None.

        Args:
            name: The neuron.
            branch: Sign of the dose; 0 counts as +1.
        """
        neuron = Neuron.parse(name)
        if neuron.layer == self._model.layers - 1:
            return 0.0
        known = self._measured.setdefault(neuron.layer, [])
        if len(known) >= _ALIKE and max(known) < RECOMPUTED:
            return round(sum(known) / len(known), 6)
        offsets = layer_offsets(self._model, self._generic, neuron.layer, COORDINATE)
        alpha = float(offsets[int(branch < 0), self._model.neurons.column(neuron)])
        found = propagation(
            self._model,
            neuron,
            (Add(neuron, alpha),),
            self._generic.prompt_ids[:_TEXTS],
            self._generic.token_ids[:_TEXTS],
        )
        # A dose that moves nothing is no matter of depth.
        if found is None:
            return None
        known.append(found)
        return round(found, 6) if found < RECOMPUTED else None
