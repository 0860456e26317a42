"""A probe from beginning to end on a tiny model, against passes of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import controlwindow as cw
import plain_generation
import tiny_models
from controlwindow.behaviors.pairs import prompt_pairs
from controlwindow.cells import Cell, DirectionCell, SetCell, SetEffectCell
from controlwindow.errors import BehaviorError, LedgerError, ScreenError, UsageError
from controlwindow.instruments.operations import Scale
from controlwindow.instruments.ordinary import CHAT_PROMPTS
from controlwindow.measuring.engine import Engine
from controlwindow.models import Neuron
from small_probe import literal_objective, small_behavior


def literal_importance(model, split):
    """I of every neuron and pair, from unpadded passes and PP's formula, [pairs, neurons]; and F before and after."""
    target, control = literal_objective(model)
    weight = model.hf_model.get_output_embeddings().weight.detach()
    direction = weight[target].mean(0) - weight[control].mean(0)
    rows, gaps = [], []
    for pair in prompt_pairs(small_behavior(), split):
        sides = []
        for prompt in (pair.prompt, pair.perturbed):
            seen: dict[int, torch.Tensor] = {}
            handles = [
                tiny_models.projection(model, layer).register_forward_pre_hook(
                    lambda _m, args, layer=layer, seen=seen: seen.__setitem__(layer, args[0][0, -1].clone())
                )
                for layer in range(model.layers)
            ]
            logits = tiny_models.forward(model, model.token_ids([prompt.text])[0])[-1]
            for handle in handles:
                handle.remove()
            sides.append((seen, float(logits[target].mean() - logits[control].mean())))
        values = []
        for layer in range(model.layers):
            reads = direction @ tiny_models.projection(model, layer).weight.detach()
            values.append(reads * (sides[1][0][layer] - sides[0][0][layer]))
        rows.append(torch.cat(values).double().numpy())
        gaps.append((sides[0][1], sides[1][1]))
    return np.array(rows), np.array(gaps)


def test_the_circuit_is_the_top_by_mean_importance(model, probed):
    values, _ = literal_importance(model, "find")
    order = np.argsort(-np.abs(values.mean(0)), kind="stable")
    expected = [str(model.neurons[int(place)]) for place in order[:32]]
    assert probed.table()["neuron"].to_list() == expected
    assert probed.table()["importance"].to_numpy() == pytest.approx(values.mean(0)[order[:32]], abs=1e-4)
    root = np.sqrt((values**2).mean(0))[order[:32]]
    assert probed.table()["coherence"].to_numpy() == pytest.approx(np.abs(values.mean(0)[order[:32]]) / root, abs=1e-3)


def test_sums_and_gaps_are_those_of_plain_passes(model, probed):
    values, gaps = literal_importance(model, "evaluate")
    rows = probed.sums.pairs
    assert [row["explained"] for row in rows] == pytest.approx(values.sum(1), abs=1e-3)
    assert [row["measured"] for row in rows] == pytest.approx(gaps[:, 1] - gaps[:, 0], abs=1e-3)
    assert probed.sums.correlation == pytest.approx(np.corrcoef(values.sum(1), gaps[:, 1] - gaps[:, 0])[0, 1], abs=1e-3)


@pytest.mark.parametrize(("intervention", "factor"), [("ablate", 0.0), ("amplify", 2.0), ("amplify", 3.0)])
def test_the_sweep_scales_the_top_k_together(model, probed, intervention, factor):
    target, control = literal_objective(model)
    top = [Neuron.parse(name) for name in probed.table()["neuron"].to_list()]
    for line in (e for e in probed.effects if (e.setting.intervention, e.setting.factor) == (intervention, factor)):
        operations = [Scale(neuron, factor, "all") for neuron in top[: line.setting.size]]
        shifts, linear = [], []
        for pair in prompt_pairs(small_behavior(), "evaluate"):
            ids = model.token_ids([pair.prompt.text])[0]
            before = tiny_models.forward(model, ids)[-1].double()
            with plain_generation.edited(model, operations, {}):
                after = tiny_models.forward(model, ids)[-1].double()
            odds = [float(x[target].logsumexp(0) - x[control].logsumexp(0)) for x in (before, after)]
            gaps = [float(x[target].mean() - x[control].mean()) for x in (before, after)]
            shifts.append(odds[1] - odds[0])
            linear.append(gaps[1] - gaps[0])
        assert line.n == len(shifts) == 16
        assert line.shift == pytest.approx(np.mean(shifts), abs=1e-3)
        assert line.linear == pytest.approx(np.mean(linear), abs=1e-3)
        assert line.interval.low <= line.shift <= line.interval.high


def test_the_ratio_is_that_of_the_last_block(model, probed):
    target, control = literal_objective(model)
    weight = model.hf_model.get_output_embeddings().weight.detach()
    direction = weight[target].mean(0) - weight[control].mean(0)
    block = tiny_models.block(model, model.layers - 1)
    ffn, skip = [], []
    for pair in prompt_pairs(small_behavior(), "evaluate"):
        for prompt in (pair.prompt, pair.perturbed):
            seen = {}
            handles = [
                block.register_forward_pre_hook(
                    lambda _m, args, kwargs, seen=seen: seen.update(h=(args[0] if args else kwargs["hidden_states"])),
                    with_kwargs=True,
                ),
                block.mlp.register_forward_hook(lambda _m, _a, out, seen=seen: seen.update(ffn=out)),
            ]
            tiny_models.forward(model, model.token_ids([prompt.text])[0])
            for handle in handles:
                handle.remove()
            ffn.append(abs(float(seen["ffn"][0, -1] @ direction)))
            skip.append(abs(float(seen["h"][0, -1] @ direction)))
    assert probed.ratio.ratio == pytest.approx(np.mean(ffn) / np.mean(skip), rel=1e-3)
    assert probed.ratio.interval.low < probed.ratio.ratio < probed.ratio.interval.high


def test_controls_are_in_every_line_and_matched(model, probed):
    assert all(line.controls.complete for line in (*probed.effects, *probed.rollouts))
    assert all(len(line.controls.random_draws) == 3 for line in probed.effects)
    assert all(len(line.controls.shuffled_draws) == 2 for line in probed.effects)
    assert all(line.p is not None and line.p_holm >= line.p for line in probed.effects)
    assert len(probed.rollouts) == 4
    assert probed.passes_taken <= probed.passes["total"]


SHARED = {"kind": "sequences", "target": ["sky blue", "cat"], "control": ["sky bread", "paper"]}
TOLD_APART = {"kind": "sequences", "target": ["sky blue", "cat sky"], "control": ["bread sky", "bread cat", "paper"]}


@pytest.mark.parametrize("log_odds", [SHARED, TOLD_APART, {"kind": "answers", "answer_tokens": 2}])
def test_no_more_passes_are_taken_than_were_stated(model, untrained, log_odds):
    # Pairs of different questions: the answers to a prompt with two letters swapped may be its own.
    texts = list(CHAT_PROMPTS)
    pairs = {split: [[a, b] for a, b in zip(texts[i : i + 4], texts[i + 4 : i + 8], strict=True)]
             for split, i in (("pairs", 0), ("select", 8), ("evaluate", 16))}  # fmt: skip
    behavior = small_behavior(log_odds=log_odds, perturbation={"kind": "pairs", **pairs})
    found = cw.probe(model, behavior, sizes=[2])
    assert 0 < found.passes_taken <= found.passes["total"]
    assert found.gap.first_tokens == (log_odds is TOLD_APART)
    whole = any("F is that of whole texts" in note for note in found.notes)
    assert whole == (log_odds is not TOLD_APART)


def test_random_sets_have_the_layers_of_the_circuit(model, untrained):
    seen: list[Cell] = []
    real = Engine.run

    def run(self, cells):
        seen.extend(cells)
        return real(self, cells)

    patch = pytest.MonkeyPatch()
    patch.setattr(Engine, "run", run)
    try:
        found = cw.probe(model, small_behavior(), sizes=[2, 6], passes=2600)
    finally:
        patch.undo()
    circuit = found.table()["neuron"].to_list()[:6]
    sets = {cell.neurons for cell in seen if isinstance(cell, SetEffectCell) and cell.split == "evaluate"}
    assert tuple(circuit) in sets
    others = [names for names in sets if not set(names) & set(circuit)]
    assert len(others) >= 3
    layers = [Neuron.parse(name).layer for name in circuit]
    matched = [names for names in others if [Neuron.parse(name).layer for name in names] == layers]
    assert len(matched) >= 3
    # What is chosen is chosen on select; evaluate is only reported.
    rolled = [cell for cell in seen if isinstance(cell, SetCell | DirectionCell)]
    first = next(i for i, cell in enumerate(rolled) if cell.split == "evaluate")
    assert all(cell.split == "select" for cell in rolled[:first])
    assert all(cell.split == "evaluate" for cell in rolled[first:])
    finds = {cell.split for cell in seen if type(cell).__name__ in ("DirectionsCell",)}
    assert finds == {"find"}


def test_a_probe_that_is_cut_off_goes_on_where_it_was(model, untrained, probed, tmp_path, monkeypatch):
    real, runs = Engine.run, []

    def dying(self, cells):
        runs.append(cells)
        if len(runs) == 6:
            raise KeyboardInterrupt
        return real(self, cells)

    monkeypatch.setattr(Engine, "run", dying)
    with pytest.raises(KeyboardInterrupt):
        cw.probe(model, small_behavior(), tmp_path, sizes=[1, 2, 4])
    with pytest.raises(LedgerError, match="is not finished"):
        cw.results(tmp_path)
    done = len(runs)
    found = cw.probe(model, small_behavior(), tmp_path, sizes=[1, 2, 4])
    assert found.to_json() == probed.to_json()
    again = len(runs)
    assert again > done
    assert cw.probe(model, small_behavior(), tmp_path, sizes=[1, 2, 4]).to_json() == probed.to_json()
    assert len(runs) == again, "a finished probe measures nothing"
    assert (tmp_path / "report.html").exists()
    assert json.loads((tmp_path / "manifest.json").read_text())["configuration"]["settings"]["ladder"] == [1, 2, 4]
    with pytest.raises(LedgerError, match="holds another probe: it differs in seed"):
        cw.probe(model, small_behavior(), tmp_path, sizes=[1, 2, 4], seed=1)


def test_a_perturbation_that_flips_nothing_is_said_pair_by_pair(probed):
    still = [row for row in probed.sums.pairs if not row["flips"]]
    assert still
    assert probed.sums.flipped == 16 - len(still)
    assert any(f"flips {probed.sums.flipped} of 16" in note for note in probed.notes)


def test_a_missing_control_is_marked_and_nothing_is_printed(model, untrained, capsys):
    behavior = small_behavior()
    alone = tuple(p for p in behavior.all_prompts if p.role == "positive")
    bare = replace(behavior, all_prompts=alone)
    found = cw.probe(model, bare, sizes=[2], passes=1500)
    assert not found.verdict.complete
    assert not any(line.controls.complete for line in found.effects)
    assert all(line.controls.random is not None for line in found.effects)
    assert any("no contrast whose labels could be shuffled" in note for note in found.notes)
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", "")


def test_bad_input_is_one_clear_error(model, untrained, monkeypatch):
    with pytest.raises(BehaviorError, match="defines no perturbation"):
        cw.probe(model, small_behavior(perturbation=None))
    words = [["sky", "cat"], ["cat", "sky"], ["bread", "paper"], ["paper", "bread"]]
    with pytest.raises(BehaviorError, match="0 perturbation pairs in split 'select'") as caught:
        cw.probe(model, small_behavior(perturbation={"kind": "pairs", "pairs": words}))
    assert "select = " in caught.value.hint
    with pytest.raises(UsageError, match="leave no circuit"):
        cw.probe(model, small_behavior(), sizes=[])
    with pytest.raises(UsageError, match="takes at least"):
        cw.probe(model, small_behavior(), passes=10)
    tokens = {"kind": "tokens", "target": ["zzz"], "control": ["qqq"]}
    with pytest.raises(ScreenError, match="needs a target and a control text"):
        cw.probe(model, small_behavior(log_odds=tokens))


def test_a_model_without_any_importance_has_no_top_k(untrained):
    silent = tiny_models.llama(seed=5)
    with torch.no_grad():
        # Every token is read alike, so d_F is 0.
        head = silent.hf_model.get_output_embeddings().weight
        head.copy_(head[:1].expand_as(head).clone())
    with pytest.raises(ScreenError, match="no neuron has an importance other than 0"):
        cw.probe(silent, small_behavior())
