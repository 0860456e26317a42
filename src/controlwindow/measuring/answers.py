"""Which texts stand for target and source: a behavior's log-odds and perturbations as token ids of one model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from controlwindow.behaviors import Behavior, Prompt
from controlwindow.errors import ScreenError
from controlwindow.instruments.cost import Cost
from controlwindow.instruments.forced import ForcedRow, forced_pass
from controlwindow.instruments.objectives import Objective, TokenIds, text_tokens
from controlwindow.instruments.routes import Row
from controlwindow.instruments.rows import roll_out_rows
from controlwindow.models import Model

_log = logging.getLogger(__name__)

DEFAULT_TOKENS = 8
"""Tokens of an undosed answer that stand for it, where the behavior does not say."""


class AnswerPair(NamedTuple):
    """Two answers to one prompt, as token ids: its own undosed one, and one of the target state."""

    prompt_ids: TokenIds
    source: TokenIds
    target: TokenIds


class Turn(NamedTuple):
    """Where two answers turn apart.

    Attributes:
        prompt_ids: The prompt, and what both answers begin with.
        source: The next token of the source answer.
        target: That of the target answer; None where it has none of its own there.
    """

    prompt_ids: TokenIds
    source: int
    target: int | None


def turn_of(pair: AnswerPair) -> Turn:
    """The first position at which a pair's answers differ.

    Where the source answer is over by then, or both are the same, nothing that it says can be lost there, and the turn
    is at its first token.

    Example:
        >>> turn_of(AnswerPair((1, 2), (7, 8), (7, 9)))
        Turn(prompt_ids=(1, 2, 7), source=8, target=9)
        >>> turn_of(AnswerPair((1, 2), (7, 8), (7,)))
        Turn(prompt_ids=(1, 2, 7), source=8, target=None)
    """
    shared = 0
    while shared < min(len(pair.source), len(pair.target)) and pair.source[shared] == pair.target[shared]:
        shared += 1
    if shared == len(pair.source):
        return Turn(pair.prompt_ids, pair.source[0], None)
    target = pair.target[shared] if shared < len(pair.target) else None
    return Turn((*pair.prompt_ids, *pair.source[:shared]), pair.source[shared], target)


@dataclass
class Answers:
    """Reads a behavior's texts with one model.

    Attributes:
        model: The model.
        batch_rows: Rows of a batch.
    """

    model: Model
    batch_rows: int = 64
    _known: dict[tuple[str, int], TokenIds] = field(default_factory=dict)
    _chosen: dict[tuple[TokenIds, tuple[TokenIds, ...]], tuple[TokenIds, Cost]] = field(default_factory=dict)

    def undosed(self, texts: Sequence[str], tokens: int, cost: Cost) -> list[TokenIds]:
        """Beginnings of the model's greedy answers, the stop token included where it comes that early."""
        missing = [text for text in dict.fromkeys(texts) if (text, tokens) not in self._known]
        if missing:
            rows = [Row(tuple(ids), ()) for ids in self.model.token_ids(missing)]
            done = roll_out_rows(self.model, rows, tokens, batch_rows=self.batch_rows)
            self._known |= {(text, tokens): row.token_ids for text, row in zip(missing, done, strict=True)}
        # What it costs must not depend on what an earlier cell of the same process had read.
        for text, ids in zip(dict.fromkeys(texts), self.model.token_ids(list(dict.fromkeys(texts))), strict=True):
            cost.forward += 1
            cost.tokens += len(ids) + len(self._known[text, tokens]) - 1
            cost.scored += len(self._known[text, tokens])
        return [self._known[text, tokens] for text in texts]

    def objectives(
        self, behavior: Behavior, prompts: Sequence[str], partners: Sequence[str], cost: Cost
    ) -> list[Objective]:
        """The objective of each prompt.

        Args:
            behavior: The behavior.
            prompts: The prompts.
            partners: For each the prompt whose undosed answer is its target, where answers are compared.
            cost: What reading the answers costs is added here.

        Raises:
            ScreenError: Target and control are not told apart.
        """
        wanted = behavior.log_odds
        if wanted.kind != "answers":
            first_only = wanted.kind == "tokens"
            targets = text_tokens(self.model, wanted.target, first_only=first_only)
            controls = text_tokens(self.model, wanted.control, first_only=first_only)
            shared = set(targets) & set(controls)
            if shared:
                # Different words may begin with one token, which then tells nothing apart.
                _log.warning(
                    "behavior '%s': target and control both begin with %s, left out of both",
                    behavior.name,
                    ", ".join(repr(self.model.decode(ids)) for ids in sorted(shared)),
                )
                targets = tuple(ids for ids in targets if ids not in shared)
                controls = tuple(ids for ids in controls if ids not in shared)
            return [Objective(targets, controls)] * len(prompts)
        answers = self.undosed([*prompts, *partners], wanted.answer_tokens, cost)
        source, target = answers[: len(prompts)], answers[len(prompts) :]
        same = [prompt for prompt, one, other in zip(prompts, source, target, strict=True) if one == other]
        if same:
            raise ScreenError(
                f"behavior '{behavior.name}': {len(same)} of {len(prompts)} prompts are answered as their counterpart "
                f"is in the first {wanted.answer_tokens} tokens, the first is {same[0]!r}",
                "choose counterparts whose answers differ, or write target and control into [log_odds]",
            )
        return [Objective((t,), (s,)) for t, s in zip(target, source, strict=True)]

    def first_objectives(
        self, behavior: Behavior, prompts: Sequence[str], partners: Sequence[str], cost: Cost
    ) -> list[Objective]:
        """The objectives that the last prompt position decides, where first tokens tell target and control apart.

        Where they do not for every prompt, whole texts are compared, as in `objectives`. Arguments and errors are its.
        """
        found = self.objectives(behavior, prompts, partners, cost)
        first = [objective.first for objective in found]
        decided = [objective for objective in first if objective is not None]
        return decided if len(decided) == len(found) else found

    def pairs(
        self, behavior: Behavior, prompts: Sequence[Prompt], partners: Sequence[Prompt], cost: Cost
    ) -> list[AnswerPair]:
        """Each prompt with its own undosed answer and one of the target state.

        The latter is the sequence of [log_odds] that the undosed model finds least surprising per token after this
        prompt; where there are no sequences, its undosed answer to the partner. A partner may be answered in the source
        state too, by a model that corrects right premises as well; where [log_odds] has tokens, and the partner's
        answer begins with one of the control, the first token alone is compared: that of the source answer, and the
        target token that the model finds least surprising.
        """
        wanted = behavior.log_odds
        length = wanted.answer_tokens if wanted.kind == "answers" else DEFAULT_TOKENS
        ids = [tuple(p) for p in self.model.token_ids([prompt.text for prompt in prompts])]
        source = self.undosed([prompt.text for prompt in prompts], length, cost)
        if wanted.kind == "sequences":
            target = self._likeliest(ids, text_tokens(self.model, wanted.target), cost)
        else:
            target = self.undosed([partner.text for partner in partners], length, cost)
        if wanted.kind == "tokens":
            controls = text_tokens(self.model, wanted.control, first_only=True)
            unmoved = [place for place, text in enumerate(target) if text[:1] in controls]
            texts = [t for t in text_tokens(self.model, wanted.target, first_only=True) if t not in controls]
            likeliest = self._likeliest([ids[place] for place in unmoved], texts, cost) if texts else []
            for place, text in zip(unmoved, likeliest, strict=False):
                source[place], target[place] = source[place][:1], text
        return [AnswerPair(*row) for row in zip(ids, source, target, strict=True)]

    def _likeliest(self, prompts: Sequence[TokenIds], texts: Sequence[TokenIds], cost: Cost) -> list[TokenIds]:
        """For each prompt the text that the undosed model finds least surprising per token after it."""
        chosen = []
        for prompt in prompts:
            key = (prompt, tuple(texts))
            if key not in self._chosen:
                # Prompt by prompt, so that neither what is chosen nor what it costs depends on which came together.
                rows = [ForcedRow(prompt, text, ()) for text in texts]
                found = forced_pass(self.model, rows, batch_rows=self.batch_rows)
                values = [f.log_likelihood / len(row.token_ids) for row, f in zip(rows, found, strict=True)]
                spent = Cost(len(rows), 0, sum(row.tokens for row in found), sum(len(r.token_ids) for r in rows))
                self._chosen[key] = texts[max(range(len(texts)), key=values.__getitem__)], spent
            text, spent = self._chosen[key]
            chosen.append(text)
            cost.forward += spent.forward
            cost.tokens += spent.tokens
            cost.scored += spent.scored
        return chosen


def partners(positive: Sequence[Prompt], negative: Sequence[Prompt]) -> list[Prompt]:
    """For each prompt of X+ one of X−: that of its own place, or else the next of its language, in turn.

    Prompts of contrasts whose two sides differ in language alone have their translation at their own place; elsewhere
    the answer that is borrowed must be in the language of the prompt.
    """
    bilingual = {p.language for p in positive} & {p.language for p in negative}
    found = []
    for place, prompt in enumerate(positive):
        order = [negative[(place + step) % len(negative)] for step in range(len(negative))]
        same = [other for other in order if other.language == prompt.language]
        found.append(same[0] if prompt.language in bilingual and same else order[0])
    return found


def instruction_suffix(model: Model) -> int:
    """Tokens after the instruction: what the chat template puts behind any prompt (ONE's post-instruction positions).

    At least 1, the last prompt position.
    """
    first, *others = model.token_ids(["Yes", "Why not?", "17"])
    count = 0
    while count < min(map(len, others)) and all(ids[-1 - count] == first[-1 - count] for ids in others):
        count += 1
    return max(1, count)
