"""GGUF files: read by Transformers' own loader, dequantised, and held against what the file says.

The loader builds a configuration from some of the metadata, leaves tensors that it has no name for out, and takes the
result for a quantised model. What the file says and the model does not do is set right here, or refused by name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import quantization_config

from controlwindow.errors import ArchitectureError, ModelError
from controlwindow.models.gguf_config import complete_configuration, set_rotary_factors
from controlwindow.models.gguf_header import GgufArray, GgufHeader, read_gguf_header
from controlwindow.models.gguf_reader import reading
from controlwindow.models.leftovers import check_report
from controlwindow.models.pretrained import call, load_tokenizer
from controlwindow.models.sizes import check_sizes
from controlwindow.text import printable

SUFFIX = ".gguf"

ARCHITECTURES = ("gemma2", "gemma3", "llama", "qwen2", "qwen3", "qwen3moe", "starcoder2")
"""Architectures in llama.cpp's words that are tested here; Transformers reads others, but not all that matters."""

_HINT = "give the checkpoint that the file was made from, as safetensors"
_ROTARY = "rope_freqs.weight"
_ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")


_PLAIN_RULES = ("default", "gpt-2", "gpt2")


class GgufModel(NamedTuple):
    """What a GGUF file holds.

    Attributes:
        hf_model: The model, dequantised.
        tokenizer: The tokenizer, with the chat template that the file carries.
        quantisation: How the file holds the weights.
        sha256: The file's hash.
        notes: What a reader of results must know of how it was read.
    """

    hf_model: Any
    tokenizer: Any
    quantisation: str
    sha256: str
    notes: tuple[str, ...]


def gguf_file(path: Path) -> Path | None:
    """The GGUF file that a path means: itself, or the one file of a folder without a checkpoint; None if neither.

    Raises:
        ModelError: The folder holds several, of which any could be meant.
    """
    if path.is_file():
        return path if path.suffix.lower() == SUFFIX else None
    if not path.is_dir() or (path / "config.json").exists() or any(path.glob("*.safetensors")):
        return None
    found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() == SUFFIX)
    if len(found) > 1:
        names = printable(", ".join(entry.name for entry in found), 300)
        raise ModelError(f"{path} holds {len(found)} GGUF files ({names})", "give the path of the one to measure")
    return found[0] if found else None


def load_gguf(path: Path, dtype: torch.dtype | str) -> GgufModel:
    """Load a GGUF file.

    Args:
        path: The file.
        dtype: The type that its weights are dequantised to.

    Raises:
        ModelError: It is no whole GGUF file of a model with a tokenizer, says what the loader does not do, or the
            libraries that read it are not installed.
        ArchitectureError: The architecture is not supported.
    """
    header = read_gguf_header(path)
    _check_header(header)
    _require_libraries()
    _check_data(header)
    with ExitStack() as stack:
        # The loader looks at what else lies in a folder, so the file is given one of its own.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="controlwindow-")))
        (folder / "model.gguf").symlink_to(path.resolve())
        tokenizer = _tokenizer(header, folder)
        stack.enter_context(reading(header))
        config = call(AutoConfig.from_pretrained, folder, _HINT, name=path, gguf_file="model.gguf")
        config._attn_implementation = None
        complete_configuration(header, config)
        check_sizes(path, config, sum(tensor.elements for tensor in header.tensors))
        hf_model, report = call(
            AutoModelForCausalLM.from_pretrained,
            folder,
            _HINT,
            name=path,
            gguf_file="model.gguf",
            config=config,
            dtype=torch.float32 if dtype == "auto" else dtype,
            output_loading_info=True,
            **_dequantised(),
        )
    check_report(path, report, {})
    _check_all_taken(header, hf_model)
    set_rotary_factors(header, hf_model)
    _forget_quantisation(hf_model)
    ends = sorted({int(header.get(key)) for key in _ENDS if header.get(key) is not None})
    if ends:
        hf_model.generation_config.eos_token_id = ends
    return GgufModel(hf_model, tokenizer, quantisation_of(header), sha256_of(path), _notes(header))


def quantisation_of(header: GgufHeader) -> str:
    """How a file holds its weights: its types by the number of values, the most common first.

    Example: `Q4_1 (79 % of values, 210 tensors), Q8_0 (21 %, 1), F32 (0 %, 61)`.
    """
    values: Counter[str] = Counter()
    tensors: Counter[str] = Counter()
    for tensor in header.tensors:
        name = _type_name(tensor.kind)
        values[name] += tensor.elements
        tensors[name] += 1
    whole = sum(values.values())
    parts = [f"{name} ({100 * count / whole:.0f} %, {tensors[name]})" for name, count in values.most_common()]
    first = parts[0].replace(" %, ", " % of values, ").replace(")", " tensors)")
    return ", ".join([first, *parts[1:]])


def _notes(header: GgufHeader) -> tuple[str, ...]:
    """Say it where the text is split into words otherwise than when the vocabulary was learned."""
    rule = header.get("tokenizer.ggml.pre", "default")
    if header.get("tokenizer.ggml.model") != "gpt2" or rule in _PLAIN_RULES:
        return ()
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS as known
    except ImportError:
        known = {}
    if rule in known:
        return ()
    return (
        f"the file asks for text to be split by the rule {printable(rule, 40)!r}, which Transformers does not know; it "
        "is split by GPT-2's, so that some words, digits above all, become other tokens than in training",
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_header(header: GgufHeader) -> None:
    path = header.path
    if header.get("general.type", "model") != "model":
        kind = printable(header.get("general.type"), 40)
        raise ModelError(f"{path} holds no model but {kind}", "give the GGUF file of the model itself, merged")
    if int(header.get("split.count", 1) or 1) > 1:
        raise ModelError(f"{path} is one part of a split GGUF file", "merge the parts with llama-gguf-split --merge")
    if header.architecture not in ARCHITECTURES:
        raise ArchitectureError(
            f"{path} is a GGUF file of the architecture {printable(header.architecture, 60)!r}, which is not supported "
            f"(supported: {', '.join(ARCHITECTURES)})",
            _HINT,
        )
    tokens = header.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, GgufArray) or tokens.length == 0 or "tokenizer.ggml.model" not in header.metadata:
        raise ModelError(f"{path} holds no tokenizer", "fetch a GGUF file with its vocabulary, as converters write it")
    blocks = header.get(f"{header.architecture}.block_count")
    numbers = {t.name.split(".")[1] for t in header.tensors if t.name.startswith("blk.")}
    if not isinstance(blocks, int) or blocks != len(numbers):
        raise ModelError(
            f"{path} says that it has {printable(blocks, 40)} blocks, but holds the weights of {len(numbers)}",
            "fetch the file again, and whole",
        )


def _require_libraries() -> None:
    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"GGUF files need {' and '.join(missing)}, which is not installed",
            "pip install 'controlwindow[gguf]'",
        )


def _check_data(header: GgufHeader) -> None:
    from gguf import GGML_QUANT_SIZES

    sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
    for tensor in header.tensors:
        if tensor.kind not in sizes:
            raise ModelError(
                f"{header.path}: {printable(tensor.name, 80)} is stored as the type {tensor.kind}, which the installed "
                "gguf does not know",
                "upgrade gguf, or give a file in a common quantisation",
            )
        values, size = sizes[tensor.kind]
        bytes_ = tensor.elements * size // values
        if tensor.shape[-1] % values or header.data + tensor.offset + bytes_ > header.size:
            raise ModelError(
                f"cannot load {header.path}: it is not a complete GGUF file: it ends before "
                f"{printable(tensor.name, 80)}",
                "fetch the file again, and whole",
            )


def _type_name(kind: int) -> str:
    from gguf import GGMLQuantizationType

    return str(GGMLQuantizationType(kind).name)


def _dequantised() -> dict[str, Any]:
    """Ask for plain weights: newer versions keep them packed where a library for that happens to be installed."""
    kind = getattr(quantization_config, "GgufConfig", None)
    return {} if kind is None else {"quantization_config": kind(dequantize=True)}


def _forget_quantisation(hf_model: Any) -> None:
    """Transformers takes a dequantised model for a quantised one."""
    hf_model.hf_quantizer, hf_model.is_quantized, hf_model.quantization_method = None, False, None
    if hasattr(hf_model.config, "quantization_config"):
        del hf_model.config.quantization_config


def _tokenizer(header: GgufHeader, folder: Path) -> Any:
    # Newer versions read the vocabulary themselves and ask the slow reader for the configuration only.
    newer = importlib.util.find_spec("transformers.integrations.gguf") is not None
    with ExitStack() as stack:
        if newer:
            stack.enter_context(reading(header))
        return load_tokenizer(folder, name=header.path, gguf_file="model.gguf")


def _check_all_taken(header: GgufHeader, hf_model: Any) -> None:
    """Refuse a file of which tensors were left out: the loader passes over those that it has no name for."""
    known = {id(p): p.numel() for p in hf_model.parameters()}
    held = sum(tensor.elements for tensor in header.tensors if tensor.name != _ROTARY)
    if held == sum(known.values()):
        return
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    arch = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == header.architecture)
    names = get_tensor_name_map(arch, hf_model.config.get_text_config().num_hidden_layers)
    parts = [name.rpartition(".") for name in hf_model.state_dict()]
    taken = {f"{names.get_name(stem)}.{suffix}" for stem, _, suffix in parts}
    left = [t.name for t in header.tensors if t.name not in taken and "_exps." not in t.name and t.name != _ROTARY]
    such = f", such as {printable(left[0], 80)}" if left else ""
    raise ModelError(
        f"{header.path} holds {held:,} values, but the model has a place for {sum(known.values()):,}: weights would be "
        f"left out{such}",
        _HINT,
    )
