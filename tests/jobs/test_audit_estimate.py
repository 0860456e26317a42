"""What an audit is expected to cost, and what of it a budget leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.errors import UsageError
from controlwindow.instruments.speed import Speed, time_sample
from controlwindow.jobs.audit.estimate import estimate_audit, fit_to_budget, say_seconds
from controlwindow.jobs.audit.plan import plan_audit
from controlwindow.models import kept, load_model

SPEED = Speed(call=0.0, read=0.001, step=0.01, prompt=10.0, readout=0.25)


@pytest.fixture(scope="module")
def switch():
    return load_model("organism:switch")


def planned(model, **changes):
    behavior = load_behavior("language")
    values = {"top": 4, "screen": "contrastive", "planted": False, **changes}
    return [behavior], plan_audit(model, [("language", behavior)], **values)


def by_name(estimate):
    return {part.name.partition(": ")[2] or part.name: part for part in estimate.parts}


def test_every_part_is_counted(switch):
    behaviors, plan = planned(switch)
    horizon, asked = behaviors[0].horizons[-1], len(behaviors[0].prompts("evaluate", "positive"))
    found = estimate_audit(switch, behaviors, plan, SPEED)
    parts = by_name(found)
    assert parts["undosed"].seconds == pytest.approx(asked * (10 * 0.001 + horizon * 0.01))
    assert parts["undosed"].rows == asked
    # 8 neurons, 2 branches, 13 doses of 8 scouts and 3.2 of all prompts.
    rows = round(8 * 2 * (13 * 8 + 3.2 * asked))
    assert parts["windows of 8 neurons"].rows == rows
    # Half of the blocks for what is read; of a step the readout whole and half of the rest.
    expected = rows * (0.5 * 10 * 0.001 + horizon * 0.01 * (0.5 * 0.75 + 0.25))
    assert parts["windows of 8 neurons"].seconds == pytest.approx(expected)
    prompts = len(behaviors[0].prompts("find"))
    assert parts["screen contrastive"].seconds == pytest.approx(prompts * 10 * 0.001)
    assert found.seconds == pytest.approx(sum(part.seconds for part in found.parts))
    assert found.interval[0] < found.seconds < found.interval[1]


def test_what_a_choice_saves(switch):
    behaviors, plan = planned(switch)
    whole = estimate_audit(switch, behaviors, plan, SPEED).seconds
    for changes in ({"probe": False}, {"prompts": 12}, {"top": 1}):
        assert estimate_audit(switch, *planned(switch, **changes), SPEED).seconds < whole
    assert "probes and predictions" not in by_name(estimate_audit(switch, *planned(switch, probe=False), SPEED))
    dearer = by_name(estimate_audit(switch, *planned(switch, screen="causal"), SPEED))
    assert (
        dearer["screen causal"].seconds
        > by_name(estimate_audit(switch, behaviors, plan, SPEED))["screen contrastive"].seconds
    )
    # The last block's neurons are cheaper than the first one's.
    costs = [
        by_name(estimate_audit(switch, *planned(switch, top=0, neurons=[f"L{layer}.N3"]), SPEED))[
            "windows of 1 neurons"
        ]
        for layer in (0, switch.layers - 1)
    ]
    assert costs[0].seconds > costs[1].seconds
    assert costs[0].rows == costs[1].rows


def test_what_is_kept_already_costs_nothing(switch, monkeypatch):
    fresh = replace(switch, cache={})
    behaviors, plan = planned(fresh)
    assert "generic text" in by_name(estimate_audit(fresh, behaviors, plan, SPEED))
    kept.kept(fresh, ("generic pass", "whatever"), lambda: 1)
    assert "generic text" not in by_name(estimate_audit(fresh, behaviors, plan, SPEED))


def test_a_budget_gives_up_neurons_then_prompts_and_says_so(switch):
    behaviors, plan = planned(switch)
    whole = estimate_audit(switch, behaviors, plan, SPEED).seconds
    same, estimate, said = fit_to_budget(switch, behaviors, plan, SPEED, whole + 1)
    assert (same.run, estimate.seconds, said) == (plan.run, whole, [])
    fewer, estimate, said = fit_to_budget(switch, behaviors, plan, SPEED, 0.8 * whole)
    assert estimate.seconds <= 0.8 * whole
    assert (fewer.top, fewer.prompts) == (3, None)
    assert said == ["3 screened and 3 random neurons instead of 4 each"]
    assert fewer.run != plan.run
    # Two neurons of a kind on 32 prompts fit exactly.
    exact = estimate_audit(switch, *planned(switch, top=2, prompts=32), SPEED).seconds
    found, estimate, said = fit_to_budget(switch, behaviors, plan, SPEED, exact)
    assert (found.top, found.prompts, found.probe, found.screen) == (2, 32, True, "contrastive")
    assert estimate.seconds == exact
    assert said[-1] == "32 eligible prompts at the most"


def test_the_screen_goes_last(switch):
    behaviors, plan = planned(switch, screen="causal", top=2)
    least = estimate_audit(switch, *planned(switch, screen="causal", top=1, prompts=32, probe=False), SPEED).seconds
    assert fit_to_budget(switch, behaviors, plan, SPEED, least)[0].screen == "causal"
    found, _, said = fit_to_budget(switch, behaviors, plan, SPEED, 0.99 * least)
    assert found.screen == "contrastive"
    assert said[-1] == "the screen contrastive instead of causal"


def test_a_budget_for_nothing_is_refused_with_what_would_do(switch):
    behaviors, plan = planned(switch)
    with pytest.raises(UsageError, match=r"a budget of 1 s is too small: .* takes about \d+ min"):
        fit_to_budget(switch, behaviors, plan, SPEED, 1.0)


def test_named_neurons_are_never_given_up(switch):
    behaviors, plan = planned(switch, top=0, neurons=["L1.N2", "L3.N4"])
    fewer = planned(switch, top=0, neurons=["L1.N2", "L3.N4"], prompts=32)
    found, _, _ = fit_to_budget(switch, behaviors, plan, SPEED, estimate_audit(switch, *fewer, SPEED).seconds)
    assert found.neurons == ("L1.N2", "L3.N4")
    assert found.prompts == 32


def test_a_sample_has_every_cost(llama):
    found = time_sample(llama)
    assert found.read > 0
    assert found.step >= 0
    assert found.prompt > 1
    assert 0 < found.readout < 1
    assert found.reading(100, batch=10) == pytest.approx(100 * found.read + 10 * found.call)
    assert found.writing(64, 3, batch=32) == pytest.approx(3 * (64 * found.step + 2 * found.call))


def test_durations_in_words():
    assert [say_seconds(s) for s in (0.2, 89, 5399, 5401)] == ["1 s", "89 s", "90 min", "1.5 h"]
