"""How fast a model reads and writes on the machine at hand: a sample of its own prompts, timed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from controlwindow.instruments.generic import default_prompts
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.models import Model

_FEW, _MANY, _STEPS = 2, 16, 5


@dataclass(frozen=True)
class Speed:
    """Seconds of work through all blocks: what every pass costs whatever its size, and what a token adds.

    Attributes:
        call: Per pass.
        read: Per prompt token of a batch.
        step: Per generated token of a batch, readout included.
        prompt: Mean length of the prompts read, in tokens, template included.
        readout: Share of a generated token's products that the readout makes up.
    """

    call: float
    read: float
    step: float
    prompt: float
    readout: float

    def reading(self, tokens: float, batch: float = 4096) -> float:
        """Seconds for so many tokens that are read, so many a pass."""
        return tokens * self.read + tokens / batch * self.call

    def writing(self, rows: float, tokens: float, batch: float = 32) -> float:
        """Seconds for so many rows that each write so many tokens, so many rows a pass."""
        return tokens * (rows * self.step + max(rows / batch, 1) * self.call)


def time_sample(model: Model) -> Speed:
    """Read and answer two of the model's ordinary prompts, then sixteen, each once with a few tokens more."""
    prompts = [tuple(ids) for ids in model.token_ids(default_prompts(model)[:_MANY])]

    def timed(rows: int, tokens: int) -> float:
        begun = time.perf_counter()
        roll_out_rows(model, [Row(ids, ()) for ids in prompts[:rows]], tokens, share=False)
        return time.perf_counter() - begun

    # The first pass of a process sets up what later ones use.
    timed(_FEW, 1)
    few, many = timed(_FEW, 1), timed(len(prompts), 1)
    few_steps = max(timed(_FEW, 1 + _STEPS) - few, 0.0) / _STEPS
    many_steps = max(timed(len(prompts), 1 + _STEPS) - many, 0.0) / _STEPS
    positions = [sum(map(len, prompts[:rows])) for rows in (_FEW, len(prompts))]
    more = max(len(prompts) - _FEW, 1)
    step = max(many_steps - few_steps, 0.0) / more
    head = model.embeddings * model.d_model
    blocks = sum(p.numel() for block in model.blocks for p in block.parameters())
    return Speed(
        call=max(few_steps - _FEW * step, 0.0),
        read=max(many - few, many / 2) / max(positions[1] - positions[0], 1),
        step=step,
        prompt=positions[1] / len(prompts),
        readout=head / (head + blocks),
    )
