"""What the operations of a batch come to, layer by layer: which rows, which neurons, which affine map.

Several affine edits of one activation compose to one map a ← a·scale + offset, so that a decode step costs one gather
and one scatter per dosed layer. Edits that are any function are done row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import torch

from controlwindow.instruments.edits import Change
from controlwindow.models.feedforward import RoutedExperts


class ActivationTable(Protocol):
    """Edits of chosen activations of one layer; no two tables of a layer have the same row and column."""

    @property
    def columns(self) -> torch.Tensor:
        """Column of each entry's neuron among those of its layer, [entries]."""

    def place(self, places: torch.Tensor) -> Self:
        """Entries of the rows that have a place; `places` maps a row to its place or −1.

        Rows that share a place must agree in their operations, and their entries are kept once.
        """

    def within(self, begin: int, end: int) -> Self:
        """Entries of a range of columns, counted from its beginning."""

    def apply(self, activations: torch.Tensor, first_generated: int) -> None:
        """Change activations, [rows, positions, neurons], in place."""

    def apply_routed(self, output: torch.Tensor, given: Routed, experts: RoutedExperts, first_generated: int) -> None:
        """Change the output of routed experts by router weight · (a' − a) · column where tokens are routed, in place.

        Args:
            output: [rows, positions, d_model].
            given: What the experts were given.
            experts: The experts.
            first_generated: Column from which positions count as generated.
        """


class ResidualTable(Protocol):
    """Edits of the residual stream of chosen rows."""

    def place(self, places: torch.Tensor) -> Self:
        """Entries of the rows that have a place, as for activations."""

    def apply(self, residual: torch.Tensor, first_generated: int) -> None:
        """Change the residual stream, [rows, positions, d_model], in place."""


class Routed(NamedTuple):
    """What routed experts were given.

    Attributes:
        hidden: [rows, positions, d_model].
        routes: Experts of each token, [rows, positions, k].
        weights: Their router weights, [rows, positions, k].
    """

    hidden: torch.Tensor
    routes: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Affine:
    """a ← a·scale + offset on chosen activations of one layer; one entry per (row, neuron).

    Scale and offset are [entries, 2]: before generated positions, where only operations on all positions act, and
    from there on, where every operation acts.

    Attributes:
        rows: Row of the layer's batch, [entries].
        columns: Column of the neuron among those of its layer, [entries].
        scale: [entries, 2].
        offset: [entries, 2].
        additive: Every scale is 1, so that no activation needs to be known.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    scale: torch.Tensor
    offset: torch.Tensor
    additive: bool

    def place(self, places: torch.Tensor) -> Affine:
        """Entries of the rows that have a place, each once."""
        rows, keep = _placed(self.rows, self.columns, places)
        return self._chosen(keep, rows)

    def within(self, begin: int, end: int) -> Affine:
        """Entries of a range of columns, counted from its beginning."""
        keep = ((self.columns >= begin) & (self.columns < end)).nonzero()[:, 0]
        chosen = self._chosen(keep, self.rows)
        return replace(chosen, columns=chosen.columns - begin)

    def _chosen(self, keep: torch.Tensor, rows: torch.Tensor) -> Affine:
        return Affine(rows[keep], self.columns[keep], self.scale[keep], self.offset[keep], self.additive)

    def apply(self, activations: torch.Tensor, first_generated: int) -> None:
        """Change activations, [rows, positions, neurons], in place."""
        if len(self.rows) == 0:
            return
        spans = slice(0, first_generated), slice(first_generated, activations.shape[1])
        for part, span in enumerate(spans):
            if span.start < span.stop:
                values = activations[self.rows, span, self.columns]
                values = values * self.scale[:, part, None] + self.offset[:, part, None]
                activations[self.rows, span, self.columns] = values

    def apply_routed(self, output: torch.Tensor, given: Routed, experts: RoutedExperts, first_generated: int) -> None:
        """Change the output of routed experts."""
        if len(self.rows) == 0:
            return
        numbers, indices = self.columns // experts.width, self.columns % experts.width
        before = torch.arange(output.shape[1], device=output.device) < first_generated
        delta = torch.where(before, self.offset[:, :1], self.offset[:, 1:])
        if not self.additive:
            activations = experts.activations_of(given.hidden[self.rows], numbers, indices)
            scale = torch.where(before, self.scale[:, :1], self.scale[:, 1:])
            delta = delta + activations * (scale - 1)
        _move_routed(output, given, experts, self.rows, self.columns, delta)


@dataclass(frozen=True)
class Programs:
    """a ← any function of a, on chosen activations of one layer; one entry per (row, neuron).

    Attributes:
        rows: Row of the layer's batch, [entries].
        columns: Column of the neuron among those of its layer, [entries].
        steps: Of each entry the functions in order, each with whether it acts at every position.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    steps: tuple[tuple[tuple[Change, bool], ...], ...]

    def place(self, places: torch.Tensor) -> Programs:
        """Entries of the rows that have a place, each once."""
        rows, keep = _placed(self.rows, self.columns, places)
        return self._chosen(keep, rows)

    def within(self, begin: int, end: int) -> Programs:
        """Entries of a range of columns, counted from its beginning."""
        keep = ((self.columns >= begin) & (self.columns < end)).nonzero()[:, 0]
        chosen = self._chosen(keep, self.rows)
        return replace(chosen, columns=chosen.columns - begin)

    def _chosen(self, keep: torch.Tensor, rows: torch.Tensor) -> Programs:
        return Programs(rows[keep], self.columns[keep], tuple(self.steps[place] for place in keep.tolist()))

    def _run(self, values: torch.Tensor, first_generated: int) -> torch.Tensor:
        """New activations of the entries for old ones, [entries, positions]."""
        return torch.stack([_stepped(v, s, first_generated) for v, s in zip(values, self.steps, strict=True)])

    def apply(self, activations: torch.Tensor, first_generated: int) -> None:
        """Change activations, [rows, positions, neurons], in place."""
        if len(self.rows):
            values = activations[self.rows, :, self.columns]
            activations[self.rows, :, self.columns] = self._run(values, first_generated)

    def apply_routed(self, output: torch.Tensor, given: Routed, experts: RoutedExperts, first_generated: int) -> None:
        """Change the output of routed experts."""
        if len(self.rows):
            numbers, indices = self.columns // experts.width, self.columns % experts.width
            values = experts.activations_of(given.hidden[self.rows], numbers, indices)
            delta = self._run(values, first_generated) - values
            _move_routed(output, given, experts, self.rows, self.columns, delta)


@dataclass(frozen=True)
class Injection:
    """Vectors added to the residual stream of chosen rows of one layer.

    Attributes:
        rows: Row of the layer's batch, [entries]; each once.
        vectors: [entries, d_model].
        everywhere: At every position; else from the first generated one on.
    """

    rows: torch.Tensor
    vectors: torch.Tensor
    everywhere: bool

    def place(self, places: torch.Tensor) -> Injection:
        """Entries of the rows that have a place, as in `Affine.place`."""
        rows = places[self.rows]
        keep = rows >= 0
        return Injection(rows[keep], self.vectors[keep], self.everywhere)

    def apply(self, residual: torch.Tensor, first_generated: int) -> None:
        """Change the residual stream, [rows, positions, d_model], in place."""
        # Rows that share a place share their vectors, and this assignment keeps one of them.
        residual[self.rows, 0 if self.everywhere else first_generated :] += self.vectors[:, None, :]


@dataclass(frozen=True)
class Removal:
    """A direction that is taken out of the residual stream of chosen rows, the same in every layer.

    Attributes:
        rows: Row of a layer's batch, [entries]; each once.
        directions: Unit vectors, [entries, d_model], float32.
        shares: How much of the component goes, [entries], float32.
        everywhere: At every position; else from the first generated one on.
    """

    rows: torch.Tensor
    directions: torch.Tensor
    shares: torch.Tensor
    everywhere: bool

    def place(self, places: torch.Tensor) -> Removal:
        """Entries of the rows that have a place, as in `Affine.place`."""
        rows = places[self.rows]
        keep = rows >= 0
        return Removal(rows[keep], self.directions[keep], self.shares[keep], self.everywhere)

    def apply(self, residual: torch.Tensor, first_generated: int) -> None:
        """Change the residual stream, [rows, positions, d_model], in place."""
        span = slice(0 if self.everywhere else first_generated, None)
        values = residual[self.rows, span].float()
        along = torch.einsum("epd,ed->ep", values, self.directions) * self.shares[:, None]
        residual[self.rows, span] = (values - along[..., None] * self.directions[:, None]).to(residual.dtype)


@dataclass(frozen=True)
class Mapping:
    """r ← any function of r, on chosen rows of one layer.

    Attributes:
        rows: Row of the layer's batch, [entries]; each once.
        steps: Of each entry the functions in order, each with whether it acts at every position.
    """

    rows: torch.Tensor
    steps: tuple[tuple[tuple[Change, bool], ...], ...]

    def place(self, places: torch.Tensor) -> Mapping:
        """Entries of the rows that have a place, each once."""
        rows, keep = _placed(self.rows, torch.zeros_like(self.rows), places)
        return Mapping(rows[keep], tuple(self.steps[place] for place in keep.tolist()))

    def apply(self, residual: torch.Tensor, first_generated: int) -> None:
        """Change the residual stream, [rows, positions, d_model], in place."""
        for row, steps in zip(self.rows.tolist(), self.steps, strict=True):
            residual[row] = _stepped(residual[row], steps, first_generated)


def _stepped(values: torch.Tensor, steps: tuple[tuple[Change, bool], ...], first_generated: int) -> torch.Tensor:
    """One row's values, [positions, …], after each function."""
    values = values.clone()
    for change, everywhere in steps:
        span = slice(0 if everywhere else first_generated, None)
        if len(values[span]):
            values[span] = change(values[span])
    return values


def _placed(rows: torch.Tensor, columns: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The place of each entry's row, and the entries to keep: one for each place and column."""
    placed = places[rows]
    keep = (placed >= 0).nonzero()[:, 0]
    unique, group = torch.unique((placed[keep] << 32) | columns[keep], return_inverse=True)
    if len(unique) < len(keep):
        order = torch.arange(len(keep), device=keep.device)
        keep = keep[torch.full_like(unique, len(keep)).scatter_reduce(0, group, order, "amin")]
    return placed, keep


def _move_routed(
    output: torch.Tensor,
    given: Routed,
    experts: RoutedExperts,
    rows: torch.Tensor,
    columns: torch.Tensor,
    delta: torch.Tensor,
) -> None:
    """Add router weight · delta · column to the output, where tokens are routed to the column's expert."""
    numbers = columns // experts.width
    written = experts.columns(numbers, columns % experts.width)
    share = (given.weights[rows] * (given.routes[rows] == numbers[:, None, None])).sum(-1)
    moved = (share * delta)[..., None] * written[:, None, :]
    output.index_add_(0, rows, moved.to(output.dtype))
