from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from synthetic import synthetic_values

from controlwindow.errors import ReportError
from controlwindow.report import ReportDocument, load_document


def test_a_document_survives_json() -> None:
    document = load_document(synthetic_values())
    assert ReportDocument.model_validate_json(document.model_dump_json()) == document


def _misspell(values: dict[str, Any]) -> None:
    values["windows"][2]["celing"] = 0.5


def _not_a_number(values: dict[str, Any]) -> None:
    values["windows"][1]["doses"][3]["c"] = float("nan")


def _beyond_one(values: dict[str, Any]) -> None:
    values["windows"][0]["trigger"] = 1.2


def _unknown_behavior(values: dict[str, Any]) -> None:
    values["windows"][0]["behavior"] = "flattery"


def _unknown_outcome(values: dict[str, Any]) -> None:
    values["windows"][0]["doses"][0]["shares"]["64"]["odd"] = 0.0


def _twice(values: dict[str, Any]) -> None:
    values["windows"].append(values["windows"][0])


def _open_without_trigger(values: dict[str, Any]) -> None:
    values["windows"][0]["trigger"] = None


def _missing(values: dict[str, Any]) -> None:
    del values["coherence"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_misspell, "windows.2.celing"),
        (_not_a_number, "windows.1.doses.3.c"),
        (_beyond_one, "windows.0.trigger"),
        (_unknown_behavior, "'flattery' is not in the document"),
        (_unknown_outcome, "unknown outcomes"),
        (_twice, "appears twice"),
        (_open_without_trigger, "has no trigger"),
        (_missing, "coherence"),
    ],
)
def test_invalid_data_is_named(damage: Callable[[dict[str, Any]], None], words: str) -> None:
    values = synthetic_values()
    damage(values)
    with pytest.raises(ReportError) as caught:
        load_document(values)
    assert words in str(caught.value)
    assert caught.value.hint


def test_a_document_is_frozen() -> None:
    document = load_document(synthetic_values())
    with pytest.raises(ValueError, match="frozen"):
        document.run = "other"  # type: ignore[misc]
