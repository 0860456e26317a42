"""Given tokens as one batch: prompts padded on the left, continuations on the right, for teacher-forced passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from controlwindow.models import Model


@dataclass(frozen=True)
class Sequences:
    """A packed batch.

    Attributes:
        input_ids: [rows, width + horizon].
        attention_mask: The same shape; 0 on padding.
        position_ids: The same shape.
        first_generated: Column of the last prompt position, from which positions count as generated.
        targets: The continuation tokens, [rows, horizon].
        emitting: Which of the columns from `first_generated` on emit a given token, [rows, horizon].
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    first_generated: int
    targets: torch.Tensor
    emitting: torch.Tensor

    @property
    def horizon(self) -> int:
        """Longest continuation."""
        return self.targets.shape[1]

    def take(self, rows: Sequence[int]) -> Sequences:
        """Chosen rows, each as often as it is named."""
        places = list(rows)
        return Sequences(
            self.input_ids[places],
            self.attention_mask[places],
            self.position_ids[places],
            self.first_generated,
            self.targets[places],
            self.emitting[places],
        )

    def repeat(self, times: int) -> Sequences:
        """The whole batch `times` times, one block after the other."""
        return self.take(list(range(len(self.input_ids))) * times)

    def logits(self, model: Model) -> torch.Tensor:
        """Logits at the positions that emit the continuation, [rows, horizon, vocabulary], under installed hooks."""
        # One more than the horizon: the last prompt position emits the first token, the last token emits nothing.
        output = model.hf_model(
            input_ids=self.input_ids,
            attention_mask=self.attention_mask,
            position_ids=self.position_ids,
            use_cache=False,
            logits_to_keep=self.horizon + 1,
        )
        logits: torch.Tensor = output.logits[:, :-1]
        return logits

    def emitted_from(self, per_position: torch.Tensor) -> torch.Tensor:
        """Select emitting positions of [rows, width + horizon, …] values: [emitting positions, …]."""
        return per_position[:, self.first_generated : self.first_generated + self.horizon][self.emitting]


def pack(model: Model, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> Sequences:
    """Pack prompts and continuations, both as token ids, one of each per row."""
    batch = model.pad(prompts)
    horizon = max(map(len, continuations))
    targets = torch.full((len(prompts), horizon), model.pad_id, dtype=torch.long)
    emitting = torch.zeros((len(prompts), horizon), dtype=torch.bool)
    for row, tokens in enumerate(continuations):
        targets[row, : len(tokens)] = torch.tensor(list(tokens), dtype=torch.long)
        emitting[row, : len(tokens)] = True
    targets, emitting = targets.to(model.device), emitting.to(model.device)
    mask = torch.cat([batch["attention_mask"], emitting.long()], 1)
    return Sequences(
        input_ids=torch.cat([batch["input_ids"], targets], 1),
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        first_generated=batch["input_ids"].shape[1] - 1,
        targets=targets,
        emitting=emitting,
    )
