from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import reference_ffn
import tiny_families
import tiny_models
from controlwindow.errors import ScreenError
from controlwindow.instruments.gradients import Gradient, activation_gradients, last_activations
from controlwindow.instruments.objectives import Objective
from controlwindow.models import Model, Neuron

CASES = (
    "llama",
    "gpt2",
    "gemma2",
    "olmo2",
    "granite",
    "qwen2_moe",
    "qwen3_moe:mixed",
    "mixtral",
    "gpt_oss",
    "falcon:new",
)
PROMPTS = ("Why is the sky blue during the day?", "What is a sundial?")
OBJECTIVE = Objective(((5, 6), (7,)), ((8, 9, 10),))
STEP = 2e-2


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_families.model(request.param)


def gradients(model: Model, **options: object) -> dict[tuple[int, int], Gradient]:
    found: dict[tuple[int, int], Gradient] = {}
    activation_gradients(
        model,
        model.token_ids(list(PROMPTS)),
        [OBJECTIVE, OBJECTIVE],
        lambda g: found.__setitem__((g.prompt, g.layer), g),
        **options,  # type: ignore[arg-type]
    )
    return found


def edited_log_odds(model: Model, ids: Sequence[int], neuron: Neuron, place: int, step: float) -> float:
    """The log-odds with one activation at one position moved by hand, sequence by sequence, without the package."""

    def move(values: torch.Tensor) -> torch.Tensor:
        values = values.clone()
        values[place] += step
        return values

    logits = []
    forward = tiny_models.forward
    for text in OBJECTIVE.rows:
        seen: list[torch.Tensor] = []
        whole = [*ids, *text]

        def keep(m: Model, tokens: Sequence[int], seen: list[torch.Tensor] = seen) -> torch.Tensor:
            seen.append(forward(m, tokens))
            return seen[-1]

        tiny_models.forward = keep
        try:
            reference_ffn.run(model, whole, neuron.layer, neuron, move)
        finally:
            tiny_models.forward = forward
        logits.append(seen[0][len(ids) - 1 :].double().log_softmax(-1))
    scores = [
        sum(rows[i, token] for i, token in enumerate(text)) for rows, text in zip(logits, OBJECTIVE.rows, strict=True)
    ]
    return float(torch.stack(scores[:2]).logsumexp(0) - scores[2])


def test_gradients_are_finite_differences_of_edited_activations(model: Model) -> None:
    found = gradients(model)
    for prompt, ids in enumerate(model.token_ids(list(PROMPTS))):
        for layer in range(model.layers):
            for neuron in reference_ffn.neurons_of(model, reference_ffn.run(model, ids, layer), layer):
                ends = [edited_log_odds(model, ids, neuron, len(ids) - 1, sign * STEP) for sign in (1, -1)]
                value = float(found[prompt, layer].gradient[0, model.neurons.column(neuron)])
                assert value == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=0.02, abs=2e-3)


def test_activations_come_with_the_gradient(model: Model) -> None:
    found = gradients(model)
    last = last_activations(model, model.token_ids(list(PROMPTS)))
    for prompt, ids in enumerate(model.token_ids(list(PROMPTS))):
        for layer in range(model.layers):
            expected = reference_ffn.run(model, ids, layer).activations[-1]
            torch.testing.assert_close(found[prompt, layer].activations[-1], expected.float(), atol=2e-5, rtol=1e-4)
            np.testing.assert_allclose(last[layer][prompt], expected.double().numpy(), atol=2e-5, rtol=1e-4)


def test_earlier_positions_have_gradients_of_their_own(llama: Model) -> None:
    found = gradients(llama, positions=3)
    ids = llama.token_ids(list(PROMPTS))[0]
    neuron = Neuron(1, 7)
    for back in (1, 2, 3):
        ends = [edited_log_odds(llama, ids, neuron, len(ids) - back, sign * STEP) for sign in (1, -1)]
        value = float(found[0, 1].gradient[-back, 7])
        assert value == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=0.02, abs=2e-3)


def test_batches_do_not_matter(llama: Model) -> None:
    whole, split = gradients(llama), gradients(llama, batch_rows=1)
    for key, found in whole.items():
        torch.testing.assert_close(found.gradient, split[key].gradient, atol=1e-5, rtol=1e-4)


def test_the_model_comes_back_as_it_was(model: Model) -> None:
    before, hooks = tiny_models.state_bytes(model), tiny_models.hook_count(model)
    asked = [parameter.requires_grad for parameter in model.hf_model.parameters()]
    gradients(model)
    assert tiny_models.state_bytes(model) == before
    assert tiny_models.hook_count(model) == hooks
    assert [parameter.requires_grad for parameter in model.hf_model.parameters()] == asked
    assert all(parameter.grad is None for parameter in model.hf_model.parameters())


def test_a_model_that_cuts_its_gradients_is_refused_by_name() -> None:
    model = tiny_models.llama()
    handle = model.decoder.norm.register_forward_hook(lambda _m, _a, output: output.detach())
    try:
        with pytest.raises(ScreenError, match="no gradient of LlamaForCausalLM can be taken"):
            gradients(model)
    finally:
        handle.remove()
    assert tiny_models.hook_count(model) == 0
