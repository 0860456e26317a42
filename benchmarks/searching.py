"""The search: one window to one interval width, against a 16-point grid decoded in other ways.

Everyone is told the undosed answers and the coherence detector; everyone scores and judges with the package's own code.
A baseline's time is its decoding in its own process plus scoring and judging here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from benchmarks.contenders import ONE_DOSE, ONE_ROW, ROWS, Contender, Done, Local, PeerKind
from benchmarks.environments import Unavailable
from benchmarks.grid import OURS, against, start
from benchmarks.results import Part, Standing
from benchmarks.timing import take_turns
from benchmarks.work import BRANCH, NEURON, SPLIT, Grid, Settings, behavior, organism, organism_directory
from controlwindow import geometry
from controlwindow.cells import Rows
from controlwindow.instruments.generic import generic_pass
from controlwindow.jobs.stages.eligible import eligible_rows
from controlwindow.measuring.detector import fit_detector
from controlwindow.measuring.engine import Engine
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler
from controlwindow.windows.search import COLLAPSE_LEVEL, Candidate, SearchTask, WindowSearch, stride_for
from controlwindow.windows.thresholds import first_bracket

POINTS = 16
"""Points of the baselines' grid in c, from the undosed c0 to the end of the range."""

Bracket = tuple[float, float] | None


class Search:
    """One neuron's window on one branch, ready to be searched or measured on a grid.

    Args:
        settings: How the benchmarks run.
    """

    def __init__(self, settings: Settings) -> None:
        self.model, self.behavior = organism(settings.device), behavior()
        generic = generic_pass(self.model)
        detector, _ = fit_detector(self.model, generic, 0)
        self._generic, self._detector = generic, detector
        eligible = self._prepare()
        self.eligible = eligible[:8] if settings.quick else eligible
        texts = {prompt.id: prompt for prompt in self.behavior.prompts(SPLIT)}
        self.prompts = [texts[row["prompt"]] for row in self.eligible]
        self.candidate = Candidate(
            str(NEURON), BRANCH, generic.curve(self.model, NEURON, BRANCH), generic.budget(self.model, NEURON)
        )
        points = 4 if settings.quick else POINTS
        low, high = self.candidate.cosine, geometry.RANGE_END
        self.coordinates = [low + (high - low) * i / points for i in range(points + 1)]
        self.width = (high - low) / points
        self.task = SearchTask(
            behavior=self.behavior.name,
            split=SPLIT,
            prompts=tuple(row["prompt"] for row in self.eligible),
            horizon=self.behavior.horizons[-1],
            target_outcomes=self.behavior.target_outcomes,
            level=self.behavior.threshold,
            positions=self.behavior.positions,
            # The baselines' interval width, as many doses at once as fill a batch, and no dose that is not needed.
            width=self.width,
            stride=stride_for(1),
            fill=False,
        )

    def _prepare(self) -> Rows:
        """A ledger of its own that knows the undosed answers only; returns the eligible ones."""
        ledger = Ledger()
        behaviors = {self.behavior.name: self.behavior}
        self._engine = Engine(self.model, behaviors, self._generic, ledger, detector=self._detector)
        self._scheduler = Scheduler(ledger, self._engine)
        return eligible_rows(self._scheduler, self.behavior)

    def grid(self) -> Grid:
        """The baselines' rollouts."""
        alphas = [BRANCH * self.candidate.dose(c) * self.candidate.budget for c in self.coordinates[1:]]
        encoded = self.model.token_ids([prompt.text for prompt in self.prompts])
        return Grid(tuple(map(tuple, encoded)), NEURON, tuple(alphas), self.task.horizon)

    def search(self) -> dict[str, Any]:
        """Search the window and find its brackets."""
        found = WindowSearch(self.candidate, self.task, self.eligible)
        self._scheduler.run("search", [found])
        shares = found.flips.mean(axis=1), found.collapses.mean(axis=1)
        return {"brackets": self._brackets(found.coordinates, *shares), "doses": len(found.measured)}

    def contender(self, settings: Settings) -> Local:
        """The package."""

        def prepare() -> None:
            self._prepare()

        return Local(OURS, OURS, self.search, prepare=prepare, settle=settings.settle)

    def judge(self, grid: Grid, tokens: Sequence[Sequence[Sequence[int]]]) -> dict[str, Any]:
        """Score and judge a grid's rollouts and find the brackets, with the package's code."""
        detector, engine = self._detector, self._engine
        undosed = engine.undosed(self.behavior.name, SPLIT, self.task.horizon)
        answers = [row for dose in tokens for row in dose]
        scored = engine.score([prompt for _ in grid.alphas for prompt in grid.prompts], answers, self.model)
        outcomes = [
            self.behavior.judge(text.text, prompt, detector.judge(text, undosed[prompt.id]).collapsed)
            for text, prompt in zip(scored, self.prompts * len(grid.alphas), strict=True)
        ]
        table = np.array(outcomes, dtype=object).reshape(len(grid.alphas), len(grid.prompts))
        flips = np.isin(table, list(self.task.target_outcomes)).mean(axis=1)
        collapses = (table == "collapsed").mean(axis=1)
        undosed_shares = np.zeros(1)
        return {
            "brackets": self._brackets(
                np.array(self.coordinates),
                np.concatenate([undosed_shares, flips]),
                np.concatenate([undosed_shares, collapses]),
            )
        }

    def _brackets(self, coordinates: Any, flips: Any, collapses: Any) -> tuple[Bracket, Bracket]:
        """Intervals in c of trigger and ceiling."""
        found = (first_bracket(flips, self.task.level), first_bracket(collapses, COLLAPSE_LEVEL))
        trigger, ceiling = (None if i is None else (float(coordinates[i - 1]), float(coordinates[i])) for i in found)
        return trigger, ceiling


class _Judged:
    """A baseline: a peer's decoding, then scoring and judging."""

    def __init__(self, peer: Contender, search: Search, grid: Grid) -> None:
        self.name, self.title = peer.name, peer.title
        self._peer, self._search, self._grid = peer, search, grid

    def run(self) -> Done:
        """Decode, score and judge once."""
        done = self._peer.run()
        begin = time.perf_counter()
        found = self._search.judge(self._grid, done.found["tokens"])
        return Done(done.seconds + time.perf_counter() - begin, found)


def overlap(one: Bracket, other: Bracket) -> bool:
    """Whether two intervals can hold the same threshold."""
    if one is None or other is None:
        return one is other
    return one[0] <= other[1] and other[0] <= one[1]


def run(settings: Settings, kinds: Sequence[PeerKind] = (ROWS, ONE_DOSE, ONE_ROW)) -> Part:
    """Time one window.

    Raises:
        Unavailable: No baseline can run.
    """
    window = Search(settings)
    grid = window.grid()
    ours = window.contender(settings)
    ours.run()
    mine = ours.run().found
    wide = [bracket for bracket in mine["brackets"] if bracket is not None and bracket[1] - bracket[0] > window.width]
    if wide:
        raise Unavailable(f"the search left an interval wider than {window.width:.3f}: {_text(wide[0])}")
    with ExitStack() as stack:
        peers, standings = start(kinds, grid.job(window.model, organism_directory(), settings), stack, settings)
        admitted: list[Contender] = [ours]
        for peer in peers:
            judged = _Judged(peer, window, grid)
            settings.tell(f"{peer.title}, thresholds")
            try:
                theirs = judged.run().found["brackets"]
            except Unavailable as error:
                standings.append(Standing(peer.name, peer.title, "unavailable", error.reason))
                continue
            equal = all(overlap(a, b) for a, b in zip(mine["brackets"], theirs, strict=True))
            reason = f"trigger {_text(theirs[0])}, ceiling {_text(theirs[1])}"
            versions = getattr(peer, "versions", {})
            standings.append(Standing(peer.name, peer.title, "equal" if equal else "unequal", reason, versions))
            if equal:
                admitted.append(judged)
        if len(admitted) == 1:
            raise Unavailable("no baseline of the search can run: " + "; ".join(s.reason for s in standings))
        timings = take_turns(admitted, settings.repeats, settings.tell)
    return Part(
        "search",
        f"search: {NEURON}, branch {BRANCH:+d}, {len(window.prompts)} prompts, intervals of {window.width:.3f} in c",
        against("search", timings, (6, 20, 100)),
        list(timings.values()),
        standings,
        {
            "trigger": mine["brackets"][0],
            "ceiling": mine["brackets"][1],
            "doses_measured": mine["doses"],
            "grid_rows": grid.size,
        },
    )


def _text(bracket: Bracket) -> str:
    return "not reached" if bracket is None else f"{bracket[0]:.3f}–{bracket[1]:.3f}"
