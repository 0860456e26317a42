"""Having again what a run was planned with, or saying what is no longer the same."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from controlwindow.behaviors import Behavior, load_to_run
from controlwindow.errors import LedgerError, ModelError
from controlwindow.models import Model, load_model
from controlwindow.runs.plan import BehaviorReference, ModelPlan
from controlwindow.runs.records import rendering


class Identity(NamedTuple):
    """Which model a plan means: its name, what it is loaded from (None for one in hand), its weights hash."""

    name: str
    source: str | None
    fingerprint: str


def planned_model(
    given: Model | None,
    plan: ModelPlan,
    directory: Path,
    other: Identity | None = None,
) -> Model:
    """A model of a run, loaded again or held against what was planned.

    Args:
        given: The model, where the caller has it in hand.
        plan: The run's plan.
        directory: The run directory.
        other: Another model than the plan's own, such as a base beside it.

    Raises:
        ModelError: The model was in hand and is not given.
        LedgerError: Weights or chat template are no longer what was planned.
    """
    name, source, fingerprint = other or Identity(plan.model, plan.source, plan.fingerprint)
    if given is None:
        if source is None:
            raise ModelError(
                f"{directory} measures a model that was in hand ({name})",
                "load it and call controlwindow.resume(directory, model=model)",
            )
        given = load_model(
            source,
            device=plan.device,
            dtype=plan.dtype,
            system_prompt=plan.system_prompt,
            date=plan.date,
            adapter=plan.adapter if other is None else None,
        )
    if given.fingerprint != fingerprint:
        raise LedgerError(
            f"{directory} measures {name} with weights {fingerprint[:12]}, but {given.name} has "
            f"{given.fingerprint[:12]}",
            "give the model that was measured, or start a new run with another --out",
        )
    # A base model beside it may have a template of its own.
    if fingerprint == plan.fingerprint and given.chat.template != plan.chat_template:
        raise LedgerError(
            f"the chat template of {given.name} is not the one {directory} was planned with",
            "restore the tokenizer's files, or start a new run with another --out",
        )
    if fingerprint == plan.fingerprint and plan.rendering is not None and rendering(given) != plan.rendering:
        raise LedgerError(
            f"{given.name} renders prompts otherwise than {directory} was planned with"
            + ("" if given.chat.date == plan.date else f" (the template's date is {given.chat.date}, not {plan.date})"),
            "load the model with the same tokenizer files and date, or start a new run with another --out",
        )
    return given


def planned_behavior(reference: BehaviorReference, plan: ModelPlan, directory: Path) -> Behavior:
    """A behavior of a run, loaded again.

    Args:
        reference: The behavior.
        plan: The run's plan, which holds whether its answers may leave this machine.
        directory: The run directory.

    Raises:
        BehaviorError: It cannot be loaded, or what its judges need is not there.
        LedgerError: It is no longer what was planned.
    """
    behavior = load_to_run(reference.source, remote_judge=plan.remote_judge)
    if behavior.fingerprint != reference.fingerprint:
        raise LedgerError(
            f"the behavior {reference.source} has changed since {directory} was planned",
            "restore it, or start a new run with another --out",
        )
    return behavior
