"""The comparison of screens: stored results are not repeated, scores are those of any method, aims are numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import controlwindow as cw
from benchmarks.screens.measuring import REFERENCE, Store, measure_screen, plain_gradients, plain_seconds
from benchmarks.screens.pages import draw, markdown
from benchmarks.screens.rescoring import rescored
from benchmarks.screens.summary import aims, paired_recall, summarise
from benchmarks.work import organism
from controlwindow.behaviors import Behavior
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS


@pytest.fixture(scope="module")
def model() -> cw.Model:
    return organism()


def make_behavior(**changes: Any) -> Behavior:
    """A behavior whose first tokens tiny models know."""
    values = {
        "name": "mode",
        "horizons": [4],
        "oracles": {"target": {"type": "regex", "pattern": "a"}},
        "prompts": {
            "find": {"positive": list(CHAT_PROMPTS[:9]), "negative": list(TEXT_PROMPTS[:8])},
            "evaluate": list(CHAT_PROMPTS[10:26]),
        },
        "log_odds": {"kind": "tokens", "target": ["sky", "cat"], "control": ["bread", "paper", "blue"]},
    }
    return assemble(BehaviorDefinition.model_validate({**values, **changes}), Path("mode.toml"))


def record(screen: str, behavior: str, ranking: list[str], seconds: float = 2.0, tokens: int = 1000) -> dict:
    return {
        "organism": "organism:switch", "on": behavior, "screen": screen, "ranking": ranking,
        "signs": [-1] * len(ranking), "scores": [8.0, *[4.0] * 14, 2.0], "seconds": seconds,
        "cost": {"forward": 100, "backward": 50, "tokens": tokens, "scored": 0},
    }  # fmt: skip


def reference(behavior: str) -> dict:
    values = {"forward": 1e-3, "forward_backward": 3e-3, "scored": 2e-3, "rollouts": 100.0}
    return {"organism": "organism:switch", "on": behavior, "screen": REFERENCE, **values}


RECORDS = [
    reference("refusal"),
    reference("language"),
    record("causal", "refusal", ["L3.N80", *(f"L0.N{i}" for i in range(20))]),
    record("causal", "language", ["L4.N160", *(f"L0.N{i}" for i in range(20))], seconds=6.0),
    record("gradient", "refusal", ["L3.N80"]),
    record("gradient", "language", [*(f"L0.N{i}" for i in range(20)), "L4.N160"]),
    {"organism": "organism:switch", "on": "language", "screen": "one", "unavailable": "no such thing"},
    {"organism": "organism:switch", "on": "refusal", "screen": "one", "unavailable": "no such thing"},
]
SCREENS = ["causal", "gradient", "one"]


def test_screens_are_scored_as_any_method_is():
    causal, gradient, one = summarise(RECORDS, SCREENS)
    assert (causal.score.recall(1).k, gradient.score.recall(16).k, gradient.score.recall(16).n) == (2, 1, 2)
    assert (causal.score.signs().k, causal.score.signs().n) == (1, 2)
    assert one.score is None
    assert one.unavailable == (
        ("organism:switch language", "no such thing"),
        ("organism:switch refusal", "no such thing"),
    )
    assert causal.lead(distributed=False) == 4.0
    assert causal.lead(distributed=True) is None


def test_cost_is_held_against_plain_passes_and_rollouts():
    causal = summarise(RECORDS, SCREENS)[0]
    assert plain_seconds(RECORDS[2]["cost"], RECORDS[0]) == pytest.approx(1000 * (0.5 * 1e-3 + 0.5 * 3e-3))
    assert causal.expense.plain_range == pytest.approx((1.0, 3.0))
    assert causal.expense.rollouts_range == pytest.approx((0.02, 0.06))


def test_plain_passes_read_the_distributions_that_a_screen_reads() -> None:
    cost = {"forward": 100, "backward": 50, "tokens": 1000, "scored": 500}
    assert plain_seconds(cost, reference("refusal")) == pytest.approx(1000 * (0.5e-3 + 1.5e-3) + 500 * 2e-3)


def test_aims_are_met_or_missed_by_the_numbers():
    found = {aim.what: aim.met for aim in aims(summarise(RECORDS, SCREENS))}
    assert found["causal recalls at least 95 % of planted controllers at 16"] is True
    assert found["no decoy among causal's 16"] is None
    assert found["causal at most 1/20 of rolling every neuron out"] is True
    assert found["causal at most 1.1 times its plain passes"] is False
    assert found["gradient at most 1.1 times its plain passes"] is True


def test_screens_are_compared_on_the_same_controllers():
    difference, spread, n = paired_recall(summarise(RECORDS, SCREENS), "causal", "gradient")
    assert (difference, spread, n) == (0.5, None, 2)


def test_tables_and_figure_show_every_screen_and_what_could_not_run():
    standings = summarise(RECORDS, SCREENS)
    text = markdown(standings, "here")
    assert "| `causal` | 2/2 [16, 100] |" in text
    assert "`one` on organism:switch language: no such thing" in text
    assert "`gradient` +0.50 (n 2)" in text
    figure = ElementTree.fromstring(draw(standings))
    assert "causal planted 2/2" in figure.attrib["aria-label"]
    json.dumps([s.to_json() for s in standings], allow_nan=False)


def test_what_is_stored_is_measured_again_only_when_something_changed(llama, tmp_path):
    behavior = make_behavior()
    store, calls = Store(tmp_path), []

    def measure():
        calls.append(1)
        return measure_screen(llama, behavior, "readout", seed=0)

    first = store.get(llama, behavior, "readout", 0, measure)
    assert len(first["ranking"]) == len(llama.neurons)
    assert len(first["scores"]) == 16
    assert first["cost"] == {"forward": 0, "backward": 0, "tokens": 0.0, "scored": 0}
    assert store.get(llama, behavior, "readout", 0, measure) == first
    assert len(calls) == 1
    store.get(llama, behavior, "readout", 1, measure)
    store.get(llama, make_behavior(horizons=[5]), "readout", 1, measure)
    assert len(calls) == 3


def test_a_screen_that_cannot_run_says_why(llama):
    found = measure_screen(llama, make_behavior(), "perturbation", seed=0)
    assert list(found) == ["unavailable"]
    assert found["unavailable"]


def test_plain_gradients_leave_the_model_as_it_was(model):
    weights = {name: p.detach().clone() for name, p in model.hf_model.named_parameters()}
    trained = {name for name, p in model.hf_model.named_parameters() if p.requires_grad}
    plain_gradients(model, ["What does the owl eat?", "Hello!"], 64)
    assert {name for name, p in model.hf_model.named_parameters() if p.requires_grad} == trained
    assert all(p.grad is None and torch.equal(p, weights[name]) for name, p in model.hf_model.named_parameters())


RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "screens.json"


def test_the_committed_comparison_follows_from_its_own_ranks():
    document = json.loads(RESULTS.read_text("utf-8"))
    again, standings = rescored(document)
    assert json.loads(json.dumps(again)) == document
    causal = standings[0].score
    assert (causal.recall(16).k, causal.recall(16).n) == (26, 26), "24 of the 50 planted neurons are copies"
    assert causal.natural_recall(16).n == 121
    assert again["aims"][0]["found"] == "26 of 26 = 100 % [87, 100]"
