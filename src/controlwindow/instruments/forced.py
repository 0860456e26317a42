"""Teacher-forced passes under doses: many rows, each with its own dose, over given continuations.

Everything below the dosed block is computed once for all rows of a prompt, and where a dose acts on generated
positions only, the prompt is read once for all of them. It is the decode engine's way to share, without the decoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.instruments.cache import lane_cache
from controlwindow.instruments.finite import require_finite
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.operations import RowOperations, check_operations
from controlwindow.instruments.parting import Parting
from controlwindow.instruments.routes import Route, route
from controlwindow.instruments.sharing import NEVER, Ints, Lanes
from controlwindow.models import Model

_LOGITS = 1 << 25
"""Most logits held at once (128 MiB in float32)."""


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
    """

    log_likelihood: float
    divergence: float
    tokens: float
    surprise: float = math.nan


def forced_pass(
    model: Model,
    rows: Sequence[ForcedRow],
    *,
    batch_rows: int = 256,
    divergence: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Forced]:
    """Score continuations under each row's operations.

    Args:
        model: The model.
        rows: The rows; those next to each other share a pass, so rows of one layer belong together.
        batch_rows: Most rows a pass.
        divergence: Also measure how far the dose moves the next-token distribution, and how much its first choices
            surprise the undosed model. Both are NaN otherwise.
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
            found += _run(model, chosen, [routes[row.operations] for row in chosen], divergence)
            if progress is not None:
                progress(len(found), len(rows))
    require_finite(
        model,
        (row.log_likelihood for row in found),
        lambda row: ([*rows[row].prompt_ids, *rows[row].token_ids], rows[row].operations),
    )
    return found


def _run(model: Model, rows: list[ForcedRow], routes: list[Route], divergence: bool) -> list[Forced]:
    asked = len(rows)
    texts: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for row in rows:
        texts.setdefault((row.prompt_ids, row.token_ids), len(texts))
    if divergence:
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
        hidden = model.decoder(
            input_ids=inputs.to(device),
            **model.forward_options(mask, lengths + torch.arange(width, device=device), cache),
        )[0]
        cost += _own_cost(lanes, model.layers) * np.array([len(row.token_ids) for row in rows])
    likelihood, moved, surprise = _read(model, rows, hidden, lanes.lane_of[-1], text_of, asked, divergence)
    return [Forced(*values) for values in zip(likelihood, moved, cost[:asked].tolist(), surprise, strict=True)]


def _own_cost(lanes: Lanes, layers: int) -> NDArray[np.float64]:
    """Blocks that each row passes, with lanes that rows share divided among them, as a share of all blocks."""
    ends = [*lanes.sites[1:], layers]
    cost = np.zeros(lanes.rows)
    for lane, begin, end in zip(lanes.lane_of, lanes.sites, ends, strict=True):
        cost += (min(end, layers) - min(begin, layers)) / layers / np.bincount(lane)[lane]
    return cost


def _read(
    model: Model,
    rows: Sequence[ForcedRow],
    hidden: torch.Tensor,
    lane: Ints,
    text_of: Ints,
    asked: int,
    divergence: bool,
) -> tuple[list[float], list[float], list[float]]:
    """Log-likelihoods, divergences and surprises of the rows asked for; the undosed ones follow, in texts' order."""
    width = hidden.shape[1]
    vocabulary = model.hf_model.get_output_embeddings().weight.shape[0]
    step = max(1, _LOGITS // (width * vocabulary * (2 if divergence else 1)))
    likelihood: list[torch.Tensor] = []
    moved: list[torch.Tensor] = []
    surprise: list[torch.Tensor] = []
    for start in range(0, asked, step):
        chosen = range(start, min(start + step, asked))
        targets = torch.full((len(chosen), width), model.pad_id, dtype=torch.long)
        emitting = torch.zeros((len(chosen), width), dtype=torch.bool)
        for place, row in enumerate(chosen):
            tokens = rows[row].token_ids
            targets[place, : len(tokens)] = torch.tensor(tokens)
            emitting[place, : len(tokens)] = True
        targets, emitting = targets.to(hidden.device), emitting.to(hidden.device)
        scores = model.readout(hidden[torch.as_tensor(lane[list(chosen)])]).float().log_softmax(-1)
        given = scores.gather(-1, targets[..., None])[..., 0]
        likelihood.append((given.double() * emitting).sum(-1))
        if divergence:
            texts, inverse = np.unique(text_of[list(chosen)], return_inverse=True)
            undosed = model.readout(hidden[torch.as_tensor(lane[asked + texts])]).float().log_softmax(-1)[inverse]
            apart = (undosed.exp() * (undosed - scores)).sum(-1)
            moved.append((apart.double() * emitting).sum(-1) / emitting.sum(-1))
            chosen_now = undosed.gather(-1, scores.argmax(-1, keepdim=True))[..., 0]
            lost = undosed.amax(-1) - chosen_now
            surprise.append((lost.double() * emitting).sum(-1) / emitting.sum(-1))
    values = torch.cat(likelihood).tolist()
    if not divergence:
        return values, [math.nan] * asked, [math.nan] * asked
    return values, torch.cat(moved).tolist(), torch.cat(surprise).tolist()
