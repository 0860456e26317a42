"""What the answers of one generation amount to, horizon by horizon, as soon as they reach it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from controlwindow.behaviors import Behavior, CoherenceDetector, Prompt, ScoredText
from controlwindow.models import Model

COHERENT, COLLAPSED = "coherent", "collapsed"


@dataclass
class Answer:
    """An answer as far as it was generated.

    Attributes:
        token_ids: Its tokens, a stop token included.
        surprisals: Of each token under the undosed model, nats.
        coordinates: Measured cosines.
        ended: Whether nothing follows.
    """

    token_ids: list[int] = field(default_factory=list)
    surprisals: list[float] = field(default_factory=list)
    coordinates: list[float] = field(default_factory=list)
    ended: bool = False

    def scored(self, model: Model, horizon: int) -> ScoredText:
        """The answer cut to a horizon, without its stop token."""
        kept = [place for place, token in enumerate(self.token_ids[:horizon]) if token not in model.stop_ids]
        ids = tuple(self.token_ids[place] for place in kept)
        return ScoredText(ids, tuple(self.surprisals[place] for place in kept), model.decode(ids))


def judges(behavior: Behavior, prompt: Prompt, *, own: bool) -> bool:
    """Whether a behavior's oracles say something of an answer at once.

    Oracles that ask a model are left out. For a prompt of the reader's own, of which nothing is known but its text, so
    are behaviors whose oracles compare with what a prompt says of its answer.
    """
    oracles = behavior.definition.oracles.values()
    if any(oracle.remembered or oracle.remote is not None for oracle in oracles):
        return False
    return not own or not any(oracle.prompt_fields() for oracle in oracles)


class Verdicts:
    """Judges every answer once at every horizon, against the undosed answer to the same prompt.

    Args:
        model: The model.
        detector: The coherence detector.
        behavior: Whose oracles are asked; None tells coherent from collapsed alone.
        prompt: The prompt that is answered.
        answers: The answers, the undosed one first; they are read as they grow.
        horizons: Lengths in tokens, ascending; the last is that of the generation.
    """

    def __init__(
        self,
        model: Model,
        detector: CoherenceDetector,
        behavior: Behavior | None,
        prompt: Prompt,
        answers: Sequence[Answer],
        horizons: Sequence[int],
    ) -> None:
        self.model, self.detector, self.behavior = model, detector, behavior
        self.prompt, self.answers = prompt, answers
        self._left = [(horizon, arm) for horizon in horizons for arm in range(len(answers))]

    def ready(self) -> Iterator[tuple[int, int, str]]:
        """Horizon, answer and outcome of whatever can be judged now and was not yet."""
        for horizon, arm in list(self._left):
            if self._reached(0, horizon) and self._reached(arm, horizon):
                self._left.remove((horizon, arm))
                yield horizon, arm, self._judge(arm, horizon)

    def _reached(self, arm: int, horizon: int) -> bool:
        answer = self.answers[arm]
        return answer.ended or len(answer.token_ids) >= horizon

    def _judge(self, arm: int, horizon: int) -> str:
        answer = self.answers[arm]
        text = answer.scored(self.model, horizon)
        collapsed = self.detector.judge(text, self.answers[0].scored(self.model, horizon)).collapsed
        if self.behavior is None:
            return COLLAPSED if collapsed else COHERENT
        whole = answer.scored(self.model, len(answer.token_ids)).text
        stopped = bool({*answer.token_ids[-1:]} & self.model.stop_ids)
        return self.behavior.judge(text.text, self.prompt, collapsed, whole=whole, ended=stopped)
