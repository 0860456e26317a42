"""How a row goes through the blocks: where it parts from its prompt's undosed row, and what acts on it there.

A row whose first operations add to the residual stream of block L agrees with its prompt's undosed row up to and
including that block, on the prompt and for as long as their tokens agree; from the next block's input on it has a lane
of its own, whose residual is the shared one plus α·v. That is the dose of the method without a second computation of
block L: the hooks' self-proof shows on the model at hand that a dose at the projection's input moves the residual by
α·v. Which operations act so simply they say themselves (`Operation.added`). Where one does not (pin, scale, experts, a
norm after the FFN, whatever came from elsewhere) the row has a lane of its own from block L's input on, and the
operations act there through `Intervention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.sharing import NEVER, Ints
from controlwindow.models import Model


class Row(NamedTuple):
    """One row of a batch.

    Attributes:
        prompt_ids: The prompt's token ids.
        operations: What happens to the row.
        draft: What the row may well generate, from a dose nearby. As much of it as the row itself chooses is read in
            one pass instead of token by token; what is generated does not depend on it.
        more_drafts: Other texts, tried in order where the row turned from its draft towards one of them.
    """

    prompt_ids: tuple[int, ...]
    operations: RowOperations
    draft: tuple[int, ...] = ()
    more_drafts: tuple[tuple[int, ...], ...] = ()


class Route(NamedTuple):
    """How one row goes through the blocks. A site is a block's input, or the final norm's (the number of blocks).

    Attributes:
        head_from: Site from which the row has a lane of its own while all but the last prompt token is read.
        own_from: The same from the last prompt token on.
        added: What is added to the shared residual at `own_from`, [d_model]; None when hooks do everything.
        everywhere: Whether it is added on the whole prompt, or from the last prompt token on.
        hooked: The operations left to hooks.
        measured: Site at which the control coordinate is read, −1 for none.
        direction: s·v of the first operation, [d_model].
    """

    head_from: int
    own_from: int
    added: torch.Tensor | None
    everywhere: bool
    hooked: RowOperations
    measured: int
    direction: torch.Tensor | None


def route(model: Model, operations: RowOperations, share: bool) -> Route:
    """The route of a row.

    Args:
        model: The model.
        operations: What happens to the row.
        share: Off, the row is computed alone from the first block on, and every operation acts through hooks.
    """
    if not operations:
        alone = NEVER if share else 0
        return Route(alone, alone, None, False, (), -1, None)
    measured, direction = operations[0].measured(model) or (-1, None)
    if not share:
        return Route(0, 0, None, False, operations, measured, direction)
    acting = tuple(o for o in operations if not o.does_nothing(model))
    if not acting:
        return Route(NEVER, NEVER, None, False, (), measured, direction)
    first = [o.first_layer(model) for o in acting]
    layer = min(first)
    here = [o for o, begin in zip(acting, first, strict=True) if begin == layer]
    in_prompt = min((begin for o, begin in zip(acting, first, strict=True) if o.positions == "all"), default=NEVER)
    vectors = [vector for vector in (o.added(model) for o in here) if vector is not None]
    if len(vectors) == len(here) and len({o.positions for o in here}) == 1:
        added = torch.stack(vectors).sum(0)
        hooked = tuple(o for o, begin in zip(acting, first, strict=True) if begin != layer)
        everywhere = here[0].positions == "all"
        head_from = layer + 1 if everywhere else in_prompt
        return Route(head_from, layer + 1, added, everywhere, hooked, measured, direction)
    return Route(in_prompt, layer, None, False, acting, measured, direction)


def stacked(routes: Sequence[Route], name: str, model: Model) -> tuple[torch.Tensor, Ints]:
    """A vector of the routes ("added" or "direction"), one line for all routes that share it.

    Returns:
        The vectors, [distinct, d_model], float32, and each route's line, −1 for none.
    """
    lines: dict[int, int] = {}
    vectors: list[torch.Tensor] = []
    places = np.full(len(routes), -1, dtype=np.int64)
    for place, found in enumerate(routes):
        vector = getattr(found, name)
        if vector is not None:
            if id(vector) not in lines:
                lines[id(vector)] = len(vectors)
                vectors.append(vector.to(model.device, torch.float32))
            places[place] = lines[id(vector)]
    return torch.stack(vectors) if vectors else torch.zeros((0, model.d_model), device=model.device), places
