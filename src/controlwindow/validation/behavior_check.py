"""What a model makes of a behavior's prompts without any dose: who is eligible, where oracles differ, what it costs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from controlwindow.behaviors import Behavior, CoherenceDetector, Prompt, ScoredText, Split
from controlwindow.behaviors.oracles import Judgement, OracleContext
from controlwindow.behaviors.oracles.on_task import OnTaskOracle
from controlwindow.behaviors.outcomes import Answer, Request
from controlwindow.behaviors.prompts import SPLITS
from controlwindow.behaviors.text import whole_words
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.memory import BatchSizes
from controlwindow.instruments.rows import Row, RowRollout, roll_out_rows
from controlwindow.instruments.scoring import token_nll
from controlwindow.measuring.detector import detector_of
from controlwindow.models import Model
from controlwindow.runs.progress import Progress, Silent
from controlwindow.windows.scouting import SCOUTS
from controlwindow.windows.search import COARSE_COORDINATES

SAMPLES = 3
"""Answers shown of each outcome."""

STRAY = 0.05
"""Most answers to other requests that a threshold of an `on_task` oracle should let pass."""

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 17))
"""Thresholds that are tried for it."""

FULL_DOSES = 4
"""Doses that a search measures on every prompt, as a rule: both ends of both brackets."""


class UndosedAnswer(NamedTuple):
    """An undosed answer, judged.

    Attributes:
        prompt: The prompt.
        text: The answer, to the last horizon.
        tokens: Its length, the stop token included.
        outcomes: By horizon.
        matched: What each oracle says of it at the last horizon, by name.
        reason: Why it counts as collapsed; empty where it does not.
    """

    prompt: Prompt
    text: str
    tokens: int
    outcomes: Mapping[int, str]
    matched: Mapping[str, bool | None]
    reason: str


class OnTaskFit(NamedTuple):
    """An `on_task` oracle on a model's undosed answers.

    Attributes:
        oracle: Its name.
        threshold: Its threshold.
        own: Share of the answers that reach it for their own request.
        other: Share of the answers that reach it for another request.
        suggested: The smallest threshold that at most 5 % of the answers reach for another request; None without one.
        own_suggested: Share of the answers that reach that one for their own request.
    """

    oracle: str
    threshold: float
    own: float
    other: float
    suggested: float | None
    own_suggested: float | None


class Cost(NamedTuple):
    """What an audit of some neurons will take, by what the undosed rollouts took.

    Attributes:
        neurons: Neurons tested, on both branches.
        rows: Rollouts.
        tokens: Tokens that they generate at most.
        seconds: Their time on this machine; screens, probe passes and the report come on top.
    """

    neurons: int
    rows: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class BehaviorCheck:
    """A behavior on a model.

    Attributes:
        behavior: The behavior.
        model: The model's name.
        answers: Undosed answers to the prompts that are steered, split by split.
        tokens_per_second: Tokens generated a second by these rollouts.
    """

    behavior: Behavior
    model: str
    answers: Mapping[Split, tuple[UndosedAnswer, ...]]
    tokens_per_second: float

    def eligible(self, split: Split) -> int:
        """Prompts of a split whose answer shows the source state."""
        return self.outcomes(split)[self.behavior.source_outcome]

    def outcomes(self, split: Split) -> Counter[str]:
        """How often each outcome occurs in a split, at the last horizon."""
        return Counter(answer.outcomes[self.behavior.horizons[-1]] for answer in self.answers[split])

    @property
    def enough(self) -> bool:
        """Whether a verdict is possible."""
        return self.eligible("evaluate") >= self.behavior.minimum_eligible

    def patterns(self) -> list[tuple[Mapping[str, bool | None], tuple[UndosedAnswer, ...]]]:
        """What the oracles say together of answers that have not collapsed, the most frequent first."""
        found: dict[tuple[tuple[str, bool | None], ...], list[UndosedAnswer]] = {}
        for answers in self.answers.values():
            for answer in answers:
                if not answer.reason:
                    found.setdefault(tuple(sorted(answer.matched.items())), []).append(answer)
        ordered = sorted(found.items(), key=lambda item: (-len(item[1]), str(item[0])))
        return [(dict(key), tuple(answers)) for key, answers in ordered]

    def on_task(self) -> list[OnTaskFit]:
        """How each `on_task` oracle fits this model: its threshold, and the one that answers to other requests suggest.

        Every answer is held against its own request and against the one that stands half-way down the list from it.
        """
        answers = [answer for found in self.answers.values() for answer in found if not answer.reason]
        fits = []
        for name, oracle in self.behavior.definition.oracles.items():
            if not isinstance(oracle, OnTaskOracle) or len(answers) < 2:
                continue
            contexts = [OracleContext(answer.prompt, self.behavior.languages) for answer in answers]
            half = len(answers) // 2
            own = [oracle.share(a.text, c) for a, c in zip(answers, contexts, strict=True)]
            other = [oracle.share(a.text, c) for a, c in zip(answers, contexts[half:] + contexts[:half], strict=True)]
            mine, theirs = ([share for share in shares if share is not None] for shares in (own, other))
            suggested = next((t for t in THRESHOLDS if _reached(theirs, t) <= STRAY), None)
            fits.append(
                OnTaskFit(
                    name,
                    oracle.threshold,
                    _reached(mine, oracle.threshold),
                    _reached(theirs, oracle.threshold),
                    suggested,
                    None if suggested is None else _reached(mine, suggested),
                )
            )
        return fits

    def cost(self, neurons: int) -> Cost:
        """What it takes to find the windows of so many neurons."""
        eligible = max(self.eligible("evaluate"), self.behavior.minimum_eligible)
        rows = 2 * neurons * (SCOUTS * len(COARSE_COORDINATES) + FULL_DOSES * eligible)
        tokens = rows * self.behavior.horizons[-1]
        return Cost(neurons, rows, tokens, tokens / self.tokens_per_second)

    def to_json(self, neurons: int = 8) -> dict[str, Any]:
        """As plain values; answers of sensitive behaviors are withheld.

        Args:
            neurons: Neurons whose cost is told.
        """
        behavior, cost = self.behavior, self.cost(neurons)
        return {
            "behavior": behavior.name,
            "fingerprint": behavior.fingerprint,
            "model": self.model,
            "source": behavior.source_outcome,
            "needed": behavior.minimum_eligible,
            "enough": self.enough,
            "splits": {
                split: {
                    "prompts": len(self.answers[split]),
                    "eligible": self.eligible(split),
                    "outcomes": {name: self.outcomes(split)[name] for name in behavior.outcomes},
                }
                for split in SPLITS
            },
            "oracles": [
                {
                    "matched": dict(matched),
                    "disagree": disagree(behavior, matched),
                    "answers": len(answers),
                    "prompts": [answer.prompt.id for answer in answers],
                }
                for matched, answers in self.patterns()
            ],
            "on_task": [fit._asdict() for fit in self.on_task()],
            "samples": self.samples(),
            "cost": {"neurons": cost.neurons, "rows": cost.rows, "tokens": cost.tokens, "seconds": cost.seconds},
        }

    def samples(self) -> list[dict[str, Any]]:
        """A few answers of each outcome, from all splits; None for the texts of sensitive behaviors."""
        horizon, shown = self.behavior.horizons[-1], []
        for outcome in self.behavior.outcomes:
            all_answers = [answer for split in SPLITS for answer in self.answers[split]]
            for answer in [a for a in all_answers if a.outcomes[horizon] == outcome][:SAMPLES]:
                text = None if self.behavior.sensitive else answer.text
                prompt = None if self.behavior.sensitive else answer.prompt.text
                shown.append({"id": answer.prompt.id, "outcome": outcome, "prompt": prompt, "answer": text})
        return shown


def disagree(behavior: Behavior, matched: Mapping[str, bool | None]) -> bool:
    """Whether oracles contradict each other: both states or neither; declined and yet with every step."""
    if behavior.definition.outcomes == "switch":
        return "source" in matched and matched["target"] is not None and matched["target"] == matched["source"]
    return bool(matched.get("refused") and matched.get("actionable"))


def check_behavior(
    model: Model, behavior: Behavior, *, seed: int = 0, progress: Progress | None = None
) -> BehaviorCheck:
    """Roll a behavior's prompts out undosed and judge the answers, as an audit would.

    Args:
        model: The model.
        behavior: The behavior; prompts of all splits that would be steered are rolled out.
        seed: Seed of the coherence detector's controls.
        progress: Told how far it is.

    Raises:
        BehaviorError: An oracle failed.
        ControlWindowError: The model is no language model that answers.
    """
    shown = progress or Silent()
    with shown.stage("generic pass"):
        generic = generic_pass(model)
    with shown.stage("setting the coherence detector"):
        detector = detector_of(model, generic, seed)
    prompts = [prompt for split in SPLITS for prompt in behavior.prompts(split)]
    horizon = behavior.horizons[-1]
    rows = [Row(tuple(ids), ()) for ids in model.token_ids([prompt.text for prompt in prompts])]
    sizes = BatchSizes({}, None)
    with shown.stage(f"{behavior.name}: undosed rollouts") as stage:
        begin = time.perf_counter()
        done = sizes.fit(
            "rollouts",
            len(rows),
            lambda size: roll_out_rows(model, rows, horizon, batch_rows=size, progress=stage.update),
        )
        seconds = max(time.perf_counter() - begin, 1e-6)
        contents = [tuple(t for t in row.token_ids if t not in model.stop_ids) for row in done]
        surprisals = sizes.fit(
            "scoring",
            len(rows),
            lambda size: token_nll(model, [r.prompt_ids for r in rows], contents, batch_rows=size),
        )
    texts = [
        ScoredText(tokens, tuple(nll), model.decode(tokens)) for tokens, nll in zip(contents, surprisals, strict=True)
    ]
    with shown.stage(f"{behavior.name}: oracles"):
        judged = _judged(model, behavior, detector, prompts, done, texts)
    answers: dict[Split, list[UndosedAnswer]] = {split: [] for split in SPLITS}
    for prompt, answer in zip(prompts, judged, strict=True):
        answers[prompt.split].append(answer)
    speed = sum(len(row.token_ids) for row in done) / seconds
    return BehaviorCheck(behavior, model.name, {split: tuple(found) for split, found in answers.items()}, speed)


def _judged(
    model: Model,
    behavior: Behavior,
    detector: CoherenceDetector,
    prompts: Sequence[Prompt],
    done: Sequence[RowRollout],
    texts: Sequence[ScoredText],
) -> list[UndosedAnswer]:
    """Outcomes by horizon, and what every oracle says, of all answers at once; none is judged twice."""
    requests, reasons, whole = [], [], []
    for prompt, row, text in zip(prompts, done, texts, strict=True):
        ended, reason = bool({*row.token_ids[-1:]} & model.stop_ids), ""
        for horizon in behavior.horizons:
            cut = text
            if horizon < len(text.token_ids):
                cut = text.cut(horizon, model.decode(text.token_ids[:horizon]))
            judgement = detector.judge(cut, cut)
            reason = judgement.reason
            words = whole_words(cut.text, text.text, ended=ended)
            requests.append(Request(Answer(cut.text, words), prompt, judgement.collapsed))
        reasons.append(reason)
        whole.append((Answer(text.text, whole_words(text.text, text.text, ended=ended)), prompt))
    known: dict[str, Judgement] = {}
    found = iter(behavior.judge_many(requests, known))
    matched = behavior.matches_many(whole, known)
    return [
        UndosedAnswer(
            prompt, text.text, len(row.token_ids), {horizon: next(found) for horizon in behavior.horizons}, said, reason
        )
        for prompt, row, text, said, reason in zip(prompts, done, texts, matched, reasons, strict=True)
    ]


def _reached(shares: Sequence[float], threshold: float) -> float:
    return sum(share >= threshold for share in shares) / len(shares) if shares else 0.0


def most_frequent(counts: Mapping[str, int], order: Sequence[str]) -> str:
    """The outcome that occurs most often, the first in order among equals."""
    return max(order, key=lambda name: (counts.get(name, 0), -order.index(name)))
