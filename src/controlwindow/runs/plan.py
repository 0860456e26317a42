"""What every plan has: a head, a digest, one way into a ledger, one rule for other versions and other kinds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from controlwindow.behaviors import Behavior
from controlwindow.errors import LedgerError
from controlwindow.models import Model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.records import library_versions, rendering

DECIDING = ("torch", "transformers")
"""Libraries whose version may change what a model generates."""

DIGITS = 12
"""Hexadecimal digits of a run's name."""


class BehaviorReference(BaseModel):
    """A behavior as planned: what it was loaded from, and its hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    fingerprint: str


class Plan(BaseModel):
    """Everything that a run's results depend on, committed before anything is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    """What ledgers call this kind of run."""

    undecided: ClassVar[frozenset[str]] = frozenset()
    """Keys that no result depends on: what a report shows, and where files lay."""

    def record(self) -> dict[str, Any]:
        """As a ledger holds it."""
        return self.model_dump(mode="json")

    @classmethod
    def from_record(cls, found: Mapping[str, Any]) -> Self:
        """Read `record`.

        Raises:
            LedgerError: It was written by another version.
        """
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            keys = ", ".join(".".join(map(str, e["loc"])) for e in error.errors()[:3])
            raise LedgerError(
                f"a ledger holds a plan of a {cls.kind} that this controlwindow cannot read (keys: {keys})",
                "read it with the version that manifest.json names",
            ) from error

    def deciding(self) -> dict[str, Any]:
        """What results depend on; of a behavior its name and its hash."""
        values = self.model_dump(mode="json", exclude=set(self.undecided))
        return {key: _without_sources(value) for key, value in values.items()}

    def differences(self, other: Self) -> list[str]:
        """Keys in which two plans would measure something else."""
        mine, theirs = self.deciding(), other.deciding()
        return [key for key in dict.fromkeys([*mine, *theirs]) if mine.get(key) != theirs.get(key)]

    def digest(self, digits: int = DIGITS) -> str:
        """A hash of what is measured, so that two runs of one configuration print the same."""
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()[:digits]


class ModelPlan(Plan):
    """The head of a plan that measures one model.

    Attributes:
        run: The run's name.
        model: The model's name.
        source: What it was loaded from; None for a model in hand.
        fingerprint: Its weights hash.
        system_prompt: The system message, if any.
        dtype: Type of the weights.
        device: Kind of device, since rounding differs between them.
        chat_template: Hash of the chat template, if any.
        date: The day that a template's clock shows; None for a template that reads none.
        rendering: Hash of what ordinary prompts are rendered to; None in plans of before.
        adapter: Folder of the adapter that was merged on loading, if any.
        seed: Seed of everything random.
        include_neurons: Whether the report names neurons of sensitive behaviors on models that are no organisms.
        remote_judge: Whether judges on other machines may read answers of sensitive behaviors; a run that is gone on
            with keeps to it.
    """

    undecided: ClassVar[frozenset[str]] = frozenset(
        {"run", "source", "include_neurons", "rendering", "adapter", "remote_judge"}
    )

    run: str = ""
    model: str
    source: str | None
    fingerprint: str
    system_prompt: str | None
    dtype: str
    device: str = "cpu"
    chat_template: str | None = None
    date: str | None = None
    rendering: str | None = None
    adapter: str | None = None
    seed: int = 0
    include_neurons: bool = False
    remote_judge: bool = False

    def record(self) -> dict[str, Any]:
        """As a ledger holds it; leave that was not given is not noted."""
        values = super().record()
        if not self.remote_judge:
            del values["remote_judge"]
        return values

    def deciding(self) -> dict[str, Any]:
        """What results depend on. Rendering and adapter follow from the rest; a date counts where a template reads it.

        So plans written before these were noted keep their names.
        """
        values = super().deciding()
        return {key: value for key, value in values.items() if key != "date" or value is not None}

    def named(self) -> Self:
        """With its name, a hash of what it measures."""
        return self.model_copy(update={"run": self.digest()})


class BehaviorPlan(ModelPlan):
    """The head of a plan that measures one behavior of one model."""

    behavior: BehaviorReference


def _without_sources(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"name", "source", "fingerprint"}:
        return [value["name"], value["fingerprint"]]
    return [_without_sources(item) for item in value] if isinstance(value, list) else value


def model_source(model: Model) -> str | None:
    """What a run loads its model from again: an absolute directory or a name; None for a model in hand."""
    source = model.source
    return str(Path(source).resolve()) if source is not None and Path(source).exists() else source


def behavior_source(behavior: str | Path | Behavior) -> str:
    """What a run loads a behavior from again: an absolute file or a name."""
    if isinstance(behavior, Behavior):
        return behavior.name
    path = Path(behavior)
    return str(path.resolve()) if path.suffix.lower() == ".toml" or path.is_file() else str(behavior)


def behavior_reference(given: str | Path | Behavior, behavior: Behavior) -> BehaviorReference:
    """A loaded behavior as planned, with what it was given as."""
    return BehaviorReference(name=behavior.name, source=behavior_source(given), fingerprint=behavior.fingerprint)


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
        "date": model.chat.date,
        "rendering": rendering(model),
        "adapter": None if model.adapter is None else str(Path(model.adapter.source).resolve()),
    }


def is_finished(ledger: Ledger, kind: str) -> bool:
    """Whether nothing is left to measure."""
    return ledger.find("finished", kind) is not None or ledger.find("result", kind) is not None


def commit_plan(ledger: Ledger, plan: Plan, records: Sequence[tuple[str, str, Any]]) -> None:
    """Write a plan and what belongs to it, or hold the one that is there against this one.

    Args:
        ledger: The run's ledger.
        plan: The plan.
        records: What else is written beside a new plan, such as model and behaviors.

    Raises:
        LedgerError: The ledger holds a run of another kind, another run of this kind, or one that was begun with other
            libraries and is not finished.
    """
    found = ledger.find_all("plan")
    other = next((kind for kind in found if kind != plan.kind), None)
    if other is not None:
        raise LedgerError(f"{ledger.path} holds a run of another kind ({other}, not {plan.kind})", "give another --out")
    if not found:
        versions = ("versions", "versions", library_versions())
        ledger.record_all([("plan", plan.kind, plan.record()), versions, *records])
        return
    different = plan.differences(type(plan).from_record(found[plan.kind]))
    if different:
        raise LedgerError(
            f"{ledger.path} holds another {plan.kind}: it differs in {', '.join(different)}",
            "give another --out, or resume it as it was planned with `controlwindow resume`",
        )
    refuse_other_libraries(ledger, finished=is_finished(ledger, plan.kind))


def refuse_other_libraries(ledger: Ledger, *, finished: bool) -> None:
    """Stop where a run would go on with libraries that may round otherwise than those it was begun with.

    Args:
        ledger: The run's ledger.
        finished: Whether nothing is left to measure; then any version may report.

    Raises:
        LedgerError: The run was begun with other versions, or does not say with which.
    """
    now, before = library_versions(), ledger.find("versions", "versions") or {}
    changed = [
        f"{name} {before.get(name, '(not noted)')} → {now[name]}" for name in DECIDING if before.get(name) != now[name]
    ]
    if changed and not finished:
        raise LedgerError(
            f"{ledger.path} was begun with other libraries ({', '.join(changed)}), which may round otherwise",
            "install the versions that manifest.json names, or start the run again with another --out",
        )
