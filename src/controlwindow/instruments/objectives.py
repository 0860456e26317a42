"""Objectives: the quantity F that a screen follows, as target and control continuations of one prompt.

Two forms of F are read from the same continuations. The *linear* one is PP's: mean logit of the target tokens minus
mean logit of the control tokens at the last prompt position; over longer texts the mean runs over each text's tokens,
each at the position that emits it (ours). The *log-odds* is log Σ P(target) − log Σ P(control), with the teacher-forced
probability of whole texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from controlwindow.errors import ScreenError
from controlwindow.models import Model

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class Objective:
    """Target and control continuations.

    Attributes:
        target: Token ids of the texts of the target state, distinct.
        control: Token ids of the texts of the source state, distinct.

    Example:
        >>> objective = Objective(((5,), (6,)), ((7,),))
        >>> objective.rows, objective.linear_terms
        (((5,),), ((0, 0, 5, 0.5), (0, 0, 6, 0.5), (0, 0, 7, -1.0)))
    """

    target: tuple[TokenIds, ...]
    control: tuple[TokenIds, ...]

    def __post_init__(self) -> None:
        shared = set(self.target) & set(self.control)
        if not self.target or not self.control or not all((*self.target, *self.control)):
            raise ScreenError(
                "an objective needs a target and a control text with at least one token each",
                "give both in [log_odds], as in controlwindow guide behaviors",
            )
        if shared:
            raise ScreenError(
                f"target and control share the tokens {list(min(shared))}, so they are not told apart by them",
                'give texts that differ in [log_odds], or kind = "sequences" where their first tokens agree',
            )

    @cached_property
    def first_tokens(self) -> bool:
        """Whether every text is one token, so that the last prompt position alone decides."""
        return all(len(text) == 1 for text in (*self.target, *self.control))

    @cached_property
    def first(self) -> Objective | None:
        """The same of first tokens alone, which the last prompt position decides; None where one begins both."""
        target, control = (tuple(dict.fromkeys(text[:1] for text in texts)) for texts in (self.target, self.control))
        return None if set(target) & set(control) else Objective(target, control)

    @cached_property
    def rows(self) -> tuple[TokenIds, ...]:
        """Continuations to run after the prompt; one for all texts of a single token, which emit nothing further."""
        return (self.target[0],) if self.first_tokens else (*self.target, *self.control)

    @cached_property
    def linear_terms(self) -> tuple[tuple[int, int, int, float], ...]:
        """The linear F as (row, position in the continuation, token, weight)."""
        terms = []
        row = 0
        for texts, sign in ((self.target, 1.0), (self.control, -1.0)):
            for text in texts:
                weight = sign / len(texts) / len(text)
                terms += [(row, place, token, weight) for place, token in enumerate(text)]
                row += not self.first_tokens
        return tuple(terms)

    def readout(self, model: Model) -> torch.Tensor:
        """d_F: what the linear F reads of the residual stream before the final norm, raw, [d_model], float32 (PP)."""
        weights = unembedding(model, [token for _, _, token, _ in self.linear_terms])
        return torch.tensor([w for *_, w in self.linear_terms], device=weights.device) @ weights

    def directions(self, model: Model, width: int) -> torch.Tensor:
        """d_F by row and position of the continuations, [rows, width, d_model], float32; they sum to `readout`."""
        found = torch.zeros((len(self.rows), width, model.d_model), device=model.device)
        rows, places, tokens, weights = zip(*self.linear_terms, strict=True)
        values = torch.tensor(weights, device=model.device)[:, None] * unembedding(model, list(tokens))
        index = torch.tensor(rows, device=model.device), torch.tensor(places, device=model.device)
        return found.index_put(index, values, accumulate=True)

    def linear(self, logits: torch.Tensor) -> torch.Tensor:
        """The linear F.

        Args:
            logits: At the positions that emit the continuations, [rows, width, vocabulary].
        """
        rows, places, tokens, weights = zip(*self.linear_terms, strict=True)
        chosen = logits[list(rows), list(places), list(tokens)]
        return (chosen.double() * torch.tensor(weights, device=logits.device, dtype=torch.float64)).sum()

    def log_probabilities(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """log Σ P of the target texts and of the control texts, float64, from logits as for `linear`."""
        scores = logits.double().log_softmax(-1)
        values = []
        row = 0
        for text in (*self.target, *self.control):
            values.append(scores[row, list(range(len(text))), list(text)].sum())
            row += not self.first_tokens
        count = len(self.target)
        return torch.stack(values[:count]).logsumexp(0), torch.stack(values[count:]).logsumexp(0)

    def log_odds(self, logits: torch.Tensor) -> torch.Tensor:
        """log Σ P(target) − log Σ P(control), float64."""
        target, control = self.log_probabilities(logits)
        return target - control

    def reference_log_odds(self, logits: torch.Tensor) -> torch.Tensor:
        """log p_ref/(1 − p_ref), p_ref the summed probability of the control texts (ONE; the sum is ours), float64."""
        _, control = self.log_probabilities(logits)
        # Rounding may bring a sum of probabilities to 1, where the odds have no gradient left.
        control = control.clamp(max=-1e-15)
        return control - torch.log(-torch.expm1(control))


def unembedding(model: Model, tokens: Sequence[int]) -> torch.Tensor:
    """Rows of W_U in logits per unit of the residual stream, a constant logit scale included, [tokens, d_model]."""
    weight: Any = model.hf_model.get_output_embeddings().weight
    rows: torch.Tensor = weight.detach()[torch.tensor(list(tokens), device=weight.device)].float()
    family, config = model.family, model.config
    if family.logit_multiplier is not None:
        rows = rows * getattr(config, family.logit_multiplier)
    if family.logit_divisor is not None:
        rows = rows / getattr(config, family.logit_divisor)
    return rows


def text_tokens(model: Model, texts: Sequence[str], *, first_only: bool = False) -> tuple[TokenIds, ...]:
    """Token ids of texts as an answer would begin with them, each once.

    Args:
        model: The model.
        texts: The texts.
        first_only: Keep the first token of each.

    Raises:
        ScreenError: A text has no token.
    """
    found: dict[TokenIds, None] = {}
    for text in texts:
        ids = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        if not ids:
            raise ScreenError(f"the text {text!r} of [log_odds] has no token in {model.name}", "give another text")
        found[ids[:1] if first_only else ids] = None
    return tuple(found)
