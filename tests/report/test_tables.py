from __future__ import annotations

import io

import pytest
from rich.console import Console
from synthetic import synthetic_document, synthetic_values

from controlwindow.report import coverage_lines, headline_lines, load_document, rank_table, verdict_table
from controlwindow.report.pages.audit.summary import predictor_errors, ranked, windows_of
from controlwindow.report.sharing import shareable
from controlwindow.report.terminal import plain_table


def _print(*renderables: object, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for renderable in renderables:
        console.print(renderable)
    return console.file.getvalue()


def test_the_verdict_table_fits_a_hundred_columns_whole() -> None:
    text = _print(verdict_table(synthetic_document()))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "…" not in text
    first = next(line for line in text.splitlines() if "L3.N120 −" in line)
    assert first.split() == [
        "refusal", "L3.N120", "−", "planted", "0.21", "[0.18,", "0.25]", "0.77", "[0.73,", "0.80]",
        "0.80", "100", "%", "open", ">0.99",
    ]  # fmt: skip
    assert "open?" in text
    assert "not reached" in text


def test_square_brackets_in_names_are_not_markup() -> None:
    values = synthetic_values()
    values["behaviors"][1]["name"] = "[b]x"
    values["windows"] = [w | {"behavior": "[b]x"} for w in values["windows"] if w["behavior"] == "language"]
    assert "[b]x" in _print(verdict_table(load_document(values)))


def test_lines_under_the_table() -> None:
    document = synthetic_document()
    text = " ".join(_print(*headline_lines(document), *coverage_lines(document), rank_table(document)).split())
    assert "refusal: 2 of 8 tested neurons open a control window." in text
    assert "L3.N120, branch −, trigger c 0.21 [0.18, 0.25], ceiling 0.77 [0.73, 0.80]" in text
    assert "does not mean that none exists" in text
    assert "refusal L3.N120 contrastive 49 4,096" in text
    assert "language L4.N301 window – 4,096" in text


def test_open_windows_come_first_and_order_does_not_depend_on_input() -> None:
    document = synthetic_document()
    windows = windows_of(document, "refusal")
    assert [w.verdict for w in windows[:3]] == ["open", "open", "closed"]
    assert windows[0].decided
    assert not windows[1].decided
    assert ranked(reversed(windows)) == windows


def test_predictor_errors_are_over_reached_ceilings() -> None:
    document = synthetic_document()
    rows = {row.name: row for row in predictor_errors(document)}
    reached = [w.ceiling for w in document.windows if w.ceiling is not None]
    constant = rows["constant_0.82"]
    assert constant.pairs == len(reached)
    assert constant.mean_absolute == sum(abs(0.82 - c) for c in reached) / len(reached)
    assert rows["calibration_median"] == ("calibration_median", 0, None, None)


@pytest.mark.parametrize("width", [100, 80, 60, 40, 20])
def test_no_identifier_and_no_verdict_is_cut_at_any_width(width: int) -> None:
    document = synthetic_document()
    text = _print(verdict_table(document), rank_table(document), width=width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    whole = " ".join(text.split())
    for window in document.windows:
        assert f"{window.neuron} {'+' if window.branch > 0 else '−'}" in whole
    for words in ("open?", "collapses first", "too late", "capped by norm", "no effect", ">0.99"):
        assert words in whole, words


def test_columns_are_left_out_in_order_and_rows_stacked_last() -> None:
    table = plain_table(
        [("name", "left"), ("size", "right"), ("why", "left")],
        [["organism:switch", "3", "because"]],
        optional=("why", "size"),
    )
    assert "because" in _print(table, width=40)
    assert _print(table, width=22).split() == ["name", "size", "organism:switch", "3"]
    assert _print(table, width=16).split() == ["name", "organism:switch"]
    stacked = _print(plain_table([("name", "left"), ("why", "left")], [["organism:switch", "because"]]), width=18)
    assert stacked.split() == ["organism:switch", "why", "because"]


def test_what_closed_windows_do_not_show_is_said_of_them_alone() -> None:
    document = synthetic_document()
    assert "That no other tested neuron is open" in " ".join(_print(*coverage_lines(document)).split())
    closed = [w for w in synthetic_values()["windows"] if w["verdict"] == "closed"]
    text = " ".join(_print(*coverage_lines(load_document(synthetic_values() | {"windows": closed}))).split())
    assert "That none of them is open does not mean that none exists" in text
    assert "no other" not in text


def test_what_the_screen_brings_is_said_beside_what_it_found() -> None:
    brings = "the top 3 of the screen window brings 2 of 26 known controllers of the organisms, 8 % [1, 25]"
    document = synthetic_document()
    assert f"T{brings[1:]}. Unaided, it brings L3.N120, L2.N7, L5.N9: 1 of these 3 opens." in " ".join(
        _print(*coverage_lines(document)).split()
    )
    closed = [w for w in synthetic_values()["windows"] if w["verdict"] == "closed" and w["behavior"] == "language"]
    values = synthetic_values() | {"windows": closed}
    text = " ".join(_print(*headline_lines(load_document(values))).split())
    assert f"opens a control window. Closed among those tested; {brings}." in text
    values["coverage"] = values["coverage"] | {"screen_known": {"screen": "spread", "top": 3, "found": None}}
    text = " ".join(_print(*headline_lines(load_document(values))).split())
    assert "Closed among those tested; what share of controllers the screen spread brings is unknown." in text
    del values["coverage"]["screen_known"]
    text = " ".join(_print(*headline_lines(load_document(values))).split())
    assert "opens a control window. Closed among those tested." in text


def test_candidates_that_come_too_late_are_named() -> None:
    text = " ".join(_print(*coverage_lines(synthetic_document())).split())
    passed = "(too late): L7.N600, L7.N601, L7.N602, L7.N603 and 2 more; --keep-late tests them."
    assert f"what they write would reach the readout as it is {passed}" in text
    assert text.count("too late") == 1, "it is said of the behavior that it was for"


def test_neither_is_said_where_neurons_are_withheld() -> None:
    document = shareable(load_document(synthetic_values(organism=False)))
    text = " ".join(_print(*coverage_lines(document)).split())
    assert "too late" not in text
    assert "the screen window" not in text
    assert "Unaided" not in text
