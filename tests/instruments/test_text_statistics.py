from __future__ import annotations

import numpy as np
import pytest
import torch

import budget_models
import tiny_models
from controlwindow.instruments import generic_pass
from controlwindow.instruments.text_statistics import text_statistics
from controlwindow.models import Model
from tiny_models import PROMPTS


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def model(request: pytest.FixtureRequest) -> Model:
    makers = {"llama": tiny_models.llama, "gpt2": tiny_models.gpt2, "gemma2": budget_models.CAPPED["gemma2"]}
    return makers[request.param]()


def residuals_one_by_one(model: Model, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Residuals and logits at the emitting positions, each sequence alone and unpadded."""
    generic = generic_pass(model, PROMPTS, 6)
    seen: list[torch.Tensor] = []
    handle = tiny_models.block(model, layer).register_forward_hook(
        lambda _m, _a, o: seen.append((o[0] if isinstance(o, tuple) else o)[0].clone())
    )
    states, logits = [], []
    for ids, tokens in zip(generic.prompt_ids, generic.token_ids, strict=True):
        rows = slice(len(ids) - 1, len(ids) + len(tokens) - 1)
        logits.append(tiny_models.forward(model, [*ids, *tokens])[rows])
        states.append(seen[-1][rows])
    handle.remove()
    return torch.cat(states).double(), torch.cat(logits).double()


def test_statistics_agree_with_sequences_run_alone(model: Model) -> None:
    found = text_statistics(model, generic_pass(model, PROMPTS, 6))
    for layer in range(model.layers):
        states, logits = residuals_one_by_one(model, layer)
        mean = states.mean(0)
        share = float(mean @ mean) / float(states.square().sum(-1).mean())
        assert found.layers[layer].common_share == pytest.approx(share, rel=1e-3)
        directions = torch.randn(model.d_model, 5, generator=torch.Generator().manual_seed(layer))
        for column in range(5):
            v = directions[:, column].double()
            cosine = float(mean @ v / mean.norm() / v.norm())
            assert float(found.layers[layer].mean_cosines(directions)[column]) == pytest.approx(cosine, abs=1e-4)
            along = ((states - mean) @ (v / v.norm())).square().mean()
            average = (states - mean).square().sum(-1).mean() / model.d_model
            expected = float(along / average)
            assert float(found.layers[layer].variance_shares(directions)[column]) == pytest.approx(expected, rel=1e-3)
    probabilities = logits.softmax(-1)
    entropy = -(probabilities * probabilities.log()).sum(-1).mean()
    best = logits.sort(-1, descending=True).values
    assert found.entropy == pytest.approx(float(entropy), rel=1e-3)
    assert found.margin == pytest.approx(float((best[:, 0] - best[:, 1]).mean()), rel=1e-3)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_the_readout_spread_is_that_of_the_logits_which_the_direction_alone_gives(name: str) -> None:
    model = tiny_models.llama() if name == "llama" else tiny_models.gpt2()
    found = text_statistics(model, generic_pass(model, PROMPTS, 6))
    directions = torch.randn(model.d_model, 4, generator=torch.Generator().manual_seed(0))
    norm = model.hf_model.get_submodule(model.family.final_norm)
    with torch.no_grad():
        # Large, so that the norm's epsilon and bias do not count; the bias adds what every direction shares.
        zero = norm(torch.zeros(1, model.d_model))
        logits = (norm(1e4 * directions.T) - zero) @ model.hf_model.get_output_embeddings().weight.T
    spread = logits.double().numpy().std(axis=1)
    if model.family.centred:
        # Centring shortens the direction before the norm brings it back to full length; the spread is of what is left.
        units = directions / directions.norm(dim=0)
        spread = spread * (units - units.mean(0)).norm(dim=0).numpy()
    assert found.readout_spreads(directions).numpy() == pytest.approx(spread, rel=1e-3)


def test_statistics_are_read_once_a_text(model: Model) -> None:
    generic = generic_pass(model, PROMPTS, 6)
    assert text_statistics(model, generic) is text_statistics(model, generic)
    assert text_statistics(model, generic_pass(model, PROMPTS, 5)) is not text_statistics(model, generic)
    assert np.isfinite(text_statistics(model, generic).entropy)
