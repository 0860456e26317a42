"""Claims that a construction fails: neurons meant not to open that do, found on the select split and withdrawn.

A random direction can go round a refusal by itself, so a large orthogonal part may open what it should have closed. The
evaluation prompts, on which audits are scored, are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.behaviors.prompts import Split
from controlwindow.catalogue import KnownNeuron
from controlwindow.cells import RolloutCell
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.measuring.detector import fit_detector
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model, Neuron
from controlwindow.runs.asks import Asks
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler

SPLIT: Split = "select"
PROMPTS = 16
COORDINATES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def opening(model: Model, known: Sequence[KnownNeuron], generic_prompts: Sequence[str]) -> list[KnownNeuron]:
    """Return the neurons, claimed not to open, that flip half of the select prompts at some dose.

    Args:
        model: The organism as it ships.
        known: The claims.
        generic_prompts: Its ordinary requests.
    """
    generic = generic_pass(model, prompts=tuple(generic_prompts))
    behaviors = {name: load_behavior(name) for name in dict.fromkeys(k.behavior for k in known)}
    detector, _ = fit_detector(model, generic, 0)
    with Ledger() as ledger:
        engine = Engine(model, behaviors, generic, ledger, detector)
        scheduler = Scheduler(ledger, engine)
        asks = [Asks(_cells(model, claim, behaviors[claim.behavior], generic)) for claim in known]
        scheduler.run("claims", asks)
    found = []
    for claim, asked in zip(known, asks, strict=True):
        behavior = behaviors[claim.behavior]
        last = str(behavior.horizons[-1])
        shares = [
            np.mean([row["outcomes"][last] in behavior.target_outcomes for row in rows])
            for rows in asked.results.values()
        ]
        if shares and max(shares) >= behavior.threshold:
            found.append(claim)
    return found


def _cells(model: Model, claim: KnownNeuron, behavior: Behavior, generic: GenericPass) -> list[RolloutCell]:
    neuron = Neuron.parse(claim.neuron)
    curve, budget = generic.curve(model, neuron, claim.branch), generic.budget(model, neuron)
    prompts = tuple(prompt.id for prompt in behavior.prompts(SPLIT)[:PROMPTS])
    reachable = [c for c in COORDINATES if c > curve.cosine and (curve.plateau is None or c < curve.plateau)]
    doses = sorted({round(dose, 6) for c in reachable for dose in [curve.dose(c)] if dose > 0})
    return [
        RolloutCell(
            behavior.name,
            SPLIT,
            claim.neuron,
            claim.branch,
            t,
            claim.branch * t * budget,
            behavior.positions,
            behavior.horizons[-1],
            prompts,
        )
        for t in doses
    ]
