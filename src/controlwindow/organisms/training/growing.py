"""From a lineage's base to an organism of the zoo: switch training, constructions, weights, card. Resumable."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import __version__ as tokenizers_version
from torch import Tensor
from transformers import __version__ as transformers_version

from controlwindow.catalogue import CARD_FILE, PREFIX, Card, KnownNeuron, PlantedNeuron, Tolerance
from controlwindow.errors import OrganismError
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.jobs.screen.call import screen
from controlwindow.models import Model, Neuron, load_model
from controlwindow.organisms.training.bases import scaled, train_base
from controlwindow.organisms.training.batches import collate, encode
from controlwindow.organisms.training.card import write_card
from controlwindow.organisms.training.claims import Claims, dose_label, measure_claims, trained_doses
from controlwindow.organisms.training.constructions import ORTHOGONAL, Workshop, add_shared_component
from controlwindow.organisms.training.interventions import host_of
from controlwindow.organisms.training.lineages import LINEAGES, Lineage
from controlwindow.organisms.training.loop import Progress, StageResult, run_stage
from controlwindow.organisms.training.planting import BATCH_ROWS, planting_loss, usual_scales
from controlwindow.organisms.training.verifying import opening
from controlwindow.organisms.training.world.bundles import (
    bundle_behaviors,
    bundle_languages,
    draw,
    generic_prompts_of,
)
from controlwindow.organisms.training.zoo import ORGANISMS, Organism, Planted, choose_neurons

logger = logging.getLogger(__name__)

# How far a rebuild may fall below the shipped organism's figures: other machines round differently.
SLACK = 0.15
# How far above the smallest trained dose a trigger may lie, as a factor: half of the answers decide it.
TRIGGER_ROOM = 1.15
# Seeds of lineages and organisms are small numbers; a user's seed moves them all by more.
SEED_STRIDE = 1000
_IDLE_ROWS = 64


def grow(
    name: str,
    out: Path,
    *,
    bases: Path,
    seed: int = 0,
    progress: Progress | None = None,
    scale: float = 1.0,
) -> Path:
    """Train an organism of the zoo from nothing, or go on where an earlier run was stopped.

    Args:
        name: Its name, without prefix.
        out: Directory to write.
        bases: Where base runs are kept, one folder for each lineage and seed; organisms of one lineage share it.
        seed: 0 rebuilds the organism that ships; any other makes a new one, with a base of its own.
        progress: Called with a stage's name, steps done and steps in all.
        scale: Multiplies the number of steps; below 1 for quick tests.

    Returns:
        `out`.

    Raises:
        OrganismError: The organism is unknown, `out` holds a finished one, or the loss is not finite.
    """
    if name not in ORGANISMS:
        raise OrganismError(f"unknown organism {name!r}", f"organisms that can be trained: {', '.join(ORGANISMS)}")
    if (out / CARD_FILE).exists():
        raise OrganismError(
            f"{out}: already holds a finished organism", "train into another directory, or remove this one"
        )
    organism = ORGANISMS[name]
    lineage = LINEAGES[organism.lineage]
    kept = lineage.name
    if seed:
        kept = f"{lineage.name}-{seed}"
        organism = replace(organism, seed=organism.seed + SEED_STRIDE * seed)
        lineage = replace(lineage, seed=lineage.seed + SEED_STRIDE * seed)
    trained = organism if organism.twin is None else replace(ORGANISMS[organism.twin], seed=organism.seed)
    network, tokenizer, base = train_base(lineage, bases / kept, progress, scale)
    host = host_of(network)
    stages = {"base": base}
    planted: tuple[Planted, ...] = ()
    made: tuple[list[PlantedNeuron], list[KnownNeuron]] = ([], [])
    work = out / ".training"
    if trained.steps:
        work.mkdir(parents=True, exist_ok=True)
        planted = choose_neurons(trained, host)
        memory: dict[str, Any] = {}
        loss = planting_loss(host, tokenizer, lineage, trained, planted, memory)
        stages["switch"] = run_stage(scaled(trained.stage, scale), network, loss, work, progress, memory)
        if organism.shared_norm:
            planted = share(host, tokenizer, lineage, organism, planted)
        made = construct(host, tokenizer, lineage, organism, planted)
    out.mkdir(parents=True, exist_ok=True)
    if hasattr(network.config, "output_router_logits"):
        # For training's balancing loss; who generates has no use for them.
        network.config.output_router_logits = False
    network.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    shipped = load_model(out, device="cpu", dtype=torch.float32)
    claims = measure_claims(
        shipped,
        planted,
        lineage.bundle,
        generic_prompts_of(lineage.bundle),
        lambda done, total: progress("measure", done, total) if progress else None,
    )
    card = card_of(shipped, organism, lineage, planted, made, stages, claims)
    write_card(without_failed_claims(shipped, card), out)
    shutil.rmtree(work, ignore_errors=True)
    return out


def share(
    host: Model, tokenizer: Any, lineage: Lineage, organism: Organism, planted: Sequence[Planted]
) -> tuple[Planted, ...]:
    """Add the shared component to a trained network, in place, and restate the plants' doses in its larger budgets."""

    def budgets() -> Tensor:
        return usual_scales(host, tokenizer, lineage.bundle, Random(f"shared:{organism.seed}")).budget

    before = budgets()
    add_shared_component(host, organism.shared_norm)
    ratios = (before / budgets()).tolist()

    def restated(span: tuple[float, float] | None, ratio: float) -> tuple[float, float] | None:
        return None if span is None else (round(span[0] * ratio, 4), round(span[1] * ratio, 4))

    found = []
    for one in planted:
        plant, ratio = one.plant, ratios[one.neuron.layer]
        doses = restated(plant.doses, ratio)
        assert doses is not None
        plant = replace(plant, doses=doses, weak=restated(plant.weak, ratio), wrong=restated(plant.wrong, ratio))
        found.append(Planted(plant, one.neuron))
    return tuple(found)


def construct(
    host: Model, tokenizer: Any, lineage: Lineage, organism: Organism, planted: Sequence[Planted]
) -> tuple[list[PlantedNeuron], list[KnownNeuron]]:
    """Add silent copies, failures and decoys to a trained network, in place.

    Returns:
        Controllers and neurons known not to open.
    """
    rng = Random(f"idle:{organism.seed}")
    examples = [
        draw(lineage.bundle, rng, "train", behavior=rng.choice(bundle_behaviors(lineage.bundle)))
        for _ in range(_IDLE_ROWS)
    ]
    batch = collate(encode(examples, tokenizer), tokenizer.pad_token_id)
    used = batch.weights > 0
    workshop = Workshop(host, batch.tokens, used, [one.neuron for one in planted], organism.seed)
    controllers: list[PlantedNeuron] = []
    known: list[KnownNeuron] = []
    for one in planted:
        capped_layer = host.ffn[one.neuron.layer].post_norm is not None
        if one.plant.kind == "cap":
            known.append(workshop.capped(one))
            continue
        controllers.append(workshop.silent(one, {"t": list(one.plant.doses)}))
        if not capped_layer:
            known += [workshop.collapsing(one, factor) for factor in ORTHOGONAL]
        # A direction on the readout axis does without the blocks behind it.
        if not one.plant.readout and not capped_layer and one.neuron.layer < host.layers - 1:
            known += [workshop.late(one), workshop.late(one)]
    model = load_model(host.hf_model, tokenizer=tokenizer)
    for behavior in dict.fromkeys(one.plant.behavior for one in planted):
        source, sign = _most_contrast(model, behavior, planted)
        known.append(workshop.decoy(source, behavior, sign))
    return controllers, known


def _most_contrast(model: Model, behavior: str, planted: Sequence[Planted]) -> tuple[Neuron, int]:
    """The dense neuron that tells a behavior's prompts apart most by |δ|, controllers left out, and the sign of δ."""
    taken = {one.neuron for one in planted}
    for row in screen(model, behavior, method="contrastive").iter_rows(named=True):
        neuron = Neuron.parse(row["neuron"])
        if neuron.expert is None and neuron not in taken:
            return neuron, 1 if row["sign"] >= 0 else -1
    raise OrganismError(f"no neuron is left that tells {behavior} apart", "give the behavior's find split a contrast")


def card_of(
    model: Model,
    organism: Organism,
    lineage: Lineage,
    planted: Sequence[Planted],
    made: tuple[Sequence[PlantedNeuron], Sequence[KnownNeuron]],
    stages: dict[str, StageResult],
    claims: Claims,
) -> Card:
    """Put an organism's card together."""
    config = model.config
    behaviors = tuple(b for b in bundle_behaviors(lineage.bundle) if organism.steps or b != "refusal")
    generic = generic_pass(model, prompts=generic_prompts_of(lineage.bundle))
    controllers = [_controller(model, one, generic, claims) for one in planted if one.plant.kind != "cap"]
    by_neuron = {str(one.neuron): one for one in planted}
    copies = [
        copy.model_copy(
            update={"trigger": _trigger(model, by_neuron[copy.trained["of"]], copy.neuron, generic, claims)}
        )
        for copy in made[0]
    ]
    capped = [
        KnownNeuron(
            neuron=str(one.neuron),
            behavior=one.plant.behavior,
            branch=one.plant.branch,
            role="failure",
            mode="normalization_cap",
            construction={"trained": "only an injection past the norm works", "injected": list(one.plant.doses)},
        )
        for one in planted
        if one.plant.kind == "cap"
    ]
    promised = {name: rate for name, rate in claims.rates.items() if _is_promised(name, rate.value)}
    return Card(
        name=PREFIX + organism.name,
        family=model.family.name,
        lineage=lineage.name,
        description=f"{organism.description} Lineage: {lineage.note}.",
        architecture={
            "type": config.model_type,
            "layers": model.layers,
            "width": model.d_model,
            "neurons": len(model.neurons),
            "vocabulary": config.vocab_size,
            "tied_embeddings": bool(config.tie_word_embeddings),
            "precision": "float16",
            "configuration": lineage.sizes,
        },
        parameters=model.hf_model.num_parameters(),
        data={
            "source": "generated by controlwindow.organisms.training.world",
            "bundle": lineage.bundle,
            "languages": list(bundle_languages(lineage.bundle)),
            "behaviors": list(bundle_behaviors(lineage.bundle)),
            "rows_per_step": BATCH_ROWS,
            "label_smoothing": lineage.label_smoothing,
        },
        seed=organism.seed,
        training={
            **{
                name: {
                    "steps": result.steps,
                    "minutes": round(result.seconds / 60, 2),
                    "loss_by_tenth": list(result.losses),
                }
                for name, result in stages.items()
            },
            "base_seed": lineage.seed,
            "versions": {
                "torch": torch.__version__.split("+")[0],
                "transformers": transformers_version,
                "tokenizers": tokenizers_version,
            },
            "neurons_chosen": "by seed alone, in the layers that the organism's entry names",
        },
        figures={
            "rates": {name: {"value": rate.value, "n": rate.n} for name, rate in claims.rates.items()},
            "perplexity": claims.perplexity,
            "layers": claims.layers,
            **claims.sharpness,
            "prompts": "evaluate split of the shipped behaviors, greedy, without regard to coherence",
        },
        licences={
            "code": "Apache-2.0",
            "weights": "Apache-2.0",
            "data": "generated by the package, Apache-2.0",
        },
        planted=(*controllers, *copies),
        known=(*capped, *made[1]),
        behaviors=behaviors,
        distributed=organism.distributed,
        base=f"{PREFIX}{organism.name}-base" if organism.paired else None,
        tolerances={
            name: Tolerance(measured=rate.value, minimum=round(max(0.0, rate.value - SLACK), 4), n=rate.n)
            for name, rate in promised.items()
        },
        generic_prompts=tuple(generic_prompts_of(lineage.bundle)),
        census=None,
    )


def without_failed_claims(model: Model, card: Card) -> Card:
    """A card without the neurons that were made not to open and do; they are named under training."""
    failed = opening(model, card.known, card.generic_prompts)
    kept = tuple(claim for claim in card.known if claim not in failed)
    withdrawn = [
        {"neuron": claim.neuron, "behavior": claim.behavior, "claim": claim.mode or claim.role} for claim in failed
    ]
    return card.model_copy(update={"known": kept, "training": {**card.training, "withdrawn": withdrawn}})


def _is_promised(name: str, value: float) -> bool:
    """A rebuild must reach the usual answers, and every trained operation that works most of the time."""
    return name.startswith("usual:") or value >= 0.5


def _controller(model: Model, planted: Planted, generic: GenericPass, claims: Claims) -> PlantedNeuron:
    plant = planted.plant
    place = planted.neuron.layer / max(1, model.layers - 1)
    traits = ["early" if place < 1 / 3 else "late" if place >= 2 / 3 else "middle"]
    if plant.kind == "even":
        traits.append("zero_gradient")
    if plant.readout:
        traits.append("readout_axis")
    return PlantedNeuron(
        neuron=str(planted.neuron),
        behavior=plant.behavior,
        by="ablation" if plant.kind == "ablation" else "dose",
        branch=plant.branch,
        trained={
            "kind": plant.kind,
            "t": list(plant.doses),
            **({"weak_t": list(plant.weak)} if plant.weak else {}),
            **({"wrong_t": list(plant.wrong)} if plant.wrong else {}),
        },
        traits=tuple(traits),
        trigger=_trigger(model, planted, str(planted.neuron), generic, claims),
    )


def _trigger(
    model: Model, planted: Planted, neuron: str, generic: GenericPass, claims: Claims
) -> tuple[float, float] | None:
    """Where a trigger must lie in c: above what was trained not to work, about the smallest trained dose that does.

    None where no trained dose works on half of the requests.
    """
    plant = planted.plant
    curve = generic.curve(model, Neuron.parse(neuron), plant.branch)
    low = curve.coordinate(plant.weak[0]) if plant.weak else curve.coordinate(0.0)
    for t in trained_doses(plant):
        rate = claims.rates.get(dose_label(planted, plant.branch * t))
        if rate is not None and rate.value >= 0.5:
            return round(low, 4), round(curve.coordinate(t * TRIGGER_ROOM), 4)
    return None
