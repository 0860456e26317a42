"""Predictions alone: a model that nothing knows, without a chat template, and nothing but what ships."""

from __future__ import annotations

import json

import pytest

import controlwindow as cw
import tiny_models
from controlwindow.errors import UsageError
from controlwindow.jobs.law import predicting
from controlwindow.jobs.law.fits import digest_of
from controlwindow.jobs.law.plan import LawSizes
from controlwindow.windows.calibration import shipped_calibration

SIZES = LawSizes(held_out=6, seed=3)


@pytest.fixture(scope="module")
def model():
    return tiny_models.llama()


@pytest.fixture(scope="module")
def found(model):
    return predicting.predictions_of(model, SIZES)


def test_every_layer_has_its_share_and_both_branches_are_predicted(model, found):
    assert model.tokenizer.chat_template is None
    names = [pair["neuron"] for pair in found["pairs"]]
    assert len(names) == 12
    assert names[::2] == names[1::2]
    assert [sum(name.startswith(f"L{layer}.") for name in names[::2]) for layer in range(model.layers)] == [2, 2, 2]
    assert {pair["branch"] for pair in found["pairs"]} == {1, -1}
    assert not found["in_sample"], "no calibration knows it"
    assert found["predictor"] == shipped_calibration().default_for("1", known=False)


def test_the_ceiling_is_the_shipped_predictors(found):
    for pair in found["pairs"]:
        assert pair["ceiling"][0] == pair["predictors"][found["predictor"]]
        value, low, high, chance = pair["ceiling"]
        assert 0 <= chance <= 1
        ends = [end for end in (low, value, high) if end is not None]
        assert ends == sorted(ends)


def test_an_atlas_of_the_same_model_needs_neither(model, found):
    names = [pair["neuron"] for pair in found["pairs"]]
    table = cw.predict_ceilings(model, list(dict.fromkeys(names)))
    assert table.height == 12
    assert not table["in_sample"].any()
    constants = {(row["neuron"], row["branch"]): row["reported_constant"] for row in table.to_dicts()}
    for pair in found["pairs"]:
        expected = constants[pair["neuron"], pair["branch"]]
        assert pair["predictors"]["reported_constant"] == pytest.approx(expected, abs=1e-4)


def test_what_is_written_is_the_same_again_and_has_a_digest(model, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "load_model", lambda source: model)
    first = predicting.predict_only(["somewhere"], tmp_path / "a", sizes=SIZES)
    second = predicting.predict_only(["somewhere"], tmp_path / "b", sizes=SIZES)
    written = json.loads((tmp_path / "a" / predicting.FILE_NAME).read_text("utf-8"))
    assert written == json.loads(json.dumps(first))
    assert first["digest"] == second["digest"] == digest_of({key: written[key] for key in ("sizes", "models")})
    other = predicting.predict_only(["somewhere"], tmp_path / "c", sizes=SIZES.model_copy(update={"seed": 4}))
    assert other["digest"] != first["digest"]
    with pytest.raises(UsageError, match="no model"):
        predicting.predict_only([], tmp_path)
