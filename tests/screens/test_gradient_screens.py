"""Gradient screens, readout and perturbation as tables, against autograd on activations taken one prompt at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny_models
from controlwindow import load_model, run_screen, screen
from controlwindow.behaviors import Behavior
from controlwindow.errors import BehaviorError, ScreenError
from controlwindow.models import Model
from small_behaviors import PAIRS, SEQUENCES, make_behavior


def words(model: Model, texts: list[str]) -> list[int]:
    return [model.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in texts]


def literal(model: Model, behavior: Behavior, prompt: str) -> tuple[np.ndarray, np.ndarray]:
    """∂F/∂a and a at the last position of one prompt, every activation retained by hand, [neurons] each."""
    kept: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        args[0].retain_grad()
        kept.append(args[0])

    handles = [tiny_models.projection(model, layer).register_forward_pre_hook(keep) for layer in range(model.layers)]
    logits = model.hf_model(torch.tensor([model.token_ids([prompt])[0]]), use_cache=False).logits[0, -1].double()
    odds = behavior.log_odds
    value = logits[words(model, list(odds.target))].logsumexp(0) - logits[words(model, list(odds.control))].logsumexp(0)
    value.backward()
    for handle in handles:
        handle.remove()
    model.hf_model.zero_grad(set_to_none=True)
    gradient = torch.cat([a.grad[0, -1] for a in kept])
    return gradient.double().numpy(), torch.cat([a[0, -1] for a in kept]).detach().double().numpy()


def scores(model: Model, behavior: Behavior, method: str) -> np.ndarray:
    """Scores of a screen in the order of the model's neurons."""
    table = screen(model, behavior, method)
    assert len(table) == len(model.neurons)
    assert table["score"].abs().to_list() == sorted(table["score"].abs().to_list(), reverse=True)
    by_name = dict(zip(table["neuron"], table["score"], strict=True))
    return np.array([by_name[str(neuron)] for neuron in model.neurons])


def test_first_order_screens_are_means_over_the_positive_prompts(tiny: Model) -> None:
    behavior = make_behavior(perturbation=None)
    sides = behavior.contrast("find")
    found = [literal(tiny, behavior, p.text) for p in sides.positive]
    gradients, activations = (np.array(part) for part in zip(*found, strict=True))
    patch = np.mean([literal(tiny, behavior, p.text)[1] for p in sides.negative], axis=0)
    close = {"atol": 1e-5, "rtol": 1e-3}
    np.testing.assert_allclose(scores(tiny, behavior, "gradient"), gradients.mean(0), **close)
    np.testing.assert_allclose(
        scores(tiny, behavior, "gradient_x_activation"), (gradients * activations).mean(0), **close
    )
    np.testing.assert_allclose(
        scores(tiny, behavior, "attribution_patching"), ((patch - activations) * gradients).mean(0), **close
    )
    table = screen(tiny, behavior, "gradient")
    coherence = np.abs(gradients.mean(0)) / np.sqrt((gradients**2).mean(0))
    by_name = dict(zip(table["neuron"], table["coherence"], strict=True))
    np.testing.assert_allclose([by_name[str(neuron)] for neuron in tiny.neurons], coherence, atol=1e-4)


@pytest.mark.parametrize("perturbation", [{"kind": "contrast"}, {"kind": "swap_characters"}, PAIRS])
def test_attribution_patching_goes_by_the_pairs(llama: Model, perturbation: dict[str, object]) -> None:
    behavior = make_behavior(perturbation=perturbation)
    expected = []
    for one, other in behavior.perturbation_pairs():
        gradient, activations = literal(llama, behavior, one)
        expected.append((literal(llama, behavior, other)[1] - activations) * gradient)
    found = scores(llama, behavior, "attribution_patching")
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5, rtol=1e-3)


def test_the_sign_of_a_first_order_screen_is_the_dose_that_raises_f(llama: Model) -> None:
    behavior = make_behavior(perturbation={"kind": "swap_characters"})
    gradient = dict(screen(llama, behavior, "gradient").select("neuron", "sign").iter_rows())
    for method in ("gradient_x_activation", "attribution_patching"):
        assert dict(screen(llama, behavior, method).select("neuron", "sign").iter_rows()) == gradient


def test_the_readout_needs_no_pass(tiny: Model) -> None:
    behavior = make_behavior()
    weight = tiny.hf_model.get_output_embeddings().weight.detach()
    odds = behavior.log_odds
    direction = weight[words(tiny, list(odds.target))].mean(0) - weight[words(tiny, list(odds.control))].mean(0)
    expected = [float(direction @ tiny_models.column(tiny, n.layer, n.index)) for n in tiny.neurons]
    np.testing.assert_allclose(scores(tiny, behavior, "readout"), expected, atol=1e-5, rtol=1e-4)
    assert run_screen(tiny, behavior, "readout").cost.forward == 0


def test_costs_are_stated(llama: Model) -> None:
    behavior = make_behavior()
    lengths = [len(ids) for ids in llama.token_ids([p.text for p in behavior.contrast("find").positive])]
    cost = run_screen(llama, behavior, "gradient").cost
    assert (cost.forward, cost.backward) == (9, 9)
    assert cost.tokens == sum(lengths) + 9
    rows = run_screen(llama, behavior, "gradient").to_json()
    assert rows[0]["cost"] == {"forward": 9, "backward": 9, "tokens": sum(lengths) + 9, "scored": 0}


def test_a_perturbation_that_flips_nothing_is_said_prompt_by_prompt(llama: Model) -> None:
    found = run_screen(llama, make_behavior(perturbation={"kind": "swap_characters"}), "perturbation")
    still = [note for note in found.notes if "does not flip" in note]
    assert f"flips {9 - len(still)} of 9" in found.notes[0]
    assert still


def test_what_a_behavior_lacks_is_refused_by_name(llama: Model) -> None:
    with pytest.raises(ScreenError, match="defines no perturbation"):
        screen(llama, make_behavior(perturbation=None), "perturbation")
    same = {"kind": "pairs", "pairs": [["bread", "bread"]]}
    with pytest.raises(ScreenError, match="changes none of its 1 prompts"):
        screen(llama, make_behavior(perturbation=same), "perturbation")
    bare = make_behavior(perturbation=PAIRS).definition.model_dump()
    bare["prompts"]["find"]["negative"] = []
    without = make_behavior(prompts=bare["prompts"], perturbation=PAIRS)
    for method in ("contrastive", "window", "gradient", "attribution_patching", "readout", "one", "causal"):
        with pytest.raises(BehaviorError, match="0 negative prompts in split 'find'"):
            screen(llama, without, method)
    assert len(screen(llama, without, "perturbation")) == len(llama.neurons)
    with pytest.raises(ScreenError, match="does not read the split 'evaluate'"):
        screen(llama, make_behavior(), "gradient", split="evaluate")


def test_answers_stand_in_where_no_texts_are_given(llama: Model) -> None:
    behavior = make_behavior(log_odds=None)
    assert behavior.log_odds.kind == "answers"
    assert len(screen(llama, behavior, "gradient")) == len(llama.neurons)
    in_hand = tiny_models.llama_in_hand()
    with torch.no_grad():
        in_hand.lm_head.weight.zero_()
    with pytest.raises(ScreenError, match="9 of 9 prompts are answered as their counterpart"):
        screen(load_model(in_hand, tokenizer=tiny_models.tokenizer()), behavior, "gradient")


def test_a_first_token_of_both_sides_is_left_out_and_said(llama: Model, caplog: pytest.LogCaptureFixture) -> None:
    shared = {"kind": "tokens", "target": ["sky", "cat day"], "control": ["bread", "cat blue"]}
    plain = {"kind": "tokens", "target": ["sky"], "control": ["bread"]}
    found = screen(llama, make_behavior(log_odds=shared), "readout")
    assert found.equals(screen(llama, make_behavior(log_odds=plain), "readout"))
    assert "both begin with 'cat', left out of both" in caplog.text
    with pytest.raises(ScreenError, match="at least one token"):
        screen(llama, make_behavior(log_odds={**shared, "target": ["cat day"]}), "readout")


def test_whole_sequences_can_be_followed(llama: Model) -> None:
    found = run_screen(llama, make_behavior(log_odds=SEQUENCES), "gradient")
    assert found.cost.forward == 9 * 4
    assert len(found.table) == len(llama.neurons)
