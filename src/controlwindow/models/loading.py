"""Loading: a shipped organism, a local directory, a hub id, or a Transformers model in hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from controlwindow.errors import ModelError
from controlwindow.foreign import printable
from controlwindow.models.adapters import family_of
from controlwindow.models.chat import chat_format
from controlwindow.models.checkpoint import Checkpoint, describe_unexpected, inspect_checkpoint, is_ignorable
from controlwindow.models.files import check_path
from controlwindow.models.headers import StoredTensor
from controlwindow.models.hub import fetch
from controlwindow.models.model import Model
from controlwindow.models.pretrained import call, load_tokenizer
from controlwindow.models.rendering import with_notes
from controlwindow.models.sizes import check_sizes
from controlwindow.models.structure import check_structure, refuse_wrapped
from controlwindow.organisms.catalogue import organism_path

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
) -> Model:
    """Load a causal language model for measurement.

    Only safetensors weights are read and no remote code runs. Every parameter is checked to be finite.

    Args:
        source: `organism:NAME`, a local directory, a hub id, or a Transformers model (then give its tokenizer).
        tokenizer: The tokenizer of a model in hand.
        device: "auto" (CUDA if there is one, else CPU), "cpu", "cuda", "cuda:1".
        dtype: Type of the weights; default float32 on CPU and the checkpoint's own on CUDA.
        system_prompt: A system message for the chat template; default none.
        date: The day, in ISO form, that a chat template with a clock is shown; default today. It is kept as
            `Model.chat.date`, so that a run can be resumed with the prompts it began with.

    Returns:
        The model with its adapter. A model in hand is used as it is, on its device and in its type.

    Raises:
        ModelError: Unknown, unreachable, pickled, broken or NaN weights; a model that is quantised, compiled,
            adapted by PEFT or spread over devices.
        ArchitectureError: The family has no adapter, or the model is a variant that the adapter does not describe.
        OrganismError: No such organism.
    """
    refuse_wrapped(source)
    if isinstance(source, PreTrainedModel):
        if tokenizer is None:
            raise ModelError("a model in hand needs its tokenizer", "call load_model(model, tokenizer=tokenizer)")
        return _wrap(source, tokenizer, name=type(source).__name__, system_prompt=system_prompt, date=date)
    if not isinstance(source, str | Path):
        raise ModelError(
            f"cannot load a model from {type(source).__name__}",
            "give organism:NAME, a directory, a hub id, or a Transformers causal language model",
        )
    text, organism = str(source), None
    check_path(text)
    if text.startswith("organism:"):
        organism = text.removeprefix("organism:")
        directory, name = Path(organism_path(organism)), text
    elif Path(text).is_dir():
        directory, name = Path(text), printable(Path(text).resolve().name)
    elif _HUB_ID.fullmatch(text) and not Path(text).exists() and not text.startswith("."):
        directory, name = fetch(text), text
    else:
        raise ModelError(
            f"unknown model {text!r}: no such organism, directory or hub id",
            "give organism:switch, a directory with config.json and safetensors weights, or a hub id like owner/name",
        )
    target = _device(device)
    loaded_type = dtype if dtype is not None else (torch.float32 if target.type == "cpu" else "auto")
    hf_model = _load_folder(directory, loaded_type)
    loaded_tokenizer = tokenizer or load_tokenizer(directory)
    model = hf_model.to(target).eval()
    return _wrap(
        model, loaded_tokenizer, name=name, system_prompt=system_prompt, date=date, source=text, organism=organism
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
    _check_derived(hf_model, checkpoint)
    return hf_model


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
    hf_model: Any,
    tokenizer: Any,
    *,
    name: str,
    system_prompt: str | None,
    date: str | None,
    source: str | None = None,
    organism: str | None = None,
) -> Model:
    family = family_of(hf_model.config.model_type)
    check_structure(hf_model, family)
    _check_finite(hf_model)
    return with_notes(
        Model(
            hf_model=hf_model,
            tokenizer=tokenizer,
            family=family,
            chat=chat_format(tokenizer, system_prompt, date),
            name=name,
            source=source,
            organism=organism,
        )
    )


def check_report(location: object, report: dict[str, Any], stored: dict[str, StoredTensor]) -> None:
    """Refuse a checkpoint that lacks weights or holds others: Transformers warns, and makes up or drops them.

    Args:
        location: What errors name.
        report: What Transformers says it left out.
        stored: What the files hold, by name.

    Raises:
        ModelError: A weight of the model is missing, or one of the files has no place in it.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{location} lacks {len(missing)} of the model's weights, such as {missing[0]}",
            "fetch the checkpoint again; the file is incomplete, or was saved from another class of model",
        )
    # Renamed on loading, a tensor is no longer found under its name; it is then judged by its name alone.
    unexpected = [
        name
        for name in report["unexpected_keys"]
        if not is_ignorable(stored.get(name, StoredTensor(name, "F32", (), "")))
    ]
    if unexpected:
        raise describe_unexpected(location, unexpected)


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
