"""Cells, handlers and screens from outside the package: the examples of the documentation, installed and run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import extensions
import tiny_models
from controlwindow import rollout, run_screen
from controlwindow.behaviors import CoherenceDetector
from controlwindow.cells import Cell, RolloutCell, cell_from_key
from controlwindow.cells import base as cells
from controlwindow.errors import ControlWindowError, ExtensionError, LedgerError, ScreenError
from controlwindow.instruments import generic_pass
from controlwindow.instruments.gradients import last_activations
from controlwindow.measuring.engine import Engine
from controlwindow.measuring.handlers import base as handlers
from controlwindow.models import Model, Neuron
from controlwindow.plugins import HANDLERS, SCREENS
from controlwindow.runs.asks import Asks
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler
from controlwindow.screens import base as screens
from controlwindow.screens import find_screen, screen_names
from small_behaviors import make_behavior

PERMISSIVE = CoherenceDetector(1.0, 1e6, 1e6, 1e6, 1e-6, 1e-6)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What a test registers is gone after it."""
    find_screen("random")
    handlers.handler_of(RolloutCell)
    monkeypatch.setattr(cells, "_KINDS", dict(cells._KINDS))
    monkeypatch.setattr(handlers, "_HANDLERS", dict(handlers._HANDLERS))
    monkeypatch.setattr(screens, "_SCREENS", dict(screens._SCREENS))
    return monkeypatch


@pytest.fixture
def installed(tmp_path: Path, apart: pytest.MonkeyPatch) -> None:
    extensions.install(
        tmp_path / "site", apart, "window-spread", extensions.examples(), extensions.example_entry_points()
    )


@pytest.fixture
def llama() -> Model:
    return tiny_models.llama()


def test_a_screen_with_a_cell_of_its_own_is_two_files(installed: None, llama: Model) -> None:
    behavior = make_behavior()
    assert "spread" in screen_names()
    assert "spread" not in sys.modules
    found = run_screen(llama, behavior, "spread")
    activations = last_activations(llama, llama.token_ids([p.text for p in behavior.contrast("find").positive]))
    expected = np.concatenate([layer.std(0) for layer in activations])
    scores = dict(zip(found.table["neuron"], found.table["score"], strict=True))
    assert [scores[str(neuron)] for neuron in llama.neurons] == expected.tolist()
    assert found.table["rank"].to_list() == list(range(1, len(expected) + 1))
    assert found.table.select(pl.col("score").is_sorted(descending=True)).item()
    assert (found.cost.forward, found.cost.backward) == (9, 0)


def test_a_rolled_out_cell_of_ones_own_is_measured_resumed_and_read(
    installed: None, llama: Model, tmp_path: Path
) -> None:
    behavior = make_behavior()
    key = '["ClampCell",{"behavior":"mode","horizon":4,"most":-3.0,"neuron":"L1.N4","prompts":[],"split":"evaluate"}]'
    cell = cell_from_key(key)
    assert (cell.key, cell.rolls_out, cell.changed_neurons()) == (key, True, ("L1.N4",))
    clamp = sys.modules["ceiling_operation"].Clamp(Neuron(1, 4), -3.0)
    prompts = [prompt.text for prompt in behavior.prompts("evaluate")]
    expected = rollout(llama, prompts, [None, clamp], max_new_tokens=4)
    assert expected.token_ids[0] != expected.token_ids[1]
    with Ledger(tmp_path / "ledger.sqlite", create=True) as ledger:
        engine = Engine(llama, {"mode": behavior}, generic_pass(llama), ledger, PERMISSIVE)
        assert engine.rows_in(cell) == 16
        Scheduler(ledger, engine).run("clamped", [Asks([RolloutCell("mode", "evaluate", horizon=4), cell])])
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        rows = ledger.rows(cell)
        assert rows is not None
        assert [row["token_ids"] for row in rows] == expected.token_ids[1]
        assert [row["coordinate"] for row in rows] == pytest.approx(expected.control_coordinate[1], abs=1e-4)


def test_a_screen_on_cells_that_are_there_is_one_file(apart: pytest.MonkeyPatch, llama: Model, tmp_path: Path) -> None:
    text = """
from controlwindow.screens.base import ContrastScreen, register


@register
class Loudest(ContrastScreen):
    name = "loudest"

    def scores(self):
        return self.activations.high
"""
    extensions.install(
        tmp_path, apart, "loudest", {"loudest_screen.py": text}, {SCREENS: {"loudest": "loudest_screen"}}
    )
    found = run_screen(llama, make_behavior(), "loudest")
    assert find_screen("loudest").__module__ == "loudest_screen"
    assert found.table.height > 0


def test_a_broken_extension_is_named_and_breaks_nothing_else(
    apart: pytest.MonkeyPatch, llama: Model, tmp_path: Path
) -> None:
    groups = {SCREENS: {"odd": "odd_parts"}, HANDLERS: {"OddCell": "odd_parts", "Absent": "odd_parts.none"}}
    extensions.install(tmp_path, apart, "odd-parts", {"odd_parts.py": "import no_such_thing\n"}, groups)
    message = r"entry point 'odd' of controlwindow\.screens \(odd_parts, from odd-parts 1\.2\).*no_such_thing"
    with pytest.raises(ControlWindowError, match=message) as caught:
        find_screen("odd")
    assert isinstance(caught.value, ExtensionError)
    assert caught.value.hint == "repair that distribution, or uninstall it"
    with pytest.raises(ExtensionError, match="'OddCell' of controlwindow"):
        cell_from_key('["OddCell",{"behavior":"mode","split":"find"}]')
    assert "odd" in screen_names()
    assert find_screen("random").name == "random"
    with pytest.raises(ScreenError, match=r"unknown screen 'even'"):
        find_screen("even")
    with pytest.raises(LedgerError, match="'EvenCell', which is unknown here"):
        cell_from_key('["EvenCell",{"behavior":"mode","split":"find"}]')


def test_two_extensions_of_one_name_are_refused(apart: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("first", "second"):
        extensions.install(tmp_path / name, apart, name, {}, {SCREENS: {"twin": f"{name}_screen"}})
    with pytest.raises(ExtensionError, match="first and second both have an entry point 'twin'"):
        find_screen("twin")


def test_a_cell_without_a_handler_is_named(apart: pytest.MonkeyPatch, llama: Model) -> None:
    class Orphan(Cell):
        pass

    with Ledger() as ledger:
        engine = Engine(llama, {"mode": make_behavior()}, generic_pass(llama), ledger)
        with pytest.raises(ExtensionError, match="nothing here measures cells of the kind 'Orphan'"):
            engine.rows_in(Orphan("mode", "find"))


def test_a_rolled_out_cell_whose_operations_nobody_says_is_named(apart: pytest.MonkeyPatch, llama: Model) -> None:
    class Silent(RolloutCell):
        pass

    class Mute(Cell):
        pass

    with Ledger() as ledger:
        steering = Engine(llama, {"mode": make_behavior()}, generic_pass(llama), ledger).steering
        assert steering.operations(Silent("mode", "evaluate")) == ()
        with pytest.raises(ExtensionError, match="nothing says what a Mute does to the model"):
            steering.operations(Mute("mode", "evaluate"))


def test_a_cells_subclass_has_its_handler(apart: pytest.MonkeyPatch) -> None:
    class Special(RolloutCell):
        pass

    assert handlers.handler_of(Special) is handlers.handler_of(RolloutCell)
