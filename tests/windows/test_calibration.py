from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from controlwindow import geometry
from controlwindow.curves import SaturationCurve
from controlwindow.windows.calibration import (
    FEATURES,
    REPORTED_CEILING,
    Calibration,
    Observation,
    calibration_from_json,
    fit,
    shipped_calibration,
)


def observations(
    law: str, lineages: int = 3, per_lineage: int = 40, noise: float = 0.02, seed: int = 0
) -> list[Observation]:
    """Ceilings that follow one predictor exactly but for some noise, with the other features unrelated to them."""
    generator = np.random.default_rng(seed)
    found = []
    for lineage in range(lineages):
        for i in range(per_lineage * (1 + lineage)):
            ratio, probe = (float(x) for x in np.exp(generator.uniform(np.log(0.5), np.log(20), 2)))
            probe /= 4
            t = {
                "constant": 0.9,
                "participation_ratio": 0.3 * ratio**0.5,
                "probe_curve": 0.6 * probe,
            }[law]
            found.append(
                Observation(
                    model=f"model {lineage}",
                    fingerprint=f"print {lineage}",
                    lineage=f"lineage {lineage}",
                    neuron=f"L0.N{i}",
                    branch=1,
                    cosine=float(generator.uniform(-0.3, 0.3)),
                    ceiling_t=t * math.exp(float(generator.normal(0, noise))),
                    participation_ratio=ratio,
                    probe_dose=probe,
                )
            )
    return found


@pytest.mark.parametrize("law", ["constant", "participation_ratio", "probe_curve"])
def test_the_predictor_that_made_the_ceilings_becomes_the_default(law: str) -> None:
    # Without noise, because a line of slope 0 is a constant too, and noise would give it a slope that flatters it.
    fitted = fit(observations(law, noise=0.0 if law == "constant" else 0.02))
    assert fitted.default == law
    assert set(fitted.predictors) == set(FEATURES)
    best = fitted.predictors[law]
    assert best.error_left_out < 0.02
    assert best.error_known < 0.02
    for name, other in fitted.predictors.items():
        if name != law and not (law == "constant" and name == "participation_ratio"):
            assert other.error_left_out > 2 * best.error_left_out


def test_coefficients_are_recovered() -> None:
    line = fit(observations("participation_ratio")).predictors["participation_ratio"]
    assert line.intercept == pytest.approx(math.log(0.3), abs=0.01)
    assert line.slope == pytest.approx(0.5, abs=0.01)
    factor = fit(observations("probe_curve")).predictors["probe_curve"]
    assert factor.intercept == pytest.approx(math.log(0.6), abs=0.01)
    assert factor.slope == 1.0
    constant = fit(observations("constant")).predictors["constant"]
    assert constant.intercept == pytest.approx(math.log(0.9), abs=0.01)
    assert constant.slope == 0.0


def test_intervals_cover_what_they_say() -> None:
    made = observations("probe_curve", noise=0.3, per_lineage=200)
    fitted = fit(made)
    predictor = fitted.predictors["probe_curve"]
    inside = 0
    for o in made:
        value, low, high = predictor.ceiling({"probe_dose": o.probe_dose}, SaturationCurve(o.cosine))
        assert low < value < high
        assert value == pytest.approx(geometry.control_coordinate(0.6 * o.probe_dose, o.cosine), abs=0.03)
        inside += low <= geometry.control_coordinate(o.ceiling_t, o.cosine) <= high
    assert inside / len(made) == pytest.approx(0.9, abs=0.02)


def test_a_lopsided_spread_gives_a_lopsided_interval() -> None:
    generator = np.random.default_rng(0)
    made = [
        replace(o, ceiling_t=o.ceiling_t * math.exp(float(generator.exponential(0.4))))
        for o in observations("constant", noise=0.0)
    ]
    low, high = fit(made).predictors["constant"].residuals
    assert -0.35 < low < -0.2 < 0.6 < high


def test_every_lineage_weighs_the_same() -> None:
    many = observations("constant", lineages=1, per_lineage=90, noise=0.0)
    few = [Observation("b", "b", "b", f"L0.N{i}", 1, 0.0, 2.0, 3.0, 1.0) for i in range(10)]
    line = fit([*many, *few]).predictors["constant"]
    # The weighted median of two equally heavy values is either; the error tells the weights apart.
    assert math.exp(line.intercept) in (pytest.approx(0.9), pytest.approx(2.0))
    gap = abs(geometry.control_coordinate(0.9) - geometry.control_coordinate(2.0))
    assert line.error_known == pytest.approx(gap / 2, abs=0.05)


def test_one_lineage_has_no_error_on_others() -> None:
    fitted = fit(observations("probe_curve", lineages=1))
    assert all(predictor.error_left_out is None for predictor in fitted.predictors.values())
    assert fitted.default == "probe_curve"


def test_a_feature_that_is_missing_everywhere_is_not_fitted() -> None:
    fitted = fit([replace(o, probe_dose=None) for o in observations("participation_ratio")])
    assert set(fitted.predictors) == set(FEATURES) - {"probe_curve"}
    assert fitted.default == "participation_ratio"


@pytest.mark.parametrize("without", [{"lineage 0"}, {"lineage 0", "lineage 1"}])
def test_a_lineage_without_the_feature_does_not_count_as_one_without_error(without: set[str]) -> None:
    made = observations("constant", noise=0.0)
    # Where the probe is known it predicts badly, so it must not win by the lineages on which it says nothing.
    made = [replace(o, probe_dose=None) if o.lineage in without else o for o in made]
    fitted = fit(made)
    assert fitted.default == "constant"
    probe = fitted.predictors["probe_curve"]
    if len(without) == 2:
        assert probe.error_left_out is None
    else:
        assert probe.error_left_out > 0.1


def test_the_reported_constant_is_kept_whatever_was_measured() -> None:
    for law in ("constant", "probe_curve"):
        reported = fit(observations(law)).predictors["reported_constant"]
        assert reported.ceiling({}, SaturationCurve(0.0))[0] == pytest.approx(REPORTED_CEILING, abs=1e-6)
        assert reported.slope == 0.0


def test_nothing_to_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no observations"):
        fit([])


def test_models_fitted_are_known_again() -> None:
    fitted = fit(observations("constant"))
    assert fitted.in_sample("print 0")
    assert not fitted.in_sample("print 9")
    assert [model["observations"] for model in fitted.models] == [40, 80, 120]


def test_a_calibration_survives_its_file() -> None:
    fitted = fit(observations("probe_curve"))
    assert calibration_from_json(fitted.to_json()) == fitted


def test_the_shipped_calibration_is_whole() -> None:
    shipped = shipped_calibration()
    assert isinstance(shipped, Calibration)
    assert set(shipped.predictors) <= set(FEATURES)
    assert shipped.default in shipped.predictors
    for name, predictor in shipped.predictors.items():
        assert predictor.name == name
        assert predictor.feature == FEATURES[name]
        value, low, high = predictor.ceiling({"participation_ratio": 10.0, "probe_dose": 1.5}, SaturationCurve(0.0))
        assert 0 < low < high < 1
        # What was fitted lies inside its own interval; what was only reported elsewhere need not.
        assert low <= value <= high or name == "reported_constant"


def test_a_missing_feature_gives_no_prediction() -> None:
    predictor = fit(observations("probe_curve")).predictors["probe_curve"]
    assert predictor.dose({"probe_dose": None}) is None
    assert predictor.dose({}) is None
    assert predictor.ceiling({"probe_dose": None}, SaturationCurve(0.1)) is None
