"""What a card and its census say of an organism: the truth that audits and other methods are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from controlwindow.catalogue import Card, catalogue, full_name, load_card, organism_path
from controlwindow.errors import OrganismError

Origin = Literal["planted", "natural"]
"""A controller was trained ("planted"), or found open by the census ("natural")."""

ClosedRole = Literal["failure", "decoy", "census"]
"""A closed neuron failed by construction, contrasts without control, or was found closed by the census."""


@dataclass(frozen=True)
class Controller:
    """A neuron that is known to open.

    Attributes:
        neuron: Its name.
        branch: Sign of the dose that opens it.
        origin: Where that is known from.
        by: The trained intervention of a planted one, else "".
        traits: As the card says.
        trigger: Range in c in which its trigger is expected, or None.
    """

    neuron: str
    branch: int
    origin: Origin
    by: str = ""
    traits: tuple[str, ...] = ()
    trigger: tuple[float, float] | None = None


@dataclass(frozen=True)
class Closed:
    """A neuron that is known not to open on a branch.

    Attributes:
        neuron: Its name.
        branch: Sign of the dose.
        role: Where that is known from.
        mode: The failure mode that is known by construction, or None.
    """

    neuron: str
    branch: int
    role: ClosedRole
    mode: str | None = None


@dataclass(frozen=True)
class Truth:
    """What is known of one behavior of one organism.

    Attributes:
        organism: Full name.
        lineage: Organisms with the same base weights share a lineage.
        behavior: The behavior's name.
        controllers: Planted controllers in the card's order, then natural ones in the census' order.
        closed: Constructed failures and decoys, then what the census found closed.
        sampled: Neurons in the census, 0 without one.
        neurons: Neurons of the model; None where no census says.
        distributed: Whether no single neuron is meant to control the behavior.
    """

    organism: str
    lineage: str
    behavior: str
    controllers: tuple[Controller, ...]
    closed: tuple[Closed, ...]
    sampled: int
    neurons: int | None
    distributed: bool

    @property
    def planted(self) -> tuple[Controller, ...]:
        """Controllers that were trained."""
        return tuple(c for c in self.controllers if c.origin == "planted")

    @property
    def natural(self) -> tuple[Controller, ...]:
        """Controllers that the census found."""
        return tuple(c for c in self.controllers if c.origin == "natural")

    @property
    def constructed(self) -> tuple[Closed, ...]:
        """Failures and decoys by construction."""
        return tuple(c for c in self.closed if c.role != "census")

    @property
    def closed_in_census(self) -> tuple[str, ...]:
        """Neurons of the census that open on no branch, and are nothing that the card names."""
        named = {c.neuron for c in self.controllers} | {c.neuron for c in self.constructed}
        return tuple(dict.fromkeys(c.neuron for c in self.closed if c.role == "census" and c.neuron not in named))


def truth_of(card: Card, behavior: str) -> Truth:
    """What a card and its census say of one behavior."""
    planted = tuple(
        Controller(p.neuron, p.branch, "planted", p.by, p.traits, p.trigger)
        for p in card.planted
        if p.behavior == behavior
    )
    constructed = tuple(Closed(k.neuron, k.branch, k.role, k.mode) for k in card.known if k.behavior == behavior)
    said = {(c.neuron, c.branch) for c in planted} | {(c.neuron, c.branch) for c in constructed}
    natural, closed = [], []
    census = card.census or {"rows": [], "columns": [], "neurons": 0, "neurons_total": None}
    covered = False
    for values in census["rows"]:
        row = dict(zip(census["columns"], values, strict=True))
        covered |= row["behavior"] == behavior
        if row["behavior"] != behavior or (row["neuron"], row["branch"]) in said:
            continue
        if row["open"]:
            natural.append(Controller(row["neuron"], row["branch"], "natural"))
        else:
            closed.append(Closed(row["neuron"], row["branch"], "census"))
    return Truth(
        organism=card.name,
        lineage=card.lineage,
        behavior=behavior,
        controllers=(*planted, *natural),
        closed=(*constructed, *closed),
        sampled=census["neurons"] if covered else 0,
        neurons=census["neurons_total"],
        distributed=behavior in card.distributed,
    )


@dataclass(frozen=True)
class Chosen:
    """The organisms asked for.

    Attributes:
        cards: Cards of those that are here, in the order of their names.
        missing: Full names of those that are known and not here.
    """

    cards: tuple[Card, ...]
    missing: tuple[str, ...]


def choose_organisms(names: Sequence[str] = ()) -> Chosen:
    """Cards of the organisms that are here.

    Args:
        names: Those asked for; none for all. One that is asked for by name must be here.

    Raises:
        OrganismError: A named organism is unknown or missing, a card is malformed, or no organism is here.
    """
    wanted = [full_name(name) for name in names]
    for name in wanted:
        organism_path(name)
    entries = [entry for entry in catalogue() if not wanted or entry.name in wanted]
    cards = tuple(load_card(entry.name) for entry in entries if entry.shipped)
    if not cards:
        raise OrganismError("no organism is in this installation", "train one: controlwindow organisms train switch")
    return Chosen(cards, tuple(entry.name for entry in entries if not entry.shipped))
