from __future__ import annotations

import math
from dataclasses import replace

from controlwindow.windows.calibration import shipped_calibration
from controlwindow.windows.layer_features import LayerFeatures
from controlwindow.windows.likeness import FAR, unlike

LAYER = LayerFeatures(0, 0.0, 1.0, 1.0, 10.0, 0.1, entropy=0.35, margin=5.8)


def test_a_model_in_the_middle_of_those_fitted_is_like_them() -> None:
    assert unlike([LAYER], shipped_calibration()) == ()
    assert unlike([], shipped_calibration()) == ()


def test_what_lies_outside_is_said_with_what_was_fitted() -> None:
    predictor = shipped_calibration().predictors["combined_0"]
    place = predictor.features.index("margin")
    centre, scale = predictor.centres[place], predictor.scales[place]
    inside = replace(LAYER, margin=math.exp(centre - 0.99 * FAR * scale))
    outside = replace(LAYER, margin=math.exp(centre - 1.01 * FAR * scale))
    assert unlike([inside], shipped_calibration()) == ()
    (said,) = unlike([outside], shipped_calibration())
    assert said.startswith(f"its gap between the two largest logits is {outside.margin:.2f}, theirs ")
    assert len(unlike([replace(outside, entropy=9.0)], shipped_calibration())) == 2
