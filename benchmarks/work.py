"""The work that is timed: the same model, prompts, doses and tokens for every contender."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.peers.protocol import Job
from controlwindow import Neuron, catalogue, load_model
from controlwindow.behaviors import Behavior, Split, load_behavior
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.operations import Add
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.models import Model

NEURON, BRANCH, BEHAVIOR = Neuron(3, 80), -1, "refusal"
SPLIT: Split = "evaluate"
DOSES = (0.05, 4.5)
"""First and last dose in budget units; those between are evenly spaced in the control coordinate, as an audit's are."""


@dataclass(frozen=True)
class Settings:
    """What a run of the benchmarks is to do.

    Attributes:
        threads: Threads that every contender computes with.
        repeats: Rounds in which contenders take turns.
        quick: Small work, to see that everything runs; its numbers mean nothing.
        device: "cpu" or "cuda".
        tell: Told what is going on.
    """

    threads: int
    repeats: int
    quick: bool = False
    device: str = "cpu"
    tell: Callable[[str], None] = lambda _: None

    def settle(self) -> None:
        """Wait until the device is idle."""
        if self.device == "cuda":
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Grid:
    """Doses × prompts rollouts of one neuron.

    Attributes:
        prompts: Token ids of each prompt.
        neuron: The neuron.
        alphas: Raw activation offsets, one per dose.
        horizon: Most tokens to generate.
    """

    prompts: tuple[tuple[int, ...], ...]
    neuron: Neuron
    alphas: tuple[float, ...]
    horizon: int

    @property
    def size(self) -> int:
        """Rows."""
        return len(self.prompts) * len(self.alphas)

    def rows(self) -> list[Row]:
        """The engine's rows, dose by dose."""
        return [Row(prompt, (Add(self.neuron, alpha),)) for alpha in self.alphas for prompt in self.prompts]

    def job(self, model: Model, directory: Path, settings: Settings) -> Job:
        """The same for a peer, which loads the model from a directory."""
        return Job(
            model=str(directory),
            prompts=[list(prompt) for prompt in self.prompts],
            layer=self.neuron.layer,
            neuron=self.neuron.index,
            alphas=list(self.alphas),
            horizon=self.horizon,
            threads=settings.threads,
            pad_id=model.pad_id,
            stop_ids=sorted(model.stop_ids),
            device=settings.device,
            dtype=str(model.dtype).removeprefix("torch."),
        )

    def by_dose(self, tokens: Sequence[Sequence[int]]) -> list[list[list[int]]]:
        """Rows' tokens by dose and prompt."""
        count = len(self.prompts)
        rows = [list(row) for row in tokens]
        return [rows[start : start + count] for start in range(0, len(rows), count)]


def organism(device: str = "cpu") -> Model:
    """The shipped organism, in float32."""
    return load_model("organism:switch", device=device, dtype="float32")


def organism_directory() -> Path:
    """Where the organism's files lie."""
    return Path(str(catalogue.__file__)).parent / "switch"


def behavior() -> Behavior:
    """The behavior whose prompts are used."""
    return load_behavior(BEHAVIOR)


def spread(count: int, first: float = DOSES[0], last: float = DOSES[1]) -> tuple[float, ...]:
    """Doses between two, evenly spaced in c = t/sqrt(1 + t²).

    Example:
        >>> [round(t, 2) for t in spread(3, 0.0, 4.5)]
        [0.0, 0.56, 4.5]
    """
    low, high = (t / math.hypot(1.0, t) for t in (first, last))
    steps = [low + (high - low) * i / max(count - 1, 1) for i in range(count)]
    return tuple(c / math.sqrt(1 - c * c) for c in steps)


def organism_grid(model: Model, quick: bool = False) -> Grid:
    """12 doses × 16 prompts of the refusal behavior × 32 tokens, on a neuron that gates refusal."""
    doses, prompts, horizon = (3, 4, 8) if quick else (12, 16, 32)
    chosen = behavior().prompts(SPLIT)[:prompts]
    budget = generic_pass(model).budget(model, NEURON)
    return Grid(
        prompts=tuple(tuple(ids) for ids in model.token_ids([prompt.text for prompt in chosen])),
        neuron=NEURON,
        alphas=tuple(BRANCH * t * budget for t in spread(doses)),
        horizon=horizon,
    )


def engine_tokens(model: Model, grid: Grid, rows: Sequence[Row] | None = None, **options: Any) -> dict[str, Any]:
    """What the package's engine generates for a grid, as a contender's find."""
    chosen = grid.rows() if rows is None else rows
    done = roll_out_rows(model, chosen, grid.horizon, batch_rows=len(chosen), **options)
    return {"tokens": grid.by_dose([row.token_ids for row in done])}


@dataclass(frozen=True)
class Size:
    """Sizes of a random-weights Llama.

    Attributes:
        layers: Blocks.
        d_model: Width of the residual stream.
        ffn: FFN neurons per block.
        heads: Attention heads.
        key_heads: Heads of keys and values.
    """

    layers: int
    d_model: int
    ffn: int
    heads: int
    key_heads: int


SIZES = {
    "tiny": Size(3, 64, 128, 4, 2),
    "small": Size(6, 512, 2048, 8, 8),
    "atlas": Size(24, 2048, 8192, 16, 16),
    "1b": Size(16, 2048, 8192, 32, 8),
    "8b": Size(32, 4096, 14336, 32, 8),
}


def random_llama(size: Size, dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> Model:
    """A Llama with random weights and the organism's tokenizer, whose vocabulary is small."""
    shipped = organism()
    config = LlamaConfig(
        vocab_size=shipped.hf_model.config.vocab_size,
        hidden_size=size.d_model,
        intermediate_size=size.ffn,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=shipped.pad_id,
        bos_token_id=shipped.tokenizer.bos_token_id,
        eos_token_id=sorted(shipped.stop_ids)[0],
    )
    before = torch.get_default_dtype()
    torch.manual_seed(seed)
    try:
        torch.set_default_dtype(dtype)
        with torch.device(device):
            built = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return load_model(built.eval(), tokenizer=shipped.tokenizer)
