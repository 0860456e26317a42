"""Rollouts of one prompt, told token by token as they come, with what each token surprises the undosed model by.

The decode loop is that of `rollout`, so the tokens are its tokens. Beside every dosed row runs a row without operations
that is made to read what the dosed row says: its logits score the dosed text under the undosed model in the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from controlwindow.errors import UsageError
from controlwindow.instruments.batch import Batch
from controlwindow.instruments.decoding import Decoding
from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.routes import Row
from controlwindow.instruments.sharing import Bools, Ints
from controlwindow.models import Model


class Token(NamedTuple):
    """One generated token.

    Attributes:
        arm: Number of the row among those asked for.
        token_id: The token; the last one of a row may be a stop token.
        surprisal: Its negative log-likelihood under the undosed model given prompt and earlier tokens, nats.
        coordinate: Measured cosine at the position that emitted it; None for an undosed row.
        ended: Whether the row ends with it.
    """

    arm: int
    token_id: int
    surprisal: float
    coordinate: float | None
    ended: bool


def stream(
    model: Model,
    prompt_ids: Sequence[int],
    arms: Sequence[RowOperations],
    max_new_tokens: int,
    on_token: Callable[[Token], None],
) -> None:
    """Decode one prompt under several operations side by side, greedily, and tell every token as it comes.

    Args:
        model: The model; it comes back as it was, also when `on_token` raises, which ends the decoding.
        prompt_ids: The prompt as token ids.
        arms: What acts on each row; empty for the undosed model.
        max_new_tokens: Horizon in tokens.
        on_token: Called in the order of the rows at each position.

    Raises:
        UsageError: A horizon below 1, no rows, or more tokens than the model's context holds.
        ModelError: The model gave logits that are not finite.
    """
    if max_new_tokens < 1 or not arms:
        raise UsageError(f"nothing to generate: {len(arms)} rows of {max_new_tokens} tokens")
    context = model.context
    if context is not None and len(prompt_ids) + max_new_tokens - 1 > context:
        raise UsageError(
            f"a prompt of {len(prompt_ids)} tokens and {max_new_tokens} generated ones exceed the context of "
            f"{model.name} ({context} tokens)",
            "shorten the prompt or the answer",
        )
    model.check_kept()
    _Streaming(model, tuple(prompt_ids), arms, max_new_tokens, on_token).run()


class _Streaming(Decoding):
    """The decode loop with readers beside the dosed rows."""

    def __init__(
        self,
        model: Model,
        prompt_ids: tuple[int, ...],
        arms: Sequence[RowOperations],
        max_new_tokens: int,
        on_token: Callable[[Token], None],
    ) -> None:
        dosed = [arm for arm, operations in enumerate(arms) if operations]
        self._arms = len(arms)
        # Which row scores each arm: an undosed arm itself, a dosed one the reader beside it.
        self._reader = list(range(len(arms)))
        for place, arm in enumerate(dosed):
            self._reader[arm] = len(arms) + place
        self._speaker = {self._reader[arm]: arm for arm in dosed}
        self._on_token = on_token
        self._log_likelihoods = torch.empty(0)
        self._new: list[Token] = []
        rows = [*(Row(prompt_ids, operations) for operations in arms), *(Row(prompt_ids, ()) for _ in dosed)]
        super().__init__(model, rows, max_new_tokens, batch_rows=len(rows))

    def _choose(self, batch: Batch, hidden: torch.Tensor, drafted: Ints, starts: Ints) -> None:
        self._log_likelihoods = self.model.readout(hidden[:, -1]).float().log_softmax(-1)
        super()._choose(batch, hidden, drafted, starts)

    def _record(self, batch: Batch, chosen: Ints, starts: Ints, last: Ints, tied: Bools) -> tuple[Ints, Bools]:
        # There are no drafts, so every row has one position; a reader takes what its row said.
        place_of = {int(row): place for place, row in enumerate(batch.rows)}
        for reader, arm in self._speaker.items():
            if reader in place_of:
                chosen[place_of[reader]] = chosen[place_of[arm]]
                batch.pending[place_of[reader]] = batch.pending[place_of[arm]]
        counts, ended = super()._record(batch, chosen, starts, last, tied)
        lane = batch.lanes.lane_of[-1]
        self._new = [
            Token(
                arm,
                int(chosen[place_of[arm], -1]),
                -float(self._log_likelihoods[lane[place_of[self._reader[arm]]], chosen[place_of[arm], -1]]),
                None,
                bool(ended[place_of[arm]]),
            )
            for arm in range(self._arms)
            if arm in place_of
        ]
        return counts, ended

    def _keep_cosines(self, batch: Batch, starts: Ints, counts: Ints) -> None:
        coordinates: dict[int, float] = {}
        for measured, values in self._parting.cosines:
            rows: list[int] = np.asarray(batch.rows)[measured.cpu().numpy()].tolist()
            coordinates |= dict(zip(rows, values[:, -1].tolist(), strict=True))
        for token in self._new:
            self._on_token(token._replace(coordinate=coordinates.get(token.arm)))
