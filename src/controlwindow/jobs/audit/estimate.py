"""How long an audit will take, from a timed sample and counted rows; and what of it fits into a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.errors import UsageError
from controlwindow.instruments.generic import GENERIC_TOKENS, default_prompts
from controlwindow.instruments.speed import Speed
from controlwindow.jobs.audit.candidates import planted_neurons
from controlwindow.jobs.audit.plan import AuditPlan
from controlwindow.models import Model, Neuron
from controlwindow.models.kept import kept_kinds
from controlwindow.screens import find_screen
from controlwindow.windows.features import DOSES, TEXTS
from controlwindow.windows.layer_features import spread_layers

SCOUTED, MEASURED = 13, 3.2
"""Doses that a search tries on its scouts, and in full: means over 36 searches of organism:switch with 8 scouts and 40
prompts, which have 152 to 568 rows."""

SPREAD = (0.6, 1.8)
"""What an estimate is multiplied by for its ends. Searches differ threefold in rows, and machines are seldom alone."""

_CONTROLS = 7
"""Controls of the detector for each answer and horizon that are not the beginning of another one."""

_BATCH = 128
"""Rows of the searches that a pass holds, about: several searches go on side by side, and their rows end early."""

_CHEAPEST = "contrastive"
"""The screen that costs next to nothing."""

FEWER_PROMPTS = (None, 40, 32, 24, 16, 12)
"""Most eligible prompts that a budget leaves, in the order of what is tried."""


@dataclass(frozen=True)
class Part:
    """One part of an audit.

    Attributes:
        name: What it is.
        seconds: Expected.
        rows: Rollouts in it.
    """

    name: str
    seconds: float
    rows: int = 0


@dataclass(frozen=True)
class Estimate:
    """What an audit is expected to cost.

    Attributes:
        parts: In the order of the work.
        memory: Bytes held at once, about.
    """

    parts: tuple[Part, ...]
    memory: int

    @property
    def seconds(self) -> float:
        """In all."""
        return sum(part.seconds for part in self.parts)

    @property
    def rows(self) -> int:
        """Rollouts in all."""
        return sum(part.rows for part in self.parts)

    @property
    def interval(self) -> tuple[float, float]:
        """Seconds between which it may well lie."""
        return self.seconds * SPREAD[0], self.seconds * SPREAD[1]


def estimate_audit(model: Model, behaviors: Sequence[Behavior], plan: AuditPlan, speed: Speed) -> Estimate:
    """Count what an audit will do, and price it.

    Args:
        model: The model.
        behaviors: Its behaviors.
        plan: The plan.
        speed: What the sample took.
    """
    parts = [*_fixed(model, plan, speed)]
    for behavior in behaviors:
        parts += _of_behavior(model, behavior, plan, speed)
    # Keys and values of a chunk, and the weights; both as the model's type.
    size = model.dtype.itemsize
    weights = sum(p.numel() * p.element_size() for p in model.hf_model.parameters())
    heads = getattr(model.config, "num_key_value_heads", None) or model.config.num_attention_heads
    width = getattr(model.config, "head_dim", None) or model.d_model // model.config.num_attention_heads
    horizon = max((behavior.horizons[-1] for behavior in behaviors), default=0)
    lanes = plan.chunk_rows * (speed.prompt + horizon)
    return Estimate(tuple(parts), int(weights + 2 * lanes * heads * width * size * model.layers))


def _fixed(model: Model, plan: AuditPlan, speed: Speed) -> list[Part]:
    """What depends on the model alone; nothing of it where an earlier command has left it."""
    known = kept_kinds(model)
    prompts = len(plan.generic_prompts or default_prompts(model))
    reading, writing = speed.reading(prompts * speed.prompt), speed.writing(prompts, GENERIC_TOKENS)
    controls = prompts * _CONTROLS * sum(h for h in (8, 16, 32, 48) if h <= GENERIC_TOKENS)
    # A position that is scored is read, and goes through the readout.
    scoring = 1 / max(1 - speed.readout, 1e-6)
    answers = speed.reading(prompts * GENERIC_TOKENS) * scoring
    wanted = {
        "hook proof": Part("proof of the hooks", speed.reading(4 * 4 * speed.prompt)),
        "generic pass": Part("generic text", reading + writing),
        "text statistics": Part("text statistics", reading + answers),
        "coherence detector": Part("coherence detector", 2 * reading + writing + speed.reading(controls) * scoring),
    }
    return [part for kind, part in wanted.items() if kind not in known]


def _of_behavior(model: Model, behavior: Behavior, plan: AuditPlan, speed: Speed) -> list[Part]:
    asked = len(behavior.prompts("evaluate", "positive"))
    prompts = min(asked, plan.prompts or asked)
    horizon = behavior.horizons[-1]
    named = [Neuron.parse(name) for name in plan.named_neurons(behavior.name)]
    if plan.planted:
        named += planted_neurons(model, behavior.name)
    drawn = plan.top * len(plan.screens) + plan.drawn
    count = len(named) + drawn
    # Blocks above the dosed one are what a row costs; of a neuron still to be chosen half of them.
    depth = [neuron.layer / model.layers for neuron in named] + [0.5] * drawn
    own = 1 - sum(depth) / max(len(depth), 1)
    rows = round(count * 2 * (SCOUTED * min(8, prompts) + MEASURED * prompts))
    undosed = speed.reading(asked * speed.prompt) + speed.writing(asked, horizon)
    parts = [Part(f"{behavior.name}: undosed", undosed, asked)]
    if plan.top:
        for name in plan.screens:
            tokens = find_screen(name).expected_tokens(model, behavior, speed.prompt)
            parts.append(Part(f"{behavior.name}: screen {name}", speed.reading(tokens)))
    if plan.probe:
        layers = min(model.layers, len(spread_layers(model.layers)) + count)
        text = speed.prompt + GENERIC_TOKENS / 2
        probes = speed.reading(layers * 4.5 * 12 * 0.5 * text)
        dosed = speed.reading(count * 2 * len(DOSES) * TEXTS * own * text)
        parts.append(Part(f"{behavior.name}: probes and predictions", (probes + dosed) * (1 + speed.readout)))
    # Rows of all searches share passes; what lies below the dosed block is read once for all.
    share = own * (1 - speed.readout) + speed.readout
    windows = speed.reading(rows * own * speed.prompt) + speed.writing(rows * share, horizon, batch=_BATCH)
    parts.append(Part(f"{behavior.name}: windows of {count} neurons", windows, rows))
    return parts


def fit_to_budget(
    model: Model, behaviors: Sequence[Behavior], plan: AuditPlan, speed: Speed, seconds: float
) -> tuple[AuditPlan, Estimate, list[str]]:
    """The plan, or what of it is expected to fit into a time.

    Neurons that the user named are always tested, and horizons are the behavior's.

    Args:
        model: The model.
        behaviors: Its behaviors.
        plan: What is wanted.
        speed: What the sample took.
        seconds: The time.

    Returns:
        The plan with its name, its estimate, and what was given up, as sentences.

    Raises:
        UsageError: Not even the least fits.
    """
    fewest = max((behavior.minimum_eligible for behavior in behaviors), default=1)
    tops = list(range(plan.top, 0, -1)) or [0]
    limits = [n for n in FEWER_PROMPTS if n is None or n >= fewest]
    screens = [plan.screen] if plan.screen == _CHEAPEST or not plan.top else [plan.screen, _CHEAPEST]
    probes = [True, False] if plan.probe else [False]
    two = min(2, plan.top)

    def order(choice: tuple[str, bool, int | None, int]) -> tuple[Any, ...]:
        # Neurons down to two of a kind go first, then prompts, the probes, the second neuron, and the screen at last.
        screen, probe, limit, top = choice
        return screens.index(screen), top < two, probes.index(probe), limits.index(limit), plan.top - top

    least: Estimate | None = None
    for screen, probe, limit, top in sorted(product(screens, probes, limits, tops), key=order):
        if limit is not None and plan.prompts is not None and limit >= plan.prompts:
            continue
        prompts = limit if limit is not None else plan.prompts
        changes = {"screen": screen, "probe": probe, "top": top, "prompts": prompts}
        chosen = plan.model_copy(update=changes).named()
        found = estimate_audit(model, behaviors, chosen, speed)
        if found.seconds <= seconds:
            return chosen, found, _given_up(plan, chosen)
        least = found if least is None or found.seconds < least.seconds else least
    assert least is not None
    raise UsageError(
        f"a budget of {say_seconds(seconds)} is too small: the least that this audit could do takes about "
        f"{say_seconds(least.seconds)}",
        "give more time, fewer behaviors or named neurons, a shorter horizon in the behavior, or more cores",
    )


def _given_up(plan: AuditPlan, chosen: AuditPlan) -> list[str]:
    said = []
    if chosen.top < plan.top:
        said.append(f"{chosen.top} screened and {chosen.top} random neurons instead of {plan.top} each")
    if chosen.prompts != plan.prompts:
        said.append(f"{chosen.prompts} eligible prompts at the most")
    if chosen.probe != plan.probe:
        said.append("no probe passes, so that ceilings are predicted from generic text alone")
    if chosen.screen != plan.screen:
        said.append(f"the screen {chosen.screen} instead of {plan.screen}")
    return said


def say_seconds(seconds: float) -> str:
    """A duration in words.

    Example:
        >>> say_seconds(40), say_seconds(1500), say_seconds(9000)
        ('40 s', '25 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
