"""Calibrations: measured ceilings, the predictors fitted on them, and the one that ships as `calibration.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from controlwindow.errors import UsageError
from controlwindow.windows.features import Subject, Tier, subject_from_json
from controlwindow.windows.predictors import FEATURES, ORDER, Adaptation, PredictedCeiling, Predictor, Shift
from controlwindow.windows.residuals import Residuals

FORMAT = 2
"""Version of `Calibration.to_json`. Version 1 knew one feature a predictor and no censoring."""


@dataclass(frozen=True)
class Observation:
    """One measured ceiling of a calibration neuron.

    Attributes:
        model: The model's name.
        fingerprint: Its weights hash.
        lineage: What was trained together; states of one run are one lineage.
        behavior: The behavior whose prompts were dosed.
        subject: The neuron on its branch, with what predictors read of it.
        ceiling: Measured ceiling in c; None where it was not reached up to the subject's limit.
    """

    model: str
    fingerprint: str
    lineage: str
    behavior: str
    subject: Subject
    ceiling: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for the ledger."""
        return {**asdict(self), "subject": self.subject.to_json()}


def observation_from_json(values: Mapping[str, Any]) -> Observation:
    """Read `Observation.to_json`."""
    return Observation(**{**values, "subject": subject_from_json(values["subject"])})


@dataclass(frozen=True)
class Calibration:
    """Predictors with the models they were fitted on.

    Attributes:
        models: Name, fingerprint, lineage, neurons and observations of each calibration model.
        predictors: By name.
    """

    models: tuple[dict[str, Any], ...]
    predictors: dict[str, Predictor]

    @property
    def default(self) -> str:
        """The predictor that counts for models that were not fitted, with everything known of a subject (tier 1)."""
        return self.default_for("1")

    def default_for(self, tier: Tier, *, known: bool = False) -> str:
        """The predictor that counts.

        Args:
            tier: What is known of the subjects; dearer predictors are left out.
            known: For a model among those fitted: the one with the smallest error on neurons left out in turn, and
                only predictors that adapt to models. Else the one with the smallest error on lineages left out.
        """
        affordable = [p for p in self.predictors.values() if ORDER[p.tier] <= ORDER[tier]]
        if known:
            adapted = [p for p in affordable if p.models]
            return min(adapted or affordable, key=lambda p: (p.error_known, p.name)).name
        return min(affordable, key=_error_first).name

    def in_sample(self, fingerprint: str) -> bool:
        """Whether a model was among those fitted."""
        return any(model["fingerprint"] == fingerprint for model in self.models)

    def predict(
        self,
        subject: Subject,
        *,
        fingerprint: str | None = None,
        behavior: str | None = None,
        predictor: str | None = None,
    ) -> PredictedCeiling | None:
        """Predicted ceiling of a neuron on a branch; None where a feature that a predictor needs is missing.

        Args:
            subject: The neuron, with what is known of it.
            fingerprint: Its model. One that was fitted adds what its calibration neurons tell, and has its own
                interval; None, or another, is predicted from features alone.
            behavior: The behavior whose prompts will be dosed, where a fitted model tells behaviors apart.
            predictor: Its name; default the one that counts for what is known.
        """
        if predictor is None:
            known = fingerprint is not None and self.in_sample(fingerprint)
            predictor = self.default_for(tier_of(subject), known=known)
        return self.predictors[predictor].ceiling(subject, fingerprint=fingerprint, behavior=behavior)

    def to_json(self) -> str:
        """The shipped form."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=True) + "\n"


def tier_of(subject: Subject) -> Tier:
    """The dearest tier that was read of a subject."""
    return max(
        (FEATURES[name].tier for name in subject.features if name in FEATURES), key=ORDER.__getitem__, default="0"
    )


@lru_cache(maxsize=1)
def shipped_calibration() -> Calibration:
    """The calibration that ships with the package."""
    text = resources.files("controlwindow.windows").joinpath("calibration.json").read_text("utf-8")
    return calibration_from_json(text)


def calibration_from_json(text: str) -> Calibration:
    """Read `Calibration.to_json`.

    Raises:
        UsageError: The text is of another version.
    """
    data = json.loads(text)
    if data.get("format") != FORMAT:
        raise UsageError(
            f"this calibration has format {data.get('format', 1)}, and this controlwindow reads format {FORMAT}",
            "fit it again: python -m controlwindow.validation.fitting --census ORGANISM --write",
        )
    predictors = {name: _predictor(values) for name, values in data["predictors"].items()}
    return Calibration(tuple(data["models"]), predictors)


def _predictor(values: Mapping[str, Any]) -> Predictor:
    lists = {name: tuple(values[name]) for name in ("features", "centres", "scales", "coefficients")}
    models = {fingerprint: _adaptation(v) for fingerprint, v in values["models"].items()}
    return Predictor(**{**values, **lists, "residuals": _residuals(values["residuals"]), "models": models})


def _adaptation(values: Mapping[str, Any]) -> Adaptation:
    shift = values["shift"]
    lists = {name: tuple(shift[name]) for name in ("features", "centres", "scales", "slopes")}
    return Adaptation(Shift(**{**shift, **lists}), _residuals(values["residuals"]), values["error"])


def _residuals(values: Mapping[str, Any]) -> Residuals:
    return Residuals(tuple(values["quantiles"]), values["count"])


def _error_first(predictor: Predictor) -> tuple[bool, float, str]:
    """Order of predictors, best first. An error on models fitted flatters, so it only decides without the other."""
    left_out = predictor.error_left_out
    return left_out is None, predictor.error_known if left_out is None else left_out, predictor.name
