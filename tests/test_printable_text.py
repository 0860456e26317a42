from __future__ import annotations

import doctest
import io
import json
import sys

import pytest
from rich.table import Table

from controlwindow import text
from controlwindow.cli.display import SafeConsole, forgive_encodings, print_json
from controlwindow.report.terminal import plain_table

EVIL = "a\x1b[31mb\x07c\u202ed\u2028e\x9bf"


def test_examples() -> None:
    assert doctest.testmod(text) == (0, 4)


def test_nothing_that_acts_is_printable() -> None:
    assert text.printable(EVIL) == r"a\x1b[31mb\x07c\u202ed\u2028e\x9bf"
    assert text.printable("plain −0.5 ‖r‖ é 字\n\tyes", keep="\n\t") == "plain −0.5 ‖r‖ é 字\n\tyes"
    assert text.printable("two\nlines") == r"two\nlines"


def _printed(renderable: object, encoding: str = "utf-8", **options: object) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    SafeConsole(file=file, width=70, highlight=False, **options).print(renderable)
    file.flush()
    return raw.getvalue().decode(encoding)


def test_text_of_others_does_not_act_on_a_terminal() -> None:
    table = Table("name")
    table.add_row(EVIL)
    for renderable in (EVIL, table, plain_table([(EVIL, "left")], [[EVIL]], EVIL)):
        shown = _printed(renderable, color_system=None)
        assert not set(shown) & set("\x1b\x07\u202e\u2028\x9b")
        assert r"\x1b" in shown


def test_colours_of_our_own_stay() -> None:
    assert "\x1b[31m" in _printed("[red]wrong[/]", color_system="standard", force_terminal=True)


def test_an_encoding_that_lacks_a_sign_gets_another() -> None:
    assert _printed("−0.45 ‖r‖ 字", "cp1252").strip() == "-0.45 ||r|| ?"


def test_json_is_whole_on_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="cp1252"))
    forgive_encodings()
    print_json({"a": "−字"}, "screen")
    sys.stdout.write("字")
    sys.stdout.flush()
    document, _, rest = raw.getvalue().decode("cp1252").rpartition("\n")
    assert json.loads(document) == {"schema": "controlwindow/screen/1", "a": "−字"}
    assert rest == "\\u5b57"
