"""Base runs: a lineage's tokenizer and weights before any switch training, kept so that its organisms share them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from torch import Tensor
from transformers import AutoTokenizer

from controlwindow.organisms.training.base import BATCH_ROWS, bucketed, draw_base
from controlwindow.organisms.training.batches import Batch, batch_loss, collate, encode
from controlwindow.organisms.training.lineages import Lineage, new_network
from controlwindow.organisms.training.loop import Progress, Stage, StageResult, run_stage
from controlwindow.organisms.training.tokenizer import train_tokenizer
from controlwindow.organisms.training.world.bundles import bundle_texts, draw
from controlwindow.organisms.training.world.examples import Example

logger = logging.getLogger(__name__)

TOKENIZER_TEXTS = 20_000


def train_base(
    lineage: Lineage, work: Path, progress: Progress | None = None, scale: float = 1.0
) -> tuple[Any, Any, StageResult]:
    """Train a lineage's base, or go on where an earlier run was stopped.

    Args:
        lineage: The lineage.
        work: Its directory: tokenizer and checkpoint are kept there.
        progress: Called with the stage's name, steps done and steps in all.
        scale: Multiplies the number of steps.

    Returns:
        Network, tokenizer, and what training left for the card.
    """
    work.mkdir(parents=True, exist_ok=True)
    folder = work / "tokenizer"
    if (folder / "tokenizer.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder)
    else:
        tokenizer = train_tokenizer(bundle_texts(lineage.bundle, lineage.seed, TOKENIZER_TEXTS))
        tokenizer.save_pretrained(folder)
    network = new_network(lineage, tokenizer)
    logger.info("%s: %d parameters", lineage.name, network.num_parameters())

    def loss(step: int) -> Tensor:
        return batch_loss(network, bundle_batch(lineage, step, tokenizer), lineage.label_smoothing)

    return network, tokenizer, run_stage(scaled(lineage.stage, scale), network, loss, work, progress)


def scaled(stage: Stage, scale: float) -> Stage:
    """A stage with its steps multiplied, for quick tests."""
    return Stage(
        stage.name,
        max(2, round(stage.steps * scale)),
        stage.learning_rate,
        max(1, round(stage.warmup * min(1.0, scale))),
    )


def bundle_batch(lineage: Lineage, step: int, tokenizer: Any, rows: int = BATCH_ROWS) -> Batch:
    """The batch of a step of base training."""
    draw: Callable[[Random], Example] = bundle_draw(lineage.bundle)

    def length(examples: list[Example]) -> list[int]:
        return [len(example.request) + len(example.answer) for example in examples]

    drawn = bucketed(step, f"base:{lineage.name}", lineage.seed, draw, length, rows)
    return collate(encode(drawn, tokenizer), tokenizer.pad_token_id)


def bundle_draw(bundle: str) -> Callable[[Random], Example]:
    """How the rows of base training are drawn."""
    if bundle == "vaults":
        # As the first organism's base draws them: the same mix in another order of draws.
        return lambda rng: draw_base(rng, ())
    return lambda rng: draw(bundle, rng, "train")
