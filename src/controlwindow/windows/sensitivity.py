"""How much predictions depend on the generic text: the same neurons under other prompts, lengths and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from controlwindow.errors import UsageError
from controlwindow.instruments.generic import GENERIC_TOKENS, GenericPass, default_prompts, generic_pass
from controlwindow.instruments.layer_statistics import read_layers
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model, Neuron
from controlwindow.windows.atlas import predict_ceilings

_BATCH_ROWS = 32


@dataclass(frozen=True)
class GenericText:
    """One choice of generic text.

    Attributes:
        name: What tables call it.
        prompts: Ordinary prompts; None for the model's own.
        length: Length of an answer in tokens.
        sample_seed: Seed of answers sampled at temperature 1; None for greedy ones, as everywhere else.
    """

    name: str
    prompts: tuple[str, ...] | None = None
    length: int = GENERIC_TOKENS
    sample_seed: int | None = None


def standard_variants(model: Model) -> tuple[GenericText, ...]:
    """The model's own text, each half of its prompts, half and a quarter of the length, and two samples."""
    prompts = default_prompts(model)
    return (
        GenericText("own"),
        GenericText("even prompts", prompts[::2]),
        GenericText("odd prompts", prompts[1::2]),
        GenericText("half length", None, GENERIC_TOKENS // 2),
        GenericText("quarter length", None, GENERIC_TOKENS // 4),
        GenericText("sampled, seed 1", None, sample_seed=1),
        GenericText("sampled, seed 2", None, sample_seed=2),
    )


def read_generic(model: Model, text: GenericText) -> GenericPass:
    """The generic pass over one choice of text.

    Raises:
        ModelError: The model answers with almost nothing.
    """
    greedy = generic_pass(model, text.prompts, text.length)
    if text.sample_seed is None:
        return greedy
    key = ("generic", greedy.prompts, text.length, text.sample_seed)
    if key not in model.cache:
        rows = [Row(ids, ()) for ids in greedy.prompt_ids]
        sampled = roll_out_rows(model, rows, text.length, sample_seed=text.sample_seed)
        token_ids = tuple(row.token_ids for row in sampled)
        answered = [(p, t) for p, t in zip(greedy.prompt_ids, token_ids, strict=True) if t]
        positions = sum(len(tokens) for _, tokens in answered)
        batches = [
            pack(
                model,
                [p for p, _ in answered[start : start + _BATCH_ROWS]],
                [t for _, t in answered[start : start + _BATCH_ROWS]],
            )
            for start in range(0, len(answered), _BATCH_ROWS)
        ]
        layers = read_layers(model, batches, positions)
        model.cache[key] = replace(greedy, token_ids=token_ids, positions=positions, layers=layers)
    found: GenericPass = model.cache[key]
    return found


def generic_sensitivity(
    model: Model,
    variants: Sequence[GenericText] | None = None,
    neurons: Iterable[Neuron | str] | None = None,
    *,
    probe: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Predicted ceilings under several generic texts, and how far they lie apart.

    Args:
        model: The model.
        variants: Choices of text, the first of which the others are held against; default `standard_variants`.
        neurons: Which; None for every FFN neuron.
        probe: Whether the probe passes are made on each text (tier ½).
        progress: Called with texts done and texts in all.

    Returns:
        One row per text: text, positions, the predictor, the median predicted ceiling, mean and largest |difference|
        in c from the first text over neurons and branches, the same for budgets as a share, and how many neurons
        changed between reachable and not.

    Raises:
        UsageError: No text was given.
    """
    chosen = standard_variants(model) if variants is None else tuple(variants)
    if not chosen:
        raise UsageError("no generic text was given", "give at least one, or none for the standard variants")
    named = None if neurons is None else list(neurons)
    rows = []
    first: pl.DataFrame | None = None
    for place, text in enumerate(chosen):
        generic = read_generic(model, text)
        table = predict_ceilings(model, named, probe=probe, generic=generic)
        first = table if first is None else first
        apart = (table["ceiling_predicted"] - first["ceiling_predicted"]).abs()
        budgets = (table["budget"] / first["budget"] - 1).abs()
        changed = (table["reachable"] != first["reachable"]).sum()
        rows.append(
            {
                "text": text.name,
                "positions": generic.positions,
                "predictor": table["predictor"][0],
                "ceiling_median": table["ceiling_predicted"].median(),
                "difference_mean": apart.mean(),
                "difference_largest": apart.max(),
                "budget_difference_mean": budgets.mean(),
                "reachable_changed": int(changed),
                "n": len(table),
            }
        )
        if progress is not None:
            progress(place + 1, len(chosen))
    return pl.DataFrame(rows)
