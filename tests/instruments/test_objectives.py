from __future__ import annotations

import pytest
import torch

import tiny_families
from controlwindow.errors import ScreenError
from controlwindow.instruments.objectives import Objective, text_tokens, unembedding
from controlwindow.models import Model


def test_first_tokens_share_one_row() -> None:
    objective = Objective(((5,), (6,)), ((7,),))
    logits = torch.randn(1, 1, 9, generator=torch.Generator().manual_seed(0))
    row = logits[0, 0].double()
    assert float(objective.linear(logits)) == pytest.approx(float((row[5] + row[6]) / 2 - row[7]))
    odds = row.softmax(-1)
    assert float(objective.log_odds(logits)) == pytest.approx(float(torch.log((odds[5] + odds[6]) / odds[7])), rel=1e-6)
    assert float(objective.reference_log_odds(logits)) == pytest.approx(
        float(torch.log(odds[7] / (1 - odds[7]))), rel=1e-6
    )


def test_sequences_are_scored_whole() -> None:
    objective = Objective(((5, 6), (7,)), ((8, 4, 3),))
    logits = torch.randn(3, 3, 9, generator=torch.Generator().manual_seed(1))
    probability = logits.double().softmax(-1)
    target = probability[0, 0, 5] * probability[0, 1, 6] + probability[1, 0, 7]
    control = probability[2, 0, 8] * probability[2, 1, 4] * probability[2, 2, 3]
    assert objective.rows == ((5, 6), (7,), (8, 4, 3))
    assert float(objective.log_odds(logits)) == pytest.approx(float(torch.log(target / control)), rel=1e-9)
    assert float(objective.reference_log_odds(logits)) == pytest.approx(
        float(torch.log(control / (1 - control))), rel=1e-9
    )
    exact = logits.double()
    mean = (
        (exact[0, 0, 5] + exact[0, 1, 6]) / 4
        + exact[1, 0, 7] / 2
        - (exact[2, 0, 8] + exact[2, 1, 4] + exact[2, 2, 3]) / 3
    )
    assert float(objective.linear(logits)) == pytest.approx(float(mean), rel=1e-9)


def test_a_certain_reference_keeps_finite_odds() -> None:
    logits = torch.full((1, 1, 9), -60.0, requires_grad=True)
    certain = logits + torch.nn.functional.one_hot(torch.tensor(7), 9) * 200.0
    value = Objective(((5,),), ((7,),)).reference_log_odds(certain)
    assert torch.isfinite(value)


@pytest.mark.parametrize("case", ["llama", "cohere", "granite"])
def test_the_readout_is_the_gradient_of_the_linear_objective_before_the_final_norm(case: str) -> None:
    model = tiny_families.model(case)
    objective = Objective(((5,), (6,)), ((7,),))
    hidden = torch.randn(model.d_model, generator=torch.Generator().manual_seed(2), requires_grad=True)
    value = objective.linear(model.readout(hidden)[None, None])
    (gradient,) = torch.autograd.grad(value, hidden)
    torch.testing.assert_close(objective.readout(model), gradient.float(), atol=1e-5, rtol=1e-4)
    assert unembedding(model, [5, 5]).shape == (2, model.d_model)
    torch.testing.assert_close(objective.directions(model, 1).sum((0, 1)), objective.readout(model))


def test_directions_stand_where_their_tokens_are_emitted(llama: Model) -> None:
    objective = Objective(((5, 6),), ((8, 4, 3),))
    directions = objective.directions(llama, 3)
    weight = llama.hf_model.lm_head.weight.detach()
    torch.testing.assert_close(directions[0, 1], weight[6] / 2)
    torch.testing.assert_close(directions[1, 2], -weight[3] / 3)
    assert not directions[0, 2].any()


def test_texts_that_cannot_be_told_apart_are_refused(llama: Model) -> None:
    with pytest.raises(ScreenError, match="share the tokens"):
        Objective(((5,), (6,)), ((6,),))
    with pytest.raises(ScreenError, match="at least one token"):
        Objective(((5,),), ())
    assert text_tokens(llama, ["sky blue", "sky day"], first_only=True) == text_tokens(llama, ["sky"])
    with pytest.raises(ScreenError, match="has no token"):
        text_tokens(llama, [" "])
