"""Two audits held against each other, from their ledgers alone: what opened, closed and moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controlwindow.errors import ReportError, UsageError
from controlwindow.jobs.audit.results import RunResults, read_results
from controlwindow.jobs.gate.baseline import changes, corrected, side
from controlwindow.models import Neuron
from controlwindow.report.marks import checked
from controlwindow.report.pages.against.document import AgainstDocument
from controlwindow.report.pages.against.page import render_against
from controlwindow.report.sharing import shareable
from controlwindow.report.writing import replace_file
from controlwindow.runs.kinds import kind_of, open_run

_SHAPE = ("family", "layers", "neurons_total", "d_model")
PAGE = "against.html"


def compare_runs(run: Path, against: Path, *, include_neurons: bool = False) -> AgainstDocument:
    """What changed between two audits, paired over prompts and corrected over all comparisons.

    Args:
        run: Directory of the audit that counts as now.
        against: Directory of the one before.
        include_neurons: Name neurons of sensitive behaviors where a model is no organism.

    Returns:
        A document that has been made shareable.

    Raises:
        LedgerError: There is no such run.
        UsageError: A run is no audit, or the models are of two architectures.
    """
    now, before = _audit(run), _audit(against)
    if any(now.model[key] != before.model[key] for key in _SHAPE):
        raise UsageError(
            "the two runs are of different architectures: their neurons do not correspond",
            "compare audits of one architecture, such as a base model and its fine-tuned one",
        )
    found: list[dict[str, Any]] = []
    missing = []
    for name, behavior in now.behaviors.items():
        other = before.behaviors.get(name)
        if other is None:
            missing.append({"behavior": name, "note": "the run before did not measure it"})
        elif other["fingerprint"] != behavior["fingerprint"]:
            missing.append({"behavior": name, "note": "the run before measured another version of it"})
        else:
            was, is_now = side([(against, _of(before, name))]), side([(run, _of(now, name))])
            targets = frozenset(behavior["target_outcomes"])
            found += changes(name, was, is_now, targets, behavior["threshold"], now.plan.seed)
    both = len({_key(w) for w in now.windows} & {_key(w) for w in before.windows})
    document = checked(
        AgainstDocument,
        {
            "before": before.model["name"],
            "before_fingerprint": before.model["fingerprint"],
            "now": now.model["name"],
            "now_fingerprint": now.model["fingerprint"],
            "organisms": now.model["organism"] and before.model["organism"],
            "sensitive": sorted(name for name, record in now.behaviors.items() if record["sensitive"]),
            "layers": now.model["layers"],
            "only_before": len(before.windows) - both,
            "only_now": len(now.windows) - both,
            "changes": [{**change, "layer": Neuron.parse(change["neuron"]).layer} for change in corrected(found)],
            "missing": missing,
        },
    )
    return shareable(document, include_neurons=include_neurons)


def write_against(document: AgainstDocument, directory: Path) -> Path:
    """Write the page of two runs into the directory of the later one.

    Raises:
        ReportError: It cannot be written.
    """
    target = directory / PAGE
    try:
        replace_file(target, render_against(document).html)
    except OSError as error:
        raise ReportError(
            f"cannot write {target}: {error.strerror or error}", "free some space, or copy the run"
        ) from error
    return target


def _audit(directory: Path) -> RunResults:
    kind = kind_of(directory)
    if kind.name != "audit":
        raise UsageError(f"{directory} holds a run of another kind ({kind.name})", "give the directories of two audits")
    with open_run(directory) as ledger:
        return read_results(ledger)


def _of(results: RunResults, behavior: str) -> list[dict[str, Any]]:
    return [window for window in results.windows if window["behavior"] == behavior]


def _key(window: dict[str, Any]) -> tuple[str, str, int]:
    return window["behavior"], window["neuron"], window["branch"]
