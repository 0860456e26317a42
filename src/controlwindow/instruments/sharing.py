"""Which rows of a batch share a line of each block's batch: rows that agree are computed once.

Two rows with the same prompt and the same tokens so far hold the same residuals up to the layer where the first of
them is dosed. So a batch has one *lane* for all of them in the blocks below, and one lane a row from there on. Lanes
split when rows choose different tokens, and they never merge. Pure bookkeeping in NumPy; it knows no model.

A *site* is the input of a block, counted from 0, or of the final norm (the number of blocks). Sites between two
neighbouring entries of `Lanes.sites` have the same lanes; they make a *stage*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_OWN = 1 << 40
NEVER = 1 << 30
"""A row that shares its lane everywhere, because nothing is done to it."""


class Moves(NamedTuple):
    """Lanes of a stage to copy, from `source` to `target`; the two never overlap."""

    source: Ints
    target: Ints


class Lanes:
    """The lanes of a batch.

    Args:
        sites: Sites at which rows may part, ascending; the first is 0.
        groups: Rows with equal numbers begin with the same prompt, [rows].
        own_from: The site from which a row has a lane of its own, `NEVER` if none, [rows].

    Attributes:
        sites: As given.
        lane_of: Per stage the lane of each row, [rows] each.
        counts: Per stage the number of lanes, those without a row included.

    Example:
        Three rows of one prompt, of which the last two are dosed before block 2:

        >>> lanes = Lanes([0, 2], np.array([7, 7, 7]), np.array([NEVER, 2, 2]))
        >>> lanes.counts, [of.tolist() for of in lanes.lane_of]
        ([1, 3], [[0, 0, 0], [0, 1, 2]])
    """

    def __init__(self, sites: Sequence[int], groups: Ints, own_from: Ints) -> None:
        self.sites = tuple(sites)
        self.lane_of: list[Ints] = []
        self.counts: list[int] = []
        for site in self.sites:
            first, lane = np.unique(_codes(groups, own_from <= site), return_inverse=True)
            self.lane_of.append(lane.astype(np.int64))
            self.counts.append(len(first))

    @property
    def rows(self) -> int:
        """Rows in the batch."""
        return len(self.lane_of[0])

    def split(self, choices: Ints, own_from: Ints) -> list[Moves]:
        """Part the rows of a lane that differ in `choices`, and rows that now have a lane of their own.

        Args:
            choices: What each row does next (its token), [rows].
            own_from: As for the class.

        Returns:
            Per stage the lanes to copy. A row that parts takes a lane without rows, or a new one behind the last.
        """
        moves = []
        for stage, site in enumerate(self.sites):
            lane = self.lane_of[stage]
            codes = _codes(choices, own_from <= site)
            _, codes = np.unique(codes, return_inverse=True)
            width = int(codes.max(initial=0)) + 1
            keys, inverse = np.unique(lane * width + codes, return_inverse=True)
            parent = keys // width
            stays = np.ones(len(keys), dtype=bool)
            stays[1:] = parent[1:] != parent[:-1]
            added = np.flatnonzero(~stays)
            if not len(added):
                moves.append(Moves(added, added))
                continue
            free = np.setdiff1d(np.arange(self.counts[stage] + len(added)), parent)[: len(added)]
            target = parent.copy()
            target[added] = free
            self.lane_of[stage] = target[inverse]
            self.counts[stage] = max(self.counts[stage], int(free[-1]) + 1)
            moves.append(Moves(parent[added], free))
        return moves

    def keep(self, rows: Bools) -> None:
        """Let go of the other rows; lanes without rows stay in the batch until `compact`."""
        self.lane_of = [lane[rows] for lane in self.lane_of]

    def idle_share(self) -> float:
        """Largest share of lanes without rows in any stage."""
        live = [len(np.unique(lane)) for lane in self.lane_of]
        return max(1 - alive / max(count, 1) for alive, count in zip(live, self.counts, strict=True))

    def compact(self) -> list[Moves]:
        """Move the last lanes into those without rows, so that every lane has one; returns the moves per stage."""
        moves = []
        for stage, lane in enumerate(self.lane_of):
            live = np.unique(lane)
            source = live[live >= len(live)]
            target = np.setdiff1d(np.arange(len(live)), live)
            place = np.arange(self.counts[stage])
            place[source] = target
            self.lane_of[stage] = place[lane]
            self.counts[stage] = len(live)
            moves.append(Moves(source, target))
        return moves

    def absorb(self, other: Lanes) -> None:
        """Take in another batch with the same sites: its rows behind these, its lanes behind these."""
        for stage in range(len(self.sites)):
            self.lane_of[stage] = np.concatenate([self.lane_of[stage], other.lane_of[stage] + self.counts[stage]])
            self.counts[stage] += other.counts[stage]

    def members(self, stage: int) -> Ints:
        """A row of each lane, −1 for a lane without rows, [lanes]."""
        found = np.full(self.counts[stage], -1, dtype=np.int64)
        found[self.lane_of[stage]] = np.arange(self.rows)
        return found

    def entry(self, stage: int, before: int) -> Ints:
        """For each lane of a stage the lane of an earlier one that it continues; 0 for lanes without rows."""
        members = self.members(stage)
        return np.where(members >= 0, self.lane_of[before][members], 0)


def _codes(shared: Ints, own: Bools) -> Ints:
    """Numbers that are equal for rows that share, and unlike any other for rows of their own."""
    return np.where(own, _OWN + np.arange(len(shared), dtype=np.int64), shared)
