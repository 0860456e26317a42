"""Auditing every organism and scoring the audits against the cards: the instrument's own test.

One run directory per organism, each with the ledger of a usual audit, so a check goes on where it was cut off, and
`controlwindow report` draws the report of any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.catalogue import PREFIX, Card, behaviors_of
from controlwindow.errors import BehaviorError, ScreenError
from controlwindow.jobs.audit.job import Audit
from controlwindow.jobs.audit.plan import plan_audit
from controlwindow.jobs.audit.results import RunResults, read_results
from controlwindow.models import Model, load_model
from controlwindow.runs.kinds import do, run_ledger
from controlwindow.runs.plan import commit_plan, is_finished
from controlwindow.runs.progress import Progress, Silent
from controlwindow.screens import find_screen
from controlwindow.statistics import stable_seed
from controlwindow.validation.scoring import score_organism, summarise_scores
from controlwindow.validation.truth import choose_organisms, truth_of
from controlwindow.values import round_floats


def check_organisms(
    directory: str | Path,
    organisms: Sequence[str] = (),
    *,
    screen: str = "contrastive",
    top: int = 2,
    natural: int = 2,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Audit organisms and score the audits against their cards, or go on where that was cut off.

    Tested are, behavior by behavior, everything that the card names (planted controllers, failures, decoys), a few of
    the controllers that its census found, the screen's top and as many random neurons.

    Args:
        directory: Where the runs go, one directory per organism.
        organisms: Names of organisms; none for every one that is here.
        screen: The audit's screen.
        top: How many of the screen's top, and how many at random.
        natural: How many of the census' controllers for each behavior, drawn by seed.
        seed: Seed of everything random.
        progress: Where progress is shown.

    Returns:
        The document of `organisms check --json` (`scoring.summarise_scores`), floats rounded.

    Raises:
        OrganismError: A named organism is unknown or not here.
        ScreenError: No such screen.
        LedgerError: A directory holds another audit, or cannot be written.
    """
    find_screen(screen)
    chosen = choose_organisms(organisms)
    scores = []
    for card in chosen.cards:
        folder = Path(directory) / card.name.removeprefix(PREFIX)
        model = load_model(card.name)
        options = {"screen": screen, "top": top, "seed": seed}
        found, failed = _audit_card(model, card, folder, natural, options, progress or Silent())
        windows = [window for results in found for window in results.to_json()["windows"]]
        ranks = {
            behavior: selection["ranks"].get(screen, {})
            for results in found
            for behavior, selection in results.selections.items()
        }
        scores.append(score_organism(card, windows, ranks, failed, top))
    document: dict[str, Any] = round_floats(summarise_scores(scores, chosen.missing, seed))
    return document


def known_neurons(card: Card, behavior: str, natural: int, seed: int) -> tuple[str, ...]:
    """Neurons to test because something is known of them, beside the planted ones.

    Args:
        card: The organism's card.
        behavior: The behavior.
        natural: How many of the census' controllers.
        seed: Seed of their draw.
    """
    truth = truth_of(card, behavior)
    opened = list(dict.fromkeys(c.neuron for c in truth.natural))
    generator = np.random.default_rng(stable_seed("census controllers", card.name, behavior, seed))
    drawn = [opened[int(i)] for i in sorted(generator.permutation(len(opened))[:natural])]
    return tuple(dict.fromkeys([*(c.neuron for c in truth.constructed), *drawn]))


def _audit_card(
    model: Model, card: Card, folder: Path, natural: int, options: Mapping[str, Any], progress: Progress
) -> tuple[list[RunResults], dict[str, str]]:
    """Results of an organism's audit, and behaviors that could not be audited, each with the reason.

    One audit serves all behaviors. Where one of them cannot be audited, each gets a run of its own, so that the others
    are scored nevertheless.
    """
    behaviors: list[Behavior] = []
    failed: dict[str, str] = {}
    for name in behaviors_of(card):
        try:
            behaviors.append(load_behavior(name))
        except BehaviorError as error:
            failed[name] = error.message
    neurons = {b.name: known_neurons(card, b.name, natural, options["seed"]) for b in behaviors}
    if not options["top"]:
        # Without candidates of a screen, a behavior of which nothing is known has nothing to test.
        behaviors = [b for b in behaviors if neurons[b.name] or truth_of(card, b.name).planted]
    try:
        return [_audit(model, behaviors, neurons, folder, options, progress)] if behaviors else [], failed
    except (BehaviorError, ScreenError):
        found = []
    for behavior in behaviors:
        mine = {behavior.name: neurons[behavior.name]}
        try:
            found.append(_audit(model, [behavior], mine, folder / behavior.name, options, progress))
        except (BehaviorError, ScreenError) as error:
            failed[behavior.name] = error.message
    return found, failed


def _audit(
    model: Model,
    behaviors: Sequence[Behavior],
    neurons: Mapping[str, Sequence[str]],
    folder: Path,
    options: Mapping[str, Any],
    progress: Progress,
) -> RunResults:
    plan = plan_audit(model, [(b.name, b) for b in behaviors], neurons=neurons, **options)
    with run_ledger(folder) as ledger:
        job = Audit(model, behaviors, plan, ledger, progress)
        commit_plan(ledger, plan, job.records())
        if not is_finished(ledger, plan.kind):
            do(job)
        return read_results(ledger)
