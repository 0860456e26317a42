"""PP's perturbation probing: what each neuron's change under a minimally perturbed prompt adds to F directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from controlwindow.instruments.capture import capturing
from controlwindow.instruments.gradients import write_weights
from controlwindow.instruments.hooks import measuring, residual_of
from controlwindow.instruments.objectives import Objective, TokenIds
from controlwindow.instruments.sequences import Sequences, pack
from controlwindow.models import Model
from controlwindow.models.directions import write_matrix

Floats = NDArray[np.float64]


class PairEffect(NamedTuple):
    """What perturbing one prompt did.

    Attributes:
        linear: The linear F of the prompt, in logits.
        linear_perturbed: The same of the perturbed prompt.
        log_odds: Log-odds of target against control of the prompt, in nats.
        log_odds_perturbed: The same of the perturbed prompt.
        explained: Σ I over all neurons, which PP compares with the measured ΔF.
    """

    linear: float
    linear_perturbed: float
    log_odds: float
    log_odds_perturbed: float
    explained: float

    @property
    def flips(self) -> bool:
        """Whether the perturbation changes which side is the more probable."""
        return (self.log_odds > 0) != (self.log_odds_perturbed > 0)


class Importance(NamedTuple):
    """PP's I over pairs, all layers in a row.

    Attributes:
        mean: Mean I, [neurons].
        mean_square: Mean I², [neurons].
        pairs: Per pair what happened.
        sequences: Sequences passed forward.
        tokens: Token positions in them, without padding.
    """

    mean: Floats
    mean_square: Floats
    pairs: list[PairEffect]
    sequences: int
    tokens: int


def perturbation_importance(
    model: Model,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    objectives: Sequence[Objective],
    *,
    batch_rows: int = 32,
    each: Callable[[int, Floats], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Importance:
    """I = (d_F·v)·(a(X~) − a(X)) of every neuron over pairs of prompts (PP, arXiv 2604.27401).

    Activations are those at the positions that emit the objective's texts: the last prompt position where first tokens
    decide. In a mixture of experts an activation counts with its router weight, since that is what it writes; under a
    norm after the FFN v is the local direction at X.

    Args:
        model: The model.
        pairs: Prompt and perturbed prompt as token ids.
        objectives: One for each pair.
        batch_rows: Most rows of a pass; both sides of a pair stay together.
        each: Called with each pair's number and its I, [neurons].
        progress: Called with pairs done and pairs in all.
    """
    neurons = len(model.neurons)
    total, square = np.zeros(neurons), np.zeros(neurons)
    effects: list[PairEffect] = []
    sequences = tokens = 0
    start = 0
    while start < len(pairs):
        end, rows = start + 1, 2 * len(objectives[start].rows)
        while end < len(pairs) and rows + 2 * len(objectives[end].rows) <= batch_rows:
            rows += 2 * len(objectives[end].rows)
            end += 1
        batch = _Batch(model, pairs[start:end], objectives[start:end])
        for importance, effect in batch.run():
            total += importance
            square += importance**2
            if each is not None:
                each(len(effects), importance)
            effects.append(effect)
        sequences += rows
        tokens += int(batch.packed.attention_mask.sum())
        start = end
        if progress is not None:
            progress(start, len(pairs))
    return Importance(total / len(pairs), square / len(pairs), effects, sequences, tokens)


class _Batch:
    """Some pairs in one pass: the rows of every prompt, then those of every perturbed prompt."""

    def __init__(
        self,
        model: Model,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        objectives: Sequence[Objective],
    ) -> None:
        self.model, self.objectives = model, objectives
        sides: list[list[tuple[Sequence[int], TokenIds]]] = [[], []]
        self.spans: list[slice] = []
        for pair, objective in zip(pairs, objectives, strict=True):
            start = len(sides[0])
            for side, prompt in zip(sides, pair, strict=True):
                side += [(prompt, text) for text in objective.rows]
            self.spans.append(slice(start, len(sides[0])))
        self.half = len(sides[0])
        rows = [*sides[0], *sides[1]]
        self.packed: Sequences = pack(model, [prompt for prompt, _ in rows], [text for _, text in rows])
        self.importance = [[np.zeros(0)] * model.layers for _ in pairs]
        width = self.packed.horizon
        self.directions = torch.cat([objective.directions(model, width) for objective in objectives])
        self._outputs: dict[int, torch.Tensor] = {}
        self._routes: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._gates: dict[int, torch.Tensor] = {}
        self._activations: dict[int, torch.Tensor] = {}

    def run(self) -> list[tuple[Floats, PairEffect]]:
        model, first = self.model, self.packed.first_generated
        span = slice(first, first + self.packed.horizon)
        outputs = self._outputs.__setitem__ if any(ffn.post_norm is not None for ffn in model.ffn) else None
        with (
            measuring(model),
            capturing(
                model,
                activations=lambda layer, a: self._activations.__setitem__(layer, a.clone()),
                ffn_outputs=outputs,
                routing=lambda layer, r, w: self._routes.__setitem__(layer, (r, w)),
                gates=self._gates.__setitem__,
                positions=span,
            ),
        ):
            logits = self.packed.logits(model)
            for layer in range(model.layers):
                self._read(layer)
        found = []
        for place, (span_of_pair, objective) in enumerate(zip(self.spans, self.objectives, strict=True)):
            here = logits[span_of_pair]
            there = logits[self.half + span_of_pair.start : self.half + span_of_pair.stop]
            importance = np.concatenate(self.importance[place])
            effect = PairEffect(
                float(objective.linear(here)),
                float(objective.linear(there)),
                float(objective.log_odds(here)),
                float(objective.log_odds(there)),
                float(importance.sum()),
            )
            found.append((importance, effect))
        return found

    def _read(self, layer: int) -> None:
        model = self.model
        activations = self._activations.pop(layer).float()
        routing = self._routes.pop(layer, None)
        gates = self._gates.pop(layer, None)
        if routing is not None or gates is not None:
            activations = activations * write_weights(model, layer, routing, gates, activations)
        directions = self.directions
        norm = model.post_norm(layer)
        if norm is not None:
            # d·J(m)·v for every v at once: the norm's derivative is taken of the reading side, where it is one vector.
            # The derivative γ⊙s·(v − m·mean(m⊙v)·s²) is symmetric but for the gain.
            output = self._outputs.pop(layer)[: self.half].float()
            scale = torch.rsqrt(output.square().mean(-1, keepdim=True) + norm.epsilon)
            gained = norm.gain * directions
            along = (output * gained).mean(-1, keepdim=True)
            directions = scale * (gained - output * along * scale.square())
        moves = activations[self.half :] - activations[: self.half]
        values = ((directions @ write_matrix(model, layer).float()) * moves).double().sum(1)
        for place, span in enumerate(self.spans):
            self.importance[place][layer] = values[span].sum(0).cpu().numpy()


class FfnAndSkip(NamedTuple):
    """What the last block's FFN and its input each read as along d_F, prompt by prompt.

    Attributes:
        ffn: |d_F·FFN|, [prompts].
        skip: |d_F·h|, [prompts].
    """

    ffn: Floats
    skip: Floats

    @property
    def ratio(self) -> float:
        """Ratio of means over prompts."""
        return float(self.ffn.mean() / self.skip.mean())


def ffn_to_skip(
    model: Model, prompts: Sequence[Sequence[int]], direction: torch.Tensor, *, batch_rows: int = 64
) -> float:
    """PP's ratio |d_F·FFN|/|d_F·h| in the last block at the last prompt position, raw, as a ratio of means.

    FFN is what the block's FFN adds to the residual stream and h is the block's input; no final norm is applied.

    Args:
        model: The model.
        prompts: Prompts of both sides as token ids.
        direction: d_F, [d_model].
        batch_rows: Rows per pass.
    """
    return ffn_and_skip(model, prompts, direction, batch_rows=batch_rows).ratio


def ffn_and_skip(
    model: Model, prompts: Sequence[Sequence[int]], directions: torch.Tensor, *, batch_rows: int = 64
) -> FfnAndSkip:
    """The two sides of `ffn_to_skip`, prompt by prompt, so that prompts can be resampled.

    Args:
        model: The model.
        prompts: Prompts as token ids.
        directions: d_F of all prompts, [d_model], or of each, [prompts, d_model].
        batch_rows: Rows per pass.
    """
    layer = model.layers - 1
    norm = model.post_norm(layer)
    added: list[torch.Tensor] = []
    entered: list[torch.Tensor] = []

    def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        entered.append(residual_of(hidden)[:, -1].float().clone())

    def read(_layer: int, output: torch.Tensor) -> None:
        output = output[:, 0].float()
        added.append(output * model.residual_multiplier if norm is None else norm.write(output))

    for start in range(0, len(prompts), batch_rows):
        batch = model.pad(list(prompts[start : start + batch_rows]))
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        handle = model.blocks[layer].register_forward_pre_hook(enter, with_kwargs=True)
        try:
            with measuring(model), capturing(model, ffn_outputs=read, layers=[layer], positions=slice(-1, None)):
                model.decoder(input_ids=batch["input_ids"], **model.forward_options(batch["attention_mask"], positions))
        finally:
            handle.remove()
    along = directions.float().expand(len(prompts), -1)
    ffn, skip = ((torch.cat(parts) * along).sum(-1).abs().double().cpu().numpy() for parts in (added, entered))
    return FfnAndSkip(ffn, skip)
