"""A training stage that survives being killed: the batch of a step depends on the step's number alone."""

from __future__ import annotations

import logging
import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from controlwindow.errors import OrganismError

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
# Time between checkpoints: what a kill can cost.
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: Name in logs and of the checkpoint file.
        steps: Optimiser steps.
        learning_rate: Peak of the cosine schedule.
        warmup: Steps of linear warm-up.
    """

    name: str
    steps: int
    learning_rate: float
    warmup: int = 50


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves for the card: steps, seconds (all runs together) and mean losses by tenth of the stage."""

    steps: int
    seconds: float
    losses: tuple[float, ...]


def learning_rate(stage: Stage, step: int) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    share = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def run_stage(
    stage: Stage,
    model: Any,
    loss_of_step: Callable[[int], Tensor],
    directory: Path,
    progress: Progress | None = None,
    memory: dict[str, Any] | None = None,
) -> StageResult:
    """Train a model in place, from the last checkpoint if there is one.

    Args:
        stage: Length and schedule.
        model: The model; its weights are replaced by the checkpoint's when one exists.
        loss_of_step: The loss of a step; must depend on the step, the weights and `memory` alone.
        directory: Where the checkpoint lies.
        progress: Called with the stage's name, steps done and steps in all.
        memory: State that `loss_of_step` carries from step to step; saved with the checkpoint.

    Returns:
        Time and losses.

    Raises:
        OrganismError: The loss is not finite, or the checkpoint belongs to another run.
    """
    memory = {} if memory is None else memory
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=stage.learning_rate,
        betas=(0.9, 0.97),
    )
    path = directory / f"{stage.name}.pt"
    first, seconds, losses = 0, 0.0, [0.0] * stage.steps
    if path.exists():
        saved = _load(path)
        if saved["steps"] != stage.steps:
            raise OrganismError(
                f"{path}: belongs to a run of {saved['steps']} steps, not {stage.steps}",
                "train into another directory, or remove this one",
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        memory.update(saved["memory"])
        first, seconds, losses = saved["step"], saved["seconds"], saved["losses"]
        logger.info("%s: goes on at step %d of %d", stage.name, first, stage.steps)

    def save(step: int, elapsed: float) -> None:
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "memory": memory,
            "step": step,
            "steps": stage.steps,
            "seconds": elapsed,
            "losses": losses,
        }
        _save(state, path)

    model.train()
    begun = saved_at = time.monotonic()
    for step in range(first, stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(stage, step)
        loss = loss_of_step(step)
        if not torch.isfinite(loss):
            raise OrganismError(f"{stage.name}: the loss is not finite at step {step}", "train with another seed")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses[step] = loss.item()
        now = time.monotonic()
        if step % 50 == 49:
            logger.info(
                "%s: step %d of %d, loss %.3f, %.0f s",
                stage.name,
                step + 1,
                stage.steps,
                sum(losses[step - 49 : step + 1]) / 50,
                seconds + now - begun,
            )
        if now - saved_at >= CHECKPOINT_SECONDS:
            save(step + 1, seconds + now - begun)
            saved_at = now
        if progress:
            progress(stage.name, step + 1, stage.steps)
    seconds += time.monotonic() - begun if first < stage.steps else 0.0
    if first < stage.steps:
        save(stage.steps, seconds)
    model.eval()
    tenth = max(1, stage.steps // 10)
    return StageResult(
        stage.steps,
        seconds,
        tuple(round(sum(part) / len(part), 4) for i in range(0, stage.steps, tenth) if (part := losses[i : i + tenth])),
    )


def _save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    temporary = path.with_suffix(".partial")
    try:
        torch.save(state, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise OrganismError(
            f"{path}: the checkpoint cannot be written ({error})",
            "free some space, then start again: training goes on from the last checkpoint",
        ) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise OrganismError(
            f"{path}: the checkpoint cannot be read ({error})", "remove this file to start its stage again"
        ) from error
    return saved
