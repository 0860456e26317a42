"""Inspect AI: a dosed model as one of its models, typed outcomes as a scorer, a behavior as a task.

Inspect finds this module by the entry point `inspect_ai` of the distribution, and importing it registers everything.
"""

from controlwindow.bridges.inspect.api import DosedModel
from controlwindow.bridges.inspect.doses import dose_models, evaluate_doses
from controlwindow.bridges.inspect.scoring import outcomes
from controlwindow.bridges.inspect.tasks import behavior

__all__ = ["DosedModel", "behavior", "dose_models", "evaluate_doses", "outcomes"]
