"""Rollouts: cells whose rows are judged texts. Those of one chunk share batches, whatever is done to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.behaviors import CollapseWatch, Prompt, ScoredText
from controlwindow.behaviors.outcomes import Answer, Request
from controlwindow.behaviors.text import whole_words
from controlwindow.cells import (
    DirectionCell,
    InterventionCell,
    PinCell,
    PushCell,
    RolloutCell,
    Rows,
    SetCell,
)
from controlwindow.instruments.decoding import RowRollout
from controlwindow.instruments.rows import Row, mean_coordinate, roll_out_rows
from controlwindow.measuring.bench import Bench, role_of
from controlwindow.measuring.handlers.base import Handler, handles
from controlwindow.measuring.neighbours import Neighbours, already_judged
from controlwindow.measuring.steering import RolledOut, is_undosed
from controlwindow.models import Model


@handles(RolloutCell, PinCell, SetCell, DirectionCell, PushCell, InterventionCell)
class RolloutHandler(Handler[RolledOut]):
    """Rolls out, and has every text judged against its prompt's undosed one."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        self._neighbours = Neighbours(bench.ledger)
        self._limits: dict[tuple[RolloutCell, str], Mapping[int, int]] = {}

    def rows_in(self, cell: RolledOut) -> int:
        """One row a prompt."""
        return len(self.bench.prompts(cell))

    def run(self, cells: Sequence[RolledOut]) -> dict[RolledOut, Rows]:
        """Roll out cells; those of one precision together."""
        results: dict[RolledOut, Rows] = {}
        for precision in dict.fromkeys(map(_precision, cells)):
            results |= self._roll_out([cell for cell in cells if _precision(cell) == precision])
        return results

    def _roll_out(self, cells: Sequence[RolledOut]) -> dict[RolledOut, Rows]:
        """Roll out cells of one precision together; a chunk holds no others."""
        model = self.bench.in_precision(_precision(cells[0]))
        prompts = [self.bench.prompts(cell) for cell in cells]
        rows: list[Row] = []
        watches: list[CollapseWatch] = []
        neighbours: list[list[dict[str, Any]]] = []
        for cell, chosen in zip(cells, prompts, strict=True):
            encoded = model.token_ids([p.text for p in chosen])
            operations = self.bench.steering.row_operations(cell, encoded, model)
            names = [prompt.id for prompt in chosen]
            nearest: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            if isinstance(cell, RolloutCell):
                nearest = self._neighbours.nearest(cell, names)
            neighbours += [nearest[name] for name in names]
            for prompt, ids, acting in zip(chosen, encoded, operations, strict=True):
                first, *more = self._drafts(cell, prompt, nearest[prompt.id])
                rows.append(Row(tuple(ids), acting, first, tuple(more)))
            watches += [CollapseWatch(self._collapse_limits(cell, prompt)) for prompt in chosen]
        done = self.bench.sizes.fit(
            "rollouts",
            len(rows),
            lambda size: roll_out_rows(
                model,
                rows,
                max(cell.horizon for cell in cells),
                batch_rows=size,
                sample_seed=getattr(cells[0], "sample_seed", None),
                stop_when=lambda row, tokens: watches[row](tokens),
                progress=self.bench.progress,
            ),
        )
        known = [already_judged(rollout, near) for rollout, near in zip(done, neighbours, strict=True)]
        new = [place for place, row in enumerate(known) if row is None]
        scored = self.bench.score([rows[i].prompt_ids for i in new], [done[i].token_ids for i in new], model)
        texts = dict(zip(new, scored, strict=True))
        judged = self._judged_texts(cells, prompts, done, texts, model)
        results: dict[RolledOut, Rows] = {}
        place = 0
        for cell, chosen in zip(cells, prompts, strict=True):
            results[cell] = []
            for _ in chosen:
                row = known[place] or judged[place]
                results[cell].append({**row, **_measured(done[place], isinstance(cell, SetCell | PushCell))})
                place += 1
        return results

    def _judged_texts(
        self,
        cells: Sequence[RolledOut],
        prompts: Sequence[Sequence[Prompt]],
        done: Sequence[RowRollout],
        texts: Mapping[int, ScoredText],
        model: Model,
    ) -> dict[int, dict[str, Any]]:
        """Rows of texts by place, the answers of each behavior judged together.

        Args:
            cells: The cells.
            prompts: The prompts of each.
            done: The rollouts, in order.
            texts: Those to be judged, by place.
            model: The model in the precision of these cells.
        """
        rows: dict[int, dict[str, Any]] = {}
        asked: dict[str, list[tuple[int, str, Request]]] = {}
        place = -1
        for cell, chosen in zip(cells, prompts, strict=True):
            undosed = None if is_undosed(cell) else self._reference(cell)
            for prompt in chosen:
                place += 1
                if place in texts:
                    ended = bool({*done[place].token_ids[-1:]} & model.stop_ids)
                    rows[place], requests = self._read(cell, prompt, texts[place], undosed, ended)
                    asked.setdefault(cell.behavior, []).extend(
                        (place, horizon, request) for horizon, request in requests.items()
                    )
        for behavior, wanted in asked.items():
            found = self.bench.outcomes(behavior, [request for *_, request in wanted])
            for (where, horizon, _), outcome in zip(wanted, found, strict=True):
                rows[where]["outcomes"][horizon] = outcome
        return rows

    def _drafts(self, cell: RolledOut, prompt: Prompt, nearest: Sequence[Mapping[str, Any]]) -> list[tuple[int, ...]]:
        """What may well be said: texts of the nearest doses, then the undosed one; nothing for samples and undosed."""
        if is_undosed(cell) or getattr(cell, "sample_seed", None) is not None:
            return [()]
        undosed = self._reference(cell)[prompt.id].token_ids
        return [*(tuple(row["token_ids"]) for row in nearest), tuple(undosed)]

    def _collapse_limits(self, cell: RolledOut, prompt: Prompt) -> Mapping[int, int]:
        """What makes a row's collapse certain; the undosed model's rows are never cut."""
        if is_undosed(cell):
            return {cell.horizon: -1}
        assert self.bench.detector is not None
        key = (RolloutCell(cell.behavior, cell.split, horizon=cell.horizon, role=role_of(cell)), prompt.id)
        if key not in self._limits:
            reference = self._reference(cell)[prompt.id]
            self._limits[key] = self.bench.detector.collapse_limits(reference, self._horizons(cell))
        return self._limits[key]

    def _horizons(self, cell: RolledOut) -> list[int]:
        """Horizons at which a cell's rows are judged, ascending."""
        return sorted({*(h for h in self.bench.behaviors[cell.behavior].horizons if h < cell.horizon), cell.horizon})

    def _read(
        self, cell: RolledOut, prompt: Prompt, text: ScoredText, undosed: Mapping[str, ScoredText] | None, ended: bool
    ) -> tuple[dict[str, Any], dict[str, Request]]:
        """What a text says whatever was done to bring it about, and by horizon what the behavior's oracles are asked.

        Args:
            cell: Its cell.
            prompt: The prompt.
            text: The text.
            undosed: The split's undosed rollouts; None where this is one.
            ended: Whether a stop token ended it, not the horizon.
        """
        assert self.bench.detector is not None
        reference = text if undosed is None else undosed[prompt.id]
        requests, features, reason = {}, None, ""
        for horizon in self._horizons(cell):
            cut = self._cut(text, horizon)
            judgement = self.bench.detector.judge(cut, self._cut(reference, horizon))
            words = whole_words(cut.text, text.text, ended=ended)
            requests[str(horizon)] = Request(Answer(cut.text, words), prompt, judgement.collapsed)
            features, reason = judgement.features, judgement.reason
        assert features is not None
        row: dict[str, Any] = {
            "prompt": prompt.id,
            "outcomes": {},
            "coherence": [round(float(value), 4) for value in features[:3]],
            "reason": reason,
            "text": text.text,
        }
        if is_undosed(cell):
            row["surprisals"] = [round(value, 5) for value in text.surprisals]
        if isinstance(cell, InterventionCell):
            row["excess"] = round(_mean(text.surprisals) - _mean(reference.surprisals), 6)
            row["verbatim"] = text.token_ids == self._cut(reference, cell.horizon).token_ids
        return row, requests

    def _cut(self, text: ScoredText, horizon: int) -> ScoredText:
        if horizon >= len(text.token_ids):
            return text
        return text.cut(horizon, self.bench.model.decode(text.token_ids[:horizon]))

    def _reference(self, cell: RolledOut) -> dict[str, ScoredText]:
        """The undosed rollouts of a cell's split and role."""
        return self.bench.undosed(cell.behavior, cell.split, cell.horizon, role_of(cell))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _precision(cell: RolledOut) -> str:
    return cell.precision if isinstance(cell, RolloutCell) else "model"


def _measured(rollout: RowRollout, several: bool) -> dict[str, Any]:
    """What a row holds of the rollout itself; where several neurons act there is no one control coordinate."""
    coordinate = round(mean_coordinate(rollout), 6) if rollout.coordinates and not several else None
    measured: dict[str, Any] = {
        "coordinate": coordinate,
        "ties": rollout.ties,
        "tokens": len(rollout.token_ids),
        "token_ids": list(rollout.token_ids),
    }
    if rollout.cut:
        # The text ends here because it had certainly collapsed, not because the model was done.
        measured["cut"] = True
    return measured
