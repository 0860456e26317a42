from __future__ import annotations

import pytest

import tiny_models
from controlwindow.errors import UsageError
from controlwindow.instruments import generic_pass
from controlwindow.models import Model
from controlwindow.windows.atlas import predict_ceilings
from controlwindow.windows.sensitivity import GenericText, generic_sensitivity, read_generic, standard_variants

NEURONS = ["L0.N1", "L1.N2", "L2.N3"]


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_models.llama(seed=4)


def test_differences_are_those_of_the_tables(model: Model) -> None:
    texts = [GenericText("own"), GenericText("four prompts", tiny_models.PROMPTS, 6), GenericText("again")]
    found = generic_sensitivity(model, texts, NEURONS, probe=False)
    own = predict_ceilings(model, NEURONS)
    other = predict_ceilings(model, NEURONS, generic=generic_pass(model, tiny_models.PROMPTS, 6))
    expected = [abs(a - b) for a, b in zip(own["ceiling_predicted"], other["ceiling_predicted"], strict=True)]
    assert found["text"].to_list() == ["own", "four prompts", "again"]
    assert found["n"].to_list() == [6, 6, 6]
    assert found["difference_mean"].to_list() == pytest.approx([0, sum(expected) / 6, 0])
    assert found["difference_largest"][1] == pytest.approx(max(expected))
    assert found["budget_difference_mean"][1] > 0
    assert found["reachable_changed"].to_list() == [0, 0, 0]


def test_sampled_answers_are_another_text(model: Model) -> None:
    one = read_generic(model, GenericText("a", tiny_models.PROMPTS, 6, sample_seed=1))
    two = read_generic(model, GenericText("b", tiny_models.PROMPTS, 6, sample_seed=2))
    greedy = generic_pass(model, tiny_models.PROMPTS, 6)
    assert len({one.token_ids, two.token_ids, greedy.token_ids}) == 3
    assert one.prompt_ids == greedy.prompt_ids
    assert len({one.residual_norm, two.residual_norm, greedy.residual_norm}) == 3
    assert read_generic(model, GenericText("c", tiny_models.PROMPTS, 6, sample_seed=1)) is one


def test_standard_variants_change_one_thing_each(model: Model) -> None:
    own, *others = standard_variants(model)
    assert own == GenericText("own")
    for text in others:
        assert sum([text.prompts is not None, text.length != own.length, text.sample_seed is not None]) == 1
    with pytest.raises(UsageError, match="no generic text"):
        generic_sensitivity(model, [])
