from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_ffn
import tiny_families
import tiny_models
from controlwindow.errors import ControlWindowError, ScreenError
from controlwindow.instruments.moments import batch_sizes, last_position_moments
from controlwindow.instruments.ordinary import CHAT_PROMPTS
from controlwindow.models import Model, load_model

POSITIVE = (*CHAT_PROMPTS[:5], CHAT_PROMPTS[0])
NEGATIVE = (CHAT_PROMPTS[1], *CHAT_PROMPTS[6:9])
DIVERSE = (CHAT_PROMPTS[2], *CHAT_PROMPTS[9:13], CHAT_PROMPTS[12])
TOP = 7


def one_by_one(model: Model, prompts: tuple[str, ...]) -> np.ndarray:
    """Every neuron's activation at each prompt's last token, from unpadded passes through the whole model."""
    rows = []
    for ids in model.token_ids(prompts):
        seen: list[torch.Tensor] = []
        handles = [
            tiny_models.projection(model, layer).register_forward_pre_hook(lambda _m, a, s=seen: s.append(a[0][0, -1]))
            for layer in range(model.layers)
        ]
        tiny_models.forward(model, ids)
        for handle in handles:
            handle.remove()
        rows.append(torch.cat(seen).double().numpy())
    return np.array(rows)


@pytest.mark.parametrize("batch_tokens", [1, 60, 4096])
def test_moments_equal_unpadded_passes_however_prompts_are_batched(tiny: Model, batch_tokens: int) -> None:
    found = last_position_moments(tiny, [POSITIVE, NEGATIVE], DIVERSE, TOP, batch_tokens=batch_tokens)
    sides = [one_by_one(tiny, POSITIVE), one_by_one(tiny, NEGATIVE)]
    for group, side in enumerate(sides):
        np.testing.assert_allclose(found.mean[group], side.mean(0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.mean_square[group], (side**2).mean(0), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.low, np.concatenate(sides).min(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.high, np.concatenate(sides).max(0), rtol=1e-5, atol=1e-5)
    strongest = np.zeros(len(tiny.neurons))
    for row in np.abs(one_by_one(tiny, DIVERSE)):
        strongest[np.argsort(-row)[:TOP]] += 1 / len(DIVERSE)
    np.testing.assert_allclose(found.top_share, strongest, atol=1e-12)


@pytest.mark.parametrize("case", [*tiny_families.WITH_EXPERTS, "gemma2", "bloom", "opt"])
def test_moments_of_every_expert_and_family_equal_a_reference(case: str) -> None:
    if not tiny_families.is_known(case):
        pytest.skip(f"this version of Transformers has no {case}")
    model = tiny_families.model(case)

    def reference(prompts: tuple[str, ...]) -> np.ndarray:
        return np.array(
            [
                torch.cat([reference_ffn.run(model, ids, layer).activations[-1] for layer in range(model.layers)])
                .double()
                .numpy()
                for ids in model.token_ids(prompts)
            ]
        )

    found = last_position_moments(model, [POSITIVE[:2], NEGATIVE[:2]], DIVERSE[:2], TOP, batch_tokens=60)
    positive, negative = reference(POSITIVE[:2]), reference(NEGATIVE[:2])
    if case in tiny_families.WITH_EXPERTS:
        assert (positive == 0).any(axis=0).any(), "no neuron is left out by the router"
    np.testing.assert_allclose(found.mean, [positive.mean(0), negative.mean(0)], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.low, np.concatenate([positive, negative]).min(0), rtol=1e-4, atol=1e-4)


def test_no_logits_are_computed_and_the_model_comes_back_as_it_was(tiny: Model, untouched: list[Model]) -> None:
    untouched.append(tiny)
    before = tiny_models.state_bytes(tiny)

    def refuse(_module: torch.nn.Module, _args: object) -> None:
        raise AssertionError("a screen read the logits")

    handle = tiny.hf_model.lm_head.register_forward_pre_hook(refuse)
    try:
        last_position_moments(tiny, [POSITIVE, NEGATIVE], DIVERSE, TOP)
    finally:
        handle.remove()
    assert tiny_models.state_bytes(tiny) == before


def test_each_distinct_prompt_is_run_once(llama: Model) -> None:
    rows: list[int] = []
    handle = tiny_models.block(llama, 0).register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    progress: list[tuple[int, int]] = []
    try:
        last_position_moments(
            llama, [POSITIVE, NEGATIVE], DIVERSE, TOP, batch_tokens=80, progress=lambda *pair: progress.append(pair)
        )
    finally:
        handle.remove()
    distinct = len({*POSITIVE, *NEGATIVE, *DIVERSE})
    assert sum(rows) == distinct
    assert len(rows) > 1
    assert progress == [(sum(rows[: i + 1]), distinct) for i in range(len(rows))]


def test_a_layer_that_is_not_run_is_an_error() -> None:
    in_hand = tiny_models.llama_in_hand()
    model = load_model(in_hand, tokenizer=tiny_models.tokenizer())
    width, total = model.neurons.widths[2], len(model.neurons)
    in_hand.model.layers = in_hand.model.layers[:2]
    with pytest.raises(ScreenError, match=f"{total - width} of {total} neurons"):
        last_position_moments(model, [POSITIVE], DIVERSE, TOP)
    assert tiny_models.hook_count(model) == 0


@pytest.mark.parametrize("replace", ["bypassed", "twice"])
def test_an_ffn_that_is_not_read_once_is_an_error(replace: str) -> None:
    in_hand = tiny_models.llama_in_hand()
    model = load_model(in_hand, tokenizer=tiny_models.tokenizer())
    # On loading it would be refused; this happens afterwards.
    mlp = in_hand.model.layers[1].mlp
    original = mlp.forward
    mlp.forward = (lambda hidden: hidden) if replace == "bypassed" else (lambda hidden: original(original(hidden)))
    with pytest.raises(ControlWindowError):
        last_position_moments(model, [POSITIVE], DIVERSE, TOP)
    assert tiny_models.hook_count(model) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40).map(sorted), st.integers(1, 300))
def test_batches_hold_every_prompt_and_no_more_positions_than_allowed(lengths: list[int], tokens: int) -> None:
    sizes = batch_sizes(lengths, tokens)
    assert sum(sizes) == len(lengths)
    start = 0
    for size in sizes:
        assert size == 1 or size * lengths[start + size - 1] <= tokens
        following = start + size
        assert following == len(lengths) or (size + 1) * lengths[following] > tokens, "a batch could hold one more"
        start = following
