"""Results of another method on the organisms, as a file: rankings of neurons, verdicts per neuron and branch, or both.

docs/organisms.md describes the format for those who enter a method. Everything is validated before anything is scored.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from controlwindow.behaviors.files import safe_text
from controlwindow.catalogue import full_name
from controlwindow.errors import NeuronError, UsageError
from controlwindow.models.neuron import Neuron

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_DESCRIBED = "the format: controlwindow guide organisms"


def _neuron_name(value: str) -> str:
    try:
        return str(Neuron.parse(value))
    except NeuronError as error:
        raise PydanticCustomError("neuron", "{text}", {"text": error.message}) from error


NeuronName = Annotated[str, AfterValidator(_neuron_name)]


class RankedNeuron(BaseModel):
    """One place of a ranking.

    Attributes:
        neuron: Its name.
        sign: Branch that the method would dose, where it says.
    """

    model_config = _FROZEN

    neuron: NeuronName
    sign: Literal[-1, 1] | None = None


class GivenVerdict(BaseModel):
    """What a method says of one neuron on one branch.

    Attributes:
        neuron: Its name.
        branch: Sign of the dose.
        verdict: open or closed.
        failure_mode: Why it is closed, where the method says.
        trigger: First control coordinate c at which half of the answers flip, where the method says.
    """

    model_config = _FROZEN

    neuron: NeuronName
    branch: Literal[-1, 1]
    verdict: Literal["open", "closed"]
    failure_mode: Literal["collapse_before_trigger", "too_late", "normalization_cap", "no_effect"] | None = None
    trigger: Annotated[float, Field(ge=-1, le=1)] | None = None


def _ranked(value: object) -> object:
    # A plain list of names is short for a ranking without signs.
    return {"neuron": value} if isinstance(value, str) else value


class MethodCase(BaseModel):
    """One behavior of one organism.

    Attributes:
        organism: Its name, with or without "organism:".
        behavior: The behavior.
        ranking: Neurons, best first; those left out count as ranked last, all alike.
        verdicts: By neuron and branch.
        cost: What the method spent, as it counts it, such as {"forward": 160, "seconds": 0.3}.
    """

    model_config = _FROZEN

    organism: Annotated[str, AfterValidator(full_name)]
    behavior: str
    ranking: tuple[Annotated[RankedNeuron, BeforeValidator(_ranked)], ...] = ()
    verdicts: tuple[GivenVerdict, ...] = ()
    cost: dict[str, float] = {}

    @model_validator(mode="after")
    def _says_something_once(self) -> MethodCase:
        if not self.ranking and not self.verdicts:
            raise PydanticCustomError("empty", "give a 'ranking', 'verdicts' or both")
        for what, keys in (
            ("ranked", [r.neuron for r in self.ranking]),
            ("judged", [f"{v.neuron} {v.branch:+d}" for v in self.verdicts]),
        ):
            twice = next((key for key, seen in _counts(keys).items() if seen > 1), None)
            if twice is not None:
                raise PydanticCustomError("twice", "{key} is {what} twice", {"key": twice, "what": what})
        return self


class MethodEntry(BaseModel):
    """A method's results.

    Attributes:
        method: Its name.
        description: What it does, and which prompts it read.
        cases: One for each behavior of an organism.
    """

    model_config = _FROZEN

    method: Annotated[str, Field(min_length=1, max_length=80)]
    description: str = ""
    cases: Annotated[tuple[MethodCase, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _cases_once(self) -> MethodEntry:
        keys = [f"{case.organism}, {case.behavior}" for case in self.cases]
        twice = next((key for key, seen in _counts(keys).items() if seen > 1), None)
        if twice is not None:
            raise PydanticCustomError("twice", "{key} is given twice", {"key": twice})
        return self


def read_entry(given: MethodEntry | Mapping[str, Any] | str | Path) -> MethodEntry:
    """A method's results from values, or from a JSON or CSV file.

    Args:
        given: An entry, plain values as in the JSON file, or a path; a name that ends in .csv is read as CSV.

    Raises:
        UsageError: The file cannot be read, or does not say what an entry says; names file and key or line.
    """
    if isinstance(given, MethodEntry):
        return given
    if isinstance(given, Mapping):
        return _validated(given, "the entry")
    path = Path(given)
    try:
        text = safe_text(path)
    except ValueError as error:
        raise UsageError(f"cannot read the entry {path}: {error}", f"give a JSON or CSV file; {_DESCRIBED}") from error
    if path.suffix.lower() == ".csv":
        return _validated(_from_csv(text, path), str(path))
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: not JSON: {error.msg}", _DESCRIBED) from error
    except RecursionError as error:
        raise UsageError(f"{path}: JSON nested too deep", _DESCRIBED) from error
    return _validated(values, str(path))


def _validated(values: object, where: str) -> MethodEntry:
    try:
        return MethodEntry.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise UsageError(f"{where}: {key}: {first['msg']}", _DESCRIBED) from error


_COLUMNS = ("organism", "behavior", "neuron")
_OPTIONAL = ("rank", "sign", "branch", "verdict", "failure_mode", "trigger")


def _from_csv(text: str, path: Path) -> dict[str, Any]:
    """A table with one row per neuron: with `rank` a place of a ranking, with `verdict` and `branch` a verdict."""
    reader = csv.DictReader(io.StringIO(text))
    columns = [name.strip() for name in reader.fieldnames or ()]
    missing = [name for name in _COLUMNS if name not in columns]
    unknown = [name for name in columns if name not in (*_COLUMNS, *_OPTIONAL)]
    if missing or unknown:
        what = f"no column {missing[0]!r}" if missing else f"unknown column {unknown[0]!r}"
        raise UsageError(f"{path}, line 1: {what}", f"columns: {', '.join((*_COLUMNS, *_OPTIONAL))}")
    reader.fieldnames = columns
    ranked: dict[tuple[str, str], list[tuple[float, dict[str, Any]]]] = {}
    verdicts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in reader:
        line = reader.line_num
        filled = {name: (value or "").strip() for name, value in row.items() if name is not None}
        if row.get(None):
            raise UsageError(f"{path}, line {line}: more fields than columns", "quote fields that hold commas")
        key = filled["organism"], filled["behavior"]
        number = _numbers(filled, path, line)
        if filled.get("rank"):
            place = {"neuron": filled["neuron"], "sign": number["sign"]}
            ranked.setdefault(key, []).append((number["rank"], place))
        if filled.get("verdict"):
            given = {"neuron": filled["neuron"], "branch": number["branch"], "verdict": filled["verdict"].lower()}
            given |= {"failure_mode": filled.get("failure_mode") or None, "trigger": number["trigger"]}
            verdicts.setdefault(key, []).append(given)
        if not filled.get("rank") and not filled.get("verdict"):
            raise UsageError(f"{path}, line {line}: neither 'rank' nor 'verdict'", _DESCRIBED)
    keys = dict.fromkeys((*ranked, *verdicts))
    cases = [
        {
            "organism": organism,
            "behavior": behavior,
            "ranking": [place for _, place in sorted(ranked.get((organism, behavior), []), key=lambda r: r[0])],
            "verdicts": verdicts.get((organism, behavior), []),
        }
        for organism, behavior in keys
    ]
    return {"method": path.stem, "cases": cases}


def _numbers(row: Mapping[str, str], path: Path, line: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("rank", "sign", "branch", "trigger"):
        text = row.get(name, "")
        if not text:
            found[name] = None
            continue
        try:
            found[name] = int(text) if name in ("sign", "branch") else float(text)
        except ValueError:
            raise UsageError(f"{path}, line {line}: {name} is {text!r}, not a number", _DESCRIBED) from None
    return found


def _counts(keys: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    return counts
