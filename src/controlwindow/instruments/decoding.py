"""The decode loop: rows with operations of their own, each layer computed once for all rows that agree there.

Prompts are read once for all their rows, up to the layer where a row is dosed; rows that ended leave, and waiting rows
are taken in. Which rows share what is `sharing`, where they part in a pass is `parting`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Cache

from controlwindow.instruments.cache import lane_cache
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.operations import RowOperations, check_operations
from controlwindow.instruments.parting import Parting
from controlwindow.instruments.routes import Route, Row, route
from controlwindow.instruments.sharing import NEVER, Bools, Ints, Lanes, Moves
from controlwindow.models import Model

TIE_MARGIN = 1e-4
"""Top-two logit margin below which two correct implementations may choose different tokens (design)."""

IDLE_SHARE = 0.125
"""Share of lanes without rows at which the batch is closed up; closing up copies keys and values."""

REFILL_SHARE = 0.25
"""Share of a full batch that must be free before waiting rows are taken in: reading their prompts is one more pass."""

SPARE_COLUMNS = 32
"""Columns of keys and values beyond the longest row, where rows come and go: a full buffer is moved to the left."""

CHECK_EVERY = 4
"""Tokens between two questions whether a row may stop early."""

StopWhen = Callable[[int, Sequence[int]], bool]
"""Given a row's number and its tokens so far, whether nothing that may follow matters."""


@dataclass(frozen=True)
class RowRollout:
    """What one row generated.

    Attributes:
        token_ids: Generated tokens, including the stop token if one was emitted.
        coordinates: Measured cos(r_L, s·v) at each generated position; empty for an undosed row.
        ties: Generated positions whose top-two margin was below `TIE_MARGIN`.
        cut: Whether the row was stopped early because nothing that may follow matters.
    """

    token_ids: tuple[int, ...]
    coordinates: tuple[float, ...]
    ties: int
    cut: bool = False


@dataclass
class _Batch:
    """Rows that are decoded together.

    Attributes:
        rows: Their numbers in the call, [rows].
        lengths: Tokens read so far, those of the prompt included, [rows].
        pending: The token each row reads next, [rows].
        lanes: Who shares what.
        cache: Keys and values.
    """

    rows: Ints
    lengths: Ints
    pending: Ints
    lanes: Lanes
    cache: Cache

    def move(self, moves: Sequence[Moves], device: torch.device) -> bool:
        """Copy lanes of keys and values, stage by stage; whether there was anything to copy."""
        ends = [*self.lanes.sites[1:], len(self.cache.layers)]
        for move, begin, end in zip(moves, self.lanes.sites, ends, strict=True):
            if len(move.source):
                source, target = (torch.as_tensor(lanes, device=device) for lanes in move)
                for layer in self.cache.layers[begin:end]:
                    layer.copy_lanes(source, target)
        return any(len(move.source) for move in moves)

    @property
    def columns(self) -> int:
        """Columns of keys and values in use."""
        return int(self.cache.layers[0].length)


class Decoding:
    """Greedy or sampled decoding of rows that need not share anything.

    Args:
        model: The model.
        rows: The rows.
        max_new_tokens: Horizon in tokens.
        batch_rows: Most rows decoded together; the others wait, and are taken in as rows end.
        sample_seed: None decodes greedily; a seed samples at temperature 1.
        share: Whether rows that agree share layers. Off, every row is computed alone and every operation acts through
            hooks: the same tokens, slower; for tests and benchmarks.
        stop_when: Asked every few tokens whether a row may stop.
        progress: Called with rows done and rows in all.
    """

    def __init__(
        self,
        model: Model,
        rows: Sequence[Row],
        max_new_tokens: int,
        *,
        batch_rows: int,
        sample_seed: int | None = None,
        share: bool = True,
        stop_when: StopWhen | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.model = model
        self.rows = list(rows)
        self.horizon = max_new_tokens
        self.batch_rows = max(1, min(batch_rows, len(self.rows)))
        self.stop_when = stop_when
        self._progress = progress
        check_operations(model, [row.operations for row in self.rows])
        known: dict[RowOperations, Route] = {}
        for row in self.rows:
            if row.operations not in known:
                known[row.operations] = route(model, row.operations, share)
        routes = [known[row.operations] for row in self.rows]
        self._head_from = np.array([r.head_from for r in routes], dtype=np.int64)
        self._own_from = np.array([r.own_from for r in routes], dtype=np.int64)
        self._measured = np.array([r.measured >= 0 for r in routes], dtype=bool)
        # Where some operation begins at the last prompt position, that position is a step of its own for every row.
        self._tail = any(o.positions == "generated" for row in self.rows for o in row.operations)
        if not self._tail:
            self._head_from = self._own_from
        self._sites = sorted({0, *self._head_from.tolist(), *self._own_from.tolist()} - {NEVER})
        self._parting = Parting(model, routes, self._sites)
        self._columns = max((len(row.prompt_ids) for row in self.rows), default=0) + max_new_tokens
        if len(self.rows) > self.batch_rows:
            self._columns += SPARE_COLUMNS
        self._uniform: torch.Tensor | None = None
        if sample_seed is not None:
            generator = torch.Generator().manual_seed(sample_seed)
            self._uniform = torch.rand((len(self.rows), max_new_tokens), generator=generator, dtype=torch.float64)
        self._stops = np.array(sorted(model.stop_ids), dtype=np.int64)
        self._tokens: list[list[int]] = [[] for _ in self.rows]
        self._ties = np.zeros(len(self.rows), dtype=np.int64)
        self._cut = np.zeros(len(self.rows), dtype=bool)
        self._cosines: list[tuple[Ints, torch.Tensor]] = []
        self._done = 0

    def run(self) -> list[RowRollout]:
        """Decode every row; returns them in the order given."""
        waiting = deque(range(len(self.rows)))
        batch: _Batch | None = None
        with measuring(self.model), self._parting:
            while waiting or batch is not None:
                free = self.batch_rows - (0 if batch is None else len(batch.rows))
                if waiting and (batch is None or free >= REFILL_SHARE * self.batch_rows):
                    taken = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                    fresh = self._begin(np.array(taken, dtype=np.int64))
                    batch = fresh if batch is None else self._joined(batch, fresh)
                    self._parting.follow(batch.lanes, batch.rows, head=False)
                if batch is not None and len(batch.rows):
                    self._step(batch)
                if batch is not None and not len(batch.rows):
                    batch = None
        return self._results()

    def _begin(self, rows: Ints) -> _Batch:
        """Read the prompts of rows that were waiting, and choose their first tokens."""
        prompts = [self.rows[row].prompt_ids for row in rows.tolist()]
        numbers: dict[tuple[int, ...], int] = {}
        groups = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], dtype=np.int64)
        batch = _Batch(
            rows=rows,
            lengths=np.zeros(len(rows), dtype=np.int64),
            pending=np.array([prompt[-1] for prompt in prompts], dtype=np.int64),
            lanes=Lanes(self._sites, groups, self._head_from[rows]),
            cache=lane_cache(self.model.layers, self.batch_rows, self._columns),
        )
        heads = [prompt[:-1] for prompt in prompts] if self._tail else prompts
        width = max(map(len, heads))
        logits = None
        if width:
            tokens = np.full((len(rows), width), self.model.pad_id, dtype=np.int64)
            for place, head in enumerate(heads):
                tokens[place, width - len(head) :] = head
            batch.lengths = np.array([len(head) for head in heads], dtype=np.int64)
            self._parting.follow(batch.lanes, rows, head=self._tail)
            logits = self._pass(batch, tokens)
        if self._tail:
            batch.move(batch.lanes.split(np.zeros(len(rows), dtype=np.int64), self._own_from[rows]), self.model.device)
            self._parting.follow(batch.lanes, rows, head=False)
            batch.lengths = batch.lengths + 1
            logits = self._pass(batch, batch.pending[:, None])
        assert logits is not None
        self._choose(batch, logits)
        return batch

    def _step(self, batch: _Batch) -> None:
        if batch.columns == self._columns:
            # Every row that goes on is shorter than the buffer is wide, so there is something to give up.
            for layer in batch.cache.layers:
                layer.shift(int(batch.lengths.max()) - self._columns)
        batch.lengths = batch.lengths + 1
        self._choose(batch, self._pass(batch, batch.pending[:, None]))

    def _pass(self, batch: _Batch, tokens: Ints) -> torch.Tensor:
        """Run the decoder over the rows' next tokens.

        Args:
            batch: The rows; `lengths` already counts what is read now.
            tokens: What each row reads, right-aligned, [rows, positions].

        Returns:
            Logits of the last position by lane of the last stage, [lanes, vocabulary].
        """
        device, width = self.model.device, tokens.shape[1]
        members = batch.lanes.members(0)
        # A lane without rows reads a token of no meaning, and has itself to attend to.
        reading = np.where(members[:, None] >= 0, tokens[members], self.model.pad_id)
        known = torch.as_tensor(np.where(members >= 0, batch.lengths[members], width), device=device)[:, None]
        total = batch.columns + width
        place = torch.arange(total, device=device) - (total - known)
        self._parting.begin_pass()
        hidden = self.model.decoder(
            input_ids=torch.as_tensor(reading, device=device),
            **self.model.forward_options((place >= 0).long(), place[:, total - width :].clamp(min=0), batch.cache),
        )[0]
        return self.model.readout(hidden[:, -1])

    def _choose(self, batch: _Batch, logits: torch.Tensor) -> None:
        """Take each row's next token, let rows that ended go, and part rows that chose differently."""
        lane = batch.lanes.lane_of[-1]
        top = logits.topk(2, dim=-1)
        tied = (top.values[:, 0] - top.values[:, 1] < TIE_MARGIN).cpu().numpy()[lane]
        chosen = top.indices[:, 0].cpu().numpy()[lane] if self._uniform is None else self._sampled(batch, logits)
        if self._parting.cosines:
            values = torch.full((len(batch.rows),), torch.nan, device=logits.device)
            for places, cosines in self._parting.cosines:
                values[places] = cosines
            self._cosines.append((batch.rows, values))
        self._ties[batch.rows] += tied
        ended = np.isin(chosen, self._stops)
        for place, (row, token) in enumerate(zip(batch.rows.tolist(), chosen.tolist(), strict=True)):
            tokens = self._tokens[row]
            tokens.append(token)
            if len(tokens) == self.horizon:
                ended[place] = True
            elif self.stop_when is not None and not ended[place] and len(tokens) % CHECK_EVERY == 0:
                self._cut[row] = ended[place] = self.stop_when(row, tokens)
        batch.pending = chosen
        if ended.any():
            self._leave(batch, ~ended)
        if not len(batch.rows):
            return
        changed = batch.move(batch.lanes.split(batch.pending, self._own_from[batch.rows]), self.model.device)
        if ended.any() and batch.lanes.idle_share() >= IDLE_SHARE:
            batch.move(batch.lanes.compact(), self.model.device)
        if changed or ended.any():
            self._parting.follow(batch.lanes, batch.rows, head=False)

    def _sampled(self, batch: _Batch, logits: torch.Tensor) -> Ints:
        """Tokens drawn at temperature 1: where the cumulated softmax passes one uniform number a row and step.

        The number belongs to the row, so what else is in the batch does not matter.
        """
        assert self._uniform is not None
        drawn = torch.stack([self._uniform[row, len(self._tokens[row])] for row in batch.rows.tolist()])
        lane = torch.as_tensor(batch.lanes.lane_of[-1], device=logits.device)
        cumulated = logits.double().softmax(-1).cumsum(-1)[lane]
        passed = cumulated <= drawn.to(logits.device)[:, None] * cumulated[:, -1:]
        return np.asarray(passed.sum(-1).clamp(max=logits.shape[-1] - 1).cpu().numpy(), dtype=np.int64)

    def _leave(self, batch: _Batch, staying: Bools) -> None:
        self._done += int((~staying).sum())
        batch.rows, batch.lengths, batch.pending = batch.rows[staying], batch.lengths[staying], batch.pending[staying]
        batch.lanes.keep(staying)
        if self._progress is not None:
            self._progress(self._done, len(self.rows))

    def _joined(self, batch: _Batch, fresh: _Batch) -> _Batch:
        """Take a fresh batch into a running one."""
        device = self.model.device
        batch.move(batch.lanes.compact(), device)
        fresh.move(fresh.lanes.compact(), device)
        missing = fresh.columns - batch.columns
        ends = [*batch.lanes.sites[1:], self.model.layers]
        for stage, (begin, end) in enumerate(zip(batch.lanes.sites, ends, strict=True)):
            source = torch.arange(fresh.lanes.counts[stage], device=device)
            for mine, theirs in zip(batch.cache.layers[begin:end], fresh.cache.layers[begin:end], strict=True):
                if missing > 0:
                    mine.shift(missing)
                mine.take_lanes(theirs, source, batch.lanes.counts[stage])
        batch.lanes.absorb(fresh.lanes)
        batch.rows = np.concatenate([batch.rows, fresh.rows])
        batch.lengths = np.concatenate([batch.lengths, fresh.lengths])
        batch.pending = np.concatenate([batch.pending, fresh.pending])
        return batch

    def _results(self) -> list[RowRollout]:
        coordinates: list[list[float]] = [[] for _ in self.rows]
        for rows, values in self._cosines:
            for row, value in zip(rows.tolist(), values.tolist(), strict=True):
                coordinates[row].append(value)
        return [
            RowRollout(
                token_ids=tuple(self._tokens[row]),
                coordinates=tuple(coordinates[row]) if self._measured[row] else (),
                ties=int(self._ties[row]),
                cut=bool(self._cut[row]),
            )
            for row in range(len(self.rows))
        ]
