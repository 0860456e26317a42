from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlwindow.report import page, wording


@pytest.mark.parametrize("module", [wording, page])
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
