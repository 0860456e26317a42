"""The law document: every number of a validation, computed from its records alone, and the aims beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.errors import LedgerError
from controlwindow.jobs.law.ceilings import SETTINGS, ceiling_scores
from controlwindow.jobs.law.control import control_scores
from controlwindow.jobs.law.plan import DIGEST_DIGITS
from controlwindow.jobs.law.records import Collected, Record
from controlwindow.jobs.law.sensitivity import sensitivities
from controlwindow.jobs.law.triggers import trigger_scores
from controlwindow.jobs.law.universality import universality
from controlwindow.jobs.law.verdicts import failure_scores, verdict_scores
from controlwindow.values import from_table, rounded, significant, to_table

VERSION = 1

HEADLINES = (
    "held_out_neurons", "lineages", "mae_known_models", "mae_held_out_lineages", "skill_vs_median",
    "skill_vs_median_interval", "skill_vs_constant", "skill_vs_constant_interval", "verdict_accuracy",
    "majority_accuracy", "p_value", "failure_mode_accuracy", "interval_coverage",
)  # fmt: skip
"""Keys at the top of the document, one number or interval each."""

EFFECT = "with an effect"
"""The stratum that the headline's verdicts are scored on."""


def law_document(collected: Collected, proof: Mapping[str, Any]) -> dict[str, Any]:
    """Score what was collected.

    Args:
        collected: Records and what else the ledgers hold.
        proof: What the proof of order found (`order.OrderProof.to_json`).

    Returns:
        Plain values: the headline keys, aims, scores, models, plan, and the records that give the scores again.
    """
    table = rounded(to_table(collected.records))
    scores = significant(score_records(from_table(table), collected.models))
    found = headline(scores)
    plan = collected.plan
    return {
        **found,
        "version": VERSION,
        "aims": aims(found, scores),
        "order": dict(proof),
        "plan": {
            "digest": plan.digest(DIGEST_DIGITS),
            "sizes": plan.sizes.model_dump(mode="json"),
            "models": [
                {"name": m.name, "fingerprint": m.fingerprint, "lineage": m.lineage, "family": m.family}
                for m in plan.models
            ],
        },
        "scores": scores,
        "models": collected.models,
        "records": table,
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
            "write it again with `controlwindow validate`",
        )
    return dict(significant(score_records(from_table(document["records"]), document["models"])))


def score_records(records: Sequence[Record], models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All scores of records. Pure."""
    return {
        "ceilings": {setting: ceiling_scores(records, setting) for setting in SETTINGS},
        "triggers": {setting: trigger_scores(records, setting) for setting in SETTINGS},
        "verdicts": {setting: verdict_scores(records, setting) for setting in SETTINGS},
        "failure_modes": failure_scores(records),
        "universality": universality(records),
        "control": control_scores(records),
        "detector": detector_scores(models),
        "sensitivity": sensitivities(records, models),
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


def headline(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The headline keys."""
    known, left_out = (scores["ceilings"][setting] for setting in SETTINGS)
    verdict = scores["verdicts"]["known"][EFFECT]["fully_committed"]
    majority = verdict["majority"] or {"accuracy": None, "p_value": None}
    return {
        "held_out_neurons": known["neurons"],
        "lineages": known["lineages"],
        "mae_known_models": known["mae"]["value"],
        "mae_held_out_lineages": left_out["mae"]["value"],
        "skill_vs_median": known["skill_vs_median"]["value"],
        "skill_vs_median_interval": known["skill_vs_median"]["interval"],
        "skill_vs_constant": left_out["skill_vs_constant"]["value"],
        "skill_vs_constant_interval": left_out["skill_vs_constant"]["interval"],
        "verdict_accuracy": verdict["accuracy"],
        "majority_accuracy": majority["accuracy"],
        "p_value": majority["p_value"],
        "failure_mode_accuracy": scores["failure_modes"]["measured"]["accuracy"],
        "interval_coverage": known["coverage"]["value"],
    }


def aims(found: Mapping[str, Any], scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each aim with what was reported before, what was measured, and whether it is met; None where nothing was."""

    def clear(interval: Sequence[float] | None) -> bool:
        return interval is not None and interval[0] > 0

    def met(value: float | None, test: bool) -> bool | None:
        return None if value is None else test

    mae, lineage_mae = found["mae_known_models"], found["mae_held_out_lineages"]
    skill, accuracy = found["skill_vs_constant"], found["verdict_accuracy"]
    modes, covered = scores["failure_modes"]["measured"], found["interval_coverage"]
    return [
        _aim("held-out neurons", "15", "at least 300", found["held_out_neurons"], found["held_out_neurons"] >= 300),
        _aim("independent lineages", None, "at least 8", found["lineages"], found["lineages"] >= 8),
        _aim(
            "MAE in c, held-out neurons of known models",
            "0.14 (0.07 bulk)",
            "at most 0.04, and better than the per-model median with an interval clear of zero",
            mae,
            met(mae, mae is not None and mae <= 0.04 and clear(found["skill_vs_median_interval"])),
        ),
        _aim(
            "MAE in c, held-out lineages",
            None,
            "at most 0.08, and at least 30 % better than the best constant with an interval clear of zero",
            lineage_mae,
            met(
                lineage_mae,
                lineage_mae is not None
                and lineage_mae <= 0.08
                and skill is not None
                and skill >= 0.3
                and clear(found["skill_vs_constant_interval"]),
            ),
        ),
        _aim(
            "verdict accuracy, neurons with an effect",
            "11/15 against 10/15",
            "at least 85 %, and better than the majority at p < 0.01",
            accuracy,
            met(
                accuracy,
                accuracy is not None
                and accuracy >= 0.85
                and found["majority_accuracy"] is not None
                and accuracy > found["majority_accuracy"]
                and found["p_value"] < 0.01,
            ),
        ),
        _aim(
            "failure mode right, cases with known answers",
            None,
            "at least 95 % of at least 60",
            modes["accuracy"],
            met(modes["accuracy"], modes["n"] >= 60 and (modes["accuracy"] or 0) >= 0.95),
        ),
        _aim(
            "coverage of nominal 90 % intervals, known models",
            None,
            "85 to 95 %",
            covered,
            met(covered, covered is not None and 0.85 <= covered <= 0.95),
        ),
    ]


def _aim(what: str, reported: str | None, aim: str, measured: float | None, met: bool | None) -> dict[str, Any]:
    return {"what": what, "reported": reported, "aim": aim, "measured": measured, "met": met}
