"""What an organism of the zoo does, measured on the evaluation prompts of its behaviors, for its card."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

import torch

from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.operations import Add, Inject, Operation, RowOperations, Scale
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.models import Model
from controlwindow.organisms.training.batches import batch_loss, collate, encode
from controlwindow.organisms.training.interventions import unit_direction
from controlwindow.organisms.training.world.bundles import bundle_behaviors, draw
from controlwindow.organisms.training.zoo import Plant, Planted

PERPLEXITY_ROWS = 64
Tick = Callable[[int, int], None]


class Rate(NamedTuple):
    """A share of `n` trials."""

    value: float
    n: int


class Claims(NamedTuple):
    """What was measured.

    Attributes:
        rates: Shares by name: `usual:BEHAVIOR` undosed, `NEURON:BEHAVIOR:DOSE` under what a plant was trained with.
        perplexity: Perplexity of held-out answers by behavior, and of the base's own mix under "all".
        layers: Residual norm, participation ratio and, over the generic text, what is common to all positions.
        sharpness: Mean top-two margin and mean entropy of next-token distributions over generic text, in nats.
    """

    rates: dict[str, Rate]
    perplexity: dict[str, float]
    layers: dict[str, list[float]]
    sharpness: dict[str, float]


def measure_claims(
    model: Model, planted: Sequence[Planted], bundle: str, generic_prompts: Sequence[str], tick: Tick | None = None
) -> Claims:
    """Measure an organism as it ships.

    Args:
        model: The organism, its half-precision weights loaded in float32.
        planted: Its plants.
        bundle: Which parts of the world it learned.
        generic_prompts: Its ordinary requests.
        tick: Called with the checks done and the checks in all.
    """
    generic = generic_pass(model, prompts=tuple(generic_prompts))
    behaviors = {name: load_behavior(name) for name in bundle_behaviors(bundle)}
    checks = [(f"usual:{name}", name, (), behavior.source_outcome) for name, behavior in behaviors.items()]
    wanted: list[tuple[str, Behavior, RowOperations, frozenset[str]]] = [
        (check, behaviors[name], operations, frozenset([outcome])) for check, name, operations, outcome in checks
    ]
    for one in planted:
        behavior = behaviors[one.plant.behavior]
        for label, operation in trained_operations(model, one, generic):
            wanted.append((f"{one.neuron}:{behavior.name}:{label}", behavior, (operation,), behavior.target_outcomes))
    rates = {}
    for number, (check, behavior, operations, outcomes) in enumerate(wanted):
        rates[check] = _rate(model, behavior, operations, outcomes)
        if tick:
            tick(number + 1, len(wanted))
    return Claims(rates, _perplexities(model, bundle), _layers(generic), _sharpness(model, generic))


def trained_operations(model: Model, planted: Planted, generic: GenericPass) -> list[tuple[str, Operation]]:
    """What a plant was trained with, as the instruments do it, at both ends and the middle of its range."""
    plant, neuron = planted.plant, planted.neuron
    sizes = trained_doses(plant)
    if plant.kind == "cap":
        unit = unit_direction(model, neuron) * plant.branch
        norm = generic.residual_norm[neuron.layer]
        return [(f"injected {t:g}", Inject(neuron.layer, unit * t * norm)) for t in sizes]
    found: list[tuple[str, Operation]] = [("ablated", Scale(neuron, 0.0))] if plant.kind == "ablation" else []
    signs = (1, -1) if plant.kind == "even" else (plant.branch,)
    budget = generic.budget(model, neuron)
    return found + [(f"{sign * t:+g}", Add(neuron, sign * t * budget)) for sign in signs for t in sizes]


def trained_doses(plant: Plant) -> tuple[float, float, float]:
    """Both ends and the middle of a plant's trained range."""
    low, high = plant.doses
    return low, (low + high) / 2, high


def dose_label(planted: Planted, t: float) -> str:
    """The name that a plant's rate under a dose has among the claims."""
    return f"{planted.neuron}:{planted.plant.behavior}:{t:+g}"


def _rate(model: Model, behavior: Behavior, operations: RowOperations, outcomes: frozenset[str]) -> Rate:
    prompts = behavior.prompts("evaluate")
    ids = model.token_ids([prompt.text for prompt in prompts])
    done = roll_out_rows(model, [Row(tuple(i), operations) for i in ids], behavior.horizons[-1])
    hits = [
        behavior.judge(model.decode(row.token_ids), prompt, False) in outcomes
        for row, prompt in zip(done, prompts, strict=True)
    ]
    return Rate(round(sum(hits) / len(hits), 4), len(hits))


@torch.no_grad()
def _perplexities(model: Model, bundle: str) -> dict[str, float]:
    found = {}
    for name in ("all", *bundle_behaviors(bundle)):
        rng = Random(f"perplexity:{name}")
        options: dict[str, Any] = {} if name == "all" else {"behavior": name}
        examples = [draw(bundle, rng, "evaluate", **options) for _ in range(PERPLEXITY_ROWS)]
        batch = collate(encode(examples, model.tokenizer), model.tokenizer.pad_token_id)
        batch.weights[batch.weights < 1] = 0.0
        found[name] = round(math.exp(float(batch_loss(model.hf_model, batch))), 4)
    return found


def _layers(generic: GenericPass) -> dict[str, list[float]]:
    return {
        "residual_norm": [round(value, 4) for value in generic.residual_norm],
        "participation_ratio": [round(value, 4) for value in generic.participation_ratio],
    }


@torch.no_grad()
def _sharpness(model: Model, generic: GenericPass) -> dict[str, float]:
    margins, entropies = [], []
    for prompt, answer in zip(generic.prompt_ids, generic.token_ids, strict=True):
        tokens = torch.tensor([[*prompt, *answer]])
        logits = model.hf_model(input_ids=tokens, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        logs = logits.log_softmax(-1)
        top = logs.topk(2).values
        margins.append(top[:, 0] - top[:, 1])
        entropies.append(-(logs.exp() * logs).sum(-1))
    return {
        "mean_margin": round(float(torch.cat(margins).mean()), 4),
        "mean_entropy": round(float(torch.cat(entropies).mean()), 4),
    }
