"""Holds a model against its adapter, so that a variant with another layout is refused by name, not misread."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from controlwindow.errors import ArchitectureError, ModelError
from controlwindow.models.adapters import Family, blocks_of
from controlwindow.models.feedforward import FeedForward, effective_gain, feed_forward

_MEASURABLE = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def refuse_wrapped(source: object) -> None:
    """Refuse what wraps a model: the hooks would sit on modules that no longer run, or miss what was added.

    Raises:
        ModelError: A torch.compile'd module or a PEFT wrapper.
    """
    if hasattr(source, "_orig_mod"):
        raise ModelError(
            f"{type(source).__name__} is a torch.compile'd model, which does not run hooks as they are installed",
            "give the model as it was before torch.compile",
        )
    if any(parent.__module__.partition(".")[0] == "peft" for parent in type(source).__mro__):
        raise ModelError(
            f"{type(source).__name__} is a PEFT wrapper, whose adapters lie outside the weights that are read",
            "merge the adapters first: model = model.merge_and_unload()",
        )


def check_structure(hf_model: Any, family: Family) -> None:
    """Refuse what cannot be measured and what the adapter does not describe.

    Raises:
        ModelError: The model is quantised, compiled, adapted, spread over devices, has no data, or runs the hooks of
            others.
        ArchitectureError: The module tree is not as the entry says.
    """
    _refuse_state(hf_model)
    for hook in foreign_hooks(hf_model):
        raise ModelError(hook, "remove it (handle.remove()): what is measured would be the model and something else")
    config = hf_model.config.get_text_config()
    for refusal in family.refusals:
        found = getattr(config, refusal.attribute, refusal.described)
        if found != refusal.described:
            raise ArchitectureError(
                f"this {family.name} model has {refusal.attribute} = {found}: it {refusal.reason}", refusal.hint
            )
    try:
        blocks = blocks_of(hf_model, family)
        if len(blocks) != config.num_hidden_layers:
            raise _mismatch(family, f"{family.blocks} holds {len(blocks)} blocks, not {config.num_hidden_layers}")
        hf_model.get_submodule(family.decoder)
        norm = hf_model.get_submodule(family.final_norm)
        if getattr(norm, "weight", None) is not None:
            _expect(family, "the final norm's gain", effective_gain(norm, family), config.hidden_size)
        readout = hf_model.get_output_embeddings()
        if readout is None:
            raise AttributeError("it has no readout")
        _expect(family, "the readout", readout.weight, None, config.hidden_size)
        for attribute in _attributes(family):
            if not hasattr(config, attribute):
                raise _mismatch(family, f"its configuration has no {attribute}")
        for layer, block in enumerate(blocks):
            _check_block(family, feed_forward(layer, block, family, 1.0), block, config.hidden_size)
            if not _parallel(family, config):
                block.get_submodule(family.ffn_reader)
    except AttributeError as error:
        raise ArchitectureError(
            f"this {family.name} model is not built as the adapter expects: {error}",
            "give the causal language model itself (…ForCausalLM), not a head, wrapper or PEFT model",
        ) from error


def _parallel(family: Family, config: Any) -> bool:
    if isinstance(family.parallel, bool):
        return family.parallel
    return any(bool(getattr(config, attribute)) for attribute in family.parallel)


def _attributes(family: Family) -> list[str]:
    named = [
        family.activation,
        family.residual_multiplier,
        family.logit_multiplier,
        family.logit_divisor,
        family.softcap,
    ]
    parallel = () if isinstance(family.parallel, bool) else family.parallel
    return [attribute for attribute in (*named, *parallel) if attribute is not None]


def _own_forward(module: Any) -> bool:
    """Whether a module computes what its class does; early Transformers 5 puts the class's own method back by name."""
    placed = vars(module).get("forward")
    own = getattr(placed, "__self__", None) is module
    return placed is None or (own and getattr(placed, "__func__", None) is type(module).forward)


def _refuse_state(hf_model: Any) -> None:
    if getattr(hf_model, "is_quantized", False) or getattr(hf_model, "hf_quantizer", None) is not None:
        method = getattr(getattr(hf_model.config, "quantization_config", None), "quant_method", "an unnamed method")
        raise ModelError(
            f"the model is quantised ({getattr(method, 'value', method)}), and its columns cannot be read from it",
            "load a checkpoint in float32, bfloat16 or float16, or dequantise it first (model.dequantize(), or "
            "dequantize=True in its quantization_config)",
        )
    if getattr(hf_model, "_hf_peft_config_loaded", False):
        raise ModelError(
            "the model carries PEFT adapters, which lie outside the weights that are read",
            "merge the adapters and load the merged model",
        )
    for name, module in hf_model.named_modules():
        if not _own_forward(module):
            raise ModelError(
                f"{name or 'the model'} computes something else than its class does: its forward was replaced",
                "give the model as Transformers builds it (accelerate: remove_hook_from_module(model, recurse=True))",
            )
        if getattr(module, "_compiled_call_impl", None) is not None:
            raise ModelError(
                f"{name or 'the model'} is compiled (torch.compile), which does not run hooks as they are installed",
                "load the model again and leave model.compile() out",
            )
        weight = getattr(module, "weight", None)
        # PyTorch's own quantised layers pack their weights away: what stands there is a function, or no parameter.
        kind = weight.dtype if isinstance(weight, torch.Tensor) else type(module).__name__
        if weight is not None and kind not in _MEASURABLE:
            raise ModelError(
                f"the parameter {name}.weight is quantised ({kind})",
                "load a checkpoint in float32, bfloat16 or float16, or dequantise it first",
            )
    # A device map names CUDA devices by bare numbers.
    mapped = (getattr(hf_model, "hf_device_map", None) or {}).values()
    spread = {f"cuda:{device}" if isinstance(device, int) else str(device) for device in mapped}
    for name, parameter in hf_model.named_parameters():
        if parameter.device.type == "meta":
            raise ModelError(f"the parameter {name} has no data (meta device)", "load the model's weights first")
        if parameter.dtype not in _MEASURABLE:
            raise ModelError(
                f"the parameter {name} is quantised ({parameter.dtype})",
                "load a checkpoint in float32, bfloat16 or float16, or dequantise it first",
            )
        spread.add(str(parameter.device))
    if len(spread) > 1:
        raise ModelError(
            f"the model is spread over several devices ({', '.join(sorted(spread))})",
            "load it onto one device: load_model(PATH, device='cuda:0'), without device_map",
        )


_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_OWN = ("controlwindow", "transformers")


def foreign_hooks(hf_model: nn.Module) -> list[str]:
    """Hooks of others on a model's modules, as text for a message.

    Those by which Transformers records outputs change nothing, and our own are there only while they are installed.
    """
    found = []
    for name, module in hf_model.named_modules():
        for table in _HOOKS:
            for hook in (getattr(module, table, None) or {}).values():
                function = getattr(hook, "func", hook)
                home = str(getattr(function, "__module__", None) or "an unnamed module")
                if home.partition(".")[0] not in _OWN:
                    called = getattr(function, "__qualname__", type(hook).__name__)
                    found.append(f"{name or 'the model'} runs a hook that is not ours ({called} of {home})")
    return found


def _check_block(family: Family, ffn: FeedForward, block: nn.Module, width: int) -> None:
    where = f"in layer {ffn.layer}"
    for attention in filter(None, (family.attention_output, family.attention_norm)):
        block.get_submodule(attention)
    if ffn.post_norm is not None:
        _expect(family, f"the gain of {family.post_norm} {where}", ffn.post_norm.gain, width)
    inputs: tuple[str | None, ...] = (family.gate, family.up)
    if ffn.routed is not None:
        _check_experts(family, ffn, block, width)
        assert family.experts is not None
        inputs = family.experts.shared_inputs or ()
    if ffn.weight is None:
        return
    _expect(family, f"the FFN output projection {where}", ffn.weight, width, None)
    neurons = ffn.weight.shape[1]
    rows = 2 * neurons if family.fused is not None and ffn.routed is None else neurons
    for path in inputs:
        if path is not None:
            weight = block.get_submodule(path).weight
            assert isinstance(weight, torch.Tensor)
            _expect(family, f"{path} {where}", weight if family.layout == "linear" else weight.T, rows, width)


def _check_experts(family: Family, ffn: FeedForward, block: nn.Module, width: int) -> None:
    entry, experts = family.experts, ffn.routed
    assert entry is not None
    assert experts is not None
    router = block.get_submodule(entry.router).weight
    assert isinstance(router, torch.Tensor)
    where = f"in layer {ffn.layer}"
    _expect(family, f"the router {where}", router, experts.count, width)
    down, both = (width, experts.width), (2 * experts.width, width)
    if entry.layout == "input_first":
        down, both = (down[1], down[0]), (both[1], both[0])
    _expect(family, f"the experts' down_proj {where}", experts.module.down_proj, experts.count, *down)
    _expect(family, f"the experts' gate_up_proj {where}", experts.module.gate_up_proj, experts.count, *both)
    if entry.biased:
        bias = experts.module.gate_up_proj_bias
        _expect(family, f"the experts' gate_up_proj_bias {where}", bias, experts.count, 2 * experts.width)
    elif hasattr(experts.module, "gate_up_proj_bias"):
        raise _mismatch(family, f"the experts {where} have biases, of which the entry knows nothing")
    # An attribute that is absent raises AttributeError here, before anything is computed with it.
    for attribute in ("act_fn",) if entry.gating == "gated" else ("alpha", "limit"):
        getattr(experts.module, attribute)


def _expect(family: Family, what: str, tensor: Any, *shape: int | None) -> None:
    found = tuple(tensor.shape)
    if len(found) != len(shape) or any(s is not None and s != f for s, f in zip(shape, found, strict=True)):
        wanted = ", ".join("any" if s is None else str(s) for s in shape)
        raise _mismatch(family, f"{what} is {list(found)}, expected [{wanted}]")


def _mismatch(family: Family, what: str) -> ArchitectureError:
    return ArchitectureError(
        f"this {family.name} model is not built as the adapter expects: {what}",
        "give the causal language model as Transformers builds it; another layout needs an entry of its own "
        "(controlwindow guide architectures)",
    )
