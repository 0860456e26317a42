"""Simple rules that verdicts are held against: none of them uses a predicted ceiling of the neuron."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from controlwindow.jobs.law.records import Record

_SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)

FLIP_RULE = "flip below the model's median ceiling"
"""Open iff the teacher-forced flip lies below the median ceiling of the model's calibration pairs."""

Rule = Callable[[Record], bool]


def majority(pairs: Sequence[Record], keys: tuple[str, ...]) -> Rule:
    """What most of these very pairs show, group by group: an oracle, as no one knows it before the measurement.

    Args:
        pairs: The pairs that are scored.
        keys: What makes a group; nothing makes all pairs one. Ties are open.
    """
    counts: dict[tuple[object, ...], int] = {}
    for r in pairs:
        group = tuple(r[key] for key in keys)
        counts[group] = counts.get(group, 0) + (1 if r["open"] else -1)
    return lambda r: counts.get(tuple(r[key] for key in keys), 0) >= 0


def simple_rules(calibration: Sequence[Record]) -> dict[str, Rule]:
    """Rules that use no predicted ceiling: all one verdict, the layer, a first-order score, priors of the trigger.

    Args:
        calibration: Calibration records, whose medians the priors are.
    """
    rules: dict[str, Rule] = {"all closed": lambda r: False, "all open": lambda r: True}
    for name in ("early", "bulk", "late"):
        rules[f"open in {name} layers"] = _in_region(name)
    screens = sorted({screen for r in calibration for screen in r.get("first_order", {})})
    for screen, share in itertools.product(screens, _SHARES):
        rules[f"{screen} among the top {1 - share:.0%}"] = _at_top(screen, share)
    ceilings = _medians(calibration, "ceiling", "model")
    triggers = _medians([r for r in calibration if r["open"]], "trigger", "behavior")
    rules[FLIP_RULE] = lambda r: r["flip"] is not None and r["flip"] < ceilings.get(r["model"], 1.0)
    rules["median trigger below the model's median ceiling"] = lambda r: (
        triggers.get(r["behavior"], 1.0) < ceilings.get(r["model"], 1.0)
    )
    return rules


def _in_region(name: str) -> Rule:
    return lambda r: bool(r["region"] == name)


def _at_top(screen: str, share: float) -> Rule:
    def rule(r: Record) -> bool:
        found = r.get("first_order", {}).get(screen)
        return found is not None and found[1] >= share and found[0] * r["branch"] > 0

    return rule


def _medians(records: Sequence[Record], value: str, key: str) -> dict[str, float]:
    names = {r[key] for r in records}
    values = {name: [r[value] for r in records if r[key] == name and r[value] is not None] for name in names}
    return {name: float(np.median(found)) for name, found in values.items() if found}
