"""Scoring: log-likelihoods of given tokens under the undosed model; each prompt is read once for all its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional
from transformers import Cache

from controlwindow.instruments.cache import LaneLayer, lane_cache
from controlwindow.instruments.finite import require_finite
from controlwindow.instruments.hooks import measuring
from controlwindow.models import Model

_LOGITS = 1 << 25
"""Most logits held at once (128 MiB in float32): vocabularies are large, and only one number a position is kept."""


class _Read(NamedTuple):
    """Prompts that were read: keys and values, lengths [prompts], and log-probabilities of the next token."""

    cache: Cache
    lengths: torch.Tensor
    next_token: torch.Tensor


def token_nll(
    model: Model,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    batch_rows: int = 128,
) -> list[list[float]]:
    """Negative log-likelihood in nats of each continuation token given prompt and earlier tokens, undosed.

    Args:
        model: The model.
        prompts: Prompt token ids, one per row.
        continuations: Continuation token ids, one per row; an empty one gives an empty list.
        batch_rows: Rows per pass. Rows are sorted by length first, so that little is padded.

    Returns:
        One list per row, one value per continuation token.

    Raises:
        ModelError: The model gives likelihoods that are not finite.
    """
    result: list[list[float]] = [[] for _ in prompts]
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for row, (prompt, tokens) in enumerate(zip(prompts, continuations, strict=True)):
        if len(tokens):
            by_prompt.setdefault(tuple(prompt), []).append(row)
    beginning_of = {row: longer for rows in by_prompt.values() for row, longer in _beginnings(rows, continuations)}
    distinct = sorted(by_prompt, key=lambda prompt: (len(prompt), prompt))
    with measuring(model):
        for start in range(0, len(distinct), batch_rows):
            chosen = distinct[start : start + batch_rows]
            read = _read(model, chosen)
            place = {
                row: lane for lane, prompt in enumerate(chosen) for row in by_prompt[prompt] if row not in beginning_of
            }
            order = sorted(place, key=lambda row: (len(continuations[row]), row))
            for first in range(0, len(order), batch_rows):
                rows = order[first : first + batch_rows]
                texts = [list(continuations[row]) for row in rows]
                lanes = torch.tensor([place[row] for row in rows], device=model.device)
                for row, values in zip(rows, _continue(model, read, lanes, texts), strict=True):
                    result[row] = values
    for row, longer in beginning_of.items():
        result[row] = result[longer][: len(continuations[row])]
    require_finite(model, map(sum, result), lambda row: ([*prompts[row], *continuations[row]], ()))
    return result


def _beginnings(rows: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Rows whose continuation begins that of another row after the same prompt, with that row: it says both."""
    ordered = sorted(rows, key=lambda row: tuple(continuations[row]))
    found: list[tuple[int, int]] = []
    # In this order whatever begins with a text follows it at once, so the last one seen decides.
    whole = ordered[-1] if ordered else -1
    for row in reversed(ordered[:-1]):
        tokens = continuations[row]
        if tuple(continuations[whole][: len(tokens)]) == tuple(tokens):
            found.append((row, whole))
        else:
            whole = row
    return found


def _read(model: Model, prompts: Sequence[Sequence[int]]) -> _Read:
    batch = model.pad(prompts)
    mask = batch["attention_mask"]
    cache = lane_cache(model.layers, len(prompts), mask.shape[1])
    hidden = model.decoder(
        input_ids=batch["input_ids"],
        **model.forward_options(mask, (mask.cumsum(-1) - 1).clamp(min=0), cache),
    )[0]
    return _Read(cache, mask.sum(-1), model.readout(hidden[:, -1]).float().log_softmax(-1))


def _continue(model: Model, read: _Read, lanes: torch.Tensor, tokens: list[list[int]]) -> list[list[float]]:
    """Score one batch of continuations, each after the prompt in its lane."""
    device = model.device
    firsts = torch.tensor([row[0] for row in tokens], device=device)
    nll = [[value] for value in (-read.next_token[lanes, firsts]).tolist()]
    # The last token emits nothing.
    width = max(map(len, tokens)) - 1
    if not width:
        return nll
    known = read.cache.layers[0].get_seq_length()
    inputs = torch.full((len(tokens), width), model.pad_id, dtype=torch.long)
    targets = torch.full((len(tokens), width), model.pad_id, dtype=torch.long)
    emitting = torch.zeros((len(tokens), width), dtype=torch.bool)
    for row, ids in enumerate(tokens):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1], dtype=torch.long)
        targets[row, : len(ids) - 1] = torch.tensor(ids[1:], dtype=torch.long)
        emitting[row, : len(ids) - 1] = True
    inputs, targets, emitting = inputs.to(device), targets.to(device), emitting.to(device)
    lengths = read.lengths[lanes, None]
    padding = torch.arange(known, device=device) >= known - lengths
    cache = Cache(layers=[LaneLayer.continuing(layer, lanes, known + width) for layer in read.cache.layers])
    hidden = model.decoder(
        input_ids=inputs,
        **model.forward_options(
            torch.cat([padding, emitting], 1).long(), lengths + torch.arange(width, device=device), cache
        ),
    )[0]
    # Padded positions lie behind every real one, so they are left out only here.
    states, wanted = hidden[emitting], targets[emitting]
    step = max(1, _LOGITS // read.next_token.shape[1])
    values = torch.cat(
        [
            functional.cross_entropy(model.readout(s).float(), w, reduction="none")
            for s, w in zip(torch.split(states, step), torch.split(wanted, step), strict=True)
        ]
    ).tolist()
    start = 0
    for row, ids in enumerate(tokens):
        nll[row] += values[start : start + len(ids) - 1]
        start += len(ids) - 1
    return nll
