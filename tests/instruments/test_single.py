"""One dosed position for many rows gives what each row gives alone, in families that share and that hook."""

from __future__ import annotations

import pytest
import torch

import tiny_families
from controlwindow.errors import NeuronError, OperationError
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Add, Pin, RowOperations
from controlwindow.instruments.sequences import pack
from controlwindow.instruments.single import dosed_position
from controlwindow.models import Model, Neuron

CASES = ("llama", "gpt2", "gemma2", "qwen2_moe", "gpt_oss", "falcon:new", "bloom")
PROMPTS = ("Why is the sky blue during the day?", "bread")


@pytest.fixture(scope="module", params=CASES)
def model(request: pytest.FixtureRequest) -> Model:
    return tiny_families.model(request.param)


def alone(model: Model, ids: list[int], operations: RowOperations) -> torch.Tensor:
    """Next-token logits of one row, whole and by itself, with every operation on hooks."""
    packed = pack(model, [ids], [(5,)])
    with measuring(model), Intervention(model, [operations]) as intervention:
        intervention.first_generated = packed.first_generated
        return packed.logits(model)[0, 0].double()


@pytest.mark.parametrize("batch_rows", [3, 64])
def test_rows_give_what_each_gives_alone(model: Model, batch_rows: int) -> None:
    places = [3, len(model.neurons) // 2, len(model.neurons) - 1]
    rows: list[RowOperations] = [()]
    for place in places:
        neuron = model.neurons[place]
        rows += [(Add(neuron, 3.0, "generated"),), (Add(neuron, -2.0, "generated"),), (Pin(neuron, 1.5, "generated"),)]
    rows.append(())
    for ids in model.token_ids(list(PROMPTS)):
        found, passed = dosed_position(model, ids, rows, model.readout, batch_rows=batch_rows)
        for values, operations in zip(found, rows, strict=True):
            assert torch.allclose(torch.from_numpy(values), alone(model, ids, operations), atol=2e-4)
        assert passed < len(ids) - 1 + len(rows) + len(rows) / batch_rows + 1


def test_a_prompt_of_one_token_has_nothing_before_it(llama: Model) -> None:
    operations = (Add(Neuron(0, 4), 2.0, "generated"),)
    found, _ = dosed_position(llama, [7], [operations], llama.readout)
    assert torch.allclose(torch.from_numpy(found[0]), alone(llama, [7], operations), atol=2e-4)


def test_a_dose_costs_one_position_of_the_blocks_above_it(llama: Model) -> None:
    ids = llama.token_ids([PROMPTS[0]])[0]
    rows = [(Add(Neuron(0, 4), float(i), "generated"),) for i in range(1, 9)]
    _, passed = dosed_position(llama, ids, rows, llama.readout)
    # Block 0 of the position is shared by all 8; blocks 1 and 2 are each row's own.
    assert passed == pytest.approx(len(ids) - 1 + (1 + 8 * 2) / 3)


def test_the_readout_of_some_tokens_is_that_of_all(model: Model) -> None:
    hidden = torch.linspace(-1, 1, 3 * model.d_model, device=model.device).view(3, -1).to(model.dtype)
    tokens = torch.tensor([5, 2, 11])
    with torch.inference_mode():
        assert torch.allclose(model.readout(hidden, tokens), model.readout(hidden)[:, tokens], atol=1e-5)


def test_what_is_no_dose_of_one_position_is_refused(llama: Model) -> None:
    with pytest.raises(OperationError, match="whole prompt"):
        dosed_position(llama, [1, 2], [(Add(Neuron(0, 4), 1.0),)], llama.readout)
    with pytest.raises(NeuronError):
        dosed_position(llama, [1, 2], [(Add(Neuron(9, 0), 1.0, "generated"),)], llama.readout)
