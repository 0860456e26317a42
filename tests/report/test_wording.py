from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow import secrecy
from controlwindow.report import page, sharing, wording
from controlwindow.report.canvas import SCALE_END
from controlwindow.report.pages.audit import overview
from controlwindow.report.pages.audit.document import WindowResult


@pytest.mark.parametrize("module", [wording, page, secrecy, sharing])
def test_examples(module) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


@given(st.text())
def test_visible_text_is_printable(text: str) -> None:
    shown = wording.visible(text)
    assert all(character == " " or character.isprintable() or character.isspace() for character in shown)
    assert not set(shown) & set("\x00\x1b\n\r\t\u202e\u2066\u200b")


@pytest.mark.parametrize(("value", "text"), [(-0.001, "0.00"), (-0.5, "−0.50"), (1234.5, "1,234.50"), (None, "–")])
def test_numbers(value: float | None, text: str) -> None:
    assert wording.number(value) == text


def capped_window(**changes: Any) -> WindowResult:
    values = {
        "neuron": "L1.N2",
        "layer": 1,
        "behavior": "mode",
        "branch": 1,
        "candidate_from": "named",
        "trigger": None,
        "ceiling": None,
        "verdict": "closed",
        "decided": True,
        "failure_mode": "normalization_cap",
        "n_eligible": 16,
        "budget": 4.0,
        "residual_norm": 30.0,
        "write_norm": 2.0,
    }
    return WindowResult.model_validate({**values, **changes})


def test_a_predicted_ceiling_beyond_the_plateau_is_not_a_missing_one() -> None:
    assert wording.predicted_ceiling(capped_window(ceiling_reachable=False, plateau=0.4)) == "capped"
    assert wording.predicted_ceiling(capped_window(ceiling_reachable=False)) == "beyond doses"
    assert wording.predicted_ceiling(capped_window()) == "–"
    assert wording.predicted_ceiling(capped_window(ceiling_predicted=0.5, ceiling_reachable=True)) == "0.50"


def test_a_budget_is_told_with_the_two_norms_it_compares() -> None:
    for kind, parts in (("plain", "4 = 30 / 2"), ("capped", "4 = 8 / 2"), ("routed", "4 = 30 / 7.5")):
        window = capped_window(budget_kind=kind)
        assert wording.budget_parts(window) == parts
        assert wording.budget_name(window).startswith("budget B = ‖")
    assert wording.budget_parts(capped_window(budget=None)) == "–"


def test_a_line_of_the_overview_ends_at_the_plateau() -> None:
    window = capped_window(plateau=0.4)
    (row,) = overview.overview([window])["datasets"]["windows"]
    assert (row["reach"], row["end"], row["plateau"], row["beyond"]) == (0.4, 0.4, 0.4, False)
    collapsed = overview.overview([capped_window(plateau=0.4, ceiling=0.3)])["datasets"]["windows"][0]
    assert (collapsed["reach"], collapsed["end"], collapsed["beyond"]) == (0.3, 0.4, True)
    free = overview.overview([capped_window(ceiling=0.3)])["datasets"]["windows"][0]
    assert (free["end"], free["plateau"]) == (SCALE_END, None)
