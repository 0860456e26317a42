"""What the operations of a batch come to, layer by layer: which rows, which neurons, which affine map.

Several operations on one activation compose to one affine map a ← a·scale + offset, so that a decode step costs one
gather and one scatter per dosed layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from controlwindow.instruments.operations import AblateDirection, Add, Dose, Inject, Landing, Pin, RowOperations, Scale
from controlwindow.models import Model, Neuron
from controlwindow.models.feedforward import RoutedExperts


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
        """Entries of the rows that have a place; `places` maps a row to its place or −1.

        Rows that share a place must agree in their operations, and their entries are kept once.
        """
        rows = places[self.rows]
        keep = (rows >= 0).nonzero()[:, 0]
        unique, group = torch.unique((rows[keep] << 32) | self.columns[keep], return_inverse=True)
        if len(unique) < len(keep):
            order = torch.arange(len(keep), device=keep.device)
            keep = keep[torch.full_like(unique, len(keep)).scatter_reduce(0, group, order, "amin")]
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

    def apply_routed(
        self,
        output: torch.Tensor,
        hidden: torch.Tensor,
        routes: torch.Tensor,
        weights: torch.Tensor,
        experts: RoutedExperts,
        first_generated: int,
    ) -> None:
        """Change the output of routed experts in place by router weight · (a' − a) · column where tokens are routed.

        Args:
            output: [rows, positions, d_model].
            hidden: What the experts were given, [rows, positions, d_model].
            routes: Experts of each token, [rows, positions, k].
            weights: Their router weights, [rows, positions, k].
            experts: The experts.
            first_generated: Column from which positions count as generated.
        """
        if len(self.rows) == 0:
            return
        numbers, indices = self.columns // experts.width, self.columns % experts.width
        columns = experts.columns(numbers, indices)
        share = (weights[self.rows] * (routes[self.rows] == numbers[:, None, None])).sum(-1)
        before = torch.arange(output.shape[1], device=output.device) < first_generated
        delta = torch.where(before, self.offset[:, :1], self.offset[:, 1:])
        if not self.additive:
            activations = experts.activations_of(hidden[self.rows], numbers, indices)
            scale = torch.where(before, self.scale[:, :1], self.scale[:, 1:])
            delta = delta + activations * (scale - 1)
        moved = (share * delta)[..., None] * columns[:, None, :]
        output.index_add_(0, self.rows, moved.to(output.dtype))


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


def compile_affine(model: Model, rows: Sequence[RowOperations]) -> dict[int, Affine]:
    """Compose the operations on activations to one table a layer."""
    # Per layer and (row, column) the composed maps before generated positions and from there on.
    maps: dict[int, dict[tuple[int, int], tuple[tuple[float, float], tuple[float, float]]]] = {}
    for row, operations in enumerate(rows):
        for operation in operations:
            if isinstance(operation, Inject | AblateDirection):
                continue
            neuron, scale, offset = _affine_of(model, operation)
            entries = maps.setdefault(neuron.layer, {})
            key = row, model.neurons.column(neuron)
            before, generated = entries.get(key, ((1.0, 0.0), (1.0, 0.0)))
            if operation.positions == "all":
                before = (before[0] * scale, before[1] * scale + offset)
            entries[key] = before, (generated[0] * scale, generated[1] * scale + offset)
    device, dtype = model.device, model.dtype
    return {
        layer: Affine(
            rows=torch.tensor([row for row, _ in entries], device=device),
            columns=torch.tensor([column for _, column in entries], device=device),
            scale=torch.tensor([[scale for scale, _ in pair] for pair in entries.values()], device=device, dtype=dtype),
            offset=torch.tensor(
                [[offset for _, offset in pair] for pair in entries.values()], device=device, dtype=dtype
            ),
            additive=all(scale == 1 for pair in entries.values() for scale, _ in pair),
        )
        for layer, entries in maps.items()
    }


def _affine_of(model: Model, operation: Dose | Add | Pin | Scale) -> tuple[Neuron, float, float]:
    match operation:
        case Dose():
            return operation.neuron, 1.0, operation.alpha(model)
        case Add():
            return operation.neuron, 1.0, operation.alpha
        case Pin():
            return operation.neuron, 0.0, operation.value
        case Scale():
            return operation.neuron, operation.factor, 0.0


def compile_injections(
    model: Model, rows: Sequence[RowOperations], site: Landing = "block"
) -> dict[int, list[Injection]]:
    """Collect the injections of each layer at one site, as they land in the residual stream."""
    # A scatter with repeated rows keeps one vector only, so several injections into one row are summed first.
    summed: dict[tuple[int, bool], dict[int, torch.Tensor]] = {}
    for row, operations in enumerate(rows):
        for operation in operations:
            if isinstance(operation, Inject) and operation.site == site:
                vectors = summed.setdefault((operation.layer, operation.positions == "all"), {})
                vector = operation.vector.to(model.device, model.dtype)
                vectors[row] = vectors[row] + vector if row in vectors else vector
    compiled: dict[int, list[Injection]] = {}
    for (layer, everywhere), vectors in summed.items():
        rows_here = torch.tensor(list(vectors), device=model.device)
        table = Injection(rows_here, torch.stack(list(vectors.values())), everywhere)
        compiled.setdefault(layer, []).append(table)
    return compiled


def compile_removals(model: Model, rows: Sequence[RowOperations]) -> list[Removal]:
    """Collect the directions taken out of rows; a row's second one is in another table, behind its first."""
    tables: dict[tuple[int, bool], list[tuple[int, AblateDirection]]] = {}
    for row, operations in enumerate(rows):
        removed = [operation for operation in operations if isinstance(operation, AblateDirection)]
        for turn, operation in enumerate(removed):
            tables.setdefault((turn, operation.positions == "all"), []).append((row, operation))
    compiled = []
    for (_, everywhere), entries in sorted(tables.items(), key=lambda item: item[0][0]):
        directions = torch.stack([operation.direction.to(model.device, torch.float32) for _, operation in entries])
        compiled.append(
            Removal(
                rows=torch.tensor([row for row, _ in entries], device=model.device),
                directions=torch.nn.functional.normalize(directions, dim=-1),
                shares=torch.tensor([operation.share for _, operation in entries], device=model.device),
                everywhere=everywhere,
            )
        )
    return compiled
