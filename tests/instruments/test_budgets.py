"""Budgets, curves and routing of the families where ‖r‖/‖v‖ is not the scale, against direct computations."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
import torch

import budget_models
from controlwindow.curves import CappedCurve, SaturationCurve
from controlwindow.errors import NeuronError
from controlwindow.instruments import Add, generic_pass, layer_statistics, rollout
from controlwindow.instruments.generic import GenericPass
from controlwindow.instruments.hooks import Intervention, measuring
from controlwindow.instruments.layer_statistics import read_layers
from controlwindow.instruments.sequences import pack
from controlwindow.models import Model, Neuron
from controlwindow.models.directions import write_matrix


@pytest.fixture(scope="module", params=budget_models.EVERY)
def model(request: pytest.FixtureRequest) -> Model:
    return budget_models.EVERY[request.param]()


@pytest.fixture(scope="module", params=budget_models.CAPPED)
def capped(request: pytest.FixtureRequest) -> Model:
    return budget_models.CAPPED[request.param]()


@pytest.fixture(scope="module", params=budget_models.ROUTED)
def routed(request: pytest.FixtureRequest) -> Model:
    return budget_models.ROUTED[request.param]()


class Passes:
    """What plain hooks on the named modules see on generic text, one unpadded sequence at a time."""

    def __init__(self, model: Model, generic: GenericPass, modules: dict[str, torch.nn.Module]) -> None:
        self.seen: dict[str, list[torch.Tensor]] = {name: [] for name in modules}
        for ids, tokens in zip(generic.prompt_ids, generic.token_ids, strict=True):
            span = slice(len(ids) - 1, len(ids) - 1 + len(tokens))
            handles = [m.register_forward_hook(self._hook(name, span)) for name, m in modules.items()]
            with torch.no_grad():
                model.hf_model(torch.tensor([[*ids, *tokens]]))
            for handle in handles:
                handle.remove()

    def _hook(self, name: str, span: slice) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            values = output[0] if isinstance(output, tuple) else output
            self.seen[name].append(values.reshape(-1, values.shape[-1])[span].clone())

        return hook

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.cat(self.seen[name])


def blocks(model: Model) -> Any:
    return model.hf_model.model.layers


def numbers(curve: SaturationCurve | CappedCurve) -> dict[str, float]:
    """What a curve is made of, without its kind."""
    return {name: value for name, value in curve.to_json().items() if name != "kind"}


def median(values: torch.Tensor) -> float:
    """The lower of the two in the middle, as torch takes it."""
    return statistics.median_low(values.tolist())


def test_capped_budgets_compare_the_column_with_the_ffn_output(capped: Model) -> None:
    generic = generic_pass(capped)
    for layer in range(capped.layers):
        found = Passes(capped, generic, {"m": blocks(capped)[layer].mlp})["m"].norm(dim=1)
        weight = blocks(capped)[layer].mlp.down_proj.weight.detach()
        budgets = generic.budgets(capped, layer)
        for index in (0, 17, 47):
            neuron = Neuron(layer, index)
            expected = median(found) / float(weight[:, index].norm())
            assert generic.budget(capped, neuron) == pytest.approx(expected, rel=1e-4)
            assert budgets[index] == pytest.approx(expected, rel=1e-4)
            assert generic.budget_kind(capped, neuron) == "capped"
            assert generic.routed_share(capped, neuron) is None
        assert set(generic.budget_kinds(capped, layer)) == {"capped"}


def test_a_residual_multiplier_scales_what_a_budget_is_compared_with() -> None:
    granite = budget_models.granite()
    generic, layer = generic_pass(granite), 1
    residual = Passes(granite, generic, {"r": blocks(granite)[layer]})["r"].norm(dim=1)
    column = blocks(granite)[layer].mlp.down_proj.weight.detach()[:, 5]
    neuron = Neuron(layer, 5)
    assert generic.budget(granite, neuron) == pytest.approx(median(residual) / (0.4 * float(column.norm())), rel=1e-4)
    assert generic.budget_kind(granite, neuron) == "plain"
    assert generic.curve(granite, neuron, 1).kind == "plain"


def test_routed_budgets_take_the_median_router_weight_of_the_tokens_that_reach_the_expert(routed: Model) -> None:
    generic, layer = generic_pass(routed), 1
    mlp = blocks(routed)[layer].mlp
    passes = Passes(routed, generic, {"logits": mlp.gate, "r": blocks(routed)[layer]})
    residual_norm = median(passes["r"].norm(dim=1))
    config = routed.hf_model.config
    # The router's own output differs between versions; softmax of its linear map does not.
    inputs: list[torch.Tensor] = []
    handle = mlp.gate.register_forward_pre_hook(lambda _m, args: inputs.append(args[0].detach()))
    hidden = []
    for ids, tokens in zip(generic.prompt_ids, generic.token_ids, strict=True):
        inputs.clear()
        with torch.no_grad():
            routed.hf_model(torch.tensor([[*ids, *tokens]]))
        hidden.append(inputs[0].reshape(-1, 32)[len(ids) - 1 : len(ids) - 1 + len(tokens)])
    handle.remove()
    probabilities = (torch.cat(hidden) @ mlp.gate.weight.detach().T).softmax(-1)
    top = probabilities.topk(config.num_experts_per_tok, dim=-1)
    weights = top.values
    if config.model_type == "mixtral" or config.norm_topk_prob:
        weights = weights / weights.sum(-1, keepdim=True)
    shape = routed.neurons.shapes[layer]
    reached = 0
    for expert in range(shape.experts):
        chosen = weights[top.indices == expert]
        neuron = Neuron(layer, 3, expert)
        assert generic.routed_share(routed, neuron) == pytest.approx(len(chosen) / len(weights))
        assert generic.budget_kind(routed, neuron) == "routed"
        if len(chosen) == 0:
            continue
        reached += 1
        column = mlp.experts.down_proj.detach()[expert][:, 3]
        expected = residual_norm / (median(chosen) * float(column.norm()))
        assert generic.budget(routed, neuron) == pytest.approx(expected, rel=1e-3)
        assert generic.budgets(routed, layer)[routed.neurons.column(neuron)] == pytest.approx(expected, rel=1e-3)
    assert reached >= 2


def test_the_gate_of_a_shared_expert_is_its_router_weight() -> None:
    model = budget_models.qwen2_moe()
    generic, layer = generic_pass(model), 2
    mlp = blocks(model)[layer].mlp
    passes = Passes(model, generic, {"gate": mlp.shared_expert_gate, "r": blocks(model)[layer]})
    weight = median(torch.sigmoid(passes["gate"])[:, 0])
    column = mlp.shared_expert.down_proj.weight.detach()[:, 7]
    neuron = Neuron(layer, 7)
    expected = median(passes["r"].norm(dim=1)) / (weight * float(column.norm()))
    assert generic.budget(model, neuron) == pytest.approx(expected, rel=1e-3)
    assert generic.budget_kind(model, neuron) == "routed"
    assert generic.routed_share(model, neuron) == 1.0
    dense = Neuron(0, 7)
    assert generic.budget_kind(model, dense) == "plain"
    assert generic.routed_share(model, dense) is None
    assert generic.routed_shares(model, 0) is None


def test_an_expert_that_no_token_reaches_has_no_budget() -> None:
    model = budget_models.mixtral(num_hidden_layers=1, num_local_experts=5)
    with torch.no_grad():
        # Whatever the sign of the first input, two of the first four experts beat the last one.
        gate = blocks(model)[0].mlp.gate.weight
        gate[:] = 0
        gate[:, 0] = torch.tensor([1.0, 0.9, -1.0, -0.9, 0.0])
    generic = generic_pass(model)
    neuron = Neuron(0, 3, expert=4)
    assert generic.routed_share(model, neuron) == 0
    with pytest.raises(NeuronError, match=r"routed to the expert of L0\.E4\.N3") as caught:
        generic.budget(model, neuron)
    assert "--generic" in caught.value.hint
    assert math.isnan(generic.budgets(model, 0)[model.neurons.column(neuron)])
    assert math.isfinite(generic.cosine(model, neuron, 1))


def position_curves(model: Model, generic: GenericPass, neuron: Neuron) -> tuple[list[CappedCurve], torch.Tensor]:
    """The curve of every generated position from vectors of plain hooks, and ‖m‖ there."""
    block = blocks(model)[neuron.layer]
    norm = block.post_feedforward_layernorm
    passes = Passes(model, generic, {"m": block.mlp, "r": block, "w": norm})
    gain = norm.weight.detach() + (1 if model.hf_model.config.model_type == "gemma2" else 0)
    v = block.mlp.down_proj.weight.detach()[:, neuron.index]
    epsilon = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", None)
    cosine, found = torch.nn.functional.cosine_similarity, []
    for m, r, w in zip(passes["m"].double(), passes["r"].double(), passes["w"].double(), strict=True):
        x = r - w
        found.append(
            CappedCurve(
                skip_cosine=float(cosine(x, gain * v, dim=0)),
                ffn_cosine=float(cosine(gain * m, gain * v, dim=0)),
                skip_ffn_cosine=float(cosine(x, gain * m, dim=0)),
                raw_cosine=float(cosine(m, v.double(), dim=0)),
                ffn_length=float(32**0.5 * (gain * m).norm() / m.norm() / x.norm()),
                limit_length=float(32**0.5 * (gain * v).norm() / v.norm() / x.norm()),
                epsilon=float(32 * epsilon / m.norm() ** 2),
            )
        )
    return found, passes["m"].norm(dim=1)


def dosed_cosines(model: Model, generic: GenericPass, neuron: Neuron, alpha: float) -> torch.Tensor:
    """Cosine of the dosed residual and u at every generated position, teacher-forced."""
    block = blocks(model)[neuron.layer]
    norm = block.post_feedforward_layernorm
    gain = norm.weight.detach() + (1 if model.hf_model.config.model_type == "gemma2" else 0)
    u = gain * block.mlp.down_proj.weight.detach()[:, neuron.index]
    packed = pack(model, generic.prompt_ids, generic.token_ids)
    seen: list[torch.Tensor] = []
    with measuring(model), Intervention(model, [(Add(neuron, alpha),)] * len(generic.prompts)) as intervention:
        intervention.first_generated = packed.first_generated
        handle = block.register_forward_hook(
            lambda _m, _a, o: seen.append(packed.emitted_from(o[0] if isinstance(o, tuple) else o))
        )
        packed.logits(model)
        handle.remove()
    return torch.nn.functional.cosine_similarity(seen[0].double(), u.double()[None], dim=1)


def test_measured_cosines_follow_the_capped_curve_position_by_position(capped: Model) -> None:
    generic = generic_pass(capped)
    # In the first layer the tokens that are read do not depend on the dose, and neither does x.
    for neuron in (Neuron(0, 3), Neuron(0, 40)):
        curves, norms = position_curves(capped, generic, neuron)
        length = float(blocks(capped)[0].mlp.down_proj.weight.detach()[:, neuron.index].norm())
        for t in (-4.9, -0.7, 0.0, 0.4, 1.5, 4.9, 60.0):
            alpha = t * generic.budget(capped, neuron)
            measured = dosed_cosines(capped, generic, neuron, alpha)
            expected = [c.coordinate(alpha * length / float(n)) for c, n in zip(curves, norms, strict=True)]
            np.testing.assert_allclose(measured.numpy(), expected, atol=2e-5)


def test_medians_of_the_curve_are_those_of_the_positions(capped: Model) -> None:
    generic = generic_pass(capped)
    for neuron in (Neuron(0, 3), Neuron(1, 11), Neuron(2, 47)):
        curves, _ = position_curves(capped, generic, neuron)
        found = generic.curve(capped, neuron, 1)
        assert isinstance(found, CappedCurve)
        for name in ("skip_cosine", "ffn_cosine", "skip_ffn_cosine", "raw_cosine", "ffn_length", "limit_length"):
            expected = statistics.median_low([getattr(c, name) for c in curves])
            assert getattr(found, name) == pytest.approx(expected, rel=1e-3, abs=1e-4), name
            assert found.epsilon == pytest.approx(statistics.median_low([c.epsilon for c in curves]), rel=1e-2)
        assert generic.curve(capped, neuron, -1).coordinate(1.3) == pytest.approx(-found.coordinate(-1.3), abs=1e-12)


def test_the_curve_of_medians_is_near_the_median_of_the_curves(capped: Model) -> None:
    # Random weights of width 32 have wide angles; the distance falls with the width (docs/definitions.md).
    generic, distances = generic_pass(capped), []
    for layer in range(capped.layers):
        for index in range(0, 48, 12):
            neuron = Neuron(layer, index)
            curves, norms = position_curves(capped, generic, neuron)
            found, middle = generic.curve(capped, neuron, 1), median(norms)
            for t in (0.0, 0.5, 1.2, 4.9, 1e6):
                values = [c.coordinate(t * middle / float(n)) for c, n in zip(curves, norms, strict=True)]
                distances.append(abs(found.coordinate(t) - statistics.median(values)))
    assert statistics.mean(distances) < 0.03
    assert max(distances) < 0.12


def test_every_curve_of_a_layer_is_that_of_its_neuron(model: Model) -> None:
    generic = generic_pass(model)
    for layer in range(model.layers):
        together = generic.curves(model, layer)
        cosines = generic.cosines(model, layer)
        assert len(cosines) == write_matrix(model, layer).shape[1]
        for column in range(0, len(cosines), 13):
            neuron = model.neurons.at(layer, column)
            for branch, curves in ((1, together), (-1, together.opposite())):
                single = generic.curve(model, neuron, branch)
                assert numbers(single) == pytest.approx(numbers(curves.at(column)), rel=1e-4, abs=2e-6)
                assert single.kind == curves.kind
                assert single.cosine == pytest.approx(branch * float(cosines[column]), abs=1e-5)
                assert generic.cosine(model, neuron, branch) == single.cosine


def test_measured_coordinates_of_rollouts_are_read_against_the_limit_of_the_write(capped: Model) -> None:
    generic, neuron = generic_pass(capped), Neuron(0, 3)
    curve = generic.curve(capped, neuron, 1)
    out = rollout(
        capped, generic.prompts[:8], [Add(neuron, t * generic.budget(capped, neuron)) for t in (0.5, 1000.0)], 12
    )
    for dose, expected in enumerate((curve.coordinate(0.5), curve.plateau)):
        assert statistics.median(out.control_coordinate[dose]) == pytest.approx(expected, abs=0.12)


def test_statistics_do_not_depend_on_how_the_text_is_batched(model: Model) -> None:
    generic = generic_pass(model)

    def batches(rows: int) -> Any:
        for start in range(0, len(generic.prompts), rows):
            yield pack(model, generic.prompt_ids[start : start + rows], generic.token_ids[start : start + rows])

    for layer, other in zip(generic.layers, read_layers(model, batches(5), generic.positions), strict=True):
        assert other.residual_norm == pytest.approx(layer.residual_norm, rel=1e-5)
        assert other.participation_ratio == pytest.approx(layer.participation_ratio, rel=1e-4)
        assert other.budget_norm == pytest.approx(layer.budget_norm, rel=1e-5)
        assert (other.routing is None) == (layer.routing is None)
        if layer.routing is not None:
            assert other.routing.shares == layer.routing.shares
            assert other.routing.weights == pytest.approx(layer.routing.weights, rel=1e-4, nan_ok=True)
        column = torch.randn(32, 1, generator=torch.Generator().manual_seed(0))
        assert numbers(other.curves(column).at(0)) == pytest.approx(numbers(layer.curves(column).at(0)), abs=1e-4)
        assert isinstance(layer.curves(column).at(0), CappedCurve if layer.cap else SaturationCurve)


def test_long_texts_and_wide_models_are_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    model = budget_models.gemma2()
    generic = generic_pass(model)
    packed = [pack(model, generic.prompt_ids, generic.token_ids)]
    monkeypatch.setattr(layer_statistics, "MOMENT_POSITIONS", generic.positions // 2)
    monkeypatch.setattr(layer_statistics, "_SAMPLED_NUMBERS", generic.positions // 6 * 32)
    halves = [pack(model, generic.prompt_ids[:13], generic.token_ids[:13])]
    halves.append(pack(model, generic.prompt_ids[13:], generic.token_ids[13:]))
    for whole, parts in zip(
        read_layers(model, packed, generic.positions), read_layers(model, halves, generic.positions), strict=True
    ):
        assert whole.cap.skip.shape == whole.cap.ffn.shape == (generic.positions // 6, 32)
        # The same positions, whatever the batches.
        torch.testing.assert_close(parts.cap.ffn, whole.cap.ffn, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(parts.cap.skip, whole.cap.skip, rtol=1e-3, atol=1e-4)
        assert parts.participation_ratio == pytest.approx(whole.participation_ratio, rel=1e-4)
    for sampled, full in zip(read_layers(model, packed, generic.positions), generic.layers, strict=True):
        assert sampled.residual_norm == pytest.approx(full.residual_norm, rel=1e-5)
        assert sampled.budget_norm == pytest.approx(full.budget_norm, rel=1e-5)
        assert sampled.participation_ratio == pytest.approx(full.participation_ratio, rel=0.1)
        assert sampled.participation_ratio != full.participation_ratio
