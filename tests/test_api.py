"""The public calls, as the README shows them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import controlwindow as cw
from controlwindow.catalogue import load_card

EXAMPLE = Path(__file__).parents[1] / "examples" / "stories_dialogue" / "behavior.toml"


@pytest.fixture(scope="module")
def organism() -> cw.Model:
    return cw.load_model("organism:switch", device="cpu")


def test_all_public_names_exist():
    for name in cw.__all__:
        assert getattr(cw, name) is not None


def test_measure_window_gives_the_open_branch_and_the_other_one(organism):
    planted = next(p for p in load_card("organism:switch").planted if p.behavior == "language")
    window = cw.measure_window(organism, planted.neuron, "language")
    assert (window.verdict, window.branch, window.candidate_from) == ("open", planted.branch, "named")
    assert window.trigger < window.ceiling
    assert window.height >= 0.9
    assert all(a.t < b.t for a, b in zip(window.doses, window.doses[1:], strict=False))
    # Exact geometry: the cosine measured while generating stays near the curve where the text stays ordinary.
    early = [d for d in window.doses if 0 < d.c < 0.6]
    assert early
    assert all(abs(d.c_measured - d.c) < 0.1 for d in early)
    assert window.other_branch.branch == -planted.branch
    assert window.other_branch.verdict == "closed"
    assert cw.Window.from_dict(window.to_dict()) == window.__class__.from_dict(window.to_dict())


def test_screen_takes_any_screen_and_refuses_others(organism):
    table = cw.screen(organism, "language", method="random")
    assert isinstance(table, pl.DataFrame)
    assert table.height == len(organism.neurons)
    with pytest.raises(cw.ControlWindowError, match="unknown screen"):
        cw.screen(organism, "language", method="astrology")


def test_predict_ceilings_of_some_neurons(organism):
    table = cw.predict_ceilings(organism, ["L7.N3", "L0.N1"])
    assert table.height == 4
    assert table["in_sample"].to_list() == [table["in_sample"][0]] * 4


def test_a_dose_has_its_raw_offset(organism):
    dose = cw.Dose("L3.N7", -0.5)
    norm = float(cw.write_direction(organism, "L3.N7").norm())
    assert dose.alpha(organism) == pytest.approx(-0.5 * cw.generic_pass(organism).residual_norm[3] / norm, rel=1e-5)


def test_an_audit_leaves_the_model_as_it_was(organism):
    before = organism.hf_model(**organism.encode(["Hello."])).logits
    cw.rollout(organism, ["Hello."], [cw.Dose("L3.N7", 1.0)], max_new_tokens=3)
    assert (organism.hf_model(**organism.encode(["Hello."])).logits == before).all()


def test_a_users_own_behavior_on_a_real_checkpoint(stories, tmp_path):
    result = cw.audit(stories, EXAMPLE, out=tmp_path / "run", top=0, neurons=["L0.N124"])
    assert [w.branch for w in result.windows] == [1, -1]
    assert all(w.n_eligible >= 32 for w in result.windows)
    assert all(w.ceiling is not None for w in result.windows)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    document = result.results.to_json()
    assert document["model"] == "stories260K"
    assert document["coverage"]["open_random"] == []


def test_a_users_own_behavior_is_probed_on_a_real_checkpoint(stories, tmp_path):
    found = cw.probe(stories, EXAMPLE, tmp_path / "run", passes=2200, sizes=[1, 16]).to_json()
    assert found["passes_taken"] <= 2200
    assert found["sums"]["flipped"] == len(found["sums"]["pairs"]) == 8
    first = found["ranking"]["top"][0]
    assert first["p_holm"] < 0.05
    assert first["mean"] * first["evaluated"] > 0
    patched = {line["setting"]["size"]: line for line in found["effects"] if line["setting"]["intervention"] == "patch"}
    # What the circuit writes after "and said," moves F further than what random neurons of the same layers write.
    assert patched[16]["shift"] > max(patched[16]["controls"]["random_draws"])
    assert (tmp_path / "run" / "figures" / "probe-grid.svg").stat().st_size > 1000


def test_a_model_in_hand_is_audited_and_resumed_with_the_model(organism, tmp_path, monkeypatch):
    in_hand = cw.load_model(organism.hf_model, tokenizer=organism.tokenizer)
    assert in_hand.fingerprint == organism.fingerprint
    assert in_hand.source is None
    with pytest.raises(cw.ControlWindowError, match="tokenizer"):
        cw.load_model(organism.hf_model)
