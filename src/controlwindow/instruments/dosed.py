"""A model that is dosed for whatever code runs it: `generate`, pipelines, trainers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from controlwindow.instruments.dosing import Dose, row_operations
from controlwindow.instruments.hooks import Intervention
from controlwindow.instruments.operations import Operation, RowOperations
from controlwindow.models import Model


@contextmanager
def dosed(model: Model, dose: Dose | Operation | Sequence[Dose | Operation] | None) -> Iterator[Any]:
    """Dose a model for any code, in every row of every batch, until the context is left.

    Greedy `generate` gives the tokens of `rollout`. Positions "all" are every position of every pass, padding among
    them, which nothing attends to. "generated" begins at the last column of a pass that has no keys and values before
    it, so prompts must be padded on the left, as `generate` wants them.

    Args:
        model: The model. Its own calls (`rollout`, `audit`) would be dosed too: leave the context first.
        dose: A dose or another operation, several, or None for the undosed model.

    Yields:
        The Transformers model, `model.hf_model`. It comes back as it was, also after an error.

    Raises:
        NeuronError: A neuron lies outside the model, or has no budget.
        OperationError: What stands for a dose is none.

    Example:
        >>> import controlwindow as cw
        >>> model = cw.load_model("organism:switch")
        >>> batch = model.encode(["Hello."])
        >>> with cw.dosed(model, cw.Dose("L4.N160", 0.5)) as hf_model:
        ...     ids = hf_model.generate(**batch, do_sample=False, max_new_tokens=4)
        >>> ids[0, batch["input_ids"].shape[1] :].tolist() == cw.rollout(
        ...     model, "Hello.", cw.Dose("L4.N160", 0.5), 4
        ... ).token_ids[0][0]
        True
    """
    operations = row_operations(model, dose)
    with _Everywhere(model, operations):
        yield model.hf_model


class _Everywhere:
    """The same operations in every row, however many rows a pass has.

    Their hooks stay between passes, since gradient checkpointing runs blocks again when the pass is over.
    """

    def __init__(self, model: Model, operations: RowOperations) -> None:
        self._model, self._operations = model, operations
        # Whatever does not fit the model is said now, and not in the first pass.
        self._known = {1: Intervention(model, [operations])}
        self._active: Intervention | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Everywhere:
        hook = self._model.decoder.register_forward_pre_hook(self._before_pass, with_kwargs=True)
        self._stack.callback(hook.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._leave()
        self._stack.close()

    def _leave(self) -> None:
        if self._active is not None:
            self._active.__exit__()
        self._active = None

    def _before_pass(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next(v for v in (*args[:1], kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if v is not None)
        rows, columns = given.shape[:2]
        if rows not in self._known:
            self._known[rows] = Intervention(self._model, [self._operations] * rows)
        wanted = self._known[rows]
        past = next((v for name in ("past_key_values", "cache") if (v := kwargs.get(name)) is not None), None)
        fresh = past is None or past.get_seq_length() == 0
        wanted.first_generated = columns - 1 if fresh else None
        if wanted is not self._active:
            self._leave()
            self._active = wanted.__enter__()
