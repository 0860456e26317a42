"""What every oracle is: fields of a behavior file, and a judgement of an answer's text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.prompts import Prompt
from controlwindow.behaviors.text import caseless, holds_phrase, is_blank


class OracleContext(NamedTuple):
    """What an oracle may know besides the text.

    Attributes:
        prompt: The prompt that was answered.
        languages: The behavior's languages, ISO 639-1.
    """

    prompt: Prompt
    languages: tuple[str, ...]


class Judgement(NamedTuple):
    """What an oracle says of one answer.

    Attributes:
        said: Whether it matches; None where that cannot be told.
        why: How a judge replied, in one word, for counts; the empty string where there is nothing to add.
    """

    said: bool | None
    why: str = ""


class Oracle(BaseModel):
    """Base of all oracles; a subclass stands in a module of its own, whose name is the oracle's `type`.

    Attributes:
        type: The name by which a behavior file asks for it; subclasses narrow it to a `Literal`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Fields of a prompt without which this oracle cannot judge its answers.
    needs: ClassVar[tuple[str, ...]] = ()

    #: Whether the beginning of a word says something too, as its letters do of a language. Other oracles are shown
    #: whole words alone.
    reads_parts_of_words: ClassVar[bool] = False

    #: Whether a judgement is worth keeping, because it is slow or cannot be had again.
    remembered: ClassVar[bool] = False

    type: str

    @property
    def may_abstain(self) -> bool:
        """Whether it sometimes says None; behaviors then have the outcome `abstained`."""
        return False

    @property
    def remote(self) -> str | None:
        """Where answers are sent to, if they leave this machine."""
        return None

    def matches(self, text: str, context: OracleContext) -> bool | None:
        """Tell whether the text of an answer, already cut to the horizon, matches; None where it cannot be told."""
        raise NotImplementedError

    def judge_batch(self, texts: Sequence[str], contexts: Sequence[OracleContext]) -> list[bool | None]:
        """Judge many answers; an oracle that is faster on many at once does so here.

        Args:
            texts: Answers, each already cut to its horizon.
            contexts: For each what else may be known.

        Returns:
            For each answer what `matches` says of it.
        """
        return [self.matches(text, context) for text, context in zip(texts, contexts, strict=True)]

    def judgements(self, texts: Sequence[str], contexts: Sequence[OracleContext]) -> list[Judgement]:
        """As `judge_batch`, with why an answer was left undecided, where the oracle knows."""
        return [Judgement(said) for said in self.judge_batch(texts, contexts)]

    def prompt_fields(self) -> tuple[str, ...]:
        """Fields of a prompt that must be filled for this oracle to judge its answers."""
        return self.needs

    def misfit(self, languages: tuple[str, ...]) -> str | None:
        """Why this oracle cannot judge answers in a behavior's languages; None where it can."""
        return None

    def identity(self, languages: tuple[str, ...]) -> dict[str, Any]:
        """All that a judgement depends on, as JSON-ready values."""
        return self.model_dump(mode="json")


def _seen(text: str) -> str:
    if is_blank(text):
        raise PydanticCustomError("blank", "a word or phrase needs something to be seen")
    return text


Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Word = Annotated[str, Field(min_length=1), AfterValidator(_seen)]
Words = tuple[Word, ...]


def words_found(words: Sequence[str], text: str) -> int:
    """How many of some words occur in a text as whole words, letter case disregarded."""
    answer = caseless(text)
    return sum(holds_phrase(word, answer) for word in words)


def about_field(about: object) -> tuple[str, ...]:
    """The prompt's `about` words, where an oracle refers to them."""
    return ("about",) if about else ()


def overlap(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """Phrases of one list that another holds too, as texts are compared."""
    known = {caseless(text) for text in other}
    return [text for text in one if caseless(text) in known]
