"""Teacher-forced passes under interventions against the undosed pass over the same tokens.

What an intervention costs a text that the model would have said anyway (capability), and what it does to answers that
are given to it (effect), attention recomputed or held as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch

from controlwindow.instruments.attention import holding_attention, keeping_attention
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.operations import RowOperations
from controlwindow.instruments.sequences import Sequences, pack
from controlwindow.models import Model

_LOGITS = 1 << 24
"""Most logits of a pass held at once, 64 MiB in float32."""


class Compared(NamedTuple):
    """One text under one intervention.

    Attributes:
        tokens: Tokens of the continuation.
        nll: Their summed negative log-likelihood under the intervention, nats.
        undosed_nll: The same without it.
        agreement: Share of the continuation's positions whose likeliest token is that of the undosed pass.
        first_agrees: Whether that holds for the first token.
        divergence: Mean KL of the changed next-token distribution from the undosed one, nats per position.
    """

    tokens: int
    nll: float
    undosed_nll: float
    agreement: float
    first_agrees: bool
    divergence: float

    @property
    def excess(self) -> float:
        """Excess negative log-likelihood, nats per token; the perplexity ratio is its exponential."""
        return (self.nll - self.undosed_nll) / self.tokens


def compare_passes(
    model: Model,
    interventions: Sequence[RowOperations],
    prompt_ids: Sequence[Sequence[int]],
    token_ids: Sequence[Sequence[int]],
    *,
    hold_attention: bool = False,
    batch_rows: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Compared]]:
    """Read given texts under each intervention; the undosed pass over a batch serves all of them.

    Args:
        model: The model.
        interventions: What happens to every text, one entry after the other.
        prompt_ids: Prompts as token ids.
        token_ids: Continuations, none empty.
        hold_attention: Replay the undosed attention outputs in every layer, so that only the direct effect through FFNs
            and residual stream is left ("patching with attention outputs held fixed").
        batch_rows: Texts per pass.
        progress: Called with passes done and passes in all.

    Returns:
        `[i][p]`: intervention i on text p.
    """
    found: list[list[Compared]] = [[] for _ in interventions]
    starts = range(0, len(prompt_ids), batch_rows)
    done, total = 0, len(starts) * len(interventions)
    with measuring(model):
        for start in starts:
            span = slice(start, start + batch_rows)
            packed = pack(model, prompt_ids[span], token_ids[span])
            kept: dict[int, torch.Tensor] = {}
            with ExitStack() as stack:
                if hold_attention:
                    stack.enter_context(keeping_attention(model, kept))
                undosed = _states(model, packed)
            for place, operations in enumerate(interventions):
                with Intervention(model, [operations] * len(packed.input_ids)) as intervention, ExitStack() as stack:
                    intervention.first_generated = packed.first_generated
                    if kept:
                        stack.enter_context(holding_attention(model, kept))
                    states = _states(model, packed)
                found[place] += _compare(model, packed, undosed, states)
                done += 1
                if progress is not None:
                    progress(done, total)
    return found


def _states(model: Model, packed: Sequences) -> torch.Tensor:
    """Final-normed states of the positions that emit, [emitting positions, d_model]."""
    hidden = model.decoder(
        input_ids=packed.input_ids, **model.forward_options(packed.attention_mask, packed.position_ids)
    )[0]
    return packed.emitted_from(hidden)


def _compare(model: Model, packed: Sequences, undosed: torch.Tensor, states: torch.Tensor) -> list[Compared]:
    targets = packed.targets[packed.emitting]
    vocabulary = model.hf_model.get_output_embeddings().weight.shape[0]
    step = max(1, _LOGITS // (2 * vocabulary))
    parts = []
    for start in range(0, len(targets), step):
        span = slice(start, start + step)
        before = model.readout(undosed[span]).float().log_softmax(-1)
        after = model.readout(states[span]).float().log_softmax(-1)
        wanted = targets[span, None]
        parts.append(
            torch.stack(
                [
                    -after.gather(1, wanted)[:, 0],
                    -before.gather(1, wanted)[:, 0],
                    (after.argmax(-1) == before.argmax(-1)).float(),
                    (before.exp() * (before - after)).sum(-1),
                ]
            )
        )
    values = torch.cat(parts, 1).double().cpu()
    rows = []
    start = 0
    for length in packed.emitting.sum(1).tolist():
        nll, undosed_nll, agrees, divergence = values[:, start : start + length]
        rows.append(
            Compared(
                length,
                float(nll.sum()),
                float(undosed_nll.sum()),
                float(agrees.mean()),
                bool(agrees[0]),
                float(divergence.mean()),
            )
        )
        start += length
    return rows
