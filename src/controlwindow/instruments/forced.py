"""Teacher-forced passes under doses: many rows, each with its own dose, over given continuations.

Everything below the dosed block is computed once for all rows of a prompt, and where a dose acts on generated
positions only, the prompt is read once for all of them. It is the decode engine's way to share, without the decoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from controlwindow.instruments.cache import lane_cache
from controlwindow.instruments.finite import require_finite
from controlwindow.instruments.forced_reading import Reading
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.operations import RowOperations, check_operations
from controlwindow.instruments.parting import Parting
from controlwindow.instruments.routes import Route, route
from controlwindow.instruments.sharing import NEVER, Lanes
from controlwindow.models import Model


class ForcedRow(NamedTuple):
    """One row: a prompt and its continuation as token ids, and what happens to it."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    operations: RowOperations


class Forced(NamedTuple):
    """What one row gave.

    Attributes:
        log_likelihood: Σ log p of the continuation's tokens, in nats.
        divergence: Mean KL of the dosed next-token distribution from the undosed one over the continuation, in nats.
        tokens: Block passes of single positions that the row's own lanes cost, as whole forward passes of a token.
        surprise: How much less likely the dosed model's first choice is to the undosed model than that model's own
            first choice, mean over the continuation, in nats: what one dosed token adds to the surprisal of a rollout.
        recomputed: Σ 1 − cos²(Δr_last, v) over the continuation's positions that moved (method section 3).
        moved: How many moved.
    """

    log_likelihood: float
    divergence: float
    tokens: float
    surprise: float = math.nan
    recomputed: float = 0.0
    moved: int = 0


def forced_pass(
    model: Model,
    rows: Sequence[ForcedRow],
    *,
    batch_rows: int = 256,
    divergence: bool = False,
    every: int = 1,
    propagation: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Forced]:
    """Score continuations under each row's operations.

    Args:
        model: The model.
        rows: The rows; those next to each other share a pass, so rows of one layer belong together.
        batch_rows: Most rows a pass.
        divergence: Also measure how far the dose moves the next-token distribution, and how much its first choices
            surprise the undosed model. Both are NaN otherwise.
        every: Of a continuation every so many positions are read, each text from another one on; over a large
            vocabulary the readout costs as much as many blocks. Above 1 there is no log-likelihood (NaN).
        propagation: Also measure how far each dose propagates along the first operation's direction.
        progress: Called with rows done and rows in all.

    Returns:
        One result per row, in the order given.

    Raises:
        NeuronError: A neuron lies outside the model.
        ModelError: The model gives likelihoods that are not finite.
    """
    check_operations(model, [row.operations for row in rows])
    routes: dict[RowOperations, Route] = {}
    for row in rows:
        if row.operations not in routes:
            # Coordinates are a matter of geometry here, so none is read.
            routes[row.operations] = route(model, row.operations, share=True)._replace(measured=-1, direction=None)
    found: list[Forced] = []
    with measuring(model):
        for start in range(0, len(rows), batch_rows):
            chosen = list(rows[start : start + batch_rows])
            found += _run(model, chosen, [routes[row.operations] for row in chosen], divergence, every, propagation)
            if progress is not None:
                progress(len(found), len(rows))
    require_finite(
        model,
        (row.divergence if every > 1 else row.log_likelihood for row in found),
        lambda row: ([*rows[row].prompt_ids, *rows[row].token_ids], rows[row].operations),
    )
    return found


def _run(
    model: Model, rows: list[ForcedRow], routes: list[Route], divergence: bool, every: int, propagation: bool
) -> list[Forced]:
    asked = len(rows)
    texts: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for row in rows:
        texts.setdefault((row.prompt_ids, row.token_ids), len(texts))
    if divergence or propagation:
        # The undosed row of every text is one more lane where rows have lanes of their own.
        rows = [*rows, *(ForcedRow(prompt, tokens, ()) for prompt, tokens in texts)]
        routes = [*routes, *(route(model, (), share=True) for _ in texts)]
    prompts: dict[tuple[int, ...], int] = {}
    groups = np.array([prompts.setdefault(row.prompt_ids, len(prompts)) for row in rows], dtype=np.int64)
    text_of = np.array([texts[row.prompt_ids, row.token_ids] for row in rows], dtype=np.int64)
    head_from = np.array([r.head_from for r in routes], dtype=np.int64)
    own_from = np.array([r.own_from for r in routes], dtype=np.int64)
    sites = sorted({0, *head_from.tolist(), *own_from.tolist()} - {NEVER})
    lanes = Lanes(sites, groups, head_from)
    everyone = np.arange(len(rows), dtype=np.int64)
    width = max(len(row.token_ids) for row in rows)
    heads = [row.prompt_ids[:-1] for row in rows]
    longest = max(map(len, heads))
    cache = lane_cache(model.layers, len(rows), longest + width)
    device = model.device
    cost = np.zeros(len(rows))
    with Parting(model, routes, sites) as parting:
        if longest:
            parting.follow(lanes, everyone, head=True)
            members = lanes.members(0)
            head = model.pad([heads[member] for member in members])
            mask = head["attention_mask"]
            parting.begin_pass(1)
            model.decoder(
                input_ids=head["input_ids"],
                **model.forward_options(mask, (mask.cumsum(-1) - 1).clamp(min=0), cache),
            )
            cost += _own_cost(lanes, model.layers) * np.array([len(h) for h in heads])
        moves = lanes.split(text_of, own_from)
        ends = [*lanes.sites[1:], model.layers]
        for move, begin, end in zip(moves, lanes.sites, ends, strict=True):
            if len(move.source):
                source, target = (torch.as_tensor(part, device=device) for part in move)
                for layer in cache.layers[begin:end]:
                    layer.copy_lanes(source, target)
        parting.follow(lanes, everyone, head=False)
        members = lanes.members(0)
        inputs = torch.full((len(members), width), model.pad_id, dtype=torch.long)
        for lane, member in enumerate(members.tolist()):
            read = (rows[member].prompt_ids[-1], *rows[member].token_ids[:-1])
            inputs[lane, : len(read)] = torch.tensor(read)
        lengths = torch.tensor([len(heads[member]) for member in members.tolist()], device=device)[:, None]
        known = torch.arange(longest, device=device) >= longest - lengths
        # What pads a shorter continuation comes after all that is read of it, so the mask may leave it in.
        mask = torch.cat([known, torch.ones_like(inputs, dtype=torch.bool, device=device)], 1).long()
        parting.begin_pass(1)
        last = _LastResidual(model) if propagation else None
        with last or nullcontext():
            hidden = model.decoder(
                input_ids=inputs.to(device),
                **model.forward_options(mask, lengths + torch.arange(width, device=device), cache),
            )[0]
        cost += _own_cost(lanes, model.layers) * np.array([len(row.token_ids) for row in rows])
    reading = Reading(model, [row.token_ids for row in rows], text_of, lanes.lane_of[-1], asked)
    likelihood = reading.likelihoods(hidden) if every == 1 else [math.nan] * asked
    apart, surprise = reading.apart(hidden, every) if divergence else ([math.nan] * asked, [math.nan] * asked)
    recomputed, moved = [0.0] * asked, [0] * asked
    if last is not None:
        directions = [
            None if (found := row.operations[0].measured(model)) is None else found[1] for row in rows[:asked]
        ]
        recomputed, moved = reading.propagations(last.residual, directions)
    values = zip(likelihood, apart, cost[:asked].tolist(), surprise, recomputed, moved, strict=True)
    return [Forced(*row) for row in values]


class _LastResidual:
    """The residual behind the last block, [lanes, positions, d_model], with what was added to it there.

    Args:
        model: The model.
    """

    residual: torch.Tensor

    def __init__(self, model: Model) -> None:
        self._norm = model.hf_model.get_submodule(model.family.final_norm)

    def __enter__(self) -> _LastResidual:
        # Registered after the hooks that let rows part, so that it sees what they give.
        self._handle = self._norm.register_forward_pre_hook(self._read)
        return self

    def _read(self, _module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.residual = args[0]

    def __exit__(self, *_error: object) -> None:
        self._handle.remove()


def _own_cost(lanes: Lanes, layers: int) -> NDArray[np.float64]:
    """Blocks that each row passes, with lanes that rows share divided among them, as a share of all blocks."""
    ends = [*lanes.sites[1:], layers]
    cost = np.zeros(lanes.rows)
    for lane, begin, end in zip(lanes.lane_of, lanes.sites, ends, strict=True):
        cost += (min(end, layers) - min(begin, layers)) / layers / np.bincount(lane)[lane]
    return cost
