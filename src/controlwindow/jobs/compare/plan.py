"""The plan of a comparison of interventions, committed before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from controlwindow.behaviors import Behavior
from controlwindow.cells import METHODS, RESIDUAL_METHODS, MethodName
from controlwindow.errors import UsageError
from controlwindow.models import Model
from controlwindow.runs.plan import BehaviorPlan, behavior_reference, model_head
from controlwindow.runs.session import CHUNK_ROWS

LEVELS = (0.25, 0.5, 0.75, 0.9)
"""Rates of the behavior at which methods are compared by default."""


class Request(NamedTuple):
    """What is to be compared, checked: neurons and methods once each, levels ascending."""

    neurons: tuple[str, ...]
    methods: tuple[MethodName, ...]
    levels: tuple[float, ...]


def check_request(neurons: Sequence[str], methods: Sequence[str], levels: Sequence[float]) -> Request:
    """Hold a request against what there is, before any model is at hand.

    Raises:
        UsageError: Nothing is to be compared, or a level or a method makes no sense.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown:
        raise UsageError(f"unknown method {unknown[0]!r}", f"methods: {', '.join(METHODS)}")
    chosen = tuple(method for method in METHODS if method in methods)
    rates = tuple(sorted(set(levels)))
    if not rates or not all(0 < level <= 1 for level in rates):
        raise UsageError(f"levels are rates above 0 and up to 1, got {list(rates)}", "as in --level 0.5")
    if not chosen or (not neurons and not set(chosen) & set(RESIDUAL_METHODS)):
        raise UsageError("nothing is to be compared", "name a neuron with --neuron, or a residual baseline")
    return Request(tuple(dict.fromkeys(neurons)), chosen, rates)


class ComparisonPlan(BehaviorPlan):
    """What is compared.

    Attributes:
        neurons: Names of the neurons.
        methods: The methods, in the order of `METHODS`.
        levels: Rates to be matched, ascending.
        controls: Whether a random neuron of the same layer and a direction of shuffled labels are compared beside.
        chunk_rows: Most rows of a chunk.
    """

    kind: ClassVar[str] = "comparison"

    neurons: tuple[str, ...]
    methods: tuple[MethodName, ...] = METHODS
    levels: tuple[float, ...] = LEVELS
    controls: bool = True
    chunk_rows: int = CHUNK_ROWS

    def record(self) -> dict[str, Any]:
        """As ledgers have held it from the first: without a name, what the behavior was loaded from beside the rest."""
        values = super().record()
        del values["run"]
        values["behavior_source"] = values["behavior"].pop("source")
        return values

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> Self:
        """Read `record`."""
        values = {key: value for key, value in found.items() if key != "behavior_source"}
        values["behavior"] = {**found["behavior"], "source": found["behavior_source"]}
        return super().from_record(values).named()


def plan_comparison(
    model: Model,
    given: Any,
    behavior: Behavior,
    request: Request,
    *,
    controls: bool,
    seed: int,
    include_neurons: bool,
    remote_judge: bool = False,
) -> ComparisonPlan:
    """The plan of a comparison.

    Args:
        model: The model.
        given: What the behavior was given as.
        behavior: The behavior.
        request: What is compared.
        controls: Whether controls are compared beside.
        seed: Seed of everything random.
        remote_judge: As `ModelPlan`.
        include_neurons: As `ModelPlan`.
    """
    return ComparisonPlan(
        **model_head(model),
        behavior=behavior_reference(given, behavior),
        neurons=request.neurons,
        methods=request.methods,
        levels=request.levels,
        controls=controls,
        seed=seed,
        include_neurons=include_neurons,
        remote_judge=remote_judge,
    ).named()
