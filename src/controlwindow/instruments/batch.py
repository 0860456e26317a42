"""Rows that are decoded together: their lanes, keys and values, and which columns of them each row has read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Cache

from controlwindow.instruments.cache import lane_cache
from controlwindow.instruments.sharing import Bools, Ints, Lanes, Moves


@dataclass
class Batch:
    """Rows that are decoded together.

    Attributes:
        rows: Their numbers in the call, [rows].
        lengths: Tokens each row has read, those of the prompt included, [rows].
        pending: The token each row reads next, [rows].
        seen: Columns of keys and values that belong to each row, [rows, columns]. A row's columns are in order, but a
            draft that was not confirmed leaves a hole until the batch is closed up.
        lanes: Who shares what.
        cache: Keys and values.
        device: Where they are.
    """

    rows: Ints
    lengths: Ints
    pending: Ints
    seen: Bools
    lanes: Lanes
    cache: Cache
    device: torch.device

    @classmethod
    def empty(cls, rows: Ints, lanes: Lanes, layers: int, most_lanes: int, columns: int, device: torch.device) -> Batch:
        """Rows that have read nothing yet, with room for so many lanes and columns."""
        return cls(
            rows=rows,
            lengths=np.zeros(len(rows), dtype=np.int64),
            pending=np.zeros(len(rows), dtype=np.int64),
            seen=np.zeros((len(rows), columns), dtype=bool),
            lanes=lanes,
            cache=lane_cache(layers, most_lanes, columns),
            device=device,
        )

    @property
    def columns(self) -> int:
        """Columns of keys and values in use."""
        return int(self.cache.layers[0].length)

    def move(self, moves: Sequence[Moves]) -> bool:
        """Copy lanes of keys and values, stage by stage; whether there was anything to copy."""
        for move, layers in zip(moves, self._stages(), strict=True):
            if len(move.source):
                source, target = (torch.as_tensor(lanes, device=self.device) for lanes in move)
                for layer in layers:
                    self.cache.layers[layer].copy_lanes(source, target)
        return any(len(move.source) for move in moves)

    def leave(self, staying: Bools) -> None:
        """Let go of the other rows."""
        self.rows, self.lengths, self.pending = self.rows[staying], self.lengths[staying], self.pending[staying]
        self.seen = self.seen[staying]
        self.lanes.keep(staying)

    def make_room(self, columns: int) -> None:
        """Free some columns where the buffers are full, by giving up those that no row uses any more."""
        total = self.seen.shape[1]
        if self.columns + columns > total:
            # A row leaves before it has filled the buffers, so the first of them was taken in later than column 0.
            first = int(self.seen.any(axis=0).argmax())
            for layer in self.cache.layers:
                layer.shift(-first)
            self.seen = np.concatenate([self.seen[:, first:], np.zeros((len(self.rows), first), dtype=bool)], axis=1)

    def close_up(self) -> None:
        """Take out the holes that drafts left, so that every row's columns are its tokens, right-aligned."""
        longest = int(self.lengths.max(initial=0))
        if not len(self.rows) or longest == self.columns:
            return
        kept = np.zeros((len(self.rows), longest), dtype=np.int64)
        for place, length in enumerate(self.lengths.tolist()):
            kept[place, longest - length :] = np.flatnonzero(self.seen[place])
        for stage, layers in enumerate(self._stages()):
            # A lane without rows keeps what some row does; nobody reads it.
            columns = torch.as_tensor(kept[self.lanes.members(stage)], device=self.device)
            for layer in layers:
                self.cache.layers[layer].pick_columns(columns)
        self.seen[:] = False
        self.seen[:, :longest] = np.arange(longest) >= longest - self.lengths[:, None]

    def absorb(self, other: Batch) -> None:
        """Take in another batch of the same call: its rows behind these, right-aligned with them."""
        self.move(self.lanes.compact())
        other.move(other.lanes.compact())
        missing = other.columns - self.columns
        if missing > 0:
            self.seen = np.roll(self.seen, missing, axis=1)
            for layer in self.cache.layers:
                layer.shift(missing)
        joining = np.zeros((len(other.rows), self.seen.shape[1]), dtype=bool)
        joining[:, self.columns - other.columns : self.columns] = other.seen[:, : other.columns]
        for stage, layers in enumerate(self._stages()):
            source = torch.arange(other.lanes.counts[stage], device=self.device)
            for layer in layers:
                self.cache.layers[layer].take_lanes(other.cache.layers[layer], source, self.lanes.counts[stage])
        self.lanes.absorb(other.lanes)
        self.rows = np.concatenate([self.rows, other.rows])
        self.lengths = np.concatenate([self.lengths, other.lengths])
        self.pending = np.concatenate([self.pending, other.pending])
        self.seen = np.concatenate([self.seen, joining])

    def _stages(self) -> list[range]:
        ends = [*self.lanes.sites[1:], len(self.cache.layers)]
        return [range(begin, end) for begin, end in zip(self.lanes.sites, ends, strict=True)]
