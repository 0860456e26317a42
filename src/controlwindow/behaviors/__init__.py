"""Behaviors: what is looked for in a model's answers, on which prompts, and how an answer is judged."""

from controlwindow.behaviors.coherence import (
    CoherenceDetector,
    CoherenceFeatures,
    CoherenceJudgement,
    CollapseWatch,
    ScoredText,
    coherence_features,
    shuffle_scale,
)
from controlwindow.behaviors.controls import Control, build_controls
from controlwindow.behaviors.definition import Behavior, BehaviorDefinition, LogOdds, Perturbation
from controlwindow.behaviors.detector_setting import DetectorSetting, LabelledFeatures, fit_thresholds
from controlwindow.behaviors.loading import known_behaviors, load_behavior, load_to_run
from controlwindow.behaviors.prompts import Contrast, Prompt, Split

__all__ = [
    "Behavior",
    "BehaviorDefinition",
    "CoherenceDetector",
    "CoherenceFeatures",
    "CoherenceJudgement",
    "CollapseWatch",
    "Contrast",
    "Control",
    "DetectorSetting",
    "LabelledFeatures",
    "LogOdds",
    "Perturbation",
    "Prompt",
    "ScoredText",
    "Split",
    "build_controls",
    "coherence_features",
    "fit_thresholds",
    "known_behaviors",
    "load_behavior",
    "load_to_run",
    "shuffle_scale",
]
