"""Having again what a run was planned with: a date that a template reads is frozen, and another rendering refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import controlwindow as cw
import tiny_models
from controlwindow.errors import LedgerError, ModelError
from controlwindow.jobs.audit.plan import AuditPlan, plan_audit
from controlwindow.models import load_model
from controlwindow.runs.resuming import planned_model

PLAIN = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}assistant "
DATED = "{% if strftime_now('%d') == '05' %}bread {% endif %}" + PLAIN
BEHAVIORS = [("refusal", cw.load_behavior("refusal"))]


def dated(template: str = DATED, date: str | None = None) -> cw.Model:
    return load_model(tiny_models.llama_in_hand(), tokenizer=tiny_models.tokenizer(template), date=date)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_models.llama_in_hand().save_pretrained(tmp_path)
    tiny_models.tokenizer(DATED).save_pretrained(tmp_path)
    return tmp_path


def test_a_run_is_gone_on_with_under_the_date_that_it_was_begun_with(folder):
    begun = load_model(folder, device="cpu", date="2025-03-04")
    plan = plan_audit(begun, BEHAVIORS)
    assert plan.date == "2025-03-04"
    again = planned_model(None, plan, folder)
    assert again.chat.date == "2025-03-04"
    assert again.token_ids(["bread"]) == begun.token_ids(["bread"])


def test_a_model_in_hand_that_shows_another_date_is_refused(tmp_path):
    plan = plan_audit(dated(date="2025-03-04"), BEHAVIORS)
    assert planned_model(dated(date="2025-03-04"), plan, tmp_path)
    with pytest.raises(LedgerError) as raised:
        planned_model(dated(date="2025-03-05"), plan, tmp_path)
    assert "the template's date is 2025-03-05, not 2025-03-04" in raised.value.message
    with pytest.raises(ModelError, match="was in hand"):
        planned_model(None, plan, tmp_path)


def test_two_dates_are_two_runs_and_a_template_without_a_clock_has_one_name():
    first, second = (plan_audit(dated(date=day), BEHAVIORS) for day in ("2025-03-04", "2025-03-05"))
    assert first.run != second.run
    assert first.differences(second) == ["date"]
    plain = plan_audit(dated(PLAIN), BEHAVIORS)
    assert plain.date is None
    before = {k: v for k, v in plain.record().items() if k not in ("date", "rendering", "adapter")}
    assert AuditPlan.from_record(before).digest() == plain.run, "plans written before there were dates keep their names"


def test_another_tokenizer_behind_the_same_template_is_seen(tmp_path):
    plan = plan_audit(dated(PLAIN), BEHAVIORS).model_copy(update={"rendering": "0" * 16})
    with pytest.raises(LedgerError, match="renders prompts otherwise"):
        planned_model(dated(PLAIN), plan, tmp_path)
