"""Scores of a law document computed anew from its records: rows as they were measured, statistics as they are now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from controlwindow.behaviors.files import safe_text
from controlwindow.catalogue import PREFIX, organism_path
from controlwindow.errors import LedgerError
from controlwindow.jobs.law.columns import population_of, shared_columns
from controlwindow.jobs.law.document import VERSION, scored_document
from controlwindow.jobs.law.plan import card_of
from controlwindow.jobs.law.records import Record
from controlwindow.models import Model, load_model
from controlwindow.runs.records import library_versions
from controlwindow.values import from_table, to_table


def rescored(document: Mapping[str, Any], models: Sequence[str] = (), *, today: date | None = None) -> dict[str, Any]:
    """A document with its scores computed again; nothing is rolled out.

    Documents of version 1 do not say which neurons share a write column, nor how many neurons a model has: both are
    read from the weights, which must be the ones that were measured.

    Args:
        document: The document as it was read.
        models: Where models lie that are no organisms of this installation.
        today: What the history says; default the day of the call.

    Raises:
        LedgerError: It is no law document, or the weights of one of its models are needed and not at hand.
    """
    if not isinstance(document.get("version"), int) or document["version"] > VERSION or "records" not in document:
        raise LedgerError(
            f"no law document that this controlwindow reads: version {document.get('version')!r}",
            "give a file that `controlwindow validate --write` wrote",
        )
    records: list[Record] = list(from_table(document["records"]))
    measured: dict[str, dict[str, Any]] = {name: dict(values) for name, values in document["models"].items()}
    source = "as measured"
    if any("column" not in r for r in records) or any(m.get("population") is None for m in measured.values()):
        records = _complete(records, measured, models)
        source = "as measured; shared write columns and numbers of neurons read from the weights"
    history = [
        *document.get("history", ()),
        {
            "on": (today or date.today()).isoformat(),
            "from_version": document["version"],
            "to_version": VERSION,
            "controlwindow": library_versions()["controlwindow"],
            "records": source,
        },
    ]
    kept = {key: document[key] for key in ("order", "plan")}
    return scored_document(to_table(records), measured, {**kept, "history": history})


_LARGEST = 1 << 30
"""Most bytes of a law document; that of twelve models has 3 MB."""


def rescore_file(path: Path, models: Sequence[str] = ()) -> dict[str, Any]:
    """`rescored` of a file.

    Raises:
        LedgerError: The file cannot be read, or as `rescored`.
    """
    try:
        document = json.loads(safe_text(path, _LARGEST))
    except (ValueError, RecursionError) as error:
        raise LedgerError(
            f"{path}: no law document can be read there ({error})", "name a file of `validate`"
        ) from error
    if not isinstance(document, dict):
        raise LedgerError(f"{path}: no law document", "name a file of `validate`")
    return rescored(document, models)


def _complete(records: Sequence[Record], measured: dict[str, dict[str, Any]], models: Sequence[str]) -> list[Record]:
    """Records with their columns; what the models are taken from is added to `measured`."""
    given = {model.fingerprint: model for model in map(load_model, models)}
    columns: dict[str, dict[str, str]] = {}
    for name, values in measured.items():
        model = _model(name, values["fingerprint"], given)
        columns[name] = shared_columns(model)
        values["population"] = population_of(model, card_of(model))
    return [_with_column(r, columns[r["model"]]) for r in records]


def _model(name: str, fingerprint: str, given: Mapping[str, Model]) -> Model:
    found = given.get(fingerprint)
    if found is None and name.startswith(PREFIX):
        organism_path(name)
        found = load_model(name)
    if found is None or found.fingerprint != fingerprint:
        raise LedgerError(
            f"the weights of {name} ({fingerprint[:12]}) are needed to know which of its neurons are copies",
            f"name the directory that holds them: controlwindow validate DIRECTORY --rescore FILE ({name})",
        )
    return found


def _with_column(record: Record, columns: Mapping[str, str]) -> Record:
    """The record with its write column behind the neuron's name."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found[key] = value
        if key == "neuron":
            found["column"] = columns.get(value, value)
    return found
