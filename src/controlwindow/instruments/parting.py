"""Hooks at the blocks' inputs that let rows part within one forward pass, and that read control coordinates there."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Cache

from controlwindow.instruments.hooks import Intervention
from controlwindow.instruments.routes import Route, stacked
from controlwindow.instruments.sharing import Ints, Lanes
from controlwindow.models import Model


class Parting:
    """Where the rows of a batch part, as hooks for as long as the context is open.

    The decoder runs on the lanes of the first stage. At the first block of every later stage the residuals are
    gathered for that stage's lanes, and rows that part there have their vector added; masks and positions follow. So
    Transformers' own forward runs blocks of different batch size one after the other.

    Args:
        model: The model.
        routes: The route of every row of the call.
        sites: Sites at which lanes may differ, ascending; the first is 0.

    Attributes:
        cosines: Control coordinates read in the last pass, as pairs of places in the batch and values, [rows] and
            [rows, positions].
    """

    def __init__(self, model: Model, routes: list[Route], sites: list[int]) -> None:
        self.model = model
        self.sites = sites
        self.cosines: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._blocks = len(model.blocks)
        self._everywhere = np.array([r.everywhere for r in routes], dtype=bool)
        self._own_from = np.array([r.own_from for r in routes], dtype=np.int64)
        self._measured = np.array([r.measured for r in routes], dtype=np.int64)
        self._vectors, self._vector_of = stacked(routes, "added", model)
        directions, self._direction_of = stacked(routes, "direction", model)
        self._directions = nn.functional.normalize(directions, dim=-1)
        self._intervention = Intervention(model, [r.hooked for r in routes])
        self._hooked = self._intervention.layers
        self._rows = len(routes)
        self._lanes_before = 0
        self._positions = 1
        self._entries: dict[int, torch.Tensor] = {}
        self._origins: dict[int, torch.Tensor] = {}
        self._added: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._read: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self._followed: dict[tuple[int, int], torch.Tensor] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Parting:
        try:
            reading = {site for site in self._measured.tolist() if site >= 0}
            for site, block in enumerate(self.model.blocks):
                if self._stage(site) or site in reading:
                    handle = block.register_forward_pre_hook(self._block_hook(site), with_kwargs=True)
                    self._stack.callback(handle.remove)
            if self._blocks in {*self.sites, *reading}:
                norm = self.model.hf_model.get_submodule(self.model.family.final_norm)
                handle = norm.register_forward_pre_hook(self._norm_hook())
                self._stack.callback(handle.remove)
            # Last, so that its hooks see a block's batch with the lanes of that block.
            self._stack.enter_context(self._intervention)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def follow(self, lanes: Lanes, rows: Ints, *, head: bool) -> None:
        """Take the lanes as they are from now on.

        Args:
            lanes: The lanes of the batch.
            rows: Numbers of its rows, [rows in the batch].
            head: Whether all but the last prompt token is read next, where operations on generated positions do not
                act yet.
        """
        device = self.model.device
        # With columns up to any number "before generated positions", or none.
        self._intervention.first_generated = 1 << 30 if head else None
        self._entries, self._origins, self._added, self._read = {}, {}, {}, {}
        self._lanes_before = lanes.counts[0]
        adding = self._vector_of[rows] >= 0
        if head:
            adding &= self._everywhere[rows]
        parts = np.where(adding, self._own_from[rows], -1)
        for stage, site in enumerate(lanes.sites):
            if stage:
                self._entries[site] = torch.as_tensor(lanes.entry(stage, stage - 1), device=device)
                self._origins[stage] = torch.as_tensor(lanes.entry(stage, 0), device=device)
            places = np.flatnonzero(parts == site)
            if len(places):
                vectors = self._vectors[torch.as_tensor(self._vector_of[rows[places]], device=device)]
                self._added[site] = (
                    torch.as_tensor(lanes.lane_of[stage][places], device=device),
                    vectors[:, None].to(self.model.dtype),
                )
        measured = self._measured[rows]
        for site in np.unique(measured[measured >= 0]).tolist():
            places = np.flatnonzero(measured == site)
            self._read[site] = (
                torch.as_tensor(places, device=device),
                torch.as_tensor(lanes.lane_of[self._stage(site)][places], device=device),
                self._directions[torch.as_tensor(self._direction_of[rows[places]], device=device)],
            )
        for layer in self._hooked:
            place = torch.full((self._rows,), -1, dtype=torch.long)
            place[torch.as_tensor(rows)] = torch.as_tensor(lanes.lane_of[self._stage(layer)])
            self._intervention.place(layer, place.to(device))

    def begin_pass(self, positions: int) -> None:
        """Forget what belonged to the pass before; coordinates of so many last positions are wanted in the next."""
        self._positions = positions
        self._followed.clear()
        self.cosines = []

    def _stage(self, site: int) -> int:
        return int(np.searchsorted(self.sites, site, side="right")) - 1

    def _block_hook(self, site: int) -> Any:
        stage = self._stage(site)

        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
            origin = self._origins.get(stage)
            values = dict(kwargs)
            rest = args[1:]
            if origin is not None:
                rest = tuple(self._along(value, origin, stage) for value in rest)
                values = {
                    name: value if name == "cache_position" else self._along(value, origin, stage)
                    for name, value in values.items()
                }
            if args:
                return (self._arrive(site, args[0]), *rest), values
            return (), {**values, "hidden_states": self._arrive(site, kwargs["hidden_states"])}

        return hook

    def _norm_hook(self) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (self._arrive(self._blocks, args[0]), *args[1:])

        return hook

    def _arrive(self, site: int, hidden: torch.Tensor) -> torch.Tensor:
        """Part rows at a site, and read coordinates there."""
        entry = self._entries.get(site)
        if entry is not None:
            hidden = hidden[entry]
        if site in self._added:
            lanes, vectors = self._added[site]
            hidden[lanes] += vectors
        if site in self._read:
            places, lanes, directions = self._read[site]
            residual = hidden[lanes, -self._positions :].float()
            self.cosines.append((places, nn.functional.cosine_similarity(residual, directions[:, None], dim=-1)))
        return hidden

    def _along(self, value: Any, origin: torch.Tensor, stage: int) -> Any:
        """What a block is given beside the residual (masks, positions), for the lanes of its stage."""
        if isinstance(value, tuple):
            return tuple(self._along(item, origin, stage) for item in value)
        if not isinstance(value, torch.Tensor) or isinstance(value, Cache) or value.ndim < 2:
            return value
        key = (id(value), stage)
        if key not in self._followed:
            self._followed[key] = self._gathered(value, origin)
        return self._followed[key]

    def _gathered(self, value: torch.Tensor, origin: torch.Tensor) -> torch.Tensor:
        before, size = self._lanes_before, value.shape[0]
        if size == before:
            return value[origin]
        if size == 1:
            return value
        # ALiBi biases have lanes and heads in one dimension, lanes outermost.
        return value.view(before, size // before, *value.shape[1:])[origin].flatten(0, 1)
