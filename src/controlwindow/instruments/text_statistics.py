"""What generic text says of a model beside its layers' norms: how sharp it is, and how its residuals vary.

One teacher-forced pass over the generic answers. Per layer it keeps the mean residual and a sample of residuals, from
which every neuron reads how far its write direction lies along what all positions share, and along what tells them
apart; of the readout it keeps how the next-token logits spread over the vocabulary along any direction. All ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from controlwindow.instruments.capture import capturing
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model
from controlwindow.models.feedforward import effective_gain
from controlwindow.models.kept import kept

_SAMPLED_NUMBERS = 2**20
"""Residuals kept of a layer, in numbers: the same bound that the curves' cosines have."""

_LOGITS = 1 << 25
"""Most logits held at once (128 MiB in float32)."""

_BATCH_ROWS = 32


@dataclass(frozen=True, eq=False)
class LayerVariation:
    """How the residuals of one layer vary over generic text.

    Attributes:
        mean: Mean residual, [d_model], float32.
        common_share: ‖mean r‖²/E‖r‖², the share of the residual that all positions have in common.
        deviations: r − mean r at sampled positions, [sampled positions, d_model], float32.
    """

    mean: torch.Tensor
    common_share: float
    deviations: torch.Tensor

    def mean_cosines(self, directions: torch.Tensor) -> torch.Tensor:
        """cos(mean r, v) of columns v, [d_model, neurons] to [neurons]."""
        return nn.functional.cosine_similarity(directions.float(), self.mean[:, None], dim=0)

    def variance_shares(self, directions: torch.Tensor) -> torch.Tensor:
        """Variance of r along columns v over that along an average direction, [d_model, neurons] to [neurons].

        1 means that the text varies along v as it does along any direction, 0 that v is a direction it never uses.
        """
        units = nn.functional.normalize(directions.float(), dim=0)
        along = (self.deviations @ units).square().mean(0)
        total = self.deviations.square().sum(-1).mean()
        return along * len(units) / total.clamp(min=torch.finfo(torch.float32).tiny)


@dataclass(frozen=True, eq=False)
class TextStatistics:
    """Statistics of generic text.

    Attributes:
        entropy: Mean entropy of the next-token distribution, nats.
        margin: Mean gap between the two largest logits.
        layers: Variation of every layer's residuals.
        readout: Covariance over the vocabulary of the logits that a unit of each coordinate adds at a final residual
            of unit root mean square, [d_model, d_model].
        centred: Whether the final norm drops the mean of what it reads.
    """

    entropy: float
    margin: float
    layers: tuple[LayerVariation, ...]
    readout: torch.Tensor
    centred: bool

    def readout_spreads(self, directions: torch.Tensor) -> torch.Tensor:
        """Standard deviation over the vocabulary of the logits at c = 1, [d_model, neurons] to [neurons].

        Were the final residual v alone, the final norm would bring it to length √d; these are the logits it would
        give. At a coordinate c the direct effect of the write is c times that.
        """
        units = nn.functional.normalize(directions.float(), dim=0)
        if self.centred:
            units = units - units.mean(0)
        variance = (units * (self.readout @ units)).sum(0) * len(units)
        return variance.clamp(min=0).sqrt()


def text_statistics(model: Model, generic: GenericPass) -> TextStatistics:
    """Read the statistics of generic text, once per model and text; the result is kept with the model.

    Args:
        model: The model.
        generic: Its generic pass, whose answers are the text.
    """
    key = ("text statistics", generic.prompt_ids, generic.token_ids)
    found: TextStatistics = kept(model, key, lambda: _read(model, generic), (TextStatistics, LayerVariation))
    return found


def _read(model: Model, generic: GenericPass) -> TextStatistics:
    answered = [(p, t) for p, t in zip(generic.prompt_ids, generic.token_ids, strict=True) if t]
    collected = [_Residuals(generic.positions, model.d_model) for _ in range(model.layers)]
    entropies: list[torch.Tensor] = []
    margins: list[torch.Tensor] = []
    for start in range(0, len(answered), _BATCH_ROWS):
        chosen = answered[start : start + _BATCH_ROWS]
        packed = pack(model, [p for p, _ in chosen], [t for _, t in chosen])
        options = model.forward_options(packed.attention_mask, packed.position_ids)

        def read(layer: int, values: torch.Tensor, cut: object = packed.emitted_from) -> None:
            assert callable(cut)
            collected[layer].add(cut(values).float())

        with measuring(model), capturing(model, residuals=read):
            hidden = packed.emitted_from(model.decoder(input_ids=packed.input_ids, **options)[0])
        with measuring(model):
            vocabulary = model.hf_model.get_output_embeddings().weight.shape[0]
            for part in torch.split(hidden, max(1, _LOGITS // vocabulary)):
                logits = model.readout(part).float()
                scores = logits.log_softmax(-1)
                entropies.append(-(scores.exp() * scores).sum(-1))
                best = logits.topk(2, dim=-1).values
                margins.append(best[:, 0] - best[:, 1])
    return TextStatistics(
        entropy=float(torch.cat(entropies).mean()),
        margin=float(torch.cat(margins).mean()),
        layers=tuple(residuals.result() for residuals in collected),
        readout=_readout_covariance(model),
        centred=model.family.centred,
    )


class _Residuals:
    """Sums over all positions of a layer, and evenly spaced residuals."""

    def __init__(self, positions: int, width: int) -> None:
        self._stride = math.ceil(positions * width / _SAMPLED_NUMBERS)
        self._seen = 0
        self._sum: torch.Tensor | None = None
        self._square = 0.0
        self._kept: list[torch.Tensor] = []

    def add(self, residuals: torch.Tensor) -> None:
        """Take residuals, [positions, d_model]."""
        total = residuals.double().sum(0)
        self._sum = total if self._sum is None else self._sum + total
        self._square += float(residuals.double().square().sum())
        self._kept.append(residuals[-self._seen % self._stride :: self._stride].clone())
        self._seen += len(residuals)

    def result(self) -> LayerVariation:
        """The variation; what was collected is let go."""
        assert self._sum is not None
        mean = self._sum / self._seen
        share = float(mean.square().sum()) / (self._square / self._seen) if self._square > 0 else 0.0
        deviations = torch.cat(self._kept) - mean.float()
        self._kept.clear()
        return LayerVariation(mean.float(), share, deviations)


def _readout_covariance(model: Model) -> torch.Tensor:
    """Cov over the vocabulary of the rows W_U·diag(γ), γ the final norm's gain, a constant logit scale included."""
    weight = model.hf_model.get_output_embeddings().weight.detach()
    total = torch.zeros((model.d_model, model.d_model), dtype=torch.float32, device=weight.device)
    summed = torch.zeros(model.d_model, dtype=torch.float32, device=weight.device)
    # A vocabulary of 256,000 in float32 would be a second copy of the largest matrix of the model.
    for rows in torch.split(weight, 16_384):
        rows = rows.float()
        total += rows.T @ rows
        summed += rows.sum(0)
    mean = summed / len(weight)
    covariance = total / len(weight) - torch.outer(mean, mean)
    norm = model.hf_model.get_submodule(model.family.final_norm)
    if getattr(norm, "weight", None) is not None:
        gain = effective_gain(norm, model.family).float()
        covariance = gain[:, None] * covariance * gain
    family, config = model.family, model.config
    if family.logit_multiplier is not None:
        covariance = covariance * getattr(config, family.logit_multiplier) ** 2
    if family.logit_divisor is not None:
        covariance = covariance / getattr(config, family.logit_divisor) ** 2
    return covariance
