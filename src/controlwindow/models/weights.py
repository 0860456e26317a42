"""What is kept of a model, tied to the weights it was computed from: a model in hand can be edited at any time."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

WeightsState = tuple[tuple[int, int], ...]


class WeightBound(dict[Any, Any]):
    """A dictionary of derived values that is empty again once a weight has changed.

    A change is seen by a parameter's storage and by the version that PyTorch counts up with every operation in place;
    this costs tens of microseconds. What is written past that counter (through `.data`, or from numpy) is seen by
    `verify` alone, which reads weights.

    Args:
        hf_model: The model.
        known: What is already known of it.
    """

    def __init__(self, hf_model: nn.Module, known: dict[Any, Any]) -> None:
        super().__init__(known)
        self._tables = [module._parameters for module in hf_model.modules() if module._parameters]
        self._state = self._now()
        self._sums: tuple[int, ...] | None = None

    def __contains__(self, key: object) -> bool:
        self._renew()
        return super().__contains__(key)

    def __getitem__(self, key: Any) -> Any:
        self._renew()
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._renew()
        super().__setitem__(key, value)

    def verify(self, tensors: list[torch.Tensor]) -> None:
        """Forget everything if the bits of some weights are not what they were when this was last called.

        Args:
            tensors: The weights, the same ones at each call.
        """
        self._renew()
        found = tuple(bit_sum(tensor) for tensor in tensors)
        if self._sums is not None and found != self._sums:
            self.clear()
        self._sums = found

    def _renew(self) -> None:
        now = self._now()
        if now != self._state:
            self.clear()
            self._state, self._sums = now, None

    def _now(self) -> WeightsState:
        return tuple(
            (parameter.data_ptr(), parameter._version)
            for table in self._tables
            for parameter in table.values()
            if parameter is not None
        )


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bit_sum(tensor: torch.Tensor) -> int:
    """The sum of a tensor's values read as integers: it moves with every single value, and not with the order."""
    return int(tensor.detach().contiguous().view(_INTEGERS[tensor.element_size()]).sum(dtype=torch.int64))
