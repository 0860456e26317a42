from __future__ import annotations

import numpy as np
import pytest

import tiny_families
from controlwindow import screen
from controlwindow.errors import ScreenError
from controlwindow.models import Model, Neuron
from controlwindow.screens import screen_names, shuffle_labels
from small_behaviors import PAIRS, SEQUENCES, make_behavior

METHODS = tuple(name for name in screen_names() if name != "random")


def test_shuffled_labels_keep_prompts_and_sizes() -> None:
    behavior = make_behavior(log_odds=SEQUENCES, perturbation=PAIRS)
    shuffled = shuffle_labels(behavior, "find", 3)
    before, after = behavior.contrast("find"), shuffled.contrast("find")
    assert (len(after.positive), len(after.negative)) == (9, 8)
    assert {p.text for p in (*after.positive, *after.negative)} == {
        p.text for p in (*before.positive, *before.negative)
    }
    assert {p.text for p in after.positive} != {p.text for p in before.positive}
    assert set(map(frozenset, shuffled.perturbation_pairs())) == set(map(frozenset, behavior.perturbation_pairs()))
    odds = shuffled.log_odds
    assert sorted((*odds.target, *odds.control)) == sorted((*SEQUENCES["target"], *SEQUENCES["control"]))
    assert shuffled.prompts("evaluate") == behavior.prompts("evaluate")
    assert shuffled.prompts("select") == behavior.prompts("select")
    assert shuffled.name != behavior.name
    assert shuffle_labels(behavior, "find", 3) == shuffled
    assert shuffle_labels(behavior, "find", 4).contrast("find") != after


@pytest.mark.parametrize("method", METHODS)
def test_every_screen_runs_on_shuffled_labels(llama: Model, method: str) -> None:
    behavior = make_behavior(log_odds=SEQUENCES)
    real, control = (screen(llama, behavior, method, control=control) for control in (None, "shuffled"))
    assert control.columns == real.columns
    assert control["score"].to_list() != real["score"].to_list()
    assert control.equals(screen(llama, behavior, method, control="shuffled"))


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("one", "causal")])
def test_random_neurons_are_matched_by_layer_rank_by_rank(llama: Model, method: str) -> None:
    behavior = make_behavior()
    real, control = (screen(llama, behavior, method, control=control) for control in (None, "random"))
    assert control["layer"].to_list() == real["layer"].to_list()
    assert control["score"].to_list() == real["score"].to_list()
    assert control["neuron"].to_list() != real["neuron"].to_list()
    assert len(set(control["neuron"])) == len(control)


@pytest.mark.parametrize("method", ["one", "causal"])
def test_screens_that_select_take_random_neurons_into_their_selection(llama: Model, method: str) -> None:
    behavior = make_behavior(log_odds=SEQUENCES)
    real, control = (screen(llama, behavior, method, control=control, seed=1) for control in (None, "random"))
    assert control["neuron"].to_list() != real["neuron"].to_list()
    assert set(control["neuron"]) <= set(map(str, llama.neurons))


def test_an_unknown_control_is_refused(llama: Model) -> None:
    with pytest.raises(ScreenError, match="unknown control 'magic'") as caught:
        screen(llama, make_behavior(), "gradient", control="magic")
    assert "shuffled" in caught.value.hint


@pytest.mark.parametrize("case", ["gpt2", "gemma2", "qwen2_moe", "gpt_oss"])
@pytest.mark.parametrize("method", METHODS)
def test_every_screen_covers_every_architecture(case: str, method: str) -> None:
    model = tiny_families.model(case)
    table = screen(model, make_behavior(log_odds=SEQUENCES), method)
    assert np.isfinite(table["score"].to_numpy()).all()
    assert table["rank"].to_list() == list(range(1, len(table) + 1))
    if method not in ("one", "contrastive", "window"):
        assert len(table) == len(model.neurons)
    assert ("expert" in table.columns) == (case in ("qwen2_moe", "gpt_oss"))
    for row in table.head(5).iter_rows(named=True):
        assert Neuron.parse(row["neuron"]) == Neuron(row["layer"], row["index"], row.get("expert"))
