"""What a sweep says: rates at every strength, tests against controls, effects, layers. Plain values, no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlwindow.cells import Cell, Rows
from controlwindow.circuits.controls import Arm
from controlwindow.circuits.estimates import Estimate, estimate, paired_difference
from controlwindow.circuits.selection import by_layer
from controlwindow.circuits.sweep import ABLATION, CircuitSweep
from controlwindow.statistics import holm

Floats = NDArray[np.float64]

COLLAPSED = "collapsed"

MEASURES = ("flip", "source", "coherent")
"""Shares of the eligible prompts: coherent flips, rollouts still in the source state, coherent rollouts."""


def ladder(sweep: CircuitSweep, undosed: Rows, seed: int) -> list[dict[str, Any]]:
    """One entry for the undosed model, and one for each kind of arm and strength; seeds of a kind are one entry.

    Args:
        sweep: The finished sweep.
        undosed: Undosed rows of the prompts that are reported.
        seed: Seed of the bootstrap.
    """
    entries = [{"arm": "undosed", "factor": 1.0, "seeds": 1, **_rates(sweep, [undosed], seed), **_nothing_lost()}]
    for kind, arms in _kinds(sweep.arms):
        for factor in sweep.task.factors:
            entry = {"arm": kind, "factor": factor, "seeds": len(arms)}
            entry |= _rates(sweep, [sweep.rows[sweep.rollout(arm, factor)] for arm in arms], seed)
            entry["retention"] = _retention([sweep.rows[sweep.retention(arm, factor)] for arm in arms], seed)
            ordinary = [sweep.rows.get(sweep.ordinary(arm, factor)) for arm in arms]
            entry["quality"] = _quality([rows for rows in ordinary if rows is not None], seed)
            entry["shift"] = _shift(sweep, arms, factor, seed)
            entries.append(entry)
    return entries


def tests(sweep: CircuitSweep, seed: int) -> list[dict[str, Any]]:
    """The circuit's flips against those of each control on the same prompts, corrected over the ladder (Holm)."""
    found = []
    circuit, *others = _kinds(sweep.arms)
    for kind, arms in others:
        family = []
        for factor in sweep.task.factors:
            mine = sweep.flips(sweep.rollout(circuit[1][0], factor))
            theirs = [sweep.flips(sweep.rollout(arm, factor)) for arm in arms]
            family.append({"factor": factor, "against": kind, **paired_difference(mine, theirs, seed).to_json()})
        found += _corrected(family)
    return found


def effects(sweep: CircuitSweep, seed: int) -> list[dict[str, Any]]:
    """Shift of the log-odds of target against source answer at the strength looked into, attention free or held."""
    if not sweep.task.answers:
        return []
    found = []
    for kind, arms in _kinds(sweep.arms):
        free = np.array([_column(sweep.rows[sweep.answer(arm, sweep.factor)], "shift") for arm in arms])
        entry: dict[str, Any] = {"arm": kind, "seeds": len(arms), "shift": estimate(free, seed).to_json()}
        entry["held"] = entry["direct_share"] = None
        if arms[0].neurons:
            cells = [sweep.answer(arm, sweep.factor, hold_attention=True) for arm in arms]
            held = np.array([_column(sweep.rows[cell], "shift") for cell in cells])
            entry["held"] = estimate(held, seed).to_json()
            low, high = entry["shift"]["interval"]
            # Beside an effect that may be none, or of either sign, a share says nothing.
            entry["direct_share"] = None if low <= 0 <= high else float(held.mean()) / float(free.mean())
        found.append(entry)
    return found


def layers(sweep: CircuitSweep, seed: int) -> list[dict[str, Any]]:
    """Each layer's share of the circuit, and what its part does alone and what the rest does without it.

    Each part alone is tested against random neurons of its layer, corrected over the layers.
    """
    parts = by_layer(sweep.circuit)
    found, family = [], []
    for layer, names in parts.items():
        entry: dict[str, Any] = {"layer": layer, "neurons": len(names), "share": len(names) / len(sweep.circuit)}
        for part in ("alone", "all_but", "random"):
            arms = [arm for arm in sweep.layers if arm.layer == layer and arm.part == part]
            rows = [sweep.rows[sweep.rollout(arm, sweep.factor)] for arm in arms]
            entry[part] = _rates(sweep, rows, seed) if rows else None
        entry["test"] = None
        alone = [arm for arm in sweep.layers if arm.layer == layer and arm.part == "alone"]
        drawn = [arm for arm in sweep.layers if arm.layer == layer and arm.part == "random"]
        if drawn:
            difference = paired_difference(
                sweep.flips(sweep.rollout(alone[0], sweep.factor)),
                [sweep.flips(sweep.rollout(arm, sweep.factor)) for arm in drawn],
                seed,
            )
            entry["test"] = difference.to_json()
            family.append(entry["test"])
        found.append(entry)
    for test, corrected in zip(family, _corrected(family), strict=True):
        test |= corrected
    return found


def choice(sweep: CircuitSweep) -> dict[str, Any]:
    """How the strength looked into was chosen."""
    task = sweep.task
    chosen: dict[str, Any] = {"factor": sweep.factor, "from": "given", "prompts": 0, "flips": []}
    if task.factor is None and task.select:
        flips = sweep.selected_flips
        source = "select" if any(flips) else "ablation, since no strength flips a select prompt"
        if not any(flips) and sweep.factor != ABLATION:
            source = "the weakest, since no strength flips a select prompt"
        chosen |= {"from": source, "prompts": len(task.select), "flips": flips}
    elif task.factor is None:
        chosen["from"] = "ablation, since there are no select prompts"
    return chosen


def changes(sweep: CircuitSweep, undosed: Rows) -> dict[str, list[list[float]]]:
    """At the strength looked into, whether each prompt has a coherent outcome other than undosed, by kind and seed.

    It needs no source state, so it compares models that do not show the same behavior.
    """
    last = str(sweep.task.horizon)
    before = [row["outcomes"][last] for row in undosed]

    def moved(rows: Rows) -> list[float]:
        after = [row["outcomes"][last] for row in rows]
        return [float(new not in (old, COLLAPSED)) for new, old in zip(after, before, strict=True)]

    return {
        kind: [moved(sweep.rows[sweep.rollout(arm, sweep.factor)]) for arm in arms] for kind, arms in _kinds(sweep.arms)
    }


def changed(sweep: CircuitSweep, undosed: Rows, seed: int) -> list[dict[str, Any]]:
    """The share of prompts that `changes` counts, by kind."""
    return [
        {"arm": kind, "seeds": len(table), "changed": estimate(table, seed).to_json()}
        for kind, table in changes(sweep, undosed).items()
    ]


def _kinds(arms: Iterable[Arm]) -> list[tuple[str, list[Arm]]]:
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.kind, []).append(arm)
    return list(found.items())


def _rates(sweep: CircuitSweep, rows: Sequence[Rows], seed: int) -> dict[str, Any]:
    task, last = sweep.task, str(sweep.task.horizon)
    holds: dict[str, Callable[[str], bool]] = {
        "flip": lambda outcome: outcome in task.targets,
        "source": lambda outcome: outcome == task.source,
        "coherent": lambda outcome: outcome != COLLAPSED,
    }
    found: dict[str, Any] = {"n": len(rows[0])}
    for name, test in holds.items():
        table = [[float(test(row["outcomes"][last])) for row in one] for one in rows]
        found[name] = estimate(table, seed).to_json()
    every = [row["outcomes"] for one in rows for row in one]
    found["outcomes"] = {horizon: _shares([outcomes[horizon] for outcomes in every]) for horizon in every[0]}
    return found


def _shares(outcomes: Sequence[str]) -> dict[str, float]:
    return {name: outcomes.count(name) / len(outcomes) for name in sorted(set(outcomes))}


def _retention(rows: Sequence[Rows], seed: int) -> dict[str, Any]:
    """Perplexity of undosed generic answers as a ratio, and how often the likeliest token stays."""
    weights = _column(rows[0], "tokens")
    excess = estimate(_table(rows, "excess"), seed, weights)
    return {
        "texts": len(rows[0]),
        "excess": excess.to_json(),
        "perplexity_ratio": _exponential(excess).to_json(),
        "agreement": estimate(_table(rows, "agreement"), seed, weights).to_json(),
        "first_agrees": estimate(_table(rows, "first_agrees"), seed).to_json(),
        "divergence": estimate(_table(rows, "divergence"), seed, weights).to_json(),
    }


def _quality(rows: Sequence[Rows], seed: int) -> dict[str, Any] | None:
    """Generic prompts answered anew: against the undosed answers, under the undosed model."""
    if not rows:
        return None
    return {
        "prompts": len(rows[0]),
        "same": estimate(_table(rows, "same"), seed).to_json(),
        "common": estimate(_table(rows, "common"), seed).to_json(),
        "excess": estimate(_table(rows, "excess"), seed).to_json(),
        "coherent": estimate(1 - _table(rows, "collapsed"), seed).to_json(),
    }


def _nothing_lost() -> dict[str, Any]:
    return {"retention": None, "quality": None, "shift": None}


def _shift(sweep: CircuitSweep, arms: Sequence[Arm], factor: float, seed: int) -> dict[str, Any] | None:
    cells: list[Cell] = [sweep.answer(arm, factor) for arm in arms]
    if any(cell not in sweep.rows for cell in cells):
        return None
    return estimate(np.array([_column(sweep.rows[cell], "shift") for cell in cells]), seed).to_json()


def _corrected(family: list[dict[str, Any]]) -> list[dict[str, Any]]:
    adjusted = holm([test["p"] for test in family])
    return [{**test, "p_holm": float(p), "candidates": len(family)} for test, p in zip(family, adjusted, strict=True)]


def _exponential(found: Estimate) -> Estimate:
    low, high = (math.exp(min(bound, 700)) for bound in found.interval)
    interval = type(found.interval)(low, high)
    return Estimate(math.exp(min(found.value, 700)), interval, found.n, tuple(math.exp(v) for v in found.by_seed))


def _column(rows: Rows, key: str) -> Floats:
    return np.array([float(row[key]) for row in rows])


def _table(rows: Sequence[Rows], key: str) -> Floats:
    return np.stack([_column(one, key) for one in rows])
