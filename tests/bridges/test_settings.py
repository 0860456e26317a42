"""Which dose another tool's few words name."""

from __future__ import annotations

from pathlib import Path

import pytest

import controlwindow as cw
from controlwindow.bridges.settings import UNDOSED, choose_window, place_in, read_audit, read_setting
from controlwindow.errors import LedgerError, NeuronError, UsageError
from controlwindow.instruments import Add
from golden.runs import LANGUAGE


def test_a_neuron_and_c_are_the_dose_that_its_curve_brings_there(organism: cw.Model) -> None:
    setting = read_setting(organism, neuron=LANGUAGE, branch="-1", c="0.4")
    generic = cw.generic_pass(organism)
    t = generic.curve(organism, LANGUAGE, -1).dose(0.4)
    assert (setting.neuron, setting.branch, setting.c) == (LANGUAGE, -1, 0.4)
    assert setting.t == t
    assert setting.operations == (Add(cw.Neuron.parse(LANGUAGE), -t * generic.budget(organism, LANGUAGE), "all"),)


def test_t_is_taken_as_it_is(organism: cw.Model) -> None:
    setting = read_setting(organism, neuron=LANGUAGE, t=0.5, positions="generated")
    assert setting.operations == (cw.Dose(LANGUAGE, 0.5, "generated").operation(organism),)


def test_nothing_named_is_the_undosed_model(organism: cw.Model) -> None:
    assert read_setting(organism) is UNDOSED
    assert UNDOSED.operations == ()


def test_a_runs_places_are_those_of_its_open_window(organism: cw.Model, audited: Path) -> None:
    window = choose_window(read_audit(audited), audited, None, None, None)
    assert (window["neuron"], window["verdict"]) == (LANGUAGE, "open")
    trigger, ceiling = window["trigger"], window["ceiling"]
    found = [read_setting(organism, run=audited, c=c).c for c in ("trigger", "middle", "ceiling", 0.3)]
    assert found == pytest.approx([trigger, (trigger + ceiling) / 2, ceiling, 0.3], abs=1e-6)
    assert read_setting(organism, run=audited).c == found[1]
    assert read_setting(organism, run=audited, c="undosed") is UNDOSED


def test_a_window_without_an_end_has_no_place_there() -> None:
    window = {"neuron": "L1.N2", "branch": -1, "behavior": "b", "trigger": None, "ceiling": 0.7}
    assert place_in(window, "ceiling") == 0.7
    for place in ("trigger", "middle"):
        with pytest.raises(UsageError, match=r"the window of L1\.N2 -1 for b has no trigger"):
            place_in(window, place)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"c": 0.4}, "a dose was given, and no neuron"),
        ({"neuron": LANGUAGE}, f"no dose of {LANGUAGE} was given"),
        ({"neuron": LANGUAGE, "c": 0.4, "t": 0.5}, "both c=0.4 and t=0.5"),
        ({"neuron": LANGUAGE, "c": 0.4, "branch": 2}, "a branch is"),
        ({"neuron": LANGUAGE, "c": "high"}, "c is 'high'"),
        ({"neuron": LANGUAGE, "c": "nan"}, "c is 'nan'"),
        ({"neuron": LANGUAGE, "c": 1.0}, "no dose brings"),
        ({"neuron": LANGUAGE, "c": -0.9}, "lies below the undosed"),
        ({"neuron": LANGUAGE, "t": -1}, "t is -1"),
    ],
)
def test_what_names_no_dose_is_refused(organism: cw.Model, given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        read_setting(organism, **given)  # type: ignore[arg-type]
    assert error.value.hint


def test_neurons_windows_and_models_that_are_not_there(
    organism: cw.Model, llama: cw.Model, audited: Path, tmp_path: Path
) -> None:
    with pytest.raises(NeuronError, match="is not in organism:switch"):
        read_setting(organism, neuron="L99.N1", c=0.4)
    with pytest.raises(UsageError, match=r"no window of .* fits"):
        read_setting(organism, run=audited, neuron="L0.N1")
    with pytest.raises(LedgerError, match="measures organism:switch"):
        read_setting(llama, run=audited)
    with pytest.raises(LedgerError):
        read_setting(organism, run=tmp_path)
