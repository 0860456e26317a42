"""Effects of changed sets and injected directions against passes of one unpadded prompt with hooks of their own."""

from __future__ import annotations

import pytest
import torch

import plain_generation
import reference_ffn
import tiny_families
import tiny_models
from controlwindow.errors import OperationError
from controlwindow.instruments.effects import SetChange, injection_effects, set_effects
from controlwindow.instruments.objectives import Objective
from controlwindow.instruments.operations import Inject, Scale
from controlwindow.models import Model, Neuron

PAIRS = (
    ("Why is the sky blue during the day?", "Why is the sky day during the blue?"),
    ("What is a sundial?", "What is a cat?"),
    ("bread", "paper"),
)
FIRST = Objective(((5,), (6,)), ((7,), (8,), (9,)))
WHOLE = Objective(((5, 6, 11), (12, 9)), ((7, 14),))
DENSE = ("llama", "gpt2", "granite", "gemma2", "gpt_neox")
MIXTURES = ("qwen2_moe", "gpt_oss", "mixtral")


def encoded(model: Model) -> list[tuple[list[int], list[int]]]:
    return [tuple(model.token_ids(list(pair))) for pair in PAIRS]


def chosen(model: Model) -> tuple[Neuron, ...]:
    """Neurons of every layer in turn, the last one first."""
    layers = [model.layers - 1 - step % model.layers for step in range(6)]
    return tuple(model.neurons.at(layer, 3 + 5 * step) for step, layer in enumerate(layers))


def literal_f(objective: Objective, passes) -> tuple[float, float]:
    """F from the logits of each text after the prompt, term by term."""
    linear, sides = 0.0, []
    for texts, sign in ((objective.target, 1), (objective.control, -1)):
        probabilities = []
        for text in texts:
            logits = passes(text).double()
            linear += sign * sum(float(logits[i, token]) for i, token in enumerate(text)) / len(text) / len(texts)
            scores = logits.log_softmax(-1)
            probabilities.append(sum(scores[i, token] for i, token in enumerate(text)))
        sides.append(torch.stack(probabilities).logsumexp(0))
    return linear, float(sides[0] - sides[1])


@pytest.mark.parametrize(
    ("case", "factor", "positions"),
    [*((case, 0.0, "all") for case in (*DENSE, *MIXTURES)), *((case, 2.0, "generated") for case in DENSE)],
)
def test_scaled_sets_move_f_as_a_plain_pass_does(case: str, factor: float, positions: str) -> None:
    model, neurons = tiny_families.model(case), chosen(tiny_families.model(case))
    change = SetChange(neurons, (1, 3, 6), "scale", factor, positions)  # type: ignore[arg-type]
    objectives = [FIRST, WHOLE, FIRST]
    found = set_effects(model, encoded(model), objectives, change, batch_rows=24)
    for (ids, _), objective, effects in zip(encoded(model), objectives, found, strict=True):
        for size, effect in zip((0, 1, 3, 6), [effects.before, *(e.total for e in effects.after)], strict=True):
            operations = [Scale(neuron, factor, "all") for neuron in neurons[:size]]

            def passes(text, ids=ids, operations=operations):
                whole = [*ids, *text[:-1]]
                if positions == "generated":
                    return late_edit(model, whole, operations, len(ids) - 1)[len(ids) - 1 :]
                with plain_generation.edited(model, operations, {}):
                    return tiny_models.forward(model, whole)[len(ids) - 1 :]

            expected = literal_f(objective, passes)
            assert [effect.linear, effect.log_odds] == pytest.approx(expected, abs=2e-3)


def late_edit(model: Model, ids: list[int], operations: list[Scale], begin: int) -> torch.Tensor:
    """Logits of a dense model with activations scaled from one position on."""
    handles = []
    for layer in range(model.layers):

        def before(_module, args, layer=layer):
            values = args[0].clone()
            for operation in operations:
                if operation.neuron.layer == layer:
                    values[0, begin:, operation.neuron.index] *= operation.factor
            return (values,)

        handles.append(tiny_models.projection(model, layer).register_forward_pre_hook(before))
    logits = tiny_models.forward(model, ids)
    for handle in handles:
        handle.remove()
    return logits


def raw_column(model: Model, neuron: Neuron) -> torch.Tensor:
    """A column before any multiplier, from the raw weights."""
    if neuron.expert is None:
        return tiny_models.column(model, neuron.layer, neuron.index)
    experts = tiny_models.block(model, neuron.layer).mlp.experts
    down = experts.down_proj[neuron.expert].detach()
    return down[neuron.index] if hasattr(experts, "gate_up_proj_bias") else down[:, neuron.index]


@pytest.mark.parametrize("case", ["llama", "gpt2", "granite", "gemma2", "qwen2_moe", "gpt_oss"])
def test_patched_sets_write_what_they_write_in_the_perturbed_prompt(case: str) -> None:
    model = tiny_families.model(case)
    layer = model.layers - 1
    neurons = tuple(model.neurons.at(layer, column) for column in (2, 9, 17, 30))
    change = SetChange(neurons, (2, 4), "patch")
    found = set_effects(model, encoded(model), [FIRST] * len(PAIRS), change)
    for (ids, mate), effects in zip(encoded(model), found, strict=True):
        sides = [reference_ffn.run(model, one, layer) for one in (ids, mate)]
        for size, effect in zip((2, 4), effects.after, strict=True):
            moved = torch.zeros(model.d_model)
            for neuron in neurons[:size]:
                column = model.neurons.column(neuron)
                here, there = (float(s.activations[-1, column] * s.share(neuron)[-1]) for s in sides)
                moved += (there - here) * raw_column(model, neuron).float()

            def hook(_module, _args, output, moved=moved):
                out = (output[0] if isinstance(output, tuple) else output).clone()
                out.view(-1, model.d_model)[-1] += moved
                return (out, *output[1:]) if isinstance(output, tuple) else out

            handle = model.ffn[layer].output.register_forward_hook(hook)
            logits = tiny_models.forward(model, ids)[-1:]
            handle.remove()
            expected = literal_f(FIRST, lambda _text, logits=logits: logits)
            assert [effect.total.linear, effect.total.log_odds] == pytest.approx(expected, abs=2e-3)
            # Nothing lies behind the last block, so the direct effect is all there is.
            assert effect.direct == pytest.approx(effect.total, abs=2e-3)


def test_a_patch_in_two_layers_replaces_activations_in_both(llama: Model) -> None:
    neurons = (Neuron(0, 4), Neuron(1, 7), Neuron(0, 11))
    found = set_effects(llama, encoded(llama), [FIRST] * len(PAIRS), SetChange(neurons, (3,), "patch"))
    for (ids, mate), effects in zip(encoded(llama), found, strict=True):
        wanted = {n: float(reference_ffn.run(llama, mate, n.layer).activations[-1, n.index]) for n in neurons}
        handles = []
        for layer in (0, 1):

            def before(_module, args, layer=layer, wanted=wanted):
                values = args[0].clone()
                for neuron, value in wanted.items():
                    if neuron.layer == layer:
                        values[0, -1, neuron.index] = value
                return (values,)

            handles.append(tiny_models.projection(llama, layer).register_forward_pre_hook(before))
        logits = tiny_models.forward(llama, ids)[-1:]
        for handle in handles:
            handle.remove()
        expected = literal_f(FIRST, lambda _text, logits=logits: logits)
        assert effects.after[0].total == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("case", ["llama", "gpt2", "granite", "gemma2"])
def test_the_direct_effect_reaches_the_readout_alone(case: str) -> None:
    model, neurons = tiny_families.model(case), chosen(tiny_families.model(case))
    found = set_effects(model, encoded(model), [FIRST] * len(PAIRS), SetChange(neurons, (6,), "scale", 0.0))
    for (ids, _), effects in zip(encoded(model), found, strict=True):
        state: list[torch.Tensor] = []
        norm = model.hf_model.get_submodule(model.family.final_norm)
        handle = norm.register_forward_pre_hook(lambda _m, args, state=state: state.append(args[0][0, -1].clone()))
        tiny_models.forward(model, ids)
        handle.remove()
        final = state[0]
        for layer in range(model.layers):
            passed = reference_ffn.run(model, ids, layer)
            output = passed.output[-1]
            edited = output.clone()
            for neuron in neurons:
                if neuron.layer == layer:
                    edited = edited - passed.activations[-1, neuron.index] * raw_column(model, neuron)
            if case == "gemma2":
                after = model.blocks[layer].post_feedforward_layernorm
                output, edited = after(output), after(edited)
            final = final + (edited - output) * getattr(model.config, "residual_multiplier", 1)
        with torch.no_grad():
            logits = model.readout(norm(final[None]))
        expected = literal_f(FIRST, lambda _text, logits=logits: logits)
        assert effects.after[0].direct == pytest.approx(expected, abs=2e-3)
    assert any(abs(e.after[0].direct.linear - e.after[0].total.linear) > 1e-2 for e in found), "nothing answers"


@pytest.mark.parametrize("case", ["llama", "gemma2", "mixtral"])
def test_injections_move_f_as_a_plain_pass_does(case: str, untouched: list[Model]) -> None:
    model = tiny_families.model(case)
    untouched.append(model)
    vectors = torch.randn((2, model.d_model), generator=torch.Generator().manual_seed(0))
    injections = [Inject(0, vectors[0], "all"), Inject(1, vectors[1], "all")]
    prompts = [ids for ids, _ in encoded(model)]
    found = injection_effects(model, prompts, [FIRST, WHOLE, FIRST], injections, batch_rows=16)
    for ids, objective, readings in zip(prompts, [FIRST, WHOLE, FIRST], found, strict=True):
        for operations, reading in zip(([], injections[:1], injections[1:]), readings, strict=True):

            def passes(text, ids=ids, operations=operations):
                with plain_generation.edited(model, operations, {}):
                    return tiny_models.forward(model, [*ids, *text[:-1]])[len(ids) - 1 :]

            assert reading == pytest.approx(literal_f(objective, passes), abs=2e-3)


def test_models_come_back_without_hooks(llama: Model, untouched: list[Model]) -> None:
    untouched.append(llama)
    before = tiny_models.state_bytes(llama)
    set_effects(llama, encoded(llama), [FIRST] * len(PAIRS), SetChange(chosen(llama), (2, 6), "patch"))
    assert tiny_models.state_bytes(llama) == before


def test_sizes_beyond_the_set_are_refused() -> None:
    with pytest.raises(OperationError, match="do not fit a set of 1 neurons"):
        SetChange((Neuron(0, 1),), (2,), "scale")
    with pytest.raises(OperationError, match="do not fit a set of 0 neurons"):
        SetChange((), (1,), "scale")
