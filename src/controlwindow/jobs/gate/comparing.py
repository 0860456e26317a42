"""The baseline of a gate: measured beside the model, or read from a run that measured one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.errors import BehaviorError, UsageError
from controlwindow.jobs.audit.results import RunResults, read_results
from controlwindow.jobs.gate.baseline import changes, side
from controlwindow.jobs.gate.parts import PARTS, Parts, Place, audit_part
from controlwindow.jobs.gate.plan import BaselineReference
from controlwindow.jobs.gate.policy import Measured
from controlwindow.models import Model
from controlwindow.report.page import slug
from controlwindow.runs.kinds import LEDGER_NAME, kind_of, open_run
from controlwindow.runs.records import model_record

_SHAPE = ("family", "layers", "neurons_total", "d_model")
"""What two models must share for their neurons to correspond."""
_OTHER_SHAPE = "the baseline is another architecture: its neurons do not correspond to the model's"


@dataclass
class Baseline:
    """What a model is held against.

    Attributes:
        reference: What it is.
        model: The model; None for a run, which only tells what it measured.
        missing: Why a behavior cannot be compared, by name.
        audits: What was measured of it, by behavior: directories and results.
    """

    reference: BaselineReference
    model: Model | None = None
    missing: dict[str, str] = field(default_factory=dict)
    audits: dict[str, list[tuple[Path, RunResults]]] = field(default_factory=dict)

    def measure(self, model: Model, behavior: Behavior, asked: Measured, place: Place) -> list[str]:
        """Measure a behavior of the baseline, or read it.

        Returns:
            Neurons that are open there on some branch, which are then tested in the model, too.
        """
        name = behavior.name
        here = model_record(model)
        if self.model is not None and not _corresponds(model_record(self.model), here):
            self.missing[name] = _OTHER_SHAPE
            return []
        try:
            found = self._own(name, asked, place)
        except BehaviorError as error:
            self.missing[name] = f"the baseline cannot be audited: {error.message}"
            return []
        if found is None:
            return []
        directory, results = found
        if not _corresponds(results.model, here):
            self.missing[name] = _OTHER_SHAPE
        elif results.behaviors[name]["fingerprint"] != behavior.fingerprint:
            self.missing[name] = "the baseline was measured on another version of this behavior"
        else:
            self.audits[name] = [(directory, results)]
            return list(dict.fromkeys(w["neuron"] for w in results.windows if w["verdict"] == "open"))
        return []

    def follow(self, parts: Parts, asked: Measured, place: Place) -> None:
        """Measure in the baseline what opened in the model and was not tested there."""
        known = self.audits.get(parts.behavior)
        if known is None or self.model is None:
            return
        seen = {window["neuron"] for _, results in known for window in results.windows}
        opened = dict.fromkeys(w["neuron"] for w in parts.windows if w["verdict"] == "open")
        wanted = [neuron for neuron in opened if neuron not in seen]
        if wanted:
            results = audit_part(self.model, parts.behavior, asked, place, "baseline-again", wanted, alone=True)
            known.append((place.of("baseline-again", parts.behavior), results))

    def changes(self, parts: Parts, behavior: Behavior, seed: int) -> list[dict[str, Any]]:
        """What is to be compared of a behavior, not yet corrected."""
        known = self.audits.get(parts.behavior)
        if known is None or parts.audited is None:
            return []
        before = side([(directory, results.windows) for directory, results in known])
        now = side([(directory, parts.windows) for directory in parts.directories])
        targets = frozenset(behavior.target_outcomes)
        return changes(behavior.name, before, now, targets, behavior.threshold, seed)

    def _own(self, behavior: str, asked: Measured, place: Place) -> tuple[Path, RunResults] | None:
        if self.model is not None:
            results = audit_part(self.model, behavior, asked, place, "baseline")
            return place.of("baseline", behavior), results
        assert self.reference.source is not None
        for directory in audit_directories(Path(self.reference.source), behavior):
            with open_run(directory) as ledger:
                results = read_results(ledger)
            if behavior in results.behaviors and any(w["behavior"] == behavior for w in results.windows):
                return directory, results
        self.missing[behavior] = "the baseline's run did not measure this behavior"
        return None


def _corresponds(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[key] == other[key] for key in _SHAPE)


def audit_directories(run: Path, behavior: str) -> Sequence[Path]:
    """Where in a run an audit of a behavior may lie: the run itself, or the part of a gate."""
    part = run / PARTS / f"audit-{slug(behavior)}"
    return [part] if (part / LEDGER_NAME).is_file() else [run] if kind_of(run).name == "audit" else []


def is_run(place: str | Path) -> bool:
    """Whether a path is a run directory, rather than a model's."""
    return (Path(place) / LEDGER_NAME).is_file()


def baseline_of(given: Model | str | Path | None, load: Callable[[str], Model]) -> Baseline | None:
    """The baseline that a caller names.

    Args:
        given: A model, what one is loaded from, or the directory of an audit or a gate.
        load: How a model is loaded as the gated one was.

    Raises:
        UsageError: The run is of another kind.
    """
    if given is None:
        return None
    if not isinstance(given, Model) and is_run(given):
        kind, directory = kind_of(given), Path(given)
        if kind.name not in ("audit", "gate"):
            raise UsageError(
                f"{given} holds a run of another kind ({kind.name})", "give an audit, a gate, or a model as --baseline"
            )
        with open_run(directory) as ledger:
            record: Mapping[str, Any] = ledger.find("model", "model") or {}
        reference = BaselineReference(
            kind="run", name=record["name"], source=str(directory.resolve()), fingerprint=record["fingerprint"]
        )
        return Baseline(reference)
    model = given if isinstance(given, Model) else load(str(given))
    record = model_record(model)
    source = None if record["source"] == "in hand" else record["source"]
    if source is not None and Path(source).exists():
        source = str(Path(source).resolve())
    return Baseline(
        BaselineReference(kind="model", name=model.name, source=source, fingerprint=model.fingerprint), model
    )
