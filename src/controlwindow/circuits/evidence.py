"""From a probe's rows to estimates: every line with its interval, its controls and its test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from controlwindow.cells import EffectCell, SteeringCell
from controlwindow.circuits.probe import CIRCUIT, INJECTIONS, ROLLED_OUT, Intervention, ProbePlanner, Setting
from controlwindow.statistics import (
    REPLICATES,
    Interval,
    bootstrap_indices,
    bootstrap_interval,
    holm,
    percentile_interval,
    sign_flip_p,
    stable_seed,
    wilson_interval,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Controls:
    """What the same did with random and with shuffled selections.

    Attributes:
        random: Mean over draws of random neurons or directions; None where none could run.
        random_draws: One value for each draw.
        shuffled: Mean over draws of shuffled labels; None where none could run.
        shuffled_draws: One value for each draw.
        complete: Whether every planned control ran, and at least one of each kind was planned.
    """

    random: float | None
    random_draws: tuple[float, ...]
    shuffled: float | None
    shuffled_draws: tuple[float, ...]
    complete: bool


@dataclass(frozen=True)
class EffectLine:
    """What a setting did to F on the evaluate split.

    Attributes:
        setting: The setting.
        n: Pairs.
        shift: Mean shift of the log-odds towards the target, in nats.
        interval: 95 %, bootstrap over pairs.
        linear: Mean shift of PP's linear F, in logits.
        linear_interval: 95 %.
        direct: Mean shift of the linear F where the change reaches the readout alone; None for injections.
        compensated: 1 − linear/direct: how much of the direct effect the rest of the model takes back; None for
            injections, and where there is no direct effect to speak of.
        compensated_interval: 95 %; infinite bounds where replicates had no direct effect.
        importance: Σ of mean I over the changed neurons on this split; None for injections.
        flips: Share of pairs whose log-odds turn from the source's side to the target's.
        flips_n: Pairs that stood on the source's side.
        controls: Shifts of the controls.
        difference_interval: 95 % of shift less mean control; None without controls.
        p: Of the shift's difference from the mean of all controls, by sign flips; None without controls.
        p_holm: Adjusted for all lines of the table.
        control_flips: Mean share of the same pairs that the controls turn; only for chosen settings.
        flips_p: Test of F's flips against the controls', adjusted for the interventions; only for chosen settings.
    """

    setting: Setting
    n: int
    shift: float
    interval: Interval
    linear: float
    linear_interval: Interval
    direct: float | None
    compensated: float | None
    compensated_interval: Interval | None
    importance: float | None
    flips: float
    flips_n: int
    controls: Controls
    difference_interval: Interval | None
    p: float | None
    p_holm: float | None = None
    control_flips: float | None = None
    flips_p: float | None = None


@dataclass(frozen=True)
class RolloutLine:
    """What a chosen setting did to generated text on the evaluate split.

    Attributes:
        setting: The setting.
        n: Eligible prompts.
        flips: Share of coherent rollouts with a target outcome.
        interval: 95 %, Wilson.
        coherent: Share of rollouts that have not collapsed.
        coherent_interval: 95 %, Wilson.
        outcomes: Share of every outcome.
        control_coherent: Share of the controls' rollouts that have not collapsed; None without controls.
        controls: Flips of the controls.
        difference_interval: 95 % of flips less mean control; None without controls.
        p: Of that difference, by sign flips over prompts; None without controls.
        p_holm: Adjusted for the interventions.
    """

    setting: Setting
    n: int
    flips: float
    interval: Interval
    coherent: float
    coherent_interval: Interval
    outcomes: dict[str, float]
    control_coherent: float | None
    controls: Controls
    difference_interval: Interval | None
    p: float | None
    p_holm: float | None = None


class ProbeEvidence:
    """Reads a finished planner.

    Args:
        planner: The planner, all of whose cells are measured.
    """

    def __init__(self, planner: ProbePlanner) -> None:
        self.planner = planner
        self.settings = planner.settings

    def effects(self) -> list[EffectLine]:
        """Every size of every ladder, and the chosen injections."""
        lines = []
        for ladder in self.planner.ladders():
            lines += [self._effect(ladder._replace(size=size)) for size in self.settings.ladder]
        lines += [self._effect(self.planner.chosen(name)) for name in INJECTIONS]
        return _adjusted(lines)

    def rollouts(self) -> list[RolloutLine]:
        """The chosen setting of every intervention; none where too few prompts are eligible."""
        planner = self.planner
        chosen = [planner.chosen(name) for name in ROLLED_OUT]
        if any(planner.rollout_cell("evaluate", setting, CIRCUIT) not in planner.rows for setting in chosen):
            return []
        lines = [self._rollout(setting) for setting in chosen]
        return _adjusted(lines)

    def chosen_effects(self, lines: Sequence[EffectLine]) -> dict[Intervention, EffectLine]:
        """The lines of the chosen settings, with the test of F's flips adjusted for them."""
        by_setting = {line.setting: line for line in lines}
        found = {name: by_setting[self.planner.chosen(name)] for name in ROLLED_OUT}
        tests = [self._flip_test(line.setting) for line in found.values()]
        adjusted = holm([1.0 if test is None else test[1] for test in tests])
        return {
            name: line if test is None else replace(line, control_flips=test[0], flips_p=float(value))
            for (name, line), test, value in zip(found.items(), tests, adjusted, strict=True)
        }

    def _seed(self, *parts: object) -> int:
        return stable_seed("probe", self.settings.behavior, self.settings.seed, *parts)

    # Effects on F.

    def _cell(self, setting: Setting, name: str) -> EffectCell | None:
        """The cell that holds a setting of one set or direction; None where the set is too small for it."""
        if setting.intervention in INJECTIONS:
            return self.planner.injection_effect(setting, name)
        if not self.planner.reaches(name, setting.size):
            return None
        return self.planner.ladder_cell("evaluate", name, setting._replace(size=0))

    def _key(self, setting: Setting) -> float:
        return setting.strength if setting.intervention in INJECTIONS else setting.size

    def _control_shifts(self, setting: Setting) -> dict[str, Floats]:
        cells = {name: self._cell(setting, name) for name in self.planner.controls()}
        key = self._key(setting)
        return {name: self.planner.shift(cell, key) for name, cell in cells.items() if cell is not None}

    def _effect(self, setting: Setting) -> EffectLine:
        cell, key = self._cell(setting, CIRCUIT), self._key(setting)
        assert cell is not None
        readings = self.planner.readings(cell, key)
        shift = self.planner.shift(cell, key)
        linear = np.array([after["linear"] - before["linear"] for before, after in readings])
        source_side = np.array([before["log_odds"] <= 0 for before, _ in readings])
        turned = np.array([after["log_odds"] > 0 for _, after in readings]) & source_side
        controls = self._control_shifts(setting)
        direct = compensated = bounds = importance = None
        if setting.intervention not in INJECTIONS:
            towards = np.array([after["direct_linear"] - before["linear"] for before, after in readings])
            direct = float(towards.mean())
            compensated, bounds = _compensated(linear, towards, self._seed("compensated", setting))
            mean = self.planner.importance("evaluate")
            importance = float(mean[self.planner.top(setting.size)].sum())
        interval, p = self._against(shift, list(controls.values()), setting)
        return EffectLine(
            setting=setting,
            n=len(shift),
            shift=float(shift.mean()),
            interval=bootstrap_interval(shift, self._seed("shift", setting)),
            linear=float(linear.mean()),
            linear_interval=bootstrap_interval(linear, self._seed("linear", setting)),
            direct=direct,
            compensated=compensated,
            compensated_interval=bounds,
            importance=importance,
            flips=float(turned.sum() / max(1, source_side.sum())),
            flips_n=int(source_side.sum()),
            controls=self._controls({name: float(values.mean()) for name, values in controls.items()}),
            difference_interval=interval,
            p=p,
        )

    def _flip_test(self, setting: Setting) -> tuple[float, float] | None:
        """The controls' share of turned pairs, and p of the difference; None without a control."""
        turned, source_side = [], 0
        for name in self.planner.sets():
            cell = self._cell(setting, name)
            if cell is not None:
                readings = self.planner.readings(cell, self._key(setting))
                source_side = sum(before["log_odds"] <= 0 for before, _ in readings)
                turned.append(np.array([(b["log_odds"] <= 0) & (a["log_odds"] > 0) for b, a in readings], float))
        p = self._against(turned[0], turned[1:], setting)[1]
        return None if p is None else (float(np.mean(turned[1:], axis=0).sum() / max(1, source_side)), p)

    def _against(
        self, values: Floats, controls: Sequence[Floats], setting: Setting
    ) -> tuple[Interval | None, float | None]:
        """Interval and p of the mean difference from the controls' mean, prompt by prompt."""
        if not controls:
            return None, None
        difference = values - np.mean(controls, axis=0)
        seed = self._seed("difference", setting)
        return bootstrap_interval(difference, seed), sign_flip_p(difference, seed)

    def _controls(self, found: dict[str, float]) -> Controls:
        random = tuple(value for name, value in found.items() if name.startswith("random:"))
        shuffled = tuple(value for name, value in found.items() if name.startswith("shuffled:"))
        planned = self.planner.controls()
        return Controls(
            random=float(np.mean(random)) if random else None,
            random_draws=random,
            shuffled=float(np.mean(shuffled)) if shuffled else None,
            shuffled_draws=shuffled,
            complete=len(found) == len(planned) and bool(random) and bool(shuffled),
        )

    # Effects on generated text.

    def _rollout(self, setting: Setting) -> RolloutLine:
        planner = self.planner
        cell = planner.rollout_cell("evaluate", setting, CIRCUIT)
        flips = planner.flips(cell)
        names = [name for name in planner.controls() if planner.reaches(name, setting.size)]
        cells = {name: planner.rollout_cell("evaluate", setting, name) for name in names}
        others = {name: planner.flips(other) for name, other in cells.items()}
        coherent = self._coherent(cell)
        interval, p = self._against(flips.astype(float), [o.astype(float) for o in others.values()], setting)
        outcomes = [row["outcomes"][str(cell.horizon)] for row in planner.rows[cell]]
        return RolloutLine(
            setting=setting,
            n=len(flips),
            flips=float(flips.mean()),
            interval=wilson_interval(int(flips.sum()), len(flips)),
            coherent=float(coherent.mean()),
            coherent_interval=wilson_interval(int(coherent.sum()), len(coherent)),
            outcomes={name: outcomes.count(name) / len(outcomes) for name in sorted(set(outcomes))},
            control_coherent=float(np.mean([self._coherent(o).mean() for o in cells.values()])) if cells else None,
            controls=self._controls({name: float(values.mean()) for name, values in others.items()}),
            difference_interval=interval,
            p=p,
        )

    def _coherent(self, cell: SteeringCell) -> NDArray[np.bool_]:
        last = str(cell.horizon)
        return np.array([row["outcomes"][last] != "collapsed" for row in self.planner.rows[cell]], dtype=bool)


Line = TypeVar("Line", EffectLine, RolloutLine)


def _adjusted(lines: list[Line]) -> list[Line]:
    """Lines with p values adjusted for all that have one."""
    tested = [(place, line.p) for place, line in enumerate(lines) if line.p is not None]
    found = list(lines)
    for (place, _), value in zip(tested, holm([p for _, p in tested]), strict=True):
        found[place] = replace(lines[place], p_holm=float(value))
    return found


def _compensated(total: Floats, direct: Floats, seed: int) -> tuple[float | None, Interval | None]:
    """1 − total/direct as a ratio of means over pairs, with its interval."""
    if not np.any(direct) or direct.mean() == 0:
        return None, None
    drawn = bootstrap_indices(len(total), REPLICATES, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = 1 - total[drawn].mean(1) / direct[drawn].mean(1)
    replicates = np.where(np.isnan(replicates), np.inf, replicates)
    return float(1 - total.mean() / direct.mean()), percentile_interval(replicates)
