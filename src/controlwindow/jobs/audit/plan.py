"""The plan of an audit: everything its results depend on, committed before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from controlwindow.behaviors import Behavior
from controlwindow.errors import UsageError
from controlwindow.models import Model, Neuron
from controlwindow.models.neuron_files import named_neurons
from controlwindow.runs.plan import BehaviorReference, ModelPlan, model_head
from controlwindow.runs.session import CHUNK_ROWS
from controlwindow.screens import DEFAULT_SCREEN


class AuditPlan(ModelPlan):
    """What an audit does.

    Attributes:
        behaviors: The behaviors.
        neurons: Neurons named by the user for every behavior.
        neurons_of: Neurons named for one behavior alone, by its name.
        screen: The screen whose top is tested.
        more_screens: Further screens whose tops are tested beside it.
        top: How many of each screen's top.
        random: How many at random; None for as many as of one screen.
        planted: Whether an organism's planted neurons are tested.
        probe: Whether ceilings are predicted from teacher-forced passes (tiers ½ and 1), or from generic text alone.
        prompts: Most eligible prompts that a behavior is measured on, drawn by the seed; None for all.
        keep_late: Whether the screen's top is tested also where nothing later could recompute what it writes.
        generic_prompts: Ordinary prompts given by the user; None for the default.
        chunk_rows: Most rows of a chunk.
        include_completions: Whether reports show completions of sensitive behaviors.
        given_up: What a time budget left out, as sentences.
    """

    kind: ClassVar[str] = "audit"
    undecided: ClassVar[frozenset[str]] = ModelPlan.undecided | {"include_completions", "given_up"}

    behaviors: tuple[BehaviorReference, ...]
    neurons: tuple[str, ...] = ()
    neurons_of: dict[str, tuple[str, ...]] = Field(default={})
    screen: str = DEFAULT_SCREEN
    more_screens: tuple[str, ...] = ()
    top: Annotated[int, Field(ge=0)] = 4
    random: Annotated[int, Field(ge=0)] | None = None
    planted: bool = True
    probe: bool = True
    prompts: Annotated[int, Field(ge=1)] | None = None
    keep_late: bool = False
    generic_prompts: tuple[str, ...] | None = None
    chunk_rows: int = CHUNK_ROWS
    include_completions: bool = False
    given_up: tuple[str, ...] = ()

    def named_neurons(self, behavior: str) -> tuple[str, ...]:
        """Neurons named for a behavior."""
        return (*self.neurons, *self.neurons_of.get(behavior, ()))

    def deciding(self) -> dict[str, Any]:
        """What results depend on; runs planned before there were all of these options keep their names."""
        later: dict[str, Any] = {
            "neurons_of": {},
            "more_screens": [],
            "random": None,
            "keep_late": False,
            "probe": True,
            "prompts": None,
        }
        values = super().deciding()
        return {key: value for key, value in values.items() if key not in later or value != later[key]}

    @property
    def screens(self) -> tuple[str, ...]:
        """All screens whose tops are tested."""
        return (self.screen, *self.more_screens)

    @property
    def drawn(self) -> int:
        """How many neurons are drawn at random."""
        return self.top if self.random is None else self.random


NamedNeurons = Sequence[Neuron | str] | Neuron | str | Mapping[str, Sequence[Neuron | str] | Neuron | str]
"""Neurons for every behavior, or for each behavior by its name."""


def plan_audit(
    model: Model,
    behaviors: Sequence[tuple[str, Behavior]],
    *,
    neurons: NamedNeurons = (),
    screen: str = DEFAULT_SCREEN,
    more_screens: Sequence[str] = (),
    top: int = 4,
    random: int | None = None,
    planted: bool = True,
    probe: bool = True,
    prompts: int | None = None,
    keep_late: bool = False,
    seed: int = 0,
    generic_prompts: Sequence[str] | None = None,
    include_completions: bool = False,
    include_neurons: bool = False,
    remote_judge: bool = False,
) -> AuditPlan:
    """The plan of an audit of this model, with its name.

    Args:
        model: The model.
        behaviors: Each behavior after what it was loaded from.
        neurons: Neurons to test beside the others; a mapping names them for single behaviors.
        screen: Screen whose top is tested.
        more_screens: As `AuditPlan`.
        top: How many of each screen's top.
        random: As `AuditPlan`.
        planted: Whether an organism's planted neurons are tested.
        probe: As `AuditPlan`.
        prompts: As `AuditPlan`.
        keep_late: As `AuditPlan`.
        seed: Seed of everything random.
        generic_prompts: Ordinary prompts for the generic pass; None for the model's.
        include_completions: As `AuditPlan`.
        include_neurons: As `AuditPlan`.
        remote_judge: As `AuditPlan`.

    Raises:
        NeuronError: A named neuron is malformed or lies outside the model, or a file of them cannot be read.
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
        neurons=() if isinstance(neurons, Mapping) else tuple(str(model.require(n)) for n in named_neurons(neurons)),
        neurons_of={
            name: tuple(str(model.require(n)) for n in named_neurons(given))
            for name, given in by_behavior.items()
            if given
        },
        screen=screen,
        more_screens=tuple(more_screens),
        top=top,
        random=random,
        planted=planted,
        probe=probe,
        prompts=prompts,
        keep_late=keep_late,
        seed=seed,
        generic_prompts=None if generic_prompts is None else tuple(generic_prompts),
        include_completions=include_completions,
        include_neurons=include_neurons,
        remote_judge=remote_judge,
    ).named()
