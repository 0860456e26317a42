"""What the test set out to reach: the headline of a law document, and every aim beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.jobs.law.ceilings import SETTINGS

EFFECT = "with an effect"
"""The stratum that the headline's verdicts are scored on."""


def headline(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The headline keys."""
    known, left_out = (scores["ceilings"][setting] for setting in SETTINGS)
    verdict = scores["verdicts"]["known"][EFFECT]["fully_committed"]
    majority = verdict["majority"] or {"accuracy": None, "p_value": None}
    return {
        "held_out_neurons": known["neurons"],
        "lineages": known["lineages"],
        "lineages_scored": left_out["lineages_scored"],
        "mae_known_models": known["mae"]["value"],
        "mae_retest": scores["noise"]["retest"]["all"]["ceiling"]["error"]["value"],
        "mae_held_out_lineages": left_out["mae"]["value"],
        "skill_vs_median": known["skill_vs_median"]["value"],
        "skill_vs_median_interval": known["skill_vs_median"]["interval"],
        "skill_vs_constant": left_out["skill_vs_constant"]["value"],
        "skill_vs_constant_interval": left_out["skill_vs_constant"]["interval"],
        "best_constant": left_out["constants"].get("best"),
        "skill_vs_chosen_constant": left_out["skill_vs_chosen_constant"]["value"],
        "skill_vs_chosen_constant_interval": left_out["skill_vs_chosen_constant"]["interval"],
        "verdict_accuracy": verdict["accuracy"],
        "majority_accuracy": majority["accuracy"],
        "p_value": majority["p_value"],
        "best_rival_accuracy": max(
            (rival["accuracy"] for rival in (verdict["rule"], *verdict["rivals"].values()) if rival), default=None
        ),
        "failure_mode_accuracy": scores["failure_modes"]["measured"]["accuracy"],
        "failure_mode_accuracy_predicted": scores["failure_modes"]["predicted_known"]["accuracy"],
        "interval_coverage": known["coverage"]["value"],
        "interval_coverage_left_out": left_out["coverage"]["value"],
    }


def aims(found: Mapping[str, Any], scores: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each aim with what was reported before, what was measured, and whether it is met; None where nothing was."""

    def clear(interval: Sequence[float] | None) -> bool:
        return interval is not None and interval[0] > 0

    def met(value: float | None, test: bool) -> bool | None:
        return None if value is None else test

    mae, lineage_mae = found["mae_known_models"], found["mae_held_out_lineages"]
    skill, accuracy = found["skill_vs_constant"], found["verdict_accuracy"]
    modes, foreseen = scores["failure_modes"]["measured"], scores["failure_modes"]["predicted_known"]
    covered, elsewhere = found["interval_coverage"], found["interval_coverage_left_out"]
    return [
        _aim("held-out neurons", "15", "at least 300", found["held_out_neurons"], found["held_out_neurons"] >= 300),
        _aim(
            "independent lineages scored", None, "at least 8", found["lineages_scored"], found["lineages_scored"] >= 8
        ),
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
            "at most 0.08, and at least 30 % better than the best of the constants with an interval clear of zero",
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
            "failure mode right once measured, cases with known answers",
            None,
            "at least 95 % of at least 60",
            modes["accuracy"],
            met(modes["accuracy"], modes["n"] >= 60 and (modes["accuracy"] or 0) >= 0.95),
        ),
        _aim(
            "failure mode right as predicted without rollouts",
            None,
            "at least 95 % of at least 60",
            foreseen["accuracy"],
            met(foreseen["accuracy"], foreseen["n"] >= 60 and (foreseen["accuracy"] or 0) >= 0.95),
        ),
        _aim(
            "coverage of nominal 90 % intervals, known models",
            None,
            "85 to 95 %",
            covered,
            met(covered, covered is not None and 0.85 <= covered <= 0.95),
        ),
        _aim(
            "coverage of nominal 90 % intervals, lineages left out",
            None,
            "85 to 95 %",
            elsewhere,
            met(elsewhere, elsewhere is not None and 0.85 <= elsewhere <= 0.95),
        ),
    ]


def _aim(what: str, reported: str | None, aim: str, measured: float | None, met: bool | None) -> dict[str, Any]:
    return {"what": what, "reported": reported, "aim": aim, "measured": measured, "met": met}
