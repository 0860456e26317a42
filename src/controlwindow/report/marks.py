"""What a field of a report's document is, as far as it decides who may see it; `sharing` alone acts on it.

A value that a run without any rollout gives for every neuron at once (budget, undosed cosine, predicted ceiling, rank
in a screen) names the neuron to whoever has the model, however coarse it is. A value that only rollouts give (trigger,
ceiling) does not, once it is coarse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from controlwindow.errors import ReportError


class Mark(Enum):
    """What a field is; the comment says what becomes of it where neurons are withheld."""

    NEURON = "neuron"  # a pseudonym
    NAMED = "named"  # a label with neurons in it: pseudonyms take their places
    PROSE = "prose"  # text of others: every name of a neuron is struck out
    COORDINATE = "coordinate"  # c, to the nearest 0.05
    INTERVAL = "interval"  # ends in c, outward to the next 0.05
    EXACT = "exact"  # dose, budget, seed, score, or what follows from the weights alone: gone
    LAYER = "layer"  # gone; the region beside it stands for it
    REGION = "region"  # early, middle or late
    SOURCE = "source"  # why a neuron was a candidate: with screen and seed this names it
    RUN = "run"  # a hash of everything that names the neuron: a random name in its place
    SETTINGS = "settings"  # what was asked for: only what no neuron follows from
    COMPLETION = "completion"  # what the model wrote, by a rule of its own
    PLACE = "place"  # where a file lies on this machine: its name alone, always


COARSE_STEP = 0.05
"""Steps of c that what is withheld is rounded to."""

Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
CosineInterval = tuple[Cosine | None, Cosine | None]
ShareInterval = tuple[Share | None, Share | None]

NeuronName = Annotated[str, Mark.NEURON]
Prose = Annotated[str, Mark.PROSE]
Notes = Annotated[tuple[str, ...], Mark.PROSE]
Coordinate = Annotated[Cosine | None, Mark.COORDINATE]
Coordinates = Annotated[dict[str, Cosine | None], Mark.COORDINATE]
Interval = Annotated[CosineInterval | None, Mark.INTERVAL]
Exact = Annotated[float | None, Mark.EXACT]
Seed = Annotated[int | None, Mark.EXACT]
Layer = Annotated[Count | None, Mark.LAYER]
Region = Annotated[str | None, Mark.REGION]
Run = Annotated[str, Mark.RUN]
Place = Annotated[str, Mark.PLACE]
Settings = Annotated[dict[str, JsonValue], Mark.SETTINGS]
Withheld = Annotated[bool, "set where something was withheld"]


class Part(BaseModel):
    """Frozen, and strict about keys and numbers: a misspelt key or a NaN is an error here, not a hole in the page."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def bare(self) -> Self:
        """What can be said of it where neurons are withheld, apart from what its marks say of single fields."""
        return self


class Document(Part):
    """Everything that the page and the tables of one kind of run are drawn from.

    Attributes:
        kind: What an error calls it.
    """

    kind: ClassVar[str] = "run"

    def secret(self, part: Part) -> bool | None:
        """Whether a part belongs to a sensitive behavior on a model that is no organism; None if its owner says."""
        raise NotImplementedError

    def private(self, part: Part) -> bool | None:
        """Whether a part's completions are withheld, by default as `secret`; None if its owner says."""
        return self.secret(part)

    def layers_of(self, part: Part) -> int:
        """Blocks of the model that a part is about."""
        raise NotImplementedError

    def in_order(self, names: Sequence[str]) -> Sequence[str]:
        """Neurons in the order in which they get their pseudonyms.

        Args:
            names: The neurons, in random order; what is exact may not decide between them.
        """
        return names

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they were given."""
        return self.model_dump(mode="json", exclude_unset=True)


Kind = TypeVar("Kind", bound=Document)


def checked(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Check plain values and freeze them.

    Args:
        kind: The document they should make.
        values: Nested mappings and lists as a ledger holds them.

    Raises:
        ReportError: A key is missing, unknown or holds a wrong value; the message names its path.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(step) for step in first["loc"]) or "document"
        rest = "" if error.error_count() == 1 else f" (and {error.error_count() - 1} more)"
        raise ReportError(
            f"the report's data is not valid at {path}: {first['msg']}{rest}",
            f"the run was edited or written by another version; repeat the {kind.kind} or install its manifest's "
            "version",
        ) from error
