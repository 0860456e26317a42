"""The plan of a validation of the law: models, behaviors, sizes and seed, committed before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.catalogue import Card, behaviors_of, load_card
from controlwindow.errors import LedgerError, UsageError
from controlwindow.models import Model, load_model
from controlwindow.runs.plan import BehaviorReference, Plan, behavior_reference, model_source
from controlwindow.windows.features import Tier

_FROZEN = ConfigDict(frozen=True, extra="forbid")

DIGEST_DIGITS = 16
"""Hexadecimal digits of the hash that is noted with a plan."""


class LawSizes(BaseModel):
    """How much is measured in every model.

    Attributes:
        calibration: Random neurons that the predictors are fitted on.
        held_out: Random neurons that they are scored on.
        screened: Neurons of the screen's top per behavior and role.
        natural: Controllers that the organism's census found, per behavior and role.
        behaviors_each: Behaviors that each random neuron is measured for, in turn.
        prompts: Most eligible prompts per behavior and role; the two roles share none.
        detailed: Held-out neurons that positions, decoding length and threshold are varied on.
        screen: The screen whose top is taken.
        tier: What predictors may read: "0", "1/2" or "1".
        seed: Seed of everything random.
        chunk_rows: Most rows of a chunk.
    """

    model_config = _FROZEN

    calibration: Annotated[int, Field(ge=2)] = 24
    held_out: Annotated[int, Field(ge=2)] = 32
    screened: Annotated[int, Field(ge=0)] = 2
    natural: Annotated[int, Field(ge=0)] = 2
    behaviors_each: Annotated[int, Field(ge=1)] = 1
    prompts: Annotated[int, Field(ge=8)] = 16
    detailed: Annotated[int, Field(ge=0)] = 4
    screen: str = "contrastive"
    tier: Tier = "1"
    seed: int = 0
    chunk_rows: int = 1024


class LawModel(BaseModel):
    """One model of a validation.

    Attributes:
        name: The model's name.
        source: What it is loaded from.
        fingerprint: Its weights hash.
        lineage: What was trained together; it is left out together.
        family: Architecture family.
        width: Width of the residual stream.
        layers: Number of blocks.
        behaviors: Its behaviors.
        directory: Folder of its ledger inside the run directory.
    """

    model_config = _FROZEN

    name: str
    source: str
    fingerprint: str
    lineage: str
    family: str
    width: int
    layers: int
    behaviors: tuple[BehaviorReference, ...]
    directory: str


class LawPlan(Plan):
    """The whole plan; every model's ledger holds it."""

    kind: ClassVar[str] = "law"

    sizes: LawSizes
    models: tuple[LawModel, ...]

    def deciding(self) -> dict[str, Any]:
        """What results depend on; paths do not count."""
        values = self.model_dump(mode="json")
        for model in values["models"]:
            del model["source"]
            model["behaviors"] = [[b["name"], b["fingerprint"]] for b in model["behaviors"]]
        return values

    def record(self) -> dict[str, Any]:
        """As a ledger holds it, with its hash."""
        return {**super().record(), "digest": self.digest(DIGEST_DIGITS)}

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> Self:
        """Read `record`."""
        return super().from_record({key: value for key, value in found.items() if key != "digest"})


def card_of(model: Model) -> Card | None:
    """The organism's card; None for other models."""
    return None if model.organism is None else load_card(model.organism)


def make_plan(sources: Sequence[str], behaviors: Sequence[str], sizes: LawSizes) -> LawPlan:
    """Read every model and behavior once, and write down what is to be done.

    Args:
        sources: Models: organisms, directories or hub ids.
        behaviors: Names or TOML files for models that have no behaviors of their own.
        sizes: How much is measured.

    Raises:
        UsageError: No model, one given twice, or a model without a behavior.
        ModelError: A model cannot be loaded.
        BehaviorError: A behavior is invalid.
    """
    if not sources:
        raise UsageError("no model was given", "name at least one, as in organism:switch")
    models: list[LawModel] = []
    for source in sources:
        model = load_model(source)
        card = card_of(model)
        names = list(behaviors)
        if card is not None:
            names = list(behaviors_of(card))
        if not names:
            raise UsageError(
                f"{model.name} has no behaviors of its own",
                "name a TOML file with --behavior (controlwindow guide behaviors)",
            )
        if model.fingerprint in {known.fingerprint for known in models}:
            raise UsageError(f"{model.name} was given twice", "give each model once")
        directory = _unique(model.name, {known.directory for known in models})
        models.append(
            LawModel(
                name=model.name,
                source=model_source(model) or source,
                fingerprint=model.fingerprint,
                lineage=model.name if card is None else card.lineage,
                family=model.family.name,
                width=model.d_model,
                layers=model.layers,
                behaviors=tuple(_reference(name) for name in names),
                directory=directory,
            )
        )
    return LawPlan(sizes=sizes, models=tuple(models))


def load_behaviors(entry: LawModel) -> dict[str, Behavior]:
    """The behaviors of a planned model by name.

    Raises:
        LedgerError: One has changed since it was planned.
    """
    found = {}
    for reference in entry.behaviors:
        behavior = load_behavior(reference.source)
        if behavior.fingerprint != reference.fingerprint:
            raise LedgerError(
                f"the behavior {reference.source} has changed since {entry.name} was planned",
                "restore it, or start again with another --out",
            )
        found[behavior.name] = behavior
    return found


def _reference(name: str) -> BehaviorReference:
    return behavior_reference(name, load_behavior(name))


def _unique(name: str, taken: set[str]) -> str:
    stem = "".join(character if character.isalnum() else "-" for character in name.removeprefix("organism:"))
    found, count = stem, 1
    while found in taken:
        count += 1
        found = f"{stem}-{count}"
    return found
