"""Why a window will be closed, predicted without a rollout: the decision table of `failure` on predicted quantities.

Cap and depth need no text: the plateau is geometry, and propagation is read off one teacher-forced pass (Subject).
"""

from __future__ import annotations

from controlwindow.windows.failure import Reasons, failure_mode
from controlwindow.windows.features import Subject
from controlwindow.windows.predictors import PredictedCeiling
from controlwindow.windows.triggers import PredictedTrigger


def predict_failure_mode(
    subject: Subject,
    ceiling: PredictedCeiling,
    trigger: PredictedTrigger,
    injected: PredictedTrigger | None = None,
) -> str:
    """Name the reason for which a window is expected to be closed, if it is.

    Args:
        subject: The neuron; its propagation counts at tier 1.
        ceiling: Its predicted ceiling.
        trigger: Its predicted trigger.
        injected: The predicted trigger of the same direction injected past a norm after the FFN, where there is one;
            without it, the trigger that is expected of the behavior's class counts.

    Example:
        >>> from controlwindow.curves import SaturationCurve
        >>> subject = Subject("L5.N1", 1, 5, SaturationCurve(0.0), {}, 0.98, propagation=0.001)
        >>> trigger = PredictedTrigger(None, 0.3, 0.6, 0.9, None, 0.45, "class_prior")
        >>> predict_failure_mode(subject, PredictedCeiling(0.7, 0.6, 0.8), trigger)
        'too_late'
    """
    after_norm = trigger.expected if injected is None else injected.value
    reasons = Reasons(propagation=subject.propagation, injected_trigger=after_norm)
    return failure_mode(ceiling.value is not None, reasons, subject.curve.plateau)
