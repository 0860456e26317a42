"""What every peer shares: the job it reads and the answers it gives.

A peer runs in an environment of its own: this module needs the standard library and torch only, and knows nothing of
the package. A peer is started with the file of its job and the number of an open file descriptor; it reads one command
a line from standard input and answers one JSON document a line on that descriptor. What libraries print stays apart.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

Tokens = list[list[list[int]]]
"""Generated token ids, `[dose][prompt]`, the stop token included."""

Rows = list[tuple[int, int]]
"""Rows by the numbers of their dose and prompt."""

Generate = Callable[[Rows], list[list[int]]]
"""Generates one batch of rows; what comes after a row's stop token is cut off later."""


Run = Callable[[], Any]
"""Does the whole job once: its tokens, or a dict that has them under "tokens" with whatever else is reported."""


class Batch(NamedTuple):
    """Left-padded token ids and mask, [rows, positions], and each row's offset, [rows]."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    alphas: torch.Tensor

    @property
    def tokens(self) -> dict[str, torch.Tensor]:
        """Ids and mask by the names Transformers uses."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}

    def generated(self, sequences: torch.Tensor) -> list[list[int]]:
        """What follows the prompts in [rows, positions] sequences."""
        found: list[list[int]] = sequences[:, self.input_ids.shape[1] :].tolist()
        return found


@dataclass(frozen=True)
class Job:
    """Greedy rollouts of every dose of one neuron on every prompt.

    Attributes:
        model: Directory of the model.
        prompts: Token ids of each prompt.
        layer: The neuron's layer.
        neuron: Its index in the layer.
        alphas: Raw activation offsets, one per dose.
        horizon: Most tokens to generate.
        threads: Threads to compute with; 0 leaves the library's default.
        pad_id: Padding token.
        stop_ids: Tokens that end a rollout.
        device: "cpu" or "cuda".
        dtype: Name of the parameters' type.
    """

    model: str
    prompts: list[list[int]]
    layer: int
    neuron: int
    alphas: list[float]
    horizon: int
    threads: int
    pad_id: int
    stop_ids: list[int]
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of the parameters."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments of Transformers' `generate`."""
        return {
            "do_sample": False,
            "max_new_tokens": self.horizon,
            "pad_token_id": self.pad_id,
            "eos_token_id": self.stop_ids,
        }

    def rows(self) -> Rows:
        """Every (dose, prompt), dose by dose."""
        return [(dose, prompt) for dose in range(len(self.alphas)) for prompt in range(len(self.prompts))]

    def batch(self, rows: Rows) -> Batch:
        """Rows as one left-padded batch."""
        chosen = [self.prompts[prompt] for _, prompt in rows]
        width = max(map(len, chosen))
        ids = [[self.pad_id] * (width - len(prompt)) + prompt for prompt in chosen]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in chosen]
        alphas = [self.alphas[dose] for dose, _ in rows]
        return Batch(
            torch.tensor(ids, device=self.device),
            torch.tensor(mask, device=self.device),
            torch.tensor(alphas, device=self.device, dtype=self.torch_dtype),
        )

    def cut(self, generated: list[int]) -> list[int]:
        """Generated tokens up to and with the first stop token, at most the horizon's."""
        tokens = generated[: self.horizon]
        end = next((place for place, token in enumerate(tokens) if token in self.stop_ids), len(tokens))
        return tokens[: end + 1]


def in_batches(job: Job, generate: Generate, size: int, order: Rows | None = None) -> Tokens:
    """Generate all rows in batches of a size.

    Args:
        job: The job.
        generate: What generates one batch.
        size: Rows in a batch.
        order: The rows in the order they are batched; default dose by dose.
    """
    order = job.rows() if order is None else order
    found: dict[tuple[int, int], list[int]] = {}
    for start in range(0, len(order), size):
        part = order[start : start + size]
        found.update(zip(part, map(job.cut, generate(part)), strict=True))
    return [[found[dose, prompt] for prompt in range(len(job.prompts))] for dose in range(len(job.alphas))]


def in_equal_batches(job: Job, generate: Generate, size: int) -> Run:
    """The job in batches of a size; the first batch is run once before anything is timed."""
    generate(job.rows()[:size])
    return lambda: in_batches(job, generate, size)


def in_best_batches(job: Job, generate: Generate) -> Run:
    """The job in the fastest of a few batchings, chosen before anything is timed.

    Tried are the whole job, halves and quarters of it, dose by dose (rows of a dose tend to end together) and by length
    of prompt (little is padded).
    """
    by_length = sorted(job.rows(), key=lambda row: (len(job.prompts[row[1]]), row))
    sizes = sorted({-(-len(by_length) // parts) for parts in (1, 2, 4)})
    choices = [(size, order) for size in sizes for order in (job.rows(), by_length)]

    def seconds(size: int, order: Rows) -> float:
        begin = time.perf_counter()
        in_batches(job, generate, size, order)
        return time.perf_counter() - begin

    seconds(*choices[0])
    size, order = min(choices, key=lambda choice: seconds(*choice))
    return lambda: in_batches(job, generate, size, order)


def read_job(path: str | Path) -> Job:
    """A job from its file."""
    return Job(**json.loads(Path(path).read_text("utf-8")))


def serve(make: Callable[[Job], Run], packages: tuple[str, ...]) -> None:
    """Answer commands until told to stop.

    Args:
        make: Loads the model and gives what does the job; none of it is timed.
        packages: Distributions whose versions are reported.
    """
    channel = os.fdopen(int(sys.argv[2]), "w", encoding="utf-8")

    def answer(document: dict[str, Any]) -> None:
        channel.write(json.dumps(document) + "\n")
        channel.flush()

    job = read_job(sys.argv[1])
    if job.threads:
        torch.set_num_threads(job.threads)
    run = make(job)
    answer({"versions": {name: metadata.version(name) for name in ("torch", *packages)}})
    for line in sys.stdin:
        command = json.loads(line)
        if command["command"] == "stop":
            return
        begin = time.perf_counter()
        found = run()
        seconds = time.perf_counter() - begin
        answer({"seconds": seconds, **(found if isinstance(found, dict) else {"tokens": found})})
