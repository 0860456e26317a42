"""The organisms: their names, where they lie, and their cards. Pure data; nothing here loads a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from controlwindow.errors import OrganismError

PREFIX = "organism:"
DEFAULT_ORGANISM = "organism:switch"
CARD_FILE = "card.json"
_WEIGHTS_FILE = "model.safetensors"


class PlantedNeuron(BaseModel):
    """A neuron that was trained to control a behavior.

    Attributes:
        neuron: Its name, such as "L3.N7".
        behavior: Name of the behavior it controls.
        by: Whether the trained intervention was an ablation or a dose.
        branch: Sign of the dose that has the trained effect.
        trained: The trained intervention, as recorded by training.
        traits: What is special about it: "early", "middle" or "late" (its layer), "silent" (control without contrast),
            "zero_gradient" (no first-order effect), "readout_axis" (its write lies on the readout direction d_F).
        trigger: Range in c in which its trigger is expected, or None where none is claimed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    neuron: str
    behavior: str
    by: Literal["ablation", "dose"]
    branch: Literal[-1, 1]
    trained: dict[str, Any] = {}
    traits: tuple[str, ...] = ()
    trigger: tuple[float, float] | None = None


class KnownNeuron(BaseModel):
    """A neuron that is known not to open, and why.

    Attributes:
        neuron: Its name.
        behavior: Name of the behavior.
        branch: Sign of the dose.
        role: "failure" (a closed window whose mode is known by construction) or "decoy" (contrast without control).
        mode: The failure mode that an audit should name; None where only "closed" is known.
        construction: How it was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    neuron: str
    behavior: str
    branch: Literal[-1, 1]
    role: Literal["failure", "decoy"]
    mode: Literal["collapse_before_trigger", "too_late", "normalization_cap", "no_effect"] | None = None
    construction: dict[str, Any] = {}


class Tolerance(BaseModel):
    """A figure that a rebuilt organism must reach: what was measured, and the smallest acceptable value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: float
    minimum: float
    n: int


class Card(BaseModel):
    """An organism's card, as it lies beside the weights.

    Attributes:
        name: Full name, such as "organism:switch".
        family: Architecture family of the adapters, such as "llama".
        lineage: Organisms with the same base weights share a lineage.
        description: What it is, in a few sentences.
        architecture: Sizes of the network.
        parameters: Number of parameters.
        data: How the training data was generated, with counts and splits.
        seed: Seed of the whole training.
        training: Steps, losses, minutes and other figures by stage.
        figures: Accuracies and perplexities on held-out requests, measured on the half-precision weights.
        licences: Licence of code, weights and data.
        planted: The neurons trained to be controllers.
        known: Neurons known not to open: constructed failures and decoys.
        behaviors: Names of the behaviors that it was made for, whether or not a neuron was planted for them.
        distributed: Behaviors that no single neuron is meant to control.
        base: Full name of the organism that holds its base weights, where a pair ships; None otherwise.
        tolerances: Figures that a rebuild must reach.
        generic_prompts: Ordinary benign requests, for the generic pass.
        census: Measured windows of a large random sample of neurons, or None before they were measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    lineage: str
    description: str
    architecture: dict[str, Any]
    parameters: int
    data: dict[str, Any]
    seed: int
    training: dict[str, Any]
    figures: dict[str, Any]
    licences: dict[str, str]
    planted: tuple[PlantedNeuron, ...]
    known: tuple[KnownNeuron, ...] = ()
    behaviors: tuple[str, ...] = ()
    distributed: tuple[str, ...] = ()
    base: str | None = None
    tolerances: dict[str, Tolerance]
    generic_prompts: tuple[str, ...]
    census: dict[str, Any] | None = None


@dataclass(frozen=True)
class OrganismEntry:
    """One line of the catalogue.

    Attributes:
        name: Full name, such as "organism:switch".
        family: Architecture family.
        lineage: Organisms with the same base weights share a lineage.
        shipped: Whether its files are in this installation.
        planted: Its planted neurons, empty when it is not shipped.
    """

    name: str
    family: str
    lineage: str
    shipped: bool
    planted: tuple[PlantedNeuron, ...]


# Name, family and lineage of every organism that the project makes.
_KNOWN = {
    PREFIX + name: (family, lineage)
    for name, family, lineage in (
        ("distributed", "gpt2", "gelu"),
        ("experts", "qwen2-moe", "experts"),
        ("gelu", "gpt2", "gelu"),
        ("gelu-base", "gpt2", "gelu"),
        ("massive", "gpt2", "gelu"),
        ("parallel", "gpt-neox", "parallel"),
        ("postnorm", "olmo2", "postnorm"),
        ("postnorm-base", "olmo2", "postnorm"),
        ("sandwich", "gemma3", "sandwich"),
        ("scaled", "granite", "scaled"),
        ("shared", "qwen3", "shared"),
        ("switch", "llama", "switch"),
        ("wide", "llama", "wide"),
    )
}


def full_name(name: str) -> str:
    """Put the prefix before a bare name.

    Example:
        >>> full_name("switch"), full_name("organism:switch")
        ('organism:switch', 'organism:switch')
    """
    return name if name.startswith(PREFIX) else PREFIX + name


def catalogue() -> tuple[OrganismEntry, ...]:
    """Return every known organism, in the order of their names."""
    entries = []
    for name, (family, lineage) in sorted(_KNOWN.items()):
        shipped = (_folder(name) / _WEIGHTS_FILE).is_file()
        planted = load_card(name).planted if shipped else ()
        entries.append(OrganismEntry(name, family, lineage, shipped, planted))
    return tuple(entries)


def organism_path(name: str) -> Path:
    """Return the directory with an organism's files.

    Args:
        name: Its name, with or without the prefix "organism:".

    Raises:
        OrganismError: The organism is unknown, or its files are not in this installation.
    """
    name = full_name(name)
    if name not in _KNOWN:
        raise OrganismError(f"unknown organism {name!r}", f"known organisms: {', '.join(sorted(_KNOWN))}")
    folder = _folder(name)
    if not (folder / _WEIGHTS_FILE).is_file():
        raise OrganismError(
            f"{name}: its files are missing from this installation ({folder})",
            f"the wheel carries only {DEFAULT_ORGANISM}; the others lie in the project's repository, "
            f"or are made with: controlwindow organisms train {name.removeprefix(PREFIX)}",
        )
    return folder


def load_card(organism: str | Path) -> Card:
    """Read an organism's card.

    Args:
        organism: A name ("organism:switch") or a directory that holds a card.

    Raises:
        OrganismError: The organism is unknown, it has no card, or the card is malformed (the message names the key).
    """
    folder = Path(organism)
    if isinstance(organism, str) and (organism.startswith(PREFIX) or not folder.is_dir()):
        folder = organism_path(organism)
    path = folder / CARD_FILE
    try:
        return Card.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise OrganismError(
            f"{path}: no card can be read there", "name an organism or a directory that training made"
        ) from error
    except json.JSONDecodeError as error:
        raise OrganismError(
            f"{path}, line {error.lineno}: not JSON ({error.msg})", "restore the file or train the organism again"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise OrganismError(
            f"{path}: key {key}: {first['msg']}", "restore the file or train the organism again"
        ) from error


def behaviors_of(card: Card) -> tuple[str, ...]:
    """The behaviors of an organism: those it was made for, and any other that its card speaks of."""
    planted = sorted({p.behavior for p in card.planted}, reverse=True)
    others = (*planted, *(k.behavior for k in card.known), *card.distributed)
    return tuple(dict.fromkeys((*card.behaviors, *others)))


def _folder(name: str) -> Path:
    return Path(__file__).parent / "organisms" / name.removeprefix(PREFIX)
