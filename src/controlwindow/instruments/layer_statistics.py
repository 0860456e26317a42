"""Statistics of every layer over text: while it is generated, or from teacher-forced passes without a readout.

Norms are medians over all generated positions. Cosines are medians over evenly spaced ones, so many that positions ×
d_model stays below 2²⁰: the spread of a cosine over positions falls as 1/√d, so that wide models need fewer for the
same error, and the cost of all neurons' cosines stays a small part of the pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from controlwindow.curves import CappedCurve, Floats, LayerCurves, SaturationCurve
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.sequences import Sequences
from controlwindow.models import Model

MOMENT_POSITIONS = 2048
"""Most positions that the participation ratio runs over."""

_SAMPLED_NUMBERS = 2**20
_COLUMNS = 8192
"""Neurons whose cosines at all sampled positions are held at once."""


@dataclass(frozen=True, eq=False)
class Cap:
    """What the curves under a norm after the FFN are made of (`curves.CappedCurve`).

    Attributes:
        gain: γ, [d_model].
        ffn_norm: Median ‖m‖, which the budget takes the place of ‖r_L‖.
        skip: x at sampled positions, of unit length, [sampled positions, d_model].
        ffn: m there, of unit length.
        skip_ffn_cosine: Median cos(x, γ⊙m).
        ffn_length: Median √d·‖γ⊙m‖/(‖m‖·‖x‖).
        inverse_skip_norm: Median 1/‖x‖.
        epsilon: d·ε/‖m‖² at the median ‖m‖.
    """

    gain: torch.Tensor
    ffn_norm: float
    skip: torch.Tensor
    ffn: torch.Tensor
    skip_ffn_cosine: float
    ffn_length: float
    inverse_skip_norm: float
    epsilon: float

    def curves(self, columns: torch.Tensor, raw: torch.Tensor) -> LayerCurves:
        """Curves of raw columns v, [d_model, neurons], of length `raw`, [neurons], on branch +1."""
        columns = columns.float()
        gained = torch.sqrt(self.gain.square() @ columns.square())
        by_gain = nn.functional.normalize(self.ffn * self.gain, dim=-1) * self.gain
        # γ goes to the sample's side of the products, so that no gained copy of the weights is made.
        shared = {name: getattr(self, name) for name in ("skip_ffn_cosine", "ffn_length", "epsilon")}
        limit = math.sqrt(len(self.gain)) * self.inverse_skip_norm * gained / _divisor(raw)
        return LayerCurves(
            CappedCurve.kind,
            {
                "skip_cosine": _numbers(_median_cosines(self.skip * self.gain, columns, gained)),
                "ffn_cosine": _numbers(_median_cosines(by_gain, columns, gained)),
                "raw_cosine": _numbers(_median_cosines(self.ffn, columns, raw)),
                "limit_length": _numbers(limit),
                **{name: np.full(columns.shape[1], value) for name, value in shared.items()},
            },
        )


@dataclass(frozen=True)
class Routing:
    """How a layer's experts are used on the text; the shared expert, where there is one, comes last.

    Attributes:
        shares: Share of positions routed to each expert, [experts]; 1 for the shared expert.
        weights: Median router weight over those positions, [experts]; NaN for an expert never routed. For the shared
            expert its gate, or 1.
    """

    shares: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """One layer over generic text.

    Attributes:
        residual_norm: Median ‖r_L‖.
        participation_ratio: PR of the uncentred second moment of r_L.
        units: Sampled residuals of unit length, [sampled positions, d_model]; None under a cap, which keeps its parts.
        cap: Under a norm after the FFN.
        routing: In a mixture of experts.
    """

    residual_norm: float
    participation_ratio: float
    units: torch.Tensor | None
    cap: Cap | None
    routing: Routing | None

    @property
    def budget_norm(self) -> float:
        """What a budget compares a write with: ‖r_L‖, or ‖m‖ under a cap."""
        return self.residual_norm if self.cap is None else self.cap.ffn_norm

    def curves(self, columns: torch.Tensor, lengths: torch.Tensor | None = None) -> LayerCurves:
        """Curves of columns v on branch +1; a column of zeros has c0 = 0.

        Args:
            columns: v, [d_model, neurons].
            lengths: ‖v‖, [neurons], where it is at hand.
        """
        lengths = columns.float().norm(dim=0) if lengths is None else lengths
        if self.cap is not None:
            return self.cap.curves(columns, lengths)
        assert self.units is not None
        cosines = _median_cosines(self.units, columns, lengths)
        return LayerCurves(SaturationCurve.kind, {"cosine": _numbers(cosines)})


def _median_cosines(sample: torch.Tensor, columns: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Median over positions of sample · column/length, [neurons], a block of neurons at a time."""
    found = []
    for start in range(0, columns.shape[1], _COLUMNS):
        block = slice(start, start + _COLUMNS)
        # Neurons as rows: a median along the contiguous axis needs no strided copy.
        products = columns[:, block].T.float() @ sample.T
        found.append(products.median(dim=1).values / _divisor(lengths[block]))
    return torch.cat(found).clamp(-1, 1)


def _divisor(lengths: torch.Tensor) -> torch.Tensor:
    return lengths.clamp(min=torch.finfo(torch.float32).tiny)


def _numbers(values: torch.Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy())


class _LayerReader:
    """Collects one layer's statistics, batch by batch, on the model's device."""

    def __init__(self, model: Model, layer: int, positions: int) -> None:
        self._post_norm = model.post_norm(layer)
        self._shape = model.neurons.shapes[layer]
        self._moment_stride = math.ceil(positions / MOMENT_POSITIONS)
        kept = math.ceil(positions / self._moment_stride)
        self._sample_stride = math.ceil(kept * model.d_model / _SAMPLED_NUMBERS)
        self._seen = 0
        self._norms: list[torch.Tensor] = []
        self._residuals: list[torch.Tensor] = []
        self._ffn_norms: list[torch.Tensor] = []
        self._ffn: list[torch.Tensor] = []
        self._gates: list[torch.Tensor] = []
        self._routed: list[tuple[torch.Tensor, torch.Tensor]] = []

    def _kept(self, values: torch.Tensor, stride: int) -> torch.Tensor:
        """Every stride-th position, counted through all batches."""
        return values[-self._seen % stride :: stride]

    def read_ffn(self, outputs: torch.Tensor) -> None:
        """FFN outputs m before the norm, [positions, d_model]; comes before the residuals of the same batch."""
        if self._post_norm is not None:
            self._ffn_norms.append(outputs.float().norm(dim=-1))
            self._ffn.append(self._kept(outputs, self._moment_stride * self._sample_stride).clone())

    def read_gates(self, gates: torch.Tensor) -> None:
        """Gate of the shared expert, [positions]."""
        self._gates.append(gates.float())

    def read_routing(self, indices: torch.Tensor, weights: torch.Tensor) -> None:
        """Experts and router weights, [positions, k] each."""
        self._routed.append((indices, weights.float()))

    def read_residuals(self, residuals: torch.Tensor) -> None:
        """Residuals r_L, [positions, d_model]; closes the batch."""
        self._norms.append(residuals.float().norm(dim=-1))
        self._residuals.append(self._kept(residuals, self._moment_stride).clone())
        self._seen += len(residuals)

    def result(self) -> LayerStatistics:
        """The statistics; what was collected for them is let go."""
        residuals = torch.cat(self._residuals).float()
        self._residuals.clear()
        sample = residuals[:: self._sample_stride]
        return LayerStatistics(
            residual_norm=float(torch.cat(self._norms).median()),
            participation_ratio=_participation_ratio(residuals),
            units=nn.functional.normalize(sample, dim=-1) if self._post_norm is None else None,
            cap=None if self._post_norm is None else self._cap(sample),
            routing=self._routing() if self._shape.experts else None,
        )

    def _cap(self, residuals: torch.Tensor) -> Cap:
        assert self._post_norm is not None
        gain, epsilon = self._post_norm.gain, self._post_norm.epsilon
        ffn = torch.cat(self._ffn).float()
        self._ffn.clear()
        # x is what the residual holds beside the norm's output.
        skip = residuals - self._post_norm.write(ffn)
        skip_norms = skip.norm(dim=-1)
        units, gained = nn.functional.normalize(ffn, dim=-1), nn.functional.normalize(gain * ffn, dim=-1)
        root = math.sqrt(len(gain))
        ffn_norm = float(torch.cat(self._ffn_norms).median())
        return Cap(
            gain=gain,
            ffn_norm=ffn_norm,
            skip=nn.functional.normalize(skip, dim=-1),
            ffn=units,
            skip_ffn_cosine=float((nn.functional.normalize(skip, dim=-1) * gained).sum(dim=-1).median()),
            ffn_length=float((root * (gain * units).norm(dim=-1) / skip_norms).median()),
            inverse_skip_norm=float((1 / skip_norms).median()),
            epsilon=len(gain) * epsilon / ffn_norm**2,
        )

    def _routing(self) -> Routing:
        indices = torch.cat([indices for indices, _ in self._routed])
        weights = torch.cat([weights for _, weights in self._routed])
        shares, medians = [], []
        for expert in range(self._shape.experts):
            chosen = weights[indices == expert]
            shares.append(len(chosen) / len(indices))
            medians.append(float(chosen.median()) if len(chosen) else math.nan)
        if self._shape.width:
            shares.append(1.0)
            medians.append(float(torch.cat(self._gates).median()) if self._gates else 1.0)
        return Routing(tuple(shares), tuple(medians))


def _participation_ratio(residuals: torch.Tensor) -> float:
    """PR of the uncentred second moment of [positions, d_model], from the products of positions with each other.

    tr E² = Σᵢⱼ (rᵢ·rⱼ)² up to the factor that cancels, so no [d_model, d_model] moment is held for every layer.
    """
    products = (residuals @ residuals.T).double()
    square = float(products.square().sum())
    return float(products.diagonal().sum()) ** 2 / square if square > 0 else 0.0


class LayerReading:
    """Statistics of every layer, collected from any passes of the model while `reading` is open.

    Args:
        model: The model.
        positions: Generated positions in all, or a bound on them; it sets how many are kept.
    """

    def __init__(self, model: Model, positions: int) -> None:
        self._model = model
        self._readers = [_LayerReader(model, layer, positions) for layer in range(model.layers)]

    @contextmanager
    def reading(
        self, at: Callable[[torch.Tensor], torch.Tensor], positions: slice = slice(None)
    ) -> Iterator[LayerReading]:
        """Read what passes the sites.

        Args:
            at: Selects the generated positions of a pass from [rows, positions, …] values: [generated positions, …].
            positions: Positions of interest, before `at` selects among them.
        """
        readers, model = self._readers, self._model
        capped = any(model.post_norm(layer) is not None for layer in range(model.layers))
        experts = any(shape.experts for shape in model.neurons.shapes)
        with capturing(
            model,
            residuals=lambda layer, r: readers[layer].read_residuals(at(r)),
            ffn_outputs=(lambda layer, m: readers[layer].read_ffn(at(m))) if capped else None,
            routing=(lambda layer, i, w: readers[layer].read_routing(at(i), at(w))) if experts else None,
            gates=(lambda layer, g: readers[layer].read_gates(at(g))) if experts else None,
            positions=positions,
        ):
            yield self

    def result(self) -> tuple[LayerStatistics, ...]:
        """The statistics; what was collected for them is let go."""
        return tuple(reader.result() for reader in self._readers)


def read_layers(model: Model, batches: Iterable[Sequences], positions: int) -> tuple[LayerStatistics, ...]:
    """Statistics of every layer over the generated positions of given text, by teacher-forced passes.

    Args:
        model: The model.
        batches: The text, packed.
        positions: Generated positions in all.
    """
    found = LayerReading(model, positions)
    for packed in batches:
        with measuring(model), found.reading(packed.emitted_from):
            # The decoder alone: the readout costs as much as several layers, and nothing here reads it.
            options = model.forward_options(packed.attention_mask, packed.position_ids)
            model.decoder(input_ids=packed.input_ids, **options)
    return found.result()
