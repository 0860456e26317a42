"""One screen on one behavior of one organism: its ranking and what it cost, kept in a file of its own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

import controlwindow as cw
from benchmarks.screening import plain_passes
from controlwindow.behaviors import Behavior
from controlwindow.errors import ControlWindowError
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.moments import batch_sizes
from controlwindow.models import Model
from controlwindow.statistics import stable_seed

REFERENCE = "reference"
"""Name of the file with what plain passes and rollouts cost on a behavior."""

_ROLLED_OUT, _DOSE, _ROLLOUT_PROMPTS = 4, 0.5, 32
_BATCH_TOKENS = (1024, 2048, 4096)
_REPEATS = 2

Value = TypeVar("Value")


class Store:
    """Files of a run, one per organism, behavior and screen; what is there and still true is not measured again.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, model: Model, behavior: Behavior, name: str, seed: int, measure: Callable[[], dict[str, Any]]) -> Any:
        """A stored result, or a new one."""
        path = self.folder / model.name.partition(":")[2] / behavior.name / f"{name}.json"
        key = {"weights": model.fingerprint, "behavior": behavior.fingerprint, "seed": seed, "version": cw.__version__}
        if path.is_file():
            found = json.loads(path.read_text("utf-8"))
            if found["key"] == key:
                return found
        found = {"key": key, "organism": model.name, "screen": name} | {"on": behavior.name} | measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        scratch.write_text(json.dumps(found, ensure_ascii=False) + "\n", "utf-8")
        os.replace(scratch, path)
        return found

    def all(self) -> Iterator[dict[str, Any]]:
        """Everything that is stored, in the order of the paths."""
        for path in sorted(self.folder.glob("*/*/*.json")):
            yield json.loads(path.read_text("utf-8"))


def measure_screen(model: Model, behavior: Behavior, name: str, seed: int) -> dict[str, Any]:
    """Run a screen from beginning to end.

    The generic pass is the model's and not counted. Seconds are those of the processor, which other work on the machine
    hardly touches. A screen that cannot run on the behavior says why instead.
    """
    generic_pass(model)
    try:
        found, seconds = timed(lambda: cw.run_screen(model, behavior, name, seed=seed))
    except ControlWindowError as error:
        return {"unavailable": error.message}
    table = found.table
    return {
        "ranking": table["neuron"].to_list(),
        "signs": table["sign"].to_list(),
        "scores": [round(float(score), 6) for score in table["score"].head(16)],
        "cost": asdict(found.cost),
        "seconds": seconds,
        "dropped": found.dropped,
    }


def measure_reference(model: Model, behavior: Behavior, seed: int) -> dict[str, Any]:
    """What plain passes cost per token, and what rolling every neuron out would.

    Returns:
        forward, forward_backward: seconds per token of plain passes over the behavior's prompts, in the best of a few
        batch sizes; scored: seconds per position of its next-token log-probabilities; rollouts: seconds
        for every neuron on both branches at one dose, extrapolated from a few neurons.
    """
    generic = generic_pass(model)
    contrast = behavior.contrast("find")
    prompts = list(dict.fromkeys(prompt.text for prompt in (*contrast.positive, *contrast.negative)))
    tokens = sum(len(ids) for ids in {tuple(ids) for ids in model.token_ids(prompts)})
    forward = min(
        timed(lambda size=size: plain_passes(model, prompts, size))[1]
        for size in _BATCH_TOKENS
        for _ in range(_REPEATS)
    )
    both = min(
        timed(lambda size=size: plain_gradients(model, prompts, size))[1]
        for size in _BATCH_TOKENS
        for _ in range(_REPEATS)
    )
    scored = min(
        timed(lambda size=size: plain_scores(model, size, tokens // size + 1))[1] / (size * (tokens // size + 1))
        for size in _BATCH_TOKENS
        for _ in range(_REPEATS)
    )
    generator = np.random.default_rng(stable_seed("rollouts", behavior.name, seed))
    doses: list[cw.Dose] = []
    for place in generator.permutation(len(model.neurons)):
        neuron = model.neurons[int(place)]
        if len(doses) < 2 * _ROLLED_OUT and not np.isnan(generic.budgets(model, neuron.layer)).any():
            doses += [cw.Dose(neuron, _DOSE), cw.Dose(neuron, -_DOSE)]
    asked = [prompt.text for prompt in behavior.prompts("evaluate")[:_ROLLOUT_PROMPTS]]
    rolled = timed(lambda: cw.rollout(model, asked, doses, max_new_tokens=behavior.horizons[-1]))[1]
    return {
        "forward": forward / tokens,
        "forward_backward": both / tokens,
        "scored": scored,
        "rollouts": rolled * len(model.neurons) * 2 / len(doses),
        "neurons": len(model.neurons),
        "prompts": len(asked),
        "horizon": behavior.horizons[-1],
    }


def plain_scores(model: Model, positions: int, times: int) -> None:
    """Log-probabilities of the next token at so many positions, from hidden states that are there."""
    hidden = torch.zeros(1, positions, model.d_model, dtype=model.dtype, device=model.device)
    with torch.inference_mode():
        for _ in range(times):
            model.readout(hidden).float().log_softmax(-1)


def plain_gradients(model: Model, prompts: Sequence[str], tokens: int) -> None:
    """Run each distinct prompt forward to its last logits and back to the embeddings, by length, without hooks."""
    encoded = sorted({tuple(ids) for ids in model.token_ids(list(prompts))}, key=lambda ids: (len(ids), ids))
    embeddings = model.hf_model.get_input_embeddings()
    frozen = [p for p in model.hf_model.parameters() if p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    start = 0
    try:
        for size in batch_sizes([len(ids) for ids in encoded], tokens):
            batch = model.pad(encoded[start : start + size])
            start += size
            with torch.enable_grad():
                given = embeddings(batch["input_ids"]).detach().requires_grad_(True)
                found = model.hf_model(
                    inputs_embeds=given, attention_mask=batch["attention_mask"], use_cache=False, logits_to_keep=1
                )
                found.logits[:, -1].logsumexp(-1).sum().backward()
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def plain_seconds(cost: dict[str, Any], reference: dict[str, Any]) -> float:
    """What the passes of a screen would take without the screen.

    Its tokens forward, its share of them backward, and the distributions that it reads: a pass that scores a text ends
    in the readout at each of its positions, which in a small model costs as much as some blocks.
    """
    share = min(cost["backward"] / cost["forward"], 1.0) if cost["forward"] else 0.0
    passes = cost["tokens"] * ((1 - share) * reference["forward"] + share * reference["forward_backward"])
    return float(passes + cost["scored"] * reference["scored"])


def timed(work: Callable[[], Value]) -> tuple[Value, float]:
    """A result and the processor's seconds."""
    before = time.process_time()
    found = work()
    return found, time.process_time() - before
