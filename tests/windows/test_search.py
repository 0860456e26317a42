from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from responders import drive, rows_for, rows_of, search_for, spread, window

from controlwindow import geometry
from controlwindow.curves import SaturationCurve
from controlwindow.windows.search import RESOLUTION, Candidate, WindowSearch, median_coordinate, summarise
from controlwindow.windows.window import Measured, read_search


def check_requests(search: WindowSearch, rounds: list) -> None:
    """No dose is asked for twice on a prompt, each round ascends, and every cell carries the candidate's offset."""
    asked = [(cell.t, prompt) for cells in rounds for cell in cells for prompt in cell.prompts]
    assert len(asked) == len(set(asked)) == sum(map(len, search.measured.values()))
    for cells in rounds:
        assert [cell.t for cell in cells] == sorted(cell.t for cell in cells)
        for cell in cells:
            assert cell.t > 0
            assert cell.alpha == pytest.approx(search.candidate.branch * cell.t * search.candidate.budget)
            assert (cell.neuron, cell.branch) == (search.candidate.neuron, search.candidate.branch)
            assert list(cell.prompts) == [p for p in search.task.prompts if p in cell.prompts] != []
    seen = {len(rows) for rows in search.measured.values()}
    assert seen <= set(search.task.stages)
    assert set(search.doses) | set(search.scouted) == {0.0, *search.measured}
    assert not set(search.doses) & set(search.scouted)
    assert np.all(np.diff(search.coordinates) >= 0)
    assert search.progress == 1.0


def rows_asked(rounds: list) -> int:
    return sum(len(cell.prompts) for cells in rounds for cell in cells)


def found(search: WindowSearch) -> Measured:
    return read_search(search, seed=0)


def half(thresholds: np.ndarray) -> float:
    """The coordinate at which half of the prompts have passed their threshold."""
    return float(np.sort(thresholds)[(len(thresholds) + 1) // 2 - 1])


@given(
    st.floats(0.05, 0.6),
    st.floats(0.12, 0.5),
    st.floats(0.0, 0.1),
    st.integers(8, 40),
    st.floats(-0.5, 0.5),
    st.sampled_from([1, -1]),
    st.sampled_from([1, 3]),
)
def test_an_open_window_is_found_within_the_resolution(
    trigger: float, width: float, noise: float, count: int, cosine: float, branch: int, stride: int
) -> None:
    triggers = spread(max(trigger, cosine + 0.05 + noise / 2), noise, count)
    ceilings = np.minimum(spread(half(triggers) + width, noise, count), 0.97)
    search = search_for(count, cosine, branch, stride=stride)
    rounds = drive(search, window(triggers, ceilings))
    check_requests(search, rounds)
    result = found(search)
    assert result.open
    assert result.trigger.value == pytest.approx(half(triggers), abs=RESOLUTION)
    assert result.ceiling.value == pytest.approx(half(ceilings), abs=RESOLUTION)
    low, high = result.trigger.interval
    assert low <= result.trigger.value <= high
    assert result.probability > 0.9


@given(st.floats(0.2, 0.9), st.floats(-0.5, 0.5), st.integers(8, 40))
def test_collapse_before_any_flip_closes_the_window(ceiling: float, cosine: float, count: int) -> None:
    ceilings = spread(max(ceiling, cosine + 0.1), 0.05, count)
    search = search_for(count, cosine)
    check_requests(search, drive(search, window(np.full(count, 2.0), ceilings)))
    result = found(search)
    assert not result.open
    assert result.trigger.value is None
    assert result.ceiling.value == pytest.approx(half(ceilings), abs=RESOLUTION)
    assert result.probability == 0.0


def test_no_effect_scans_the_whole_range_and_reaches_nothing() -> None:
    search = search_for()
    rounds = drive(search, lambda c: ["unswitched"] * 16)
    check_requests(search, rounds)
    assert max(search.coordinates) == pytest.approx(geometry.RANGE_END)
    assert len(search.measured) == len(search.task.coarse)
    assert len(search.doses) == 2, "the end of the range alone is measured in full"
    result = found(search)
    assert (result.trigger.value, result.ceiling.value) == (None, None)
    assert result.trigger.interval == result.ceiling.interval == (None, None)


def test_a_window_without_a_ceiling_in_range_is_open() -> None:
    search = search_for()
    drive(search, window(spread(0.33, 0.1, 16), np.full(16, 2.0)))
    result = found(search)
    assert result.open
    assert result.ceiling.value is None
    assert result.trigger.value == pytest.approx(0.33, abs=RESOLUTION)


@pytest.mark.parametrize("low", [0.605, 0.62, 0.64, 0.66])
def test_a_window_narrower_than_a_coarse_step_is_found_before_its_collapse(low: float) -> None:
    search = search_for()
    rounds = drive(search, window(np.full(16, low), np.full(16, low + 0.035)))
    check_requests(search, rounds)
    result = found(search)
    assert result.open
    assert result.trigger.value == pytest.approx(low, abs=RESOLUTION)
    assert result.ceiling.value == pytest.approx(low + 0.035, abs=RESOLUTION)


def test_a_peak_that_stays_below_the_level_on_the_grid_is_looked_at_closer() -> None:
    # 40 % at 0.5, nothing at 0.6, but 80 % around 0.54: only a look between the coarse doses shows it.
    def respond(c: float) -> list[str]:
        share = 8 if 0.52 <= c <= 0.57 else 4 if 0.45 <= c <= 0.57 else 0
        return ["switched"] * share + ["other"] * (10 - share)

    search = search_for(10)
    rounds = drive(search, respond)
    check_requests(search, rounds)
    result = found(search)
    assert result.open
    assert result.trigger.value == pytest.approx(0.51, abs=0.06)


def test_a_response_that_comes_and_goes_triggers_at_its_first_rise() -> None:
    def respond(c: float) -> list[str]:
        if c >= 0.93:
            return ["collapsed"] * 16
        return ["switched" if 0.22 <= c < 0.47 or c >= 0.75 else "other"] * 16

    search = search_for()
    check_requests(search, drive(search, respond))
    result = found(search)
    assert result.trigger.value == pytest.approx(0.22, abs=RESOLUTION)
    assert result.ceiling.value == pytest.approx(0.93, abs=RESOLUTION)
    shown = search.coordinates[result.peak]
    assert respond(shown)[0] == "switched"


def test_the_shown_dose_of_a_window_without_flips_lies_below_its_first_collapse() -> None:
    # Collapse that recovers: the first crossing is the ceiling, and what lies beyond it is not shown.
    def respond(c: float) -> list[str]:
        return ["collapsed" if 0.42 <= c < 0.67 or c >= 0.85 else "unswitched"] * 16

    search = search_for(stride=10)
    drive(search, respond)
    result = found(search)
    assert result.ceiling.value == pytest.approx(0.42, abs=RESOLUTION)
    assert search.coordinates[result.peak] < result.ceiling.value


@given(st.lists(st.lists(st.sampled_from(["unswitched", "switched", "other", "collapsed"]), min_size=9, max_size=9),
                min_size=12, max_size=12), st.floats(-0.95, 0.95))  # fmt: skip
def test_any_response_at_all_ends(table: list[list[str]], cosine: float) -> None:
    search = search_for(9, cosine)

    def respond(c: float) -> list[str]:
        return table[min(int((c + 1) * 6), 11)]

    check_requests(search, drive(search, respond))
    found(search)


@pytest.mark.parametrize("cosine", [-1 + 1e-9, -1 + 1e-12, -0.999, 0.999, 1 - 1e-9])
def test_a_residual_almost_along_the_write_ends_too(cosine: float) -> None:
    search = search_for(16, cosine)
    check_requests(search, drive(search, window(np.full(16, 0.111), np.full(16, 0.777))))


def test_a_replay_from_stored_rows_asks_for_the_same() -> None:
    respond = window(spread(0.37, 0.1, 16), spread(0.71, 0.1, 16))
    first, second = search_for(cosine=0.1), search_for(cosine=0.1)
    rounds = drive(first, respond)
    stored = json.loads(json.dumps({repr(t): rows for t, rows in first.measured.items()}))
    assert any(len(rows) == 8 for rows in stored.values())
    for asked in rounds:
        cells = second.next_cells()
        assert cells == asked
        second.update({cell: [stored[repr(cell.t)][prompt] for prompt in cell.prompts] for cell in cells})
    assert not second.next_cells()
    assert found(second) == found(first)


def test_a_search_without_refinement_measures_the_grid_only() -> None:
    coarse = (0.2, 0.5, 0.8)
    search = search_for(refine=False, coarse=coarse, stride=2)
    rounds = drive(search, window(np.full(16, 0.4), np.full(16, 2.0)))
    assert [len(cells) for cells in rounds[:2]] == [2, 1]
    assert sorted(map(search.candidate.coordinate, search.measured)) == pytest.approx(coarse, abs=1e-5)
    assert search.coordinates == pytest.approx([0.0, *coarse], abs=1e-5), "bracket and end of the range"


def test_no_dose_is_asked_for_beyond_a_certain_collapse() -> None:
    search = search_for()
    rounds = drive(search, window(np.full(16, 2.0), np.full(16, 0.33)))
    assert max(cell.t for cells in rounds for cell in cells) == pytest.approx(geometry.dose_for(0.4), abs=1e-5)


def test_a_collapse_in_doubt_is_followed_until_it_is_certain() -> None:
    # 9 of 16 collapsed is above half, but half is well inside its interval.
    def respond(c: float) -> list[str]:
        count = 16 if c >= 0.55 else 9 if c >= 0.35 else 0
        return ["collapsed"] * count + ["unswitched"] * (16 - count)

    search = search_for()
    drive(search, respond)
    assert max(search.coordinates) == pytest.approx(0.6, abs=1e-5)
    assert found(search).ceiling.value == pytest.approx(0.35, abs=RESOLUTION)


def test_events_are_read_at_each_horizon() -> None:
    search = search_for(2)
    cell = search.next_cells()[0]
    search.update({cell: rows_of(["collapsed", "switched"], 0.1, earlier=["switched", "unswitched"])})
    assert search.flips.tolist() == [[False, False], [False, True]]
    assert search.collapses.tolist() == [[False, False], [True, False]]
    assert search.events(frozenset({"switched"}), 8).tolist() == [[False, False], [True, False]]


def test_progress_rises_from_nothing_to_one() -> None:
    search = search_for()
    assert search.progress == 0.0
    seen = []
    respond = window(np.full(16, 0.3), np.full(16, 0.8))
    while cells := search.next_cells():
        search.update({cell: rows_for(cell, respond(search.candidate.coordinate(cell.t)), 0.0) for cell in cells})
        seen.append(search.progress)
    assert len(seen) > 4
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_a_candidate_follows_the_curve_of_its_branch() -> None:
    candidate = Candidate("L0.N0", -1, SaturationCurve(0.2), 3.0)
    assert candidate.coordinate(0.7) == geometry.control_coordinate(0.7, 0.2)
    assert candidate.dose(candidate.coordinate(0.7)) == pytest.approx(0.7)


def test_summaries_of_rows() -> None:
    rows = rows_of(["a", "b", "a", "a"], 0.5)
    assert summarise(rows, "16") == {"a": 0.75, "b": 0.25}
    middle, spread_of = median_coordinate(rows)
    assert middle == pytest.approx(0.5015)
    assert spread_of == pytest.approx((0.50075, 0.50225))
    assert median_coordinate([{"coordinate": None}]) == (None, None)
