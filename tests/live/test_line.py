"""The line: first come, first served; who leaves gives up the place."""

from __future__ import annotations

import pytest

from controlwindow.live.line import Full, Line


def test_places_move_up_when_one_leaves():
    line = Line()
    first, second, third = line.join(), line.join(), line.join()
    assert [place.ahead for place in (first, second, third)] == [0, 1, 2]
    line.leave(second)
    assert (third.ahead, third.changed.is_set(), first.changed.is_set()) == (1, True, False)
    line.leave(first)
    assert third.ahead == 0
    assert line.join().ahead == 1


def test_a_full_line_takes_nobody():
    line = Line(most=2)
    first = line.join()
    line.join()
    with pytest.raises(Full, match="2 generations are waiting"):
        line.join()
    line.leave(first)
    assert line.join().ahead == 1
    assert len(line) == 2
