"""What the adapters do not describe is refused by name, with the repair."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import tiny_families
import tiny_models
from controlwindow.errors import ArchitectureError, ControlWindowError, ModelError
from controlwindow.models import load_model


def refused(hf_model: Any, match: str, kind: type[ControlWindowError] = ArchitectureError) -> ControlWindowError:
    with pytest.raises(ControlWindowError, match=match) as caught:
        load_model(hf_model, tokenizer=tiny_models.tokenizer())
    assert type(caught.value) is kind
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("case", "changes", "match"),
    [
        ("opt", {"do_layer_norm_before": False}, "opt-350m"),
        ("opt", {"_remove_final_layer_norm": True}, "has no final norm"),
        ("opt", {"word_embed_proj_dim": 16}, "the readout is"),
        ("bloom", {"slow_but_exact": True, "pretraining_tp": 2}, "slow_but_exact = True"),
    ],
)
def test_variants_that_an_entry_does_not_describe_are_refused(case: str, changes: dict[str, Any], match: str) -> None:
    refused(tiny_families.in_hand(case, **changes), match)


def test_a_quantised_model_is_refused() -> None:
    quantised = tiny_models.llama_in_hand()
    quantised.is_quantized = True
    quantised.config.quantization_config = type("Config", (), {"quant_method": "gptq"})()
    assert "dequantise" in refused(quantised, r"quantised \(gptq\)", ModelError).hint


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_parameters_are_refused_by_name(dtype: torch.dtype) -> None:
    in_hand = tiny_models.llama_in_hand()
    weight = in_hand.model.layers[1].mlp.down_proj.weight
    in_hand.model.layers[1].mlp.down_proj.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
    refused(in_hand, r"model\.layers\.1\.mlp\.down_proj\.weight is quantised", ModelError)


class PackedLinear(nn.Module):
    """Built as torch.ao's quantised layers are: no parameter, and a method of that name."""

    def weight(self) -> torch.Tensor:
        return torch.zeros(48, 32)


def test_layers_that_pack_their_weights_are_refused_by_name() -> None:
    packed = tiny_models.llama_in_hand()
    packed.model.layers[0].self_attn.q_proj = PackedLinear()
    refused(packed, r"self_attn\.q_proj\.weight is quantised \(PackedLinear\)", ModelError)
    buffered = tiny_models.llama_in_hand()
    projection = buffered.model.layers[1].mlp.down_proj
    weight = projection.weight.detach().to(torch.int8)
    del projection.weight
    projection.register_buffer("weight", weight)
    refused(buffered, r"layers\.1\.mlp\.down_proj\.weight is quantised \(torch\.int8\)", ModelError)


class Linear8bit(nn.Linear):
    pass


def test_a_quantised_layer_is_refused_by_its_class() -> None:
    in_hand = tiny_models.llama_in_hand()
    in_hand.model.layers[0].mlp.down_proj = Linear8bit(48, 32, bias=False)
    refused(in_hand, "is Linear8bit, expected Linear")


def test_compiled_models_are_refused() -> None:
    refused(torch.compile(tiny_models.llama_in_hand()), r"torch\.compile", ModelError)
    compiled = tiny_models.llama_in_hand()
    compiled.model.layers[1].mlp.compile()
    refused(compiled, r"model\.layers\.1\.mlp is compiled", ModelError)


def test_peft_wrappers_and_adapters_are_refused() -> None:
    wrapper = type("PeftModelForCausalLM", (nn.Module,), {"__module__": "peft.peft_model"})()
    assert "merge_and_unload" in refused(wrapper, "PeftModelForCausalLM is a PEFT wrapper", ModelError).hint
    adapted = tiny_models.llama_in_hand()
    adapted._hf_peft_config_loaded = True
    refused(adapted, "PEFT adapters", ModelError)


@pytest.mark.parametrize(
    ("device_map", "match"),
    [({"model": 0, "lm_head": 1}, "cpu, cuda:0, cuda:1"), ({"model": "cpu", "lm_head": "disk"}, "cpu, disk")],
)
def test_models_spread_over_devices_are_refused(device_map: dict[str, Any], match: str) -> None:
    spread = tiny_models.llama_in_hand()
    spread.hf_device_map = device_map
    assert "device_map" in refused(spread, match, ModelError).hint


def test_a_model_mapped_onto_one_device_is_taken() -> None:
    whole = tiny_models.llama_in_hand()
    whole.hf_device_map = {"": "cpu"}
    assert load_model(whole, tokenizer=tiny_models.tokenizer()).layers == 3


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def edited(case: str, path: str, value: Any) -> Any:
    if not tiny_families.is_known(case):
        pytest.skip(f"this Transformers version has no {case}")
    in_hand = tiny_families.in_hand(case)
    parent, _, name = path.rpartition(".")
    setattr(in_hand.get_submodule(parent), name, value)
    return in_hand


@pytest.mark.parametrize(
    ("case", "path", "value", "match"),
    [
        ("llama", "model.layers.1.mlp.up_proj.weight", parameter(39, 32), r"mlp\.up_proj in layer 1 is \[39, 32\]"),
        ("llama", "model.layers.0.mlp.gate_proj.weight", parameter(40, 31), r"mlp\.gate_proj in layer 0 is \[40, 31\]"),
        ("llama", "model.layers.0.mlp.down_proj.weight", parameter(31, 40), r"projection in layer 0 is \[31, 40\]"),
        ("gpt2", "transformer.h.1.mlp.c_fc.weight", parameter(32, 127), r"mlp\.c_fc in layer 1 is \[127, 32\]"),
        ("phi3", "model.layers.1.mlp.gate_up_proj.weight", parameter(40, 32), r"mlp\.gate_up_proj in layer 1"),
        ("llama", "model.norm.weight", parameter(31), "final norm's gain"),
        ("llama", "lm_head.weight", parameter(50, 31), "the readout"),
        ("gemma2", "model.layers.1.post_feedforward_layernorm.weight", parameter(31), "post_feedforward_layernorm"),
        ("gemma2", "model.layers.1.post_feedforward_layernorm", nn.Identity(), "not built as"),
        ("mixtral", "model.layers.1.mlp.experts.down_proj", parameter(4, 31, 40), "experts' down_proj in layer 1"),
        ("mixtral", "model.layers.1.mlp.experts.gate_up_proj", parameter(4, 79, 32), "experts' gate_up_proj"),
        ("mixtral", "model.layers.1.mlp.experts.gate_up_proj_bias", parameter(4, 80), "have biases"),
        ("mixtral", "model.layers.1.mlp.experts.down_proj", parameter(4, 32), "without a three-dimensional parameter"),
        ("mixtral", "model.layers.0.mlp.gate.weight", parameter(5, 32), "the router in layer 0"),
        ("gpt_oss", "model.layers.0.mlp.experts.gate_up_proj_bias", parameter(4, 79), "gate_up_proj_bias in layer 0"),
        ("qwen2_moe", "model.layers.0.mlp.shared_expert.up_proj.weight", parameter(39, 32), "shared_expert.up_proj"),
        ("llama", "model.layers", nn.Sequential(nn.Identity()), "not a list"),
        ("llama", "model.layers", nn.ModuleList([nn.Identity()]), "holds 1 blocks, not 2"),
    ],
)
def test_parts_of_other_shapes_are_refused(case: str, path: str, value: Any, match: str) -> None:
    refused(edited(case, path, value), match)


def test_a_dense_block_in_a_family_of_experts_needs_the_dense_projection() -> None:
    in_hand = edited("mixtral", "model.layers.1.mlp", nn.Identity())
    refused(in_hand, "not built as")
