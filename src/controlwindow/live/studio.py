"""The studio: what a page asks and what it is told, whoever carries the words (a server, a notebook)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event, Lock
from typing import Any, NamedTuple

from controlwindow.behaviors import Prompt
from controlwindow.errors import UsageError
from controlwindow.instruments.dosing import Dose, row_operations
from controlwindow.instruments.operations import Positions
from controlwindow.instruments.streaming import Token, stream
from controlwindow.live.judging import Answer, Verdicts, judges
from controlwindow.live.placebo import draw_placebo
from controlwindow.live.requests import Ask
from controlwindow.live.scenes import predicted_handles, scene
from controlwindow.live.subjects import Subject, ordinary_prompts
from controlwindow.models import Model
from controlwindow.values import round_floats

ARMS = ("undosed", "dosed", "placebo")

Emit = Callable[[str, Mapping[str, Any]], None]
"""Told the kind of an event and its values."""


class Left(Exception):
    """Nobody listens any more; the generation ends where it is."""


class Studio:
    """One subject, and one generation at a time on it.

    Args:
        subject: The model with what is known of it.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._busy = Lock()
        self._handles = {(handle["neuron"], handle["branch"]): handle for handle in reversed(subject.handles)}

    def scene(self) -> dict[str, Any]:
        """What the page shows at first."""
        subject = self.subject
        return scene(
            subject.model,
            subject.run,
            list(subject.behaviors.values()),
            subject.handles,
            ordinary_prompts(subject),
            subject.withheld,
            subject.tokens,
        )

    def neuron(self, name: str) -> list[dict[str, Any]]:
        """Both branches of any neuron, with its predicted ceiling.

        Raises:
            NeuronError: The name is malformed, lies outside the model, or the neuron has no budget.
        """
        neuron = self.subject.model.require(name)
        found: list[dict[str, Any]] = round_floats(
            predicted_handles(self.subject.model, self.subject.generic, [neuron])
        )
        return found

    def generate(self, ask: Ask, emit: Emit, left: Event) -> None:
        """Answer one request, token by token: `begin`, then `token` and `outcome`, then `end`.

        Args:
            ask: The request.
            emit: Told every event.
            left: Set when nobody listens any more; the next token is then the last.

        Raises:
            UsageError: Behavior or prompt are unknown or withheld, or too many tokens are asked for.
            NeuronError: The neuron lies outside the model, or no placebo reaches the coordinate.
        """
        prompt, positions = self._prompt(ask)
        with self._busy:
            if left.is_set():
                return
            arms = self._arms(ask, positions)
            (ids,) = self.subject.model.token_ids([prompt.text])
            emit("begin", {"tokens": ask.tokens, "prompt_tokens": len(ids), "arms": [arm.told() for arm in arms]})
            telling = _Telling(self, ask, prompt, len(arms), emit, left)
            operations = [row_operations(self.subject.model, arm.dose) for arm in arms]
            try:
                stream(self.subject.model, ids, operations, ask.tokens, telling.token)
            except Left:
                return
            telling.end()

    def verdicts(self, ask: Ask, prompt: Prompt, answers: list[Answer]) -> Verdicts | None:
        """Who judges the answers of a request; None where there is no detector."""
        subject = self.subject
        if subject.detector is None:
            return None
        behavior = None if ask.behavior is None else subject.behaviors[ask.behavior]
        horizons = () if behavior is None else behavior.horizons
        if behavior is not None and not judges(behavior, prompt, own=ask.prompt is not None):
            behavior = None
        return Verdicts(
            subject.model,
            subject.detector,
            behavior,
            prompt,
            answers,
            sorted({*(h for h in horizons if h < ask.tokens), ask.tokens}),
        )

    def _prompt(self, ask: Ask) -> tuple[Prompt, Positions]:
        positions: Positions = "all"
        if ask.behavior is not None:
            if ask.behavior not in self.subject.behaviors:
                raise UsageError(f"there is no behavior {ask.behavior!r} on this page")
            behavior = self.subject.behaviors[ask.behavior]
            positions = behavior.positions
            if ask.prompt_id is not None:
                found = next((p for p in behavior.prompts("evaluate") if p.id == ask.prompt_id), None)
                if found is None:
                    raise UsageError(f"{behavior.name} has no evaluation prompt {ask.prompt_id!r}")
                return found, positions
        assert ask.prompt is not None
        return Prompt("own", ask.prompt, "evaluate"), positions

    def _arms(self, ask: Ask, positions: Positions) -> list[_Arm]:
        model, generic = self.subject.model, self.subject.generic
        neuron = model.require(ask.neuron)
        curve = generic.curve(model, neuron, ask.branch)
        try:
            dose = curve.dose(ask.coordinate) if ask.dose is None else ask.dose
        except ValueError as error:
            raise UsageError(f"no dose brings {neuron} to c {ask.coordinate:.3f}", "choose a smaller c") from error
        # Below the undosed cosine there is no dose on this branch.
        dose = max(dose, 0.0)
        arms = [_Arm(None, 0.0), _Arm(_dosed(neuron, ask.branch, dose, positions), curve.coordinate(dose))]
        if ask.placebo and dose > 0:
            other, its_dose = draw_placebo(model, generic, neuron, ask.branch, arms[1].coordinate, ask.draw)
            arms.append(_Arm(_dosed(other, ask.branch, its_dose, positions), arms[1].coordinate))
        return arms


class _Arm(NamedTuple):
    """One row: its dose, None for the undosed model, and the coordinate that its curve promises."""

    dose: Dose | None
    coordinate: float

    def told(self) -> dict[str, Any]:
        if self.dose is None:
            return {"neuron": None, "t": 0.0, "c": None}
        return {"neuron": str(self.dose.neuron), "t": abs(self.dose.t), "c": self.coordinate}


def _dosed(neuron: Any, branch: int, dose: float, positions: Positions) -> Dose | None:
    return None if dose == 0 else Dose(neuron, branch * dose, positions)


class _Telling:
    """Turns tokens into events."""

    def __init__(self, studio: Studio, ask: Ask, prompt: Prompt, arms: int, emit: Emit, left: Event) -> None:
        self._model = studio.subject.model
        self._emit, self._left = emit, left
        self._answers = [Answer() for _ in range(arms)]
        self._pieces = [_Pieces(self._model) for _ in range(arms)]
        self._verdicts = studio.verdicts(ask, prompt, self._answers)

    def token(self, token: Token) -> None:
        if self._left.is_set():
            raise Left
        answer = self._answers[token.arm]
        answer.token_ids.append(token.token_id)
        answer.surprisals.append(token.surprisal)
        answer.ended = token.ended
        if token.coordinate is not None:
            answer.coordinates.append(token.coordinate)
        self._emit(
            "token",
            {
                "arm": ARMS[token.arm],
                "text": self._pieces[token.arm].next(answer.token_ids),
                "surprise": round(token.surprisal, 3),
                "c": None if token.coordinate is None else round(token.coordinate, 4),
                "stop": token.token_id in self._model.stop_ids,
            },
        )
        for horizon, arm, outcome in () if self._verdicts is None else self._verdicts.ready():
            self._emit("outcome", {"arm": ARMS[arm], "horizon": horizon, "outcome": outcome})

    def end(self) -> None:
        self._emit(
            "end",
            {
                "arms": {
                    ARMS[arm]: {
                        "text": self._model.decode(answer.token_ids),
                        "tokens": len(answer.token_ids),
                        "surprise": round(sum(answer.surprisals) / len(answer.surprisals), 4),
                        "c": round(sum(answer.coordinates) / len(answer.coordinates), 5)
                        if answer.coordinates
                        else None,
                    }
                    for arm, answer in enumerate(self._answers)
                }
            },
        )


class _Pieces:
    """The text that each token adds; half a character waits for the other half."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._told = ""

    def next(self, token_ids: list[int]) -> str:
        text = self._model.decode(token_ids)
        if text.endswith("�"):
            return ""
        # Where a tokenizer changes what it said before, the whole text at the end puts it right.
        piece, self._told = text[len(self._told) :], text
        return piece
