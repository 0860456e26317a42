"""What is varied on some of the held-out neurons: dosed positions, decoding length, and the coherence threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.cells import RolloutCell, Rows
from controlwindow.jobs.law.candidates import Assignment
from controlwindow.jobs.law.detector_check import check_detector
from controlwindow.jobs.law.generic_text import generic_influence
from controlwindow.jobs.law.measuring import BRANCHES, pair_name, search_of
from controlwindow.jobs.law.session import LawSession
from controlwindow.measuring.engine import Engine
from controlwindow.measuring.neighbours import whole_rows
from controlwindow.runs.asks import Asks
from controlwindow.runs.scheduler import Scheduler
from controlwindow.windows.search import COLLAPSE_LEVEL, WindowSearch
from controlwindow.windows.thresholds import crossings
from controlwindow.windows.window import Measured, read_search

SEVERITIES = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Multiples of all coherence thresholds at once; 1 is the detector as it was set."""

LENGTHENED = 2
"""How much longer than the behavior's last horizon the long rollouts are."""

Key = tuple[str, int]


@dataclass(frozen=True)
class _Chosen:
    """Searches of one behavior that something is varied on, as they were measured."""

    behavior: Behavior
    undosed: Rows
    searches: Mapping[Key, WindowSearch]


def measure_details(session: LawSession, assignments: Sequence[Assignment]) -> None:
    """Measure all details that the ledger lacks: random neurons for ceilings, controllers for triggers."""
    ledger = session.ledger
    for name, behavior in session.behaviors.items():
        if ledger.find("detector check", name) is None:
            with session.progress.stage(f"{session.entry.name}, {name}: checking the coherence detector"):
                ledger.record("detector check", name, check_detector(session, behavior))
    held_out = [a for a in assignments if a.role == "held_out"]
    count = session.plan.sizes.detailed
    wanted = [
        *[a for a in held_out if a.source == "random"][:count],
        *[a for a in held_out if a.source in ("planted", "natural")][:count],
    ]
    for name, behavior in session.behaviors.items():
        mine = [a for a in wanted if a.behavior == name]
        keys = [(a.neuron, branch) for a in mine for branch in BRANCHES]
        if all(ledger.find("detail", pair_name(name, *key)) is not None for key in keys):
            continue
        chosen = _measured(session, behavior, keys)
        with session.progress.stage(f"{session.entry.name}, {name}: positions"):
            positions = _positions(session, chosen)
        with session.progress.stage(f"{session.entry.name}, {name}: longer rollouts"):
            longer = _longer(session, chosen)
        with session.progress.stage(f"{session.entry.name}, {name}: thresholds"):
            severities = {key: _by_severity(session, chosen, search) for key, search in chosen.searches.items()}
        sources = {a.neuron: a.source for a in mine}
        ledger.record_all(
            [
                (
                    "detail",
                    pair_name(name, *key),
                    {
                        "behavior": name,
                        "neuron": key[0],
                        "branch": key[1],
                        "source": sources[key[0]],
                        "as_planned": _thresholds(read_search(chosen.searches[key], session.plan.sizes.seed)),
                        "positions": positions[key],
                        "longer": longer.get(key),
                        "by_severity": severities[key],
                    },
                )
                for key in keys
                if ledger.find("detail", pair_name(name, *key)) is None
            ]
        )
    if count and ledger.find("generic text", "influence") is None:
        with session.progress.stage(f"{session.entry.name}: other generic texts"):
            ledger.record("generic text", "influence", generic_influence(session, held_out))


def _measured(session: LawSession, behavior: Behavior, keys: Sequence[Key]) -> _Chosen:
    """The searches as they were measured; their rows are in the ledger."""
    undosed = session.undosed[behavior.name, "held_out"]
    searches = {key: search_of(session, behavior, *key, undosed, len(keys)) for key in keys}
    session.scheduler.run(f"held_out {behavior.name}", list(searches.values()))
    return _Chosen(behavior, undosed, searches)


def _positions(session: LawSession, chosen: _Chosen) -> dict[Key, dict[str, Any]]:
    """Thresholds with the other positions dosed."""
    other = "generated" if chosen.behavior.positions == "all" else "all"
    searches = {
        key: search_of(session, chosen.behavior, *key, chosen.undosed, len(chosen.searches), positions=other)
        for key in chosen.searches
    }
    session.scheduler.run(f"positions {chosen.behavior.name}", list(searches.values()))
    seed = session.plan.sizes.seed
    return {key: {"dosed": other, **_thresholds(read_search(search, seed))} for key, search in searches.items()}


def _longer(session: LawSession, chosen: _Chosen) -> dict[Key, dict[str, Any]]:
    """Thresholds at a longer horizon; nothing where the model's context has no room for it."""
    model, behavior = session.model, chosen.behavior
    texts = [prompt.text for prompt in behavior.prompts("evaluate")]
    horizon = LENGTHENED * behavior.horizons[-1]
    if model.context is not None and max(map(len, model.token_ids(texts))) + horizon - 1 > model.context:
        return {}
    # Texts are judged against undosed ones of the same length, which an engine reads once for a behavior.
    engine = Engine(
        model, session.engine.behaviors, session.generic, session.ledger, session.engine.detector,
        progress=session.progress.rows,
    )  # fmt: skip
    scheduler = Scheduler(
        session.ledger, engine, chunk_rows=session.plan.sizes.chunk_rows, progress=session.progress.tick
    )
    cell = RolloutCell(behavior.name, "evaluate", horizon=horizon, positions=behavior.positions)
    asked = Asks([cell])
    scheduler.run(f"longer {behavior.name}", [asked])
    rows = {row["prompt"]: row for row in asked.results[cell]}
    undosed = [rows[row["prompt"]] for row in chosen.undosed]
    searches = {
        key: search_of(session, behavior, *key, undosed, len(chosen.searches), horizon=horizon)
        for key in chosen.searches
    }
    scheduler.run(f"longer {behavior.name}", list(searches.values()))
    seed = session.plan.sizes.seed
    return {key: {"horizon": horizon, **_thresholds(read_search(search, seed))} for key, search in searches.items()}


def _by_severity(session: LawSession, chosen: _Chosen, search: WindowSearch) -> dict[str, float | None]:
    """The ceiling with all coherence thresholds moved together.

    Rollouts that were cut because they had certainly collapsed are judged as far as they go, so that at the largest
    multiples they may count as coherent.
    """
    engine, behavior = session.engine, chosen.behavior
    assert engine.detector is not None
    references = engine.undosed(behavior.name, "evaluate", behavior.horizons[-1])
    prompts = {prompt.id: prompt.text for prompt in behavior.prompts("evaluate")}
    places: list[tuple[float, str]] = []
    tokens: list[tuple[int, ...]] = []
    wanted = search.cell(0.0)
    for cell in session.ledger.rollout_cells(behavior.name, search.candidate.neuron):
        same = (cell.branch, cell.positions, cell.horizon, cell.site) == (
            wanted.branch, wanted.positions, wanted.horizon, wanted.site,
        )  # fmt: skip
        if not same or cell.t not in search.measured:
            continue
        for row in whole_rows(session.ledger, cell) or []:
            if row["prompt"] in search.measured[cell.t]:
                places.append((cell.t, row["prompt"]))
                tokens.append(tuple(row["token_ids"]))
    ids = dict(zip(prompts, session.model.token_ids(list(prompts.values())), strict=True))
    scored = engine.score([ids[prompt] for _, prompt in places], tokens, session.model)
    severity = {
        place: engine.detector.judge(text, references[place[1]]).severity
        for place, text in zip(places, scored, strict=True)
    }
    doses = sorted({t for t, _ in places})
    coordinates = np.array([search.candidate.coordinate(t) for t in (0.0, *doses)])
    found: dict[str, float | None] = {}
    for factor in SEVERITIES:
        shares = [float(np.mean([s >= factor for (t, _), s in severity.items() if t == dose])) for dose in doses]
        value = float(crossings(coordinates, np.array([[0.0, *shares]]), COLLAPSE_LEVEL)[0][0])
        found[str(factor)] = value if np.isfinite(value) else None
    return found


def _thresholds(reading: Measured) -> dict[str, float | None]:
    return {"trigger": reading.trigger.value, "ceiling": reading.ceiling.value}
