"""A checkpoint's folder, looked through before any library builds or reads a model from it.

Transformers takes much with a warning or none: files that an index names anywhere, weights that the model has no place
for, codes of a quantisation that nothing announces, adapters when PEFT happens to be installed. Here all of it is
refused by name, from the configuration and the headers of the weight files alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlwindow.errors import ModelError
from controlwindow.models.adapters import family_of
from controlwindow.models.files import check_folder, read_object
from controlwindow.models.headers import MEASURABLE, StoredTensor, read_headers
from controlwindow.models.leftovers import is_ignorable
from controlwindow.text import printable

CONFIG, WEIGHTS, INDEX, ADAPTER = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
)

_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_QUANTISED_KEYS = ("quantization_config", "compression_config", "quantization")
_QUANTISED_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
_LAYER_KEYS = frozenset({"num_hidden_layers", "n_layer", "n_layers", "num_layers"})
_SHARD_OF_TRAINING = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")

_LARGEST_INTEGER = 1 << 40
_LARGEST_IN_A_LIST = 1 << 24


@dataclass(frozen=True)
class Checkpoint:
    """A folder that has been looked through.

    Attributes:
        directory: The folder.
        config: Its config.json.
        files: The files that hold its weights.
        tensors: What they hold, by name.
    """

    directory: Path
    config: dict[str, Any]
    files: tuple[Path, ...]
    tensors: dict[str, StoredTensor]

    @property
    def elements(self) -> int:
        """Number of values in all files."""
        return sum(tensor.elements for tensor in self.tensors.values())


def inspect_checkpoint(directory: Path) -> Checkpoint:
    """Look a folder through.

    Raises:
        ModelError: What it holds is not a whole, unquantised, unadapted checkpoint in safetensors files of its own.
        ArchitectureError: The family has no adapter.
    """
    config = inspect_configuration(directory)
    files = weight_files(directory)
    tensors = read_headers(files)
    _check_index(directory, tensors)
    _check_types(directory, tensors.values())
    _check_layers(directory, config, tensors)
    return Checkpoint(directory, config, files, tensors)


def inspect_configuration(directory: Path) -> dict[str, Any]:
    """The configuration of a folder, refused where it says that the weights are not a plain model's.

    Raises:
        ModelError: No folder of ordinary files, no configuration, an adapter, a quantised or a remote model.
        ArchitectureError: The family has no adapter.
    """
    check_folder(directory)
    for name in (ADAPTER, *_ADAPTER_WEIGHTS):
        if (directory / name).exists():
            _refuse_adapter(directory, name)
    if not (directory / CONFIG).is_file():
        raise ModelError(f"{directory} holds no config.json", "give the directory that save_pretrained wrote")
    config = read_object(directory / CONFIG)
    for name in ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if (directory / name).exists():
            read_object(directory / name)
    _check_family(directory, config)
    _check_unquantised(directory, config)
    if config.get("transformers_weights") is not None:
        raise ModelError(
            f"{directory / CONFIG} names other weights than the folder's (transformers_weights)",
            "remove the entry: weights are read from model.safetensors, or from the shards of its index",
        )
    _check_numbers(directory, config, inside_list=False)
    for key, value in _entries(config):
        if key.endswith("attn_implementation") and not isinstance(value, str | None):
            raise ModelError(f"{directory / CONFIG} has {key} = {printable(value, 80)}", "remove the entry")
        if key.endswith("attn_implementation") and "/" in (value or ""):
            raise ModelError(
                f"{directory / CONFIG} asks for the kernel {printable(value, 80)} from the hub, which is remote code",
                f"remove {key} from config.json",
            )
    return config


def weight_files(directory: Path) -> tuple[Path, ...]:
    """The files that Transformers reads a folder's weights from, each a safetensors file in the folder itself.

    Raises:
        ModelError: There are none, only pickled ones, or the index names others than plain files of the folder.
    """
    if any(_SHARD_OF_TRAINING.match(path.name) for path in directory.glob("*.safetensors")):
        raise ModelError(
            f"{directory} holds a distributed training checkpoint",
            "write it out whole where it was trained: model.save_pretrained(DIRECTORY)",
        )
    if (directory / WEIGHTS).exists():
        return (directory / WEIGHTS,)
    if (directory / INDEX).exists():
        names = shard_names(directory / INDEX)
        missing = [name for name in names if not (directory / name).is_file()]
        if missing:
            raise ModelError(
                f"{directory} lacks {len(missing)} of {len(names)} weight files, such as {missing[0]}",
                "fetch the checkpoint again; a shard is missing",
            )
        return tuple(directory / name for name in names)
    pickles = sorted(p.name for pattern in _PICKLES for p in directory.glob(pattern))
    others = sorted(p.name for p in directory.glob("*.safetensors"))
    if others:
        raise ModelError(
            f"{directory} holds {printable(others[0], 80)}, but no safetensors weights by the name {WEIGHTS} or an "
            "index of shards",
            f"name it {WEIGHTS} if it is the whole model, or restore {INDEX}",
        )
    if pickles:
        raise ModelError(
            f"{directory} holds only pickled weights ({pickles[0]}), which can run code when loaded",
            "convert them where you trust them: model.save_pretrained(DIRECTORY) writes safetensors",
        )
    raise ModelError(f"{directory} holds no safetensors weights", "give the directory that save_pretrained wrote")


def shard_names(index: Path) -> list[str]:
    """The files that an index names, sorted.

    Raises:
        ModelError: The index is malformed, or an entry is not the plain name of a safetensors file.
    """
    entries = read_object(index).get("weight_map")
    if not isinstance(entries, dict) or not entries or not all(isinstance(name, str) for name in entries.values()):
        raise ModelError(
            f"{index} maps no weights to files", "restore it from the model's source, or save the model again"
        )
    for weight, name in entries.items():
        # Both separators, on every system: an index is written on one machine and read on another.
        plain = re.fullmatch(r"[^/\\:]+\.safetensors", name) and not name.startswith(".") and printable(name) == name
        if not plain:
            raise ModelError(
                f"{index} maps {printable(weight, 120)} to {printable(name, 120)!r}, which is not the plain name of a "
                "safetensors file in its folder",
                "only safetensors files that lie beside the index are read; save the model again where you trust it",
            )
    return sorted(set(entries.values()))


def _refuse_adapter(directory: Path, name: str) -> None:
    if (directory / CONFIG).exists():
        raise ModelError(
            f"{directory} holds a PEFT adapter ({name}) beside the model; which of the two is meant is not said",
            f"move {name} and the adapter's weights into a folder of their own: --adapter DIR merges them",
        )
    raise ModelError(
        f"{directory} holds a PEFT adapter, not a model",
        "give the model it was trained on, and the adapter beside it with --adapter DIR (load_model(…, adapter=DIR))",
    )


def _check_family(directory: Path, config: dict[str, Any]) -> None:
    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(
            f"cannot load {directory}: its config.json names no model_type",
            "give the directory that save_pretrained wrote",
        )
    try:
        family_of(printable(kind, 80))
    except ModelError:
        if "auto_map" not in config:
            raise
        raise ModelError(
            f"{directory} needs its own code to load ({printable(kind, 80)}), and remote code is never run",
            "use a checkpoint of an architecture that Transformers ships",
        ) from None


def _check_unquantised(directory: Path, config: dict[str, Any]) -> None:
    """Refuse quantised weights before they are read, which would ask for the libraries that unpack them."""
    for key, value in _entries(config):
        if key in _QUANTISED_KEYS and value:
            method = value.get("quant_method") if isinstance(value, dict) else None
            raise _quantised(directory, f"{key} in its config.json: {printable(method or 'an unnamed method', 80)}")
    for name in _QUANTISED_FILES:
        if (directory / name).exists():
            raise _quantised(directory, f"it holds {name}")


def _quantised(directory: Path, sign: str) -> ModelError:
    return ModelError(
        f"{directory} is quantised ({sign}), and its columns cannot be read from it",
        "give the checkpoint in float32, bfloat16 or float16 that it was made from, or load it with Transformers, "
        "call model.dequantize() and pass it with its tokenizer",
    )


def _check_numbers(directory: Path, value: Any, *, inside_list: bool) -> None:
    """Refuse sizes that no model has: what is as long as they say is built before anything can be compared."""
    if isinstance(value, dict):
        for entry in value.values():
            _check_numbers(directory, entry, inside_list=False)
    elif isinstance(value, list):
        for entry in value:
            _check_numbers(directory, entry, inside_list=True)
    elif isinstance(value, int) and abs(value) > (_LARGEST_IN_A_LIST if inside_list else _LARGEST_INTEGER):
        raise ModelError(
            f"cannot load {directory}: its config.json holds the size {printable(value, 40)}, which no model has",
            "restore config.json from the model's source",
        )


def _check_index(directory: Path, tensors: dict[str, StoredTensor]) -> None:
    if (directory / WEIGHTS).exists() or not (directory / INDEX).exists():
        return
    announced = read_object(directory / INDEX)["weight_map"]
    absent = sorted(name for name, file in announced.items() if name not in tensors or tensors[name].file != file)
    if absent:
        raise ModelError(
            f"{directory} lacks {len(absent)} of the weights that its index names, such as {printable(absent[0], 200)}",
            "fetch the checkpoint again; its index and its shards do not belong together",
        )


def _check_types(directory: Path, tensors: Iterable[StoredTensor]) -> None:
    for tensor in tensors:
        if tensor.dtype not in MEASURABLE and not is_ignorable(tensor):
            name = printable(tensor.name, 200)
            raise ModelError(
                f"{directory}: {name} is quantised (stored as {printable(tensor.dtype, 20)}), and nothing in "
                "config.json says how to read it",
                "give the checkpoint in float32, bfloat16 or float16 that it was made from",
            )


def _check_layers(directory: Path, config: dict[str, Any], tensors: dict[str, StoredTensor]) -> None:
    """Refuse a configuration of more layers than any weight belongs to, before they are built."""
    numbers = [int(n) for name in tensors for n in re.findall(r"(?<=\.)\d{1,9}(?=\.)|^\d{1,9}(?=\.)", name)]
    most = max(numbers, default=0) + 1
    for key, value in _entries(config):
        if key in _LAYER_KEYS and isinstance(value, int) and value > most:
            raise ModelError(
                f"cannot load {directory}: its config.json has {key} = {value:,}, but its weights are numbered up to "
                f"{most - 1}",
                "restore config.json from the model's source, or fetch the weights that are missing",
            )
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    kinds, layers = text.get("layer_types"), text.get("num_hidden_layers")
    if isinstance(kinds, list) and isinstance(layers, int) and len(kinds) != layers:
        raise ModelError(
            f"cannot load {directory}: its config.json names the kinds of {len(kinds)} layers, but has {layers}",
            "restore config.json from the model's source",
        )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested objects."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield key, entry
            yield from _entries(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _entries(entry)
