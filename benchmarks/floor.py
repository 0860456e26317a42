"""The floor of a grid: the operations it needs, over the rate at which this machine multiplies matrices that shape.

Counted are the multiply-adds of every matrix product and attention product of a Llama:

- a prompt's positions pass every layer, but the last block's queries, attention and FFN are needed at the last position
  only; a causal attention product counts the half that is not masked;
- a row that generates n tokens passes n − 1 of them through every layer, attending to all before; the readout is needed
  n times. Rows that ended need nothing;
- *with sharing*, layers up to and with the dosed one (its write is added after its FFN) are passed once by rows that
  share a prompt and all tokens so far; above it every row is on its own. *Without*, every row is on its own throughout.

Norms, activations, softmax, embeddings, copies of the cache and everything Python does count nothing: they are what
lies between the floor and a real engine.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

Tokens = Sequence[Sequence[Sequence[int]]]


class Shape(NamedTuple):
    """Shape of a product: `matrices` times [rows, inner] × [inner, columns]."""

    matrices: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Multiply-adds."""
        return self.matrices * self.rows * self.inner * self.columns


class Need(NamedTuple):
    """How much of a product is needed: at this shape so many times, of whose multiply-adds so many count."""

    shape: Shape
    times: int
    operations: float


class Sizes(NamedTuple):
    """Sizes of a Llama."""

    layers: int
    d_model: int
    ffn: int
    heads: int
    key_heads: int
    head_dim: int
    vocabulary: int


def sizes_of(config: Any) -> Sizes:
    """Sizes from a Llama's configuration."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Sizes(
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        head_dim,
        config.vocab_size,
    )


class Counted:
    """Products by shape; what is asked for adds up."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._times: Counter[Shape] = Counter()
        self._operations: Counter[Shape] = Counter()

    def add(self, shape: Shape, times: int = 1, needed: float | None = None) -> None:
        """Add a product, `times` times; `needed` multiply-adds of each count, all by default."""
        if times and shape.operations:
            self._times[shape] += times
            self._operations[shape] += times * (shape.operations if needed is None else needed)  # type: ignore[assignment]

    def plain(self, rows: int, inner: int, columns: int, times: int = 1) -> None:
        """Add a plain matrix product."""
        self.add(Shape(1, rows, inner, columns), times)

    def keys(self, rows: int, layers: int) -> None:
        """Projections to keys and values."""
        s = self.sizes
        self.plain(rows, s.d_model, s.key_heads * s.head_dim, 2 * layers)

    def rest(self, rows: int, layers: int) -> None:
        """Projections to queries and back, and the FFN."""
        s = self.sizes
        width = s.heads * s.head_dim
        self.plain(rows, s.d_model, width, layers)
        self.plain(rows, width, s.d_model, layers)
        self.plain(rows, s.d_model, s.ffn, 2 * layers)
        self.plain(rows, s.ffn, s.d_model, layers)

    def attention(self, lengths: Sequence[int], layers: int) -> None:
        """One query each, attending to so many positions: scores and weighted values.

        The shape measured has the mean length; what counts is exact.
        """
        if not lengths:
            return
        s, mean = self.sizes, -(-sum(lengths) // len(lengths))
        needed = s.heads * s.head_dim * sum(lengths)
        matrices = s.heads * len(lengths)
        self.add(Shape(matrices, 1, s.head_dim, mean), layers, needed)
        self.add(Shape(matrices, 1, mean, s.head_dim), layers, needed)

    def causal_attention(self, lengths: Sequence[int], layers: int) -> None:
        """Every position of sequences of these lengths, attending to itself and those before."""
        s = self.sizes
        for length, count in Counter(lengths).items():
            matrices = s.heads * count
            needed = matrices * s.head_dim * length * (length + 1) / 2
            self.add(Shape(matrices, length, s.head_dim, length), layers, needed)
            self.add(Shape(matrices, length, length, s.head_dim), layers, needed)

    def needs(self) -> list[Need]:
        """All products."""
        return [Need(shape, times, self._operations[shape]) for shape, times in self._times.items()]


def count(sizes: Sizes, prompt_lengths: Sequence[int], tokens: Tokens, layer: int, *, shared: bool) -> list[Need]:
    """Count the products a grid needs.

    Args:
        sizes: The model's sizes.
        prompt_lengths: Length of each prompt.
        tokens: What every row generated, `[dose][prompt]`.
        layer: The dosed layer.
        shared: Whether rows that agree share layers up to the dosed one.
    """
    counted = Counted(sizes)
    rows = [(prompt, tuple(found)) for dose in tokens for prompt, found in enumerate(dose) if found]
    # Layers below `own` are passed once by rows that agree; the last block is counted by itself.
    own = layer + 1 if shared else 0
    alone = [prompt_lengths[prompt] for prompt, _ in rows]
    once = [prompt_lengths[prompt] for prompt in sorted({prompt for prompt, _ in rows})]
    last = sizes.layers - 1
    for lengths, layers, holds_last in (
        (once, min(own, last), own > last),
        (alone, last - min(own, last), own <= last),
    ):
        counted.keys(sum(lengths), layers + holds_last)
        counted.rest(sum(lengths), layers)
        counted.causal_attention(lengths, layers)
        counted.rest(len(lengths), int(holds_last))
        counted.attention(lengths, int(holds_last))
    counted.plain(len(rows), sizes.d_model, sizes.vocabulary)
    for step in range(1, max((len(found) for _, found in rows), default=0)):
        alive = [(prompt, found[:step]) for prompt, found in rows if len(found) > step]
        for group, layers in ((sorted(set(alive)), own), (alive, sizes.layers - own)):
            counted.keys(len(group), layers)
            counted.rest(len(group), layers)
            counted.attention([prompt_lengths[prompt] + step for prompt, _ in group], layers)
        counted.plain(len(alive), sizes.d_model, sizes.vocabulary)
    return counted.needs()


def operations(needs: Sequence[Need]) -> float:
    """Multiply-adds that count."""
    return sum(need.operations for need in needs)


def seconds(needs: Sequence[Need], dtype: torch.dtype, device: str = "cpu") -> float:
    """How long the products would take at the rate measured now at each shape."""
    rates = {need.shape: seconds_each(need.shape, dtype, device) for need in needs}
    return sum(rates[need.shape] * need.operations / need.shape.operations for need in needs)


def seconds_each(shape: Shape, dtype: torch.dtype, device: str = "cpu", budget: float = 0.004) -> float:
    """Fastest of a few timings of one product, its operands laid out as a model's are (weights transposed)."""
    left = torch.randn((shape.matrices, shape.rows, shape.inner), dtype=dtype, device=device)
    right = torch.randn((shape.matrices, shape.columns, shape.inner), dtype=dtype, device=device).transpose(1, 2)
    if shape.matrices == 1:
        left, right, multiply = left[0], right[0], torch.mm
    else:
        multiply = torch.bmm

    def timed(times: int) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(times):
            multiply(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begin) / times

    with torch.inference_mode():
        once = min(timed(1), timed(1))
        times = max(1, round(budget / max(once, 1e-9)))
        return min(once, *(timed(times) for _ in range(3)))
