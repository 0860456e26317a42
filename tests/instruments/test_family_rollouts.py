"""Rollouts of every family and variant against Transformers' own `generate`, one prompt and one dose at a time."""

from __future__ import annotations

import pytest

import plain_generation
import tiny_families
from controlwindow.instruments import Add, Operation, Pin, Scale
from controlwindow.instruments.dosing import row_operations
from controlwindow.instruments.rows import Row, RowRollout, roll_out_rows
from controlwindow.models import Model
from tiny_models import PROMPTS

HORIZON = 10
SIZE = 3.0
"""Raw size of the doses, so that most of them change what these models say."""


def operations_of(model: Model) -> list[Operation | tuple[Operation, ...] | None]:
    """Neurons of the first and the last layer, of every kind they have; all operations, both kinds of positions."""
    last = model.layers - 1
    first = model.neurons.at(0, 3)
    routed = model.neurons.at(last, 5)
    final = model.neurons.at(last, model.neurons.widths[last] - 1)
    return [
        None,
        Add(first, SIZE),
        Add(first, -SIZE, "generated"),
        Add(routed, -SIZE),
        Add(final, SIZE, "generated"),
        Pin(routed, 2.0),
        Scale(final, -3.0),
        (Add(first, SIZE, "generated"), Add(final, SIZE)),
    ]


def check(model: Model, rows: list[Row], found: list[RowRollout]) -> None:
    ties = 0
    for row, mine in zip(rows, found, strict=True):
        plain = plain_generation.generate(model, row.prompt_ids, row.operations, HORIZON, {})
        decided = plain.first_tie
        assert list(mine.token_ids[:decided]) == plain.tokens[:decided], row.operations
        if decided < len(plain.tokens):
            ties += 1
        elif row.operations and model.post_norm(0) is None:
            assert mine.coordinates == pytest.approx(plain.cosines, abs=2e-4)
    assert ties <= 0.1 * len(rows) + 1


@pytest.mark.parametrize("case", tiny_families.CASES)
def test_rollouts_equal_plain_generation(case: str) -> None:
    if not tiny_families.is_known(case):
        pytest.skip(f"this version of Transformers has no {case}")
    model = tiny_families.model(case)
    prompts = [tuple(ids) for ids in model.token_ids(PROMPTS[:3])]
    rows = [Row(ids, row_operations(model, o)) for o in operations_of(model) for ids in prompts]
    found = roll_out_rows(model, rows, HORIZON)
    check(model, rows, found)
    assert len({row.token_ids for row in found}) > 1
    # Waiting rows, rows that share nothing, and rows with a neighbour's text for a draft say the same.
    drafted = [row._replace(draft=found[place - 3].token_ids) for place, row in enumerate(rows)]
    for others in (
        roll_out_rows(model, rows, HORIZON, batch_rows=5),
        roll_out_rows(model, rows, HORIZON, share=False),
        roll_out_rows(model, drafted, HORIZON),
    ):
        for mine, theirs in zip(others, found, strict=True):
            assert mine.token_ids == theirs.token_ids or mine.ties or theirs.ties
