"""Measuring pairs: windows of assigned neurons on both branches, read into plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.outcomes import COLLAPSED
from controlwindow.cells import Rows
from controlwindow.jobs.law.candidates import Assignment, Role, region
from controlwindow.jobs.law.session import LawSession
from controlwindow.jobs.stages.reasons import Key, find_reasons
from controlwindow.measuring.neighbours import whole_rows
from controlwindow.models import Neuron
from controlwindow.runs.ledger import Ledger
from controlwindow.windows.failure import Reasons, failure_mode
from controlwindow.windows.search import COLLAPSE_LEVEL, Candidate, SearchTask, WindowSearch, stride_for
from controlwindow.windows.thresholds import crossings, threshold
from controlwindow.windows.window import Measured, read_search, triggers_by_outcome

BRANCHES = (1, -1)


def pair_name(behavior: str, neuron: str, branch: int) -> str:
    """Name of a pair's records."""
    return f"{behavior}/{neuron}/{branch:+d}"


def search_of(
    session: LawSession, behavior: Behavior, neuron: str, branch: int, undosed: Rows, searches: int, **changes: Any
) -> WindowSearch:
    """The search of one pair.

    Args:
        session: The model at work.
        behavior: The behavior.
        neuron: The neuron's name.
        branch: +1 or −1.
        undosed: Rows of the undosed rollouts of the prompts to use.
        searches: How many searches run in lockstep.
        changes: Fields of the task that differ from the behavior's own.
    """
    found = Neuron.parse(neuron)
    values: dict[str, Any] = {
        "behavior": behavior.name,
        "split": "evaluate",
        "prompts": tuple(row["prompt"] for row in undosed),
        "horizon": behavior.horizons[-1],
        "target_outcomes": behavior.target_outcomes,
        "level": behavior.threshold,
        "positions": behavior.positions,
        "stride": stride_for(searches),
    }
    candidate = Candidate(
        neuron,
        branch,
        session.generic.curve(session.model, found, branch),
        session.generic.budget(session.model, found),
    )
    return WindowSearch(candidate, SearchTask(**{**values, **changes}), undosed)


def measure_role(session: LawSession, assignments: Sequence[Assignment], role: Role) -> dict[str, dict[str, Any]]:
    """Measure all pairs of a role, or take them from the ledger.

    Args:
        session: The model at work.
        assignments: Those of all roles.
        role: The role to measure.

    Returns:
        Records by `pair_name`, in the order of the assignments.
    """
    kind = f"pair {role}"
    found = session.ledger.find_all(kind)
    for name, behavior in session.behaviors.items():
        mine = [a for a in assignments if a.role == role and a.behavior == name]
        wanted = [(a, branch) for a in mine for branch in BRANCHES]
        if all(pair_name(name, a.neuron, branch) in found for a, branch in wanted):
            continue
        undosed = session.undosed[name, role]
        searches = {
            (a.neuron, branch): search_of(session, behavior, a.neuron, branch, undosed, len(wanted))
            for a, branch in wanted
        }
        title = f"{session.entry.name}, {name}: {role.replace('_', '-')} windows"
        with session.progress.stage(title, searches=list(searches.values())):
            session.scheduler.run(f"{role} {name}", list(searches.values()))
        records = _records(session, behavior, mine, searches, role)
        session.ledger.record_all([(kind, key, record) for key, record in records.items()])
        found |= records
    return found


def _records(
    session: LawSession,
    behavior: Behavior,
    assignments: Sequence[Assignment],
    searches: Mapping[Key, WindowSearch],
    role: Role,
) -> dict[str, dict[str, Any]]:
    seed = session.plan.sizes.seed
    readings = {key: read_search(search, seed) for key, search in searches.items()}
    reasons: Mapping[Key, Reasons] = {}
    if role == "held_out":
        norms = session.generic.residual_norm
        reasons = find_reasons(
            session.scheduler,
            behavior,
            searches,
            readings,
            {key: norms[Neuron.parse(key[0]).layer] for key in searches},
            seed,
            session.progress,
        )
    records = {}
    for assignment in assignments:
        for branch in BRANCHES:
            key = (assignment.neuron, branch)
            records[pair_name(behavior.name, *key)] = pair_record(
                session.ledger,
                session.entry.layers,
                behavior,
                assignment,
                searches[key],
                readings[key],
                reasons.get(key),
            )
    return records


def pair_record(
    ledger: Ledger,
    layers: int,
    behavior: Behavior,
    assignment: Assignment,
    search: WindowSearch,
    measured: Measured,
    reasons: Reasons | None,
) -> dict[str, Any]:
    """What is kept of one measured pair: JSON values, c unless said otherwise, None for not reached.

    Args:
        ledger: Where the rollouts lie.
        layers: The model's blocks.
        behavior: The behavior.
        assignment: The neuron's assignment.
        search: The finished search.
        measured: Its reading.
        reasons: What was measured of a closed window; None where nothing was asked.
    """
    candidate = search.candidate
    neuron = Neuron.parse(candidate.neuron)
    plateau = candidate.curve.plateau
    ceiling, trigger = measured.ceiling, measured.trigger
    target, target_height = target_threshold(ledger, behavior, search)
    mode = None
    if not measured.open and reasons is not None:
        mode = failure_mode(ceiling.value is not None, reasons, plateau)
    return {
        "neuron": candidate.neuron,
        "branch": candidate.branch,
        "behavior": behavior.name,
        "role": assignment.role,
        "source": assignment.source,
        "layer": neuron.layer,
        "depth": neuron.layer / max(1, layers - 1),
        "region": region(neuron.layer, layers),
        "curve": candidate.curve.to_json(),
        "c0": candidate.cosine,
        "budget": candidate.budget,
        "plateau": plateau,
        "n": len(search.undosed),
        "ceiling": ceiling.value,
        "ceiling_interval": list(ceiling.interval),
        "ceilings_by_horizon": _ceilings(search, behavior),
        "trigger": trigger.value,
        "trigger_interval": list(trigger.interval),
        "triggers_by_outcome": triggers_by_outcome(search, behavior, ceiling.value),
        "target_trigger": target,
        "target_height": target_height,
        "height": float(search.flips.mean(axis=1).max()),
        "open": measured.open,
        "probability_open": measured.probability,
        "failure_mode": mode,
        "propagation": None if reasons is None else reasons.propagation,
        "injected_trigger": None if reasons is None else reasons.injected_trigger,
    }


def _ceilings(search: WindowSearch, behavior: Behavior) -> dict[str, float | None]:
    """The ceiling at every horizon, from the doses that the search of the last one measured."""
    once = np.arange(len(search.task.prompts))[None]
    horizons = [h for h in behavior.horizons if h < search.task.horizon] + [search.task.horizon]
    return {
        str(horizon): threshold(
            search.coordinates, search.events(frozenset({COLLAPSED}), horizon), COLLAPSE_LEVEL, once
        ).value
        for horizon in horizons
    }


def target_threshold(ledger: Ledger, behavior: Behavior, search: WindowSearch) -> tuple[float | None, float]:
    """First c at which half of the rollouts say the target, coherent or not, and the largest share that does.

    A flip is coherent by definition, so beyond the ceiling there is none. To know whether the target would have come,
    had the text not collapsed, collapsed rollouts are judged by the oracle as if they were coherent (ours). Doses
    measured on scouts only count with the prompts they have, and the search ends where text has certainly collapsed.

    Args:
        ledger: Where the rollouts lie.
        behavior: The behavior.
        search: The finished search.

    Returns:
        The threshold, None where it is not reached in what was measured; and the largest share.
    """
    texts = {prompt.id: prompt for prompt in behavior.prompts("evaluate")}
    key = str(search.task.horizon)

    def says_target(row: Mapping[str, Any]) -> bool:
        outcome = row["outcomes"][key]
        if outcome == COLLAPSED:
            outcome = behavior.judge(row.get("text", ""), texts[row["prompt"]], collapsed=False)
        return outcome in behavior.target_outcomes

    rows: dict[float, dict[str, bool]] = {}
    wanted = search.cell(0.0)
    for cell in ledger.rollout_cells(behavior.name, search.candidate.neuron):
        same = (cell.branch, cell.positions, cell.horizon, cell.site, cell.sample_seed, cell.precision) == (
            wanted.branch, wanted.positions, wanted.horizon, wanted.site, None, "model",
        )  # fmt: skip
        if same and cell.t in search.measured:
            for row in whole_rows(ledger, cell) or []:
                if row["prompt"] in search.measured[cell.t]:
                    rows.setdefault(cell.t, {})[row["prompt"]] = says_target(row)
    doses = [0.0, *sorted(rows)]
    shares = np.array([0.0, *(float(np.mean(list(rows[t].values()))) for t in doses[1:])])
    coordinates = np.array([search.candidate.coordinate(t) for t in doses])
    value = float(crossings(coordinates, shares[None], search.task.level)[0][0])
    return (value if np.isfinite(value) else None), float(shares.max())
