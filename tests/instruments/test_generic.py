from __future__ import annotations

import pytest
import torch

import plain_generation
import tiny_models
from controlwindow.errors import ModelError, NeuronError
from controlwindow.instruments import generic_pass, probes, token_nll
from controlwindow.instruments.capture import activation_ranges
from controlwindow.instruments.generic import default_prompts
from controlwindow.instruments.operations import Add, Inject
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.instruments.probes import propagation, response_curve
from controlwindow.models import Model, Neuron, load_model
from tiny_models import PROMPTS


def passing(model: Model, ids: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Activations and block outputs of every layer for one unpadded sequence, [positions, …] each."""
    inputs: list[torch.Tensor] = []
    outputs: list[torch.Tensor] = []
    handles = []
    for layer in range(model.layers):
        handles.append(
            tiny_models.projection(model, layer).register_forward_pre_hook(lambda _m, a: inputs.append(a[0][0]))
        )
        handles.append(
            tiny_models.block(model, layer).register_forward_hook(
                lambda _m, _a, o: outputs.append((o[0] if isinstance(o, tuple) else o)[0])
            )
        )
    try:
        tiny_models.forward(model, ids)
    finally:
        for handle in handles:
            handle.remove()
    return inputs, outputs


def low_median(values: torch.Tensor) -> float:
    return float(values.sort().values[(len(values) - 1) // 2])


def test_generic_statistics_equal_a_direct_computation(tiny: Model) -> None:
    prompts, horizon = TEXT_PROMPTS[:20], 6
    found = generic_pass(tiny, prompts, horizon)
    residuals: list[list[torch.Tensor]] = [[] for _ in range(tiny.layers)]
    for row, ids in enumerate(tiny.token_ids(prompts)):
        answer = plain_generation.generate(tiny, ids, (), horizon).tokens
        assert list(found.token_ids[row]) == answer
        _, outputs = passing(tiny, ids + answer)
        for layer, output in enumerate(outputs):
            # From the last prompt position, which emits the first token, to the one that emits the last.
            residuals[layer].append(output[len(ids) - 1 : len(ids) - 1 + len(answer)].double())
    for layer in range(tiny.layers):
        r = torch.cat(residuals[layer])
        assert found.positions == len(r)
        assert found.residual_norm[layer] == pytest.approx(low_median(r.norm(dim=-1)), rel=1e-4)
        eigenvalues = torch.linalg.eigvalsh(r.T @ r / len(r))
        expected = float(eigenvalues.sum() ** 2 / eigenvalues.square().sum())
        assert found.participation_ratio[layer] == pytest.approx(expected, rel=1e-3)
        cosines = found.cosines(tiny, layer)
        for index in (0, 7, 40):
            v = tiny_models.column(tiny, layer, index).double()
            expected = low_median(r @ v / r.norm(dim=-1) / v.norm())
            neuron = Neuron(layer, index)
            assert float(cosines[index]) == pytest.approx(expected, abs=1e-4)
            assert found.cosine(tiny, neuron, 1) == pytest.approx(expected, abs=1e-4)
            assert found.cosine(tiny, neuron, -1) == -found.cosine(tiny, neuron, 1)
            assert found.budget(tiny, neuron) == pytest.approx(found.residual_norm[layer] / float(v.norm()), rel=1e-5)


def test_the_generic_pass_runs_once_per_text(llama: Model) -> None:
    assert generic_pass(llama) is generic_pass(llama)
    assert generic_pass(llama, PROMPTS, 4) is not generic_pass(llama, PROMPTS, 5)


def test_ordinary_prompts_follow_the_kind_of_model(llama: Model) -> None:
    assert default_prompts(llama) == TEXT_PROMPTS
    assert default_prompts(tiny_models.llama(chat_template=tiny_models.CHAT_TEMPLATE)) == CHAT_PROMPTS


def test_a_model_that_says_nothing_is_refused() -> None:
    silent = tiny_models.llama_in_hand()
    silent.generation_config.eos_token_id = list(range(silent.config.vocab_size))
    with pytest.raises(ModelError, match="almost nothing") as caught:
        generic_pass(load_model(silent, tokenizer=tiny_models.tokenizer()))
    assert "--generic" in caught.value.hint


def test_a_neuron_that_writes_nothing_has_no_budget() -> None:
    in_hand = tiny_models.llama_in_hand()
    with torch.no_grad():
        in_hand.model.layers[0].mlp.down_proj.weight[:, 3] = 0
    model = load_model(in_hand, tokenizer=tiny_models.tokenizer())
    generic = generic_pass(model, PROMPTS, 4)
    with pytest.raises(NeuronError, match=r"L0\.N3 writes nothing"):
        generic.budget(model, Neuron(0, 3))
    assert float(generic.cosines(model, 0)[3]) == 0.0
    assert bool(generic.cosines(model, 0).isfinite().all())


def test_token_nll_equals_scoring_one_by_one(tiny: Model) -> None:
    prompts = tiny.token_ids([*PROMPTS, PROMPTS[0]])
    continuations = [[5, 9, 11, 3], [7], [], [4, 4, 4, 4, 4, 4, 8], [6, 2]]
    for batch_rows in (1, 2, 128):
        scored = token_nll(tiny, prompts, continuations, batch_rows=batch_rows)
        assert [len(values) for values in scored] == [len(tokens) for tokens in continuations]
        for ids, tokens, values in zip(prompts, continuations, scored, strict=True):
            if tokens:
                logs = tiny_models.forward(tiny, ids + tokens).log_softmax(-1)
                expected = [-float(logs[len(ids) - 1 + i, token]) for i, token in enumerate(tokens)]
                assert values == pytest.approx(expected, abs=1e-4)


def test_activation_ranges_equal_a_direct_computation(tiny: Model) -> None:
    prompts = tiny.token_ids(PROMPTS)
    continuations = [[5, 9, 11], [], [7, 8, 9, 10], [6]]
    neurons = [Neuron(1, 4), Neuron(0, 7), Neuron(1, 0)]
    found = activation_ranges(tiny, neurons, prompts, continuations, batch_rows=2)
    assert set(found) == set(neurons)
    for neuron in neurons:
        values = torch.cat(
            [
                passing(tiny, ids + tokens)[0][neuron.layer][len(ids) - 1 : len(ids) - 1 + len(tokens), neuron.index]
                for ids, tokens in zip(prompts, continuations, strict=True)
            ]
        )
        expected = (float(values.min()), low_median(values), float(values.max()))
        assert found[neuron] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_divergence_starts_at_nothing_and_grows(tiny: Model) -> None:
    generic = generic_pass(tiny, PROMPTS, 6)
    doses = (0.0, 0.05, 0.2, 0.8, 3.0)
    for layer in range(tiny.layers):
        responses = response_curve(tiny, generic, layer, doses)
        curve = [response.divergence for response in responses]
        assert curve[0] == pytest.approx(0, abs=1e-6)
        assert curve == sorted(curve)
        assert curve[1] > 0
        assert responses[0].surprise == 0
        assert responses[-1].surprise > 0
        assert responses == response_curve(tiny, generic, layer, doses)
        assert responses[1:] != response_curve(tiny, generic, layer, doses, seed=1)[1:]


def test_divergence_is_the_mean_kl_from_the_undosed_distribution(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    generic, t = generic_pass(tiny, PROMPTS[:2], 4), 1.5
    made: list[torch.Tensor] = []

    def injecting(layer: int, vector: torch.Tensor) -> Inject:
        made.append(vector)
        return Inject(layer, vector)

    monkeypatch.setattr(probes, "Inject", injecting)
    found = response_curve(tiny, generic, 1, [t], directions=3)[0]
    vectors = made[::2]
    assert len(vectors) == 3
    direct, lost = [], []
    for vector in vectors:
        assert float(vector.norm()) == pytest.approx(t * generic.residual_norm[1], rel=1e-4)
        for ids, tokens in zip(generic.prompt_ids, generic.token_ids, strict=True):
            plain = tiny_models.forward(tiny, [*ids, *tokens]).log_softmax(-1)
            with plain_generation.edited(tiny, (Inject(1, vector),), {}):
                other = tiny_models.forward(tiny, [*ids, *tokens]).log_softmax(-1)
            direct += (plain.exp() * (plain - other)).sum(-1)[len(ids) - 1 : -1].tolist()
            for place in range(len(ids) - 1, len(ids) + len(tokens) - 1):
                lost.append(float(plain[place].max() - plain[place, int(other[place].argmax())]))
    assert found.divergence == pytest.approx(sum(direct) / len(direct), rel=1e-3)
    assert found.surprise == pytest.approx(sum(lost) / len(lost), rel=1e-3)


def test_a_write_of_the_last_layer_is_recomputed_by_nothing(tiny: Model) -> None:
    prompts, tokens = tiny.token_ids(PROMPTS), [[5, 9], [7, 8, 9], [], [4]]
    last = tiny.layers - 1

    def found(layer: int) -> float:
        neuron = Neuron(layer, 4)
        return propagation(tiny, neuron, (Add(neuron, 3.0),), prompts, tokens)

    assert found(last) == pytest.approx(0, abs=1e-5)
    assert found(0) > 0.01


def test_propagation_equals_a_direct_computation(tiny: Model) -> None:
    neuron, alpha = Neuron(0, 4), 3.0
    prompts, tokens = tiny.token_ids(PROMPTS[:2]), [[5, 9], [7, 8, 9]]
    v = tiny_models.column(tiny, 0, 4)
    values = []
    for ids, answer in zip(prompts, tokens, strict=True):
        span = slice(len(ids) - 1, len(ids) - 1 + len(answer))
        plain = passing(tiny, ids + answer)[1][-1][span]
        with plain_generation.edited(tiny, (Add(neuron, alpha),), {}):
            dosed = passing(tiny, ids + answer)[1][-1][span]
        move = dosed - plain
        values += (1 - (move @ v / move.norm(dim=-1) / v.norm()).square()).tolist()
    found = propagation(tiny, neuron, (Add(neuron, alpha),), prompts, tokens)
    assert found == pytest.approx(sum(values) / len(values), abs=1e-3)
