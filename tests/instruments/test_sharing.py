from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.instruments.sharing import NEVER, Lanes, Moves

SITES = (0, 2, 5)


class Shadow:
    """What lanes stand for: per stage and lane the history that its keys and values were computed from.

    A row's own history at a stage is its prompt, its tokens, and itself from the site on from which it has a lane of
    its own. Whatever the bookkeeping does, a row's lane must hold a history that the row agrees with there.
    """

    def __init__(self, lanes: Lanes, prompts: list[int], own_from: list[int]) -> None:
        self.own_from = own_from
        self.histories: list[tuple[int, ...]] = [(prompt,) for prompt in prompts]
        self.names = list(range(len(prompts)))
        self.held: list[dict[int, tuple[object, ...]]] = []
        for stage in range(len(lanes.sites)):
            self.held.append({})
            self.write(lanes, stage)

    def expected(self, row: int, site: int) -> tuple[object, ...]:
        alone = ("row", self.names[row]) if self.own_from[row] <= site else ()
        return (*alone, *self.histories[row])

    def write(self, lanes: Lanes, stage: int) -> None:
        for row, lane in enumerate(lanes.lane_of[stage].tolist()):
            self.held[stage][lane] = self.expected(row, lanes.sites[stage])

    def apply(self, moves: list[Moves]) -> None:
        for stage, move in enumerate(moves):
            assert not set(move.source.tolist()) & set(move.target.tolist())
            for source, target in zip(move.source.tolist(), move.target.tolist(), strict=True):
                self.held[stage][target] = self.held[stage][source]

    def check(self, lanes: Lanes, *, also_own: bool = True) -> None:
        for stage, site in enumerate(lanes.sites):
            assert lanes.lane_of[stage].max(initial=-1) < lanes.counts[stage]
            for row, lane in enumerate(lanes.lane_of[stage].tolist()):
                held, wanted = self.held[stage][lane], self.expected(row, site)
                # A lane that a row has just got holds what it shared until now.
                assert held == wanted or (also_own and held == wanted[2:])


@st.composite
def decodings(draw: st.DrawFn) -> tuple[list[int], list[int], list[int], list[list[int]], list[list[bool]]]:
    rows = draw(st.integers(1, 9))
    sites = st.sampled_from([0, 2, 5, NEVER])
    prompts = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    head = draw(st.lists(sites, min_size=rows, max_size=rows))
    own = [min(h, draw(sites)) for h in head]
    steps = draw(st.integers(1, 6))
    tokens = [draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)) for _ in range(steps)]
    staying = [draw(st.lists(st.booleans(), min_size=rows, max_size=rows)) for _ in range(steps)]
    return prompts, head, own, tokens, staying


@given(decodings())
def test_a_row_always_finds_its_own_history_in_its_lane(case: tuple) -> None:
    prompts, head, own, tokens, staying = case
    lanes = Lanes(SITES, np.array(prompts), np.array(head))
    shadow = Shadow(lanes, prompts, head)
    shadow.check(lanes, also_own=False)
    shadow.apply(lanes.split(np.zeros(len(prompts), dtype=np.int64), np.array(own)))
    shadow.own_from = own
    shadow.check(lanes)
    for stage in range(len(SITES)):
        shadow.write(lanes, stage)
    alive = list(range(len(prompts)))
    for chosen, stays in zip(tokens, staying, strict=True):
        for row in alive:
            shadow.histories[shadow.names.index(row)] += (chosen[row],)
        keep = np.array([stays[row] for row in alive], dtype=bool)
        lanes.keep(keep)
        for name in ("histories", "names", "own_from"):
            setattr(shadow, name, [v for v, k in zip(getattr(shadow, name), keep, strict=True) if k])
        alive = [row for row in alive if stays[row]]
        if not alive:
            return
        # Before the next pass a lane holds its rows' history without the token they read next.
        latest = [history[-1] for history in shadow.histories]
        shadow.histories = [history[:-1] for history in shadow.histories]
        shadow.apply(lanes.split(np.array(latest), np.array(shadow.own_from)))
        shadow.check(lanes, also_own=False)
        if lanes.idle_share() > 0.3:
            shadow.apply(lanes.compact())
            shadow.check(lanes, also_own=False)
            assert lanes.idle_share() == 0
        for stage in range(len(SITES)):
            assert lanes.entry(stage, 0).min() >= 0
        shadow.histories = [(*h, t) for h, t in zip(shadow.histories, latest, strict=True)]
        for stage in range(len(SITES)):
            shadow.write(lanes, stage)


def test_rows_that_agree_share_and_others_do_not() -> None:
    lanes = Lanes([0, 3], np.array([0, 0, 1, 0]), np.array([3, 3, NEVER, NEVER]))
    assert lanes.counts == [2, 4]
    assert lanes.lane_of[0].tolist() == [0, 0, 1, 0]
    assert sorted(lanes.lane_of[1].tolist()) == [0, 1, 2, 3]
    lanes.split(np.array([5, 5, 5, 6]), np.array([3, 3, NEVER, NEVER]))
    assert lanes.lane_of[0].tolist() == [0, 0, 1, 2]
    assert lanes.counts == [3, 4]


def test_lanes_without_rows_are_used_again() -> None:
    lanes = Lanes([0], np.array([0, 1, 1]), np.array([NEVER] * 3))
    lanes.keep(np.array([False, True, True]))
    assert lanes.idle_share() == pytest.approx(0.5)
    (moves,) = lanes.split(np.array([1, 2]), np.array([NEVER, NEVER]))
    assert (moves.source.tolist(), moves.target.tolist()) == ([1], [0])
    assert lanes.counts == [2]


def test_a_batch_absorbs_another() -> None:
    first = Lanes([0, 1], np.array([0, 0]), np.array([1, NEVER]))
    second = Lanes([0, 1], np.array([0, 0, 1]), np.array([1, 1, NEVER]))
    first.absorb(second)
    assert first.rows == 5
    assert first.counts == [3, 5]
    assert first.lane_of[0].tolist() == [0, 0, 1, 1, 2]
    assert sorted(first.lane_of[1].tolist()) == [0, 1, 2, 3, 4]
    members = first.members(0)
    assert first.entry(1, 0)[first.lane_of[1]].tolist() == first.lane_of[0].tolist()
    assert all(first.lane_of[0][member] == lane for lane, member in enumerate(members))
