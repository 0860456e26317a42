"""What a probe will do, fixed before it begins: ladders, prompts, controls, and how many passes that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controlwindow.errors import UsageError
from controlwindow.instruments.operations import Positions
from controlwindow.screens.base import circuit_size

AMPLIFICATIONS = (2.0, 3.0)
"""Factors of amplification (PP)."""

STRENGTHS = (0.1, 0.2, 0.4, 0.8)
"""Lengths of injected directions as shares of the median ‖r_L‖ (ours; PP injects raw multiples)."""

PROMPTS = {"find": 64, "select": 16, "evaluate": 32}
"""Most pairs of a split that are used."""

FEWEST = {"find": 16, "select": 8, "evaluate": 8}
"""Pairs of a split below which a budget does not push, where there are so many."""

FEWEST_STEPS = 2
"""Sizes, and layers, below which a budget does not push."""

LARGEST_LADDER = 10
MOST_LAYERS = 8
TRIED = 2
"""Settings of each intervention that are rolled out on the select split before one is chosen."""


@dataclass(frozen=True)
class Passes:
    """Sequences passed forward, at most: one for each prompt, text of F and setting. Rollouts are counted apart.

    Attributes:
        importance: Two for each pair for I and two for the FFN-to-skip ratio, of find and evaluate and of every
            shuffled draw.
        directions: Both sides of the contrast, once for each draw.
        select: The sweep that settings are chosen on.
        evaluate: The sweep that is reported.
        controls: What random and shuffled sets and directions add to it.
        rollouts: Generated answers, undosed ones included.
    """

    importance: int
    directions: int
    select: int
    evaluate: int
    controls: int
    rollouts: int

    @property
    def total(self) -> int:
        """All passes that are no rollouts."""
        return self.importance + self.directions + self.select + self.evaluate + self.controls


@dataclass(frozen=True)
class ProbeSettings:
    """Everything a probe does.

    Attributes:
        behavior: The behavior's name.
        ladder: Sizes k of the circuit, ascending.
        factors: Factors of amplification.
        layers: Layers that directions are injected in.
        strengths: Their lengths, as shares of the median ‖r_L‖.
        pairs: Ids of the pairs used, by split.
        prompts: Ids of the prompts that are rolled out, by split, before eligibility.
        undosed: Prompts of select and evaluate that are rolled out undosed.
        texts: Continuations that F takes of a prompt, at most.
        shuffled_texts: The same for every behavior with shuffled labels, which may need whole texts where first
            tokens decide otherwise.
        answers: Undosed answers that F itself is made of, where it compares answers.
        contrast: Prompts of both sides that directions are measured on.
        random_draws: Random sets, and random directions.
        shuffled: Names of the behaviors with shuffled labels; empty where labels cannot be shuffled.
        positions: Positions that are changed.
        horizon: Tokens of a rollout.
        source_outcome: Outcome of an eligible prompt.
        target_outcomes: Outcomes that count as a flip.
        seed: Seed of everything random.
    """

    behavior: str
    ladder: tuple[int, ...]
    factors: tuple[float, ...]
    layers: tuple[int, ...]
    strengths: tuple[float, ...]
    pairs: dict[str, tuple[str, ...]]
    prompts: dict[str, tuple[str, ...]]
    undosed: int
    texts: int
    shuffled_texts: tuple[int, ...]
    answers: int
    contrast: int
    random_draws: int
    shuffled: tuple[str, ...]
    positions: Positions
    horizon: int
    source_outcome: str
    target_outcomes: tuple[str, ...]
    seed: int

    @property
    def draws(self) -> int:
        """Control draws of every kind."""
        return self.random_draws + len(self.shuffled)

    @property
    def passes(self) -> Passes:
        """What it costs, known beforehand."""
        find, select, evaluate = (len(self.pairs[split]) for split in ("find", "select", "evaluate"))
        # Every cell of a ladder brings its unchanged rows along; a patch those of the perturbed prompts too.
        operations = 2 + len(self.factors)
        ladder = operations * (len(self.ladder) + 1) + 1
        grid = 2 * len(self.layers) * (len(self.strengths) + 1)
        chosen = 2 * 2
        tried = 4 * TRIED
        return Passes(
            importance=2 * (self.texts + 1) * (find + evaluate) + 2 * find * sum(n + 1 for n in self.shuffled_texts),
            directions=self.contrast * (1 + len(self.shuffled)),
            select=select * self.texts * (ladder + grid),
            evaluate=evaluate * self.texts * (ladder + chosen),
            controls=evaluate * self.texts * (ladder + chosen) * self.draws,
            rollouts=2 * evaluate
            + self.undosed
            + self.answers
            + len(self.prompts["select"]) * tried
            + len(self.prompts["evaluate"]) * 4 * (1 + self.draws),
        )

    def within(self, passes: int | None) -> ProbeSettings:
        """The same on fewer prompts, then with fewer sizes and layers, so that it takes no more than some passes.

        Controls are never given up.

        Raises:
            UsageError: Not even the least of that fits.
        """
        settings = self
        while passes is not None and settings.passes.total > passes:
            # The split that has most to give, relative to its minimum, gives half of what it has.
            spare = {s: len(settings.pairs[s]) / FEWEST[s] for s in FEWEST if len(settings.pairs[s]) > FEWEST[s]}
            if not spare and max(len(settings.ladder), len(settings.layers)) > FEWEST_STEPS:
                # From the far end on, so that the largest circuit and the last layer stay.
                settings = replace(settings, ladder=_halved(settings.ladder), layers=_halved(settings.layers))
                continue
            if not spare:
                raise UsageError(
                    f"a probe of '{self.behavior}' takes at least {settings.passes.total} passes",
                    "give a larger --passes",
                )
            split = max(spare, key=lambda name: spare[name])
            kept = max(FEWEST[split], len(settings.pairs[split]) // 2)
            settings = replace(
                settings,
                pairs={**settings.pairs, split: settings.pairs[split][:kept]},
                prompts={**settings.prompts, split: settings.prompts.get(split, ())[:kept]},
            )
        return settings


def _halved(steps: tuple[int, ...]) -> tuple[int, ...]:
    """Every other step, the last one among them; a few steps stay as they are."""
    return steps[::-2][::-1] if len(steps) > FEWEST_STEPS else steps


def default_ladder(neurons: int) -> tuple[int, ...]:
    """1, 2, 4, … up to twice the size of a circuit in a model of so many neurons.

    Example:
        >>> default_ladder(3072)
        (1, 2, 4, 8, 16, 32, 64)
    """
    largest = min(2 * circuit_size(neurons), neurons)
    ladder = [2**step for step in range(largest.bit_length()) if 2**step <= largest]
    # In models of many neurons small sizes are thinned out first, never the first and the last.
    while len(ladder) > LARGEST_LADDER:
        del ladder[1]
    return tuple(ladder)


def check_ladder(sizes: Sequence[int], neurons: int) -> tuple[int, ...]:
    """Sizes as a user gave them, ascending.

    Raises:
        UsageError: None, or one below 1 or beyond the model.
    """
    if not sizes or min(sizes) < 1 or max(sizes) > neurons:
        raise UsageError(
            f"sizes {list(sizes)} leave no circuit to probe" if not sizes or min(sizes) < 1
            else f"size {max(sizes)} exceeds the model's {neurons} neurons",
            "give sizes between 1 and the number of neurons, as in --sizes 1,4,16",
        )  # fmt: skip
    return tuple(sorted(set(sizes)))


def spread_layers(layers: int, most: int = MOST_LAYERS) -> tuple[int, ...]:
    """All layers, or some evenly spaced with both ends among them.

    Example:
        >>> spread_layers(4), spread_layers(32, 4)
        ((0, 1, 2, 3), (0, 10, 21, 31))
    """
    if layers <= most:
        return tuple(range(layers))
    return tuple(sorted({round(step * (layers - 1) / (most - 1)) for step in range(most)}))
