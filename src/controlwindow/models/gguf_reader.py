"""A GGUF file's fields and tensors, given to Transformers' loader in the place of the gguf package's reader."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from controlwindow.models.gguf_header import GgufArray, GgufHeader


@contextmanager
def reading(header: GgufHeader) -> Iterator[None]:
    """Let Transformers' loader read the file through the header that is known.

    The reader of the gguf package builds an array for every token of the vocabulary, several times over (a minute for
    50,000 tokens), and follows lengths beyond the end of the file.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as loader

    places: list[tuple[Any, str, Any]] = [
        (gguf, "GGUFReader", lambda *_given, **_options: _KnownReader(header)),
        # It is asked for again for every module.
        (gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
        # Its bar cannot be switched off.
        (loader, "tqdm", lambda tensors, **_options: tensors),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class _Field(NamedTuple):
    parts: list[Any]
    data: list[int]
    types: list[int]


class _Tensor(NamedTuple):
    name: str
    data: Any
    tensor_type: Any


class _KnownReader:
    """The fields and tensors of a file, as the loader asks the reader of the gguf package for them."""

    def __init__(self, header: GgufHeader) -> None:
        self._header = header
        self.fields = {
            key: field for key, (kind, value) in header.metadata.items() if (field := _field(kind, value)) is not None
        }
        vocabulary = f"{header.architecture}.vocab_size"
        if vocabulary not in self.fields:
            tokens = header.get("tokenizer.ggml.tokens").length
            self.fields[vocabulary] = _Field([np.array([tokens])], [0], [4])
            # For some architectures the loader counts the tokens themselves, whose texts do not matter here.
            self.fields["tokenizer.ggml.tokens"] = _Field([np.zeros(0, np.uint8)], [0] * tokens, [9, 8])

    @property
    def tensors(self) -> Iterator[_Tensor]:
        """The tensors with their data, mapped from the file."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        blob = np.memmap(self._header.path, mode="r", dtype=np.uint8)
        plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
        for tensor in self._header.tensors:
            kind = GGMLQuantizationType(tensor.kind)
            values, size = GGML_QUANT_SIZES[kind]
            start = self._header.data + tensor.offset
            row = tensor.shape[-1] * size // values
            packed = np.array(blob[start : start + tensor.elements * size // values])
            if sys.byteorder == "big" and kind in plain:
                packed = packed.view(np.dtype(plain[kind]).newbyteorder("<")).astype(plain[kind]).view(np.uint8)
            data = packed.view(plain[kind]) if kind in plain else packed
            shape = tensor.shape if kind in plain else (*tensor.shape[:-1], row)
            yield _Tensor(tensor.name, data.reshape(shape), kind)


def _field(kind: int, value: Any) -> _Field | None:
    if isinstance(value, GgufArray):
        if value.values is None:
            return None
        return _Field([np.array([v]) for v in value.values], list(range(value.length)), [kind, value.kind])
    if isinstance(value, str):
        return _Field([np.frombuffer(value.encode("utf-8", "surrogateescape"), np.uint8)], [0], [kind])
    return _Field([np.array([value])], [0], [kind])
