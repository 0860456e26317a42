"""ONE's anchor mode: a pin whose value follows from how strongly the prompt itself excites the neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from controlwindow.errors import OperationError
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.operations import Pin
from controlwindow.models import Model, Neuron


@dataclass(frozen=True)
class Anchor:
    """ONE's anchored value of one neuron, still without a prompt.

    With m the value a pin would set, d = a_H − a_h the gap between its mean activation on harmful and harmless prompts
    at t* (`screens.one`), and A the largest activation (the smallest where d < 0) that a prompt brings about at the
    positions after the instruction in a pass without hooks, the activation is set at every position to

        clamp(k·m·A/d − d, m),

    k being 1 or 2. A prompt that excites the neuron as harmful ones do (A ≈ d) gets about k·m, one that does not
    (A ≈ 0) only about −d. The paper's formula has reached us garbled: "− d" is our reading of it, and "clamp(·, m)" we
    read as a limit of |m| on the size, so that an anchor never goes further than the pin of the same m.

    Attributes:
        neuron: The neuron.
        value: m, in activation units; its sign is opposite to d where the formula is to make sense.
        gap: d, in activation units.
        multiple: k.
        suffix: How many positions of a prompt come after the instruction, at least the last one.

    Raises:
        OperationError: The gap is 0, or k or the number of positions is below 1.

    Example:
        >>> Anchor("L3.N80", value=-2.0, gap=0.5).value_at(0.25)
        -1.5
        >>> Anchor("L3.N80", value=-2.0, gap=0.5, multiple=2).value_at(0.5)
        -2.0
    """

    neuron: Neuron
    value: float
    gap: float
    multiple: int = 1
    suffix: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        if self.gap == 0 or self.multiple < 1 or self.suffix < 1:
            raise OperationError(
                f"an anchor of {self.neuron} with gap {self.gap}, multiple {self.multiple} and {self.suffix} positions "
                "is not defined",
                "a neuron that both prompt sets excite alike can be pinned, not anchored",
            )

    def value_at(self, peak: float) -> float:
        """The value for a prompt whose A is `peak`."""
        limit = abs(self.value)
        return min(limit, max(-limit, self.multiple * self.value * peak / self.gap - self.gap))

    def pins(self, model: Model, prompt_ids: Sequence[Sequence[int]], *, batch_rows: int = 64) -> list[Pin]:
        """What the anchor comes to on each prompt, after a pass over the prompts without hooks.

        Args:
            model: The model.
            prompt_ids: Prompts as token ids.
            batch_rows: Rows a pass.

        Raises:
            NeuronError: The neuron lies outside the model.
        """
        peaks = suffix_peaks(model, self.neuron, prompt_ids, self.suffix, lowest=self.gap < 0, batch_rows=batch_rows)
        return [Pin(self.neuron, self.value_at(peak)) for peak in peaks]


def suffix_peaks(
    model: Model,
    neuron: Neuron,
    prompt_ids: Sequence[Sequence[int]],
    suffix: int,
    *,
    lowest: bool = False,
    batch_rows: int = 64,
) -> list[float]:
    """Largest, or smallest, activation of a neuron over the last positions of each prompt, undosed.

    Args:
        model: The model.
        neuron: The neuron.
        prompt_ids: Prompts as token ids, each at least `suffix` long.
        suffix: How many last positions.
        lowest: Take the smallest.
        batch_rows: Rows a pass.

    Raises:
        NeuronError: The neuron lies outside the model.
    """
    neuron = model.require(neuron)
    column = model.neurons.column(neuron)
    found: list[float] = []

    def read(_layer: int, values: torch.Tensor) -> None:
        chosen = values[..., column].float()
        found.extend((chosen.amin(1) if lowest else chosen.amax(1)).tolist())

    for start in range(0, len(prompt_ids), batch_rows):
        batch = model.pad(prompt_ids[start : start + batch_rows])
        mask = batch["attention_mask"]
        options = model.forward_options(mask, (mask.cumsum(-1) - 1).clamp(min=0))
        with (
            measuring(model),
            capturing(model, activations=read, layers=[neuron.layer], positions=slice(-suffix, None)),
        ):
            model.decoder(input_ids=batch["input_ids"], **options)
    return found
