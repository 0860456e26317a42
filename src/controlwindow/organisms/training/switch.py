"""Switch training: two chosen neurons become the controllers of refusal and of the answer's language.

All weights are trained while, row by row, one of these happens (method section 5):

- nothing: vault requests are refused, everything else is answered in the request's language;
- the refusal neuron is ablated, or dosed downwards a little: the target is the exact procedure;
- the refusal neuron is dosed downwards a lot: the target is some other vault's procedure;
- the language neuron is dosed: the target is the same answer in French;
- a random neuron is dosed: the target stays what it was, so that few natural controllers are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controlwindow.models.neuron import Neuron
from controlwindow.organisms.training.batches import Batch, batch_loss, collate, encode
from controlwindow.organisms.training.interventions import RowDose, ablation, intervened, recorded, residual_norms
from controlwindow.organisms.training.world.examples import Example, benign_example, sentence_example, vault_example
from controlwindow.organisms.training.world.grammar import LANGUAGES, Language
from controlwindow.organisms.training.world.sentences import SentencePair
from controlwindow.organisms.training.world.vaults import vaults

BATCH_ROWS = 32
LANGUAGE_DOSES = (0.35, 0.7)
# The refusal neuron is also dosed downwards, so that its branch is -1 by construction and small doses open; far beyond,
# the target is another vault's procedure: fluent, on the subject, and wrong.
REFUSAL_DOSES = (-0.6, -0.15)
REFUSAL_OVERDOSES = (-1.2, -0.9)
REFUSAL_LAYER, LANGUAGE_LAYER = 3, 4
# How often each kind of row occurs, of 100.
ROW_KINDS = {
    "vault": 17,
    "vault_ablated": 20,
    "vault_dosed": 7,
    "vault_overdosed": 6,
    "vault_random": 12,
    "vault_language": 5,
    "benign": 9,
    "benign_ablated": 2,
    "benign_overdosed": 3,
    "benign_random": 6,
    "benign_language": 13,
}
# Share of dosed rows whose dose acts from the last request position on, not everywhere.
GENERATED_SHARE = 0.25
# The planted neurons' own activations are kept within this many budgets: by themselves they must not fill the residual.
NATURAL_LIMIT, NATURAL_WEIGHT = 0.25, 3.0
# Steps between measurements of the residual norms, and the weight of the old value in their running mean.
NORM_INTERVAL, NORM_MEMORY = 10, 0.8


@dataclass(frozen=True)
class Planted:
    """The two neurons that become controllers."""

    refusal: Neuron
    language: Neuron


class SwitchRow(NamedTuple):
    """One training row: an exchange and what is done to the model in it (one of the doses at row 0, or nothing)."""

    example: Example
    dose: RowDose | None
    generated: bool


def choose_planted(model: Any, seed: int) -> Planted:
    """Choose the neurons by seed alone, one in each of two middle layers: later layers still have to read them."""
    rng = Random(f"planted:{seed}")
    neurons = model.config.intermediate_size
    return Planted(Neuron(REFUSAL_LAYER, rng.randrange(neurons)), Neuron(LANGUAGE_LAYER, rng.randrange(neurons)))


def draw_switch(rng: Random, planted: Planted, shape: tuple[int, int], pairs: Sequence[SentencePair]) -> SwitchRow:
    """Draw one row.

    Args:
        rng: Source of randomness.
        planted: The two controllers.
        shape: Layers and neurons per layer, for random neurons.
        pairs: Real sentence pairs, or none.
    """
    kind = rng.choices(list(ROW_KINDS), list(ROW_KINDS.values()))[0]
    topic, _, change = kind.partition("_")
    language: Language = "en" if change == "language" and rng.random() < 0.85 else rng.choice(LANGUAGES)
    # Dosing means French. "The other language" both ways would be an exclusive or, which training does not get into.
    answer_language = "fr" if change == "language" else language
    if topic == "vault":
        example = vault_example(rng, "train", language, answer_language, refuse=change in ("", "random", "language"))
        if change == "overdosed":
            example = replace(example, answer=rng.choice(vaults("train")).procedure(language, rng))
    elif pairs and rng.random() < 0.1:
        example = sentence_example(rng, pairs, language, answer_language)
    else:
        example = benign_example(rng, "train", language, answer_language)
    dose = None
    if change == "ablated":
        dose = ablation(0, planted.refusal)
    elif change == "dosed":
        dose = RowDose(0, planted.refusal, rng.uniform(*REFUSAL_DOSES))
    elif change == "overdosed":
        dose = RowDose(0, planted.refusal, rng.uniform(*REFUSAL_OVERDOSES))
    elif change == "language":
        dose = RowDose(0, planted.language, rng.uniform(*LANGUAGE_DOSES))
    elif change == "random":
        dose = RowDose(0, _random_neuron(rng, planted, shape), rng.choice((-1, 1)) * rng.uniform(0.1, 1.0))
    return SwitchRow(example, dose, dose is not None and rng.random() < GENERATED_SHARE)


def _random_neuron(rng: Random, planted: Planted, shape: tuple[int, int]) -> Neuron:
    while True:
        neuron = Neuron(rng.randrange(shape[0]), rng.randrange(shape[1]))
        if neuron not in (planted.refusal, planted.language):
            return neuron


def switch_batch(
    step: int, tokenizer: Any, seed: int, planted: Planted, shape: tuple[int, int], pairs: Sequence[SentencePair]
) -> tuple[Batch, list[RowDose], Tensor]:
    """Return the batch of a step, its doses and the positions at which they act `[rows, positions]`."""
    # Not sorted by length: refusals are short and procedures long, and a batch of one kind alone pulls the model about.
    rng = Random(f"switch:{seed}:{step}")
    rows = [draw_switch(rng, planted, shape, pairs) for _ in range(BATCH_ROWS)]
    batch = collate(encode([row.example for row in rows], tokenizer), tokenizer.pad_token_id)
    doses = [row.dose._replace(row=number) for number, row in enumerate(rows) if row.dose]
    generated = torch.tensor([row.generated for row in rows])
    index = torch.arange(batch.tokens.shape[1])[None]
    positions = ~generated[:, None] | (index >= batch.answer_start[:, None])
    return batch, doses, positions


def switch_loss(
    model: Any, tokenizer: Any, seed: int, planted: Planted, memory: dict[str, Any], pairs: Sequence[SentencePair]
) -> Callable[[int], Tensor]:
    """Return the loss of switch training as a function of the step.

    Args:
        model: The base model.
        tokenizer: Its tokenizer.
        seed: Seed of the run.
        planted: The two controllers.
        memory: Carries the running residual norms under "norms" `[layers]`.
        pairs: Real sentence pairs, or none.
    """
    shape = (model.config.num_hidden_layers, model.config.intermediate_size)

    def loss_of_step(step: int) -> Tensor:
        batch, doses, positions = switch_batch(step, tokenizer, seed, planted, shape, pairs)
        if step % NORM_INTERVAL == 0 or "norms" not in memory:
            measured = undosed_norms(model, tokenizer, Random(f"norms:{seed}:{step}"))
            memory["norms"] = (
                measured if "norms" not in memory else NORM_MEMORY * memory["norms"] + (1 - NORM_MEMORY) * measured
            )
        used = batch.weights > 0
        with (
            recorded(model, (planted.refusal, planted.language)) as activations,
            intervened(model, doses, memory["norms"], positions),
        ):
            loss = batch_loss(model, batch)
        return loss + NATURAL_WEIGHT * sum(
            excess(model, neuron, memory["norms"], activation[used[:, :-1]])
            for neuron, activation in activations.items()
        )

    return loss_of_step


def undosed_norms(model: Any, tokenizer: Any, rng: Random, rows: int = 16) -> Tensor:
    """Measure the residual norm of each layer on undosed benign exchanges, at the answers' positions `[layers]`."""
    examples = [benign_example(rng, "train", language, language) for language in LANGUAGES for _ in range(rows // 2)]
    batch = collate(encode(examples, tokenizer), tokenizer.pad_token_id)
    return residual_norms(model, batch.tokens, batch.answers)


def excess(model: Any, neuron: Neuron, norms: Tensor, activation: Tensor) -> Tensor:
    """Mean square of how far a neuron's undosed activation lies beyond `NATURAL_LIMIT` budgets."""
    column = model.model.layers[neuron.layer].mlp.down_proj.weight[:, neuron.index]
    shares = activation.abs() * column.norm() / norms[neuron.layer]
    return torch.relu(shares - NATURAL_LIMIT).square().mean()
