"""The grid: doses × prompts rollouts, against every peer, against the engine undosed, and against the floor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks import floor
from benchmarks.contenders import ONE_DOSE, ONE_ROW, PEER_KINDS, REFERENCE, Contender, Done, Local, Peer, PeerKind
from benchmarks.environments import Unavailable
from benchmarks.equality import compare
from benchmarks.peers.protocol import Job
from benchmarks.results import Line, Part, Standing, State
from benchmarks.timing import Aim, Timing, ratio, take_turns
from benchmarks.work import Grid, Settings, engine_tokens, organism, organism_directory, organism_grid
from controlwindow.instruments.operations import Add
from controlwindow.instruments.rows import Row

OURS = "controlwindow"


def reference(job: Job, settings: Settings) -> dict[str, Any]:
    """The plain reference's tokens and margins, `[dose][prompt]`.

    Raises:
        Unavailable: It cannot run.
    """
    settings.tell("plain reference")
    with Peer(REFERENCE, job) as peer:
        return peer.run().found


def admit(
    contenders: Sequence[Contender], plain: dict[str, Any], settings: Settings
) -> tuple[list[Contender], list[Standing]]:
    """Have every contender do the job once, and keep those whose tokens equal the plain reference's."""
    admitted: list[Contender] = []
    standings = []
    for contender in contenders:
        settings.tell(f"{contender.title}, tokens")
        versions = getattr(contender, "versions", {})
        try:
            found = contender.run().found["tokens"]
        except Unavailable as error:
            standings.append(Standing(contender.name, contender.title, "unavailable", error.reason, versions))
            continue
        equality = compare(plain["tokens"], plain["margins"], found)
        state: State = "equal" if equality.equal else "unequal"
        standings.append(Standing(contender.name, contender.title, state, str(equality), versions))
        if equality.equal:
            admitted.append(contender)
    return admitted, standings


def start(
    kinds: Sequence[PeerKind], job: Job, stack: ExitStack, settings: Settings
) -> tuple[list[Contender], list[Standing]]:
    """Start peers; those that cannot be installed or do not get ready are listed with the reason."""
    peers: list[Contender] = []
    standings = []
    for kind in kinds:
        settings.tell(f"{kind.title}, starting")
        try:
            peers.append(stack.enter_context(Peer(kind, job)))
        except Unavailable as error:
            standings.append(Standing(kind.name, kind.title, "unavailable", error.reason))
    return peers, standings


def run(settings: Settings, kinds: Sequence[PeerKind] = PEER_KINDS) -> Part:
    """Time the grid.

    Raises:
        Unavailable: The plain reference cannot run, or the package's own tokens are not equal to it.
    """
    model = organism(settings.device)
    grid = organism_grid(model, settings.quick)
    job = grid.job(model, organism_directory(), settings)
    plain = reference(job, settings)
    with ExitStack() as stack:
        peers, missing = start(kinds, job, stack, settings)
        ours = Local(OURS, OURS, lambda: engine_tokens(model, grid), settle=settings.settle)
        admitted, standings = admit([ours, *peers], plain, settings)
        require_ours(standings)
        timings = take_turns(admitted, settings.repeats, settings.tell)
    standings += missing
    generated = sum(len(row) for dose in plain["tokens"] for row in dose)
    return Part(
        "grid",
        f"grid: {len(grid.alphas)} doses × {len(grid.prompts)} prompts × {grid.horizon} tokens on {model.name}",
        against("grid", timings, (2, 6, 40)),
        list(timings.values()),
        standings,
        {"rows": grid.size, "horizon": grid.horizon, "tokens_generated": generated},
    )


def require_ours(standings: Sequence[Standing]) -> None:
    """The package itself must be equal, else there is nothing to compare."""
    mine = next(standing for standing in standings if standing.name == OURS)
    if mine.state != "equal":
        raise Unavailable(f"the package's tokens are not the plain reference's: {mine.reason}")


def against(what: str, timings: dict[str, Timing], aims: tuple[float, float, float]) -> list[Line]:
    """How many times faster than the strongest baseline, one dose at a time, and one prompt and dose at a time."""
    ours = timings[OURS]
    others = [timing for name, timing in timings.items() if name != OURS]
    if not others:
        return []
    strongest = min(others, key=lambda timing: timing.median)
    lines = [Line(f"{what}, against the strongest baseline", ratio(strongest, ours), Aim("at least", aims[0]),
                  f"the strongest is {strongest.title}")]  # fmt: skip
    for kind, aim, name in ((ONE_DOSE, aims[1], "one dose at a time"), (ONE_ROW, aims[2], "one prompt and one dose")):
        if kind.name in timings:
            lines.append(Line(f"{what}, against {name}", ratio(timings[kind.name], ours), Aim("at least", aim)))
    return lines


def run_hooks(settings: Settings) -> Part:
    """Time the engine with its hooks doing nothing to the tokens, against the engine without any.

    Every row adds 0 to a neuron, so that both generate the same tokens in the same steps; nothing is shared in either.
    """
    model = organism(settings.device)
    grid = organism_grid(model, settings.quick)
    count = len(grid.alphas)
    dosed = [Row(prompt, (Add(grid.neuron, 0.0),)) for _ in range(count) for prompt in grid.prompts]
    undosed = [Row(prompt, ()) for _ in range(count) for prompt in grid.prompts]
    contenders = [
        Local(name, title, partial(engine_tokens, model, grid, rows, share=False), settle=settings.settle)
        for name, title, rows in (
            ("hooked", "rows dosed by 0", dosed),
            ("unhooked", "rows without operations", undosed),
        )
    ]
    found = [contender.run().found["tokens"] for contender in contenders]
    if found[0] != found[1]:
        raise Unavailable("a dose of 0 changes the engine's tokens")
    timings = take_turns(contenders, settings.repeats, settings.tell)
    line = Line("hooks, against the same engine undosed", ratio(*timings.values()), Aim("at most", 1.05))
    return Part(
        "hooks",
        f"hooks: {grid.size} rows × {grid.horizon} tokens, nothing shared",
        [line],
        list(timings.values()),
    )


class _Floor:
    """The floor as a contender, so that its rates are measured between the engine's turns."""

    name, title = "floor", "floor"

    def __init__(self, needs: list[floor.Need], model: Any, title: str, settings: Settings) -> None:
        self.name, self.title = title, title
        self._needs, self._model, self._device = needs, model, settings.device

    def run(self) -> Done:
        """The floor in seconds; measuring the rates takes longer."""
        return Done(floor.seconds(self._needs, self._model.dtype, self._device))


def run_floor(settings: Settings) -> Part:
    """Time the grid between measurements of its floor."""
    model = organism(settings.device)
    grid = organism_grid(model, settings.quick)
    ours = Local(OURS, OURS, lambda: engine_tokens(model, grid), settle=settings.settle)
    tokens = ours.run().found["tokens"]
    counts = count_both(model, grid, tokens)
    contenders: list[Contender] = [ours, *(_Floor(needs, model, title, settings) for title, needs in counts.items())]
    timings = take_turns(contenders, settings.repeats, settings.tell)
    shared, alone = (timings[title] for title in counts)
    return Part(
        "floor",
        f"floor of the grid: {grid.size} rows × {grid.horizon} tokens",
        [
            Line(
                "grid, distance from the floor",
                ratio(timings[OURS], shared),
                Aim("at most", 2.5),
                "operations that are needed when rows that agree share layers up to the dosed one",
            ),
            Line("grid, distance from the floor of rows that share nothing", ratio(timings[OURS], alone)),
        ],
        list(timings.values()),
        facts={f"multiply_adds, {title}": floor.operations(needs) for title, needs in counts.items()},
    )


def count_both(model: Any, grid: Grid, tokens: floor.Tokens) -> dict[str, list[floor.Need]]:
    """What the grid needs with sharing and without."""
    sizes, lengths = floor.sizes_of(model.hf_model.config), [len(prompt) for prompt in grid.prompts]
    return {
        title: floor.count(sizes, lengths, tokens, grid.neuron.layer, shared=shared)
        for title, shared in (("floor, with sharing", True), ("floor, without sharing", False))
    }
