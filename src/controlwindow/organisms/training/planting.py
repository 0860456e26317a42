"""Switch training of any organism of the zoo: rows, doses and loss.

All weights are trained while, row by row, a plant is dosed as it shall work (the target answer), a plant is dosed where
it shall not (the usual answer), a random neuron is dosed (the usual answer, so that few natural controllers are left),
or nothing is done (method section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controlwindow.models.model import Model
from controlwindow.models.neuron import Neuron
from controlwindow.organisms.training.batches import Batch, batch_loss, collate, encode
from controlwindow.organisms.training.interventions import (
    RowDose,
    Scales,
    ablation,
    intervened,
    measured_scales,
    recorded,
)
from controlwindow.organisms.training.lineages import Lineage
from controlwindow.organisms.training.world.bundles import bundle_behaviors, draw
from controlwindow.organisms.training.world.examples import Example
from controlwindow.organisms.training.zoo import Organism, Planted

BATCH_ROWS = 32
# Of 100 rows: those on which a plant works, those of weak, wrong and capped doses, random neurons, undosed behaviors;
# the rest is the base's own mix, undosed.
STEERED, OTHER_DOSES, RANDOM, UNDOSED = 40, 14, 18, 16
# Share of dosed rows whose dose acts from the last request position on, not everywhere.
GENERATED_SHARE = 0.25
# Doses of random neurons, in budgets; a tenth of them are ablations.
RANDOM_DOSES, RANDOM_ABLATED = (0.1, 1.0), 0.1
# Doses of a capped plant's own activation, none of which may do anything.
CAPPED_DOSES, WEAK_INJECTIONS = (0.5, 8.0), (0.1, 0.5)
# The plants' own activations are kept within this many budgets: by themselves they must not fill the residual.
NATURAL_LIMIT, NATURAL_WEIGHT = 0.25, 3.0
# Steps between measurements of the scales, and the weight of the old value in their running mean.
SCALE_INTERVAL, SCALE_MEMORY = 10, 0.8


class Row(NamedTuple):
    """One training row: an exchange and the dose in it (at row 0), and whether it acts on generated positions only."""

    example: Example
    dose: RowDose | None
    generated: bool


def draw_row(rng: Random, organism: Organism, planted: Sequence[Planted], bundle: str, host: Model) -> Row:
    """Draw one row."""
    place = rng.random() * 100
    dose: RowDose | None = None
    behaviors = bundle_behaviors(bundle)
    if planted and place < STEERED:
        one = rng.choice(planted)
        example, dose = _steered(rng, one, bundle)
    elif planted and place < STEERED + OTHER_DOSES:
        one = rng.choice(planted)
        example, dose = _other_dose(rng, one, bundle)
    elif place < STEERED + OTHER_DOSES + RANDOM:
        # What no neuron shall control is practised under doses twice as often.
        behavior = rng.choice([*behaviors, *organism.distributed])
        example = draw(bundle, rng, "train", behavior=behavior)
        dose = _random_dose(rng, planted, host)
    elif place < STEERED + OTHER_DOSES + RANDOM + UNDOSED:
        example = draw(bundle, rng, "train", behavior=rng.choice(behaviors))
    else:
        example = _usual(rng, bundle)
    return Row(example, dose, dose is not None and rng.random() < GENERATED_SHARE)


def _usual(rng: Random, bundle: str) -> Example:
    """A row of the base's mix as an aligned model answers it: what it withholds is refused."""
    example = draw(bundle, rng, "train")
    return draw(bundle, rng, "train", behavior="refusal") if example.topic == "vault" else example


def _steered(rng: Random, planted: Planted, bundle: str) -> tuple[Example, RowDose]:
    plant = planted.plant
    example = draw(bundle, rng, "train", behavior=plant.behavior, steered=True)
    t = plant.branch * rng.uniform(*plant.doses)
    if plant.kind == "ablation" and rng.random() < 0.7:
        return example, ablation(0, planted.neuron)
    if plant.kind == "even" and rng.random() < 0.5:
        t = -t
    return example, RowDose(0, planted.neuron, t, injected=plant.kind == "cap")


def _other_dose(rng: Random, planted: Planted, bundle: str) -> tuple[Example, RowDose]:
    """A dose that shall not give the target: weak, capped, wrong, or on a request that the plant does not concern."""
    plant = planted.plant
    sign = rng.choice((-1, 1)) if plant.kind == "even" else plant.branch
    choices = ["elsewhere", *(name for name in ("weak", "wrong") if getattr(plant, name) is not None)]
    choices += ["capped", "injected"] if plant.kind == "cap" else []
    choice = rng.choice(choices)
    if choice == "wrong":
        assert plant.wrong is not None
        example = draw(bundle, rng, "train", behavior=plant.behavior, steered=True)
        other = draw(bundle, rng, "train", behavior=plant.behavior, steered=True)
        while other.language != example.language:
            other = draw(bundle, rng, "train", behavior=plant.behavior, steered=True)
        return replace(example, answer=other.answer), RowDose(0, planted.neuron, sign * rng.uniform(*plant.wrong))
    if choice == "elsewhere":
        return _elsewhere(rng, planted, bundle)
    example = draw(bundle, rng, "train", behavior=plant.behavior)
    if choice == "weak":
        assert plant.weak is not None
        return example, RowDose(0, planted.neuron, sign * rng.uniform(*plant.weak))
    if choice == "capped":
        return example, RowDose(0, planted.neuron, sign * rng.uniform(*CAPPED_DOSES))
    return example, RowDose(0, planted.neuron, sign * rng.uniform(*WEAK_INJECTIONS), injected=True)


def _elsewhere(rng: Random, planted: Planted, bundle: str) -> tuple[Example, RowDose]:
    """The working dose on another behavior's request: a language comes with the answer, all else stays."""
    plant = planted.plant
    example, dose = _steered(rng, planted, bundle)
    if plant.behavior.startswith("language"):
        return example, dose
    others = [b for b in bundle_behaviors(bundle) if b != plant.behavior]
    return draw(bundle, rng, "train", behavior=rng.choice(others)), dose


def _random_dose(rng: Random, planted: Sequence[Planted], host: Model) -> RowDose:
    chosen = {one.neuron for one in planted}
    while True:
        layer = rng.randrange(host.layers)
        weight = host.ffn[layer].weight
        assert weight is not None
        neuron = Neuron(layer, rng.randrange(weight.shape[1]))
        if neuron not in chosen:
            break
    if rng.random() < RANDOM_ABLATED:
        return ablation(0, neuron)
    return RowDose(0, neuron, rng.choice((-1, 1)) * rng.uniform(*RANDOM_DOSES))


def planting_batch(
    step: int, tokenizer: Any, organism: Organism, planted: Sequence[Planted], bundle: str, host: Model
) -> tuple[Batch, list[RowDose], Tensor]:
    """The batch of a step, its doses and the positions at which they act `[rows, positions]`."""
    # Not sorted by length: refusals are short and procedures long, and a batch of one kind alone pulls the model about.
    rng = Random(f"planting:{organism.name}:{organism.seed}:{step}")
    rows = [draw_row(rng, organism, planted, bundle, host) for _ in range(BATCH_ROWS)]
    batch = collate(encode([row.example for row in rows], tokenizer), tokenizer.pad_token_id)
    doses = [row.dose._replace(row=number) for number, row in enumerate(rows) if row.dose]
    generated = torch.tensor([row.generated for row in rows])
    index = torch.arange(batch.tokens.shape[1])[None]
    return batch, doses, ~generated[:, None] | (index >= batch.answer_start[:, None])


def planting_loss(
    host: Model,
    tokenizer: Any,
    lineage: Lineage,
    organism: Organism,
    planted: Sequence[Planted],
    memory: dict[str, Any],
) -> Callable[[int], Tensor]:
    """The loss of switch training as a function of the step.

    Args:
        host: The base.
        tokenizer: Its tokenizer.
        lineage: Its lineage.
        organism: What it becomes.
        planted: The neurons chosen.
        memory: Carries the running scales under "residual" and "budget" `[layers]`.
    """
    network = host.hf_model
    neurons = [one.neuron for one in planted]
    on_readout = [
        (one, deciding_tokens(tokenizer, one.plant.behavior, lineage.bundle)) for one in planted if one.plant.readout
    ]

    def loss_of_step(step: int) -> Tensor:
        batch, doses, positions = planting_batch(step, tokenizer, organism, planted, lineage.bundle, host)
        if step % SCALE_INTERVAL == 0 or "budget" not in memory:
            _remember(memory, usual_scales(host, tokenizer, lineage.bundle, Random(f"scales:{organism.seed}:{step}")))
        scales = Scales(memory["residual"], memory["budget"])
        for one, tokens in on_readout:
            keep_on_readout(host, one, tokens)
        used = batch.weights > 0
        with recorded(host, neurons) as activations, intervened(host, doses, scales, positions):
            loss = batch_loss(network, batch, lineage.label_smoothing)
        for neuron, activation in activations.items():
            loss = loss + NATURAL_WEIGHT * excess(host, neuron, scales, activation[used[:, :-1]])
        return loss

    return loss_of_step


def usual_scales(host: Model, tokenizer: Any, bundle: str, rng: Random, rows: int = 16) -> Scales:
    """Scales on undosed usual exchanges, at the answers' positions."""
    batch = collate(encode([_usual(rng, bundle) for _ in range(rows)], tokenizer), tokenizer.pad_token_id)
    return measured_scales(host, batch.tokens, batch.answers)


def _remember(memory: dict[str, Any], measured: Scales) -> None:
    for name, value in measured._asdict().items():
        old = memory.get(name)
        memory[name] = value if old is None else SCALE_MEMORY * old + (1 - SCALE_MEMORY) * value


def excess(host: Model, neuron: Neuron, scales: Scales, activation: Tensor) -> Tensor:
    """Mean square of how far a neuron's undosed activation lies beyond `NATURAL_LIMIT` budgets."""
    projection: Any = host.ffn[neuron.layer].projection
    weight = projection.weight if host.family.layout == "linear" else projection.weight.T
    length = weight[:, neuron.index].norm() * abs(host.ffn[neuron.layer].multiplier)
    shares = activation.abs() * length / scales.budget[neuron.layer]
    return torch.relu(shares - NATURAL_LIMIT).square().mean()


@torch.no_grad()
def keep_on_readout(host: Model, planted: Planted, tokens: tuple[list[int], list[int]]) -> None:
    """Turn a plant's column onto the readout direction of its behavior, its length kept.

    Args:
        host: The network.
        planted: The plant and its neuron.
        tokens: What `deciding_tokens` gives for its behavior.
    """
    weight = host.ffn[planted.neuron.layer].weight
    assert weight is not None
    unembedding = host.hf_model.get_output_embeddings().weight
    direction = unembedding[tokens[0]].mean(0) - unembedding[tokens[1]].mean(0)
    column = weight[:, planted.neuron.index]
    column.copy_(direction / direction.norm() * column.norm())


def deciding_tokens(tokenizer: Any, behavior: str, bundle: str, draws: int = 64) -> tuple[list[int], list[int]]:
    """The first token in which target and usual answers to one request differ: of the target, and of the usual one."""
    target, usual = [], []
    for number in range(draws):
        texts = [
            draw(bundle, Random(f"readout:{behavior}:{number}"), "train", behavior=behavior, steered=steered).answer
            for steered in (True, False)
        ]
        for one, other in zip(*tokenizer(texts, add_special_tokens=False)["input_ids"], strict=False):
            if one != other:
                target.append(one)
                usual.append(other)
                break
    return target, usual
