"""The float32 check of an audit: verdicts of half precision that hang on a prompt or two are measured again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from controlwindow.measuring.engine import Engine
from controlwindow.runs.asks import Asks
from controlwindow.runs.scheduler import Scheduler
from controlwindow.windows.precision import Float32Check, compare, doses_to_check, with_float32
from controlwindow.windows.search import WindowSearch
from controlwindow.windows.window import Measured, read_search

Key = tuple[str, int]
"""Neuron and branch."""


class Checked(NamedTuple):
    """Searches and readings that count, and what the check found where there was one."""

    searches: dict[Key, WindowSearch]
    readings: dict[Key, Measured]
    checks: dict[Key, Float32Check]


def check_in_float32(
    scheduler: Scheduler,
    behavior: str,
    searches: Mapping[Key, WindowSearch],
    readings: Mapping[Key, Measured],
    seed: int,
) -> Checked:
    """Measure the doses that decide close verdicts again in float32; where a verdict changes, float32 counts.

    Doses stay the same raw offsets, and rollouts are judged against the undosed ones of the run.

    Args:
        scheduler: The audit's; its runner holds the model.
        behavior: Name of the behavior.
        searches: Finished searches.
        readings: What they found.
        seed: Seed of the run.
    """
    exact, again = dict(searches), dict(readings)
    done: dict[Key, set[float]] = {}
    # A crossing that float32 does not confirm moves on to the next dose, which has to be checked as well.
    while wanted := _missing(exact, again, done):
        cells = {
            (key, t): replace(exact[key].cell(t), precision="float32") for key, doses in wanted.items() for t in doses
        }
        asked = Asks(list(cells.values()))
        scheduler.run(f"float32 {behavior}", [asked])
        for key, doses in wanted.items():
            exact[key] = with_float32(exact[key], {t: asked.results[cells[key, t]] for t in doses})
            again[key] = read_search(exact[key], seed)
            done.setdefault(key, set()).update(doses)
    if isinstance(scheduler.runner, Engine):
        scheduler.runner.release_float32()
    checked = Checked(dict(searches), dict(readings), {})
    for key, measured in done.items():
        check = compare(searches[key], exact[key], sorted(measured), readings[key].open, again[key].open)
        checked.checks[key] = check
        if not check.holds:
            checked.searches[key], checked.readings[key] = exact[key], again[key]
    return checked


def _missing(
    searches: Mapping[Key, WindowSearch], readings: Mapping[Key, Measured], done: Mapping[Key, set[float]]
) -> dict[Key, list[float]]:
    """Doses that are to be checked and were not yet."""
    wanted = {
        key: sorted(set(doses_to_check(search, readings[key].decided)) - done.get(key, set()))
        for key, search in searches.items()
    }
    return {key: doses for key, doses in wanted.items() if doses}
