"""What a page may ask for: checked before anything is done, since a page is anybody's who has the token."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from controlwindow.errors import UsageError
from controlwindow.models.conversations import turns_of

LONGEST_PROMPT = 20_000
"""Most characters of a prompt that a page sends; what the model's context holds is asked of the model."""

MOST_TOKENS = 512
"""Longest answer that is generated."""


class Ask(BaseModel):
    """One generation.

    Attributes:
        prompt: A prompt of the reader's own; None where one of a behavior is named.
        behavior: The behavior whose oracles judge the answer, if any.
        prompt_id: One of that behavior's evaluation prompts.
        neuron: The dosed neuron.
        branch: Sign of the dose.
        coordinate: The control coordinate c to bring the neuron to, on its branch.
        dose: The same in budget units, t ≥ 0, where a measured dose is meant exactly; it counts before the coordinate.
        tokens: Longest answer in tokens.
        placebo: Whether a random neuron of the same layer is dosed to the same c beside it.
        draw: Which random neuron.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: Annotated[str | None, Field(min_length=1, max_length=LONGEST_PROMPT, pattern=r"\S")] = None
    behavior: Annotated[str | None, Field(max_length=200)] = None
    prompt_id: Annotated[str | None, Field(max_length=200)] = None
    neuron: Annotated[str, Field(max_length=60)]
    branch: Literal[1, -1] = 1
    coordinate: Annotated[float, Field(gt=-1, lt=1, allow_inf_nan=False)] = 0.0
    dose: Annotated[float | None, Field(ge=0, le=1e4, allow_inf_nan=False)] = None
    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 48
    placebo: bool = False
    draw: Annotated[int, Field(ge=0, le=1_000_000)] = 0

    @model_validator(mode="after")
    def _one_prompt(self) -> Ask:
        if (self.prompt is None) == (self.prompt_id is None):
            raise ValueError("give either prompt or prompt_id")
        if self.prompt_id is not None and self.behavior is None:
            raise ValueError("a prompt_id belongs to a behavior")
        if self.prompt is not None and len(turns_of(self.prompt)) > 1:
            raise ValueError("the prompt holds the control character U+001E, which parts the turns of a conversation")
        return self


def read_ask(values: Any) -> Ask:
    """Check what a page sent.

    Raises:
        UsageError: It is no generation; names the field.
    """
    try:
        return Ask.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the request"
        raise UsageError(f"{place}: {first['msg']}", "reload the page; its state may be of another version") from error
