"""Memory that levels off is told from memory that grows; the long run is `make torture SOAK=60`."""

from __future__ import annotations

from pathlib import Path

from controlwindow.runs.ledger import Ledger
from torture.children import run_child
from torture.soak import levels_off, resident_mebibytes


def test_growth_is_told_from_a_level():
    assert levels_off([100, 180, 200, 201, 199, 200, 202, 200, 201]) is None
    assert levels_off([100, 110, 120, 130, 140, 150, 160, 170, 180]) == (
        "memory grows: 140 MiB in the middle third, 170 MiB in the last"
    )
    assert levels_off([100, 100]) == "2 rounds are too few"


def test_opening_and_reading_ledgers_over_and_over_levels_off(tmp_path: Path):
    noted = tmp_path / "memory"

    def work() -> None:
        for number in range(90):
            with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
                ledger.record("x", str(number), {"text": "a" * 1000})
                assert len(ledger.find_all("x")) == number + 1
            if number % 10 == 9:
                with noted.open("a") as file:
                    file.write(f"{resident_mebibytes()}\n")

    assert run_child(work, limit=120).code == 0
    assert levels_off(list(map(float, noted.read_text().split()))) is None
