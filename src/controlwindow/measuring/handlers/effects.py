"""What changing several neurons together, or injecting a direction, does to F of a behavior's pairs."""

from __future__ import annotations

from collections.abc import Sequence

from controlwindow.behaviors.pairs import PromptPair, prompt_pairs
from controlwindow.cells import DirectionEffectCell, DirectionsCell, EffectCell, ImportanceCell, Rows, SetEffectCell
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.effects import Reading, SetChange, injection_effects, set_effects
from controlwindow.instruments.objectives import Objective
from controlwindow.measuring.bench import Bench
from controlwindow.measuring.directions import measure_directions
from controlwindow.measuring.handlers.base import OneByOne, handles
from controlwindow.models import Neuron

_ROWS = 128


@handles(DirectionsCell)
class DirectionsHandler(OneByOne[DirectionsCell]):
    """d_F and the mean differences that injections are made of."""

    def rows_in(self, cell: DirectionsCell) -> int:
        """One row a prompt, where first tokens decide."""
        return len(self.bench.behaviors[cell.behavior].prompts(cell.split))

    def measure(self, cell: DirectionsCell) -> Rows:
        """Both directions."""
        return [measure_directions(self.bench.answers, self.bench.behaviors[cell.behavior], cell.split)]


@handles(SetEffectCell)
class SetEffectHandler(OneByOne[SetEffectCell]):
    """A set scaled or patched, at several sizes."""

    def rows_in(self, cell: SetEffectCell) -> int:
        """A row for each pair and size, the unchanged and the patched-in one included, where first tokens decide."""
        return len(cell_pairs(self.bench, cell)) * (len(cell.sizes) + 1 + (cell.operation == "patch"))

    def measure(self, cell: SetEffectCell) -> Rows:
        """F of each pair unchanged, then at each size, total and direct."""
        cost = Cost()
        pairs, encoded, objectives = read_pairs(self.bench, cell)
        change = SetChange(
            tuple(Neuron.parse(name) for name in cell.neurons),
            cell.sizes,
            cell.operation,
            cell.factor,
            cell.positions,
        )
        found = self.bench.sizes.fit(
            "effects",
            _ROWS,
            lambda size: set_effects(
                self.bench.model, encoded, objectives, change, batch_rows=size, progress=self.bench.progress
            ),
        )
        copies = len(cell.sizes) + 1
        _count(cost, [ids for ids, _ in encoded], objectives, copies)
        if cell.operation == "patch":
            _count(cost, [mate for _, mate in encoded], objectives, 1)
        rows: Rows = []
        for pair, effects in zip(pairs, found, strict=True):
            rows.append({"pair": pair.id, "size": 0, **_reading(effects.before)})
            for size, effect in zip(cell.sizes, effects.after, strict=True):
                direct = {f"direct_{name}": value for name, value in _reading(effect.direct).items()}
                rows.append({"pair": pair.id, "size": size, **_reading(effect.total), **direct})
        rows[0]["cost"] = cost.to_row()
        return rows


@handles(DirectionEffectCell)
class DirectionEffectHandler(OneByOne[DirectionEffectCell]):
    """A direction injected, at several strengths."""

    def rows_in(self, cell: DirectionEffectCell) -> int:
        """A row for each pair and strength, the unchanged one included, where first tokens decide."""
        return len(cell_pairs(self.bench, cell)) * (1 + len(cell.strengths))

    def measure(self, cell: DirectionEffectCell) -> Rows:
        """F of each pair unchanged, then at each strength."""
        cost = Cost()
        pairs, encoded, objectives = read_pairs(self.bench, cell)
        injections = [self.bench.steering.injection(cell, strength) for strength in cell.strengths]
        prompts = [ids for ids, _ in encoded]
        found = self.bench.sizes.fit(
            "effects",
            _ROWS,
            lambda size: injection_effects(
                self.bench.model, prompts, objectives, injections, batch_rows=size, progress=self.bench.progress
            ),
        )
        _count(cost, prompts, objectives, 1 + len(injections))
        rows: Rows = [
            {"pair": pair.id, "strength": strength, **_reading(reading)}
            for pair, readings in zip(pairs, found, strict=True)
            for strength, reading in zip((0.0, *cell.strengths), readings, strict=True)
        ]
        rows[0]["cost"] = cost.to_row()
        return rows


def cell_pairs(bench: Bench, cell: ImportanceCell | EffectCell) -> list[PromptPair]:
    """The pairs of a cell, in its order."""
    pairs = prompt_pairs(bench.behaviors[cell.behavior], cell.split)
    if not cell.pairs:
        return list(pairs)
    by_id = {pair.id: pair for pair in pairs}
    return [by_id[name] for name in cell.pairs]


def read_pairs(
    bench: Bench, cell: ImportanceCell | EffectCell
) -> tuple[list[PromptPair], list[tuple[list[int], list[int]]], list[Objective]]:
    """The pairs of a cell, their token ids and their objectives."""
    pairs = cell_pairs(bench, cell)
    prompts, mates = [pair.prompt.text for pair in pairs], [pair.perturbed.text for pair in pairs]
    encoded = list(zip(bench.model.token_ids(prompts), bench.model.token_ids(mates), strict=True))
    # Answers that F is made of are rollouts, read once for all cells; what is counted here are passes.
    objectives = bench.answers.first_objectives(bench.behaviors[cell.behavior], prompts, mates, Cost())
    return pairs, encoded, objectives


def _count(cost: Cost, prompts: Sequence[Sequence[int]], objectives: Sequence[Objective], copies: int) -> None:
    for ids, objective in zip(prompts, objectives, strict=True):
        cost.forward += copies * len(objective.rows)
        cost.tokens += copies * sum(len(ids) + len(text) - 1 for text in objective.rows)


def _reading(reading: Reading) -> dict[str, float]:
    return {"linear": round(reading.linear, 6), "log_odds": round(reading.log_odds, 6)}
