"""Which neurons are measured: roles never share a neuron, known answers are held out, every layer has its share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import tiny_models
from controlwindow.jobs.law.candidates import assign, region
from controlwindow.jobs.law.plan import LawSizes


@pytest.fixture(scope="module")
def model():
    return tiny_models.llama()


def card(**changes):
    def neuron(name, behavior="mode", branch=1, **more):
        return SimpleNamespace(neuron=name, behavior=behavior, branch=branch, **more)

    values = {
        "name": "organism:tiny",
        "planted": (neuron("L0.N1"), neuron("L1.N1"), neuron("L2.N1"), neuron("L0.N9", "elsewhere")),
        "known": (neuron("L2.N5", role="failure"), neuron("L1.N1", "other", role="decoy")),
        "census": {"open": {"mode": {"neurons": ["L0.N2", "L0.N3", "L0.N4", "L0.N6", "L0.N7"]}}},
    }
    return SimpleNamespace(**{**values, **changes})


SIZES = LawSizes(calibration=6, held_out=9, screened=1, natural=2)
RANKED = {"mode": ["L0.N1", "L1.N7", "L1.N8", "L1.N9"]}


def chosen(model, sizes=SIZES, silent=frozenset(), behaviors=("mode", "other")):
    return assign(model, card(), list(behaviors), RANKED, silent, sizes)


def test_no_neuron_is_fitted_on_and_scored_on(model):
    roles = {}
    for a in chosen(model):
        roles.setdefault(a.neuron, set()).add(a.role)
    assert all(len(found) == 1 for found in roles.values())
    pairs = [(a.neuron, a.behavior) for a in chosen(model)]
    assert len(set(pairs)) == len(pairs)


def test_every_source_has_its_number(model):
    counts = {}
    for a in chosen(model):
        counts[a.source, a.role] = counts.get((a.source, a.role), 0) + 1
    assert counts["random", "held_out"] == 9
    assert counts["random", "calibration"] == 6
    assert counts["natural", "held_out"] == counts["natural", "calibration"] == 2
    assert counts["screened", "held_out"] == counts["screened", "calibration"] == 1
    assert counts["failure", "held_out"] == 1
    assert counts["planted", "calibration"] == 1
    assert counts["planted", "held_out"] == 2
    assert "L0.N9" not in {a.neuron for a in chosen(model) if a.source == "planted"}, "no such behavior here"


def test_a_planted_neuron_known_elsewhere_is_held_out_everywhere(model):
    mine = [a for a in chosen(model) if a.neuron == "L1.N1"]
    assert {(a.source, a.behavior) for a in mine} == {("decoy", "other"), ("planted", "mode")}
    assert {a.role for a in mine} == {"held_out"}


def test_random_neurons_come_from_every_layer_and_for_every_behavior_in_turn(model):
    random = [a for a in chosen(model) if a.source == "random" and a.role == "held_out"]
    layers = [sum(a.neuron.startswith(f"L{layer}.") for a in random) for layer in range(3)]
    assert layers == [3, 3, 3]
    assert abs(sum(a.behavior == "mode" for a in random) - sum(a.behavior == "other" for a in random)) <= 1
    both = chosen(model, SIZES.model_copy(update={"behaviors_each": 5}))
    by_neuron = [a.behavior for a in both if a.source == "random" and a.neuron == random[0].neuron]
    assert sorted(by_neuron) == ["mode", "other"]


def test_the_seed_decides_and_neurons_without_a_dose_are_left_out(model):
    assert chosen(model) == chosen(model)
    other = chosen(model, SIZES.model_copy(update={"seed": 1}))
    assert {a.neuron for a in chosen(model)} != {a.neuron for a in other}
    silent = frozenset({"L2.N5", "L1.N7"} | {f"L0.N{i}" for i in range(48)})
    left = {a.neuron for a in chosen(model, silent=silent)}
    assert not left & silent
    assert not assign(model, None, ["mode"], {}, frozenset(map(str, model.neurons)), SIZES)


@pytest.mark.parametrize("layers", [1, 2, 3, 5, 8, 32])
def test_every_model_has_its_regions(layers):
    found = [region(layer, layers) for layer in range(layers)]
    assert found[0] == "early"
    assert found[-1] == ("late" if layers > 1 else "early")
    assert found == sorted(found, key=("early", "bulk", "late").index)
    assert found.count("early") == max(1, layers // 4)


def test_copies_are_one_case_with_one_role(model):
    """L0.N20 writes as the planted L0.N1, L1.N8 as the screened L1.N7, L0.N3 as the census's L0.N2."""
    columns = {"L0.N20": "L0.N1", "L1.N8": "L1.N7", "L0.N3": "L0.N2", "L2.N40": "L2.N5"}
    planted = (*card().planted, SimpleNamespace(neuron="L0.N20", behavior="mode", branch=1))
    found = assign(model, card(planted=planted), ["mode", "other"], RANKED, frozenset(), SIZES, columns)
    roles = {}
    for a in found:
        roles.setdefault(columns.get(a.neuron, a.neuron), set()).add(a.role)
        assert a.column == columns.get(a.neuron)
    assert all(len(of_case) == 1 for of_case in roles.values())
    names = [a.neuron for a in found]
    # Planted copies are both measured; of copies that were not planted one stands for both.
    assert {"L0.N1", "L0.N20"} <= set(names)
    assert "L1.N8" not in names
    assert len({"L0.N2", "L0.N3"} & set(names)) <= 1
    assert "L2.N40" not in names, "it would repeat a known failure"
    natural = [a for a in found if a.source == "natural"]
    assert len({columns.get(a.neuron, a.neuron) for a in natural}) == len(natural) == 4


def test_a_third_of_planted_cases_is_for_calibration_however_often_they_are_copied(model):
    columns = {f"L1.N{20 + i}": f"L0.N{20 + i}" for i in range(6)}
    planted = tuple(
        SimpleNamespace(neuron=name, behavior="mode", branch=1) for pair in columns.items() for name in pair
    )
    found = assign(model, card(planted=planted, known=()), ["mode"], {}, frozenset(), SIZES, columns)
    mine = [a for a in found if a.source == "planted"]
    assert len(mine) == 12
    fitted = {columns.get(a.neuron, a.neuron) for a in mine if a.role == "calibration"}
    assert len(fitted) == 2
    assert sum(a.role == "calibration" for a in mine) == 4
