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

from controlwindow.instruments.batch import Batch
from controlwindow.instruments.finite import NotFinite, not_finite
from controlwindow.instruments.highest import highest
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.operations import RowOperations, check_operations
from controlwindow.instruments.parting import Parting
from controlwindow.instruments.routes import Route, Row, route
from controlwindow.instruments.sharing import NEVER, Bools, Ints, Lanes
from controlwindow.models import Model

IDLE_SHARE = 0.125
"""Share of lanes without rows at which the batch is closed up; closing up copies keys and values."""

REFILL_SHARE = 0.25
"""Share of a full batch that must be free before waiting rows are taken in: reading their prompts is one more pass."""

SPARE_COLUMNS = 32
"""Columns of keys and values beyond the longest row, where rows come and go: a full buffer is moved to the left."""

ALIKE, LEAST_GROUP = 0.85, 16
"""Prompts are read apart from those of which they have less than this share of the length, in groups of at least so
many rows."""

WORTH_A_DRAFT = 8
"""Tokens that another text must go on for, so that reading it is worth reading the prompt again."""

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
        before_pass: Called before each pass whose last position emits tokens, with the lanes of the first block's batch
            that have a row.
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
        before_pass: Callable[[torch.Tensor], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.model = model
        self.rows = list(rows)
        self.horizon = max_new_tokens
        self.batch_rows = max(1, min(batch_rows, len(self.rows)))
        self.stop_when = stop_when
        self._before_pass = before_pass
        self._progress = progress
        check_operations(model, [row.operations for row in self.rows])
        known: dict[RowOperations, Route] = {}
        for row in self.rows:
            if row.operations not in known:
                known[row.operations] = route(model, row.operations, share)
        routes = [known[row.operations] for row in self.rows]
        self._head_from = np.array([r.head_from for r in routes], dtype=np.int64)
        self._own_from = np.array([r.own_from for r in routes], dtype=np.int64)
        # Where some operation begins at the last prompt position, that position is a step of its own for every row.
        self._tail = any(o.positions == "generated" for row in self.rows for o in row.operations)
        if not self._tail:
            self._head_from = self._own_from
        self._sites = sorted({0, *self._head_from.tolist(), *self._own_from.tolist()} - {NEVER})
        self._parting = Parting(model, routes, self._sites)
        window = attention_window(model)
        spare = SPARE_COLUMNS if len(self.rows) > self.batch_rows else 0
        # The last token is emitted and never read, and samples do not follow a draft.
        self._drafts = [row.draft[: max_new_tokens - 1] for row in self.rows]
        self._others = [[draft[: max_new_tokens - 1] for draft in row.more_drafts] for row in self.rows]
        # A sliding window counts columns, and a draft that is not confirmed leaves a hole in them.
        if sample_seed is not None or (window is not None and self._room(spare) > window):
            self._drafts, self._others = [() for _ in self.rows], [[] for _ in self.rows]
        self._columns = self._room(spare)
        self._again: list[int] = []
        self._uniform: torch.Tensor | None = None
        if sample_seed is not None:
            generator = torch.Generator().manual_seed(sample_seed)
            self._uniform = torch.rand((len(self.rows), max_new_tokens), generator=generator, dtype=torch.float64)
        self._stops = model.stop_ids
        self._tokens: list[list[int]] = [[] for _ in self.rows]
        self._ties = np.zeros(len(self.rows), dtype=np.int64)
        self._cut = np.zeros(len(self.rows), dtype=bool)
        self._cosines: list[tuple[Ints, Ints, Ints, torch.Tensor]] = []
        self._done = 0

    def run(self) -> list[RowRollout]:
        """Decode every row; returns them in the order given.

        Raises:
            ModelError: The model gave logits that are not finite, which name no token.
        """
        try:
            return self._decode()
        except NotFinite as found:
            row = self.rows[found.row]
            raise not_finite(self.model, (*row.prompt_ids, *self._tokens[found.row]), row.operations) from None

    def _decode(self) -> list[RowRollout]:
        waiting = deque(range(len(self.rows)))
        batch: Batch | None = None
        with measuring(self.model), self._parting:
            while waiting or batch is not None:
                free = self.batch_rows - (0 if batch is None else len(batch.rows))
                if waiting and (batch is None or free >= REFILL_SHARE * self.batch_rows):
                    taken = [waiting.popleft() for _ in range(min(free, len(waiting)))]
                    groups = deque(self._alike(taken))
                    while groups:
                        fresh = self._begin(groups.popleft(), joining=batch is not None)
                        if batch is None:
                            batch = fresh
                        else:
                            batch.absorb(fresh)
                        if self._again:
                            groups += self._alike(self._again)
                            self._again = []
                    if batch is not None and len(batch.rows):
                        self._parting.follow(batch.lanes, batch.rows, head=False)
                if batch is not None and len(batch.rows):
                    self._step(batch)
                if batch is not None and not len(batch.rows):
                    batch = None
        return self._results()

    def _room(self, spare: int) -> int:
        longest = max((len(row.prompt_ids) for row in self.rows), default=0)
        drafts = [*self._drafts, *(draft for others in self._others for draft in others)]
        return longest + max(map(len, drafts), default=0) + self.horizon + spare

    def _alike(self, rows: list[int]) -> list[Ints]:
        """Rows in groups of like length, the longest first, so that little is padded when their prompts are read."""
        ordered = sorted(rows, key=lambda row: (-self._width(row), row))
        widths = [self._width(row) for row in ordered]
        groups: list[list[int]] = [[]]
        for place, row in enumerate(ordered):
            left = len(ordered) - place
            if len(groups[-1]) >= LEAST_GROUP <= left and widths[place] <= ALIKE * self._width(groups[-1][0]):
                groups.append([])
            groups[-1].append(row)
        return [np.array(sorted(group), dtype=np.int64) for group in groups]

    def _width(self, row: int) -> int:
        return len(self.rows[row].prompt_ids) + len(self._drafts[row])

    def _begin(self, rows: Ints, *, joining: bool) -> Batch:
        """Read prompts and drafts of rows that were waiting, and choose the tokens that follow.

        Rows that join others at once have buffers of just their size; the others have room for all that will join.
        """
        prompts = [self.rows[row].prompt_ids for row in rows.tolist()]
        drafts = [self._drafts[row] for row in rows.tolist()]
        numbers: dict[object, int] = {}
        groups = [numbers.setdefault(texts, len(numbers)) for texts in zip(prompts, drafts, strict=True)]
        batch = Batch.empty(
            rows,
            Lanes(self._sites, np.array(groups, dtype=np.int64), self._head_from[rows]),
            self.model.layers,
            len(rows) if joining else self.batch_rows,
            max(map(len, prompts)) + max(map(len, drafts)) if joining else self._columns,
            self.model.device,
        )
        tail = [(*prompt[-1:], *draft) for prompt, draft in zip(prompts, drafts, strict=True)]
        keep = max(map(len, tail))
        if self._tail:
            heads = [prompt[:-1] for prompt in prompts]
            if any(heads):
                self._parting.follow(batch.lanes, rows, head=True)
                self._pass(batch, heads, 1)
            batch.move(batch.lanes.split(np.zeros(len(rows), dtype=np.int64), self._own_from[rows]))
            texts = tail
        else:
            texts = [(*prompt, *draft) for prompt, draft in zip(prompts, drafts, strict=True)]
        self._parting.follow(batch.lanes, rows, head=False)
        hidden = self._pass(batch, texts, keep)
        drafted = np.full((len(rows), keep), -1, dtype=np.int64)
        for place, draft in enumerate(drafts):
            drafted[place, keep - 1 - len(draft) : keep - 1] = draft
        self._choose(batch, hidden, drafted, np.array([keep - len(text) for text in tail], dtype=np.int64))
        batch.close_up()
        return batch

    def _step(self, batch: Batch) -> None:
        batch.make_room(1)
        hidden = self._pass(batch, [(token,) for token in batch.pending.tolist()], 1)
        none = np.full((len(batch.rows), 1), -1, dtype=np.int64)
        self._choose(batch, hidden, none, np.zeros(len(batch.rows), dtype=np.int64))

    def _pass(self, batch: Batch, texts: Sequence[Sequence[int]], keep: int) -> torch.Tensor:
        """Run the decoder over what each row reads next.

        Args:
            batch: The rows.
            texts: Their tokens.
            keep: Last positions that are wanted.

        Returns:
            Hidden states of those positions by lane of the last stage, [lanes, keep, d_model].
        """
        device, width, before = self.model.device, max(map(len, texts)), batch.columns
        tokens = np.full((len(texts), width), self.model.pad_id, dtype=np.int64)
        real = np.zeros((len(texts), width), dtype=bool)
        for place, text in enumerate(texts):
            tokens[place, width - len(text) :] = text
            real[place, width - len(text) :] = True
        batch.seen[:, before : before + width] = real
        positions = (batch.lengths[:, None] + real.cumsum(axis=1) - 1).clip(min=0)
        batch.lengths = batch.lengths + real.sum(axis=1)
        members = batch.lanes.members(0)
        mask = batch.seen[members, : before + width]
        # A lane without rows reads what the last row reads, and has itself to attend to.
        mask[members < 0, -1] = True
        if self._before_pass is not None:
            self._before_pass(torch.as_tensor(np.flatnonzero(members >= 0), device=device))
        self._parting.begin_pass(keep)
        hidden: torch.Tensor = self.model.decoder(
            input_ids=torch.as_tensor(tokens[members], device=device),
            **self.model.forward_options(
                torch.as_tensor(mask, device=device).long(),
                torch.as_tensor(positions[members], device=device),
                batch.cache,
            ),
        )[0]
        return hidden[:, -keep:]

    def _choose(self, batch: Batch, hidden: torch.Tensor, drafted: Ints, starts: Ints) -> None:
        """Take each row's next tokens, let rows that ended go, and part rows that chose differently.

        Args:
            batch: The rows.
            hidden: Hidden states of the last positions by lane, [lanes, positions, d_model].
            drafted: The token that a row's draft has after each of them, −1 for none, [rows, positions].
            starts: The position of each row's first new token, [rows].
        """
        best, tied, finite = highest(self.model, hidden)
        lane = batch.lanes.lane_of[-1]
        chosen, tied = best[lane], tied[lane]
        if not finite.all():
            # Only what stands before a row's first new token is padding.
            broken = ~finite[lane] & (np.arange(finite.shape[1]) >= starts[:, None])
            if broken.any():
                raise NotFinite(int(batch.rows[broken.any(axis=1).argmax()]))
        if self._uniform is not None:
            chosen = self._sampled(batch, hidden)
        places = np.arange(chosen.shape[1])
        # The model's own choices count up to and including the first that is not the draft's.
        last = ((chosen != drafted) & (places >= starts[:, None])).argmax(axis=1)
        batch.pending = chosen[np.arange(len(last)), last]
        unread = places[-1] - last
        for place in np.flatnonzero(unread):
            batch.seen[place, batch.columns - unread[place] : batch.columns] = False
        batch.lengths = batch.lengths - unread
        counts, ended = self._record(batch, chosen, starts, last, tied)
        turned = np.array([not end and self._turns(row) for row, end in zip(batch.rows.tolist(), ended, strict=True)])
        counts[turned] = 0
        self._keep_cosines(batch, starts, counts)
        self._done += int(ended.sum())
        ended |= turned
        choices = batch.pending + (int(batch.pending.max(initial=0)) + 1) * last
        if ended.any():
            batch.leave(~ended)
            choices = choices[~ended]
            if self._progress is not None:
                self._progress(self._done, len(self.rows))
        if not len(batch.rows):
            return
        changed = batch.move(batch.lanes.split(choices, self._own_from[batch.rows]))
        if ended.any() and batch.lanes.idle_share() >= IDLE_SHARE:
            batch.move(batch.lanes.compact())
        if changed or ended.any():
            self._parting.follow(batch.lanes, batch.rows, head=False)

    def _record(self, batch: Batch, chosen: Ints, starts: Ints, last: Ints, tied: Bools) -> tuple[Ints, Bools]:
        """Write down each row's new tokens, as far as they count; returns how many, and who ended, [rows] each."""
        counts, ended = np.zeros(len(starts), dtype=np.int64), np.zeros(len(starts), dtype=bool)
        for place, row in enumerate(batch.rows.tolist()):
            tokens, start = self._tokens[row], int(starts[place])
            for token in chosen[place, start : last[place] + 1].tolist():
                tokens.append(token)
                counts[place] += 1
                if len(tokens) == self.horizon or token in self._stops:
                    ended[place] = True
                elif self.stop_when is not None and len(tokens) % CHECK_EVERY == 0 and self.stop_when(row, tokens):
                    self._cut[row] = ended[place] = True
                if ended[place]:
                    break
            self._ties[row] += int(tied[place, start : start + counts[place]].sum())
        return counts, ended

    def _turns(self, row: int) -> bool:
        """Whether a row has turned from its draft towards another text; then it begins again with that one."""
        tokens = self._tokens[row]
        for draft in self._others[row]:
            if len(draft) >= len(tokens) + WORTH_A_DRAFT and list(draft[: len(tokens)]) == tokens:
                # Where it turned it will turn again, so each text is tried once.
                self._others[row] = [other for other in self._others[row] if other is not draft]
                self._drafts[row] = draft
                self._tokens[row], self._ties[row] = [], 0
                self._again.append(row)
                return True
        # One token on, the text is the row's own.
        self._others[row] = []
        return False

    def _keep_cosines(self, batch: Batch, starts: Ints, counts: Ints) -> None:
        for measured, values in self._parting.cosines:
            places = measured.cpu().numpy()
            self._cosines.append((batch.rows[places], starts[places], counts[places], values))

    def _sampled(self, batch: Batch, hidden: torch.Tensor) -> Ints:
        """Tokens drawn at temperature 1: where the cumulated softmax passes one uniform number a row and step.

        The number belongs to the row, so what else is in the batch does not matter.
        """
        assert self._uniform is not None
        logits = self.model.readout(hidden[:, -1])
        drawn = torch.stack([self._uniform[row, len(self._tokens[row])] for row in batch.rows.tolist()])
        lane = torch.as_tensor(batch.lanes.lane_of[-1], device=logits.device)
        cumulated = logits.double().softmax(-1).cumsum(-1)[lane]
        passed = cumulated <= drawn.to(logits.device)[:, None] * cumulated[:, -1:]
        chosen = passed.sum(-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
        return np.asarray(chosen.cpu().numpy(), dtype=np.int64)

    def _results(self) -> list[RowRollout]:
        coordinates: list[list[float]] = [[] for _ in self.rows]
        for rows, starts, counts, values in self._cosines:
            found = zip(rows.tolist(), starts.tolist(), counts.tolist(), values.tolist(), strict=True)
            for row, start, count, cosines in found:
                coordinates[row] += cosines[start : start + count]
        return [
            RowRollout(
                token_ids=tuple(self._tokens[row]),
                coordinates=tuple(coordinates[row]),
                ties=int(self._ties[row]),
                cut=bool(self._cut[row]),
            )
            for row in range(len(self.rows))
        ]


def attention_window(model: Model) -> int | None:
    """The shortest sliding attention window of a model, in positions; None where every position sees all."""
    if getattr(model.config, "use_sliding_window", True) is False:
        return None
    found = [getattr(model.config, name, None) for name in ("sliding_window", "window_size", "attention_window")]
    return min((int(window) for window in found if isinstance(window, int)), default=None)
