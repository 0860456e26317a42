"""The generic pass: what the model's own ordinary text says of every layer, and so of every neuron.

Generic text is the model's undosed greedy answers to ordinary prompts. Statistics run over generated positions; norms
and cosines are medians (method section 1). From it every neuron has its budget and its curve without another pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from controlwindow import geometry
from controlwindow.curves import Curve, Floats, LayerCurves
from controlwindow.errors import ModelError, NeuronError
from controlwindow.instruments.layer_statistics import Cap, LayerReading, LayerStatistics, Routing
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import raw_write, write_matrix, write_norms
from controlwindow.models.kept import kept
from controlwindow.models.model import require_model

GENERIC_TOKENS = 48
"""Default length of a generic answer in tokens."""

BudgetKind = Literal["plain", "capped", "routed"]

_BATCH_ROWS = 64


@dataclass(frozen=True, eq=False)
class GenericPass:
    """What one pass over generic text knows.

    Attributes:
        prompts: The prompts.
        prompt_ids: Their token ids.
        token_ids: The undosed greedy answers.
        positions: Generated positions the statistics run over.
        layers: Statistics of every layer.
    """

    prompts: tuple[str, ...]
    prompt_ids: tuple[tuple[int, ...], ...]
    token_ids: tuple[tuple[int, ...], ...]
    positions: int
    layers: tuple[LayerStatistics, ...]

    @property
    def residual_norm(self) -> tuple[float, ...]:
        """Median ‖r_L‖ per layer."""
        return tuple(layer.residual_norm for layer in self.layers)

    @property
    def participation_ratio(self) -> tuple[float, ...]:
        """PR of the uncentred second moment of r_L per layer."""
        return tuple(layer.participation_ratio for layer in self.layers)

    def budget(self, model: Model, neuron: Neuron | str) -> float:
        """Coherence budget of a neuron, in units of its activation (method sections 1 and 2; docs/definitions.md).

        B = ‖r_L‖/‖v‖, or ‖m‖/‖v‖ under a norm after the FFN; in a routed or gated expert v counts w̄·‖v‖, with w̄ the
        median router weight over the generic positions routed there.

        Raises:
            NeuronError: The neuron lies outside the model, its write vanishes, or its expert was never routed to, so
                that no dose has a size.
        """
        neuron = model.require(neuron)
        norm = float(raw_write(model, neuron).float().norm())
        if norm == 0:
            raise NeuronError(f"{neuron} writes nothing (‖v‖ = 0), so it has no budget", "choose another neuron")
        weight = self.router_weight(model, neuron)
        if math.isnan(weight):
            raise NeuronError(
                f"no position of the generic text is routed to the expert of {neuron}, so it has no budget",
                "choose another neuron, or give generic prompts that reach it with --generic FILE",
            )
        return geometry.budget(self.layers[neuron.layer].budget_norm, weight * norm)

    def budget_kind(self, model: Model, neuron: Neuron | str) -> BudgetKind:
        """How the budget of a neuron is taken: plain, capped (norm after the FFN) or routed (router weight)."""
        neuron = model.require(neuron)
        if self.layers[neuron.layer].cap is not None:
            return "capped"
        # The shared expert is routed to by every token; only its gate, if any, makes it weigh other than 1.
        return "routed" if neuron.expert is not None or self.router_weight(model, neuron) != 1 else "plain"

    def budget_kinds(self, model: Model, layer: int) -> NDArray[np.str_]:
        """`budget_kind` of all neurons of a layer, [neurons]."""
        shape = model.neurons.shapes[layer]
        experts = [Neuron(layer, 0, expert) for expert in range(shape.experts)] + [Neuron(layer, 0)] * bool(shape.width)
        return np.repeat([self.budget_kind(model, neuron) for neuron in experts], _widths(model, layer))

    def budgets(self, model: Model, layer: int, lengths: torch.Tensor | None = None) -> Floats:
        """Budgets of all neurons of a layer, [neurons]; NaN for those that have none.

        Args:
            model: The model.
            layer: The layer.
            lengths: `write_norms` of the layer, where they are at hand.
        """
        norms = (write_norms(model, layer) if lengths is None else lengths).double().cpu().numpy()
        weights = np.repeat(*self._weights(model, layer))
        with np.errstate(divide="ignore"):
            found = self.layers[layer].budget_norm / (norms * weights)
        return np.where(np.isfinite(found), found, np.nan)

    def router_weight(self, model: Model, neuron: Neuron) -> float:
        """Median router weight w̄ of a neuron's expert where it is routed to; NaN when never, 1 in a dense layer."""
        routing = self.layers[neuron.layer].routing
        return 1.0 if routing is None else routing.weights[_expert(model, neuron)]

    def routed_share(self, model: Model, neuron: Neuron) -> float | None:
        """Share of generic positions routed to a neuron's expert; None in a dense layer."""
        routing = self.layers[neuron.layer].routing
        return None if routing is None else routing.shares[_expert(model, neuron)]

    def routed_shares(self, model: Model, layer: int) -> Floats | None:
        """`routed_share` of all neurons of a layer, [neurons]; None in a dense layer."""
        routing = self.layers[layer].routing
        return None if routing is None else np.repeat(np.array(routing.shares), _widths(model, layer))

    def _weights(self, model: Model, layer: int) -> tuple[Floats, list[int]]:
        routing = self.layers[layer].routing
        weights = (1.0,) if routing is None else routing.weights
        return np.array(weights), _widths(model, layer)

    def curve(self, model: Model, neuron: Neuron | str, branch: int) -> Curve:
        """The curve of one neuron on a branch.

        Raises:
            NeuronError: The neuron lies outside the model.
        """
        neuron = model.require(neuron)
        curves = self.layers[neuron.layer].curves(raw_write(model, neuron)[:, None])
        return (curves if branch > 0 else curves.opposite()).at(0)

    def curves(
        self,
        model: Model,
        layer: int,
        columns: Sequence[int] | None = None,
        lengths: torch.Tensor | None = None,
    ) -> LayerCurves:
        """The curves of a layer's neurons on branch +1.

        Args:
            model: The model.
            layer: The layer.
            columns: Which of its neurons, by column; None for all.
            lengths: `write_norms` of the layer, where they are at hand.
        """
        writes = write_matrix(model, layer)
        if columns is None:
            return self.layers[layer].curves(writes, lengths)
        chosen = list(columns)
        return self.layers[layer].curves(writes[:, chosen], None if lengths is None else lengths[chosen])

    def cosines(self, model: Model, layer: int) -> torch.Tensor:
        """c0 of every neuron of a layer on branch +1, [neurons]; 0 for a zero write without a cap."""
        return torch.from_numpy(self.curves(model, layer).cosines)

    def cosine(self, model: Model, neuron: Neuron | str, branch: int) -> float:
        """c0 of one neuron on a branch."""
        return self.curve(model, neuron, branch).cosine


def _expert(model: Model, neuron: Neuron) -> int:
    """Place of a neuron's expert in `Routing`: routed ones by number, then the shared one."""
    return model.neurons.shapes[neuron.layer].experts if neuron.expert is None else neuron.expert


def _widths(model: Model, layer: int) -> list[int]:
    """Neurons of each expert of a layer as `Routing` lists them; of a dense layer, its one width."""
    shape = model.neurons.shapes[layer]
    return [shape.expert_width] * shape.experts + [shape.width] * bool(shape.width)


def default_prompts(model: Model) -> tuple[str, ...]:
    """The ordinary prompts a model's generic text is made from unless the user gives some."""
    if model.generic_prompts:
        return model.generic_prompts
    return CHAT_PROMPTS if model.chat.template is not None else TEXT_PROMPTS


def generic_pass(
    model: Model, prompts: Sequence[str] | None = None, max_new_tokens: int = GENERIC_TOKENS
) -> GenericPass:
    """Run the generic pass, once per model and text; the result is kept with the model.

    Raises:
        ModelError: The model's answers are empty, so there is no text to measure on.
        UsageError: It is no model.
    """
    return kept_pass(require_model(model), prompts, max_new_tokens)


def kept_pass(model: Model, prompts: Sequence[str] | None = None, max_new_tokens: int = GENERIC_TOKENS) -> GenericPass:
    """`generic_pass` inside of a call that has checked what was kept: weights are not read for it again."""
    chosen = tuple(prompts) if prompts is not None else default_prompts(model)
    asked = ("generic pass", chosen, max_new_tokens, model.rendering_fingerprint(chosen))
    types = (GenericPass, LayerStatistics, Cap, Routing)
    found: GenericPass = kept(model, asked, lambda: _run(model, chosen, max_new_tokens), types)
    return found


def _run(model: Model, prompts: tuple[str, ...], max_new_tokens: int) -> GenericPass:
    prompt_ids = [tuple(ids) for ids in model.token_ids(prompts)]
    # Statistics come from the passes that generate the text, so that there is no second one over it.
    found = LayerReading(model, len(prompts) * max_new_tokens)
    lanes = torch.zeros(0, dtype=torch.long)

    def follow(live: torch.Tensor) -> None:
        nonlocal lanes
        lanes = live

    with found.reading(lambda values: values[lanes, -1], slice(-1, None)):
        answers = roll_out_rows(
            model,
            [Row(ids, ()) for ids in prompt_ids],
            max_new_tokens,
            batch_rows=_BATCH_ROWS,
            share=False,
            before_pass=follow,
        )
    token_ids = [row.token_ids for row in answers]
    positions = sum(map(len, token_ids))
    if positions < len(prompts) + 1:
        raise ModelError(
            f"{model.name} answers ordinary prompts with almost nothing ({positions} tokens to {len(prompts)} prompts)",
            "give prompts that fit the model with --generic FILE, one a line",
        )
    return GenericPass(
        prompts=prompts,
        prompt_ids=tuple(prompt_ids),
        token_ids=tuple(token_ids),
        positions=positions,
        layers=found.result(),
    )
