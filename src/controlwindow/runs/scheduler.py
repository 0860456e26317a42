"""One scheduler runs every planner: look a cell up in the ledger, else run it, and commit before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from controlwindow.cells import Cell, Planner, Rows
from controlwindow.runs.ledger import Chunk, Ledger


class CellRunner(Protocol):
    """What runs a chunk's cells on the model."""

    def rows_in(self, cell: Cell) -> int:
        """Batch rows that a cell takes."""

    def run(self, cells: Sequence[Cell]) -> Mapping[Cell, Rows]:
        """Measure cells together."""

    def is_sensitive(self, cell: Cell) -> bool:
        """Whether a cell's completions are kept apart."""


class Scheduler:
    """Runs planners in lockstep, so that different neurons share batches.

    Which cells share a chunk depends on the planners alone, a round is planned in one transaction before it runs, and
    a chunk is committed whole or not at all: so a run that was cut off and resumed has the chunks, and therefore the
    numbers, of one that was not.

    Args:
        ledger: Where rows are looked up and committed.
        runner: What measures.
        chunk_rows: Most batch rows of a chunk.
        progress: Called after every chunk and every round.
    """

    def __init__(
        self,
        ledger: Ledger,
        runner: CellRunner,
        *,
        chunk_rows: int = 512,
        progress: Callable[[], None] | None = None,
    ) -> None:
        self.ledger = ledger
        self.runner = runner
        self.chunk_rows = chunk_rows
        self._progress = progress or (lambda: None)

    def run(self, stage: str, planners: Sequence[Planner]) -> None:
        """Run planners until none asks for more.

        Args:
            stage: Name of this part of the run; chunks that it left unfinished are run first.
            planners: Asked in order, round by round.
        """
        for chunk in self.ledger.pending(stage):
            self._run_chunk(chunk)
        waiting = list(planners)
        while waiting:
            asked = [(planner, list(planner.next_cells())) for planner in waiting]
            waiting = [planner for planner, cells in asked if cells]
            cells = list(dict.fromkeys(cell for _, wanted in asked for cell in wanted))
            missing = [cell for cell in cells if self.ledger.rows(cell) is None]
            if missing:
                for chunk in self.ledger.plan(stage, self._chunks(missing)):
                    self._run_chunk(chunk)
            found = {cell: self.ledger.rows(cell) for cell in cells}
            for planner, wanted in asked:
                if wanted:
                    planner.update({cell: found[cell] or [] for cell in wanted})
            self._progress()

    def _run_chunk(self, chunk: Chunk) -> None:
        results = self.runner.run(chunk.cells)
        self.ledger.commit(chunk, results, sensitive=any(map(self.runner.is_sensitive, chunk.cells)))
        self._progress()

    def _chunks(self, cells: Sequence[Cell]) -> list[list[Cell]]:
        chunks: list[list[Cell]] = []
        rows, kind = 0, None
        # Sorting is stable, so planners' order is kept among cells that may share a batch.
        for cell in sorted(cells, key=lambda cell: cell.batch()):
            size = self.runner.rows_in(cell)
            if not chunks or rows + size > self.chunk_rows or cell.batch() != kind:
                chunks.append([])
                rows, kind = 0, cell.batch()
            chunks[-1].append(cell)
            rows += size
        return chunks
