"""Loading: a shipped organism, a local directory, a hub id, or a Transformers model in hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from controlwindow.catalogue import full_name, load_card, organism_path
from controlwindow.errors import ArchitectureError, ModelError
from controlwindow.models.adapters import family_of
from controlwindow.models.chat import chat_format
from controlwindow.models.model import Model
from controlwindow.models.structure import check_structure, refuse_wrapped

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def load_model(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: Any = None,
    device: str = "auto",
    dtype: torch.dtype | str | None = None,
    system_prompt: str | None = None,
) -> Model:
    """Load a causal language model for measurement.

    Only safetensors weights are read and no remote code runs. Every parameter is checked to be finite.

    Args:
        source: `organism:NAME`, a local directory, a hub id, or a Transformers model (then give its tokenizer).
        tokenizer: The tokenizer of a model in hand.
        device: "auto" (CUDA if there is one, else CPU), "cpu", "cuda", "cuda:1".
        dtype: Type of the weights; default float32 on CPU and the checkpoint's own on CUDA.
        system_prompt: A system message for the chat template; default none.

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
        return _wrap(source, tokenizer, name=type(source).__name__, system_prompt=system_prompt)
    if not isinstance(source, str | Path):
        raise ModelError(
            f"cannot load a model from {type(source).__name__}",
            "give organism:NAME, a directory, a hub id, or a Transformers causal language model",
        )
    text, organism = str(source), None
    if text.startswith("organism:"):
        organism = text.removeprefix("organism:")
        location, local, name = str(organism_path(organism)), True, text
    elif Path(text).is_dir():
        location, local, name = text, True, Path(text).resolve().name
        _check_directory(Path(text))
    elif _HUB_ID.fullmatch(text) and not Path(text).exists() and not text.startswith("."):
        location, local, name = text, False, text
    else:
        raise ModelError(
            f"unknown model {text!r}: no such organism, directory or hub id",
            "give organism:switch, a directory with config.json and safetensors weights, or a hub id like owner/name",
        )
    target = _device(device)
    config = _from_pretrained(AutoConfig, location, local)
    family_of(config.model_type)
    _check_unquantised(location, config)
    loaded_type = dtype if dtype is not None else (torch.float32 if target.type == "cpu" else "auto")
    hf_model, report = _from_pretrained(
        AutoModelForCausalLM, location, local, dtype=loaded_type, use_safetensors=True, output_loading_info=True
    )
    _check_complete(location, report)
    loaded_tokenizer = tokenizer or _tokenizer(location, local)
    model = hf_model.to(target).eval()
    return _wrap(model, loaded_tokenizer, name=name, system_prompt=system_prompt, source=text, organism=organism)


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


def _check_directory(directory: Path) -> None:
    config = directory / "config.json"
    if not config.is_file():
        raise ModelError(f"{directory} holds no config.json", "give the directory that save_pretrained wrote")
    try:
        json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{config} is not valid JSON: {error}", "restore the file from the model's source") from error
    if not any(directory.glob("*.safetensors")):
        pickles = sorted(p.name for pattern in _PICKLES for p in directory.glob(pattern))
        if pickles:
            raise ModelError(
                f"{directory} holds only pickled weights ({pickles[0]}), which can run code when loaded",
                "convert them where you trust them: model.save_pretrained(DIRECTORY) writes safetensors",
            )
        raise ModelError(f"{directory} holds no safetensors weights", "give the directory that save_pretrained wrote")


def _from_pretrained(loader: Any, location: str, local: bool, **options: Any) -> Any:
    """Call `from_pretrained` and turn its many ways to fail into one error with the repair."""
    try:
        with _without_progress_bar():
            return loader.from_pretrained(location, trust_remote_code=False, local_files_only=local, **options)
    except ArchitectureError:
        raise
    # Transformers raises OSError, ValueError, KeyError, hub and safetensors errors for one and the same user mistake.
    except Exception as error:
        text = " ".join(str(error).split())
        lowered = text.lower()
        if "trust_remote_code" in lowered or "custom code" in lowered:
            raise ModelError(
                f"{location} needs its own code to load, and remote code is never run",
                "use a checkpoint of an architecture that Transformers ships",
            ) from error
        if "does not recognize this architecture" in lowered or "unrecognized configuration" in lowered:
            raise ArchitectureError(
                f"{location}: {text[:200]}", "only architectures that this Transformers version knows can be adapted"
            ) from error
        if not local:
            raise ModelError(
                f"cannot fetch {location} from the model hub: {text[:200]}",
                "check the name and the network, or download it elsewhere and give the local directory",
            ) from error
        raise ModelError(
            f"cannot load {location}: {text[:300]}",
            "check that the directory is complete: config.json, model.safetensors, tokenizer files",
        ) from error


def _tokenizer(location: str, local: bool) -> Any:
    tokenizer = _from_pretrained(AutoTokenizer, location, local)
    # Transformers 5.0 makes up a tokenizer of special tokens alone where the files are absent.
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):
        raise ModelError(
            f"cannot load {location}: its tokenizer knows no words, only special tokens",
            "check that the directory is complete: config.json, model.safetensors, tokenizer files",
        )
    return tokenizer


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Keep Transformers from drawing its own bar into a terminal or a pipe; the setting comes back as it was."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _wrap(
    hf_model: Any,
    tokenizer: Any,
    *,
    name: str,
    system_prompt: str | None,
    source: str | None = None,
    organism: str | None = None,
) -> Model:
    family = family_of(hf_model.config.model_type)
    check_structure(hf_model, family)
    _check_finite(hf_model)
    return Model(
        hf_model=hf_model,
        tokenizer=tokenizer,
        family=family,
        chat=chat_format(tokenizer, system_prompt),
        name=name,
        source=source,
        organism=organism,
        generic_prompts=() if organism is None else tuple(load_card(full_name(organism)).generic_prompts),
    )


def _check_unquantised(location: str, config: Any) -> None:
    """Refuse quantised weights before they are read, which would ask for the libraries that unpack them."""
    found = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if found:
        method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
        raise ModelError(
            f"{location} is quantised (quantization_config in its config.json: {method or 'an unnamed method'}), and "
            "its columns cannot be read from it",
            "give the checkpoint in float32, bfloat16 or float16 that it was made from, or load it with Transformers, "
            "call model.dequantize() and pass it with its tokenizer",
        )


def _check_complete(location: str, report: dict[str, Any]) -> None:
    """Refuse a checkpoint that lacks weights: Transformers only warns, and fills them with random numbers."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{location} lacks {len(missing)} of the model's weights, such as {missing[0]}",
            "fetch the checkpoint again; the file is incomplete, or was saved from another class of model",
        )


def _check_finite(hf_model: Any) -> None:
    for name, parameter in hf_model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise ModelError(
                f"the parameter {name} holds NaN or infinite values",
                "the checkpoint is damaged or overflowed in half precision: fetch it again, or load another dtype",
            )
