"""What was proven on models of 2M parameters, on a real chat model: tokens, formats of the checkpoint, a window."""

from __future__ import annotations

from pathlib import Path

import controlwindow as cw
import plain_generation
from controlwindow.behaviors import load_behavior
from controlwindow.behaviors.coherence import CoherenceDetector, ScoredText
from controlwindow.instruments import generic_pass
from controlwindow.instruments.scoring import token_nll
from controlwindow.models import Model, Neuron, load_model
from controlwindow.runs.ledger import Ledger
from controlwindow.windows.search import RESOLUTION
from cuts import cut_prompts

PROMPTS = ("What is a sundial?", "Name three fruits that grow on trees and say why people like them.", "Hello!")
NEURON = Neuron(12, 345)

TOML = """name = "small_list"
languages = ["en"]
horizons = [12]
minimum_eligible = 8

[oracles.target]
type = "form"
form = "list"

[oracles.source]
type = "form"
form = "prose"

[prompts]
file = "small_list.jsonl"
"""


def test_tokens_are_those_of_generate(real: Model) -> None:
    generic = generic_pass(real)
    doses = [None, cw.Dose(NEURON, 0.6), cw.Dose(Neuron(3, 7), -0.5, "generated"), cw.Dose(Neuron(27, 100), 1.5)]
    found = cw.rollout(real, PROMPTS, doses, max_new_tokens=16)
    budgets = {dose.neuron: generic.budget(real, dose.neuron) for dose in doses if dose is not None}
    compared = 0
    for row, dose in enumerate(doses):
        for column, ids in enumerate(real.token_ids(PROMPTS)):
            operations = () if dose is None else (dose,)
            plain = plain_generation.generate(real, ids, operations, 16, budgets)
            assert found.token_ids[row][column][: plain.first_tie] == plain.tokens[: plain.first_tie]
            compared += plain.first_tie
    assert compared > 120, "too few tokens were decided"


def test_safetensors_of_the_same_weights_are_the_same_model(real: Model, tmp_path: Path) -> None:
    real.tokenizer.save_pretrained(tmp_path)
    held = real.hf_model
    # Transformers takes a dequantised model for a quantised one, and refuses to save it.
    quantizer, told = getattr(held, "hf_quantizer", None), held.is_quantized if hasattr(held, "is_quantized") else False
    held.hf_quantizer, held.is_quantized = None, False
    try:
        held.save_pretrained(tmp_path)
    finally:
        held.hf_quantizer, held.is_quantized = quantizer, told
    other = load_model(tmp_path, device="cpu")
    assert other.fingerprint == real.fingerprint
    assert other.rendering_fingerprint(PROMPTS) == real.rendering_fingerprint(PROMPTS)
    texts = [cw.rollout(model, PROMPTS, [None], max_new_tokens=16).texts for model in (real, other)]
    assert texts[0] == texts[1]
    assert real.quantisation is not None
    assert other.quantisation is None


def test_a_ceiling_lies_where_plain_generation_collapses(real: Model, tmp_path: Path) -> None:
    cut_prompts("chat_list", {"find": 8, "select": 8, "evaluate": 16}, tmp_path / "small_list.jsonl")
    (tmp_path / "small_list.toml").write_text(TOML, "utf-8")
    behavior = load_behavior(tmp_path / "small_list.toml")
    result = cw.audit(real, behavior, tmp_path / "run", neurons=[NEURON], top=0, probe=False)
    window = next(w for w in result.windows if w.branch == 1)
    assert window.ceiling is not None
    ledgers = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert {"ledger.sqlite", "report.html", "manifest.json"} <= set(ledgers)

    generic = generic_pass(real)
    budgets = {NEURON: generic.budget(real, NEURON)}
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        noted = ledger.find("coherence", "detector")
        eligible = {name for cell in ledger.rollout_cells(behavior.name, str(NEURON)) for name in cell.prompts}
    detector = CoherenceDetector(**noted["detector"])
    ids = real.token_ids([p.text for p in behavior.prompts("evaluate", "positive") if p.id in eligible])
    assert len(ids) == window.n_eligible >= 8
    undosed = [plain_generation.generate(real, i, (), 12, {}).tokens for i in ids]
    curve = generic.curve(real, NEURON, 1)

    def collapsed(coordinate: float) -> float:
        """Share of eligible prompts that collapse, one prompt at a time and by Transformers' own generation."""
        dose = cw.Dose(NEURON, curve.dose(coordinate))
        found = []
        for prompt, plain in zip(ids, undosed, strict=True):
            tokens = plain_generation.generate(real, prompt, (dose,), 12, budgets).tokens
            texts = []
            for given in (tokens, plain):
                content = tuple(t for t in given if t not in real.stop_ids)
                nll = token_nll(real, [prompt], [content])[0]
                texts.append(ScoredText(content, tuple(nll), real.decode(content)))
            found.append(detector.judge(texts[0], texts[1]).collapsed)
        return sum(found) / len(found)

    step = 2 * RESOLUTION
    assert collapsed(window.ceiling - step) < 0.75
    assert collapsed(min(window.ceiling + step, 0.97)) >= 0.5
    assert collapsed(max(curve.cosine, 0.0) + 0.05) < 0.5
