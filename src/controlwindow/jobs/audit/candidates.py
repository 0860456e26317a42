"""Which neurons an audit tests for a behavior, and why: planted, named, screened, random."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from controlwindow.catalogue import load_card
from controlwindow.instruments.generic import GenericPass
from controlwindow.models import Model, Neuron
from controlwindow.statistics import stable_seed


@dataclass(frozen=True)
class Selection:
    """The neurons tested for one behavior.

    Attributes:
        sources: Where each neuron comes from, in the order in which they are tested.
        ranks: Rank of every tested neuron in each screen, None when a screen dropped it.
        scores: Its score there.
        sizes: Neurons ranked by each screen.
        passed_over: Neurons of the screen's top that were left out because a dose of theirs comes too late, each with
            its predicted propagation.
        unaided: The first neurons that the screen brings of itself, those tested for another reason among them.
    """

    sources: dict[str, str]
    ranks: dict[str, dict[str, int | None]]
    scores: dict[str, dict[str, float | None]]
    sizes: dict[str, int]
    passed_over: dict[str, float] = field(default_factory=dict)
    unaided: list[str] = field(default_factory=list)


def select_candidates(
    model: Model,
    generic: GenericPass,
    behavior: str,
    screens: Sequence[str],
    tables: Mapping[str, pl.DataFrame],
    planted: Sequence[Neuron],
    named: Sequence[Neuron],
    top: int,
    random: int,
    seed: int,
    late: Callable[[str, int], float | None] | None = None,
) -> Selection:
    """Choose candidates. A neuron keeps the first of its reasons: planted, named, screen, random.

    The random neurons are drawn uniformly from all that are not tested for another reason, so that their open rate
    speaks for the rest of the model. Neurons without a budget, which write nothing or whose expert generic text never
    reaches, have no dose and are not chosen by screen or chance.

    Args:
        model: The model.
        generic: Its generic pass.
        behavior: The behavior's name.
        screens: The screens whose tops are taken, one after the other.
        tables: Ranked tables by screen.
        planted: Planted controllers of this behavior.
        named: Neurons the user asked for.
        top: How many of each screen that are not tested for another reason.
        random: How many at random.
        seed: Seed of the random draw.
        late: Predicted propagation of a neuron on a branch where it comes too late, None where it does not; without
            it none is passed over.
    """
    passed_over: dict[str, float] = {}
    unaided: list[str] = []
    sources: dict[str, str] = {}
    for neuron in planted:
        sources.setdefault(str(neuron), "planted")
    for neuron in named:
        sources.setdefault(str(neuron), "named")
    silent = {
        str(model.neurons.at(layer, int(column)))
        for layer in range(model.layers)
        for column in np.flatnonzero(np.isnan(generic.budgets(model, layer)))
    }
    for screen in screens if top else ():
        # The first screen's top skips what is tested already, as it always did; another's may have been tested with it.
        taken, skipped = 0, set(sources) if screen == screens[0] else set()
        ranking = tables[screen]
        for name, sign in zip(ranking["neuron"].to_list(), ranking["sign"].to_list(), strict=True):
            if taken == top:
                break
            if name in silent:
                continue
            if name not in skipped:
                propagation = None if late is None or name in sources else late(name, sign)
                if propagation is not None:
                    passed_over[name] = propagation
                    continue
                sources.setdefault(name, "screen")
                taken += 1
            if screen == screens[0] and len(unaided) < top:
                unaided.append(name)
    generator = np.random.default_rng(stable_seed("random neurons", behavior, seed))
    drawn = 0
    for position in generator.permutation(len(model.neurons)):
        if drawn >= random:
            break
        name = str(model.neurons[int(position)])
        if name not in sources and name not in silent:
            sources[name] = "random"
            drawn += 1
    ranks: dict[str, dict[str, int | None]] = {}
    scores: dict[str, dict[str, float | None]] = {}
    for label, table in tables.items():
        chosen = table.filter(pl.col("neuron").is_in(list(sources)))
        rank = dict(zip(chosen["neuron"].to_list(), chosen["rank"].to_list(), strict=True))
        score = dict(zip(chosen["neuron"].to_list(), chosen["score"].to_list(), strict=True))
        ranks[label] = {name: rank.get(name) for name in sources}
        scores[label] = {name: score.get(name) for name in sources}
    sizes = {label: len(table) for label, table in tables.items()}
    return Selection(sources, ranks, scores, sizes, passed_over, unaided)


def planted_neurons(model: Model, behavior: str) -> list[Neuron]:
    """Planted controllers of a behavior, from the organism's card; none for other models."""
    if model.organism is None:
        return []
    return [Neuron.parse(p.neuron) for p in load_card(model.organism).planted if p.behavior == behavior]
