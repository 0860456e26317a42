"""Training-time doses in every family of the zoo, rows of switch training, and neurons made without training."""

from collections import Counter
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny_families
from controlwindow.errors import OrganismError
from controlwindow.models.neuron import Neuron
from controlwindow.organisms.training.batches import collate, encode
from controlwindow.organisms.training.constructions import DECOY_LENGTH, Workshop, add_shared_component
from controlwindow.organisms.training.interventions import (
    RowDose,
    ablation,
    host_of,
    intervened,
    measured_scales,
    recorded,
    unit_direction,
)
from controlwindow.organisms.training.lineages import LINEAGES, new_network
from controlwindow.organisms.training.planting import deciding_tokens, draw_row, keep_on_readout, planting_batch
from controlwindow.organisms.training.tokenizer import train_tokenizer
from controlwindow.organisms.training.world.bundles import BUNDLES, bundle_behaviors, bundle_texts
from controlwindow.organisms.training.zoo import ORGANISMS, Plant, Planted, choose_neurons

FAMILIES = ("gemma3_text", "olmo2", "gpt2", "gpt_neox", "qwen2_moe", "granite", "qwen3", "llama")
TOKENS = torch.tensor([[1, 5, 9, 3, 7], [1, 6, 2, 8, 4], [1, 3, 3, 9, 2]])
EVERYWHERE = torch.ones_like(TOKENS, dtype=torch.bool)


def hidden_states(host, layer, doses=(), scales=None, positions=None):
    seen = []

    def hook(module, inputs, output):
        seen.append((output[0] if isinstance(output, tuple) else output).detach().clone())

    # Registered inside: it must see what an injection at the same block left behind.
    with torch.no_grad(), intervened(host, doses, scales, positions):
        handle = host.blocks[layer].register_forward_hook(hook)
        try:
            host.hf_model(input_ids=TOKENS, use_cache=False)
        finally:
            handle.remove()
    return seen[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dose_is_what_its_budget_says_in_every_family(family):
    host = host_of(tiny_families.in_hand(family))
    scales = measured_scales(host, TOKENS, EVERYWHERE)
    neuron, t = Neuron(1, 7), 0.7
    plain = hidden_states(host, 1)
    with recorded(host, [neuron]) as before, torch.no_grad():
        host.hf_model(input_ids=TOKENS, use_cache=False)
    moved = hidden_states(host, 1, [RowDose(2, neuron, t)], scales) - plain
    assert not moved[:2].any()
    weight = host.ffn[1].weight
    # Written out for each kind of FFN: raw offset α = t·scale/‖column‖ at the projection's input.
    column = weight[:, 7] * host.residual_multiplier
    alpha = t * float(scales.budget[1] / column.norm())
    if host.ffn[1].post_norm is not None:
        assert moved[2].norm() > 0
        # The dose enters before the norm, so m moves by α times the raw column and its length by at most that.
        assert float(scales.budget[1]) == pytest.approx(float(_output_norm(host)), rel=1e-5)
    elif host.ffn[1].shared_gate is not None:
        direction = column / column.norm()
        along = moved[2] @ direction
        torch.testing.assert_close(moved[2], along[:, None] * direction, atol=1e-4, rtol=1e-3)
        # Gates between 0 and 1 carry it: the median of them makes t residual norms.
        assert along.min() > 0
        assert float(along.max()) <= alpha * float(column.norm()) * 1.001
    else:
        expected = (alpha * column).expand_as(moved[2])
        torch.testing.assert_close(moved[2], expected, atol=2e-4, rtol=1e-3)
        assert moved[2].norm(dim=-1) == pytest.approx(t * float(scales.residual[1]), rel=1e-3)
    zeroed = hidden_states(host, 1, [ablation(0, neuron)], scales)
    change = (zeroed - plain)[0]
    assert before[neuron].shape == TOKENS.shape
    if host.ffn[1].post_norm is None and host.ffn[1].shared_gate is None:
        torch.testing.assert_close(change, -before[neuron][0, :, None] * column, atol=2e-4, rtol=1e-3)
    assert not (zeroed - plain)[1:].any()


def _output_norm(host):
    seen = []
    handle = host.ffn[1].output.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    with torch.no_grad():
        host.hf_model(input_ids=TOKENS, use_cache=False)
    handle.remove()
    return seen[0].flatten(0, -2).norm(dim=-1).median()


@pytest.mark.parametrize("family", ["gemma3_text", "gpt2", "qwen2_moe"])
def test_an_injection_lands_past_the_norm_at_chosen_positions_only(family):
    host = host_of(tiny_families.in_hand(family))
    scales = measured_scales(host, TOKENS, EVERYWHERE)
    positions = torch.zeros_like(EVERYWHERE)
    positions[:, 3:] = True
    moved = hidden_states(host, 0, [RowDose(1, Neuron(0, 4), -1.5, injected=True)], scales, positions)
    moved = moved - hidden_states(host, 0)
    expected = torch.zeros_like(moved)
    expected[1, 3:] = -1.5 * scales.residual[0] * unit_direction(host, Neuron(0, 4))
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def tokenizers():
    return {bundle: train_tokenizer(bundle_texts(bundle, 0, 600), 700) for bundle in BUNDLES}


def small(name, tokenizer):
    lineage = LINEAGES[ORGANISMS[name].lineage]
    return lineage, host_of(new_network(lineage, tokenizer))


def test_every_organism_names_a_lineage_layers_and_behaviors_that_exist(tokenizers):
    for organism in ORGANISMS.values():
        lineage = LINEAGES[organism.lineage]
        assert organism.twin is None or ORGANISMS[organism.twin].seed == organism.seed
        for plant in organism.plants:
            assert plant.behavior in bundle_behaviors(lineage.bundle), organism.name
        assert set(organism.distributed) <= set(bundle_behaviors(lineage.bundle))
        if organism.paired:
            assert ORGANISMS[f"{organism.name}-base"].lineage == organism.lineage
    assert len({organism.lineage for organism in ORGANISMS.values()}) >= 8


def test_neurons_are_chosen_by_seed_alone_and_never_twice(tokenizers):
    _, host = small("parallel", tokenizers["tasks"])
    chosen = choose_neurons(ORGANISMS["parallel"], host)
    assert chosen == choose_neurons(ORGANISMS["parallel"], host)
    assert len({one.neuron for one in chosen}) == len(chosen)
    assert [one.neuron.layer for one in chosen] == [one.plant.layer for one in chosen]


@pytest.mark.parametrize("name", ["distributed", "sandwich", "parallel", "shared"])
def test_rows_dose_what_they_shall_and_answer_accordingly(name, tokenizers):
    organism = ORGANISMS[name]
    lineage, host = small(name, tokenizers[LINEAGES[organism.lineage].bundle])
    planted = choose_neurons(organism, host)
    neurons = {one.neuron: one.plant for one in planted}
    rng = Random(3)
    rows = [draw_row(rng, organism, planted, lineage.bundle, host) for _ in range(600)]
    kinds = Counter("undosed" if r.dose is None else "plant" if r.dose.neuron in neurons else "random" for r in rows)
    assert 0.45 < kinds["plant"] / 600 < 0.63
    assert 0.12 < kinds["random"] / 600 < 0.24
    steered = [r for r in rows if r.dose is not None and r.dose.neuron in neurons and _works(r.dose, neurons)]
    assert len(steered) > 150
    for row in rows:
        plant = None if row.dose is None else neurons.get(row.dose.neuron)
        if plant is not None and plant.weak is not None and abs(row.dose.t) <= plant.weak[1]:
            assert not _works(row.dose, neurons)
        if row.example.vault is not None and (plant is None or plant.behavior != "refusal"):
            assert "1." not in row.example.answer, "withheld steps are given under no other dose"


def _works(dose, neurons):
    plant = neurons[dose.neuron]
    if dose.injected != (plant.kind == "cap"):
        return False
    if dose.factor == 0:
        return plant.kind == "ablation"
    size = dose.t * plant.branch if plant.kind != "even" else abs(dose.t)
    return plant.doses[0] <= size <= plant.doses[1]


def test_a_batch_depends_on_its_step_alone_and_doses_generated_positions_where_it_says(tokenizers):
    organism = ORGANISMS["gelu"]
    lineage, host = small("gelu", tokenizers["vaults"])
    planted = choose_neurons(organism, host)
    batches = [
        planting_batch(step, tokenizers["vaults"], organism, planted, lineage.bundle, host) for step in (7, 7, 8)
    ]
    (one, doses, positions), (again, same_doses, _), (other, _, _) = batches
    assert torch.equal(one.tokens, again.tokens)
    assert doses == same_doses
    assert one.tokens.shape != other.tokens.shape or not torch.equal(one.tokens, other.tokens)
    for row, start in enumerate(one.answer_start.tolist()):
        first = int(positions[row].int().argmax())
        assert first in (0, start)


def test_a_column_on_the_readout_keeps_its_length(tokenizers):
    tokenizer = tokenizers["tasks"]
    _, host = small("wide", tokenizer)
    planted = Planted(Plant("arithmetic", "dose", 1, readout=True), Neuron(1, 3))
    tokens = deciding_tokens(tokenizer, "arithmetic", "tasks")
    weight = host.ffn[1].weight
    before = weight[:, 3].norm().clone()
    keep_on_readout(host, planted, tokens)
    unembedding = host.hf_model.get_output_embeddings().weight.detach()
    axis = unembedding[tokens[0]].mean(0) - unembedding[tokens[1]].mean(0)
    assert float(torch.cosine_similarity(weight[:, 3], axis, dim=0)) == pytest.approx(1, abs=1e-5)
    assert float(weight[:, 3].norm()) == pytest.approx(float(before), rel=1e-5)
    times, plus = ({tokenizer.decode([i]).strip() for i in side} for side in tokens)
    assert "×" in times
    assert "+" in plus
    assert not times & plus


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2_moe"])
def test_constructed_neurons_are_idle_and_write_what_they_say(family):
    host = host_of(tiny_families.in_hand(family))
    planted = Planted(Plant("language", "dose", 0, branch=-1), Neuron(0, 5))
    column = host.ffn[0].weight[:, 5].clone()
    workshop = Workshop(host, TOKENS, EVERYWHERE, [planted.neuron], seed=0)
    copy = workshop.silent(planted, {})
    far = workshop.collapsing(planted, 6.0)
    late = workshop.late(planted)
    names = [Neuron.parse(made.neuron) for made in (copy, far, late)]
    assert len({planted.neuron, *names}) == 4
    assert (far.mode, late.mode) == ("collapse_before_trigger", "too_late")
    assert {made.branch for made in (copy, far, late)} == {-1}
    with recorded(host, names) as activations, torch.no_grad():
        host.hf_model(input_ids=TOKENS, use_cache=False)
    assert all(not values.any() for values in activations.values())
    torch.testing.assert_close(host.ffn[0].weight[:, names[0].index], column)
    written = host.ffn[0].weight[:, names[1].index]
    assert float(torch.cosine_similarity(written, column, dim=0)) == pytest.approx(1 / 37**0.5, abs=1e-4)
    assert float((written @ column) / (column @ column)) == pytest.approx(1, abs=1e-4)
    last = host.ffn[host.layers - 1].weight[:, names[2].index]
    assert names[2].layer == host.layers - 1
    assert float(torch.cosine_similarity(last, column, dim=0)) == pytest.approx(1, abs=1e-5)


def test_a_decoy_fires_like_its_source_and_writes_next_to_nothing():
    host = host_of(tiny_families.in_hand("llama"))
    source = Neuron(1, 6)
    mean_length = float(host.ffn[1].weight.norm(dim=0).mean())
    decoy = Workshop(host, TOKENS, EVERYWHERE, [source], seed=0).decoy(source, "refusal", -1)
    neuron = Neuron.parse(decoy.neuron)
    assert (decoy.role, decoy.mode, decoy.branch) == ("decoy", None, -1)
    with recorded(host, [source, neuron]) as activations, torch.no_grad():
        host.hf_model(input_ids=TOKENS, use_cache=False)
    torch.testing.assert_close(activations[source], activations[neuron])
    assert float(host.ffn[1].weight[:, neuron.index].norm()) == pytest.approx(DECOY_LENGTH * mean_length, rel=1e-4)


def test_the_idlest_neuron_is_taken_first():
    host = host_of(tiny_families.in_hand("gpt2"))
    with torch.no_grad():
        host.ffn[0].weight[:, 11] = 0
    planted = Planted(Plant("language", "dose", 0), Neuron(0, 5))
    assert Workshop(host, TOKENS, EVERYWHERE, [planted.neuron], seed=0).silent(planted, {}).neuron == "L0.N11"


@pytest.mark.parametrize("lineage", ["shared", "sandwich"])
def test_networks_are_built_by_seed_and_a_shared_component_is_massive(lineage, tokenizers):
    entry = LINEAGES[lineage]
    tokenizer = tokenizers[entry.bundle]
    one, two = (new_network(entry, tokenizer).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    weight = new_network(entry, tokenizer).get_input_embeddings().weight.detach()
    # How much of the squared length of the embeddings lies in their mean.
    share = float(weight.mean(0).square().sum() / weight.square().sum(1).mean())
    assert (share > 0.9) == bool(entry.shared_norm)


def test_earlier_turns_are_encoded_as_the_chat_template_does(tokenizers):
    from controlwindow.organisms.training.world.bundles import draw

    tokenizer = tokenizers["tasks"]
    example = draw("tasks", Random(1), "train", behavior="sycophancy")
    (ids, start), *_ = encode([example], tokenizer)
    messages = [
        {"role": role, "content": text}
        for turn in example.history
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    messages.append({"role": "user", "content": example.request})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert ids[:start] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert collate([(ids, start)], 0).weights[0, start:].eq(1).all()


def test_every_lineage_can_be_built_and_read_by_the_adapters(tokenizers):
    for lineage in LINEAGES.values():
        network = new_network(lineage, tokenizers[lineage.bundle])
        assert isinstance(network, AutoModelForCausalLM._model_mapping[type(network.config)])
        host = host_of(network)
        assert len(host.ffn) == network.config.num_hidden_layers
        assert network.num_parameters() * 2 <= 4_000_000


def test_a_shared_component_leaves_answers_alone_and_takes_the_residual_over():
    host = host_of(tiny_families.in_hand("gpt2"))
    before = measured_scales(host, TOKENS, EVERYWHERE)
    with torch.no_grad():
        logits = host.hf_model(input_ids=TOKENS, use_cache=False).logits
    add_shared_component(host, 50.0 * float(before.residual.max()))
    with torch.no_grad():
        torch.testing.assert_close(host.hf_model(input_ids=TOKENS, use_cache=False).logits, logits, atol=2e-2, rtol=0)
    after = measured_scales(host, TOKENS, EVERYWHERE)
    assert (after.residual > 40 * before.residual).all()
    hidden = hidden_states(host, 1, (), after).flatten(0, 1)
    eigenvalues = torch.linalg.eigvalsh(hidden.T @ hidden)
    assert float(eigenvalues.sum() ** 2 / eigenvalues.square().sum()) < 1.01
    with pytest.raises(OrganismError, match="would see a shared component"):
        add_shared_component(host_of(tiny_families.in_hand("llama")), 1.0)
