"""Progress: a line a minute in a pipe, and what was stopped is not shown as done."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from controlwindow.cli.progress import LINE_EVERY, TerminalProgress, clock


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Search:
    def __init__(self, progress: float):
        self.progress = progress


def shown(terminal: bool, width: int = 120) -> tuple[TerminalProgress, Clock, io.StringIO]:
    text, now = io.StringIO(), Clock()
    console = Console(file=text, force_terminal=terminal, width=width, highlight=False)
    return TerminalProgress(console, now), now, text


def test_a_pipe_gets_a_line_a_minute_that_says_what_how_far_and_how_long_still():
    progress, now, text = shown(terminal=False)
    with progress, progress.stage("refusal: windows", searches=[Search(1.0), Search(0.2)]):
        progress.tick()
        assert text.getvalue() == ""
        now.seconds = 90.0
        progress.tick()
        assert text.getvalue() == "refusal: windows: 60% after 1:30, 1:00 left, 1 of 2 settled\n"
        now.seconds += LINE_EVERY / 2
        progress.tick()
        assert text.getvalue().count("\n") == 1
        now.seconds += LINE_EVERY / 2
        progress.tick()
        assert text.getvalue().count("\n") == 2


def test_rows_and_updates_count_where_there_are_no_searches():
    progress, now, text = shown(terminal=False)
    with progress, progress.stage("probe passes") as stage:
        now.seconds = 61.0
        stage.update(1, 4)
        now.seconds = 122.0
        progress.rows(2, 4)
    assert text.getvalue().splitlines() == [
        "probe passes: 25% after 1:01, 3:03 left",
        "probe passes: 50% after 2:02, 2:02 left",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_a_stage_that_was_stopped_is_not_shown_as_done(width):
    progress, _, text = shown(terminal=True, width=width)

    def stopped():
        with progress, progress.stage("refusal: windows") as stage:
            stage.update(1, 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    last = [line for line in text.getvalue().splitlines() if "refusal" in line][-1]
    assert "stopped" in last
    assert "100 %" not in last


def test_a_stage_that_ended_says_what_it_took():
    progress, _, text = shown(terminal=True)
    with progress, progress.stage("generic pass"):
        pass
    assert "100 %" in text.getvalue()
    assert "took 0:00" in text.getvalue()
    assert "left" not in [line for line in text.getvalue().splitlines() if "generic" in line][-1]


def test_clocks_are_short():
    assert [clock(value) for value in (None, 5, 75, 3675, 36000)] == ["-:--", "0:05", "1:15", "1:01:15", "10:00:00"]
