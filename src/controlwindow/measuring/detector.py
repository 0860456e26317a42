"""Setting the coherence detector of a model from its own undosed text, before any dose is judged."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from controlwindow.behaviors import (
    CoherenceDetector,
    DetectorSetting,
    LabelledFeatures,
    ScoredText,
    build_controls,
    coherence_features,
    fit_thresholds,
    shuffle_scale,
)
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.rows import Row, roll_out_rows
from controlwindow.instruments.scoring import token_nll
from controlwindow.models import Model
from controlwindow.models.kept import kept

HORIZONS = (8, 16, 32, 48)
"""Lengths at which controls are made; a threshold has to hold at every one."""


def fit_detector(model: Model, generic: GenericPass, seed: int) -> tuple[CoherenceDetector, DetectorSetting]:
    """Thresholds from labelled controls made of the generic answers and of answers sampled at temperature 1.

    Args:
        model: The model.
        generic: Its generic pass.
        seed: Seed of sampling and of the controls.

    Raises:
        ControlWindowError: The answers are too short, or shuffling costs the model nothing.
    """
    limit = max(map(len, generic.token_ids))
    sampled = roll_out_rows(model, [Row(ids, ()) for ids in generic.prompt_ids], limit, sample_seed=seed)
    greedy_ids = [_content(model, tokens) for tokens in generic.token_ids]
    sampled_ids = [_content(model, row.token_ids) for row in sampled]
    lengths = [h for h in HORIZONS if h <= limit] or [limit]
    controls = build_controls(greedy_ids, sampled_ids, lengths, seed=seed)
    surprisals = token_nll(model, [generic.prompt_ids[c.prompt] for c in controls], [c.token_ids for c in controls])
    scored = [
        ScoredText(tuple(c.token_ids), tuple(s), model.decode(c.token_ids))
        for c, s in zip(controls, surprisals, strict=True)
    ]
    undosed = {(c.prompt, c.length): t for c, t in zip(controls, scored, strict=True) if c.kind == "greedy"}
    shuffled = [
        (text, undosed[c.prompt, c.length])
        for c, text in zip(controls, scored, strict=True)
        if c.kind == "shuffled" and c.length == lengths[-1]
    ]
    scale = shuffle_scale([noise for noise, _ in shuffled], [answer for _, answer in shuffled])
    labelled = [
        LabelledFeatures(
            c.kind, c.collapsed, c.prompt, c.length, coherence_features(text, undosed[c.prompt, c.length], scale)
        )
        for c, text in zip(controls, scored, strict=True)
    ]
    return fit_thresholds(labelled, scale)


def kept_detector(model: Model, generic: GenericPass, seed: int) -> dict[str, Any]:
    """`fit_detector` as plain values, `detector` and `calibration`; kept with the model, also for other commands.

    Args:
        model: The model.
        generic: Its generic pass.
        seed: Seed of sampling and of the controls.

    Raises:
        ControlWindowError: As `fit_detector`.
    """

    def fitted() -> str:
        detector, calibration = fit_detector(model, generic, seed)
        # As text, since named tuples come back from JSON as lists, in a ledger too.
        return json.dumps({"detector": asdict(detector), "calibration": asdict(calibration)})

    found: dict[str, Any] = json.loads(
        kept(model, ("coherence detector", generic.prompt_ids, generic.token_ids, seed), fitted)
    )
    return found


def detector_of(model: Model, generic: GenericPass, seed: int = 0) -> CoherenceDetector:
    """The detector of `kept_detector`."""
    return CoherenceDetector(**kept_detector(model, generic, seed)["detector"])


def _content(model: Model, tokens: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(t for t in tokens if t not in model.stop_ids)
