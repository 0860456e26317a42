"""Which verdicts hang on half precision, and what float32 makes of them."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from responders import drive, rows_of, search_for, spread, window

from controlwindow.windows.precision import Float32Check, compare, doses_to_check, with_float32
from controlwindow.windows.search import WindowSearch
from controlwindow.windows.window import read_search

COUNT = 16


def searched(respond) -> WindowSearch:
    search = search_for(COUNT, scouts=COUNT)
    drive(search, respond)
    return search


def checked(search: WindowSearch) -> tuple[float, ...]:
    return doses_to_check(search, read_search(search, 0).decided)


def flipping(count: int, at: float = 0.3):
    """So many flip from a dose on, all collapse at 0.8."""

    def respond(c: float) -> list[str]:
        if c >= 0.8:
            return ["collapsed"] * COUNT
        return ["switched" if c >= at and i < count else "unswitched" for i in range(COUNT)]

    return respond


def test_a_clear_window_is_not_checked():
    assert checked(searched(window(np.full(COUNT, 0.31), np.full(COUNT, 0.77)))) == ()
    assert checked(searched(window(np.full(COUNT, 2.0), np.full(COUNT, 0.77)))) == ()
    assert checked(searched(lambda c: ["unswitched"] * COUNT)) == ()


@pytest.mark.parametrize(("count", "near"), [(4, False), (6, True), (8, True), (10, True), (12, False)])
def test_two_prompts_from_the_level_are_near(count, near):
    search = searched(flipping(count))
    reading = read_search(search, 0)
    found = doses_to_check(search, True)
    assert bool(found) == near
    if near:
        c = [search.candidate.coordinate(t) for t in found]
        expected = {*reading.ceiling.bracket, *(reading.trigger.bracket or ())}
        assert expected <= set(c)
        assert any(0.29 < value < 0.8 for value in c)


def test_an_undecided_verdict_is_checked_wherever_its_shares_lie():
    search = searched(flipping(12))
    assert doses_to_check(search, True) == ()
    assert len(doses_to_check(search, False)) == 4


def test_a_ceiling_near_its_level_asks_for_nothing_about_flips_that_are_far_from_theirs():
    collapse = [[0, 2, 9, 16][int(np.searchsorted([0.5, 0.6, 0.8], c + 1e-9))] for c in np.linspace(0, 1, 101)]

    def respond(c: float) -> list[str]:
        return ["collapsed" if i < collapse[round(c * 100)] else "unswitched" for i in range(COUNT)]

    search = searched(respond)
    bracket = read_search(search, 0).ceiling.bracket
    assert {search.candidate.coordinate(t) for t in checked(search)} == set(bracket)


def test_every_dose_to_check_was_measured_in_full():
    search = search_for(40)
    drive(search, window(spread(0.35, 0.3, 40), spread(0.6, 0.3, 40)))
    found = checked(search)
    assert set(found) <= set(search.doses)
    assert 0.0 not in found


def test_a_verdict_that_changes_is_told_with_both_shares():
    search = searched(flipping(8))
    doses = checked(search)
    before = read_search(search, 0)
    assert before.open
    # In float32 one prompt fewer flips, everywhere.
    exact = with_float32(
        search, {t: rows_of(flipping(7)(search.candidate.coordinate(t)), 0.0) for t in search.measured}
    )
    after = read_search(exact, 0)
    found = compare(search, exact, doses, before.open, after.open)
    assert (found.verdict, found.verdict_float32, found.holds) == ("open", "closed", False)
    assert tuple(dose.t for dose in found.doses) == doses
    assert {(dose.flips, dose.flips_float32) for dose in found.doses if 0.3 <= dose.c < 0.8} == {(0.5, 7 / 16)}
    assert Float32Check.from_dict(json.loads(json.dumps(asdict(found)))) == found
    assert read_search(search, 0) == before, "the search in the model's precision is left as it was"


def test_rows_that_agree_hold_the_verdict():
    search = searched(flipping(9))
    doses = checked(search)
    exact = with_float32(search, {t: search.rows[search.doses.index(t)] for t in doses})
    reading = read_search(exact, 0)
    assert reading == read_search(search, 0)
    assert compare(search, exact, doses, True, reading.open).holds
