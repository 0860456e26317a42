from __future__ import annotations

import numpy as np
import pytest
import torch

import tiny_models
from controlwindow import generic_pass, run_screen
from controlwindow.behaviors import Behavior
from controlwindow.cells import PinCell, ReferenceCell
from controlwindow.instruments.arrays import pack_array
from controlwindow.measuring.answers import instruction_suffix
from controlwindow.models import Model
from controlwindow.screens import find_screen
from controlwindow.screens.one import LADDER, SWEPT
from small_behaviors import SEQUENCES, make_behavior


@pytest.fixture(scope="module")
def chatting() -> Model:
    return tiny_models.llama(chat_template=tiny_models.CHAT_TEMPLATE.replace("assistant", "assistant think"))


@pytest.fixture(scope="module")
def behavior() -> Behavior:
    return make_behavior(log_odds=SEQUENCES)


def literal(model: Model, prompt: str, phrases: list[str], positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of −log(p_ref/(1 − p_ref)) and activations at the last positions of one prompt, [positions, neurons].

    Every phrase is teacher-forced in a pass of its own; the gradient of an activation is summed over them by hand.
    """
    ids = model.token_ids([prompt])[0]
    place = slice(len(ids) - positions, len(ids))
    kept: list[list[torch.Tensor]] = []
    chances = []
    for phrase in phrases:
        text = model.tokenizer(phrase, add_special_tokens=False)["input_ids"]
        run: list[torch.Tensor] = []

        def keep(_module: torch.nn.Module, args: tuple[torch.Tensor, ...], run: list[torch.Tensor] = run) -> None:
            args[0].retain_grad()
            run.append(args[0])

        handles = [tiny_models.projection(model, i).register_forward_pre_hook(keep) for i in range(model.layers)]
        logits = model.hf_model(torch.tensor([[*ids, *text]]), use_cache=False).logits[0].double()
        for handle in handles:
            handle.remove()
        scores = logits[len(ids) - 1 : -1].softmax(-1)
        chances.append(torch.stack([scores[i, token] for i, token in enumerate(text)]).prod())
        kept.append(run)
    reference = torch.stack(chances).sum()
    (-torch.log(reference / (1 - reference))).backward()
    model.hf_model.zero_grad(set_to_none=True)
    gradient = sum(torch.cat([a.grad[0, place] for a in run], -1) for run in kept)
    activations = torch.cat([a[0, place] for a in kept[0]], -1)
    return gradient.double().numpy(), activations.detach().double().numpy()


def test_the_score_is_ones(chatting: Model, behavior: Behavior) -> None:
    phrases = list(behavior.log_odds.control)
    positions = instruction_suffix(chatting)
    assert positions == 2
    sides = []
    for prompts in (behavior.contrast("find").positive, behavior.contrast("find").negative):
        rows = [literal(chatting, prompt.text, phrases, positions) for prompt in prompts]
        sides.append([np.mean([row[part] for row in rows], axis=0) for part in (0, 1)])
    (gradient_h, active_h), (gradient_l, active_l) = sides
    score = (gradient_h + gradient_l) * (active_l - active_h)
    best = score.argmax(0)
    columns = np.arange(score.shape[1])
    kept = np.abs(active_h[best, columns]) > np.abs(active_l[best, columns])
    layers = np.repeat(np.arange(chatting.layers), chatting.neurons.widths)
    kept &= layers < 2
    found = run_screen(chatting, behavior, "one")
    names = [str(neuron) for neuron in chatting.neurons]
    assert set(found.table["neuron"]) == {name for name, keep in zip(names, kept, strict=True) if keep}
    assert found.dropped["last third of the layers"] == 48
    expected = dict(zip(names, score[best, columns], strict=True))
    signs = dict(zip(names, -np.sign(active_h[best, columns]), strict=True))
    for row in found.table.iter_rows(named=True):
        assert row["score"] == pytest.approx(expected[row["neuron"]], rel=2e-3, abs=1e-5)
        assert row["sign"] == signs[row["neuron"]]
    rest = found.table["score"].to_list()[SWEPT:]
    assert rest == sorted(rest, reverse=True)
    assert min(found.table["score"].to_list()[:SWEPT]) >= rest[0]


def test_the_five_best_are_ranked_by_their_sweep(chatting: Model, behavior: Behavior) -> None:
    generic = generic_pass(chatting)
    planner = find_screen("one")(chatting, behavior, generic)
    count = len(chatting.neurons)
    rising = np.linspace(1, 2, count)[None]
    row = {
        "positive_gradient": pack_array(rising),
        "negative_gradient": pack_array(0 * rising),
        "positive_gradient_square": pack_array(rising**2),
        "positive_activation": pack_array(-2 * np.ones((1, count))),
        "negative_activation": pack_array(-np.ones((1, count))),
    }
    assert planner.next_cells() == [ReferenceCell("mode", "find")]
    planner.update({ReferenceCell("mode", "find"): [row]})
    # The best of the first two layers of three: the last five of layer 1.
    best = [str(neuron) for neuron in chatting.neurons][91:96]
    cells = planner.next_cells()
    assert [cell.neuron for cell in cells] == [name for name in reversed(best) for _ in LADDER]
    for cell, t in zip(cells, LADDER, strict=False):
        assert isinstance(cell, PinCell)
        assert cell.split == "select"
        assert cell.value == pytest.approx(t * generic.budget(chatting, cell.neuron), rel=1e-4)
    flips = {best[0]: 1, best[2]: 1, best[1]: 0.5}
    planner.update(
        {
            cell: [
                {
                    "prompt": prompt,
                    "tokens": 3,
                    "token_ids": [5, 6, 7 + flip],
                    "outcomes": {"4": "switched" if flip else "unswitched"},
                }
                for prompt, flip in zip(cell.prompts, _share(flips.get(cell.neuron, 0)), strict=True)
            ]
            for cell in cells
        }
    )
    assert planner.next_cells() == []
    assert planner.table()["neuron"].to_list()[:6] == [
        best[2], best[0], best[1], best[4], best[3], str(chatting.neurons[90])
    ]  # fmt: skip
    # 4 prompts a cell, and each of the 2 answers to a prompt is scored once, whatever gave it.
    assert planner.cost.forward == len(cells) * 4 + 8
    assert planner.cost.scored == 3 * planner.cost.forward


def _share(share: float) -> list[bool]:
    return [place < 4 * share for place in range(4)]


def test_without_select_prompts_nothing_is_ranked_again(chatting: Model, behavior: Behavior) -> None:
    prompts = behavior.definition.prompts.model_dump()
    found = run_screen(chatting, make_behavior(log_odds=SEQUENCES, prompts={**prompts, "select": []}), "one")
    assert "no select prompts" in found.notes[0]
    assert found.table["score"].to_list() == sorted(found.table["score"].to_list(), reverse=True)
