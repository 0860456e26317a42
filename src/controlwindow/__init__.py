"""Audit single-neuron steering of language models: triggers, ceilings and control windows, with intervals."""

from controlwindow.api import AuditResult, audit, measure_window, resume
from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.errors import ControlWindowError
from controlwindow.instruments import Add, Dose, Inject, Pin, Rollouts, Scale, generic_pass, prove_hooks, rollout
from controlwindow.models import Model, Neuron, load_model, write_direction
from controlwindow.running.ranking import Screening, run_screen, screen
from controlwindow.validating import validate
from controlwindow.windows.atlas import predict_ceilings
from controlwindow.windows.window import Window

__version__ = "0.1.0"

__all__ = [
    "Add",
    "AuditResult",
    "Behavior",
    "ControlWindowError",
    "Dose",
    "Inject",
    "Model",
    "Neuron",
    "Pin",
    "Rollouts",
    "Scale",
    "Screening",
    "Window",
    "audit",
    "generic_pass",
    "load_behavior",
    "load_model",
    "measure_window",
    "predict_ceilings",
    "prove_hooks",
    "resume",
    "rollout",
    "run_screen",
    "screen",
    "validate",
    "write_direction",
]
