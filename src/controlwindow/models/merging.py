"""PEFT adapters merged into a model's weights when it is loaded: what is measured is what the two are together."""

from __future__ import annotations

import filecmp
import hashlib
import importlib.util
import re
import warnings
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from controlwindow.errors import ModelError
from controlwindow.models.checkpoint import ADAPTER
from controlwindow.models.files import check_folder, check_path, read_object
from controlwindow.models.headers import MEASURABLE, read_header
from controlwindow.models.model import MergedAdapter
from controlwindow.models.pretrained import foreign_errors
from controlwindow.text import printable

WEIGHTS = "adapter_model.safetensors"

_log = getLogger(__name__)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SAVED_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_NOT_MERGED = ("megatron_config", "alora_invocation_tokens", "arrow_config", "layer_replication")
"""What a LoRA configuration can ask for that is no sum of weights, or that imports code by name."""


def merge_adapter(hf_model: Any, adapter: str | Path, base: str) -> tuple[Any, MergedAdapter]:
    """Merge a LoRA adapter into a model.

    Args:
        hf_model: The model; its weights are changed.
        adapter: The adapter's folder.
        base: What the model was loaded from.

    Returns:
        The model as Transformers builds it, and what was merged.

    Raises:
        ModelError: The folder holds no LoRA adapter in safetensors, it is one of another base, PEFT is not installed,
            or the merged weights do not compute what the adapter beside the model does.
    """
    directory = Path(adapter)
    config = _inspect(directory)
    _check_base(directory, config, base)
    if importlib.util.find_spec("peft") is None:
        raise ModelError("adapters need peft, which is not installed", "pip install 'controlwindow[peft]'")
    name = printable(directory.resolve().name)
    hint = "give the model that the adapter was trained on" + _trained_on(config)
    with foreign_errors(f"the adapter {directory} does not fit {base}", hint), warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(hf_model, directory, is_trainable=False).eval()
        _check_taken(directory, adapted, hint)
        probe = torch.arange(8, device=hf_model.device)[None] % hf_model.get_input_embeddings().weight.shape[0]
        with torch.no_grad():
            expected = adapted(input_ids=probe, use_cache=False).logits.float()
            merged = adapted.merge_and_unload(safe_merge=True).eval()
            found = merged(input_ids=probe, use_cache=False).logits.float()
    rounding = 64 * torch.finfo(hf_model.dtype).eps
    if not bool((found - expected).abs().max() <= rounding * expected.abs().max().clamp(min=1)):
        raise ModelError(
            f"the adapter {directory} cannot be merged: the merged weights compute something else than the two side by "
            "side",
            "an adapter of embeddings that the model ties to its readout, or one that acts on some tokens only, is no "
            "sum of weights; merge it where it was trained and save the model",
        )
    digest = hashlib.sha256()
    for file in (ADAPTER, WEIGHTS):
        digest.update((directory / file).read_bytes())
    return merged, MergedAdapter(name, str(adapter), digest.hexdigest())


def adapter_tokenizer(adapter: str | Path) -> Path | None:
    """The adapter's folder, if it brings the tokenizer and chat template that it was trained with; else None."""
    directory = Path(adapter)
    return directory if all((directory / name).is_file() for name in _SAVED_TOKENIZER) else None


def _inspect(directory: Path) -> dict[str, Any]:
    """The adapter's configuration, refused unless it is LoRA in safetensors."""
    check_path(str(directory))
    if not directory.is_dir():
        raise ModelError(f"{directory} is no folder", "give the folder that PEFT's save_pretrained wrote")
    check_folder(directory)
    if not (directory / ADAPTER).is_file():
        raise ModelError(f"{directory} holds no {ADAPTER}", "give the folder that PEFT's save_pretrained wrote")
    config = read_object(directory / ADAPTER)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelError(
            f"{directory} is an adapter of the kind {printable(kind, 40)}; only LORA is merged here",
            "merge it where it was trained (merge_and_unload) and give the merged model",
        )
    for key in _NOT_MERGED:
        if config.get(key):
            raise ModelError(
                f"{directory} sets {key}, which is no sum of weights",
                "merge it where it was trained (merge_and_unload) and give the merged model",
            )
    if not (directory / WEIGHTS).is_file():
        pickled = (directory / "adapter_model.bin").exists()
        raise ModelError(
            f"{directory} holds {'only pickled weights (adapter_model.bin)' if pickled else f'no {WEIGHTS}'}",
            f"save the adapter again where you trust it: PEFT's save_pretrained writes {WEIGHTS}",
        )
    for tensor in read_header(directory / WEIGHTS):
        if tensor.dtype not in MEASURABLE:
            raise ModelError(
                f"{directory}: {printable(tensor.name, 120)} is quantised (stored as {printable(tensor.dtype, 20)})",
                "give the adapter as it was trained, in float32, bfloat16 or float16",
            )
    return config


def _trained_on(config: dict[str, Any]) -> str:
    named = config.get("base_model_name_or_path")
    return f" ({printable(named, 120)})" if isinstance(named, str) and named else ""


def _check_base(directory: Path, config: dict[str, Any], base: str) -> None:
    """Refuse a base that is certainly another; say it where names differ and nothing else tells."""
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named or printable(named) != named:
        return
    told, given = Path(named), Path(base)
    another = False
    if told.is_dir() and given.is_dir():
        another = told.resolve() != given.resolve() and not _same_weights(told, given)
    elif _HUB_ID.fullmatch(named) and _HUB_ID.fullmatch(base) and not given.exists():
        another = named.lower() != base.lower()
    elif told.name.lower() != given.name.lower():
        _log.warning("%s: the adapter names %s as its base; that %s is the same is not checked", directory, named, base)
    if another:
        raise ModelError(
            f"the adapter {directory} was trained on {named}, not on {base}",
            "give the model that the adapter was trained on",
        )


def _same_weights(first: Path, second: Path) -> bool:
    names = {path.name for path in first.glob("*.safetensors")}
    if names != {path.name for path in second.glob("*.safetensors")}:
        return False
    return all(filecmp.cmp(first / name, second / name, shallow=False) for name in names)


def _check_taken(directory: Path, adapted: Any, hint: str) -> None:
    """Refuse an adapter of which weights found no place: PEFT passes over them, or warns."""
    from peft import get_peft_model_state_dict

    stored = load_file(directory / WEIGHTS)
    taken = get_peft_model_state_dict(adapted, save_embedding_layers=any("embed" in name for name in stored))
    # Weights of an embedding beside its adapter are the base's own, saved along.
    left = sorted(name for name in stored if name not in taken and ".base_layer." not in name)
    absent = sorted(name for name in taken if name not in stored and ".lora_" in name)
    if left or absent:
        raise ModelError(
            f"the adapter {directory} does not fit the model: "
            + (f"{printable(left[0], 160)} has no place in it" if left else f"it lacks {printable(absent[0], 160)}"),
            hint,
        )
    for name, values in stored.items():
        if name in taken and not torch.equal(taken[name].cpu().to(values.dtype), values):
            raise ModelError(f"the adapter {directory}: {printable(name, 160)} was not taken as it is stored", hint)
