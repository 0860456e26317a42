from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

import tiny_models
from controlwindow import screen
from controlwindow.behaviors.definition import Behavior, BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.cells import ActivationCell
from controlwindow.errors import ScreenError
from controlwindow.instruments import generic_pass
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.models import Model, Neuron, load_model
from controlwindow.screens import Activations, Screen, find_screen, screen_names
from controlwindow.screens.base import circuit_size

CIRCUIT = 32


@pytest.fixture(scope="module")
def behavior(tmp_path_factory: pytest.TempPathFactory) -> Behavior:
    definition = BehaviorDefinition.model_validate(
        {
            "name": "mode",
            "horizons": [8],
            "oracles": {"target": {"type": "regex", "pattern": "x"}},
            "prompts": {
                "find": {"positive": list(CHAT_PROMPTS[:9]), "negative": list(TEXT_PROMPTS[:8])},
                "evaluate": list(CHAT_PROMPTS[10:26]),
            },
        }
    )
    return assemble(definition, Path(tmp_path_factory.mktemp("behavior")) / "mode.toml")


def last_activations(model: Model, prompts: list[str]) -> np.ndarray:
    """Every neuron's activation at the last token of each prompt, one unpadded pass at a time, [prompts, neurons]."""
    rows = []
    for prompt in prompts:
        seen: list[torch.Tensor] = []
        handles = [
            tiny_models.projection(model, layer).register_forward_pre_hook(lambda _m, a, s=seen: s.append(a[0][0, -1]))
            for layer in range(model.layers)
        ]
        tiny_models.forward(model, model.token_ids([prompt])[0])
        for handle in handles:
            handle.remove()
        rows.append(torch.cat(seen).double().numpy())
    return np.array(rows)


def contrast(model: Model, behavior: Behavior) -> tuple[np.ndarray, np.ndarray]:
    sides = behavior.contrast("find")
    return tuple(last_activations(model, [p.text for p in side]) for side in (sides.positive, sides.negative))


def universal_share(model: Model) -> np.ndarray:
    """Share of ordinary prompts on which a neuron is among the strongest of the whole model."""
    size = np.abs(last_activations(model, list(generic_pass(model).prompts)))
    top = np.zeros_like(size)
    for row, values in enumerate(size):
        top[row, np.argsort(-values)[:CIRCUIT]] = 1
    return top.mean(axis=0)


def test_the_contrastive_screen_is_the_difference_of_means(tiny: Model, behavior: Behavior) -> None:
    positive, negative = contrast(tiny, behavior)
    delta = dict(zip(map(str, tiny.neurons), positive.mean(0) - negative.mean(0), strict=True))
    table = screen(tiny, behavior, "contrastive")
    for row in table.iter_rows(named=True):
        assert row["score"] == pytest.approx(delta[row["neuron"]], abs=1e-4)
        assert row["sign"] == np.sign(row["score"])
        assert Neuron(row["layer"], row["index"]) == Neuron.parse(row["neuron"])
    sizes = table["score"].abs().to_list()
    assert sizes == sorted(sizes, reverse=True)
    assert table["rank"].to_list() == list(range(1, len(table) + 1))
    kept = np.flatnonzero(universal_share(tiny) < 0.8)
    assert set(table["neuron"]) == {str(tiny.neurons[int(i)]) for i in kept}
    best = max(kept, key=lambda i: abs(delta[str(tiny.neurons[int(i)])]))
    assert table["neuron"][0] == str(tiny.neurons[int(best)])


def test_coherence_is_one_for_a_contrast_that_all_prompts_show(tiny: Model, behavior: Behavior) -> None:
    positive, negative = contrast(tiny, behavior)
    moves = positive - negative.mean(0)
    expected = np.abs(moves.mean(0)) / np.sqrt((moves**2).mean(0))
    by_name = dict(zip(map(str, tiny.neurons), expected, strict=True))
    for row in screen(tiny, behavior, "contrastive").iter_rows(named=True):
        assert row["coherence"] == pytest.approx(by_name[row["neuron"]], abs=1e-3)
        assert 0 <= row["coherence"] <= 1


def test_the_window_screen_is_the_contrast_in_budget_units(tiny: Model, behavior: Behavior) -> None:
    positive, negative = contrast(tiny, behavior)
    delta = positive.mean(0) - negative.mean(0)
    norms = generic_pass(tiny).residual_norm
    table = screen(tiny, behavior, "window")
    for row in table.iter_rows(named=True):
        neuron = Neuron.parse(row["neuron"])
        write = float(tiny_models.column(tiny, neuron.layer, neuron.index).norm())
        expected = delta[tiny.neurons.flat_index(neuron)] * write / norms[neuron.layer]
        assert row["score"] == pytest.approx(expected, abs=1e-4)
        assert row["budget"] == pytest.approx(norms[neuron.layer] / write, rel=1e-4)
    sizes = table["score"].abs().to_list()
    assert sizes == sorted(sizes, reverse=True)


def test_universal_neurons_are_dropped(behavior: Behavior) -> None:
    in_hand = tiny_models.gpt2_in_hand()
    with torch.no_grad():
        in_hand.transformer.h[1].mlp.c_fc.bias[11] = 50.0
    model = load_model(in_hand, tokenizer=tiny_models.tokenizer())
    assert universal_share(model)[model.neurons.flat_index(Neuron(1, 11))] == 1.0
    assert "L1.N11" not in screen(model, behavior, "contrastive")["neuron"].to_list()
    assert "L1.N11" not in screen(model, behavior, "window")["neuron"].to_list()
    assert "L1.N11" in screen(model, behavior, "random")["neuron"].to_list()


def test_a_write_that_vanishes_has_no_budget(behavior: Behavior) -> None:
    in_hand = tiny_models.llama_in_hand()
    with torch.no_grad():
        in_hand.model.layers[0].mlp.down_proj.weight[:, 3] = 0
    model = load_model(in_hand, tokenizer=tiny_models.tokenizer())
    row = screen(model, behavior, "random").filter(pl.col("neuron") == "L0.N3")
    assert row["budget"].to_list() == [None]


def test_the_random_screen_is_reproducible_and_changes_with_seed_and_behavior(llama: Model, behavior: Behavior) -> None:
    first = screen(llama, behavior, "random", seed=1)
    assert first.equals(screen(llama, behavior, "random", seed=1))
    assert first["neuron"].to_list() != screen(llama, behavior, "random", seed=2)["neuron"].to_list()
    assert sorted(first["neuron"]) == sorted(map(str, llama.neurons))
    assert first["score"].n_unique() == len(first)
    assert first["coherence"].null_count() == len(first)


def test_the_random_screen_is_uniform_over_neurons(llama: Model, behavior: Behavior) -> None:
    generic, random = generic_pass(llama), find_screen("random")
    tops = [np.argsort(-random(llama, behavior, generic, seed=seed).scores())[:12] for seed in range(400)]
    counts = np.bincount(np.concatenate(tops), minlength=len(llama.neurons))
    assert stats.chisquare(counts).pvalue > 1e-3
    assert 0.5 < counts.std() / np.sqrt(counts.mean()) < 1.5


def test_screens_ask_once_for_the_activations_of_their_split(llama: Model, behavior: Behavior) -> None:
    generic = generic_pass(llama)
    planner = find_screen("contrastive")(llama, behavior, generic, split="find")
    assert planner.next_cells() == [ActivationCell("mode", "find")]
    count = len(llama.neurons)
    made = Activations(*(np.arange(count) + float(i) for i in range(6)), np.zeros(count), (9, 8))
    planner.update({ActivationCell("mode", "find"): [made.to_row()]})
    assert planner.next_cells() == []
    np.testing.assert_array_equal(planner.scores(), np.full(count, -1.0))
    assert not find_screen("random")(llama, behavior, generic).next_cells()


def contrastive_on(model: Model, behavior: Behavior, activations: Activations) -> Screen:
    """The contrastive screen, having read these activations."""
    planner = find_screen("contrastive")(model, behavior, generic_pass(model))
    planner.update({cell: [activations.to_row()] for cell in planner.next_cells()})
    return planner


def test_equal_scores_rank_in_the_order_of_neurons(llama: Model, behavior: Behavior) -> None:
    count = len(llama.neurons)
    planner = contrastive_on(
        llama, behavior, Activations(*(np.full(count, float(i)) for i in range(6)), np.zeros(count), (9, 8))
    )
    assert planner.table()["neuron"].to_list() == [str(neuron) for neuron in llama.neurons]


def test_a_screen_without_neurons_left_says_so(llama: Model, behavior: Behavior) -> None:
    count = len(llama.neurons)
    planner = contrastive_on(llama, behavior, Activations(*(np.zeros(count) for _ in range(6)), np.ones(count), (9, 8)))
    with pytest.raises(ScreenError, match=r"dropped every neuron \(universal\)"):
        planner.table()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_neuron_without_a_score_is_an_error(llama: Model, behavior: Behavior, value: float) -> None:
    count = len(llama.neurons)
    positive = np.zeros(count)
    positive[5] = value
    planner = contrastive_on(llama, behavior, Activations(positive, *(np.zeros(count) for _ in range(6)), (9, 8)))
    with pytest.raises(ScreenError, match=f"covers {count - 1} of {count} neurons"):
        planner.table()


def test_a_screen_says_how_many_neurons_it_covers(
    llama: Model, behavior: Behavior, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="controlwindow.screens"):
        screen(llama, behavior, "contrastive")
    assert f"covers {len(llama.neurons)} of {len(llama.neurons)} neurons" in caplog.text


def test_activations_survive_their_row_exactly() -> None:
    generator = np.random.default_rng(0)
    made = Activations(*(generator.normal(size=7) for _ in range(7)), (3, 4))
    back = Activations.from_row(made.to_row())
    assert back.counts == (3, 4)
    for name in ("positive_mean", "negative_mean", "positive_square", "negative_square", "low", "high", "universal"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))


def test_an_unknown_screen_names_those_there_are() -> None:
    with pytest.raises(ScreenError, match="unknown screen 'nonsense'") as caught:
        find_screen("nonsense")
    for name in screen_names():
        assert name in caught.value.hint
    assert {"contrastive", "window", "random"} <= set(screen_names())


def test_a_circuit_is_a_thousandth_or_a_fixed_number() -> None:
    assert circuit_size(3072) == CIRCUIT
    assert circuit_size(99_999) == CIRCUIT
    assert circuit_size(458_752) == 459
