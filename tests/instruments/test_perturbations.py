from __future__ import annotations

import numpy as np
import pytest
import torch

import reference_ffn
import tiny_families
import tiny_models
from controlwindow import write_direction
from controlwindow.instruments.objectives import Objective
from controlwindow.instruments.perturbations import ffn_to_skip, perturbation_importance
from controlwindow.models import Model

PAIRS = (
    ("Why is the sky blue during the day?", "Why is the sky day during the blue?"),
    ("What is a sundial?", "What is a cat?"),
    ("bread", "paper"),
)
TARGET, CONTROL = (5, 6), (7, 8, 9)
FIRST = Objective(tuple((t,) for t in TARGET), tuple((t,) for t in CONTROL))
CASES = ("llama", "gpt2", "granite", "gemma2", "qwen2_moe", "gpt_oss")


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_families.model(request.param)


def encoded(model: Model) -> list[tuple[list[int], list[int]]]:
    return [tuple(model.token_ids(list(pair))) for pair in PAIRS]


def literal_direction(model: Model) -> torch.Tensor:
    """d_F as PP writes it: mean W_U[R] − mean W_U[A], times what scales this model's logits."""
    weight = model.hf_model.get_output_embeddings().weight.detach().float()
    scale = 1 / getattr(model.config, "logits_scaling", 1)
    return scale * (weight[list(TARGET)].mean(0) - weight[list(CONTROL)].mean(0))


def literal_importance(model: Model) -> np.ndarray:
    """I = (d_F·v)·(a(X~) − a(X)), neuron by neuron, from unpadded passes, [pairs, neurons]."""
    direction = literal_direction(model)
    rows = []
    for pair in encoded(model):
        values: list[float] = []
        for layer in range(model.layers):
            here, there = (reference_ffn.run(model, ids, layer) for ids in pair)
            for column in range(model.neurons.widths[layer]):
                neuron = model.neurons.at(layer, column)
                v = write_direction(model, neuron, here.output[-1]).float()
                written = [float(side.activations[-1, column] * side.share(neuron)[-1]) for side in (here, there)]
                values.append(float(direction @ v) * (written[1] - written[0]))
        rows.append(values)
    return np.array(rows)


def test_importance_is_what_pp_defines(model: Model) -> None:
    expected = literal_importance(model)
    found = perturbation_importance(model, encoded(model), [FIRST] * len(PAIRS), batch_rows=4)
    np.testing.assert_allclose(found.mean, expected.mean(0), atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(found.mean_square, (expected**2).mean(0), atol=1e-4, rtol=2e-3)
    for effect, row, pair in zip(found.pairs, expected, encoded(model), strict=True):
        assert effect.explained == pytest.approx(row.sum(), abs=2e-3)
        logits = [tiny_models.forward(model, ids)[-1].double() for ids in pair]
        gaps = [float(side[list(TARGET)].mean() - side[list(CONTROL)].mean()) for side in logits]
        assert [effect.linear, effect.linear_perturbed] == pytest.approx(gaps, abs=1e-4)
        odds = [float(side[list(TARGET)].logsumexp(0) - side[list(CONTROL)].logsumexp(0)) for side in logits]
        assert [effect.log_odds, effect.log_odds_perturbed] == pytest.approx(odds, abs=1e-4)
        assert effect.flips == ((odds[0] > 0) != (odds[1] > 0))


def test_longer_texts_count_at_the_positions_that_emit_them(llama: Model) -> None:
    objective = Objective(((5, 6),), ((7,),))
    pair = encoded(llama)[0]
    weight = llama.hf_model.get_output_embeddings().weight.detach().float()
    expected = []
    for layer in range(llama.layers):
        writes = torch.stack([tiny_models.column(llama, layer, i) for i in range(llama.neurons.widths[layer])], 1)
        total = torch.zeros(writes.shape[1])
        for text, sign in (((5, 6), 0.5), ((7,), -1.0)):
            sides = [reference_ffn.run(llama, [*ids, *text], layer).activations[len(ids) - 1 :] for ids in pair]
            for place, token in enumerate(text):
                total += sign * (weight[token] @ writes) * (sides[1][place] - sides[0][place])
        expected.append(total.double().numpy())
    found = perturbation_importance(llama, [pair], [objective])
    np.testing.assert_allclose(found.mean, np.concatenate(expected), atol=1e-4, rtol=1e-3)


def test_equal_prompts_have_no_importance(llama: Model) -> None:
    ids = llama.token_ids([PAIRS[0][0]])[0]
    found = perturbation_importance(llama, [(ids, ids)], [FIRST])
    assert not found.mean.any()
    assert not found.pairs[0].flips


@pytest.mark.parametrize("case", ["llama", "granite", "gemma2", "gpt2", "mixtral"])
def test_the_ratio_of_ffn_to_skip_is_what_pp_defines(case: str) -> None:
    model = tiny_families.model(case)
    prompts = [ids for pair in encoded(model) for ids in pair]
    direction, layer = literal_direction(model), model.layers - 1
    ffn, skip = [], []
    for ids in prompts:
        seen: list[torch.Tensor] = []
        handle = tiny_models.block(model, layer).register_forward_pre_hook(
            lambda _m, args, kwargs, seen=seen: seen.append((args[0] if args else kwargs["hidden_states"])[0, -1]),
            with_kwargs=True,
        )
        passed = reference_ffn.run(model, ids, layer)
        handle.remove()
        added = passed.output[-1].float()
        if case == "gemma2":
            added = model.blocks[layer].post_feedforward_layernorm(passed.output[-1]).detach().float()
        added = added * getattr(model.config, "residual_multiplier", 1)
        ffn.append(float((direction @ added).abs()))
        skip.append(float((direction @ seen[0].float()).abs()))
    expected = (sum(ffn) / len(ffn)) / (sum(skip) / len(skip))
    assert ffn_to_skip(model, prompts, direction, batch_rows=4) == pytest.approx(expected, rel=1e-3)
