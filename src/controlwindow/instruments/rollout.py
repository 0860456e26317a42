"""Rollouts of every dose on every prompt: the public way to the decode loop, which takes operations of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger

from controlwindow.errors import UsageError
from controlwindow.instruments.dosing import Dose, row_operations
from controlwindow.instruments.operations import Operation
from controlwindow.instruments.rows import Row, mean_coordinate, roll_out_rows
from controlwindow.models import Model
from controlwindow.models.model import require_model
from controlwindow.models.structure import foreign_hooks
from controlwindow.showing import Showable

_log = getLogger(__name__)


@dataclass(frozen=True)
class Rollouts(Showable):
    """Rollouts of every dose on every prompt; `[d][p]` is dose d on prompt p.

    Attributes:
        texts: Generated text without special tokens.
        token_ids: Generated tokens, the stop token included.
        control_coordinate: Mean measured control coordinate over generated positions; NaN for undosed rows.
        control_coordinates: The same, position by position.
        ties: Positions whose top-two margin was below `TIE_MARGIN`.
    """

    texts: list[list[str]]
    token_ids: list[list[list[int]]]
    control_coordinate: list[list[float]]
    control_coordinates: list[list[list[float]]]
    ties: list[list[int]]


def rollout(
    model: Model,
    prompts: Sequence[str] | str,
    doses: Sequence[Dose | Operation | Sequence[Dose | Operation] | None] | Dose | Operation | None = None,
    max_new_tokens: int = 32,
    *,
    batch_rows: int = 512,
    sample_seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rollouts:
    """Roll out every dose on every prompt.

    Args:
        model: The model.
        prompts: User prompts; the chat template is applied. A text is one prompt.
        doses: One entry per dose: a dose or another operation, several, or None for the undosed model. One by itself,
            or None (the default), is one dose.
        max_new_tokens: Horizon in tokens.
        batch_rows: Rows per batch.
        sample_seed: None decodes greedily; a seed samples at temperature 1.
        progress: Called with rows done and rows in all.

    Returns:
        Texts, tokens and measured control coordinates, indexed `[dose][prompt]`.

    Raises:
        UsageError: No prompts or doses, a horizon below 1, or more tokens than the model's context holds.
        OperationError: What stands for a dose is none.
        NeuronError: A neuron lies outside the model.
        ModelError: The model gives numbers that are not finite.

    Example:
        >>> import controlwindow as cw
        >>> model = cw.load_model("organism:switch")
        >>> out = cw.rollout(model, ["Hello."], [None, cw.Dose("L3.N7", 0.5)], max_new_tokens=4)
        >>> len(out.token_ids), len(out.token_ids[0][0]) <= 4
        (2, True)
    """
    require_model(model)
    if not isinstance(prompts, str | Iterable):
        raise UsageError(f"the prompts are {type(prompts).__name__}, not texts", "give a text or a list of texts")
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise UsageError("no prompts were given")
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"the prompt {text!r} is {type(text).__name__}, not a text"[:200], "give a list of texts")
    if doses is None or isinstance(doses, Dose | Operation):
        doses = [doses]
    if not isinstance(doses, Sequence) or not len(doses):
        raise UsageError(f"no doses were given, but {doses!r}"[:200], "give [None] for the undosed model")
    operations = [row_operations(model, dose) for dose in doses]
    for hook in foreign_hooks(model.hf_model):
        _log.warning("%s: %s; it acts on every rollout", model.name, hook)
    encoded = model.token_ids(texts)
    rows = [Row(tuple(ids), dose) for dose in operations for ids in encoded]
    done = roll_out_rows(model, rows, max_new_tokens, batch_rows=batch_rows, sample_seed=sample_seed, progress=progress)
    by_dose = [done[start : start + len(texts)] for start in range(0, len(done), len(texts))]
    return Rollouts(
        texts=[[model.decode(row.token_ids) for row in group] for group in by_dose],
        token_ids=[[list(row.token_ids) for row in group] for group in by_dose],
        control_coordinate=[[mean_coordinate(row) for row in group] for group in by_dose],
        control_coordinates=[[list(row.coordinates) for row in group] for group in by_dose],
        ties=[[row.ties for row in group] for group in by_dose],
    )
