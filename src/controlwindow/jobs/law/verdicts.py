"""Scores of predicted verdicts and failure modes.

Two verdicts are scored apart (method section 3): *fully committed*, the predicted ceiling against the predicted
trigger, and *ceiling committed*, the predicted ceiling against the measured trigger. A trigger is coherent by
definition, so a measured one lies below the measured ceiling and would give the verdict away; the ceiling-committed
verdict therefore uses the target's own threshold (`measuring.target_threshold`), coherent or not.

Two tests stand beside every rival: McNemar's, which takes pairs for independent and flatters, and the difference in
accuracy with Student's interval over lineages, which does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from controlwindow.jobs.law.cases import column_of
from controlwindow.jobs.law.lineages import pair_mean
from controlwindow.jobs.law.records import Record, held_out
from controlwindow.jobs.law.rules import FLIP_RULE, Rule, majority, simple_rules
from controlwindow.statistics import exact_interval

STRATA: dict[str, Callable[[Record], bool]] = {
    "with an effect": lambda r: r["target_trigger"] is not None,
    "reached something": lambda r: r["target_trigger"] is not None or r["ceiling"] is not None,
    "all": lambda r: True,
}
"""Held-out pairs that verdicts are scored on.

With an effect: at some dose half of the rollouts say the target, coherent or not, so that it is a question whether the
ceiling comes first. Reached something: all but the failure mode `no_effect`; mostly random neurons that collapse, for
which "closed" is a trivial majority.
"""


def verdict_scores(records: Sequence[Record], setting: str = "known") -> dict[str, Any]:
    """Both verdicts on every stratum, and `no_effect` apart.

    Args:
        records: All records of a validation; rules are chosen on those for calibration.
        setting: "known" or "left_out".
    """
    pairs = [r for r in held_out(records, setting) if r[setting]["open"] is not None]
    # The stratum with an effect is asked what comes first, given the effect; others also whether there is one.
    forecast = {stratum: "open_if_effect" if stratum == "with an effect" else "open" for stratum in STRATA}
    calibration = [r for r in records if r["role"] == "calibration"]
    found: dict[str, Any] = {}
    for stratum, belongs in STRATA.items():
        chosen = [r for r in pairs if belongs(r)]
        said = [bool(r[setting][forecast[stratum]]) for r in chosen]
        committed = [ceiling_committed(r, setting) for r in chosen]
        found[stratum] = {
            "fully_committed": _score(chosen, said) | _against(chosen, said, calibration, belongs),
            "ceiling_committed": _score(chosen, committed) | _against(chosen, committed, calibration, belongs),
        }
    nothing = [r for r in pairs if r["target_trigger"] is None and r["ceiling"] is None]
    found["no_effect"] = {"n": len(nothing), "predicted_open": sum(bool(r[setting]["open"]) for r in nothing)}
    return found


def ceiling_committed(record: Record, setting: str) -> bool:
    """Open iff the target's measured threshold lies below the predicted ceiling."""
    trigger, ceiling = record["target_trigger"], record[setting]["ceiling"][0]
    return trigger is not None and (ceiling is None or trigger < ceiling)


def failure_scores(records: Sequence[Record]) -> dict[str, Any]:
    """What the cards know against what was measured, and against what was predicted without rollouts.

    Planted controllers must be open; known failures must be closed with their mode; decoys, and failures whose mode is
    not known, must be closed. Measured modes count for all cases, predicted ones for those held out.
    """
    cases = [r for r in records if r.get("answer") is not None]
    found = {"measured": _modes([(r["answer"], _measured_mode(r)) for r in cases])}
    for setting in ("known", "left_out"):
        said = [r for r in held_out(cases, setting) if r[setting]["open"] is not None]
        found[f"predicted_{setting}"] = _modes(
            [(r["answer"], "open" if r[setting]["open"] else r[setting]["failure_mode"]) for r in said]
        )
    # Whether the forecast names the mode that is then measured, where no card knows the answer.
    natural = [r for r in held_out(records) if r["failure_mode"] is not None and r["known"]["open"] is False]
    found["predicted_against_measured"] = _modes([(r["failure_mode"], r["known"]["failure_mode"]) for r in natural])
    return found


def paired_test(mine: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Exact two-sided McNemar test on which of two rules is right where one is (binomial on the discordant pairs).

    Example:
        >>> paired_test([True] * 8 + [False], [False] * 8 + [True])
        0.0390625
    """
    better = sum(a and not b for a, b in zip(mine, theirs, strict=True))
    worse = sum(b and not a for a, b in zip(mine, theirs, strict=True))
    return float(stats.binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def _score(pairs: Sequence[Record], said: Sequence[bool]) -> dict[str, Any]:
    truth = [bool(r["open"]) for r in pairs]
    right = sum(a == b for a, b in zip(truth, said, strict=True))
    confusion = {
        "open": {"open": 0, "closed": 0},
        "closed": {"open": 0, "closed": 0},
    }
    for was, is_said in zip(truth, said, strict=True):
        confusion["open" if was else "closed"]["open" if is_said else "closed"] += 1
    return {
        "n": len(pairs),
        "neurons": len({(r["model"], column_of(r)) for r in pairs}),
        "accuracy": right / len(pairs) if pairs else None,
        "accuracy_interval": list(exact_interval(right, len(pairs))),
        "accuracy_over_lineages": pair_mean(pairs, [float(a == b) for a, b in zip(truth, said, strict=True)]).to_json(),
        "confusion": confusion,
        "by_model": {
            model: {
                "n": len(places),
                "right": sum(truth[i] == said[i] for i in places),
            }
            for model in sorted({r["model"] for r in pairs})
            if (places := [i for i, r in enumerate(pairs) if r["model"] == model])
        },
    }


def _against(
    pairs: Sequence[Record],
    said: Sequence[bool],
    calibration: Sequence[Record],
    belongs: Callable[[Record], bool],
) -> dict[str, Any]:
    """Every rival rule on the very pairs that are scored, each with both tests."""
    if not pairs:
        return {"majority": None, "rule": None, "rivals": {}}
    right = [bool(r["open"]) == verdict for r, verdict in zip(pairs, said, strict=True)]

    def against(rule: Rule) -> dict[str, Any]:
        theirs = [rule(r) == bool(r["open"]) for r in pairs]
        return {
            "accuracy": float(np.mean(theirs)),
            "p_value": paired_test(right, theirs),
            "difference": pair_mean(pairs, [float(a) - float(b) for a, b in zip(right, theirs, strict=True)]).to_json(),
        }

    fitted = [r for r in calibration if belongs(r)]
    rules = simple_rules(calibration)
    best = max(rules, key=lambda name: (sum(rules[name](r) == bool(r["open"]) for r in fitted), name == "all closed"))
    opened = sum(bool(r["open"]) for r in pairs) * 2 >= len(pairs)
    return {
        "majority": {"says": "open" if opened else "closed", **against(majority(pairs, ()))},
        "rule": {
            "name": best,
            "accuracy_on_calibration": sum(rules[best](r) == bool(r["open"]) for r in fitted) / len(fitted)
            if fitted
            else None,
            "n_calibration": len(fitted),
            **against(rules[best]),
        },
        "rivals": {
            "majority of the source": against(majority(pairs, ("source",))),
            "majority of model and behavior": against(majority(pairs, ("model", "behavior"))),
            FLIP_RULE: against(rules[FLIP_RULE]),
        },
    }


def _measured_mode(record: Record) -> str:
    return "open" if record["open"] else record["failure_mode"] or "closed"


def _modes(cases: Sequence[tuple[str, str]]) -> dict[str, Any]:
    right = sum(said == answer or (answer == "closed" and said != "open") for answer, said in cases)
    confusion: dict[str, dict[str, int]] = {}
    for answer, said in cases:
        row = confusion.setdefault(answer, {})
        row[said] = row.get(said, 0) + 1
    return {
        "n": len(cases),
        "accuracy": right / len(cases) if cases else None,
        "accuracy_interval": list(exact_interval(right, len(cases))),
        "confusion": {answer: dict(sorted(row.items())) for answer, row in sorted(confusion.items())},
    }
