"""Predictions alone: ceilings of random neurons from what ships, for a model that nothing was calibrated on.

No behavior is needed and nothing is rolled out, so that they can be made public before anybody measures. A model needs
no chat template: generic text is then the continuation of plain beginnings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from controlwindow.errors import ReportError, UsageError
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.jobs.law.candidates import assign
from controlwindow.jobs.law.columns import shared_columns
from controlwindow.jobs.law.fits import digest_of
from controlwindow.jobs.law.measuring import BRANCHES
from controlwindow.jobs.law.plan import LawSizes
from controlwindow.models import Model, Neuron, load_model
from controlwindow.report.writing import replace_file
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.records import library_versions
from controlwindow.values import rounded
from controlwindow.windows.calibration import shipped_calibration
from controlwindow.windows.layer_features import layer_features
from controlwindow.windows.prediction import CeilingPrediction, predict_neurons

FILE_NAME = "predictions.json"

VERSION = 1


def predict_only(
    models: Sequence[str], out: str | Path, *, sizes: LawSizes | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Predict ceilings of random neurons of every model with the predictors that ship, and write them down.

    Args:
        models: Organisms, directories or hub ids.
        out: Where `predictions.json` goes.
        sizes: `held_out` random neurons a model, `tier` and `seed` count.
        progress: Where progress is shown.

    Returns:
        The document: plan, predictions by model, and a digest of both.

    Raises:
        UsageError: No model.
        ReportError: The document cannot be written.
    """
    if not models:
        raise UsageError("no model was given", "name at least one, as in organism:switch")
    sizes, progress = sizes or LawSizes(), progress or Silent()
    found = {}
    for source in models:
        model = load_model(source)
        with progress.stage(f"{model.name}: predicting ceilings"):
            found[model.name] = predictions_of(model, sizes)
    counted = {"held_out": sizes.held_out, "tier": sizes.tier, "seed": sizes.seed}
    document = {"version": VERSION, "sizes": counted, "versions": library_versions(), "models": found}
    document["digest"] = digest_of({key: document[key] for key in ("sizes", "models")})
    path = Path(out) / FILE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise ReportError(
            f"the predictions cannot be written to {path}: {error.strerror or error}", "choose another --out"
        ) from error
    return document


def predictions_of(model: Model, sizes: LawSizes, generic: GenericPass | None = None) -> dict[str, Any]:
    """Predictions for one model; neurons follow from its weights and the seed, layers in turn, no copies of one column.

    Args:
        model: The model.
        sizes: As for `predict_only`.
        generic: Its generic pass, where that was already made.
    """
    generic = generic_pass(model) if generic is None else generic
    silent = frozenset(
        str(model.neurons.at(layer, int(column)))
        for layer in range(model.layers)
        for column in np.flatnonzero(np.isnan(generic.budgets(model, layer)))
    )
    drawn = assign(model, None, ["any"], {}, silent, sizes, shared_columns(model))
    neurons = [Neuron.parse(a.neuron) for a in drawn if a.role == "held_out"]
    pairs = [(neuron, branch) for neuron in neurons for branch in BRANCHES]
    layers = layer_features(model, generic, probe=sizes.tier != "0", wanted={neuron.layer for neuron in neurons})
    predictions = predict_neurons(model, pairs, generic, layers, tier=sizes.tier)
    calibration = shipped_calibration()
    known = calibration.in_sample(model.fingerprint)
    found: dict[str, Any] = rounded(
        {
            "fingerprint": model.fingerprint,
            "family": model.family.name,
            "in_sample": known,
            "predictor": calibration.default_for(sizes.tier, known=known),
            "pairs": [_pair(prediction) for prediction in predictions],
        }
    )
    return found


def _pair(prediction: CeilingPrediction) -> dict[str, Any]:
    ceiling = prediction.values[prediction.default]
    return {
        "neuron": str(prediction.neuron),
        "branch": prediction.branch,
        "c0": prediction.cosine,
        "budget": prediction.budget,
        "plateau": prediction.plateau,
        "ceiling": None if ceiling is None else list(ceiling),
        "predictors": {name: None if v is None else v.value for name, v in sorted(prediction.values.items())},
    }
