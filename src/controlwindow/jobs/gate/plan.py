"""The plan of a gate: the policy and what it is held against, committed before anything is measured."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from controlwindow.runs.plan import BehaviorReference, ModelPlan


class BaselineReference(BaseModel):
    """What a model is held against: another model, or a run that measured one.

    Attributes:
        kind: "model" or "run".
        name: The model's name.
        source: What it is loaded from, or the run's directory; None for a model in hand.
        fingerprint: Weights hash of the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["model", "run"]
    name: str
    source: str | None
    fingerprint: str


class GatePlan(ModelPlan):
    """What a gate does.

    Attributes:
        behaviors: The behaviors.
        policy: The policy as it was read.
        policy_file: Name of its file.
        baseline: What is compared with, if anything.
    """

    kind: ClassVar[str] = "gate"
    undecided: ClassVar[frozenset[str]] = ModelPlan.undecided | {"policy_file"}

    behaviors: tuple[BehaviorReference, ...]
    policy: dict[str, Any]
    policy_file: str = "policy"
    baseline: BaselineReference | None = None

    def deciding(self) -> dict[str, Any]:
        """What results depend on; where a baseline or a behavior's file lies is none of it."""
        values = super().deciding()
        if values["baseline"] is not None:
            values["baseline"] = [values["baseline"]["kind"], values["baseline"]["fingerprint"]]
        audit = {key: value for key, value in values["policy"]["audit"].items() if key != "behaviors"}
        values["policy"] = {**values["policy"], "audit": audit}
        return values
