"""The bench: what every handler works with, and what it may ask of the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controlwindow.behaviors import Behavior, CoherenceDetector, Prompt, ScoredText
from controlwindow.behaviors.outcomes import Request
from controlwindow.behaviors.prompts import Contrast, Role, Split
from controlwindow.cells import Cell, RolloutCell, Rows
from controlwindow.errors import DeviceMemoryError
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.memory import BatchSizes, out_of_memory
from controlwindow.instruments.scoring import token_nll
from controlwindow.measuring.answers import Answers
from controlwindow.measuring.judgements import KeptJudgements
from controlwindow.measuring.neighbours import whole_rows
from controlwindow.measuring.steering import Steering
from controlwindow.measuring.store import Store
from controlwindow.models import Model
from controlwindow.models.precision import float32_copy

_SCORED_ROWS = 128


class OnPrompts(Protocol):
    """A cell that reads prompts of a behavior's split, some of them by name or all."""

    @property
    def behavior(self) -> str:
        """The behavior's name."""

    @property
    def split(self) -> Split:
        """The split."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Ids of the prompts, in order; empty for all."""


@dataclass(repr=False, eq=False)
class Bench(ABC):
    """One model with all that measuring it takes.

    Attributes:
        model: The model.
        behaviors: By name.
        generic: The model's generic pass.
        ledger: Where undosed rollouts are looked up.
        detector: The coherence detector; rollouts need it.
        progress: Called with rows done and rows in all while a chunk runs.
        sizes: Batches that fit into memory.
        answers: Reads the behaviors' texts.
        steering: Turns cells into operations.
    """

    model: Model
    behaviors: Mapping[str, Behavior]
    generic: GenericPass
    ledger: Store
    detector: CoherenceDetector | None = None
    progress: Callable[[int, int], None] | None = None
    sizes: BatchSizes = field(init=False)
    answers: Answers = field(init=False)
    steering: Steering = field(init=False)
    _undosed: dict[tuple[str, str, int, Role], dict[str, ScoredText]] = field(init=False, default_factory=dict)
    _float32: Model | None = field(init=False, default=None)
    _judgements: dict[str, KeptJudgements] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        # A run gone on with keeps to the batches that fitted before, whose rounding its earlier rows have.
        known = self.ledger.find_all("memory").values()
        limits = {work: min(r["rows"] for r in known if r["work"] == work) for work in {r["work"] for r in known}}
        self.sizes = BatchSizes(limits, self._note_memory)
        self.answers = Answers(self.model)
        self.steering = Steering(self.model, self.behaviors, self.generic, self.ledger, self.answers)

    @abstractmethod
    def run(self, cells: Sequence[Cell]) -> dict[Cell, Rows]:
        """Measure cells, whoever handles them."""

    def _note_memory(self, work: str, rows: int) -> None:
        """Leave in the ledger that batches became smaller: from here on, rounding may differ."""
        self.ledger.remember("memory", f"{work}, {rows} rows", lambda: {"work": work, "rows": rows})

    def prompts(self, cell: OnPrompts) -> list[Prompt]:
        """The prompts of a cell, in its order."""
        prompts = self.behaviors[cell.behavior].prompts(cell.split, role_of(cell))
        if not cell.prompts:
            return list(prompts)
        by_id = {prompt.id: prompt for prompt in prompts}
        return [by_id[name] for name in cell.prompts]

    def contrast(self, cell: Cell) -> Contrast:
        """The two sides of a cell's split.

        Raises:
            BehaviorError: The split has no contrast.
        """
        return self.behaviors[cell.behavior].contrast(cell.split)

    def in_precision(self, precision: str) -> Model:
        """The model as it was loaded, or a float32 copy of it, made when it is first needed.

        Raises:
            DeviceMemoryError: There is no memory for the copy.
        """
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

    def score(
        self, prompt_ids: Sequence[Sequence[int]], token_ids: Sequence[Sequence[int]], model: Model | None = None
    ) -> list[ScoredText]:
        """Texts with their surprisal under the undosed model; the stop token is left out.

        Args:
            prompt_ids: Prompts as token ids.
            token_ids: Their continuations.
            model: The model in another precision, where the texts are of that.
        """
        contents = [tuple(t for t in tokens if t not in self.model.stop_ids) for tokens in token_ids]
        pairs = [(tuple(prompt), content) for prompt, content in zip(prompt_ids, contents, strict=True)]
        # Doses below a trigger often give the same answer, which is scored once a chunk. Not once a run: rows must
        # not depend on what an earlier process had in memory.
        distinct = list(dict.fromkeys(pairs))
        prompts, continuations = [prompt for prompt, _ in distinct], [content for _, content in distinct]
        surprisals = self.sizes.fit(
            "scoring",
            _SCORED_ROWS,
            lambda size: token_nll(model or self.model, prompts, continuations, batch_rows=size),
        )
        found = {
            pair: ScoredText(pair[1], tuple(values), self.model.decode(pair[1]))
            for pair, values in zip(distinct, surprisals, strict=True)
        }
        return [found[pair] for pair in pairs]

    def outcomes(self, behavior: str, requests: Sequence[Request]) -> list[str]:
        """The outcomes of answers, judged together; what judges said is kept in the ledger.

        Raises:
            BehaviorError: An oracle failed.
        """
        found = self.behaviors[behavior]
        if not any(oracle.remembered for oracle in found.definition.oracles.values()):
            return found.judge_many(requests)
        if behavior not in self._judgements:
            self._judgements[behavior] = KeptJudgements(self.ledger, behavior)
        return found.judge_many(requests, self._judgements[behavior])

    def undosed(self, behavior: str, split: Split, horizon: int, role: Role = "positive") -> dict[str, ScoredText]:
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
                rows = self.run([cell])[cell]
            self._undosed[key] = {
                row["prompt"]: ScoredText(
                    tuple(t for t in row["token_ids"] if t not in self.model.stop_ids),
                    tuple(row["surprisals"]),
                    row["text"],
                )
                for row in rows
            }
        return self._undosed[key]


def role_of(cell: object) -> Role:
    """The role of the prompts that a cell reads: positive but for benign ones beside them."""
    return "negative" if getattr(cell, "role", "positive") == "negative" else "positive"
