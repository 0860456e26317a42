"""First-order scores of a model's neurons, beside the ranking that gives screened candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from controlwindow.behaviors import Behavior
from controlwindow.errors import BehaviorError, ScreenError
from controlwindow.instruments.dosing import limit_directions
from controlwindow.jobs.law.session import LawSession
from controlwindow.measuring.answers import Answers, Tally, partners
from controlwindow.models import Neuron
from controlwindow.screens import find_screen
from controlwindow.screens.base import Floats, Screen

FIRST_ORDER = ("gradient", "gradient_x_activation", "attribution_patching", "readout")
"""Screens that say what an infinitely small change does; LAW reports that they anti-predict control."""

READOUT_COSINE = "readout_cosine"
"""|cos| of the write direction with the readout axis d_F."""


class FirstOrder:
    """Scores of every neuron for one behavior.

    Attributes:
        ranked: Neurons by the plan's screen, best first.
        scores: Signed score of every neuron by screen, all layers in a row; `READOUT_COSINE` among them.
        notes: Screens that could not run, and why.
    """

    def __init__(self, session: LawSession, behavior: Behavior) -> None:
        self._session = session
        self.ranked: list[str] = []
        self.scores: dict[str, Floats] = {}
        self.notes: dict[str, str] = {}
        seed = session.plan.sizes.seed
        screens: dict[str, Screen] = {}
        for name in (session.plan.sizes.screen, *FIRST_ORDER):
            try:
                screens[name] = find_screen(name)(session.model, behavior, session.generic, seed=seed)
            except (BehaviorError, ScreenError) as error:
                self.notes[name] = error.message
        for name, screen in screens.items():
            try:
                with session.progress.stage(f"{session.entry.name}, {behavior.name}: screen {name}"):
                    session.scheduler.run(f"screen {behavior.name}", [screen])
                self.scores[name] = screen.scores()
                if name == session.plan.sizes.screen:
                    self.ranked = screen.table()["neuron"].to_list()
            except ScreenError as error:
                self.notes[name] = error.message
        if "readout" in self.scores:
            self.scores[READOUT_COSINE] = self._cosines(behavior)

    def _cosines(self, behavior: Behavior) -> Floats:
        axis = readout_axis(self._session, behavior)
        lengths = np.concatenate(
            [
                limit_directions(self._session.model, layer).norm(dim=0).double().cpu().numpy()
                for layer in range(self._session.model.layers)
            ]
        )
        return np.asarray(self.scores["readout"] / np.where(lengths > 0, lengths, 1.0) / axis)

    def of(self, neurons: Sequence[str]) -> dict[str, dict[str, list[float]]]:
        """Score, and share of the model's neurons whose score is smaller in size, by neuron and screen."""
        places = {name: self._session.model.neurons.flat_index(Neuron.parse(name)) for name in neurons}
        found: dict[str, dict[str, list[float]]] = {name: {} for name in neurons}
        for screen, values in self.scores.items():
            sizes = np.sort(np.abs(values))
            for name, place in places.items():
                share = float(np.searchsorted(sizes, abs(values[place])) / len(sizes))
                found[name][screen] = [float(values[place]), share]
        return found

    def to_record(self, neurons: Sequence[str]) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {"neurons": self.of(neurons), "notes": self.notes}


def readout_axis(session: LawSession, behavior: Behavior) -> float:
    """‖d_F‖ of the mean readout direction that the screen `readout` projects on (PP)."""
    contrast = behavior.contrast("find")
    mates = [prompt.text for prompt in partners(contrast.positive, contrast.negative)]
    objectives = Answers(session.model).objectives(
        behavior, [prompt.text for prompt in contrast.positive], mates, Tally()
    )
    axis = torch.stack([objective.readout(session.model) for objective in dict.fromkeys(objectives)]).mean(0)
    return float(axis.norm())
