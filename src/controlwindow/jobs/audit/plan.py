"""The plan of an audit: everything its results depend on, committed before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from controlwindow.behaviors import Behavior
from controlwindow.errors import UsageError
from controlwindow.models import Model, Neuron
from controlwindow.models.neuron import as_list
from controlwindow.runs.plan import BehaviorReference, ModelPlan, model_head
from controlwindow.runs.session import CHUNK_ROWS


class AuditPlan(ModelPlan):
    """What an audit does.

    Attributes:
        behaviors: The behaviors.
        neurons: Neurons named by the user for every behavior.
        neurons_of: Neurons named for one behavior alone, by its name.
        screen: The screen whose top is tested.
        top: How many of the screen's top, and how many at random.
        planted: Whether an organism's planted neurons are tested.
        generic_prompts: Ordinary prompts given by the user; None for the default.
        chunk_rows: Most rows of a chunk.
        include_completions: Whether reports show completions of sensitive behaviors.
    """

    kind: ClassVar[str] = "audit"
    undecided: ClassVar[frozenset[str]] = ModelPlan.undecided | {"include_completions"}

    behaviors: tuple[BehaviorReference, ...]
    neurons: tuple[str, ...] = ()
    neurons_of: dict[str, tuple[str, ...]] = Field(default={})
    screen: str = "contrastive"
    top: Annotated[int, Field(ge=0)] = 4
    planted: bool = True
    generic_prompts: tuple[str, ...] | None = None
    chunk_rows: int = CHUNK_ROWS
    include_completions: bool = False

    def named_neurons(self, behavior: str) -> tuple[str, ...]:
        """Neurons named for a behavior."""
        return (*self.neurons, *self.neurons_of.get(behavior, ()))

    def deciding(self) -> dict[str, Any]:
        """What results depend on; runs planned before neurons could be named for single behaviors keep their names."""
        values = super().deciding()
        if not values["neurons_of"]:
            del values["neurons_of"]
        return values


NamedNeurons = Sequence[Neuron | str] | Neuron | str | Mapping[str, Sequence[Neuron | str] | Neuron | str]
"""Neurons for every behavior, or for each behavior by its name."""


def plan_audit(
    model: Model,
    behaviors: Sequence[tuple[str, Behavior]],
    *,
    neurons: NamedNeurons = (),
    screen: str = "contrastive",
    top: int = 4,
    planted: bool = True,
    seed: int = 0,
    generic_prompts: Sequence[str] | None = None,
    include_completions: bool = False,
    include_neurons: bool = False,
) -> AuditPlan:
    """The plan of an audit of this model, with its name.

    Args:
        model: The model.
        behaviors: Each behavior after what it was loaded from.
        neurons: Neurons to test beside the others; a mapping names them for single behaviors.
        screen: Screen whose top is tested.
        top: How many of the screen's top, and how many at random.
        planted: Whether an organism's planted neurons are tested.
        seed: Seed of everything random.
        generic_prompts: Ordinary prompts for the generic pass; None for the model's.
        include_completions: As `AuditPlan`.
        include_neurons: As `AuditPlan`.

    Raises:
        NeuronError: A named neuron is malformed or lies outside the model.
        UsageError: Neurons are named for a behavior that is not audited.
    """
    by_behavior = neurons if isinstance(neurons, Mapping) else {}
    unknown = sorted(set(by_behavior) - {behavior.name for _, behavior in behaviors})
    if unknown:
        raise UsageError(
            f"neurons are named for the behavior {unknown[0]!r}, which is not audited",
            f"behaviors: {', '.join(behavior.name for _, behavior in behaviors)}",
        )
    return AuditPlan(
        **model_head(model),
        behaviors=tuple(
            BehaviorReference(name=behavior.name, source=given, fingerprint=behavior.fingerprint)
            for given, behavior in behaviors
        ),
        neurons=() if isinstance(neurons, Mapping) else tuple(str(model.require(n)) for n in as_list(neurons)),
        neurons_of={
            name: tuple(str(model.require(n)) for n in as_list(given)) for name, given in by_behavior.items() if given
        },
        screen=screen,
        top=top,
        planted=planted,
        seed=seed,
        generic_prompts=None if generic_prompts is None else tuple(generic_prompts),
        include_completions=include_completions,
        include_neurons=include_neurons,
    ).named()
