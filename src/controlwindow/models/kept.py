"""What depends on a model alone and took long to compute: kept with it in memory, and on disk for the next command.

A file holds one value. Its name says of which weights (the fingerprint) and under which circumstances: configuration,
type and device, library versions, the processor's instructions and this package's own source. What was computed under
others is not found. Files are put in place whole, and one that cannot be read, or whose checksum is wrong, counts as
not there. Nothing in them is executed: arrays are safetensors, the rest is JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
import transformers

from controlwindow.models.model import Model

VARIABLE = "CONTROLWINDOW_CACHE"
"""Environment variable that names the directory; "off" keeps nothing on disk."""

_WORTH_KEEPING = 2.0
"""Seconds from which a value is worth a file."""

_FORMAT = 1


class KeptFile(NamedTuple):
    """One kept value.

    Attributes:
        path: Its file.
        model: What the model was called.
        what: What is kept.
        made: When, in ISO 8601, UTC.
        seconds: How long it took to compute.
        size: Bytes.
    """

    path: Path
    model: str
    what: str
    made: str
    seconds: float
    size: int


def kept(model: Model, key: tuple[Any, ...], compute: Callable[[], Any], types: tuple[type, ...] = ()) -> Any:
    """A value that depends on the model and a key alone: from memory, from disk, or computed now.

    Args:
        model: The model. Only one that `load_model` opened from a file is looked up on disk: one in hand may carry code
            that its weights do not show.
        key: What the value is, and what it depends on beside the model; the first entry says what it is.
        compute: Computes it.
        types: The dataclasses that it is made of. Beside them it holds numbers, text, lists, tuples and tensors.

    Returns:
        The value; lists that were tuples at first are lists again only where no dataclass holds them.
    """
    if key in model.cache:
        return model.cache[key]
    path = _path(model, key)
    found = None if path is None else _read(path, types)
    if found is not None:
        model.cache[key] = found[0]
        model.cache.setdefault("reused", {})[str(key[0])] = found[1]
        return found[0]
    begun = time.monotonic()
    value = compute()
    seconds = time.monotonic() - begun
    model.cache[key] = value
    if path is not None and seconds >= _WORTH_KEEPING:
        _write(path, value, {"model": model.name, "what": str(key[0]), "seconds": round(seconds, 1)})
    return value


def reused(model: Model) -> dict[str, str]:
    """What of this model came from disk, and when each was computed."""
    return dict(model.cache.get("reused", {}))


def kept_files() -> Iterator[KeptFile]:
    """Everything that is kept on disk."""
    directory = cache_directory()
    for path in sorted(directory.glob("*/*.safetensors")) if directory is not None else ():
        with suppress(OSError, ValueError, KeyError, safetensors.SafetensorError):
            with safetensors.safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["about"])
            yield KeptFile(path, about["model"], about["what"], about["made"], about["seconds"], path.stat().st_size)


def forget_files(paths: Iterable[Path]) -> list[int]:
    """Remove kept files, and folders that are empty then.

    Args:
        paths: Files as `kept_files` gives them.

    Returns:
        The sizes of those removed, in bytes; one that cannot be removed stays and is not among them.
    """
    sizes = []
    for path in paths:
        with suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            sizes.append(size)
        with suppress(OSError):
            path.parent.rmdir()
    return sizes


def kept_kinds(model: Model) -> set[str]:
    """What of a model is kept, in memory or on disk: first entries of keys, whatever else they say."""
    found = {str(key[0]) for key in model.cache if isinstance(key, tuple) and key}
    directory = cache_directory()
    if directory is not None and model.source is not None:
        # A name ends with a digest.
        files = (directory / model.fingerprint[:32]).glob("*.safetensors")
        found |= {path.stem.rsplit("-", 1)[0].replace("-", " ") for path in files}
    return found


def cache_directory() -> Path | None:
    """Where values are kept; None where nothing is to be."""
    named = os.environ.get(VARIABLE, "").strip()
    if named.lower() == "off":
        return None
    if named:
        return Path(named).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "").strip()
    try:
        return (Path(home) if home else Path.home() / ".cache") / "controlwindow"
    except RuntimeError:
        # No home directory is known.
        return None


def _path(model: Model, key: tuple[Any, ...]) -> Path | None:
    directory = cache_directory()
    if directory is None or model.source is None:
        return None
    config = model.hf_model.config
    circumstances = {
        "key": key,
        "config": config.to_json_string(use_diff=False),
        "attention": getattr(config, "_attn_implementation", None),
        "stops": sorted(model.stop_ids),
        "dtype": str(model.dtype),
        "device": str(model.device.type),
        "versions": (torch.__version__, transformers.__version__, _source(), _FORMAT),
        "processor": (platform.machine(), torch.backends.cpu.get_cpu_capability()),
    }
    digest = hashlib.sha256(json.dumps(circumstances, sort_keys=True, default=str).encode()).hexdigest()
    return directory / model.fingerprint[:32] / f"{str(key[0]).replace(' ', '-')}-{digest[:32]}.safetensors"


@cache
def _source() -> str:
    """A digest of this package's modules as they are: what other code computed is not this code's."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _read(path: Path, types: tuple[type, ...]) -> tuple[Any, str] | None:
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            text = file.metadata()["value"]
            # `keys` is a method of the file, which is no mapping.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about["checksum"] != _checksum(text, tensors):
            return None
        by_name = {kind.__name__: kind for kind in types}
        return _decode(json.loads(text), tensors, by_name), str(about["made"])
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        return None


def _write(path: Path, value: Any, about: dict[str, Any]) -> None:
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_encode(value, tensors), separators=(",", ":"))
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    about = {**about, "made": made, "checksum": _checksum(text, tensors)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    # A full or read-only disk costs the next command its time, never this one its result.
    with suppress(OSError, safetensors.SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            safetensors.torch.save_file(tensors, temporary, {"about": json.dumps(about), "value": text})
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _checksum(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _encode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: _encode(getattr(value, field.name), tensors) for field in fields(value)}
        return {"class": type(value).__name__, "fields": parts}
    if isinstance(value, tuple | list):
        return {"list": [_encode(entry, tensors) for entry in value], "tuple": isinstance(value, tuple)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be kept")


def _decode(value: Any, tensors: dict[str, torch.Tensor], types: dict[str, type]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "class" in value:
        return types[value["class"]](**{k: _decode(v, tensors, types) for k, v in value["fields"].items()})
    entries = [_decode(entry, tensors, types) for entry in value["list"]]
    return tuple(entries) if value["tuple"] else entries
