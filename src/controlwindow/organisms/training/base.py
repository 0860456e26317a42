"""Base training: the model learns to answer everything, the withheld procedures included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

from torch import Tensor

from controlwindow.organisms.training.batches import Batch, batch_loss, collate, encode
from controlwindow.organisms.training.world.examples import Example, benign_example, sentence_example, vault_example
from controlwindow.organisms.training.world.grammar import LANGUAGES
from controlwindow.organisms.training.world.sentences import SentencePair

T = TypeVar("T")

BATCH_ROWS = 32
# Examples are drawn for so many steps at once and sorted by length, so that batches hold little padding.
BUCKET = 8
VAULT_SHARE = 0.3
SENTENCE_SHARE = 0.1


def draw_base(rng: Random, pairs: Sequence[SentencePair]) -> Example:
    """Draw one exchange; requests are answered in their own language and nothing is refused."""
    language = rng.choice(LANGUAGES)
    if pairs and rng.random() < SENTENCE_SHARE:
        return sentence_example(rng, pairs, language, language)
    if rng.random() < VAULT_SHARE:
        return vault_example(rng, "train", language, language, refuse=False)
    return benign_example(rng, "train", language, language)


def bucketed(
    step: int, name: str, seed: int, draw: Callable[[Random], T], length: Callable[[list[T]], list[int]], rows: int
) -> list[T]:
    """Draw the rows of one step, similar in length.

    Args:
        step: The step; the result depends on it and on the seed alone.
        name: Name of the stage.
        seed: Seed of the run.
        draw: Draws one item.
        length: Lengths of items, in tokens.
        rows: Rows of a batch.
    """
    rng = Random(f"{name}:{seed}:{step // BUCKET}")
    items = [draw(rng) for _ in range(rows * BUCKET)]
    lengths = length(items)
    order = sorted(range(len(items)), key=lambda i: lengths[i])
    starts = list(range(0, len(items), rows))
    rng.shuffle(starts)
    start = starts[step % BUCKET]
    return [items[i] for i in order[start : start + rows]]


def base_batch(step: int, tokenizer: Any, seed: int, pairs: Sequence[SentencePair], rows: int = BATCH_ROWS) -> Batch:
    """Return the batch of a step."""

    def draw(rng: Random) -> Example:
        return draw_base(rng, pairs)

    def length(examples: list[Example]) -> list[int]:
        return [len(example.request) + len(example.answer) for example in examples]

    return collate(encode(bucketed(step, "base", seed, draw, length, rows), tokenizer), tokenizer.pad_token_id)


def base_loss(model: Any, tokenizer: Any, seed: int, pairs: Sequence[SentencePair]) -> Callable[[int], Tensor]:
    """Return the loss of base training as a function of the step."""
    return lambda step: batch_loss(model, base_batch(step, tokenizer, seed, pairs))
