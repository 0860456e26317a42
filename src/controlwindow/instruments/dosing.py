"""Doses in budget units: what one comes to as an operation, and those of all neurons of a layer at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow.errors import OperationError
from controlwindow.instruments.generic import GenericPass, kept_pass
from controlwindow.instruments.operations import (
    Add,
    Operation,
    Positions,
    RowOperations,
    check_finite,
    check_positions,
)
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import write_matrix

Floats = NDArray[np.float64]

LEAST_DOSE = 0.1
"""A neuron that the residual already points along needs no dose to reach a coordinate; it is given this one, in t."""

CAPPED_DOSE = 4.0
"""The dose, in t, of a neuron whose plateau lies below the coordinate asked for."""


@dataclass(frozen=True)
class Dose:
    """A dose in budget units: the activation moves by t·B with B = ‖r_L‖/‖v‖ (LAW; method section 1).

    What acts on a model is the `Add` that it comes to there (`row_operations`).

    Attributes:
        neuron: The dosed neuron.
        t: Signed dose in budget units; its sign is the branch.
        positions: Where the dose is added.
    """

    neuron: Neuron
    t: float
    positions: Positions = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "neuron", Neuron.parse(self.neuron))
        check_positions(self.positions)
        check_finite(self.t, "a dose")

    @classmethod
    def at(cls, neuron: Neuron | str, *, c: float, model: Model, branch: int = 1, positions: Positions = "all") -> Dose:
        """The dose that brings a neuron of a model to a control coordinate, by its saturation curve.

        Args:
            neuron: The neuron.
            c: The coordinate to reach on the branch, against s·v; at least the undosed c0.
            model: The model: c0 and the curve are its generic pass's.
            branch: +1 or −1, the sign of the dose.
            positions: Where the dose is added.

        Raises:
            OperationError: No dose reaches c on this branch, or the undosed cosine lies above it.
            NeuronError: The neuron lies outside the model.

        Example:
            >>> import controlwindow as cw
            >>> model = cw.load_model("organism:switch")
            >>> dose = cw.Dose.at("L3.N7", c=0.5, model=model, branch=-1)
            >>> dose.t < 0
            True
        """
        check_finite(c, "a control coordinate")
        if branch not in (1, -1):
            raise OperationError(f"a branch is +1 or -1, got {branch!r}")
        parsed = Neuron.parse(neuron)
        curve = kept_pass(model).curve(model, parsed, branch)
        try:
            t = curve.dose(float(c))
        except ValueError as error:
            raise OperationError(f"no dose of {parsed} reaches c = {c:g}: {error}", "ask for a smaller c") from error
        if t < 0:
            raise OperationError(
                f"{parsed} lies at c = {curve.cosine:.3f} undosed on branch {branch:+d}, above {c:g}",
                f"ask for a larger c, or take branch={-branch:+d}, whose coordinates have the other sign",
            )
        return cls(parsed, branch * t, positions)

    @property
    def branch(self) -> int:
        """Sign of the dose; +1 for t = 0."""
        return -1 if self.t < 0 else 1

    def alpha(self, model: Model) -> float:
        """The raw activation offset α = t·B, from the model's generic pass.

        Raises:
            NeuronError: The neuron lies outside the model, or has no budget.
        """
        return self.t * kept_pass(model).budget(model, self.neuron)

    def operation(self, model: Model) -> Add:
        """The operation that this dose is in a model.

        Raises:
            NeuronError: As `alpha`.
        """
        return Add(self.neuron, self.alpha(model), self.positions)


def row_operations(model: Model, given: Dose | Operation | Sequence[Dose | Operation] | None) -> RowOperations:
    """What a caller gives for one row, as operations on a model.

    Args:
        model: The model.
        given: A dose or another operation, several in order, or None for the undosed model.

    Raises:
        NeuronError: The neuron of a dose lies outside the model, or has no budget.
        OperationError: Something else was given.
    """
    if given is None:
        return ()
    several = (given,) if isinstance(given, Dose | Operation) else given
    if not isinstance(several, Sequence) or not all(isinstance(one, Dose | Operation) for one in several):
        raise OperationError(
            f"{type(given).__name__} {given!r} is no operation"[:200],
            'give operations such as cw.Dose("L3.N7", 0.5), or None for the undosed model',
        )
    return tuple(one.operation(model) if isinstance(one, Dose) else one for one in several)


def model_budgets(model: Model, generic: GenericPass) -> Floats:
    """Budgets of all neurons, all layers in a row, [neurons]; NaN for those that have none."""
    return np.concatenate([generic.budgets(model, layer) for layer in range(model.layers)])


def layer_offsets(model: Model, generic: GenericPass, layer: int, coordinate: float) -> Floats:
    """Activation offsets that bring every neuron of a layer to one |c| on both branches, by its curve.

    Args:
        model: The model.
        generic: Its generic pass.
        layer: The layer.
        coordinate: The control coordinate to reach, > 0.

    Returns:
        [2, neurons]: on branch +1 and, negative, on branch −1; 0 for neurons without a budget.
    """
    budgets = np.nan_to_num(generic.budgets(model, layer))
    curves = generic.curves(model, layer)
    offsets = []
    for sign, branch in ((1, curves), (-1, curves.opposite())):
        doses = branch.rising_doses(np.full(len(budgets), coordinate))
        offsets.append(sign * np.maximum(np.nan_to_num(doses, nan=CAPPED_DOSE), LEAST_DOSE) * budgets)
    return np.stack(offsets)


def limit_directions(model: Model, layer: int) -> torch.Tensor:
    """`write_direction` of every neuron of a layer as columns, [d_model, neurons], float32."""
    writes = write_matrix(model, layer).float()
    norm = model.post_norm(layer)
    return writes if norm is None else norm.limit(writes.T).T
