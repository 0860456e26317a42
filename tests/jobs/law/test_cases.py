"""Neurons that share a write column are one case: found in weights, counted once, and a retest of each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tiny_models
from controlwindow.catalogue import load_card
from controlwindow.jobs.law.cases import copies, distinct
from controlwindow.jobs.law.columns import equal_columns, population_of, shared_columns
from controlwindow.jobs.law.noise import fell_back, noise_scores
from controlwindow.models import load_model
from law_records import record


def test_equal_columns_are_found_at_any_length_and_no_other_pair():
    columns = np.random.default_rng(0).normal(size=(16, 40))
    columns[:, 31] = 3.0 * columns[:, 4]
    columns[:, 17] = columns[:, 4]
    columns[:, 9] = -columns[:, 8]
    columns[:, 20] = columns[:, 21] + 0.01 * columns[:, 22]
    columns[:, [5, 6]] = 0.0
    assert equal_columns(columns) == [(4, 17), (4, 31), (17, 31)]
    # A copy in half precision at another scale, as organisms hold them.
    half = columns.astype(np.float16).astype(np.float64)
    half[:, 2] = (1.0006 * columns[:, 1]).astype(np.float16)
    assert (1, 2) in equal_columns(half)


def test_a_models_copies_carry_the_name_of_the_first():
    model = tiny_models.llama()
    assert shared_columns(model) == {}
    weight = model.hf_model.model.layers[1].mlp.down_proj.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[:, 7] = 2 * weight[:, 3]
        weight[:, 9] = weight[:, 3]
        weight[:, 11] = 0
    try:
        assert shared_columns(model) == {"L1.N7": "L1.N3", "L1.N9": "L1.N3"}
        total = sum(model.neurons.widths)
        assert population_of(model, None) == {"neurons": total - 1, "census_open": {}}
    finally:
        with torch.no_grad():
            weight.copy_(before)


@pytest.mark.parametrize("name", ["gelu", "sandwich", "wide", "scaled"])
def test_cards_and_weights_agree_on_what_is_a_copy(name):
    """Rates over cards group by what a card says, scores over records by the columns themselves."""
    card = load_card(name)
    columns = shared_columns(load_model(f"organism:{name}"))
    cases: dict[str, set[str]] = {}
    for known in (*card.planted, *card.known):
        cases.setdefault(columns.get(known.neuron, known.neuron), set()).add(known.case)
    assert all(len(said) == 1 for said in cases.values())
    assert len(cases) == len({case for said in cases.values() for case in said})
    assert len(cases) < len({known.neuron for known in (*card.planted, *card.known)})


def twin(**changes):
    return record(neuron="L1.N9", column="L1.N2", **changes)


def test_a_case_counts_once_and_never_on_both_sides():
    records = [
        record(neuron="L1.N1", role="calibration", column="L1.N1"),
        record(neuron="L1.N5", column="L1.N1"),
        record(neuron="L1.N2", column="L1.N2"),
        twin(),
        twin(branch=-1),
        twin(behavior="other"),
        twin(model="m2"),
    ]
    found = distinct(records)
    assert (found.crossed, found.repeated) == (1, 1)
    assert list(found.records) == [records[0], records[2], *records[4:]]
    assert distinct([record(neuron="L1.N1"), record(neuron="L1.N2")]).repeated == 0, "records without a column"


def test_copies_on_disjoint_prompts_are_a_retest():
    first = record(role="calibration", neuron="L1.N2", column="L1.N2", ceiling=0.70, trigger=0.3)
    second = twin(ceiling=0.73, trigger=None)
    other = record(role="calibration", model="m2", neuron="L1.N2", column="L1.N2", ceiling=0.50)
    another = twin(model="m2", ceiling=0.49)
    records = [first, second, other, another, record(neuron="L2.N1", column="L2.N1")]
    assert copies(records) == [(first, second), (other, another)]
    found = noise_scores(records, {})["retest"]["all"]
    assert found["ceiling"]["difference"]["value"] == pytest.approx((0.03 + 0.01) / 2)
    assert found["ceiling"]["error"]["value"] == pytest.approx(0.02 / math.sqrt(2))
    assert found["ceiling"]["error"]["clusters"] == 2
    assert found["ceiling"]["error"]["interval"] is None, "two neurons bound nothing"
    assert found["trigger"]["reached_once"] == 1
    moe = {"m2": {"family": "qwen2-moe", "details": []}}
    assert noise_scores(records, moe)["retest"]["mixtures of experts"]["ceiling"]["error"]["n"] == 1


def test_a_second_measurement_on_other_prompts_is_a_retest():
    detail = {
        "behavior": "mode", "neuron": "L1.N2", "branch": 1, "source": "random",
        "as_planned": {"trigger": 0.3, "ceiling": 0.7}, "other_prompts": {"trigger": 0.34, "ceiling": None},
    }  # fmt: skip
    found = noise_scores([], {"m1": {"family": "llama", "details": [detail]}})["retest"]["dense"]
    assert found["trigger"]["difference"]["value"] == pytest.approx(0.04)
    assert found["ceiling"]["reached_once"] == 1
    assert found["target_trigger"]["difference"]["n"] == 0


def test_an_interval_that_fell_back_to_c0_is_known_by_its_end():
    assert fell_back(record(c0=0.05, ceiling=0.7, ceiling_interval=[0.05, 0.75]), "ceiling")
    assert not fell_back(record(c0=0.05, ceiling=0.7, ceiling_interval=[0.6, 0.75]), "ceiling")
    assert not fell_back(record(c0=0.05, ceiling=None, ceiling_interval=[0.05, None]), "ceiling")
    # Below the first dose of the coarse scan nothing but the undosed model bounds an interval.
    assert not fell_back(record(c0=0.0, trigger=0.08, trigger_interval=[0.0, 0.2]), "trigger")
    records = [
        record(c0=0.0, ceiling=0.7, ceiling_interval=[0.0, 0.75]),
        record(neuron="L1.N3", ceiling=0.7, ceiling_interval=[0.66, 0.74]),
    ]
    found = noise_scores(records, {})["intervals"]["ceiling"]
    assert (found["reached"], found["fell_back_to_c0"], found["n"]) == (2, 1, 1)
    assert found["mean_error_they_stand_for"] == pytest.approx(0.08 / 3.92 * math.sqrt(2 / math.pi))
