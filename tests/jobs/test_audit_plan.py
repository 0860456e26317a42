"""An audit's plan: whom it names for which behavior, and a name that says what it measures."""

from __future__ import annotations

import pytest

import controlwindow as cw
from controlwindow.errors import NeuronError, UsageError
from controlwindow.jobs.audit.plan import AuditPlan, plan_audit

BEHAVIORS = [(name, cw.load_behavior(name)) for name in ("refusal", "language")]


def test_neurons_are_named_for_every_behavior_or_for_one(llama):
    everywhere = plan_audit(llama, BEHAVIORS, neurons=["L0.N1"])
    assert everywhere.named_neurons("refusal") == everywhere.named_neurons("language") == ("L0.N1",)
    apart = plan_audit(llama, BEHAVIORS, neurons={"refusal": ["L0.N1"], "language": []})
    assert apart.named_neurons("refusal") == ("L0.N1",)
    assert apart.named_neurons("language") == ()
    assert "neurons_of" in apart.differences(everywhere)


def test_a_plan_is_named_after_what_it_measures_alone(llama):
    plans = [
        plan_audit(llama, BEHAVIORS),
        plan_audit(llama, BEHAVIORS, neurons=["L0.N1"]),
        plan_audit(llama, BEHAVIORS, neurons={"refusal": ["L0.N1"]}),
        plan_audit(llama, BEHAVIORS, top=5),
    ]
    assert len({plan.run for plan in plans}) == 4
    assert plan_audit(llama, BEHAVIORS, include_neurons=True).run == plans[0].run
    assert plan_audit(llama, BEHAVIORS, neurons={"refusal": []}).run == plans[0].run


def test_plans_of_before_are_read(llama):
    values = plan_audit(llama, BEHAVIORS).model_dump(mode="json")
    del values["neurons_of"]
    assert not AuditPlan.model_validate(values).differences(plan_audit(llama, BEHAVIORS))


def test_mistakes_are_refused(llama):
    with pytest.raises(UsageError, match="'arithmetic', which is not audited"):
        plan_audit(llama, BEHAVIORS, neurons={"arithmetic": ["L0.N1"]})
    with pytest.raises(NeuronError):
        plan_audit(llama, BEHAVIORS, neurons={"refusal": ["L99.N1"]})
