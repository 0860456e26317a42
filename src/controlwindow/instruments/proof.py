"""The hooks prove themselves before a sweep: the residual moves by exactly α·v where it should and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from controlwindow.errors import OperationError
from controlwindow.instruments.capture import capturing
from controlwindow.instruments.generic import default_prompts
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import Add
from controlwindow.models import Model, Neuron, write_direction
from controlwindow.models.directions import write_norms


def prove_hooks(model: Model, layers: Sequence[int] | None = None) -> float:
    """Check on real prompts that a dose does what the method says, layer by layer.

    For one neuron a layer, with prompts of different length in one batch: the residual at the block's output moves by
    α·v at every position under `all`, from the last prompt position on under `generated`, and not at all in an
    undosed row beside; afterwards the unhooked model's logits are bitwise what they were.

    Args:
        model: The model.
        layers: Layers to check; default all.

    Returns:
        The largest error found, relative to the length of the move.

    Raises:
        OperationError: A check failed; nothing measured with these hooks could be trusted.
    """
    prompts = sorted(default_prompts(model), key=lambda p: (len(p), p))
    short, long = prompts[0], prompts[-1]
    batch = model.encode([long, short, long, short])
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    real = batch["attention_mask"].bool()
    width = real.shape[1]
    worst = 0.0
    with measuring(model):
        before = model.hf_model(**batch, position_ids=positions, use_cache=False).logits
    for layer in range(model.layers) if layers is None else sorted(set(layers)):
        neuron = Neuron(layer, int(write_norms(model, layer).argmax()))
        undosed = _residual(model, layer, batch, positions, None)
        write = write_direction(model, neuron)
        alpha = float(undosed[real].float().norm(dim=-1).median() / write.float().norm())
        rows = [(Add(neuron, alpha),), (Add(neuron, -alpha),), (Add(neuron, alpha, "generated"),), ()]
        intervention = Intervention(model, rows)
        intervention.first_generated = width - 1
        moved = (_residual(model, layer, batch, positions, intervention) - undosed).float()
        expected = torch.zeros_like(moved)
        expected[0], expected[1] = alpha * write.float(), -alpha * write.float()
        expected[2, width - 1 :] = alpha * write.float()
        if bool(moved[3][real[3]].any()):
            raise OperationError(f"hook self-proof failed in layer {layer}: a dose reached an undosed row of the batch")
        error = float(((moved - expected).norm(dim=-1)[real] / (alpha * write.float()).norm()).max())
        # Rounding of the residual and of the projection that the moved activation went through.
        tolerance = 64 * torch.finfo(model.dtype).eps * (1 + float(undosed[real].float().abs().max()) ** 0.5)
        if not error <= tolerance:
            raise OperationError(
                f"hook self-proof failed in layer {layer}: the residual moved by something else than α·v "
                f"(relative error {error:.2e}, tolerance {tolerance:.2e})",
                "the adapter of this architecture does not describe this model; please report it",
            )
        worst = max(worst, error)
    with measuring(model):
        after = model.hf_model(**batch, position_ids=positions, use_cache=False).logits
    if not torch.equal(before, after):
        raise OperationError("hook self-proof failed: the unhooked model no longer gives the logits it gave before")
    return worst


def _residual(
    model: Model, layer: int, batch: object, positions: torch.Tensor, intervention: Intervention | None
) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    with measuring(model):
        if intervention is None:
            with capturing(model, residuals=lambda _, r: seen.append(r.clone()), layers=[layer]):
                model.hf_model(**batch, position_ids=positions, use_cache=False)  # type: ignore[arg-type]
        else:
            with intervention, capturing(model, residuals=lambda _, r: seen.append(r.clone()), layers=[layer]):
                model.hf_model(**batch, position_ids=positions, use_cache=False)  # type: ignore[arg-type]
    return seen[0]
