"""Residual vectors that others wrote: control vectors, CAA means, SAE decoder rows; files that run no code on reading.

A vector belongs to the output of a block, blocks counted from 0: `direction.N` of a GGUF control vector is added behind
block N (repeng writes it so and llama.cpp reads it so), and so is layer N of steering-vectors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from controlwindow.errors import UsageError

_LAYER = re.compile(r"(?:^|[._/])(?:direction|layers?|l|h|blocks?)?[._/]?(\d+)$", re.IGNORECASE)
_FORMATS = "safetensors, .npy, .npz, .pt or .pth (tensors and mappings of them alone), or a GGUF control vector"


@dataclass(frozen=True, eq=False)
class ResidualVector:
    """A vector that is added to the residual stream behind a block.

    Attributes:
        name: What it is called: its file's stem, its row if any, and its layer.
        layer: The block.
        values: The vector as it was written, [d_model], float32.
        source: The file; None for one in hand.
    """

    name: str
    layer: int
    values: torch.Tensor
    source: str | None = None


def read_vector(given: str) -> ResidualVector:
    """Read a vector that is named as FILE:LAYER, or FILE:LAYER:ROW for a row of a matrix such as an SAE's decoder.

    A file with one vector gives it at any layer. One with a vector for each layer gives that layer's.

    Raises:
        UsageError: The name is malformed, the file cannot be read without running code, or it holds no such vector.
    """
    match = re.fullmatch(r"(.+?):(\d+)(?::(\d+))?", given)
    if match is None:
        raise UsageError(f"malformed vector {given!r}", "write the file and the layer, as in vector.safetensors:12")
    path, layer, row = Path(match[1]), int(match[2]), None if match[3] is None else int(match[3])
    values = pick(_tensors(path), layer, row, path)
    name = f"{path.stem}{'' if row is None else f'#{row}'}@{layer}"
    return ResidualVector(name, layer, values, str(path.resolve()))


def pick(tensors: Mapping[str, torch.Tensor], layer: int, row: int | None, path: Path) -> torch.Tensor:
    """One vector of a file.

    Args:
        tensors: What the file holds.
        layer: The layer asked for.
        row: The row of a matrix; None for a vector.
        path: The file, for errors.

    Raises:
        UsageError: It holds none that fits.
    """
    by_layer = {int(m[1]): name for name in tensors if (m := _LAYER.search(name)) is not None}
    if len(tensors) == 1:
        (found,) = tensors.values()
    elif layer in by_layer:
        found = tensors[by_layer[layer]]
    else:
        known = ", ".join(sorted(tensors)[:6]) or "nothing"
        raise UsageError(
            f"{path} holds no vector of layer {layer}: {known}",
            "name a layer that is there, or give a file of one vector",
        )
    found = found.detach().float().squeeze()
    if found.ndim == 2 and row is not None:
        if row >= len(found):
            raise UsageError(f"{path} holds {len(found)} rows, row {row} is asked for", "rows are counted from 0")
        found = found[row]
    elif row is not None:
        raise UsageError(f"{path} holds no matrix, so it has no row {row}", "write FILE:LAYER")
    if found.ndim != 1:
        raise UsageError(
            f"{path} holds a {tuple(found.shape)} array where a vector is expected",
            "name a row of a matrix as FILE:LAYER:ROW",
        )
    if not bool(torch.isfinite(found).all()) or not bool(found.any()):
        raise UsageError(f"the vector of layer {layer} in {path} is zero or not finite", "give another file or layer")
    return found


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    readers = {
        ".safetensors": _safetensors, ".npy": _numpy, ".npz": _numpy, ".pt": _torch, ".pth": _torch, ".gguf": _gguf,
    }  # fmt: skip
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path} is no file of vectors that is known here", f"give {_FORMATS}")
    if not path.is_file():
        raise UsageError(f"no vector file at {path}", "give a file as FILE:LAYER")
    try:
        return reader(path)
    except UsageError:
        raise
    except Exception as error:
        # Each library fails in ways of its own on a file that is none.
        raise UsageError(f"{path} cannot be read: {type(error).__name__}: {error}", f"give {_FORMATS}") from error


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UsageError(f"{path} is no safetensors file: {error}", f"give {_FORMATS}") from error


def _numpy(path: Path) -> dict[str, torch.Tensor]:
    found = np.load(path, allow_pickle=False)
    arrays = {"": found} if isinstance(found, np.ndarray) else dict(found)
    return {name: torch.tensor(np.asarray(array, dtype=np.float32)) for name, array in arrays.items()}


def _torch(path: Path) -> dict[str, torch.Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"{path} holds more than tensors, and reading it could run code",
            "save the tensors alone, as safetensors.torch.save_file does",
        ) from error
    return dict(_flat("", found))


def _flat(name: str, value: Any) -> list[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if isinstance(value, Mapping):
        return [pair for key, inner in value.items() for pair in _flat(f"{name}.{key}".strip("."), inner)]
    return []


def _gguf(path: Path) -> dict[str, torch.Tensor]:
    try:
        import gguf
    except ImportError as error:
        raise UsageError("reading GGUF needs the gguf package", "pip install 'controlwindow[gguf]'") from error
    return {
        str(tensor.name): torch.tensor(np.asarray(tensor.data, dtype=np.float32))
        for tensor in gguf.GGUFReader(str(path)).tensors
    }
