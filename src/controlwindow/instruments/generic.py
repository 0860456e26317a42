"""The generic pass: residual norms, participation ratios and undosed cosines on the model's own ordinary text.

Generic text is the model's undosed greedy answers to ordinary prompts. Statistics run over generated positions; norms
and cosines are medians (method section 1). From it every neuron has its budget and its c0 without another pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from controlwindow import geometry
from controlwindow.errors import ModelError, NeuronError
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.hooks import measuring
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.instruments.rollout import Row, roll_out_rows
from controlwindow.instruments.sequences import Sequences, pack
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import write_matrix, write_norms
from controlwindow.organisms.catalogue import load_card

GENERIC_TOKENS = 48
"""Default length of a generic answer in tokens."""

_SAMPLED_POSITIONS = 1024


@dataclass(frozen=True, eq=False)
class GenericPass:
    """What one pass over generic text knows.

    Attributes:
        prompts: The prompts.
        prompt_ids: Their token ids.
        token_ids: The undosed greedy answers.
        positions: Generated positions the statistics run over.
        residual_norm: Median ‖r_L‖ per layer.
        participation_ratio: PR of the uncentred second moment of r_L per layer.
        units: Per layer a sample of residuals of unit length, [sampled positions, d_model].
    """

    prompts: tuple[str, ...]
    prompt_ids: tuple[tuple[int, ...], ...]
    token_ids: tuple[tuple[int, ...], ...]
    positions: int
    residual_norm: tuple[float, ...]
    participation_ratio: tuple[float, ...]
    units: tuple[torch.Tensor, ...]

    def budget(self, model: Model, neuron: Neuron) -> float:
        """Coherence budget B = ‖r_L‖/‖v‖ of a neuron, in units of its activation.

        Raises:
            NeuronError: The neuron lies outside the model, or its write vanishes, so that no dose has a size.
        """
        neuron = model.require(neuron)
        norm = float(write_matrix(model, neuron.layer)[:, neuron.index].float().norm())
        if norm == 0:
            raise NeuronError(f"{neuron} writes nothing (‖v‖ = 0), so it has no budget", "choose another neuron")
        return geometry.budget(self.residual_norm[neuron.layer], norm)

    def cosines(self, model: Model, layer: int) -> torch.Tensor:
        """c0 = median cos(r_L, v) of every neuron of a layer on branch +1, [neurons]; 0 for a zero write."""
        writes = write_matrix(model, layer).float()
        norms = write_norms(model, layer).clamp(min=torch.finfo(torch.float32).tiny)
        return (self.units[layer].to(writes.device) @ writes / norms).median(0).values.clamp(-1, 1).cpu()

    def cosine(self, model: Model, neuron: Neuron, branch: int) -> float:
        """c0 of one neuron on a branch."""
        write = write_matrix(model, neuron.layer)[:, neuron.index].float()
        values = self.units[neuron.layer].to(write.device) @ (write / write.norm())
        return branch * float(values.median().clamp(-1, 1))


def default_prompts(model: Model) -> tuple[str, ...]:
    """The ordinary prompts a model's generic text is made from unless the user gives some."""
    if model.organism is not None:
        return tuple(load_card(model.organism).generic_prompts)
    return CHAT_PROMPTS if model.chat.template is not None else TEXT_PROMPTS


def generic_pass(
    model: Model, prompts: Sequence[str] | None = None, max_new_tokens: int = GENERIC_TOKENS
) -> GenericPass:
    """Run the generic pass, once per model and text; the result is kept with the model.

    Raises:
        ModelError: The model's answers are empty, so there is no text to measure on.
    """
    chosen = tuple(prompts) if prompts is not None else default_prompts(model)
    key = ("generic", chosen, max_new_tokens)
    if key not in model.cache:
        model.cache[key] = _run(model, chosen, max_new_tokens)
    found: GenericPass = model.cache[key]
    return found


def _run(model: Model, prompts: tuple[str, ...], max_new_tokens: int) -> GenericPass:
    prompt_ids = [tuple(ids) for ids in model.token_ids(prompts)]
    answers = roll_out_rows(model, [Row(ids, ()) for ids in prompt_ids], max_new_tokens, batch_rows=64)
    token_ids = [row.token_ids for row in answers]
    positions = sum(map(len, token_ids))
    if positions < len(prompts) + 1:
        raise ModelError(
            f"{model.name} answers ordinary prompts with almost nothing ({positions} tokens to {len(prompts)} prompts)",
            "give prompts that fit the model with --generic FILE, one a line",
        )
    norms: list[list[torch.Tensor]] = [[] for _ in range(model.layers)]
    units: list[list[torch.Tensor]] = [[] for _ in range(model.layers)]
    moments = [torch.zeros(model.d_model, model.d_model, dtype=torch.float64) for _ in range(model.layers)]
    stride = max(1, positions // _SAMPLED_POSITIONS)
    for start in range(0, len(prompts), 16):
        packed = pack(model, prompt_ids[start : start + 16], token_ids[start : start + 16])

        def read(layer: int, residual: torch.Tensor, packed: Sequences = packed) -> None:
            chosen = packed.emitted_from(residual).float()
            length = chosen.norm(dim=-1)
            norms[layer].append(length.cpu())
            exact = chosen.double()
            moments[layer] += (exact.T @ exact).cpu()
            units[layer].append((chosen / length[:, None])[::stride].cpu())

        with measuring(model), capturing(model, residuals=read):
            packed.logits(model)
    return GenericPass(
        prompts=prompts,
        prompt_ids=tuple(prompt_ids),
        token_ids=tuple(token_ids),
        positions=positions,
        residual_norm=tuple(float(torch.cat(layer).median()) for layer in norms),
        participation_ratio=tuple(geometry.participation_ratio(m.numpy()) for m in moments),
        units=tuple(torch.cat(layer) for layer in units),
    )
