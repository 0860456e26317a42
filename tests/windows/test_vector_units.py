"""Units of vectors: exact against geometry, and a neuron's own write has the neuron's units."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import controlwindow as cw
import tiny_families
from controlwindow.errors import OperationError, UsageError
from controlwindow.instruments.operations import Inject
from controlwindow.instruments.rollout import rollout
from controlwindow.models.vectors import ResidualVector
from controlwindow.windows.atlas import predict_ceilings
from controlwindow.windows.vectors import vector_of
from tiny_models import PROMPTS


@pytest.mark.parametrize("branch", [1, -1])
def test_a_neurons_write_has_the_neurons_budget_cosine_and_predicted_ceiling(llama, branch):
    table = predict_ceilings(llama, ["L1.N7"], probe=True)
    (row,) = [row for row in table.iter_rows(named=True) if row["branch"] == branch]
    found = cw.units(llama, cw.write_direction(llama, cw.Neuron(1, 7)), 1, branch * 3.0)
    assert found.branch == branch
    assert found.budget == pytest.approx(row["budget"], rel=1e-5)
    assert found.c0 == pytest.approx(row["c0"], abs=1e-6)
    assert found.predictor == row["predictor"]
    expected = row["ceiling_predicted"]
    assert found.ceiling == (None if expected is None else pytest.approx(expected, abs=1e-5))
    assert found.t == pytest.approx(3.0 / row["budget"], rel=1e-5)
    assert found.c == pytest.approx((found.c0 + found.t) / math.sqrt(1 + 2 * found.c0 * found.t + found.t**2))


def test_length_counts_in_the_budget_alone_and_the_coefficient_in_t(llama):
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    one, twice = cw.units(llama, vector, 2, 4.0), cw.units(llama, 2 * vector, 2, 2.0)
    assert (one.t, one.c, one.ceiling) == pytest.approx((twice.t, twice.c, twice.ceiling))
    assert one.budget == pytest.approx(2 * twice.budget)
    away = cw.units(llama, -vector, 2, -4.0)
    assert (one.c0, one.c, one.ceiling_coefficient) == pytest.approx(
        (away.c0, away.c, -away.ceiling_coefficient), abs=1e-3
    ), "the median of an even number of cosines is the lower one of two"
    assert one.c0 == pytest.approx(-cw.units(llama, vector, 2, -4.0).c0)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_predicted_cosine_is_the_one_at_work(family):
    """Behind the block no norm caps a vector: generic text of the dosed model shows c near the curve in any family."""
    model = tiny_families.model(family)
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1))
    size = float(cw.generic_pass(model).residual_norm[1] / vector.norm())
    found = cw.units(model, vector, 1, size)
    assert found.t == pytest.approx(1.0)
    out = rollout(model, list(PROMPTS), [Inject(1, size * vector)], max_new_tokens=4)
    measured = np.median([c for c in out.control_coordinate[0] if c is not None])
    assert measured == pytest.approx(found.c, abs=0.15)


def test_a_vector_that_does_not_fit_is_refused(llama):
    vector = torch.ones(32)
    for given, layer, message in (
        (vector, None, "does not say at which layer"),
        (torch.ones(31), 0, "has 31 values"),
        (vector, 3, "has no layer 3"),
        (torch.zeros(32), 0, "not zero"),
        (torch.full((32,), math.nan), 0, "finite"),
    ):
        with pytest.raises(UsageError, match=message):
            vector_of(llama, given, layer)
    with pytest.raises(OperationError, match="finite"):
        cw.units(llama, vector, 0, math.inf)
    assert vector_of(llama, ResidualVector("v", 0, vector), 2).layer == 2
