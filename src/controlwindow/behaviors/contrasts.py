"""How a file tells target and source apart for screens: log-odds of texts, and minimally different prompts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic_core import PydanticCustomError

_FROZEN = ConfigDict(frozen=True, extra="forbid")

_LogOddsTexts = tuple[Annotated[str, Field(min_length=1)], ...]


class LogOdds(BaseModel):
    """The log-odds F of target against control.

    Attributes:
        kind: `tokens` compares first tokens, `sequences` whole texts, teacher-forced; `answers` compares, prompt by
            prompt, the beginning of the undosed answer to a prompt of X− with that of the answer to the prompt itself.
        target: Texts that belong to the target state; none for `answers`.
        control: Texts that belong to the source state; none for `answers`.
        answer_tokens: How many tokens of an answer are compared.
    """

    model_config = _FROZEN

    kind: Literal["tokens", "sequences", "answers"] = "tokens"
    target: _LogOddsTexts = ()
    control: _LogOddsTexts = ()
    answer_tokens: Annotated[int, Strict(), Field(ge=1, le=64)] = 8

    @model_validator(mode="after")
    def _texts_where_asked(self) -> LogOdds:
        given = (bool(self.target), bool(self.control))
        wanted = self.kind != "answers"
        if given != (wanted, wanted):
            raise PydanticCustomError(
                "texts",
                "'target' and 'control' must be given for kind 'tokens' or 'sequences' and no other kind",
            )
        both = sorted(set(self.target) & set(self.control))
        if both:
            raise PydanticCustomError("texts", "'{text}' is both target and control", {"text": both[0]})
        return self


class Perturbation(BaseModel):
    """Minimally different prompt pairs.

    Attributes:
        kind: `pairs` as written, `swap_characters` derives them from the prompts of a split by swapping two adjacent
            letters in the longest word, `contrast` pairs the i-th prompt of X+ with the i-th of X−.
        pairs: (prompt, perturbed prompt), for the kind `pairs`: those that screens read.
        select: The same for choices made on the way.
        evaluate: The same for what is reported.
    """

    model_config = _FROZEN

    kind: Literal["pairs", "swap_characters", "contrast"] = "pairs"
    pairs: tuple[tuple[str, str], ...] = ()
    select: tuple[tuple[str, str], ...] = ()
    evaluate: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _pairs_where_asked(self) -> Perturbation:
        if (self.kind == "pairs") != bool(self.pairs):
            raise PydanticCustomError("pairs", "'pairs' must be given for kind 'pairs', and for no other kind")
        if self.kind != "pairs" and (self.select or self.evaluate):
            raise PydanticCustomError("pairs", "'select' and 'evaluate' hold pairs of the kind 'pairs' only")
        return self
