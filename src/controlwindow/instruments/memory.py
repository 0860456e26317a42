"""Work that does not fit into memory is done again in smaller batches."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from controlwindow.errors import DeviceMemoryError

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

_CPU_MESSAGES = ("can't allocate memory", "not enough memory", "cannot allocate memory")
"""What PyTorch's CPU allocator says; it raises a plain RuntimeError."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _CPU_MESSAGES)


@dataclass
class BatchSizes:
    """How many rows of each kind of work fit into memory, as far as this process found out.

    Attributes:
        limits: Most rows in a batch by kind of work; a kind that never ran out of memory is absent.
        reduced: Told the kind of work and its new limit whenever one is lowered, since batches of another size may
            round otherwise.
    """

    limits: dict[str, int] = field(default_factory=dict)
    reduced: Callable[[str, int], None] | None = None

    def fit(self, kind: str, rows: int, work: Callable[[int], Result]) -> Result:
        """Do work in batches of as many rows as fit.

        Args:
            kind: Name of the kind of work; its limit outlasts the call.
            rows: Rows that would be wanted in a batch.
            work: Does the whole work in batches of the number of rows it is given. It is called again from its
                beginning with half as many whenever memory runs out.

        Raises:
            DeviceMemoryError: Not even one row fits.
        """
        while True:
            size = max(1, min(rows, self.limits.get(kind, rows)))
            try:
                return work(size)
            # PyTorch raises RuntimeError for many things; all but one go on their way.
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if size == 1:
                    raise DeviceMemoryError(
                        f"out of memory with a single row of {kind}: {str(error).splitlines()[0]}",
                        "free memory, load the model with --dtype bfloat16, or use a device with more memory",
                    ) from error
            # Outside of the handler, where the error no longer keeps the batch's tensors alive.
            self.limits[kind] = size // 2
            _free()
            _log.warning("out of memory with %d rows of %s: going on with %d", size, kind, size // 2)
            if self.reduced is not None:
                self.reduced(kind, size // 2)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
