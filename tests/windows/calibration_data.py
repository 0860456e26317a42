"""Made-up calibration neurons whose ceilings follow one law exactly but for noise."""

from __future__ import annotations

import math

import numpy as np

from controlwindow import geometry
from controlwindow.curves import SaturationCurve
from controlwindow.windows.calibration import Observation
from controlwindow.windows.features import Subject

LIMIT = geometry.RANGE_END


def subject(
    neuron: str = "L0.N0", c0: float = 0.0, limit: float = LIMIT, layer: int = 0, **features: float | None
) -> Subject:
    """A neuron on the plain curve."""
    return Subject(neuron, 1, layer, SaturationCurve(c0), features, limit)


def observations(
    law: str,
    lineages: int = 3,
    neurons: int = 24,
    noise: float = 0.02,
    seed: int = 0,
    lineage_spread: float = 0.0,
    limit: float = LIMIT,
    widest: float = 0.3,
) -> list[Observation]:
    """Neurons of several lineages, one model each; what a law does not name is unrelated to the ceilings."""
    generator = np.random.default_rng(seed)
    found = []
    for lineage in range(lineages):
        offset = math.exp(float(generator.normal(0, lineage_spread))) if lineage_spread else 1.0
        for i in range(neurons * (1 + lineage)):
            ratio, probe, own = (float(x) for x in np.exp(generator.uniform(np.log(0.5), np.log(20), 3)))
            cosine = float(generator.uniform(-widest, widest))
            spread = float(np.exp(generator.normal(0, 0.4)))
            features: dict[str, float | None] = {
                "participation_ratio": ratio,
                "common_share": float(generator.uniform(0, 1)),
                "readout_spread": spread,
                "cosine": cosine,
                "probe_dose_half": probe / 6,
                "probe_dose_1": probe / 5,
                "probe_dose": probe / 4,
                "own_dose": own / 8,
                "own_divergence": 0.1,
            }
            disturbed = offset * math.exp(float(generator.normal(0, noise)))
            t = {
                "constant": 0.9,
                "participation_ratio": 0.3 * ratio**0.5,
                "probe_curve": 0.6 * probe / 4,
                "own": 0.9 * own / 8,
                "own_and_readout": 0.9 * own / 8 * spread**-0.3,
                "coordinate": geometry.dose_for(0.66, cosine),
            }[law] * disturbed
            ceiling = geometry.control_coordinate(t, cosine)
            found.append(
                Observation(
                    model=f"model {lineage}",
                    fingerprint=f"print {lineage}",
                    lineage=f"lineage {lineage}",
                    behavior="language",
                    subject=subject(f"L{i % 4}.N{i}", cosine, limit, i % 4, **features),
                    ceiling=ceiling if ceiling < limit else None,
                )
            )
    return found
