from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from calibration_data import LIMIT, observations, subject

from controlwindow import geometry
from controlwindow.errors import UsageError
from controlwindow.windows.calibrating import COMBINED, REPORTED_CEILING, SIMPLE, fit_predictors, widening
from controlwindow.windows.calibration import (
    Calibration,
    Observation,
    calibration_from_json,
    observation_from_json,
    shipped_calibration,
)
from controlwindow.windows.evidence import evidence_of


def error(calibration: Calibration, made: list[Observation], predictor: str, fingerprint: str | None = None) -> float:
    """Mean error in c, one prediction at a time."""
    errors = []
    for o in made:
        found = calibration.predict(o.subject, predictor=predictor, fingerprint=fingerprint)
        assert found is not None
        value = o.subject.limit if found.value is None else found.value
        errors.append(abs(value - (o.subject.limit if o.ceiling is None else o.ceiling)))
    return float(np.mean(errors))


@pytest.mark.parametrize("law", ["constant", "participation_ratio", "probe_curve"])
def test_the_predictor_that_made_the_ceilings_is_the_best_simple_one(law: str) -> None:
    fitted = fit_predictors(observations(law, noise=0.0 if law == "constant" else 0.02), choose=False)
    simple = {name: fitted.predictors[name].error_left_out for name in SIMPLE}
    # A line of slope 0 is a constant too, and any level of one probe curve is proportional to any other here.
    alike = {"constant": {"participation_ratio"}, "probe_curve": {"probe_curve_1", "probe_curve_half"}}.get(law, set())
    best = simple[law]
    assert best is not None
    assert best < 0.02
    for name, left_out in simple.items():
        if name != law and name not in alike:
            assert left_out is not None
            assert left_out > 2 * best


def test_coefficients_are_recovered() -> None:
    line = fit_predictors(observations("participation_ratio"), choose=False).predictors["participation_ratio"]
    assert line.features == ("participation_ratio",)
    slope = line.coefficients[0] / line.scales[0]
    assert slope == pytest.approx(0.5, abs=0.01)
    assert line.intercept - slope * line.centres[0] == pytest.approx(math.log(0.3), abs=0.02)
    factor = fit_predictors(observations("probe_curve"), choose=False).predictors["probe_curve"]
    assert (factor.intercept, factor.anchor) == (pytest.approx(math.log(0.6), abs=0.01), "probe_dose")
    constant = fit_predictors(observations("constant"), choose=False).predictors["constant"]
    assert constant.intercept == pytest.approx(math.log(0.9), abs=0.01)


def test_whether_the_dose_or_the_coordinate_is_constant_is_told_apart() -> None:
    in_t = fit_predictors(observations("constant", widest=0.8), choose=False).predictors
    in_c = fit_predictors(observations("coordinate", widest=0.8), choose=False).predictors
    assert in_t["constant"].error_left_out < 0.02 < 0.05 < in_t["constant_coordinate"].error_left_out
    assert in_c["constant_coordinate"].error_left_out < 0.02 < 0.05 < in_c["constant"].error_left_out


def test_features_are_chosen_on_lineages_left_out() -> None:
    made = observations("own_and_readout", lineages=5)
    fitted = fit_predictors(made)
    chosen = fitted.predictors["combined_1"]
    assert chosen.anchor == "own_dose"
    assert "readout_spread" in chosen.features
    assert fitted.default_for("1") == "combined_1"
    assert chosen.error_left_out < 0.6 * fit_predictors(made, choose=False).predictors["combined_1"].error_left_out
    fresh = observations("own_and_readout", lineages=1, seed=9)
    assert error(fitted, fresh, "combined_1") < 0.03
    # Cheaper tiers do not see what made the ceilings, and say so by their error.
    assert fitted.predictors["combined_half"].error_left_out > 3 * chosen.error_left_out


def test_ceilings_that_were_not_reached_do_not_pull_the_others_down() -> None:
    limit = 0.7
    made = observations("constant", lineages=1, neurons=150, noise=0.3, limit=limit, widest=0.0)
    share = np.mean([o.ceiling is None for o in made])
    assert 0.2 < share < 0.6
    aware = fit_predictors(made, choose=False).predictors["constant"]
    assert math.exp(aware.intercept) == pytest.approx(0.9, abs=0.06)
    cut = [replace(o, ceiling=o.ceiling or limit) for o in made]
    fresh = aware.ceiling(subject(limit=limit, **made[0].subject.features))
    assert fresh.probability_not_reached == pytest.approx(share, abs=0.12)
    assert fresh.high is None
    assert fresh.low is not None
    naive = fit_predictors(cut, choose=False).predictors["constant"]
    assert naive.residuals.quantile(0.95) < 0.2 < aware.residuals.quantile(0.95)


def test_a_neuron_whose_ceiling_lies_beyond_its_limit_is_predicted_not_to_be_reached() -> None:
    fitted = fit_predictors(observations("constant", noise=0.1), choose=False)
    beyond = fitted.predict(subject(limit=0.4), predictor="constant")
    assert beyond.value is None
    assert beyond.probability_not_reached > 0.95
    within = fitted.predict(subject(), predictor="constant")
    assert within.low < within.value < within.high
    assert within.value == pytest.approx(geometry.control_coordinate(0.9), abs=0.01)
    assert within.probability_not_reached == 0


def test_a_known_model_learns_its_offsets_and_has_its_own_interval() -> None:
    made = observations("own", lineages=4, neurons=40, noise=0.15, lineage_spread=0.5, seed=4)
    known = [o for i, o in enumerate(made) if i % 3]
    held = [o for i, o in enumerate(made) if i % 3 == 0]
    fitted = fit_predictors(known)
    predictor = fitted.default_for("1", known=True)
    assert predictor == "combined_1"
    inside = widths = strange = 0.0
    for o in held:
        found = fitted.predict(o.subject, fingerprint=o.fingerprint, behavior=o.behavior)
        measured = o.subject.limit if o.ceiling is None else o.ceiling
        low = o.subject.limit if found.low is None else found.low
        high = o.subject.limit if found.high is None else found.high
        inside += low <= measured <= high
        widths += high - low
        other = fitted.predict(o.subject, fingerprint="unknown", predictor="combined_1")
        strange += (LIMIT if other.high is None else other.high) - (LIMIT if other.low is None else other.low)
    assert inside / len(held) == pytest.approx(0.9, abs=0.05)
    assert widths < 0.6 * strange
    of_model = {o.fingerprint: [h for h in held if h.fingerprint == o.fingerprint] for o in held}
    for fingerprint, own in of_model.items():
        assert error(fitted, own, "combined_1", fingerprint) < error(fitted, own, "model_median", fingerprint)


def test_too_few_neurons_teach_nothing_of_a_model() -> None:
    made = observations("own", lineages=2)
    few = [*[o for o in made if o.lineage == "lineage 1"], *[o for o in made if o.lineage == "lineage 0"][:3]]
    fitted = fit_predictors(few, choose=False)
    assert set(fitted.predictors["combined_1"].models) == {"print 1"}
    assert fitted.in_sample("print 0")


def test_behaviors_of_a_known_model_are_told_apart() -> None:
    made = observations("own", lineages=2, neurons=40)
    other = [replace(o, behavior="refusal", ceiling=min(0.97, o.ceiling + 0.08)) for o in made if o.ceiling]
    fitted = fit_predictors([*made, *other], choose=False)
    one = fitted.predict(made[0].subject, fingerprint="print 0", behavior="language", predictor="model_median")
    two = fitted.predict(made[0].subject, fingerprint="print 0", behavior="refusal", predictor="model_median")
    neither = fitted.predict(made[0].subject, fingerprint="print 0", predictor="model_median")
    assert two.value - one.value == pytest.approx(0.08, abs=0.02)
    assert one.value < neither.value < two.value


def test_every_lineage_weighs_the_same() -> None:
    many = observations("constant", lineages=1, neurons=90, noise=0.0)
    few = [
        Observation(
            "b", "b", "b", "language", subject(f"L0.N{i}", participation_ratio=3.0), geometry.control_coordinate(2.0)
        )
        for i in range(10)
    ]
    constant = fit_predictors([*many, *few], choose=False).predictors["constant"]
    gap = abs(geometry.control_coordinate(0.9) - geometry.control_coordinate(2.0))
    assert constant.error_known == pytest.approx(gap / 2, abs=0.05)


def test_one_lineage_has_no_error_on_others() -> None:
    fitted = fit_predictors(observations("probe_curve", lineages=1))
    assert all(p.error_left_out is None for name, p in fitted.predictors.items() if name != "reported_constant")


@pytest.mark.parametrize("without", [{"lineage 0"}, {"lineage 0", "lineage 1"}])
def test_a_lineage_without_the_feature_does_not_count_as_one_without_error(without: set[str]) -> None:
    made = []
    for o in observations("constant", noise=0.0):
        gone = {"probe_dose": None} if o.lineage in without else {}
        made.append(replace(o, subject=replace(o.subject, features={**o.subject.features, **gone})))
    probe = fit_predictors(made, choose=False).predictors["probe_curve"]
    if len(without) == 2:
        assert probe.error_left_out is None
    else:
        assert probe.error_left_out > 0.1


def test_what_was_not_read_is_not_fitted_and_not_predicted() -> None:
    tierless = [
        replace(o, subject=subject(o.subject.neuron, participation_ratio=o.subject.features["participation_ratio"]))
        for o in observations("participation_ratio")
    ]
    fitted = fit_predictors(tierless)
    assert set(fitted.predictors) == {
        "reported_constant", "constant", "constant_coordinate", "participation_ratio", "model_median", "combined_0",
    }  # fmt: skip
    whole = fit_predictors(observations("own"), choose=False)
    plain = subject(participation_ratio=3.0)
    assert whole.predict(plain, predictor="combined_1") is None
    assert whole.predict(plain, predictor="probe_curve") is None
    assert whole.predict(plain) is not None
    assert whole.predict(subject(probe_dose=None, participation_ratio=3.0), predictor="probe_curve") is None


def test_the_reported_constant_is_kept_whatever_was_measured() -> None:
    for law in ("constant", "probe_curve"):
        reported = fit_predictors(observations(law), choose=False).predictors["reported_constant"]
        assert reported.ceiling(subject())[0] == pytest.approx(REPORTED_CEILING, abs=1e-6)


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no observations"):
        fit_predictors([])


def test_models_fitted_are_known_again() -> None:
    fitted = fit_predictors(observations("constant"), choose=False)
    assert fitted.in_sample("print 0")
    assert not fitted.in_sample("print 9")
    assert [model["observations"] for model in fitted.models] == [24, 48, 72]
    assert [model["neurons"] for model in fitted.models] == [24, 48, 72]


def test_a_calibration_and_its_observations_survive_their_files() -> None:
    made = observations("own", lineages=2)
    fitted = fit_predictors(made)
    assert calibration_from_json(fitted.to_json()) == fitted
    assert fit_predictors([observation_from_json(json.loads(json.dumps(o.to_json()))) for o in made]) == fitted


def test_a_calibration_of_another_version_is_refused_with_the_repair() -> None:
    with pytest.raises(UsageError, match="format 1") as caught:
        calibration_from_json('{"default": "constant", "models": [], "predictors": {}}')
    assert "validation.fitting" in caught.value.hint


def test_the_shipped_calibration_is_whole() -> None:
    shipped = shipped_calibration()
    assert {"reported_constant", *SIMPLE, *COMBINED.values(), "model_median"} == set(shipped.predictors)
    typical = {"participation_ratio": 10.0, "probe_dose_half": 0.8, "probe_dose_1": 1.1, "probe_dose": 1.5}
    for name, predictor in shipped.predictors.items():
        assert predictor.name == name
        found = predictor.ceiling(subject(**typical, own_dose=1.0, own_divergence=0.1))
        assert found is not None
    assert shipped.predictors[shipped.default].error_left_out < shipped.predictors["reported_constant"].error_left_out


def test_few_lineages_widen_an_interval() -> None:
    assert widening(2) > widening(5) > widening(20) > 1


def test_errors_are_taken_up_to_the_limit() -> None:
    # Rightly not reached, wrongly reached at 0.5, wrongly not reached.
    made = [
        Observation("m", "m", "m", "b", subject("L0.N0", limit=0.8), None),
        Observation("m", "m", "m", "b", subject("L0.N1", limit=0.8), None),
        Observation("m", "m", "m", "b", subject("L0.N2", limit=0.8), 0.6),
    ]
    found = evidence_of(made).errors(np.array([0.95, 0.5, 0.9]), "c")
    assert found.tolist() == pytest.approx([0.0, 0.3, 0.2])
