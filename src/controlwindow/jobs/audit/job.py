"""The main job: from a model and behaviors to windows, in stages that each leave their result in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from controlwindow.behaviors import Behavior
from controlwindow.cells import Rows
from controlwindow.curves import Curve, SaturationCurve, curve_from_json
from controlwindow.errors import BehaviorError, UsageError
from controlwindow.instruments.capture import activation_ranges
from controlwindow.instruments.generic import GenericPass
from controlwindow.jobs.audit.candidates import Selection, planted_neurons, select_candidates
from controlwindow.jobs.audit.lateness import Lateness
from controlwindow.jobs.audit.panel import neuron_panel
from controlwindow.jobs.audit.plan import AuditPlan
from controlwindow.jobs.audit.precision import check_in_float32
from controlwindow.jobs.stages.eligible import eligible_rows
from controlwindow.jobs.stages.reasons import find_reasons
from controlwindow.jobs.stages.searching import SPLIT, search_windows
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model, Neuron
from controlwindow.models.precision import is_half
from controlwindow.runs.asks import Asks
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, numbered
from controlwindow.runs.records import behavior_record, model_record
from controlwindow.runs.scheduler import Scheduler
from controlwindow.runs.session import prepare
from controlwindow.screens import find_screen, screen_names
from controlwindow.statistics import stable_seed
from controlwindow.windows.failure import Reasons
from controlwindow.windows.layer_features import features_from_record, interpolation_error, layer_features
from controlwindow.windows.precision import Float32Check
from controlwindow.windows.prediction import predict_neurons
from controlwindow.windows.search import Candidate, WindowSearch
from controlwindow.windows.window import Measured, Window, assemble, read_search

SAMPLE_SEED = 1
"""Seed of the sampled check of open windows; the run's own seed is added."""

BRANCHES = (1, -1)


class Audit:
    """One audit of a model. Every stage looks into the ledger first, so that a run cut off goes on where it was.

    Args:
        model: The model.
        behaviors: The behaviors, in order.
        plan: What is to be done.
        ledger: An open ledger; its plan must be this one.
        progress: Where progress is shown.
    """

    def __init__(
        self,
        model: Model,
        behaviors: Sequence[Behavior],
        plan: AuditPlan,
        ledger: Ledger,
        progress: Progress | None = None,
    ) -> None:
        self.model = model
        self.behaviors = {behavior.name: behavior for behavior in behaviors}
        self.plan = plan
        self.ledger = ledger
        # Predictions of all behaviors stand before the windows of any.
        each = [f"{name}: {stage}" for stage in ("undosed rollouts", "screens") for name in self.behaviors]
        each += [f"{model.name}: probe passes", *(f"{name}: predicted ceilings" for name in self.behaviors)]
        each += [f"{name}: {stage}" for name in self.behaviors for stage in ("windows", "reasons", "sampled check")]
        self.progress = numbered(progress, model.name, each)

    def records(self) -> list[tuple[str, str, Any]]:
        """What a new plan is written with."""
        behaviors = [("behavior", b.name, behavior_record(b)) for b in self.behaviors.values()]
        return [("model", "model", model_record(self.model)), *behaviors]

    def run(self) -> list[Window]:
        """Do the whole job.

        Returns:
            Windows of every tested neuron on both branches, behavior by behavior.

        Raises:
            BehaviorError: Too few prompts are eligible.
            OperationError: The hooks failed their self-proof.
            LedgerError: The ledger cannot be written.
        """
        plan = self.plan
        prepared = prepare(
            self.model,
            self.ledger,
            self.progress,
            seed=plan.seed,
            chunk_rows=plan.chunk_rows,
            generic_prompts=plan.generic_prompts,
        )
        generic = prepared.generic
        scheduler = prepared.session(list(self.behaviors.values())).scheduler
        eligible = {name: self._eligible(scheduler, behavior) for name, behavior in self.behaviors.items()}
        selections = {name: self._select(scheduler, behavior, generic) for name, behavior in self.behaviors.items()}
        self._read_layers(generic, selections.values())
        # All predictions first: a neuron tested for two behaviors is predicted before its first rollout for either.
        predictions = {
            name: self._predict(behavior, selections[name], generic) for name, behavior in self.behaviors.items()
        }
        windows = []
        for name, behavior in self.behaviors.items():
            windows += self._windows(scheduler, behavior, eligible[name], selections[name], predictions[name], generic)
        self.ledger.remember("finished", plan.kind, lambda: {"windows": len(windows)})
        return windows

    def _read_layers(self, generic: GenericPass, selections: Iterable[Selection]) -> None:
        """Probe passes: what predictors read of the layers that candidates lie in, and of some others."""
        wanted = {Neuron.parse(name).layer for selection in selections for name in selection.sources}

        def read() -> dict[str, Any]:
            with self.progress.stage(f"{self.model.name}: probe passes") as stage:
                features = layer_features(
                    self.model,
                    generic,
                    probe=self.plan.probe,
                    wanted=wanted,
                    seed=self.plan.seed,
                    progress=stage.update,
                    # Layer by layer, so that a run that is cut off here goes on where it was.
                    remember=lambda layer, compute: self.ledger.remember("probe pass", str(layer), compute),
                )
            found: dict[str, Any] = {"prompts": len(generic.prompts), "tokens": generic.positions}
            found["layers"] = [asdict(layer) for layer in features]
            if any(layer.between is not None for layer in features):
                found["interpolation_error"] = interpolation_error(features)
            return found

        self.ledger.remember("generic", "generic", read)

    def _eligible(self, scheduler: Scheduler, behavior: Behavior) -> Rows:
        with self.progress.stage(f"{behavior.name}: undosed rollouts"):
            rows = eligible_rows(scheduler, behavior)
        if self.plan.prompts is None or len(rows) <= self.plan.prompts:
            return rows
        generator = np.random.default_rng(stable_seed("eligible prompts", behavior.name, self.plan.seed))
        chosen = sorted(generator.permutation(len(rows))[: self.plan.prompts].tolist())
        return [rows[place] for place in chosen]

    def _windows(
        self,
        scheduler: Scheduler,
        behavior: Behavior,
        eligible: Rows,
        selection: Selection,
        predictions: Mapping[tuple[str, int], dict[str, Any]],
        generic: GenericPass,
    ) -> list[Window]:
        searches = self._search(scheduler, behavior, eligible, predictions)
        readings = {key: read_search(search, self.plan.seed) for key, search in searches.items()}
        checks: Mapping[tuple[str, int], Float32Check] = {}
        if is_half(self.model):
            with self.progress.stage(f"{behavior.name}: float32 check"):
                searches, readings, checks = check_in_float32(
                    scheduler, behavior.name, searches, readings, self.plan.seed
                )
        norms = {key: prediction["residual_norm"] for key, prediction in predictions.items()}
        reasons = find_reasons(scheduler, behavior, searches, readings, norms, self.plan.seed, self.progress)
        sampled = self._sample(scheduler, behavior, searches, readings)
        ranges = self._ranges(scheduler, behavior, selection, eligible, generic)
        windows = []
        for key, search in searches.items():
            window = assemble(
                search,
                readings[key],
                behavior,
                predictions[key],
                selection.sources[search.candidate.neuron],
                reasons.get(key, Reasons()),
                {SAMPLE_SEED + self.plan.seed: sampled[key]} if key in sampled else {},
                checks.get(key),
            )
            windows.append(window)
        missing = [w for w in windows if self.ledger.find("window", window_name(w)) is None]
        self.ledger.record_all(
            [
                ("window", window_name(w), {**w.to_dict(), "panel": neuron_panel(self.model, w, selection, ranges)})
                for w in missing
            ]
        )
        return windows

    def _select(self, scheduler: Scheduler, behavior: Behavior, generic: GenericPass) -> Selection:
        found = self.ledger.find("selection", behavior.name)
        if found is not None:
            return Selection(**found)
        with self.progress.stage(f"{behavior.name}: screens"):
            screens = {
                name: find_screen(name)(self.model, behavior, generic, seed=self.plan.seed)
                for name in self._screens_for(behavior)
            }
            scheduler.run(f"screen {behavior.name}", list(screens.values()))
            tables: dict[str, pl.DataFrame] = {name: screen.table() for name, screen in screens.items()}
        selection = select_candidates(
            self.model,
            generic,
            behavior.name,
            self.plan.screens,
            tables,
            planted_neurons(self.model, behavior.name) if self.plan.planted else [],
            [Neuron.parse(name) for name in self.plan.named_neurons(behavior.name)],
            self.plan.top,
            self.plan.drawn,
            self.plan.seed,
            None if self.plan.keep_late else Lateness(self.model, generic),
        )
        if not selection.sources:
            raise UsageError("no neuron is to be tested", "give --top above 0, or name neurons with --neuron")
        self.ledger.record("selection", behavior.name, asdict(selection))
        return selection

    def _screens_for(self, behavior: Behavior) -> list[str]:
        """The screen that gives candidates, and those whose ranks are reported beside it.

        A behavior without a contrast can still be audited on neurons that are named or drawn at random.
        """
        try:
            behavior.contrast("find")
        except BehaviorError:
            if self.plan.top and set(self.plan.screens) != {"random"}:
                raise
            return ["random"] if self.plan.top else []
        wanted = {"contrastive", "window"} | (set(self.plan.screens) if self.plan.top else set())
        return [name for name in screen_names() if name in wanted]

    def _predict(
        self, behavior: Behavior, selection: Selection, generic: GenericPass
    ) -> dict[tuple[str, int], dict[str, Any]]:
        """Predicted ceilings, committed before the first rollout of any of these neurons."""
        wanted = {
            (name, branch): f"{behavior.name}/{name}/{branch:+d}" for name in selection.sources for branch in BRANCHES
        }
        missing = [key for key, name in wanted.items() if self.ledger.find("prediction", name) is None]
        layers = (self.ledger.find("generic", "generic") or {})["layers"]
        features = [features_from_record(layer) for layer in layers]
        if missing:
            pairs = [(Neuron.parse(name), branch) for name, branch in missing]
            with self.progress.stage(f"{behavior.name}: predicted ceilings") as stage:
                found = predict_neurons(
                    self.model,
                    pairs,
                    generic,
                    features,
                    tier="1" if self.plan.probe else "0",
                    behavior=behavior.name,
                    progress=stage.update,
                )
            self.ledger.record_all(
                [("prediction", wanted[key], p.to_record()) for key, p in zip(missing, found, strict=True)]
            )
        # Read back from the ledger, so that a resumed run uses the numbers that were committed.
        return {key: self.ledger.find("prediction", name) for key, name in wanted.items()}  # type: ignore[misc]

    def _search(
        self,
        scheduler: Scheduler,
        behavior: Behavior,
        eligible: Rows,
        predictions: Mapping[tuple[str, int], Mapping[str, Any]],
    ) -> dict[tuple[str, int], WindowSearch]:
        candidates = {key: Candidate(key[0], key[1], _curve(p), p["budget"]) for key, p in predictions.items()}
        return search_windows(scheduler, behavior, eligible, candidates, self.progress)

    def _sample(
        self,
        scheduler: Scheduler,
        behavior: Behavior,
        searches: Mapping[tuple[str, int], WindowSearch],
        readings: Mapping[tuple[str, int], Measured],
    ) -> dict[tuple[str, int], Rows]:
        """One sampled check beside the greedy rollouts of every open window, at its best dose."""
        cells = {
            key: search.cell(search.doses[readings[key].peak], SAMPLE_SEED + self.plan.seed)
            for key, search in searches.items()
            if readings[key].open
        }
        asked = Asks(list(cells.values()))
        with self.progress.stage(f"{behavior.name}: sampled check"):
            scheduler.run(f"sampled {behavior.name}", [asked])
        return {key: asked.results[cell] for key, cell in cells.items()}

    def _ranges(
        self, scheduler: Scheduler, behavior: Behavior, selection: Selection, eligible: Rows, generic: GenericPass
    ) -> dict[str, dict[str, list[float]]]:
        """Natural activation ranges of the tested neurons on the behavior's undosed rollouts and on generic text."""
        found = self.ledger.find("activations", behavior.name)
        if found is None:
            neurons = [Neuron.parse(name) for name in selection.sources]
            engine = scheduler.runner
            assert isinstance(engine, Engine)
            undosed = engine.undosed(behavior.name, SPLIT, behavior.horizons[-1])
            texts = {prompt.id: prompt.text for prompt in behavior.prompts(SPLIT)}
            ids = [row["prompt"] for row in eligible]
            of_behavior = activation_ranges(
                self.model,
                neurons,
                self.model.token_ids([texts[i] for i in ids]),
                [undosed[i].token_ids for i in ids],
            )
            of_generic = activation_ranges(self.model, neurons, generic.prompt_ids, generic.token_ids)
            found = {
                str(n): {f"{behavior.name}, undosed": list(of_behavior[n]), "generic text": list(of_generic[n])}
                for n in neurons
            }
            self.ledger.record("activations", behavior.name, found)
        ranges: dict[str, dict[str, list[float]]] = found
        return ranges


def _curve(prediction: Mapping[str, Any]) -> Curve:
    """The committed curve of a neuron; ledgers written before there were caps hold c0 alone."""
    return curve_from_json(prediction["curve"]) if "curve" in prediction else SaturationCurve(prediction["cosine"])


def window_name(window: Window) -> str:
    """Name of a window's record."""
    return f"{window.behavior}/{window.neuron}/{window.branch:+d}"
