"""Audit single-neuron steering of language models: triggers, ceilings and control windows, with intervals.

What is named here is imported when it is first used, so that asking for the version does not load PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from controlwindow.api import draw_report, results, resume
    from controlwindow.behaviors import Behavior, load_behavior
    from controlwindow.cli.progress import TerminalProgress
    from controlwindow.errors import ControlWindowError
    from controlwindow.instruments import Add, Dose, Inject, Pin, Scale, generic_pass, prove_hooks
    from controlwindow.instruments.dosed import dosed
    from controlwindow.instruments.rollout import Rollouts, rollout
    from controlwindow.interventions.comparison import Comparison
    from controlwindow.jobs.audit.call import audit, measure_window
    from controlwindow.jobs.audit.kind import AuditResult
    from controlwindow.jobs.circuit.call import circuit, resume_circuit
    from controlwindow.jobs.circuit.kind import CircuitResult
    from controlwindow.jobs.compare.call import compare_interventions
    from controlwindow.jobs.gate.call import gate
    from controlwindow.jobs.gate.kind import GateResult
    from controlwindow.jobs.law.call import validate
    from controlwindow.jobs.probe.call import probe
    from controlwindow.jobs.screen.call import Screening, detection, run_screen, screen
    from controlwindow.jobs.vectors.call import audit_vectors
    from controlwindow.live.widget import live_widget
    from controlwindow.models import Model, Neuron, load_model, write_direction
    from controlwindow.runs.progress import NotebookProgress, Progress
    from controlwindow.validation.methods import MethodScore, score_method
    from controlwindow.windows.atlas import predict_ceilings
    from controlwindow.windows.vectors import VectorUnits, units
    from controlwindow.windows.window import Window

__version__ = "0.2.0"

__all__ = [
    "Add",
    "AuditResult",
    "Behavior",
    "CircuitResult",
    "Comparison",
    "ControlWindowError",
    "Dose",
    "GateResult",
    "Inject",
    "MethodScore",
    "Model",
    "Neuron",
    "NotebookProgress",
    "Pin",
    "Progress",
    "Rollouts",
    "Scale",
    "Screening",
    "TerminalProgress",
    "VectorUnits",
    "Window",
    "audit",
    "audit_vectors",
    "circuit",
    "compare_interventions",
    "detection",
    "dosed",
    "draw_report",
    "gate",
    "generic_pass",
    "live_widget",
    "load_behavior",
    "load_model",
    "measure_window",
    "predict_ceilings",
    "probe",
    "prove_hooks",
    "results",
    "resume",
    "resume_circuit",
    "rollout",
    "run_screen",
    "score_method",
    "screen",
    "units",
    "validate",
    "write_direction",
]

_HOMES = {
    "Add": "instruments",
    "AuditResult": "jobs.audit.kind",
    "Behavior": "behaviors",
    "CircuitResult": "jobs.circuit.kind",
    "Comparison": "interventions.comparison",
    "ControlWindowError": "errors",
    "Dose": "instruments",
    "GateResult": "jobs.gate.kind",
    "Inject": "instruments",
    "MethodScore": "validation.methods",
    "Model": "models",
    "Neuron": "models",
    "NotebookProgress": "runs.progress",
    "Pin": "instruments",
    "Progress": "runs.progress",
    "Rollouts": "instruments.rollout",
    "Scale": "instruments",
    "Screening": "jobs.screen.call",
    "TerminalProgress": "cli.progress",
    "VectorUnits": "windows.vectors",
    "Window": "windows.window",
    "audit": "jobs.audit.call",
    "audit_vectors": "jobs.vectors.call",
    "circuit": "jobs.circuit.call",
    "compare_interventions": "jobs.compare.call",
    "detection": "jobs.screen.call",
    "dosed": "instruments.dosed",
    "draw_report": "api",
    "gate": "jobs.gate.call",
    "generic_pass": "instruments",
    "live_widget": "live.widget",
    "load_behavior": "behaviors",
    "load_model": "models",
    "measure_window": "jobs.audit.call",
    "predict_ceilings": "windows.atlas",
    "probe": "jobs.probe.call",
    "prove_hooks": "instruments",
    "results": "api",
    "resume": "api",
    "resume_circuit": "jobs.circuit.call",
    "rollout": "instruments.rollout",
    "run_screen": "jobs.screen.call",
    "score_method": "validation.methods",
    "screen": "jobs.screen.call",
    "units": "windows.vectors",
    "validate": "jobs.law.call",
    "write_direction": "models",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
