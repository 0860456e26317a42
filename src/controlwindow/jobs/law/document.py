"""The law document: every number of a validation, computed from its records alone, and the aims beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.errors import LedgerError
from controlwindow.jobs.law.aims import aims, headline
from controlwindow.jobs.law.cases import distinct
from controlwindow.jobs.law.ceilings import SETTINGS, ceiling_scores
from controlwindow.jobs.law.control import control_scores
from controlwindow.jobs.law.noise import noise_scores
from controlwindow.jobs.law.plan import DIGEST_DIGITS
from controlwindow.jobs.law.records import Collected, Record
from controlwindow.jobs.law.sensitivity import sensitivities
from controlwindow.jobs.law.triggers import trigger_scores
from controlwindow.jobs.law.universality import universality
from controlwindow.jobs.law.verdicts import failure_scores, verdict_scores
from controlwindow.values import from_table, rounded, significant, to_table

VERSION = 2
"""2: a write column is one case, intervals over lineages are Student's, the best of the constants is to be beaten."""

HEADLINES = (
    "held_out_neurons", "lineages", "lineages_scored", "mae_known_models", "mae_retest", "mae_held_out_lineages",
    "skill_vs_median", "skill_vs_median_interval", "skill_vs_constant", "skill_vs_constant_interval", "best_constant",
    "skill_vs_chosen_constant", "skill_vs_chosen_constant_interval", "verdict_accuracy", "majority_accuracy", "p_value",
    "best_rival_accuracy", "failure_mode_accuracy", "failure_mode_accuracy_predicted", "interval_coverage",
    "interval_coverage_left_out",
)  # fmt: skip
"""Keys at the top of the document, one number or interval each."""


def law_document(collected: Collected, proof: Mapping[str, Any]) -> dict[str, Any]:
    """Score what was collected.

    Args:
        collected: Records and what else the ledgers hold.
        proof: What the proof of order found (`order.OrderProof.to_json`).

    Returns:
        Plain values: the headline keys, aims, scores, models, plan, and the records that give the scores again.
    """
    plan = collected.plan
    return scored_document(
        rounded(to_table(collected.records)),
        collected.models,
        {
            "order": dict(proof),
            "plan": {
                "digest": plan.digest(DIGEST_DIGITS),
                "sizes": plan.sizes.model_dump(mode="json"),
                "models": [
                    {"name": m.name, "fingerprint": m.fingerprint, "lineage": m.lineage, "family": m.family}
                    for m in plan.models
                ],
            },
        },
    )


def scored_document(
    table: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], known: Mapping[str, Any]
) -> dict[str, Any]:
    """A document from a table of records.

    Args:
        table: The records (`records.to_table`).
        models: What else was measured in each model.
        known: What is kept as it is: order, plan, history.
    """
    scores = significant(score_records(from_table(table), models))
    found = headline(scores)
    return {
        **found,
        "version": VERSION,
        "aims": aims(found, scores),
        **known,
        "scores": scores,
        "models": dict(models),
        "records": dict(table),
    }


def rescore(document: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of a document, computed again from the records that it carries.

    Raises:
        LedgerError: The document is of another version, or withholds records.
    """
    if document.get("withheld"):
        raise LedgerError(
            "the law document withholds neurons of sensitive behaviors, so its scores cannot be taken again",
            "run `controlwindow validate` on the run directory, whose ledgers hold all records",
        )
    if document.get("version") != VERSION:
        raise LedgerError(
            f"the law document has version {document.get('version')}, this controlwindow reads {VERSION}",
            "score its records again with `controlwindow validate --rescore FILE`",
        )
    return dict(significant(score_records(from_table(document["records"]), document["models"])))


def score_records(records: Sequence[Record], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All scores of records; every write column counts once, but for what two measurements of it differ by. Pure."""
    found = distinct(records)
    cases = found.records
    return {
        "cases": {
            "pairs": len(records),
            "scored": len(cases),
            "copies_of_calibration_left_out": found.crossed,
            "repeats_left_out": found.repeated,
        },
        "noise": noise_scores(records, models),
        "ceilings": {setting: ceiling_scores(cases, setting) for setting in SETTINGS},
        "triggers": {setting: trigger_scores(cases, setting) for setting in SETTINGS},
        "verdicts": {setting: verdict_scores(cases, setting) for setting in SETTINGS},
        "failure_modes": failure_scores(cases),
        "universality": universality(cases),
        "control": control_scores(cases, models),
        "detector": detector_scores(models),
        "sensitivity": sensitivities(cases, models),
    }


def detector_scores(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Agreement of the coherence detector with its labels, over all models and behaviors, and by kind of control."""
    checks = [
        check
        for model in models.values()
        for check in model["detector"]["checked_on_behaviors"].values()
        if check["controls"]
    ]
    kinds: dict[str, dict[str, Any]] = {}
    for check in checks:
        for row in check["kinds"]:
            known = kinds.setdefault(row["kind"], {"label": row["label"], "n": 0, "collapsed": 0})
            known["n"] += row["n"]
            known["collapsed"] += row["collapsed"]
    total = sum(k["n"] for k in kinds.values())
    right = sum(k["collapsed"] if k["label"] == "collapsed" else k["n"] - k["collapsed"] for k in kinds.values())
    return {
        "controls": total,
        "agreement": right / total if total else None,
        "auc_by_check": sorted(check["auc"] for check in checks),
        "kinds": kinds,
    }
