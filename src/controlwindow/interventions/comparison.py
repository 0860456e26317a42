"""What each method costs at one and the same rate of the behavior, and by how much methods differ there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import polars as pl

from controlwindow.behaviors.outcomes import COLLAPSED
from controlwindow.cells import Rows
from controlwindow.circuits.estimates import estimate, paired_difference
from controlwindow.interventions.matching import Match
from controlwindow.interventions.methods import Arm
from controlwindow.statistics import holm, stable_seed

METRICS = {
    "behavior_rate": "coherent flips",
    "collapsed": "collapsed rollouts",
    "excess_nll": "surprise of the rollouts, nats/token",
    "capability_excess_nll": "excess surprise at generic answers, nats/token",
    "capability_agreement": "generic tokens still chosen",
    "benign_changed": "benign prompts with another outcome",
    "benign_collapsed": "benign rollouts collapsed",
    "benign_verbatim": "benign answers unchanged",
    "benign_excess_nll": "surprise of benign rollouts, nats/token",
}
"""Everything that is measured at a level, and what it is called."""


class Estimate(NamedTuple):
    """A mean over prompts with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class LevelResult:
    """One method at one level of the behavior.

    Attributes:
        arm: What tables call the method with its neuron.
        method: The method.
        kind: "neuron", "residual" or "control".
        neuron: The neuron; None for the residual stream.
        level: The rate that was to be matched.
        matched: Whether some strength matches it on the select split. Where not, nothing is measured: a level is never
            extrapolated to.
        sign: Which way it pushes; None, like strength and raw, in a report that withholds them.
        layer: The layer of the direction.
        multiple: ONE's k, for an anchor.
        strength: In units (budgets, ‖r_L‖, or a share).
        raw: The same as the operation has it.
        select_rate: The rate there on the select split.
        select_n: Eligible prompts of the select split.
        highest: The highest rate of any strength on the select split.
        level_covered: Whether the interval of the rate on unseen prompts covers the level; None where not matched.
        metrics: Estimates by name, on the evaluate split.
        outcomes: Share of every outcome by horizon, on the evaluate split.
        values: What the estimates are means of, prompt by prompt.
    """

    arm: str
    method: str
    kind: str
    neuron: str | None
    level: float
    matched: bool
    sign: int | None
    layer: int | None
    multiple: int | None
    strength: float | None
    raw: float | None
    select_rate: float
    select_n: int
    highest: float
    level_covered: bool | None = None
    metrics: dict[str, Estimate] = field(default_factory=dict)
    outcomes: dict[str, dict[str, float]] = field(default_factory=dict)
    values: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        found = asdict(self)
        found["metrics"] = {name: estimate._asdict() for name, estimate in self.metrics.items()}
        found["values"] = {name: list(values) for name, values in self.values.items()}
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> LevelResult:
        """Read `to_json`."""
        return cls(
            **{
                **found,
                "metrics": {name: Estimate(**estimate) for name, estimate in found["metrics"].items()},
                "values": {name: tuple(values) for name, values in found["values"].items()},
            }
        )


@dataclass(frozen=True)
class Difference:
    """A neuron method less a residual baseline, on the same prompts, at a level that both match.

    Attributes:
        level: The level.
        arm: The neuron method.
        baseline: The residual baseline.
        metric: What differs.
        value: Mean difference.
        low: Lower end of its 95 % interval, bootstrapped over prompts in pairs.
        high: Upper end.
        p: Two-sided p of no difference, by sign flips over prompts.
        p_holm: The same, adjusted for the number of differences in this metric (Holm).
        n: Prompts.
    """

    level: float
    arm: str
    baseline: str
    metric: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """Methods of steering compared at matched rates of one behavior.

    Attributes:
        model: The model's name.
        behavior: The behavior's name.
        levels: Rates that were to be matched.
        n_evaluate: Eligible prompts that are reported on.
        n_select: Eligible prompts that strengths were chosen on.
        results: Every method at every level.
        differences: Neuron methods less residual baselines, where both match.
        curves: For each method what the chosen setting did on the select split: strength, rate, collapsed share.
        notes: What a reader should know.
        seed: Seed of everything random.
    """

    model: str
    behavior: str
    levels: tuple[float, ...]
    n_evaluate: int
    n_select: int
    results: tuple[LevelResult, ...]
    differences: tuple[Difference, ...]
    curves: dict[str, list[tuple[float, float, float]]]
    notes: tuple[str, ...]
    seed: int | None

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the methods in order."""
        return tuple(dict.fromkeys(result.arm for result in self.results))

    def to_json(self) -> dict[str, Any]:
        """One document without what estimates are means of; no times and no paths."""
        found = asdict(self)
        found["results"] = [
            {key: value for key, value in result.to_json().items() if key != "values"} for result in self.results
        ]
        return found

    def table(self) -> pl.DataFrame:
        """One row for each method and level; estimates with their intervals as columns NAME, NAME_low, NAME_high."""
        rows = []
        for result in self.results:
            row: dict[str, Any] = {
                "method": result.method,
                "neuron": result.neuron,
                "kind": result.kind,
                "level": result.level,
                "matched": result.matched,
                "layer": result.layer,
                "sign": result.sign,
                "strength": result.strength,
                "select_rate": result.select_rate,
            }
            for metric in METRICS:
                estimate = result.metrics.get(metric)
                for name, part in (("", 0), ("_low", 1), ("_high", 2)):
                    row[f"{metric}{name}"] = None if estimate is None else estimate[part]
            rows.append(row)
        return pl.DataFrame(rows, infer_schema_length=None)


def level_result(arm: Arm, match: Match) -> LevelResult:
    """What a match says before anything is measured on unseen prompts."""
    setting = match.setting
    return LevelResult(
        arm=arm.name,
        method=arm.method,
        kind=arm.kind,
        neuron=arm.neuron,
        level=match.level,
        matched=match.matched,
        sign=setting.sign,
        layer=setting.layer,
        multiple=setting.multiple if arm.method == "anchor" else None,
        strength=round(match.strength, 6),
        raw=arm.raw(setting, match.strength),
        select_rate=match.rate,
        select_n=match.n,
        highest=match.highest,
    )


def rollout_values(rows: Rows, horizon: int, targets: frozenset[str]) -> dict[str, tuple[float, ...]]:
    """Values of the metrics on steered prompts, in the order of the rows."""
    last = str(horizon)
    return {
        "behavior_rate": tuple(float(row["outcomes"][last] in targets) for row in rows),
        "collapsed": tuple(float(row["outcomes"][last] == COLLAPSED) for row in rows),
        "excess_nll": tuple(float(row["excess"]) for row in rows),
    }


def benign_values(rows: Rows, undosed: Rows, horizon: int) -> dict[str, tuple[float, ...]]:
    """Values of the metrics on benign prompts, against the same prompts undosed.

    Args:
        rows: Rollouts of the steered model.
        undosed: Those of the model as it is, in the same order.
        horizon: The horizon.
    """
    last = str(horizon)
    pairs = list(zip(rows, undosed, strict=True))
    assert all(row["prompt"] == other["prompt"] for row, other in pairs)
    return {
        "benign_changed": tuple(float(row["outcomes"][last] != other["outcomes"][last]) for row, other in pairs),
        "benign_collapsed": tuple(float(row["outcomes"][last] == COLLAPSED) for row, _ in pairs),
        "benign_verbatim": tuple(float(row["verbatim"]) for row, _ in pairs),
        "benign_excess_nll": tuple(float(row["excess"]) for row, _ in pairs),
    }


def capability_values(rows: Rows) -> dict[str, tuple[float, ...]]:
    """Values of the metrics on generic answers, one for each answer."""
    return {
        "capability_excess_nll": tuple(float(row["excess"]) for row in rows),
        "capability_agreement": tuple(float(row["agreement"]) for row in rows),
    }


def outcome_shares(rows: Rows) -> dict[str, dict[str, float]]:
    """Share of every outcome that occurs, by horizon."""
    found: dict[str, dict[str, float]] = {}
    for horizon in rows[0]["outcomes"]:
        outcomes = [row["outcomes"][horizon] for row in rows]
        found[horizon] = {outcome: outcomes.count(outcome) / len(rows) for outcome in sorted(set(outcomes))}
    return found


def estimated(metric: str, values: Sequence[float], seed: int) -> Estimate:
    """A mean with its interval: Wilson's for shares of prompts, else bootstrapped over prompts."""
    found = estimate(values, stable_seed("estimate", metric, seed))
    return Estimate(found.value, *found.interval, found.n)


def differences(results: Sequence[LevelResult], seed: int) -> tuple[Difference, ...]:
    """Every neuron method less every residual baseline, metric by metric, at levels that both match."""
    found: list[Difference] = []
    for metric in METRICS:
        pairs = [
            (result, baseline)
            for result in results
            for baseline in results
            if (result.kind, baseline.kind) == ("neuron", "residual")
            and result.level == baseline.level
            and metric in result.values
            and metric in baseline.values
        ]
        rows = [_difference(metric, *pair, seed) for pair in pairs]
        adjusted = holm([row.p for row in rows])
        found += [Difference(**{**asdict(row), "p_holm": float(p)}) for row, p in zip(rows, adjusted, strict=True)]
    return tuple(sorted(found, key=lambda row: (row.level, row.arm, row.baseline, list(METRICS).index(row.metric))))


def _difference(metric: str, result: LevelResult, baseline: LevelResult, seed: int) -> Difference:
    draw = stable_seed("difference", metric, result.level, result.arm, baseline.arm, seed)
    found = paired_difference(result.values[metric], baseline.values[metric], draw)
    low, high = found.interval
    return Difference(result.level, result.arm, baseline.arm, metric, found.value, low, high, found.p, found.p, found.n)
