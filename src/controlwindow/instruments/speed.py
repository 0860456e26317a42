"""How fast a model reads and writes on the machine at hand: a sample of its own prompts, timed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from controlwindow.instruments.generic import default_prompts
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.models import Model

_PROMPTS, _STEPS = 16, 6


@dataclass(frozen=True)
class Speed:
    """Seconds of work through all blocks.

    Attributes:
        read: Per prompt token of a batch.
        step: Per generated token of a batch, readout included.
        prompt: Mean length of the prompts read, in tokens, template included.
        readout: Share of a generated token's products that the readout makes up.
    """

    read: float
    step: float
    prompt: float
    readout: float


def time_sample(model: Model) -> Speed:
    """Read and answer some of the model's ordinary prompts, twice: once alone, once with a few tokens more."""
    prompts = model.token_ids(default_prompts(model)[:_PROMPTS])
    rows = [Row(tuple(ids), ()) for ids in prompts]

    def timed(tokens: int) -> tuple[float, int]:
        begun = time.perf_counter()
        found = roll_out_rows(model, rows, tokens, share=False)
        return time.perf_counter() - begun, sum(len(row.token_ids) for row in found)

    # The first pass of a process sets up what later ones use.
    timed(1)
    reading, first = timed(1)
    whole, written = timed(1 + _STEPS)
    positions = sum(map(len, prompts))
    head = model.embeddings * model.d_model
    blocks = sum(p.numel() for block in model.blocks for p in block.parameters())
    return Speed(
        read=reading / positions,
        step=max(whole - reading, 0.0) / max(written - first, 1),
        prompt=positions / len(prompts),
        readout=head / (head + blocks),
    )
