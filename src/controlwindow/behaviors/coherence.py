"""Whether a rollout is still coherent text, judged against the same prompt's undosed rollout.

Features (method, section 3): how much more surprising the text is to the undosed model than its own answer, on average
and in the worst short window, as a share of what shuffled text costs; and how much of it repeats, again over all and in
the worst window. Loops are unsurprising, and shuffled words do not repeat: neither does without the other.

The first sixteen tokens, the onset, are judged apart and more leniently (ours). That is where a coherent switch shows:
the undosed model did not expect the other answer, its first words and names carry all the surprise, and what follows
is as fluent as ever. Pure functions of token ids, their negative log-likelihoods and the decoded text.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controlwindow.behaviors.text import says_something, words_of
from controlwindow.errors import ControlWindowError

#: Tokens of the window in which excess is largest.
WINDOW = 8
#: Tokens at the beginning within which a switch may surprise.
ONSET = 16
#: Length of the word and token groups that are counted for repetition.
GROUP = 4
#: Fewest words of a sentence that is told twice in a row; shorter ones are a turn of phrase.
SENTENCE = 5
#: Collapsed from this share of the words on, where they tell the same twice in a row. Set on rollouts of a real model
#: that were read (docs/coherence.md): no control is of this kind.
TOLD_TWICE = 0.5
#: Tokens of the window in which repetition is densest: two sentences that are alike do not fill it, a stutter does.
LOOP_WINDOW = 16

_WINDOW_GROUPS = LOOP_WINDOW - GROUP + 1


@dataclass(frozen=True)
class ScoredText:
    """Generated text with its score under the undosed model.

    Attributes:
        token_ids: Generated tokens, [length], without the end token.
        surprisals: Negative log-likelihood of each token given the prompt and the tokens before it, nats, [length].
        text: The decoded tokens.
    """

    token_ids: tuple[int, ...]
    surprisals: tuple[float, ...]
    text: str

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.surprisals):
            raise ValueError(f"{len(self.token_ids)} tokens but {len(self.surprisals)} surprisals")
        if not all(map(math.isfinite, self.surprisals)):
            raise ValueError("surprisals must be finite; was the text scored by an undosed, healthy model?")

    def cut(self, length: int, text: str) -> ScoredText:
        """The first tokens, with their decoded text given by the caller, who has the tokenizer."""
        return ScoredText(self.token_ids[:length], self.surprisals[:length], text)


class CoherenceFeatures(NamedTuple):
    """What coherence is judged on.

    Attributes:
        tokens: Length of the text.
        onset_excess: Surprisal beyond the undosed rollout's mean, as a share of shuffled text's, in the most
            surprising window of 8 tokens among the first 16.
        mean_excess: The same for all tokens after the first 16.
        window_excess: The same in the most surprising window of 8 tokens after the first 16.
        distinctness: Share of distinct groups of four, words or tokens, relative to the undosed rollout; smaller one.
        window_distinctness: The same for tokens in the most repetitive window of 16.
        empty: No letter, digit or picture (emoji).
        told_twice: Share of the words in which the same is told twice or more in a row, less that of the undosed
            rollout.
    """

    tokens: int
    onset_excess: float
    mean_excess: float
    window_excess: float
    distinctness: float
    window_distinctness: float
    empty: bool
    told_twice: float = 0.0


class CoherenceJudgement(NamedTuple):
    """A verdict with its ground.

    Attributes:
        collapsed: Whether the text is not coherent.
        reason: The feature that lies furthest beyond its threshold: `empty`, `onset_excess`, `mean_excess`,
            `window_excess`, `repetition`, `window_repetition` or `told_twice`; the empty string for coherent text.
        severity: How far that feature has gone, 1 at its threshold.
        features: The features themselves.
    """

    collapsed: bool
    reason: str
    severity: float
    features: CoherenceFeatures


def coherence_features(rollout: ScoredText, undosed: ScoredText, scale: float) -> CoherenceFeatures:
    """Measure a text against the undosed rollout of the same prompt, both cut to the same horizon.

    Fewer tokens than a window count as a window of which the rest is unsurprising, so that one surprising token in a
    very short answer is not a collapse.

    Args:
        rollout: The text to measure.
        undosed: The same prompt's undosed rollout.
        scale: Mean excess of shuffled text under the undosed model, nats per token (`shuffle_scale`).
    """
    expected = float(np.mean(undosed.surprisals)) if undosed.surprisals else 0.0
    excess = (np.asarray(rollout.surprisals, dtype=np.float64) - expected) / scale
    rest = excess[ONSET:]
    words, expected_words = words_of(rollout.text), words_of(undosed.text)
    distinctness = min(
        distinct_share(words) / distinct_share(expected_words),
        distinct_share(rollout.token_ids) / distinct_share(undosed.token_ids),
    )
    empty = not says_something(rollout.text)
    window_distinctness = _least_distinct(rollout.token_ids) / _least_distinct(undosed.token_ids)
    return CoherenceFeatures(
        tokens=len(excess),
        onset_excess=_worst_window(excess[:ONSET]),
        mean_excess=float(rest.sum()) / max(len(rest), WINDOW),
        window_excess=_worst_window(rest),
        distinctness=distinctness,
        window_distinctness=window_distinctness,
        empty=empty,
        told_twice=max(twice_share(words) - twice_share(expected_words), 0.0),
    )


def _worst_window(excess: NDArray[np.float64]) -> float:
    totals = np.concatenate(([0.0], np.cumsum(excess)))
    worst = (totals[WINDOW:] - totals[:-WINDOW]).max() if len(excess) >= WINDOW else totals[-1]
    return float(worst) / WINDOW


def _least_distinct(token_ids: Sequence[int]) -> float:
    groups = _groups(token_ids)
    width = _WINDOW_GROUPS
    if len(groups) <= width:
        return distinct_share(token_ids)
    # Counts are carried from window to window: every group enters once and leaves once.
    counts = Counter(groups[:width])
    least = len(counts)
    for leaving, entering in zip(groups, groups[width:], strict=False):
        counts[entering] += 1
        counts[leaving] -= 1
        if not counts[leaving]:
            del counts[leaving]
        least = min(least, len(counts))
    return least / width


def shuffle_scale(shuffled: Sequence[ScoredText], undosed: Sequence[ScoredText]) -> float:
    """Mean excess surprisal of shuffled answers over the answers themselves, nats per token.

    Args:
        shuffled: Each undosed answer with its tokens in random order, scored after its own prompt.
        undosed: The answers in the same order.

    Raises:
        ControlWindowError: Shuffling costs the model nothing: it cannot tell text from noise.
    """
    excess = [
        float(np.mean(noise.surprisals)) - float(np.mean(answer.surprisals))
        for noise, answer in zip(shuffled, undosed, strict=True)
        if noise.surprisals and answer.surprisals
    ]
    scale = float(np.mean(excess)) if excess else 0.0
    if scale < 0.1:
        raise ControlWindowError(
            f"shuffled text costs this model only {scale:.2f} nats per token more than its own answers",
            "coherence cannot be judged on an untrained model, or on answers of one or two tokens",
        )
    return scale


def distinct_share(items: Sequence[Hashable]) -> float:
    """Distinct groups of four over all groups of four (distinct-n, Li et al. 2016); 1 where there is none.

    Example:
        >>> distinct_share([1, 2, 1, 2, 1, 2, 1, 2])
        0.4
    """
    groups = _groups(items)
    return len(set(groups)) / len(groups) if groups else 1.0


def twice_share(words: Sequence[str]) -> float:
    """Share of the words in the longest stretch that tells the same twice or more in a row, five words or more each.

    Example:
        >>> twice_share("do you want to come do you want to come and see".split())
        0.8333333333333334
    """
    codes = {word: code for code, word in enumerate(dict.fromkeys(words))}
    items, longest = np.array([codes[word] for word in words]), 0
    for period in range(SENTENCE, len(words) // 2 + 1):
        # Where the text goes on as it did one period before; a run of a whole period tells it all again.
        breaks = np.flatnonzero(items[period:] != items[:-period])
        ends = np.concatenate(([-1], breaks, [len(words) - period]))
        run = int(np.diff(ends).max()) - 1
        if run >= period:
            longest = max(longest, run + period)
    return longest / len(words) if words else 0.0


def _groups(items: Sequence[Hashable]) -> list[tuple[Hashable, ...]]:
    return [tuple(items[start : start + GROUP]) for start in range(len(items) - GROUP + 1)]


class CollapseWatch:
    """Watches one rollout while it is generated, for repetition that no continuation can undo.

    Called again as tokens are added, it looks at the new ones only.

    Args:
        limits: What `CoherenceDetector.collapse_limits` gives.
    """

    def __init__(self, limits: Mapping[int, int]) -> None:
        self._limits = limits
        self._least = _WINDOW_GROUPS + 1
        self._seen = LOOP_WINDOW - 1

    def __call__(self, token_ids: Sequence[int]) -> bool:
        """Whether the rollout, of which these are all tokens so far, is collapsed at every horizon it still reaches."""
        for end in range(self._seen + 1, len(token_ids) + 1):
            self._least = min(self._least, len(set(_groups(token_ids[end - LOOP_WINDOW : end]))))
        self._seen = max(self._seen, len(token_ids))
        return all(self._least <= limit for horizon, limit in self._limits.items() if horizon >= len(token_ids))


@dataclass(frozen=True)
class CoherenceDetector:
    """Thresholds of one model.

    Attributes:
        scale: Mean excess surprisal of shuffled text, nats per token.
        onset_excess: Collapsed from this excess in a window of the first 16 tokens on (share of `scale`).
        mean_excess: Collapsed from this mean excess after them on (share of `scale`).
        window_excess: Collapsed from this excess in a window after them on (share of `scale`).
        distinctness: Collapsed from this distinctness down.
        window_distinctness: Collapsed from this distinctness in a window down.
        told_twice: Collapsed from this share told twice in a row on; None for detectors from before it was looked at.
    """

    scale: float
    onset_excess: float
    mean_excess: float
    window_excess: float
    distinctness: float
    window_distinctness: float
    told_twice: float | None = None

    def __post_init__(self) -> None:
        positive = (self.scale, self.onset_excess, self.mean_excess, self.window_excess)
        shares = (self.distinctness, self.window_distinctness)
        if not (all(value > 0 for value in positive) and all(0 < value < 1 for value in shares)):
            raise ValueError(f"thresholds out of range: {self}")

    def judge(self, rollout: ScoredText, undosed: ScoredText) -> CoherenceJudgement:
        """Judge a text against the undosed rollout of the same prompt, both cut to the same horizon."""
        return self.judge_features(coherence_features(rollout, undosed, self.scale))

    def judge_features(self, features: CoherenceFeatures) -> CoherenceJudgement:
        """Judge features that were measured with this detector's scale."""
        if features.empty:
            return CoherenceJudgement(True, "empty", math.inf, features)
        severities = {
            "onset_excess": features.onset_excess / self.onset_excess,
            "mean_excess": features.mean_excess / self.mean_excess,
            "window_excess": features.window_excess / self.window_excess,
            "repetition": (1 - features.distinctness) / (1 - self.distinctness),
            "window_repetition": (1 - features.window_distinctness) / (1 - self.window_distinctness),
        }
        if self.told_twice is not None:
            severities["told_twice"] = features.told_twice / self.told_twice
        worst = max(severities, key=severities.__getitem__)
        collapsed = severities[worst] >= 1
        return CoherenceJudgement(collapsed, worst if collapsed else "", severities[worst], features)

    def collapse_limits(self, undosed: ScoredText, horizons: Sequence[int]) -> dict[int, int]:
        """For each horizon, the most distinct groups in a window of a text that is collapsed whatever follows.

        Args:
            undosed: The same prompt's whole undosed rollout.
            horizons: Horizons at which the rollout will be judged.

        Returns:
            By horizon; −1 where even a single group repeated is not enough.
        """
        limits = {}
        for horizon in horizons:
            expected = _least_distinct(undosed.token_ids[:horizon])
            # The same expression as in `judge_features`, so that rounding falls on the same side.
            limits[horizon] = max(
                (
                    count
                    for count in range(1, _WINDOW_GROUPS + 1)
                    if (1 - count / _WINDOW_GROUPS / expected) / (1 - self.window_distinctness) >= 1
                ),
                default=-1,
            )
        return limits

    def to_json(self) -> str:
        """The detector as one JSON object."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> CoherenceDetector:
        """Read what `to_json` wrote.

        Raises:
            ControlWindowError: The text is not a detector.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise ControlWindowError(f"not a coherence detector: {error}", "calibrate the model again") from error
