"""The census: a resumable sample whose rows say what the searches found."""

from __future__ import annotations

import pytest

from controlwindow.catalogue import load_card
from controlwindow.errors import LedgerError
from controlwindow.jobs.census.call import run_census
from controlwindow.jobs.census.job import sample_neurons
from controlwindow.models import load_model
from controlwindow.runs.ledger import Ledger


@pytest.fixture(scope="module")
def organism():
    return load_model("organism:switch", device="cpu")


def test_the_sample_is_uniform_seeded_and_without_repetition(organism):
    sample = sample_neurons(organism, 384, seed=0)
    assert len(set(sample)) == 384
    assert sample == sample_neurons(organism, 384, seed=0)
    assert sample != sample_neurons(organism, 384, seed=1)
    layers = [sum(n.layer == layer for n in sample) for layer in range(organism.layers)]
    assert min(layers) > 24, "a uniform sample has about 48 neurons a layer"
    assert len(sample_neurons(organism, 10_000, seed=0)) == 3072


def test_a_small_census_is_measured_and_gone_on_with(organism, tmp_path):
    found = run_census(organism, ["language"], tmp_path / "census", neurons=2, prompts=8)
    assert found["columns"][:3] == ["behavior", "neuron", "branch"]
    assert len(found["rows"]) == 4
    for values in found["rows"]:
        row = dict(zip(found["columns"], values, strict=True))
        assert row["open"] == (
            row["trigger"] is not None and (row["ceiling"] is None or row["trigger"] < row["ceiling"])
        )
        assert 0 <= row["height"] <= 1
    assert found["open"]["language"]["n"] == 2
    with Ledger(tmp_path / "census" / "ledger.sqlite") as ledger:
        chunks = ledger.chunks_done()
    assert run_census(organism, ["language"], tmp_path / "census", neurons=2, prompts=8) == found
    with Ledger(tmp_path / "census" / "ledger.sqlite") as ledger:
        assert ledger.chunks_done() == chunks
    with pytest.raises(LedgerError, match="neurons"):
        run_census(organism, ["language"], tmp_path / "census", neurons=3, prompts=8)


def test_the_shipped_card_carries_a_census_of_at_least_300_neurons(organism):
    census = load_card("organism:switch").census
    assert census is not None
    assert census["neurons"] >= 300
    assert len(census["rows"]) == census["neurons"] * 2 * 2
    sampled = {values[census["columns"].index("neuron")] for values in census["rows"]}
    assert sampled == {str(n) for n in sample_neurons(organism, census["neurons"], census["seed"])}
    for rate in census["open"].values():
        assert rate["interval"][0] <= rate["k"] / rate["n"] <= rate["interval"][1]
