"""What a GGUF file says of itself: metadata and tensor table, read with every length held against the file's end."""

from __future__ import annotations

import mmap
import struct
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from controlwindow.errors import ModelError
from controlwindow.models.files import check_regular
from controlwindow.text import printable

_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_LONGEST_KEPT = 4096
"""Longest array whose values are kept; of longer ones, such as a vocabulary, the length is."""

_MOST_DIMENSIONS = 4


class GgufTensor(NamedTuple):
    """One tensor as the file announces it.

    Attributes:
        name: Its name.
        shape: Its shape in PyTorch's order.
        kind: The number of its type.
        offset: Where its data begins, from the start of the data.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def elements(self) -> int:
        """Number of values."""
        return prod(self.shape)


class GgufArray(NamedTuple):
    """An array of the metadata.

    Attributes:
        kind: The number of its values' type.
        length: How many values it has.
        values: The values, where they are numbers and few enough to be kept.
    """

    kind: int
    length: int
    values: tuple[Any, ...] | None


class GgufHeader(NamedTuple):
    """A GGUF file without its data.

    Attributes:
        path: The file.
        metadata: Its metadata: numbers, texts and `GgufArray`s, each with the number of its type.
        tensors: Its tensors.
        data: Where its data begins.
        size: The file's length in bytes.
    """

    path: Path
    metadata: dict[str, tuple[int, Any]]
    tensors: tuple[GgufTensor, ...]
    data: int
    size: int

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the metadata."""
        return self.metadata[key][1] if key in self.metadata else default

    @property
    def architecture(self) -> str:
        """The architecture in llama.cpp's words."""
        return str(self.get("general.architecture", ""))


def read_gguf_header(path: Path) -> GgufHeader:
    """Read a GGUF file up to its data.

    Raises:
        ModelError: It is no GGUF file, of a version or byte order that nothing here reads, or truncated.
    """
    size = check_regular(path)
    if size < 24:
        raise _broken(path, "it is too short")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
            metadata, tensors, end = _read(path, blob)
    except OSError as error:
        raise _broken(path, f"it cannot be read ({printable(error.strerror, 80)})") from error
    alignment = metadata.get("general.alignment", (4, 32))[1]
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 16:
        raise _broken(path, f"its data are aligned to {printable(alignment, 40)}")
    names = [tensor.name for tensor in tensors]
    if not names or len(set(names)) < len(names):
        raise _broken(path, "it holds no tensors" if not names else "it holds two tensors of one name")
    return GgufHeader(path, metadata, tensors, -(-end // alignment) * alignment, size)


def _read(path: Path, blob: mmap.mmap) -> tuple[dict[str, tuple[int, Any]], tuple[GgufTensor, ...], int]:
    """Metadata and tensors, and where they end."""
    reader = _Reader(path, blob)
    if blob[:4] != b"GGUF":
        raise _broken(path, "it does not begin with GGUF")
    reader.place = 4
    version, tensor_count, metadata_count = reader.take("IQQ")
    if version not in _VERSIONS:
        raise _broken(path, f"it is of version {version} or of another byte order")
    metadata: dict[str, tuple[int, Any]] = {}
    for _ in range(metadata_count):
        key = reader.text()
        (kind,) = reader.take("I")
        metadata[key] = kind, reader.value(kind)
    return metadata, tuple(reader.tensor() for _ in range(tensor_count)), reader.place


class _Reader:
    """A place in a file, which never moves beyond its end."""

    def __init__(self, path: Path, blob: mmap.mmap) -> None:
        self.path, self.blob, self.place, self.end = path, blob, 0, len(blob)

    def take(self, form: str) -> tuple[Any, ...]:
        packed = struct.Struct("<" + form)
        if self.place + packed.size > self.end:
            raise _broken(self.path, "it ends within its metadata")
        found = packed.unpack_from(self.blob, self.place)
        self.place += packed.size
        return found

    def skip(self, length: int) -> None:
        if self.place + length > self.end:
            raise _broken(self.path, "it ends within its metadata")
        self.place += length

    def text(self) -> str:
        (length,) = self.take("Q")
        start = self.place
        self.skip(length)
        return self.blob[start : self.place].decode("utf-8", "surrogateescape")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind in _NUMBERS:
            return self.take(_NUMBERS[kind])[0]
        if kind != _ARRAY:
            raise _broken(self.path, f"it holds a value of the unknown type {kind}")
        inner, length = self.take("IQ")
        if inner == _STRING:
            # Every text has eight bytes at least, which bounds a length that is made up.
            if length * 8 > self.end - self.place:
                raise _broken(self.path, "it ends within its metadata")
            for _ in range(length):
                self.skip(self.take("Q")[0])
            return GgufArray(inner, length, None)
        if inner not in _NUMBERS:
            raise _broken(self.path, f"it holds an array of the type {inner}, which nothing here reads")
        if length <= _LONGEST_KEPT:
            return GgufArray(inner, length, self.take(f"{length}{_NUMBERS[inner]}"))
        self.skip(length * struct.calcsize(_NUMBERS[inner]))
        return GgufArray(inner, length, None)

    def tensor(self) -> GgufTensor:
        name = self.text()
        (dimensions,) = self.take("I")
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise _broken(self.path, f"{printable(name, 80)} has {dimensions} dimensions")
        shape = self.take(f"{dimensions}Q")
        kind, offset = self.take("IQ")
        return GgufTensor(name, tuple(reversed(shape)), kind, offset)


def _broken(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"cannot load {path}: it is not a complete GGUF file: {reason}", "fetch the file again, and whole"
    )
