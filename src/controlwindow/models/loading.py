"""Loading: a shipped organism, a local directory, a hub id, or a Transformers model in hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from controlwindow.catalogue import full_name, load_card, organism_path
from controlwindow.errors import ModelError
from controlwindow.models.adapters import family_of
from controlwindow.models.chat import chat_format
from controlwindow.models.checkpoint import CONFIG, Checkpoint, inspect_checkpoint
from controlwindow.models.files import check_path, read_object
from controlwindow.models.gguf import SUFFIX, gguf_file, load_gguf
from controlwindow.models.hub import fetch
from controlwindow.models.leftovers import check_report, describe_unexpected, passed_over
from controlwindow.models.merging import adapter_tokenizer, merge_adapter
from controlwindow.models.model import MergedAdapter, Model
from controlwindow.models.pretrained import call, load_tokenizer
from controlwindow.models.rendering import with_notes
from controlwindow.models.sizes import check_sizes
from controlwindow.models.structure import check_structure, refuse_wrapped
from controlwindow.text import printable

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_READOUTS = ("lm_head.weight", "embed_out.weight")


def load_model(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: Any = None,
    device: str = "auto",
    dtype: torch.dtype | str | None = None,
    system_prompt: str | None = None,
    date: str | None = None,
    adapter: str | Path | None = None,
) -> Model:
    """Load a causal language model for measurement.

    Only safetensors and GGUF weights are read and no remote code runs. Every parameter is checked to be finite, and
    what a checkpoint holds beside a plain model is refused by name (docs/checkpoints.md).

    Args:
        source: `organism:NAME`, a local directory, a GGUF file or a directory that holds one, a hub id, or a
            Transformers model (then give its tokenizer).
        tokenizer: The tokenizer of a model in hand.
        device: "auto" (CUDA if there is one, else CPU), "cpu", "cuda", "cuda:1".
        dtype: Type of the weights; default float32 on CPU and the checkpoint's own on CUDA (float32 for GGUF).
        system_prompt: A system message for the chat template; default none.
        date: The day, in ISO form, that a chat template with a clock is shown; default today. It is kept as
            `Model.chat.date`, so that a run can be resumed with the prompts it began with.
        adapter: The folder of a PEFT LoRA adapter, merged into the weights; `Model.adapter` says which. A tokenizer
            that lies in it is used in the place of the model's.

    Returns:
        The model with its adapter. A model in hand is used as it is, on its device and in its type.

    Raises:
        ModelError: Unknown, unreachable, pickled, broken or NaN weights, or such as the configuration knows nothing of;
            a model that is quantised, compiled, adapted by PEFT, hooked by others or spread over devices; an adapter of
            another base; a chat template that fails, goes on for ever, or leaves out what is said.
        ArchitectureError: The family has no adapter, or the model is a variant that the adapter does not describe.
        OrganismError: No such organism.
    """
    refuse_wrapped(source)
    if isinstance(source, PreTrainedModel):
        if tokenizer is None:
            raise ModelError("a model in hand needs its tokenizer", "call load_model(model, tokenizer=tokenizer)")
        if adapter is not None:
            raise ModelError(
                "an adapter was given for a model in hand, whose weights stay as they are",
                "merge it: model = PeftModel.from_pretrained(model, DIR).merge_and_unload()",
            )
        return _wrap(_Loaded(source, tokenizer, type(source).__name__), system_prompt, date)
    if not isinstance(source, str | Path):
        raise ModelError(
            f"cannot load a model from {type(source).__name__}",
            "give organism:NAME, a directory, a hub id, or a Transformers causal language model",
        )
    text, target = str(source), _device(device)
    given_type = dtype if dtype is not None else (torch.float32 if target.type == "cpu" else "auto")
    found = _load(text, given_type)
    hf_model, merged = found.hf_model, None
    loaded_tokenizer = tokenizer or found.tokenizer
    if adapter is not None:
        hf_model, merged = merge_adapter(hf_model, adapter, text)
        brought = adapter_tokenizer(adapter)
        if brought is not None and tokenizer is None:
            loaded_tokenizer = load_tokenizer(brought)
    return _wrap(
        replace(found, hf_model=hf_model.to(target).eval(), tokenizer=loaded_tokenizer),
        system_prompt,
        date,
        source=text,
        adapter=merged,
    )


@dataclass(frozen=True)
class _Loaded:
    """A Transformers model and what is known of where it came from; see `Model`."""

    hf_model: Any
    tokenizer: Any
    name: str
    organism: str | None = None
    quantisation: str | None = None
    file_sha256: str | None = None
    notes: tuple[str, ...] = ()


def _load(text: str, dtype: torch.dtype | str) -> _Loaded:
    """What a name or a path means, loaded."""
    check_path(text)
    path = Path(text)
    if text.startswith("organism:"):
        organism = text.removeprefix("organism:")
        directory = Path(organism_path(organism))
        return _Loaded(_load_folder(directory, dtype), load_tokenizer(directory), text, organism)
    gguf = gguf_file(path)
    if gguf is not None:
        held = load_gguf(gguf, dtype)
        return _Loaded(
            held.hf_model,
            held.tokenizer,
            printable(gguf.name),
            quantisation=held.quantisation,
            file_sha256=held.sha256,
            notes=held.notes,
        )
    if path.is_dir():
        name = printable(path.resolve().name)
        return _Loaded(_load_folder(path, dtype), load_tokenizer(path), name, notes=_own_code(path))
    if _HUB_ID.fullmatch(text) and not path.exists() and not text.startswith(".") and path.suffix != SUFFIX:
        directory = fetch(text)
        return _Loaded(_load_folder(directory, dtype), load_tokenizer(directory), text, notes=_own_code(directory))
    raise ModelError(
        f"unknown model {text!r}: no such organism, directory, GGUF file or hub id",
        "give organism:switch, a directory with config.json and safetensors weights, a .gguf file, or a hub id like "
        "owner/name",
    )


def _load_folder(directory: Path, dtype: torch.dtype | str) -> Any:
    """The model of a folder that holds nothing but a whole checkpoint."""
    checkpoint = inspect_checkpoint(directory)
    config = call(AutoConfig.from_pretrained, directory)
    # Which kernels are there to choose from is a matter of this machine, not of the file.
    config._attn_implementation = None
    check_sizes(directory, config, checkpoint.elements)
    hf_model, report = call(
        AutoModelForCausalLM.from_pretrained,
        directory,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
    )
    check_report(directory, report, checkpoint.tensors)
    left_out = passed_over(hf_model, checkpoint.tensors.values())
    if left_out:
        raise describe_unexpected(directory, left_out)
    _check_derived(hf_model, checkpoint)
    return hf_model


def _own_code(directory: Path) -> tuple[str, ...]:
    """What is to be said of a checkpoint that brings code which is not run."""
    if not read_object(directory / CONFIG).get("auto_map"):
        return ()
    return ("config.json names code of its own (auto_map), which is not run: it is read as Transformers' own class",)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device {name!r}", "use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"the device {name!r} is not supported: nothing here was tested on it", "use cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"the device {name!r} was asked for, but there is no CUDA here", "use --device cpu")
    return device


def _wrap(
    found: _Loaded,
    system_prompt: str | None,
    date: str | None,
    *,
    source: str | None = None,
    adapter: MergedAdapter | None = None,
) -> Model:
    family = family_of(found.hf_model.config.model_type)
    check_structure(found.hf_model, family)
    _check_finite(found.hf_model)
    card = None if found.organism is None else load_card(full_name(found.organism))
    return with_notes(
        found.notes,
        Model(
            hf_model=found.hf_model,
            tokenizer=found.tokenizer,
            family=family,
            chat=chat_format(found.tokenizer, system_prompt, date),
            name=found.name,
            source=source,
            organism=found.organism,
            generic_prompts=() if card is None else tuple(card.generic_prompts),
            adapter=adapter,
            quantisation=found.quantisation,
            file_sha256=found.file_sha256,
        ),
    )


def _check_derived(hf_model: Any, checkpoint: Checkpoint) -> None:
    """Refuse stored copies that are not what the model computes or ties, and that it would do without in silence."""
    buffers = [b for name, b in hf_model.named_buffers() if name.endswith("inv_freq")]
    readout = hf_model.get_output_embeddings()
    for path in checkpoint.files:
        with safe_open(path, framework="pt") as file:
            for tensor in (t for t in checkpoint.tensors.values() if t.file == path.name):
                if tensor.name.endswith("rotary_emb.inv_freq"):
                    values = file.get_tensor(tensor.name).float()
                    # Stored in half precision they are off by up to a hundredth.
                    if not any(b.shape == values.shape and torch.allclose(b.cpu(), values, rtol=0.02) for b in buffers):
                        raise ModelError(
                            f"{checkpoint.directory} holds rotary frequencies ({tensor.name}) that are not those of "
                            "its configuration",
                            "use the config.json that belongs to these weights (rope_theta, rope_scaling)",
                        )
                elif tensor.name.endswith(_READOUTS) and readout is not None:
                    values = file.get_tensor(tensor.name).to(readout.weight.dtype)
                    if values.shape == readout.weight.shape and not torch.equal(readout.weight.detach().cpu(), values):
                        raise ModelError(
                            f"{checkpoint.directory} holds a readout ({tensor.name}) of its own, but its configuration "
                            "ties the readout to the embeddings",
                            "set tie_word_embeddings to false in config.json, or remove the weight",
                        )


def _check_finite(hf_model: Any) -> None:
    for name, parameter in hf_model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(
                f"the parameter {name} holds NaN or infinite values",
                "the checkpoint is damaged or overflowed in half precision: fetch it again, or load another dtype",
            )
