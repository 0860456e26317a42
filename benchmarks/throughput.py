"""Tokens per second and memory on a large random-weights model: dosed against undosed, and against a plain peer.

Meant for a CUDA device (`--device cuda --model-size 1b`); it has not been run on one so far. It runs anywhere, so that
its code is tested.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks.contenders import ROWS, Contender, Local, PeerKind
from benchmarks.grid import OURS, admit, reference, start
from benchmarks.results import Line, Part, Standing
from benchmarks.timing import Aim, Timing, ratio, take_turns
from benchmarks.work import BRANCH, SIZES, SPLIT, Grid, Settings, behavior, engine_tokens, random_llama, spread
from controlwindow import Neuron
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.rows import Row
from controlwindow.models import Model


def large_grid(model: Model, quick: bool) -> Grid:
    """The grid of the organism's benchmark on a neuron in the middle of another model."""
    doses, prompts, horizon = (2, 2, 4) if quick else (12, 16, 32)
    chosen = behavior().prompts(SPLIT)[:prompts]
    neuron = Neuron(model.layers // 2, 7)
    budget = generic_pass(model).budget(model, neuron)
    return Grid(
        prompts=tuple(tuple(ids) for ids in model.token_ids([prompt.text for prompt in chosen])),
        neuron=neuron,
        alphas=tuple(BRANCH * t * budget for t in spread(doses)),
        horizon=horizon,
    )


def run(settings: Settings, size: str, dtype: str, kinds: tuple[PeerKind, ...] = (ROWS,)) -> Part:
    """Time the grid on a random-weights model, dosed and undosed, and measure the device's peak memory.

    With random weights in half precision many tokens are ties, up to which rows are compared; the facts say how many.
    """
    settings.tell(f"building a random-weights model ({size}, {dtype})")
    model = random_llama(SIZES[size], getattr(torch, dtype), settings.device)
    grid = large_grid(model, settings.quick)
    undosed = [Row(prompt, ()) for _ in grid.alphas for prompt in grid.prompts]
    dosed = Local(OURS, OURS, lambda: engine_tokens(model, grid), settle=settings.settle)
    plain = Local("undosed", "controlwindow, undosed rows, nothing shared",
                  lambda: engine_tokens(model, grid, undosed, share=False), settle=settings.settle)  # fmt: skip
    standings: list[Standing] = []
    memory = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        model.hf_model.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        job = grid.job(model, folder, settings)
        found = reference(job, settings)
        memory = peak_memory(dosed, settings)
        peers, standings = start(kinds, job, stack, settings)
        admitted, compared = admit([dosed, *peers], found, settings)
        contenders: list[Contender] = [*admitted, plain]
        plain.run()
        timings = take_turns(contenders, settings.repeats, settings.tell)
    lines = []
    if OURS in timings:
        lines = [
            Line(f"{size}, dosed against the same engine undosed", ratio(timings[OURS], timings["undosed"]),
                 Aim("at most", 1.05), "undosed rows share nothing"),
            *(Line(f"{size}, against {timings[kind.name].title}", ratio(timings[kind.name], timings[OURS]),
                   Aim("at least", 2)) for kind in kinds if kind.name in timings),
        ]  # fmt: skip
    tokens = sum(len(row) for dose in found["tokens"] for row in dose)
    return Part(
        "throughput",
        f"throughput: {grid.size} rows × {grid.horizon} tokens on a random-weights Llama ({size}, {dtype}, "
        f"{settings.device})",
        lines,
        list(timings.values()),
        [*compared, *standings],
        {
            "parameters": sum(p.numel() for p in model.hf_model.parameters()),
            "tokens_per_second": {name: _rate(timing, tokens) for name, timing in timings.items()},
            **memory,
        },
    )


def peak_memory(contender: Contender, settings: Settings) -> dict[str, int]:
    """Bytes on the device: the weights, and the peak while a contender runs; nothing where that cannot be asked."""
    if settings.device != "cuda":
        contender.run()
        return {}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    contender.run()
    return {"bytes_before": before, "bytes_at_peak": torch.cuda.max_memory_allocated()}


def _rate(timing: Timing, tokens: int) -> float:
    return tokens / timing.median
