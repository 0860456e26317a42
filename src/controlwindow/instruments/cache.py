"""Keys and values of decoded rows: one buffer a block, written in place, whose lanes can be copied and moved.

Transformers' own cache concatenates, which allocates and copies every key and value at every step; on a CPU most of a
decode step goes into that. Here a buffer holds `lanes` × `columns` from the beginning. A lane is one line of a block's
batch; rows that agree share it (`sharing`), so each block may have its own number of lanes.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer


class LaneLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values, [lanes, heads, columns, head dimension] each, right-aligned in the columns in use.

    To Transformers it is a layer that never forgets: a sliding window is left to the attention mask, which works on
    columns, and columns are consecutive positions of every lane.

    Args:
        lanes: Most lanes.
        columns: Most columns.
    """

    is_sliding = False

    def __init__(self, lanes: int, columns: int) -> None:
        super().__init__()
        self.lanes = lanes
        self.columns = columns
        self.length = 0
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self.is_initialized = True

    def _buffer(self, like: torch.Tensor) -> torch.Tensor:
        return like.new_empty((self.lanes, like.shape[1], self.columns, like.shape[3]))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the columns of this pass; returns everything so far of the lanes in the pass."""
        if self.keys is None or self.values is None:
            self.keys, self.values = self._buffer(key_states), self._buffer(value_states)
        count, end = key_states.shape[0], self.length + key_states.shape[2]
        self.keys[:count, :, self.length : end] = key_states
        self.values[:count, :, self.length : end] = value_states
        self.length = end
        return self.keys[:count, :, :end], self.values[:count, :, :end]

    def get_seq_length(self, *_args: Any) -> int:
        """Columns in use."""
        return self.length

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:
        """Columns after a pass over `query` (a number of positions, or the positions), and the first column."""
        count = query if isinstance(query, int) else int(query.shape[0])
        return self.length + count, 0

    @classmethod
    def continuing(cls, other: LaneLayer, lanes: torch.Tensor, columns: int) -> LaneLayer:
        """A buffer of its own that goes on from lanes of another one, one lane for each entry of `lanes`."""
        layer = cls(len(lanes), columns)
        layer.length = other.length
        layer.take_lanes(other, lanes, 0)
        return layer

    def copy_lanes(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Make lanes `target` copies of lanes `source`; the two must not overlap."""
        for buffer in self._buffers():
            buffer[target, :, : self.length] = buffer[source, :, : self.length]

    def take_lanes(self, other: LaneLayer, source: torch.Tensor, start: int) -> None:
        """Append lanes `source` of another buffer from lane `start` on, right-aligned to the columns in use here."""
        if other.keys is None or other.values is None:
            return
        if self.keys is None or self.values is None:
            self.keys, self.values = self._buffer(other.keys), self._buffer(other.values)
        lanes = slice(start, start + len(source))
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            # Columns before a shorter lane are masked, but 0 · nan would still be nan.
            mine[lanes, :, : self.length - other.length] = 0
            mine[lanes, :, self.length - other.length : self.length] = theirs[source, :, : other.length]

    def pick_columns(self, columns: torch.Tensor) -> None:
        """Keep only some columns of each lane, [lanes, kept], in that order; they become all there is."""
        count, kept = columns.shape
        for buffer in self._buffers():
            index = columns[:, None, :, None].expand(count, buffer.shape[1], kept, buffer.shape[3])
            buffer[:count, :, :kept] = buffer[:count].gather(2, index)
        self.length = kept

    def shift(self, columns: int) -> None:
        """Move everything to the right by some columns (to the left where negative) and follow with the length."""
        length = self.length + columns
        for buffer in self._buffers():
            if columns < 0:
                buffer[:, :, :length] = buffer[:, :, -columns : self.length].clone()
            else:
                buffer[:, :, columns:length] = buffer[:, :, : self.length].clone()
                buffer[:, :, :columns] = 0
        self.length = length

    def _buffers(self) -> tuple[torch.Tensor, ...]:
        return () if self.keys is None or self.values is None else (self.keys, self.values)


def lane_cache(layers: int, lanes: int, columns: int) -> Cache:
    """A cache for Transformers of one `LaneLayer` a block."""
    return Cache(layers=[LaneLayer(lanes, columns) for _ in range(layers)])
