"""The engine: runs a chunk's cells on the model and turns what came out into rows of plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlwindow.behaviors import Behavior, CoherenceDetector, CollapseWatch, Prompt, ScoredText
from controlwindow.errors import DeviceMemoryError
from controlwindow.instruments.cells import Cell, PropagationCell, Role, RolloutCell, Rows
from controlwindow.instruments.circuit_cells import SetCell
from controlwindow.instruments.control_cells import PushCell
from controlwindow.instruments.decoding import RowRollout
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.intervention_cells import AreaCell, CapabilityCell, InterventionCell
from controlwindow.instruments.memory import BatchSizes, out_of_memory
from controlwindow.instruments.probes import propagation
from controlwindow.instruments.rollout import mean_coordinate, roll_out_rows
from controlwindow.instruments.routes import Row
from controlwindow.instruments.scoring import token_nll
from controlwindow.models import Model, Neuron
from controlwindow.models.precision import float32_copy
from controlwindow.running.controlling import MEASURED, ControlRunner
from controlwindow.running.effects import EFFECTS, EffectRunner
from controlwindow.running.interventions import InterventionRunner
from controlwindow.running.ledger import Ledger
from controlwindow.running.neighbours import Neighbours, already_judged, whole_rows
from controlwindow.running.screening import ScreenRunner
from controlwindow.running.steering import ROLLED_OUT, RolledOut, Steering, is_undosed

_SCORED_ROWS = 128
_PROPAGATED_ROWS = 64


@dataclass
class Engine:
    """Measures cells of one model.

    Attributes:
        model: The model.
        behaviors: By name.
        generic: The model's generic pass.
        ledger: Where undosed rollouts are looked up.
        detector: The coherence detector; rollouts need it.
        progress: Called with rows done and rows in all while a chunk runs.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    generic: GenericPass
    ledger: Ledger
    detector: CoherenceDetector | None = None
    progress: Callable[[int, int], None] | None = None
    _undosed: dict[tuple[str, str, int, Role], dict[str, ScoredText]] = field(default_factory=dict)
    _limits: dict[tuple[Cell, str], Mapping[int, int]] = field(default_factory=dict)
    _float32: Model | None = None
    _sizes: BatchSizes = field(init=False)
    _screening: ScreenRunner = field(init=False)
    _effects: EffectRunner = field(init=False)
    _neighbours: Neighbours = field(init=False)
    _steering: Steering = field(init=False)
    _interventions: InterventionRunner = field(init=False)
    _controlling: ControlRunner = field(init=False)

    def __post_init__(self) -> None:
        # A run gone on with keeps to the batches that fitted before, whose rounding its earlier rows have.
        known = self.ledger.find_all("memory").values()
        limits = {work: min(r["rows"] for r in known if r["work"] == work) for work in {r["work"] for r in known}}
        self._sizes = BatchSizes(limits, self._note_memory)
        self._screening = ScreenRunner(self.model, self.behaviors, self.generic, self._sizes, self.progress)
        self._neighbours = Neighbours(self.ledger)
        self._steering = Steering(self.model, self.behaviors, self.generic, self.ledger)
        self._interventions = InterventionRunner(self.model, self.behaviors, self.generic, self._steering, self._sizes)
        self._effects = EffectRunner(self.model, self.behaviors, self._steering, self._sizes, self.progress)
        self._controlling = ControlRunner(
            self.model, self.behaviors, self.generic, self._sizes, self.undosed, self.progress
        )

    def _note_memory(self, work: str, rows: int) -> None:
        """Leave in the ledger that batches became smaller: from here on, rounding may differ."""
        name = f"{work}, {rows} rows"
        if self.ledger.find("memory", name) is None:
            self.ledger.record("memory", name, {"work": work, "rows": rows})

    def rows_in(self, cell: Cell) -> int:
        """Batch rows of a cell."""
        if isinstance(cell, (*ROLLED_OUT, PropagationCell)):
            return len(self._prompts(cell))
        if isinstance(cell, AreaCell | CapabilityCell):
            return self._interventions.rows_in(cell)
        if isinstance(cell, EFFECTS):
            return self._effects.rows_in(cell)
        if isinstance(cell, MEASURED):
            return self._controlling.rows_in(cell)
        return self._screening.rows_in(cell)

    def is_sensitive(self, cell: Cell) -> bool:
        """Whether a cell's completions are kept apart."""
        return self.behaviors[cell.behavior].sensitive

    def run(self, cells: Sequence[Cell]) -> dict[Cell, Rows]:
        """Measure cells; rollouts of one call share batches."""
        rollouts = [cell for cell in cells if isinstance(cell, ROLLED_OUT)]
        results: dict[Cell, Rows] = {}
        for precision in dict.fromkeys(map(_precision, rollouts)):
            results |= self._roll_out([cell for cell in rollouts if _precision(cell) == precision])
        for cell in cells:
            if isinstance(cell, PropagationCell):
                results[cell] = self._propagate(cell)
            elif isinstance(cell, AreaCell | CapabilityCell):
                results[cell] = self._interventions.run(cell)
            elif isinstance(cell, EFFECTS):
                results[cell] = self._effects.run(cell)
            elif isinstance(cell, MEASURED):
                results[cell] = self._controlling.run(cell, self.detector)
            elif not isinstance(cell, ROLLED_OUT):
                results[cell] = self._screening.run(cell)
        return results

    def _prompts(self, cell: RolledOut | PropagationCell) -> list[Prompt]:
        prompts = self.behaviors[cell.behavior].prompts(cell.split, _role(cell))  # type: ignore[arg-type]
        if not cell.prompts:
            return list(prompts)
        by_id = {prompt.id: prompt for prompt in prompts}
        return [by_id[name] for name in cell.prompts]

    def _model(self, precision: str) -> Model:
        if precision == "model":
            return self.model
        if self._float32 is None:
            try:
                self._float32 = float32_copy(self.model)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                raise DeviceMemoryError(
                    f"no memory for a float32 copy of {self.model.name}, on which close verdicts are checked",
                    "resume the run on a device with more memory, or load the model with --dtype float32",
                ) from error
        return self._float32

    def release_float32(self) -> None:
        """Give up the float32 copy of the model that rollouts in that precision made; it is made again when needed."""
        self._float32 = None

    def _roll_out(self, cells: Sequence[RolledOut]) -> dict[Cell, Rows]:
        """Roll out cells of one precision together; a chunk holds no others."""
        model = self._model(_precision(cells[0]))
        prompts = [self._prompts(cell) for cell in cells]
        rows: list[Row] = []
        watches: list[CollapseWatch] = []
        neighbours: list[list[dict[str, Any]]] = []
        for cell, chosen in zip(cells, prompts, strict=True):
            encoded = model.token_ids([p.text for p in chosen])
            operations = self._steering.row_operations(cell, encoded, model)
            names = [prompt.id for prompt in chosen]
            nearest: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
            if isinstance(cell, RolloutCell):
                nearest = self._neighbours.nearest(cell, names)
            neighbours += [nearest[name] for name in names]
            for prompt, ids, acting in zip(chosen, encoded, operations, strict=True):
                first, *more = self._drafts(cell, prompt, nearest[prompt.id])
                rows.append(Row(tuple(ids), acting, first, tuple(more)))
            watches += [CollapseWatch(self._collapse_limits(cell, prompt)) for prompt in chosen]
        done = self._sizes.fit(
            "rollouts",
            len(rows),
            lambda size: roll_out_rows(
                model,
                rows,
                max(cell.horizon for cell in cells),
                batch_rows=size,
                sample_seed=getattr(cells[0], "sample_seed", None),
                stop_when=lambda row, tokens: watches[row](tokens),
                progress=self.progress,
            ),
        )
        known = [already_judged(rollout, near) for rollout, near in zip(done, neighbours, strict=True)]
        new = [place for place, row in enumerate(known) if row is None]
        scored = self.score([rows[i].prompt_ids for i in new], [done[i].token_ids for i in new], model)
        texts = dict(zip(new, scored, strict=True))
        results: dict[Cell, Rows] = {}
        place = 0
        for cell, chosen in zip(cells, prompts, strict=True):
            undosed = None if is_undosed(cell) else self._reference(cell)
            results[cell] = []
            for prompt in chosen:
                ended = bool({*done[place].token_ids[-1:]} & self.model.stop_ids)
                row = known[place] or self._judged(cell, prompt, texts[place], undosed, ended)
                results[cell].append({**row, **_measured(done[place], isinstance(cell, SetCell | PushCell))})
                place += 1
        return results

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
        assert self.detector is not None
        key = (RolloutCell(cell.behavior, cell.split, horizon=cell.horizon, role=_role(cell)), prompt.id)
        if key not in self._limits:
            reference = self._reference(cell)[prompt.id]
            self._limits[key] = self.detector.collapse_limits(reference, self._horizons(cell))
        return self._limits[key]

    def _horizons(self, cell: RolledOut) -> list[int]:
        """Horizons at which a cell's rows are judged, ascending."""
        return sorted({*(h for h in self.behaviors[cell.behavior].horizons if h < cell.horizon), cell.horizon})

    def score(
        self, prompt_ids: Sequence[Sequence[int]], token_ids: Sequence[Sequence[int]], model: Model
    ) -> list[ScoredText]:
        """Texts with their surprisal under the undosed model; the stop token is left out."""
        contents = [tuple(t for t in tokens if t not in self.model.stop_ids) for tokens in token_ids]
        pairs = [(tuple(prompt), content) for prompt, content in zip(prompt_ids, contents, strict=True)]
        # Doses below a trigger often give the same answer, which is scored once a chunk. Not once a run: rows must
        # not depend on what an earlier process had in memory.
        distinct = list(dict.fromkeys(pairs))
        prompts, continuations = [prompt for prompt, _ in distinct], [content for _, content in distinct]
        surprisals = self._sizes.fit(
            "scoring", _SCORED_ROWS, lambda size: token_nll(model, prompts, continuations, batch_rows=size)
        )
        found = {
            pair: ScoredText(pair[1], tuple(values), self.model.decode(pair[1]))
            for pair, values in zip(distinct, surprisals, strict=True)
        }
        return [found[pair] for pair in pairs]

    def _judged(
        self, cell: RolledOut, prompt: Prompt, text: ScoredText, undosed: Mapping[str, ScoredText] | None, ended: bool
    ) -> dict[str, Any]:
        """What is said of a text, whatever was done to bring it about; `ended` by a stop token, not by the horizon."""
        assert self.detector is not None
        behavior = self.behaviors[cell.behavior]
        reference = text if undosed is None else undosed[prompt.id]
        outcomes, features, reason = {}, None, ""
        for horizon in self._horizons(cell):
            cut = self._cut(text, horizon)
            judgement = self.detector.judge(cut, self._cut(reference, horizon))
            outcomes[str(horizon)] = behavior.judge(cut.text, prompt, judgement.collapsed, whole=text.text, ended=ended)
            features, reason = judgement.features, judgement.reason
        assert features is not None
        row: dict[str, Any] = {
            "prompt": prompt.id,
            "outcomes": outcomes,
            "coherence": [round(float(value), 4) for value in features[:3]],
            "reason": reason,
            "text": text.text,
        }
        if is_undosed(cell):
            row["surprisals"] = [round(value, 5) for value in text.surprisals]
        if isinstance(cell, InterventionCell):
            row["excess"] = round(_mean(text.surprisals) - _mean(reference.surprisals), 6)
            row["verbatim"] = text.token_ids == self._cut(reference, cell.horizon).token_ids
        return row

    def _cut(self, text: ScoredText, horizon: int) -> ScoredText:
        if horizon >= len(text.token_ids):
            return text
        return text.cut(horizon, self.model.decode(text.token_ids[:horizon]))

    def _reference(self, cell: RolledOut) -> dict[str, ScoredText]:
        """The undosed rollouts of a cell's split and role."""
        return self.undosed(cell.behavior, cell.split, cell.horizon, _role(cell))

    def undosed(self, behavior: str, split: str, horizon: int, role: Role = "positive") -> dict[str, ScoredText]:
        """The undosed rollouts of a split and role by prompt id, from the ledger.

        Their tokens are completions too: where a shared ledger comes without them they are generated again, which
        gives the same tokens.
        """
        # Whole ones, whatever a cell asks for first: what is judged is cut to its horizon.
        horizon = max(horizon, self.behaviors[behavior].horizons[-1])
        key = (behavior, split, horizon, role)
        if key not in self._undosed:
            positions = self.behaviors[behavior].positions
            cell = RolloutCell(behavior, split, horizon=horizon, positions=positions, role=role)
            rows = whole_rows(self.ledger, cell)
            if rows is None:
                rows = self._roll_out([cell])[cell]
            self._undosed[key] = {
                row["prompt"]: ScoredText(
                    tuple(t for t in row["token_ids"] if t not in self.model.stop_ids),
                    tuple(row["surprisals"]),
                    row["text"],
                )
                for row in rows
            }
        return self._undosed[key]

    def _propagate(self, cell: PropagationCell) -> Rows:
        behavior = self.behaviors[cell.behavior]
        prompts = self._prompts(cell)
        undosed = self.undosed(cell.behavior, cell.split, behavior.horizons[-1])
        value = self._sizes.fit(
            "propagation",
            _PROPAGATED_ROWS,
            lambda size: propagation(
                self.model,
                Neuron.parse(cell.neuron),
                self._steering.operations(cell),
                self.model.token_ids([prompt.text for prompt in prompts]),
                [undosed[prompt.id].token_ids for prompt in prompts],
                batch_rows=size,
            ),
        )
        return [{"propagation": None if value is None else round(value, 6)}]


def _role(cell: Cell) -> Role:
    return "negative" if getattr(cell, "role", "positive") == "negative" else "positive"


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
