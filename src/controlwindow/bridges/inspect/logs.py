"""Logs of Inspect along the windows of an audit: which dose each was run at is read of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from pathlib import Path
from typing import Any, NamedTuple

from inspect_ai.log import EvalLog, read_eval_log

from controlwindow.bridges.inspect.api import KEY
from controlwindow.bridges.settings import read_audit
from controlwindow.errors import UsageError
from controlwindow.jobs.audit.results import RunResults
from controlwindow.report.pages.capability.document import CapabilityDocument, capability_document
from controlwindow.values import round_floats

_ERRORS = ("stderr", "bootstrap_stderr", "std", "var")
_MEANS = ("mean", "accuracy")


class DosedLog(NamedTuple):
    """What one log says: the dose of its answers, and its scores."""

    path: Path
    dose: dict[str, Any]
    scores: list[dict[str, Any]]


def capability(run: str | Path, evals: Sequence[str | Path]) -> CapabilityDocument:
    """Scores of Inspect's tasks along every window of an audit that they were run on.

    Args:
        run: The audit's directory.
        evals: Logs (`.eval` or `.json`), or folders of them.

    Raises:
        UsageError: A log is no log, did not finish, is of another model, or of no dose of the run's windows.
        LedgerError: The run is none.
    """
    audit = read_audit(run)
    logs = [read_dosed_log(path, audit) for path in _files(evals)]
    tested = {(window["neuron"], window["branch"]) for window in audit.windows}
    for log in logs:
        if log.dose["neuron"] is not None and (log.dose["neuron"], log.dose["branch"]) not in tested:
            raise UsageError(
                f"{log.path} is of {log.dose['neuron']} {log.dose['branch']:+d}, which {run} has no window of",
                "give logs of the run's own neurons, or measure the neuron's window first",
            )
    return capability_document(round_floats({**_model(audit), "windows": list(_windows(audit, logs))}))


def read_dosed_log(path: Path, audit: RunResults) -> DosedLog:
    """One log.

    Raises:
        UsageError: It is none, did not finish, has no dosed answer, or is of another model than the audit.
    """
    try:
        log = read_eval_log(str(path))
    except Exception as error:
        # Inspect fails in ways of its own on what is no log.
        raise UsageError(f"{path} is no log of Inspect: {error}", "give .eval files, or a folder of them") from error
    if log.status != "success" or log.results is None:
        raise UsageError(f"the evaluation {path} did not finish: {log.status}", "run it to its end, or leave it out")
    told = next(
        (
            sample.output.metadata[KEY]
            for sample in log.samples or ()
            if sample.output is not None and KEY in (sample.output.metadata or {})
        ),
        None,
    )
    if told is None:
        raise UsageError(
            f"no answer in {path} is a dosed model's",
            "run the task on --model controlwindow/NAME (controlwindow guide bridges)",
        )
    if told["fingerprint"] != audit.plan.fingerprint:
        raise UsageError(
            f"{path} is of weights {told['fingerprint'][:12]}, and the audit of {audit.plan.fingerprint[:12]}",
            "give logs of the model that was audited",
        )
    return DosedLog(path, dict(told), list(_scores(log)))


def _files(given: Sequence[str | Path]) -> list[Path]:
    found: list[Path] = []
    for one in map(Path, given):
        if one.is_dir():
            inside = sorted(path for path in one.iterdir() if path.suffix == ".eval")
            if not inside:
                raise UsageError(f"{one} holds no .eval files", "give the folder that Inspect wrote its logs to")
            found += inside
        elif one.is_file():
            found.append(one)
        else:
            raise UsageError(f"there is no log at {one}", "give .eval files, or a folder of them")
    return found


def _scores(log: EvalLog) -> list[dict[str, Any]]:
    assert log.results is not None
    found = []
    for score in log.results.scores:
        errors = [score.metrics[name].value for name in _ERRORS[:2] if name in score.metrics]
        for name, metric in score.metrics.items():
            if name in _ERRORS:
                continue
            found.append(
                {
                    "task": str(log.eval.task).removeprefix("controlwindow/"),
                    "score": score.name if name in _MEANS else f"{score.name} {name}",
                    "value": float(metric.value),
                    "stderr": float(errors[0]) if errors and name in _MEANS else None,
                    "samples": int(log.results.completed_samples),
                }
            )
    return found


def _windows(audit: RunResults, logs: Sequence[DosedLog]) -> list[dict[str, Any]]:
    found = []
    for window in audit.windows:
        own = [log for log in logs if (log.dose["neuron"], log.dose["branch"]) == (window["neuron"], window["branch"])]
        if not own:
            continue
        undosed = [log for log in logs if log.dose["neuron"] is None]
        base = {(score["task"], score["score"]): score for log in undosed for score in log.scores}
        scores = [
            {
                **score,
                "c": log.dose["c"] if log.dose["neuron"] is not None else None,
                "t": log.dose["t"],
                **_tax(base.get((score["task"], score["score"])), score),
            }
            for log in [*undosed, *sorted(own, key=lambda log: float(log.dose["c"]))]
            for score in log.scores
        ]
        keys = ("neuron", "behavior", "branch", "verdict", "trigger", "trigger_interval", "ceiling", "c0")
        scores.sort(key=lambda score: (score["task"], score["score"]))
        found.append(
            {key: window[key] for key in (*keys, "ceiling_interval")} | {"scores": scores},
        )
    return found


def _tax(undosed: dict[str, Any] | None, score: dict[str, Any]) -> dict[str, Any]:
    if undosed is None:
        return {"tax": None, "tax_stderr": None}
    errors = [undosed["stderr"], score["stderr"]]
    return {
        "tax": undosed["value"] - score["value"],
        "tax_stderr": None if None in errors else hypot(*errors),
    }


def _model(audit: RunResults) -> dict[str, Any]:
    return {
        "model": audit.plan.model,
        "organism": bool(audit.model.get("organism")),
        "layers": audit.model["layers"],
        "sensitive": sorted(name for name, record in audit.behaviors.items() if record["sensitive"]),
    }
