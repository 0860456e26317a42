"""Labelled texts that a coherence detector is set on, made from undosed answers alone, never from the doses judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from controlwindow.behaviors.coherence import LOOP_WINDOW
from controlwindow.statistics import stable_seed

#: Coherent text: the answer itself, one sampled at temperature 1, and the fluent answer to another prompt.
COHERENT_KINDS = ("greedy", "sampled", "swapped")
#: Incoherent through its order or its words; the excess thresholds are set against these.
SURPRISING_KINDS = ("shuffled", "word_salad", "spliced", "late_shuffled")
#: Incoherent through repetition; the distinctness thresholds are set against these.
REPEATING_KINDS = ("looping", "late_looping")
COLLAPSED_KINDS = SURPRISING_KINDS + REPEATING_KINDS

#: Fewest tokens of an answer that is scrambled: with fewer, a permutation may well be the answer itself.
SHORTEST = 6
#: Fewest tokens of an answer that is spliced, or scrambled in its second half: with fewer, most of it stays in order.
SHORTEST_PARTIAL = 16
#: Fewest tokens of an answer that loops in its second half: with fewer, the loop does not fill a window.
SHORTEST_LATE_LOOP = 2 * LOOP_WINDOW


class Control(NamedTuple):
    """A text with a known label, to be scored after a prompt.

    Attributes:
        kind: How it was made.
        collapsed: The label.
        prompt: Index of the prompt after which it is scored.
        length: Horizon that the undosed answer, which it is compared with, was cut to before anything was made of it.
        token_ids: The text, at most `length` tokens.
    """

    kind: str
    collapsed: bool
    prompt: int
    length: int
    token_ids: tuple[int, ...]


def build_controls(
    greedy: Sequence[Sequence[int]], sampled: Sequence[Sequence[int]], lengths: Sequence[int], *, seed: int = 0
) -> tuple[Control, ...]:
    """Make texts of every kind for every prompt and horizon.

    - `swapped`: the answer to another prompt, coherent though about something else.
    - `shuffled`: the answer's tokens in random order; `late_shuffled`: only those of its second half.
    - `word_salad`: tokens drawn at random from all answers.
    - `spliced`: spans of two to four tokens taken in turn from two answers, as in text that mixes two languages.
    - `looping`: a span of one to six tokens at least three times; `late_looping`: from the second half on.

    Answers are cut to a horizon first and scrambled then, so that what is labelled collapsed is so within the horizon.
    Scrambled kinds are made of answers with at least six tokens, spliced and late-shuffled ones of sixteen, late loops
    of 32.

    Args:
        greedy: Undosed greedy answers, [prompts][tokens], without end token.
        sampled: Undosed answers sampled at temperature 1, [prompts][tokens].
        lengths: Horizons.
        seed: Seed of every random choice.

    Returns:
        Controls ordered by horizon, then prompt.

    Raises:
        ValueError: Lists of different lengths, or fewer than two prompts.
    """
    if len(greedy) != len(sampled):
        raise ValueError(f"{len(greedy)} greedy but {len(sampled)} sampled answers")
    if len(greedy) < 2:
        raise ValueError("at least two prompts are needed, to swap and splice their answers")
    controls: list[Control] = []
    for length in lengths:
        answers = [tuple(tokens[:length]) for tokens in greedy]
        corpus = np.array([token for answer in answers for token in answer], dtype=np.int64)
        for prompt, answer in enumerate(answers):
            random = np.random.default_rng(stable_seed("controls", seed, length, prompt))
            other = _other_answer(answers, prompt)
            made: dict[str, Sequence[int]] = {"greedy": answer, "sampled": sampled[prompt][:length], "swapped": other}
            if len(answer) >= SHORTEST:
                made |= {
                    "shuffled": _shuffled(answer, random),
                    "word_salad": random.choice(corpus, size=len(answer)).tolist(),
                    "looping": _looping(answer, random),
                }
            half = len(answer) // 2
            if len(answer) >= SHORTEST_PARTIAL:
                made |= {
                    "spliced": spliced(answer, other, random),
                    "late_shuffled": [*answer[:half], *_shuffled(answer[half:], random)],
                }
            if len(answer) >= SHORTEST_LATE_LOOP:
                made["late_looping"] = [*answer[:half], *_looping(answer[half:], random)]
            controls += [
                Control(kind, kind in COLLAPSED_KINDS, prompt, length, tuple(tokens)) for kind, tokens in made.items()
            ]
    return tuple(controls)


def _other_answer(answers: Sequence[tuple[int, ...]], prompt: int) -> tuple[int, ...]:
    # From half-way down the list on, the first that shares fewer than half of its tokens, position by position:
    # models of few words give one answer to several prompts, and an answer spliced with itself is no control.
    count = len(answers)
    candidates = [answers[(prompt + count // 2 + step) % count] for step in range(count)]

    def shared(other: tuple[int, ...]) -> float:
        pairs = list(zip(answers[prompt], other, strict=False))
        return sum(one == two for one, two in pairs) / len(pairs) if pairs else 1.0

    return next((other for other in candidates if shared(other) < 0.5), min(candidates, key=shared))


def _shuffled(tokens: Sequence[int], random: np.random.Generator) -> list[int]:
    return [tokens[index] for index in random.permutation(len(tokens))]


def spliced(answer: Sequence[int], other: Sequence[int], random: np.random.Generator) -> list[int]:
    """Spans of two to four tokens taken in turn from two answers, as long as the first one."""
    # Both answers are walked in step, so that each span could follow its own text, but never follows the other's.
    # The other one comes first: an answer that begins as its own prompt's does would be coherent until the first join.
    tokens: list[int] = []
    turn = 0
    while len(tokens) < len(answer):
        source = (other, answer)[turn % 2] or answer
        start = len(tokens) % len(source)
        tokens += source[start : start + int(random.integers(2, 5))]
        turn += 1
    return tokens[: len(answer)]


def _looping(answer: Sequence[int], random: np.random.Generator) -> list[int]:
    longest = max(1, min(6, len(answer) // 3))
    span = list(answer[: int(random.integers(1, longest + 1))])
    return (span * len(answer))[: len(answer)]
