"""The plan of an audit: everything its results depend on, committed before anything is measured."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from controlwindow.behaviors import Behavior
from controlwindow.errors import LedgerError, UsageError
from controlwindow.models import Model, Neuron
from controlwindow.runs.ledger import Ledger

DECIDING = ("torch", "transformers")
"""Libraries whose version may change what a model generates."""

_LIBRARIES = ("controlwindow", "torch", "transformers", "tokenizers", "numpy", "scipy", "polars", "py3langid")


class BehaviorReference(BaseModel):
    """A behavior as planned: what it was loaded from, and its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    fingerprint: str


class AuditPlan(BaseModel):
    """What an audit does.

    Attributes:
        run: The run's name.
        model: The model's name.
        source: What it was loaded from; None for a model in hand.
        fingerprint: Its weights hash.
        system_prompt: The system message, if any.
        dtype: Type of the weights.
        device: Kind of device, since rounding differs between them.
        chat_template: Hash of the chat template, if any.
        behaviors: The behaviors.
        neurons: Neurons named by the user for every behavior.
        neurons_of: Neurons named for one behavior alone, by its name.
        screen: The screen whose top is tested.
        top: How many of the screen's top, and how many at random.
        planted: Whether an organism's planted neurons are tested.
        seed: Seed of everything random.
        generic_prompts: Ordinary prompts given by the user; None for the default.
        chunk_rows: Most rows of a chunk.
        include_completions: Whether reports show completions of sensitive behaviors.
        include_neurons: Whether reports on other models than organisms name neurons of sensitive behaviors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    model: str
    source: str | None
    fingerprint: str
    system_prompt: str | None
    dtype: str
    device: str = "cpu"
    chat_template: str | None = None
    behaviors: tuple[BehaviorReference, ...]
    neurons: tuple[str, ...] = ()
    neurons_of: dict[str, tuple[str, ...]] = {}
    screen: str = "contrastive"
    top: Annotated[int, Field(ge=0)] = 4
    planted: bool = True
    seed: int = 0
    generic_prompts: tuple[str, ...] | None = None
    chunk_rows: int = 512
    include_completions: bool = False
    include_neurons: bool = False

    def named(self, behavior: str) -> tuple[str, ...]:
        """Neurons named for a behavior."""
        return (*self.neurons, *self.neurons_of.get(behavior, ()))

    def differences(self, other: AuditPlan) -> list[str]:
        """Keys in which two plans would measure something else; what only the report shows does not count."""
        ignored = {"run", "source", "include_completions", "include_neurons"}
        mine, theirs = self.model_dump(exclude=ignored), other.model_dump(exclude=ignored)
        for plan in (mine, theirs):
            plan["behaviors"] = [(b["name"], b["fingerprint"]) for b in plan["behaviors"]]
        return [key for key in mine if mine[key] != theirs[key]]


def model_source(model: Model) -> str | None:
    """What a run loads its model from again: an absolute directory or a name; None for a model in hand."""
    source = model.source
    return str(Path(source).resolve()) if source is not None and Path(source).is_dir() else source


def behavior_source(behavior: str | Path | Behavior) -> str:
    """What a run loads a behavior from again: an absolute file or a name."""
    if isinstance(behavior, Behavior):
        return behavior.name
    path = Path(behavior)
    return str(path.resolve()) if path.suffix.lower() == ".toml" or path.is_file() else str(behavior)


NamedNeurons = Sequence[Neuron | str] | Mapping[str, Sequence[Neuron | str]]
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
    plan = AuditPlan(
        run="",
        **model_head(model),
        behaviors=tuple(
            BehaviorReference(name=behavior.name, source=given, fingerprint=behavior.fingerprint)
            for given, behavior in behaviors
        ),
        neurons=() if isinstance(neurons, Mapping) else tuple(str(model.require(n)) for n in neurons),
        neurons_of={name: tuple(str(model.require(n)) for n in given) for name, given in by_behavior.items() if given},
        screen=screen,
        top=top,
        planted=planted,
        seed=seed,
        generic_prompts=None if generic_prompts is None else tuple(generic_prompts),
        include_completions=include_completions,
        include_neurons=include_neurons,
    )
    return plan.model_copy(update={"run": plan_digest(plan)})


def model_head(model: Model) -> dict[str, Any]:
    """The fields with which every plan says what it measures and how that was loaded."""
    return {
        "model": model.name,
        # A local directory by its full path, so that a run can be resumed from anywhere.
        "source": model_source(model),
        "fingerprint": model.fingerprint,
        "system_prompt": model.chat.system_prompt,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "chat_template": model.chat.template,
    }


def plan_digest(plan: AuditPlan) -> str:
    """A run's name: a hash of what it measures, so that two runs of one configuration print the same."""
    values = plan.model_dump(mode="json", exclude={"run", "source", "include_completions", "include_neurons"})
    values["behaviors"] = [(b["name"], b["fingerprint"]) for b in values["behaviors"]]
    if not values["neurons_of"]:
        # Runs planned before neurons could be named for single behaviors keep their names.
        del values["neurons_of"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def library_versions() -> dict[str, str]:
    """Versions of what results depend on."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def model_record(model: Model) -> dict[str, Any]:
    """What a report says of the model."""
    return {
        "name": model.name,
        "source": model.source or "in hand",
        "fingerprint": model.fingerprint,
        "family": model.family.name,
        "layers": model.layers,
        "neurons_total": len(model.neurons),
        "d_model": model.d_model,
        "dtype": str(model.dtype).removeprefix("torch."),
        "chat_template": model.chat.template,
        "system_prompt": model.chat.system_prompt,
        "thinking": model.chat.thinking,
        "organism": model.organism is not None,
    }


def refuse_other_libraries(ledger: Ledger, *, finished: bool) -> None:
    """Stop where a run would go on with libraries that may round otherwise than those it was begun with.

    Args:
        ledger: The run's ledger.
        finished: Whether nothing is left to measure; then any version may report.

    Raises:
        LedgerError: The run was begun with other versions.
    """
    now, before = library_versions(), ledger.find("versions", "versions") or {}
    changed = [f"{name} {before.get(name)} → {now[name]}" for name in DECIDING if before.get(name) != now[name]]
    if changed and not finished:
        raise LedgerError(
            f"{ledger.path} was begun with other libraries ({', '.join(changed)}), which may round otherwise",
            "install the versions that manifest.json names, or start the run again with another --out",
        )
