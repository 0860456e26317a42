"""What a safetensors file holds, read from its header alone: names, types and shapes, before any weight is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from controlwindow.errors import ModelError
from controlwindow.models.files import check_regular
from controlwindow.text import printable

_LONGEST = 100_000_000
"""Most bytes of a header, as in the safetensors library."""

_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip

MEASURABLE = frozenset({"F64", "F32", "F16", "BF16"})
"""Types of weights that are numbers as they stand; any other is a code that some table or scale turns into one."""


class StoredTensor(NamedTuple):
    """One tensor as a file announces it.

    Attributes:
        name: Its name.
        dtype: Its type in safetensors' words, such as BF16.
        shape: Its shape.
        file: The file's name.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def read_header(path: Path) -> list[StoredTensor]:
    """The tensors of one safetensors file.

    Raises:
        ModelError: It is no safetensors file (a pickle, a text), or its header does not fit the file's length.
    """
    size = check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(size - 8, _LONGEST):
                raise _broken(path, "its first bytes do not give the length of a header")
            text = file.read(length)
    except OSError as error:
        raise _broken(path, f"it cannot be read ({printable(error.strerror, 80)})") from error
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is no JSON object")
    header.pop("__metadata__", None)
    found = [_tensor(path, name, entry, size - 8 - length) for name, entry in header.items()]
    if not found:
        raise _broken(path, "it holds no tensor")
    return found


def read_headers(paths: Iterable[Path]) -> dict[str, StoredTensor]:
    """The tensors of all files of a checkpoint, by name.

    Raises:
        ModelError: A file is broken, or two files hold one tensor, of which either could be the model's.
    """
    known: dict[str, StoredTensor] = {}
    for path in paths:
        for tensor in read_header(path):
            if tensor.name in known:
                raise ModelError(
                    f"{printable(tensor.name, 200)} is both in {known[tensor.name].file} and in {tensor.file}",
                    "fetch the checkpoint again: its shards do not belong together",
                )
            known[tensor.name] = tensor
    return known


def _tensor(path: Path, name: str, entry: Any, room: int) -> StoredTensor:
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, end))
    except (TypeError, ValueError, KeyError) as error:
        raise _broken(path, f"the entry of {printable(name, 80)} is malformed") from error
    tensor = StoredTensor(name, str(dtype), shape, path.name)
    if not whole or not start <= end <= room:
        raise _broken(path, f"{printable(name, 80)} lies outside the file, which may be truncated")
    # Types that this table does not know (packed floats) are refused later, by name.
    if dtype in _BYTES and end - start != tensor.elements * _BYTES[dtype]:
        raise _broken(path, f"{printable(name, 80)} has {end - start} bytes, which are not {list(shape)} of {dtype}")
    return tensor


def _broken(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"cannot load {path.parent}: {path.name} is not a complete safetensors file: {reason}",
        "fetch the file again; pickled weights (torch.save) are never read, convert them where you trust them: "
        "model.save_pretrained(DIRECTORY) writes safetensors",
    )
