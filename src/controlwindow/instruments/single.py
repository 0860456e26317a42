"""One dosed position for many rows: the prompt before it is read once, and its keys and values are shared by all.

What a dose at one position does to the next token costs one position in the blocks above the dosed one, and nothing
else: no lane has keys and values of its own beyond that position. So all neurons of a model can be dosed for what a few
whole answers under every one of them would cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from controlwindow.errors import OperationError
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.operations import RowOperations, check_operations
from controlwindow.instruments.parting import Parting
from controlwindow.instruments.routes import Route, route
from controlwindow.instruments.sharing import NEVER, Lanes
from controlwindow.models import Model

Floats = NDArray[np.float64]


class SharedLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values of a prompt, which every lane of a later pass of one position sees as its own.

    Nothing of a later pass is kept, so one prompt serves any number of them.
    """

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self.is_initialized = True
        self.closed = False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the prompt's; afterwards only put them before those of the pass."""
        if not self.closed:
            self.keys, self.values = key_states, value_states
        if not self.closed or self.keys is None or self.values is None:
            return key_states, value_states
        before = (kept.expand(len(key_states), -1, -1, -1) for kept in (self.keys, self.values))
        keys, values = (torch.cat(pair, 2) for pair in zip(before, (key_states, value_states), strict=True))
        return keys, values

    def get_seq_length(self, *_args: Any) -> int:
        """Columns of the prompt."""
        return 0 if self.keys is None else int(self.keys.shape[2])

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:
        """Columns after a pass over `query` (a number of positions, or the positions), and the first column."""
        count = query if isinstance(query, int) else int(query.shape[0])
        return self.get_seq_length() + count, 0


def dosed_position(
    model: Model,
    prompt_ids: Sequence[int],
    rows: Sequence[RowOperations],
    read: Callable[[torch.Tensor], torch.Tensor],
    *,
    batch_rows: int = 512,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, float]:
    """Read what the last position of a prompt says of the next token, under each row's operations there alone.

    Args:
        model: The model.
        prompt_ids: What stands before the next token.
        rows: Operations on generated positions; rows of one layer belong together.
        read: Takes final-normed hidden states, [rows, d_model], as `Model.readout` does, and gives a line of values for
            each.
        batch_rows: Most rows a pass.
        progress: Called with rows done and rows in all.

    Returns:
        What was read, [rows, …], float64; and the positions that passed, as whole forward passes of a token.

    Raises:
        NeuronError: A neuron lies outside the model.
        OperationError: An operation acts on the whole prompt.
    """
    check_operations(model, rows)
    if any(operation.positions != "generated" for row in rows for operation in row):
        raise OperationError("an operation acts on the whole prompt", 'give it positions="generated"')
    found: list[torch.Tensor] = []
    layers = [SharedLayer() for _ in range(model.layers)]
    cache = Cache(layers=layers)
    ids = torch.tensor([list(prompt_ids)], device=model.device)
    mask = torch.ones_like(ids)
    places = torch.arange(ids.shape[1], device=model.device)[None]
    passed = float(ids.shape[1] - 1)
    with measuring(model):
        if ids.shape[1] > 1:
            model.decoder(input_ids=ids[:, :-1], **model.forward_options(mask[:, :-1], places[:, :-1], cache))
        for layer in layers:
            layer.closed = True
        options = model.forward_options(mask, places[:, -1:], cache)
        for start in range(0, len(rows), batch_rows):
            routes = [
                route(model, operations, share=True)._replace(measured=-1, direction=None)
                for operations in rows[start : start + batch_rows]
            ]
            hidden, lanes = _pass(model, ids[:, -1:], options, routes)
            # Rows without operations may share a lane, so lanes are read and handed out.
            found.append(read(hidden[:, -1])[torch.as_tensor(lanes.lane_of[-1], device=hidden.device)].double().cpu())
            passed += _positions(lanes, model.layers)
            if progress is not None:
                progress(min(start + batch_rows, len(rows)), len(rows))
    return torch.cat(found).numpy(), passed


def _pass(model: Model, last: torch.Tensor, options: dict[str, Any], routes: list[Route]) -> tuple[torch.Tensor, Lanes]:
    own_from = np.array([r.own_from for r in routes], dtype=np.int64)
    sites = sorted({0, *own_from.tolist()} - {NEVER})
    lanes = Lanes(sites, np.zeros(len(routes), dtype=np.int64), own_from)
    with Parting(model, routes, sites) as parting:
        parting.follow(lanes, np.arange(len(routes), dtype=np.int64), head=False)
        parting.begin_pass(1)
        # The lanes of the first stage; most often one, since nothing has parted yet.
        hidden = model.decoder(input_ids=last.expand(lanes.counts[0], 1), **_for_lanes(options, lanes.counts[0]))[0]
    return hidden, lanes


def _for_lanes(options: dict[str, Any], lanes: int) -> dict[str, Any]:
    return {
        name: value.expand(lanes, *value.shape[1:]) if isinstance(value, torch.Tensor) else value
        for name, value in options.items()
    }


def _positions(lanes: Lanes, layers: int) -> float:
    ends = [*lanes.sites[1:], layers]
    return sum(
        count * (min(end, layers) - min(begin, layers)) / layers
        for count, begin, end in zip(lanes.counts, lanes.sites, ends, strict=True)
    )
