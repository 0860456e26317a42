"""Cells of a comparison, run by the engine, against plain generation under literal readings of each method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import plain_generation
import tiny_families
import tiny_models
from controlwindow.behaviors import Behavior, CoherenceDetector
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.cells import (
    AreaCell,
    CapabilityCell,
    Cell,
    InterventionCell,
    RolloutCell,
    Rows,
    cell_from_key,
    cell_key,
)
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.operations import Add, Inject, Operation, Pin, Scale
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.measuring.engine import Engine
from controlwindow.models import Model
from controlwindow.runs.ledger import Ledger
from plain_ablation import READERS, generate, plainly_ablated

HORIZON = 6
PROMPTS = ("evaluate.p000", "evaluate.p003", "evaluate.p005")
DETECTOR = CoherenceDetector(1.0, 1e9, 1e9, 1e9, 1e-9, 1e-9)
"""Calls nothing collapsed: what random models say is noise."""


def behavior() -> Behavior:
    prompts = {
        "find": {"positive": list(CHAT_PROMPTS[:9]), "negative": list(TEXT_PROMPTS[:8])},
        "select": list(CHAT_PROMPTS[26:30]),
        "evaluate": {"positive": list(CHAT_PROMPTS[10:26]), "negative": list(TEXT_PROMPTS[10:19])},
    }
    values = {
        "name": "mode",
        "horizons": [3, HORIZON],
        "oracles": {"target": {"type": "regex", "pattern": "a"}},
        "prompts": prompts,
        "minimum_eligible": 1,
    }
    return assemble(BehaviorDefinition.model_validate(values), Path("mode.toml"))


def run(model: Model, cells: list[Cell]) -> dict[Cell, Rows]:
    """Rows of cells, with those of the undosed model before them in the ledger."""
    mode = behavior()
    with Ledger() as ledger:
        engine = Engine(model, {"mode": mode}, generic_pass(model), ledger, DETECTOR)
        return dict(engine.run(cells))


def direction(model: Model, layer: int) -> torch.Tensor:
    """The unit mean difference from X+ to X−, prompt by prompt."""
    contrast, means = behavior().contrast("find"), []
    for side in (contrast.negative, contrast.positive):
        seen: list[torch.Tensor] = []
        handle = tiny_models.block(model, layer).register_forward_hook(
            lambda _m, _a, out, seen=seen: seen.append((out[0] if isinstance(out, tuple) else out)[0, -1].double())
        )
        for prompt in side:
            tiny_models.forward(model, model.token_ids([prompt.text])[0])
        handle.remove()
        means.append(torch.stack(seen).mean(0))
    difference = (means[0] - means[1]).float()
    return difference / difference.norm()


def ids_of(model: Model, role: str = "positive") -> list[list[int]]:
    prompts = behavior().prompts("evaluate", role)  # type: ignore[arg-type]
    chosen = [p for p in prompts if role == "negative" or p.id in PROMPTS]
    return model.token_ids([prompt.text for prompt in chosen])


@pytest.mark.parametrize("case", ["llama", "gpt2", "olmo2", "qwen2_moe"])
def test_rollouts_of_every_method_are_plain_generations(case: str) -> None:
    model = tiny_families.model(case)
    neuron = model.neurons.at(1, model.neurons.widths[1] - 2)
    cell = InterventionCell("mode", "evaluate", neuron=str(neuron), horizon=HORIZON, prompts=PROMPTS)
    addition = replace(cell, method="mean_difference", neuron=None, layer=0, strength=-4.0, positions="generated")
    cells: dict[str, InterventionCell] = {
        "add": replace(cell, method="add", strength=3.0, positions="generated"),
        "ablate": replace(cell, method="ablate", strength=0.6),
        "pin": replace(cell, method="pin", strength=-2.5),
        "mean_difference": addition,
    }
    operations: dict[str, Operation] = {
        "add": Add(neuron, 3.0, "generated"),
        "ablate": Scale(neuron, 0.4),
        "pin": Pin(neuron, -2.5),
        "mean_difference": Inject(0, -4.0 * direction(model, 0), "generated"),
    }
    found = run(model, list(cells.values()))
    changed = 0
    for name, asked in cells.items():
        for ids, row in zip(ids_of(model), found[asked], strict=True):
            plain = plain_generation.generate(model, ids, (operations[name],), HORIZON)
            undosed = plain_generation.generate(model, ids, (), HORIZON)
            assert row["token_ids"][: plain.first_tie] == plain.tokens[: plain.first_tie], name
            changed += plain.tokens != undosed.tokens
            if plain.first_tie == undosed.first_tie == HORIZON:
                assert row["verbatim"] == (plain.tokens == undosed.tokens)
    assert changed > 2, "the operations changed too little: the test has nothing to say"


@pytest.mark.parametrize("case", ["llama", "olmo2"])
def test_an_anchor_reads_each_prompt_and_directional_ablation_every_layer(case: str) -> None:
    model = tiny_families.model(case)
    neuron = model.neurons.at(0, 4)
    cell = InterventionCell("mode", "evaluate", horizon=HORIZON, prompts=PROMPTS)
    anchor = replace(cell, method="anchor", neuron=str(neuron), strength=-9.0, gap=1.5, multiple=2, suffix=2)
    ablation = replace(cell, method="directional_ablation", layer=1, strength=1.0)
    found = run(model, [anchor, ablation])
    for ids, row, other in zip(ids_of(model), found[anchor], found[ablation], strict=True):
        seen: list[torch.Tensor] = []
        hook = tiny_models.projection(model, 0).register_forward_pre_hook(
            lambda _m, args, seen=seen: seen.append(args[0])
        )
        tiny_models.forward(model, ids)
        hook.remove()
        peak = float(seen[0].view(len(ids), -1)[-2:, 4].max())
        value = max(-9.0, min(9.0, 2 * -9.0 * peak / 1.5 - 1.5))
        plain = plain_generation.generate(model, ids, (Pin(neuron, value),), HORIZON)
        assert row["token_ids"][: plain.first_tie] == plain.tokens[: plain.first_tie]
        with plainly_ablated(model, READERS[case], direction(model, 1)):
            expected, decided = generate(model, ids, HORIZON)
        assert other["token_ids"][: min(decided, HORIZON)] == expected[: min(decided, HORIZON)]


def test_benign_prompts_are_rolled_out_and_held_against_themselves(llama: Model) -> None:
    undosed = RolloutCell("mode", "evaluate", horizon=HORIZON, role="negative")
    nothing = InterventionCell("mode", "evaluate", "add", 0.0, "L1.N3", horizon=HORIZON, role="negative")
    pinned = replace(nothing, method="pin", strength=40.0)
    found = run(llama, [undosed, nothing, pinned])
    assert [row["prompt"] for row in found[undosed]] == [f"evaluate.n{place:03d}" for place in range(9)]
    # Undosed surprisals come rounded from the ledger.
    assert all(row["verbatim"] and abs(row["excess"]) < 1e-4 for row in found[nothing])
    assert not all(row["verbatim"] for row in found[pinned])
    for row, before, ids in zip(found[pinned], found[undosed], ids_of(llama, "negative"), strict=True):
        surprise = []
        for tokens in (row["token_ids"], before["token_ids"]):
            content = [token for token in tokens if token not in llama.stop_ids]
            scores = tiny_models.forward(llama, [*ids, *content]).log_softmax(-1)
            given = [-float(scores[len(ids) - 1 + place, token]) for place, token in enumerate(content)]
            surprise.append(np.mean(given) if given else 0.0)
        assert row["excess"] == pytest.approx(surprise[0] - surprise[1], abs=2e-3)


@pytest.mark.parametrize("case", ["llama", "gpt2"])
def test_capability_is_what_generic_answers_cost(case: str) -> None:
    model = tiny_families.model(case)
    generic = generic_pass(model)
    pin = CapabilityCell("mode", "evaluate", "pin", 5.0, "L1.N3")
    # An anchor whose value is the same on every prompt is a pin.
    anchor = replace(pin, method="anchor", strength=5.0, gap=-1e6)
    plain = CapabilityCell("mode", "evaluate", "add", 0.0, "L1.N3")
    found = run(model, [pin, anchor, plain])
    assert all(row["excess"] == pytest.approx(0, abs=1e-5) and row["agreement"] == 1 for row in found[plain])
    places = [place for place, text in enumerate(generic.token_ids) if text]
    for place, row, same in zip(places, found[pin], found[anchor], strict=True):
        assert (same["excess"], same["agreement"]) == pytest.approx((row["excess"], row["agreement"]), abs=1e-4)
        ids, answer = list(generic.prompt_ids[place]), list(generic.token_ids[place])
        whole = torch.tensor([[*ids, *answer]])
        with torch.no_grad(), plain_generation.edited(model, (Pin(model.require("L1.N3"), 5.0),), {}):
            after = model.hf_model(whole, use_cache=False).logits[0, len(ids) - 1 : -1].log_softmax(-1)
        before = tiny_models.forward(model, [*ids, *answer])[len(ids) - 1 : -1].log_softmax(-1)
        steps = range(len(answer))
        excess = np.mean([float(before[i, answer[i]] - after[i, answer[i]]) for i in steps])
        assert row["excess"] == pytest.approx(excess, abs=2e-3)
        assert row["agreement"] == pytest.approx(
            np.mean([bool(after[i].argmax() == before[i].argmax()) for i in steps]), abs=1e-6
        )


def test_cells_come_back_from_their_keys() -> None:
    cells: list[Cell] = [
        InterventionCell("mode", "select", "anchor", -1.5, "L1.N3", None, 0.25, 2, 3, prompts=("select.p001",)),
        InterventionCell("mode", "evaluate", "mean_difference", 0.5, layer=2, source="mode.shuffled0", role="negative"),
        CapabilityCell("mode", "evaluate", "pin", 5.0, "L1.N3"),
        AreaCell("mode", "evaluate"),
        RolloutCell("mode", "evaluate", role="negative"),
    ]
    assert [cell_from_key(cell_key(cell)) for cell in cells] == cells
    assert "role" not in cell_key(RolloutCell("mode", "evaluate"))
