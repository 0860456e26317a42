"""What a live page is about: a finished or unfinished audit, or a model by itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior, CoherenceDetector, load_to_run
from controlwindow.catalogue import load_card
from controlwindow.curves import Curve, curve_from_json
from controlwindow.errors import UsageError
from controlwindow.instruments.generic import GenericPass, default_prompts, generic_pass
from controlwindow.jobs.audit.results import read_results
from controlwindow.live.scenes import measured_handle, predicted_handles
from controlwindow.measuring.detector import detector_of
from controlwindow.models import Model, Neuron
from controlwindow.runs.kinds import LEDGER_NAME, kind_of, open_run
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.resuming import planned_behavior, planned_model
from controlwindow.secrecy import hides_neurons

ALONE = "give --include-sensitive to see them on this page; whoever has its link reads all of it"


@dataclass(frozen=True, eq=False)
class Subject:
    """A model with all that a live page says of it.

    Attributes:
        model: The model.
        generic: Its generic pass.
        run: Name of the run; None for a model by itself.
        behaviors: Behaviors that are shown, by name.
        handles: Neurons and branches that are shown (`live.scenes`).
        detector: Tells collapsed text; None where nothing is judged.
        withheld: How many sensitive behaviors are not shown.
        seed: Seed of the run.
    """

    model: Model
    generic: GenericPass
    run: str | None
    behaviors: Mapping[str, Behavior]
    handles: tuple[dict[str, Any], ...]
    detector: CoherenceDetector | None
    withheld: int = 0

    @property
    def tokens(self) -> int:
        """Length of an answer in tokens that a page begins with: the longest horizon of its first behavior."""
        first = next(iter(self.behaviors.values()), None)
        return 48 if first is None else first.horizons[-1]


def is_run(source: str | Path) -> bool:
    """Whether a place is a run directory, and no model."""
    return (Path(source) / LEDGER_NAME).is_file()


def subject_of_run(
    directory: Path, *, include_sensitive: bool = False, model: Model | None = None, progress: Progress | None = None
) -> Subject:
    """An audit's model, behaviors and windows; nothing is measured again.

    Args:
        directory: The run directory.
        include_sensitive: Whether behaviors marked sensitive are shown.
        model: The model, where the run was made of one in hand.
        progress: Where progress is shown.

    Raises:
        UsageError: The run is no audit, or all that it measured is withheld.
        LedgerError: There is no run, or model or behavior are no longer what was measured.
    """
    kind = kind_of(directory)
    if kind.name != "audit":
        raise UsageError(
            f"{directory} holds a {kind.name}, and the live page shows windows of an audit",
            "give an audit's directory, or the model itself",
        )
    with open_run(directory) as ledger:
        results = read_results(ledger)
        noted = ledger.find("coherence", "detector")
        sensitive = {name for name, record in results.behaviors.items() if record["sensitive"]}
    plan = results.plan
    loaded = planned_model(model, plan, directory)
    invented = {b.name for b in plan.behaviors if b.name == b.source and loaded.organism is not None}
    withheld = set() if include_sensitive else sensitive - invented
    shown = [reference for reference in plan.behaviors if reference.name not in withheld]
    if not shown:
        raise UsageError(f"every behavior of {directory} is sensitive", ALONE)
    with (progress or Silent()).stage(f"{loaded.name}: generic pass"):
        generic = generic_pass(loaded, plan.generic_prompts)
    return Subject(
        model=loaded,
        generic=generic,
        run=plan.run,
        behaviors={reference.name: planned_behavior(reference, plan, directory) for reference in shown},
        handles=tuple(
            measured_handle(window, _curve(window, loaded, generic))
            for window in shown_windows(results.windows, withheld, organism=loaded.organism is not None)
        ),
        detector=None if noted is None else CoherenceDetector(**noted.get("detector", noted)),
        withheld=len(withheld),
    )


def shown_windows(
    windows: Sequence[Mapping[str, Any]], withheld: Collection[str], *, organism: bool
) -> list[Mapping[str, Any]]:
    """Windows of a run without those of withheld behaviors, and without neurons that are withheld with them.

    Args:
        windows: Records of windows.
        withheld: Names of sensitive behaviors that are not shown.
        organism: Whether the model is one, whose neurons are no secret.
    """
    hides = hides_neurons(sensitive=True, organism=organism, include_neurons=False)
    hidden = {window["neuron"] for window in windows if hides and window["behavior"] in withheld}
    return [w for w in windows if w["behavior"] not in withheld and w["neuron"] not in hidden]


def subject_of_model(
    model: Model,
    behaviors: Sequence[str | Path] = (),
    neurons: Sequence[Neuron | str] = (),
    *,
    include_sensitive: bool = False,
    progress: Progress | None = None,
) -> Subject:
    """A model by itself: ceilings are predicted, nothing else is known of its neurons.

    Args:
        model: The model.
        behaviors: Names or files of behaviors whose prompts and oracles are at hand; of an organism, those of its
            planted neurons where none is named.
        neurons: Neurons to begin with; of an organism, its planted ones where none is named.
        include_sensitive: Whether behaviors marked sensitive are shown.
        progress: Where progress is shown.

    Raises:
        UsageError: Every behavior is sensitive.
        BehaviorError: A behavior is unknown or invalid.
        NeuronError: A neuron lies outside the model.
    """
    planted = () if model.organism is None else load_card(f"organism:{model.organism}").planted
    names = list(behaviors) or list(dict.fromkeys(p.behavior for p in planted))
    loaded = [(name, load_to_run(name)) for name in names]
    kept = [
        behavior
        for name, behavior in loaded
        if include_sensitive or not behavior.sensitive or (model.organism is not None and str(name) == behavior.name)
    ]
    if loaded and not kept:
        raise UsageError("every behavior that was named is sensitive", ALONE)
    shown = {behavior.name: behavior for behavior in kept}
    chosen = [model.require(neuron) for neuron in (*neurons, *(() if neurons else (p.neuron for p in planted)))]
    with (progress or Silent()).stage(f"{model.name}: generic pass"):
        generic = generic_pass(model)
    detector = None
    if shown:
        with (progress or Silent()).stage(f"{model.name}: setting the coherence detector"):
            detector = detector_of(model, generic)
    handles = predicted_handles(model, generic, list(dict.fromkeys(chosen)))
    meant = {} if neurons else {(p.neuron, p.branch): p.behavior for p in planted}
    handles.sort(key=lambda handle: (handle["neuron"], handle["branch"]) not in meant)
    return Subject(
        model=model,
        generic=generic,
        run=None,
        behaviors=shown,
        handles=tuple({**h, "behavior": meant.get((h["neuron"], h["branch"]))} for h in handles),
        detector=detector,
        withheld=len(loaded) - len(kept),
    )


def ordinary_prompts(subject: Subject, most: int = 24) -> tuple[str, ...]:
    """Ordinary prompts to try a dose on."""
    return default_prompts(subject.model)[:most]


def _curve(window: Mapping[str, Any], model: Model, generic: GenericPass) -> Curve:
    kept = window.get("curve")
    return generic.curve(model, window["neuron"], window["branch"]) if kept is None else curve_from_json(kept)
