"""Instruments: operations, hooks, capture, rollouts, scores. The only place that hooks or decodes."""

from controlwindow.instruments.dosing import Dose
from controlwindow.instruments.generic import GenericPass, generic_pass
from controlwindow.instruments.hooks import Intervention
from controlwindow.instruments.operations import Add, Inject, Operation, Pin, Scale
from controlwindow.instruments.proof import prove_hooks
from controlwindow.instruments.rollout import Rollouts, rollout
from controlwindow.instruments.scoring import token_nll

__all__ = [
    "Add",
    "Dose",
    "GenericPass",
    "Inject",
    "Intervention",
    "Operation",
    "Pin",
    "Rollouts",
    "Scale",
    "generic_pass",
    "prove_hooks",
    "rollout",
    "token_nll",
]
