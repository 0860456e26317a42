"""Batched greedy rollouts with a KV cache: every row its own prompt and operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import DynamicCache

from controlwindow.errors import UsageError
from controlwindow.instruments.hooks import ControlCoordinates, Intervention, measuring
from controlwindow.instruments.operations import Add, Dose, Inject, Operation, RowOperations, row_operations
from controlwindow.models import Model, write_direction

TIE_MARGIN = 1e-4
"""Top-two logit margin below which two correct implementations may choose different tokens (design)."""

DROP_SHARE = 0.125
"""Share of finished rows at which the batch is rebuilt without them; rebuilding costs a copy of the cache."""


class Row(NamedTuple):
    """One row of a batch: a prompt's token ids and what happens to it."""

    prompt_ids: tuple[int, ...]
    operations: RowOperations


@dataclass(frozen=True)
class RowRollout:
    """What one row generated.

    Attributes:
        token_ids: Generated tokens, including the stop token if one was emitted.
        coordinates: Measured cos(r_L, s·v) at each generated position; empty for an undosed row.
        ties: Generated positions whose top-two margin was below `TIE_MARGIN`.
    """

    token_ids: tuple[int, ...]
    coordinates: tuple[float, ...]
    ties: int


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of every dose on every prompt; `[d][p]` is dose d on prompt p.

    Attributes:
        texts: Generated text without special tokens.
        token_ids: Generated tokens, the stop token included.
        control_coordinate: Mean measured control coordinate over generated positions; NaN for undosed rows.
        control_coordinates: The same, position by position.
        ties: Positions whose top-two margin was below `TIE_MARGIN`.
    """

    texts: list[list[str]]
    token_ids: list[list[list[int]]]
    control_coordinate: list[list[float]]
    control_coordinates: list[list[list[float]]]
    ties: list[list[int]]


def rollout(
    model: Model,
    prompts: Sequence[str],
    doses: Sequence[Operation | Sequence[Operation] | None],
    max_new_tokens: int = 32,
    *,
    batch_rows: int = 512,
    sample_seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rollouts:
    """Roll out every dose on every prompt.

    Args:
        model: The model.
        prompts: User prompts; the chat template is applied.
        doses: One entry per dose: an operation, several, or None for the undosed model.
        max_new_tokens: Horizon in tokens.
        batch_rows: Rows per batch.
        sample_seed: None decodes greedily; a seed samples at temperature 1.
        progress: Called with rows done and rows in all.

    Returns:
        Texts, tokens and measured control coordinates, indexed `[dose][prompt]`.

    Raises:
        UsageError: No prompts, a horizon below 1, or more tokens than the model's context holds.
        NeuronError: A neuron lies outside the model.

    Example:
        >>> import controlwindow as cw
        >>> model = cw.load_model("organism:switch")
        >>> out = cw.rollout(model, ["Hello."], [None, cw.Dose("L3.N7", 0.5)], max_new_tokens=4)
        >>> len(out.token_ids), len(out.token_ids[0][0]) <= 4
        (2, True)
    """
    if not prompts:
        raise UsageError("no prompts were given")
    encoded = model.token_ids(prompts)
    rows = [Row(tuple(ids), operations) for operations in map(row_operations, doses) for ids in encoded]
    done = roll_out_rows(model, rows, max_new_tokens, batch_rows=batch_rows, sample_seed=sample_seed, progress=progress)
    by_dose = [done[start : start + len(prompts)] for start in range(0, len(done), len(prompts))]
    return Rollouts(
        texts=[[model.decode(row.token_ids) for row in group] for group in by_dose],
        token_ids=[[list(row.token_ids) for row in group] for group in by_dose],
        control_coordinate=[[mean_coordinate(row) for row in group] for group in by_dose],
        control_coordinates=[[list(row.coordinates) for row in group] for group in by_dose],
        ties=[[row.ties for row in group] for group in by_dose],
    )


def mean_coordinate(row: RowRollout) -> float:
    """Mean measured control coordinate of a rollout; NaN when none was measured."""
    return sum(row.coordinates) / len(row.coordinates) if row.coordinates else float("nan")


def roll_out_rows(
    model: Model,
    rows: Sequence[Row],
    max_new_tokens: int,
    *,
    batch_rows: int = 512,
    sample_seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[RowRollout]:
    """Roll out rows that need not share anything, in batches of `batch_rows`, in the order given.

    Raises:
        UsageError: A horizon below 1, or a prompt that leaves no room for it in the model's context.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    context = getattr(model.hf_model.config, "max_position_embeddings", None)
    longest = max((len(row.prompt_ids) for row in rows), default=0)
    # The last token is emitted and never read, so it needs no position.
    if context is not None and longest + max_new_tokens - 1 > context:
        raise UsageError(
            f"a prompt of {longest} tokens and {max_new_tokens} generated ones exceed the context of {model.name} "
            f"({context} tokens)",
            "shorten the prompt or the horizon",
        )
    done: list[RowRollout] = []
    for start in range(0, len(rows), batch_rows):
        generator = None
        if sample_seed is not None:
            generator = torch.Generator(model.device).manual_seed(sample_seed + start)
        done += _decode(model, rows[start : start + batch_rows], max_new_tokens, generator)
        if progress is not None:
            progress(len(done), len(rows))
    return done


def _measured_direction(model: Model, operations: RowOperations) -> tuple[int, torch.Tensor | None]:
    """The layer and s·v against which a row's control coordinate is read: those of its first operation."""
    for operation in operations:
        if isinstance(operation, Inject):
            return operation.layer, operation.vector
        sign = operation.branch if isinstance(operation, Dose | Add) else 1
        return operation.neuron.layer, sign * write_direction(model, operation.neuron)
    return -1, None


def _decode(
    model: Model, rows: Sequence[Row], max_new_tokens: int, generator: torch.Generator | None
) -> list[RowRollout]:
    device = model.device
    batch = model.pad([row.prompt_ids for row in rows])
    width = batch["input_ids"].shape[1]
    measured = [_measured_direction(model, row.operations) for row in rows]
    blank = torch.zeros(model.d_model, device=device, dtype=model.dtype)
    directions = torch.stack([blank if direction is None else direction for _, direction in measured])
    intervention = Intervention(model, [row.operations for row in rows])
    coordinates = ControlCoordinates(model, [layer for layer, _ in measured], directions)
    stops = torch.tensor(sorted(model.stop_ids), device=device)

    mask = torch.ones((len(rows), width + max_new_tokens), dtype=torch.long, device=device)
    mask[:, :width] = batch["attention_mask"]
    tokens = torch.zeros((len(rows), max_new_tokens), dtype=torch.long, device=device)
    cosines = torch.full((len(rows), max_new_tokens), torch.nan, device=device)
    ties = torch.zeros(len(rows), dtype=torch.long, device=device)
    lengths = torch.full((len(rows),), max_new_tokens, device=device)
    alive = torch.arange(len(rows), device=device)
    running = torch.ones(len(rows), dtype=torch.bool, device=device)

    with measuring(model), intervention, coordinates:
        cache = DynamicCache(config=model.hf_model.config)
        inputs = batch["input_ids"]
        positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)
        intervention.first_generated = width - 1
        for step in range(max_new_tokens):
            logits = model.hf_model(
                input_ids=inputs,
                attention_mask=mask[:, : width + step],
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            intervention.first_generated = None
            top = logits.topk(2, dim=-1)
            chosen = top.indices[:, 0]
            if generator is not None:
                # Adding Gumbel noise and taking the maximum samples from the softmax at temperature 1.
                noise = torch.rand(logits.shape, generator=generator, device=device).clamp(min=1e-20).log().neg().log()
                chosen = (logits.float() - noise).argmax(-1)
            tokens[alive, step] = torch.where(running, chosen, tokens[alive, step])
            cosines[alive, step] = torch.where(running, coordinates.current, cosines[alive, step])
            ties[alive] += running & (top.values[:, 0] - top.values[:, 1] < TIE_MARGIN)
            stopped = running & torch.isin(chosen, stops)
            lengths[alive[stopped]] = step + 1
            running = running & ~stopped
            left = int(running.sum())
            if left == 0 or step + 1 == max_new_tokens:
                break
            inputs, positions = chosen[:, None], positions[:, -1:] + 1
            if left <= (1 - DROP_SHARE) * len(alive):
                keep = torch.nonzero(running)[:, 0]
                cache.batch_select_indices(keep)
                intervention.select(keep, len(alive))
                coordinates.select(keep)
                inputs, positions, mask = inputs[keep], positions[keep], mask[keep]
                alive, running = alive[keep], running[keep]

    result = []
    for row, (layer, _) in enumerate(measured):
        length = int(lengths[row])
        result.append(
            RowRollout(
                token_ids=tuple(tokens[row, :length].tolist()),
                coordinates=tuple(cosines[row, :length].tolist()) if layer >= 0 else (),
                ties=int(ties[row]),
            )
        )
    return result
