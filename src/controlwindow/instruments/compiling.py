"""From the operations of a batch to its tables: edits are sorted by where they act, and composed where they can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from controlwindow.instruments.edits import (
    AddVector,
    Change,
    ChangeActivation,
    Edit,
    Landing,
    MapActivation,
    MapResidual,
    RemoveDirection,
)
from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.tables import (
    ActivationTable,
    Affine,
    Injection,
    Mapping,
    Programs,
    Removal,
    ResidualTable,
)
from controlwindow.models import Model

_RowEdits = Sequence[Sequence[tuple[Edit, bool]]]
"""Of each row the edits in order, each with whether it acts at every position."""

_Step = tuple[ChangeActivation | MapActivation, bool]
_Maps = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Tables:
    """What the operations of a batch come to.

    Attributes:
        activations: By layer, at the input of the FFN's output projection.
        attention: By layer, on what attention gives.
        residual: By layer, behind the block and before `removals`.
        removals: Wherever the residual stream is read, in every layer.
        late: By layer, behind the block and behind `removals`.
    """

    activations: dict[int, list[ActivationTable]]
    attention: dict[int, list[Injection]]
    residual: dict[int, list[Injection]]
    removals: list[Removal]
    late: dict[int, list[ResidualTable]]

    def layers(self, model: Model) -> tuple[int, ...]:
        """Layers in which anything is changed."""
        everywhere = range(model.layers) if self.removals else ()
        return tuple(sorted({*self.activations, *self.attention, *self.residual, *everywhere, *self.late}))


def compile_tables(model: Model, rows: Sequence[RowOperations]) -> Tables:
    """The tables of a batch.

    Args:
        model: The model.
        rows: The operations of every row.
    """
    # Rows that share an operation ask it once.
    distinct = {id(operation): operation for operations in rows for operation in operations}
    edits = {key: operation.edits(model) for key, operation in distinct.items()}
    of_rows = [[(e, o.positions == "all") for o in operations for e in edits[id(o)]] for operations in rows]
    return Tables(
        activations=_activations(model, of_rows),
        attention=_additions(model, of_rows, "attention"),
        residual=_additions(model, of_rows, "block"),
        removals=_removals(model, of_rows),
        late=_maps(model, of_rows),
    )


def _activations(model: Model, rows: _RowEdits) -> dict[int, list[ActivationTable]]:
    found: dict[int, dict[tuple[int, int], list[_Step]]] = {}
    for row, edits in enumerate(rows):
        for edit, everywhere in edits:
            if isinstance(edit, ChangeActivation | MapActivation):
                key = row, model.neurons.column(edit.neuron)
                found.setdefault(edit.neuron.layer, {}).setdefault(key, []).append((edit, everywhere))
    tables: dict[int, list[ActivationTable]] = {}
    for layer, entries in found.items():
        affine = {key: maps for key, steps in entries.items() if (maps := _composed(steps)) is not None}
        others = {key: steps for key, steps in entries.items() if key not in affine}
        parts: list[ActivationTable] = [_affine(model, affine)] if affine else []
        tables[layer] = [*parts, _programs(model, others)] if others else parts
    return tables


def _composed(steps: Sequence[_Step]) -> _Maps | None:
    """One affine map before generated positions and one from there on; None where a step is any function."""
    before, generated = (1.0, 0.0), (1.0, 0.0)
    for edit, everywhere in steps:
        if isinstance(edit, MapActivation):
            return None
        if everywhere:
            before = (before[0] * edit.scale, before[1] * edit.scale + edit.offset)
        generated = (generated[0] * edit.scale, generated[1] * edit.scale + edit.offset)
    return before, generated


def _affine(model: Model, entries: dict[tuple[int, int], _Maps]) -> Affine:
    device, dtype = model.device, model.dtype
    return Affine(
        rows=torch.tensor([row for row, _ in entries], device=device),
        columns=torch.tensor([column for _, column in entries], device=device),
        scale=torch.tensor([[scale for scale, _ in pair] for pair in entries.values()], device=device, dtype=dtype),
        offset=torch.tensor([[offset for _, offset in pair] for pair in entries.values()], device=device, dtype=dtype),
        additive=all(scale == 1 for pair in entries.values() for scale, _ in pair),
    )


def _programs(model: Model, entries: dict[tuple[int, int], list[_Step]]) -> Programs:
    return Programs(
        rows=torch.tensor([row for row, _ in entries], device=model.device),
        columns=torch.tensor([column for _, column in entries], device=model.device),
        steps=tuple(tuple((_function(edit), all_) for edit, all_ in steps) for steps in entries.values()),
    )


def _function(edit: ChangeActivation | MapActivation) -> Change:
    return edit.change if isinstance(edit, MapActivation) else partial(_changed, edit)


def _changed(edit: ChangeActivation, values: torch.Tensor) -> torch.Tensor:
    return values * edit.scale + edit.offset


def _additions(model: Model, rows: _RowEdits, site: Landing) -> dict[int, list[Injection]]:
    # A scatter with repeated rows keeps one vector only, so several injections into one row are summed first.
    summed: dict[tuple[int, bool], dict[int, torch.Tensor]] = {}
    for row, edits in enumerate(rows):
        for edit, everywhere in edits:
            if isinstance(edit, AddVector) and edit.site == site:
                vectors = summed.setdefault((edit.layer, everywhere), {})
                vector = edit.vector.to(model.device, model.dtype)
                vectors[row] = vectors[row] + vector if row in vectors else vector
    compiled: dict[int, list[Injection]] = {}
    for (layer, everywhere), vectors in summed.items():
        rows_here = torch.tensor(list(vectors), device=model.device)
        table = Injection(rows_here, torch.stack(list(vectors.values())), everywhere)
        compiled.setdefault(layer, []).append(table)
    return compiled


def _removals(model: Model, rows: _RowEdits) -> list[Removal]:
    """The directions taken out of rows; a row's second one is in another table, behind its first."""
    tables: dict[tuple[int, bool], list[tuple[int, RemoveDirection]]] = {}
    for row, edits in enumerate(rows):
        removed = [(edit, everywhere) for edit, everywhere in edits if isinstance(edit, RemoveDirection)]
        for turn, (edit, everywhere) in enumerate(removed):
            tables.setdefault((turn, everywhere), []).append((row, edit))
    return [
        Removal(
            rows=torch.tensor([row for row, _ in entries], device=model.device),
            directions=torch.nn.functional.normalize(
                torch.stack([edit.direction.to(model.device, torch.float32) for _, edit in entries]), dim=-1
            ),
            shares=torch.tensor([edit.share for _, edit in entries], device=model.device),
            everywhere=everywhere,
        )
        for (_, everywhere), entries in sorted(tables.items(), key=lambda item: item[0][0])
    ]


def _maps(model: Model, rows: _RowEdits) -> dict[int, list[ResidualTable]]:
    found: dict[int, dict[int, list[tuple[Change, bool]]]] = {}
    for row, edit, everywhere in _mapped(rows):
        found.setdefault(edit.layer, {}).setdefault(row, []).append((edit.change, everywhere))
    return {
        layer: [Mapping(torch.tensor(list(entries), device=model.device), tuple(map(tuple, entries.values())))]
        for layer, entries in found.items()
    }


def _mapped(rows: _RowEdits) -> Iterator[tuple[int, MapResidual, bool]]:
    for row, edits in enumerate(rows):
        for edit, everywhere in edits:
            if isinstance(edit, MapResidual):
                yield row, edit, everywhere
