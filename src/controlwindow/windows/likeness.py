"""Whether a model is like those that the predictors were fitted on, as far as its own generic text says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from controlwindow.windows.calibration import Calibration
from controlwindow.windows.layer_features import LayerFeatures
from controlwindow.windows.predictors import FEATURES

FAR = 2.0
"""Standard deviations of the fitted models beyond which one counts as unlike them."""

_NAMES = {"entropy": "entropy of the next token", "margin": "gap between the two largest logits"}


def unlike(features: Sequence[LayerFeatures], calibration: Calibration) -> tuple[str, ...]:
    """In what a model's generic text lies outside what was fitted, as parts of a sentence; empty where it does not.

    Compared are the features in which models differ as wholes, entropy and margin, with their mean and spread over the
    models fitted (of log values, as predictors read them).

    Args:
        features: Of every layer; they agree in what is compared.
        calibration: The fitted predictors.
    """
    if not features:
        return ()
    fitted: dict[str, tuple[float, float]] = {}
    for predictor in calibration.predictors.values():
        fitted |= {
            name: (centre, scale)
            for name, centre, scale in zip(predictor.features, predictor.centres, predictor.scales, strict=True)
            if name in _NAMES
        }
    said = []
    for name, (centre, scale) in sorted(fitted.items()):
        value = max(float(getattr(features[0], name)), FEATURES[name].floor)
        if abs(math.log(value) - centre) > FAR * scale:
            low, high = math.exp(centre - FAR * scale), math.exp(centre + FAR * scale)
            said.append(f"its {_NAMES[name]} is {value:.2f}, theirs {low:.2f} to {high:.2f}")
    return tuple(said)
