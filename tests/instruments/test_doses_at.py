"""Doses by the coordinate that they reach."""

from __future__ import annotations

import pytest

from controlwindow.errors import OperationError
from controlwindow.instruments import Dose
from controlwindow.instruments.generic import generic_pass
from tiny_models import llama


@pytest.fixture(scope="module")
def model():
    return llama()


@pytest.mark.parametrize("branch", [1, -1])
def test_a_dose_at_a_coordinate_lies_on_the_branchs_curve(model, branch):
    dose = Dose.at("L1.N3", c=0.5, model=model, branch=branch, positions="generated")
    curve = generic_pass(model).curve(model, "L1.N3", branch)
    assert (dose.branch, dose.positions, str(dose.neuron)) == (branch, "generated", "L1.N3")
    assert curve.coordinate(abs(dose.t)) == pytest.approx(0.5, abs=1e-9)


def test_what_no_dose_reaches_is_refused(model):
    cosine = generic_pass(model).curve(model, "L1.N3", 1).cosine
    for c, words in (
        (1.0, "no dose of L1.N3 reaches c = 1"),
        (cosine - 0.05, "undosed on branch"),
        (float("nan"), "fin"),
    ):
        with pytest.raises(OperationError, match=words):
            Dose.at("L1.N3", c=c, model=model)
    with pytest.raises(OperationError, match="a branch is"):
        Dose.at("L1.N3", c=0.5, model=model, branch=2)
