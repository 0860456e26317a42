"""Directional ablation against two independent references: rewritten weights, and plain models with other hooks."""

from __future__ import annotations

import pytest
import torch

import tiny_families
import tiny_models
from controlwindow.errors import OperationError
from controlwindow.instruments.forced import ForcedRow, forced_pass
from controlwindow.instruments.operations import AblateDirection, Add, Inject
from controlwindow.instruments.routes import Row
from controlwindow.instruments.rows import roll_out_rows
from controlwindow.models import Model, load_model
from plain_ablation import READERS, generate, plainly_ablated, without

HORIZON = 8
CASES = ("llama", "gpt2", "olmo2", "gemma2", "qwen2_moe", "gpt_neox", "gpt_neox:serial", "opt", "glm4")


def direction_of(model: Model, seed: int = 3) -> torch.Tensor:
    return torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", CASES)
def test_rows_equal_a_plain_model_with_other_hooks(case: str, untouched: list[Model]) -> None:
    model = tiny_families.model(case)
    untouched.append(model)
    vector = direction_of(model)
    unit = vector / vector.norm()
    prompts = [tuple(ids) for ids in model.token_ids(tiny_models.PROMPTS[:3])]
    neuron = model.neurons.at(1, 2)
    shares = {"all": 1.0, "partly": 0.3}
    operations = {name: (AblateDirection(vector, share),) for name, share in shares.items()}
    both = (AblateDirection(vector), Add(neuron, 2.0))
    rows = [Row(ids, o) for ids in prompts for o in ((), *operations.values(), both, (Add(neuron, 2.0),))]
    found = roll_out_rows(model, rows, HORIZON)
    alone = roll_out_rows(model, rows, HORIZON, share=False)
    different = 0
    for place, ids in enumerate(prompts):
        plain, _ = generate(model, ids, HORIZON)
        for turn, share in enumerate((0.0, *shares.values())):
            with plainly_ablated(model, READERS[case], unit, share):
                expected, decided = generate(model, ids, HORIZON)
            for mine in (found[5 * place + turn], alone[5 * place + turn]):
                assert list(mine.token_ids[:decided]) == expected[:decided]
            assert found[5 * place + turn].coordinates == ()
            different += expected != plain
        # With a dose beside: the neuron's write loses its part along the direction.
        assert found[5 * place + 3].token_ids == alone[5 * place + 3].token_ids or alone[5 * place + 3].ties
    assert different > 0, "the direction changed nothing: the test has nothing to say"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_full_ablation_is_that_of_the_weights(family: str) -> None:
    """Arditi et al.: the same as taking the direction out of every matrix that writes to the residual stream."""
    model = tiny_families.model(family)
    vector = direction_of(model)
    unit = vector / vector.norm()
    # Untied, so that the readout still reads with the weights it had.
    hf_model = tiny_families.in_hand(family, tie_word_embeddings=False)
    hf_model.load_state_dict({**hf_model.state_dict(), **model.hf_model.state_dict()})
    for name, module in hf_model.named_modules():
        with torch.no_grad():
            if isinstance(module, torch.nn.Embedding):
                module.weight.copy_(without(module.weight, unit, 1.0))
            elif name.endswith(("o_proj", "down_proj")):
                module.weight.copy_(without(module.weight.T, unit, 1.0).T)
            elif name.endswith("c_proj"):
                module.weight.copy_(without(module.weight, unit, 1.0))
            if name.endswith(("o_proj", "down_proj", "c_proj")) and getattr(module, "bias", None) is not None:
                module.bias.copy_(without(module.bias, unit, 1.0))
    rewritten = load_model(hf_model, tokenizer=tiny_models.tokenizer())
    prompts = [tuple(ids) for ids in model.token_ids(tiny_models.PROMPTS)]
    texts = [tuple(prompts[place - 1][:4]) for place in range(len(prompts))]
    mine = forced_pass(
        model, [ForcedRow(p, t, (AblateDirection(vector),)) for p, t in zip(prompts, texts, strict=True)]
    )
    theirs = forced_pass(rewritten, [ForcedRow(p, t, ()) for p, t in zip(prompts, texts, strict=True)])
    plain = forced_pass(model, [ForcedRow(p, t, ()) for p, t in zip(prompts, texts, strict=True)])
    for ablated, expected, before in zip(mine, theirs, plain, strict=True):
        assert ablated.log_likelihood == pytest.approx(expected.log_likelihood, abs=2e-3)
        assert abs(ablated.log_likelihood - before.log_likelihood) > 0.01


def test_several_directions_act_one_behind_the_other(llama: Model) -> None:
    one, other = direction_of(llama, 1), direction_of(llama, 2)
    (ids,) = llama.token_ids(tiny_models.PROMPTS[:1])
    pair = (AblateDirection(one), AblateDirection(other))
    # Two directions at right angles span what an ablation of both takes out, in whatever order.
    unit = one / one.norm()
    square = other - (other @ unit) * unit
    rows = [pair, (AblateDirection(one), AblateDirection(square)), (AblateDirection(square), AblateDirection(one))]
    found = forced_pass(llama, [ForcedRow(tuple(ids), (5, 6, 7), row) for row in rows])
    assert found[1].log_likelihood == pytest.approx(found[2].log_likelihood, abs=1e-4)
    assert found[0].log_likelihood != pytest.approx(found[1].log_likelihood, abs=1e-4)


def test_generated_positions_alone(llama: Model) -> None:
    (ids,) = llama.token_ids(tiny_models.PROMPTS[:1])
    vector = direction_of(llama)
    rows = [
        (),
        (AblateDirection(vector),),
        (AblateDirection(vector, positions="generated"),),
        (AblateDirection(vector, share=0.0),),
    ]
    undosed, everywhere, generated, nothing = forced_pass(llama, [ForcedRow(tuple(ids), (5, 6), row) for row in rows])
    assert nothing.log_likelihood == undosed.log_likelihood
    assert len({undosed.log_likelihood, everywhere.log_likelihood, generated.log_likelihood}) == 3


def test_bad_directions_are_refused(llama: Model) -> None:
    with pytest.raises(OperationError, match="not zero"):
        AblateDirection(torch.zeros(4))
    row = Row((1, 2), (AblateDirection(torch.ones(llama.d_model + 1)),))
    with pytest.raises(OperationError, match="width 32"):
        roll_out_rows(llama, [row], 2)
    with pytest.raises(OperationError, match="does not fit"):
        roll_out_rows(llama, [Row((1, 2), (Inject(9, torch.ones(llama.d_model)),))], 2)
