"""Files that say how an oracle agreed with people: `judge --out` writes them, behavior files name them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from controlwindow.behaviors.agreement import Agreement
from controlwindow.behaviors.definition import Behavior
from controlwindow.behaviors.files import read_text
from controlwindow.behaviors.oracles import Oracle
from controlwindow.behaviors.oracles.registry import provenance
from controlwindow.behaviors.outcomes import decided_by
from controlwindow.behaviors.prompts import fingerprint_json
from controlwindow.errors import BehaviorError, UsageError

_LARGEST = 1 << 20
_AGAIN = "measure the oracle again: controlwindow judge BEHAVIOR:ORACLE --labels FILE --yes LABEL --out {path}"

Count = Annotated[int, Strict(), Field(ge=0)]


class Confusion(BaseModel):
    """Counts, as `Agreement` has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    both: Count
    judge_only: Count
    people_only: Count
    neither: Count
    abstained_yes: Count
    abstained_no: Count


class Labels(BaseModel):
    """Which labels an oracle was held against: the file's name, its sha256, and which of them mean yes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    yes: tuple[str, ...]


class AgreementFile(BaseModel):
    """What such a file must hold; the rates beside it follow from the counts.

    Attributes:
        oracle: The oracle's type.
        measured: Hash of all that its judgements depend on (`oracle_fingerprint`).
        labels: The labels.
        confusion: The counts.
        seed: Seed of the intervals.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    oracle: str
    measured: str
    labels: Labels
    confusion: Confusion
    seed: Annotated[int, Strict()] = 0

    @property
    def agreement(self) -> Agreement:
        """The counts, with their rates."""
        return Agreement(**self.confusion.model_dump(), seed=self.seed)


def oracle_fingerprint(oracle: Oracle, languages: Sequence[str]) -> str:
    """Hash of all that an oracle's judgements depend on, the languages that it tells apart among them."""
    identity = oracle.identity(tuple(languages)) | provenance(oracle)
    return fingerprint_json([identity, sorted(languages)])


def write_agreement(path: Path, document: Mapping[str, Any], labels: Path, yes: Sequence[str]) -> None:
    """Write what `controlwindow judge` found.

    Args:
        path: The file.
        document: What the command prints, with `oracle`, `measured`, `confusion` and `seed`.
        labels: The file of labelled answers.
        yes: Labels that mean yes.

    Raises:
        UsageError: It cannot be written.
    """
    source = Labels(file=labels.name, sha256=hashlib.sha256(labels.read_bytes()).hexdigest(), yes=tuple(yes))
    content = {**document, "labels": source.model_dump(mode="json")}
    try:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "give another --out") from error


def read_agreement(path: Path) -> AgreementFile:
    """Read what `write_agreement` wrote.

    Raises:
        BehaviorError: There is no such file, or it is another one.
    """
    hint = _AGAIN.format(path=path.name)
    text = read_text(path, _LARGEST, absent="no agreement file", hint=hint)
    try:
        return AgreementFile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BehaviorError(
            f"{path} says nothing of an oracle's agreement: {key + ': ' if key else ''}{first['msg']}", hint
        ) from error


def agreements_of(behavior: Behavior) -> dict[str, AgreementFile]:
    """How the oracles of a behavior agree with people, as its [agreement] says; each must be of this very oracle.

    Raises:
        BehaviorError: A file is missing, is another one, or was measured with another oracle.
    """
    found = {}
    folder = Path(behavior.file).parent if behavior.file else Path()
    for name, file in behavior.definition.agreement.items():
        path = folder / file
        read = read_agreement(path)
        oracle = behavior.definition.oracles[name]
        if read.measured != oracle_fingerprint(oracle, behavior.languages):
            raise BehaviorError(
                f"{behavior.where}{path} was measured with another oracle ({read.oracle}) than '{name}' is now "
                f"({oracle.type})",
                f"measure it again: controlwindow judge {behavior.file or behavior.name}:{name} --labels FILE --yes "
                f"LABEL --out {path.name}",
            )
        found[name] = read
    return found


def agreement_records(behavior: Behavior) -> dict[str, dict[str, Any]]:
    """What a ledger keeps of them: enough for every figure, and which outcomes each oracle decides between."""
    return {
        name: {
            "type": read.oracle,
            "labels": read.labels.model_dump(mode="json"),
            "confusion": read.confusion.model_dump(mode="json"),
            "seed": read.seed,
            "decides": decided_by(name, tuple(behavior.definition.oracles)),
        }
        for name, read in agreements_of(behavior).items()
    }
