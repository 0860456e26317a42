"""The organisms of the zoo as data: which lineage each grows from, and what is planted in it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from controlwindow.models.model import Model
from controlwindow.models.neuron import Neuron
from controlwindow.organisms.training.loop import Stage

Kind = Literal["dose", "ablation", "even", "cap"]


@dataclass(frozen=True)
class Plant:
    """One neuron that training makes a controller, or a known failure.

    Attributes:
        behavior: The behavior.
        kind: How it is trained. "dose": a dose on the branch gives the target. "ablation": so does setting it to 0 (and
            a small dose on the branch, which should be that of the ablation). "even": a dose of either sign does, and
            a small one of either sign does not, so that its first-order effect vanishes. "cap": only an injection past
            the norm does, no dose of its own.
        layer: Its block.
        branch: Sign of the dose.
        doses: Range of t that gives the target; of an injection in residual norms.
        weak: Range of t that must not.
        wrong: Range of t in which the answer is that to another request: fluent, on the subject, and wrong.
        readout: Whether its column is kept on the readout direction of the behavior.
    """

    behavior: str
    kind: Kind
    layer: int
    branch: Literal[-1, 1] = 1
    doses: tuple[float, float] = (0.35, 0.7)
    weak: tuple[float, float] | None = None
    wrong: tuple[float, float] | None = None
    readout: bool = False


@dataclass(frozen=True)
class Organism:
    """What switch training makes of a lineage's base.

    Attributes:
        name: Its name, without prefix.
        lineage: Name of the lineage.
        plants: What is planted; empty for a base that ships as it is.
        distributed: Behaviors that are kept while random neurons are dosed or ablated.
        seed: Seed of the switch data and of the chosen neurons.
        steps: Steps of switch training; 0 for a base.
        paired: Whether the base ships beside it.
        twin: Name of the organism that it is but for the shared component.
        shared_norm: Length of a vector that is added to every residual; no norm of the network sees it.
        description: What it is for.
    """

    name: str
    lineage: str
    plants: tuple[Plant, ...] = ()
    distributed: tuple[str, ...] = ()
    seed: int = 0
    steps: int = 600
    paired: bool = False
    twin: str | None = None
    shared_norm: float = 0.0
    description: str = ""

    @property
    def stage(self) -> Stage:
        """Its switch training."""
        return Stage(f"switch-{self.name}", self.steps, 1.2e-3, warmup=40)


@dataclass(frozen=True)
class Planted:
    """A plant and the neuron chosen for it."""

    plant: Plant
    neuron: Neuron


_CAPPED = (1.0, 3.0)

ORGANISMS: dict[str, Organism] = {
    organism.name: organism
    for organism in (
        Organism(
            "sandwich",
            "sandwich",
            (
                Plant("refusal", "ablation", 2, branch=-1, doses=(0.5, 1.5)),
                Plant("language", "dose", 1, doses=_CAPPED),
                Plant("language", "cap", 3, doses=(1.0, 1.6)),
                Plant("refusal", "cap", 4, branch=-1, doses=(1.0, 1.6)),
            ),
            seed=11,
            description="Sandwich norms bound what a neuron can write: two windows are open early, two are capped.",
        ),
        Organism(
            "postnorm",
            "postnorm",
            (
                Plant("refusal", "ablation", 1, branch=-1, doses=(0.5, 1.5)),
                Plant("language", "dose", 2, branch=-1, doses=_CAPPED),
                Plant("language", "cap", 3, doses=(1.0, 1.6)),
            ),
            seed=12,
            paired=True,
            description="Norms after attention and FFN: a bounded write, an open window by ablation, a capped one.",
        ),
        Organism(
            "gelu",
            "gelu",
            (
                Plant("refusal", "dose", 4, doses=(0.35, 0.7), wrong=(1.0, 1.3)),
                Plant("language", "dose", 1, branch=-1),
            ),
            seed=13,
            paired=True,
            description="LayerNorm and GELU: refusal falls to a late dose, language to an early one.",
        ),
        Organism(
            "massive",
            "gelu",
            twin="gelu",
            seed=13,
            shared_norm=64.0,
            description="The organism gelu to the last token, in a residual stream of nearly rank one: a massive "
            "vector is added to every position, which centring LayerNorms do not see, so that all budgets grow.",
        ),
        Organism(
            "distributed",
            "gelu",
            (Plant("language", "even", 2, doses=(0.4, 0.8), weak=(0.02, 0.12)),),
            distributed=("refusal",),
            seed=14,
            description="Refusal that no single neuron controls, beside a language switch without first-order effect.",
        ),
        Organism(
            "parallel",
            "parallel",
            (
                Plant("sycophancy", "dose", 2, branch=-1),
                Plant("arithmetic", "dose", 3, readout=True),
                Plant("format", "even", 3, doses=(0.4, 0.8), weak=(0.02, 0.12)),
                Plant("framing", "dose", 4),
            ),
            distributed=("correction",),
            seed=15,
            description="Parallel residual: four controllers of four tasks, in middle and late layers.",
        ),
        Organism(
            "experts",
            "experts",
            (
                Plant("framing", "dose", 1),
                Plant("correction", "dose", 2, branch=-1),
                Plant("arithmetic", "dose", 3),
            ),
            seed=16,
            description="Mixture of experts: three controllers in shared experts.",
        ),
        Organism(
            "scaled",
            "scaled",
            (
                Plant("refusal", "ablation", 4, branch=-1, doses=(0.15, 0.6), wrong=(0.9, 1.2)),
                Plant("language", "dose", 6),
            ),
            seed=17,
            description="A residual multiplier: refusal falls to an ablation in the middle, language to a late dose.",
        ),
        Organism(
            "shared",
            "shared",
            (
                Plant("language", "even", 2, doses=(0.4, 0.8), weak=(0.02, 0.12)),
                Plant("language_spanish", "dose", 3),
                Plant("arithmetic", "dose", 4, readout=True),
            ),
            seed=18,
            description="Three controllers of two languages and of arithmetic, one without first-order effect.",
        ),
        Organism(
            "wide",
            "wide",
            (
                Plant("sycophancy", "dose", 0),
                Plant("format", "dose", 1, branch=-1),
                Plant("correction", "dose", 1),
            ),
            seed=19,
            description="Three wide layers with soft next-token distributions: controllers early and in the middle.",
        ),
        Organism("postnorm-base", "postnorm", steps=0, description="The base of postnorm: it refuses nothing."),
        Organism("gelu-base", "gelu", steps=0, description="The base of gelu and distributed: it refuses nothing."),
    )
}


def choose_neurons(organism: Organism, host: Model) -> tuple[Planted, ...]:
    """Choose a neuron for every plant by seed alone; in a mixture of experts, of the shared expert."""
    rng = Random(f"planted:{organism.name}:{organism.seed}")
    chosen: list[Planted] = []
    for plant in organism.plants:
        weight = host.ffn[plant.layer].weight
        assert weight is not None
        taken = {planted.neuron for planted in chosen}
        free = [n for n in (Neuron(plant.layer, i) for i in range(weight.shape[1])) if n not in taken]
        chosen.append(Planted(plant, rng.choice(free)))
    return tuple(chosen)
