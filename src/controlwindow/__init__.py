"""Audit single-neuron steering of language models: triggers, ceilings and control windows, with intervals."""

from controlwindow.api import report, results, resume
from controlwindow.behaviors import Behavior, load_behavior
from controlwindow.errors import ControlWindowError
from controlwindow.instruments import Add, Dose, Inject, Pin, Rollouts, Scale, generic_pass, prove_hooks, rollout
from controlwindow.interventions.comparison import Comparison
from controlwindow.jobs.audit.call import audit, measure_window
from controlwindow.jobs.audit.kind import AuditResult
from controlwindow.jobs.circuit.call import circuit, resume_circuit
from controlwindow.jobs.circuit.kind import CircuitResult
from controlwindow.jobs.compare.call import compare_interventions
from controlwindow.jobs.law.call import validate
from controlwindow.jobs.probe.call import probe
from controlwindow.jobs.screen.call import Screening, detection, run_screen, screen
from controlwindow.models import Model, Neuron, load_model, write_direction
from controlwindow.validation.methods import MethodScore, score_method
from controlwindow.windows.atlas import predict_ceilings
from controlwindow.windows.window import Window

__version__ = "0.1.0"

__all__ = [
    "Add",
    "AuditResult",
    "Behavior",
    "CircuitResult",
    "Comparison",
    "ControlWindowError",
    "Dose",
    "Inject",
    "MethodScore",
    "Model",
    "Neuron",
    "Pin",
    "Rollouts",
    "Scale",
    "Screening",
    "Window",
    "audit",
    "circuit",
    "compare_interventions",
    "detection",
    "generic_pass",
    "load_behavior",
    "load_model",
    "measure_window",
    "predict_ceilings",
    "probe",
    "prove_hooks",
    "report",
    "results",
    "resume",
    "resume_circuit",
    "rollout",
    "run_screen",
    "score_method",
    "screen",
    "validate",
    "write_direction",
]
