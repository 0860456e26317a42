"""Attention held or pushed, against references that reach into the modules themselves."""

from __future__ import annotations

import pytest
import torch

import reference_ffn
import tiny_families
import tiny_models
from controlwindow.errors import ArchitectureError, OperationError
from controlwindow.instruments.attention import attention_pushes, layer_moves
from controlwindow.instruments.comparison import compare_passes
from controlwindow.instruments.hooks import Intervention
from controlwindow.instruments.operations import Add, Inject, Scale
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.models import Model, Neuron, load_model
from tiny_models import PROMPTS

# Bloom can be configured to norm the residual stream itself between attention and FFN.
NORMED = ("bloom:post-norm residual",)


@pytest.mark.parametrize("case", [case for case in tiny_families.CASES if case not in NORMED])
def test_a_push_of_attention_lands_in_the_residual_as_it_is(case: str) -> None:
    """With every FFN's output silenced nothing but attention is left to move the block's output."""
    if not tiny_families.is_known(case):
        pytest.skip(f"this Transformers version has no {case}")
    model = tiny_families.model(case)
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    batch = model.encode(list(PROMPTS))
    seen: list[torch.Tensor] = []
    silence = [model.ffn[1].output.register_forward_hook(_silent)]
    silence.append(
        tiny_models.block(model, 1).register_forward_hook(
            lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out).clone())
        )
    )
    try:
        with torch.no_grad():
            model.decoder(**batch)
            rows = [(), (Inject(1, vector, site="attention"),), (), (Inject(1, vector, "generated", "attention"),)]
            with Intervention(model, rows) as intervention:
                intervention.first_generated = batch["input_ids"].shape[1] - 1
                model.decoder(**batch)
    finally:
        for handle in silence:
            handle.remove()
    moved = seen[1] - seen[0]
    real = batch["attention_mask"].bool()
    assert moved[0][real[0]].abs().max() < 1e-5
    torch.testing.assert_close(moved[1][real[1]], vector.expand_as(moved[1][real[1]]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moved[3, -1], vector, rtol=1e-4, atol=1e-4)
    assert moved[3, :-1][real[3, :-1]].abs().max() < 1e-5


def _silent(_module, _args, output):
    if isinstance(output, tuple):
        return (torch.zeros_like(output[0]), *output[1:])
    return torch.zeros_like(output)


@pytest.mark.parametrize("case", ["llama", "gpt2", "gemma2", "qwen2_moe", "gpt_neox"])
def test_a_push_decodes_as_the_plain_loop_does(case: str) -> None:
    """Rows share lanes and keys; the reference decodes one row with the vector added by a hook of its own."""
    model = tiny_families.model(case)
    pushes = attention_pushes(model, {0: 1.5, 1: 0.7}, seed=3)
    later = attention_pushes(model, {1: 2.0}, seed=4, positions="generated")
    prompts = model.token_ids(PROMPTS[:2])
    cases = [(), pushes, later, (*pushes, Scale(Neuron(1, 2), 0.0))]
    rows = [Row(tuple(ids), operations) for ids in prompts for operations in cases]
    found = roll_out_rows(model, rows, 5)
    for row, rollout in zip(rows, found, strict=True):
        assert list(rollout.token_ids) == plain_decode(model, row.prompt_ids, row.operations, 5)


def plain_decode(model: Model, prompt: tuple[int, ...], operations, count: int) -> list[int]:
    """No cache and no batch: the whole text again for every token."""
    ids, tokens = list(prompt), []
    for _ in range(count):
        handles = []
        for operation in operations:
            if isinstance(operation, Inject):
                begin = 0 if operation.positions == "all" else len(prompt) - 1
                module = model.blocks[operation.layer].get_submodule(
                    model.family.attention_norm or model.family.attention_output
                )

                def add(_m, _a, out, v=operation.vector, begin=begin):
                    out = out.clone()
                    out[:, begin:] += v
                    return out

                handles.append(module.register_forward_hook(add))
            else:
                assert isinstance(operation, Scale)

                def scale(_m, args, index=operation.neuron.index, by=operation.factor):
                    given = args[0].clone()
                    given[..., index] *= by
                    return (given,)

                handles.append(tiny_models.projection(model, operation.neuron.layer).register_forward_pre_hook(scale))
        try:
            with torch.no_grad():
                logits = model.hf_model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        finally:
            for handle in handles:
                handle.remove()
        tokens.append(int(logits.argmax()))
        ids.append(tokens[-1])
        if tokens[-1] in model.stop_ids:
            break
    return tokens


def test_sizes_are_kept_and_the_direction_belongs_to_seed_and_layer(llama: Model) -> None:
    small, large = attention_pushes(llama, {0: 0.0, 1: 1.0}, 5), attention_pushes(llama, {1: 3.0}, 5)
    assert [push.layer for push in small] == [1]
    torch.testing.assert_close(3 * small[0].vector, large[0].vector)
    assert float(large[0].vector.norm()) == pytest.approx(3, abs=1e-5)
    other = attention_pushes(llama, {1: 3.0}, 6)[0].vector
    assert float(torch.cosine_similarity(other, large[0].vector, dim=0)) < 0.9
    with pytest.raises(OperationError, match="unknown site"):
        Inject(0, torch.ones(4), site="mlp")


@pytest.mark.parametrize("case", ["llama", "gemma2"])
def test_moves_are_those_of_each_layer_by_itself(case: str) -> None:
    model = tiny_families.model(case)
    ids = model.token_ids(PROMPTS[:1])[0]
    texts = [[5, 6, 7]]
    neurons = [Neuron(0, 3), Neuron(0, 9), Neuron(1, 4)]
    found = layer_moves(model, [Scale(neuron, -0.5) for neuron in neurons], [ids], texts)
    for layer in (0, 1):
        mine = [neuron for neuron in neurons if neuron.layer == layer]
        whole = [*ids, *texts[0]]
        passed = reference_ffn.run(model, whole, layer)
        output = passed.output
        for neuron in mine:
            activation = _activation(model, whole, neuron)
            output = output - 1.5 * activation[:, None] * tiny_models.column(model, layer, neuron.index)
        norm = model.post_norm(layer)
        write = (lambda m: m) if norm is None else norm.module
        expected = (write(output) - write(passed.output)).detach().norm(dim=-1)[1:].median()
        assert found[layer] == pytest.approx(float(expected), rel=1e-4)


def _activation(model: Model, ids: list[int], neuron: Neuron) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    module = tiny_models.projection(model, neuron.layer)
    handle = module.register_forward_pre_hook(lambda _m, args: seen.append(args[0][0, :, neuron.index]))
    try:
        tiny_models.forward(model, ids)
    finally:
        handle.remove()
    return seen[0]


@pytest.mark.parametrize("case", ["llama", "gpt2", "gemma2", "qwen2_moe"])
@pytest.mark.parametrize("held", [False, True])
def test_comparisons_are_those_of_plain_passes(case: str, held: bool) -> None:
    model = tiny_families.model(case)
    prompts = model.token_ids(PROMPTS[:3])
    texts = [[7, 8, 9], [11], [20, 21]]
    operations = (Scale(Neuron(0, 3), -1.0), Add(Neuron(1, 5), 2.0))
    none, found = compare_passes(model, [(), operations], prompts, texts, hold_attention=held, batch_rows=2)
    for prompt, text, nothing, row in zip(prompts, texts, none, found, strict=True):
        assert nothing.nll == nothing.undosed_nll == pytest.approx(row.undosed_nll)
        assert nothing.agreement == 1
        assert nothing.divergence == pytest.approx(0, abs=1e-6)
        ids = [*prompt, *text]
        before = tiny_models.forward(model, ids)
        after = _changed_logits(model, ids, operations, held)
        span = slice(len(prompt) - 1, len(ids) - 1)
        p, q = before[span].log_softmax(-1), after[span].log_softmax(-1)
        wanted = torch.tensor(text)[:, None]
        assert row.tokens == len(text)
        assert row.nll == pytest.approx(-float(q.gather(1, wanted).sum()), rel=1e-4, abs=1e-4)
        assert row.undosed_nll == pytest.approx(-float(p.gather(1, wanted).sum()), rel=1e-4, abs=1e-4)
        same = p.argmax(-1) == q.argmax(-1)
        assert row.agreement == pytest.approx(float(same.float().mean()))
        assert row.first_agrees == bool(same[0])
        assert row.divergence == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-3, abs=1e-5)
        assert row.excess == pytest.approx((row.nll - row.undosed_nll) / len(text))


def _changed_logits(model: Model, ids: list[int], operations, held: bool) -> torch.Tensor:
    """One unpadded row; attention is held by running it on what its block was given undosed."""
    attentions = [model.blocks[layer].get_submodule(model.family.attention_output) for layer in range(model.layers)]
    kept: list[torch.Tensor] = []
    handles = [a.register_forward_hook(lambda _m, _a, out: kept.append(out)) for a in attentions]
    tiny_models.forward(model, ids)
    for handle in handles:
        handle.remove()
    handles = []
    if held:
        handles = [a.register_forward_hook(lambda _m, _a, _o, k=k: k) for a, k in zip(attentions, kept, strict=True)]
    for operation in operations:

        def change(_m, args, o=operation):
            given = args[0].clone()
            value = given[..., o.neuron.index]
            given[..., o.neuron.index] = value * o.factor if isinstance(o, Scale) else value + o.alpha
            return (given,)

        handles.append(tiny_models.projection(model, operation.neuron.layer).register_forward_pre_hook(change))
    try:
        return tiny_models.forward(model, ids)
    finally:
        for handle in handles:
            handle.remove()


def test_an_adapter_whose_attention_is_elsewhere_is_refused() -> None:
    hf_model = tiny_models.llama_in_hand()
    for block in hf_model.model.layers:
        block.self_attn.renamed = block.self_attn.o_proj
        del block.self_attn.o_proj
    with pytest.raises(ArchitectureError, match="o_proj"):
        load_model(hf_model, tokenizer=tiny_models.tokenizer())
