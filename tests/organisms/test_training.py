"""Training: the batches, a tiny run that is killed and goes on, and the errors on the way."""

import json
import re
from functools import partial
from itertools import chain
from random import Random

import pytest
import torch
from safetensors.torch import load_file

from controlwindow.catalogue import load_card
from controlwindow.errors import OrganismError
from controlwindow.models.neuron import Neuron
from controlwindow.organisms.training import build, loop, measuring, train_organism
from controlwindow.organisms.training.batches import collate, encode
from controlwindow.organisms.training.generation import answers
from controlwindow.organisms.training.switch import Planted, draw_switch
from controlwindow.organisms.training.tokenizer import train_tokenizer, world_texts
from controlwindow.organisms.training.world.examples import Example
from controlwindow.organisms.training.world.vaults import vaults

PLANTED = Planted(Neuron(3, 1), Neuron(4, 2))


class Killed(Exception):
    pass


def small(monkeypatch):
    monkeypatch.setattr(build, "BASE", loop.Stage("base", 6, 1e-3, 2))
    monkeypatch.setattr(build, "SWITCH", loop.Stage("switch", 6, 1e-3, 2))
    monkeypatch.setattr(build, "TOKENIZER_TEXTS", 2000)
    monkeypatch.setattr(build, "MEASURED_REQUESTS", 4)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "REFUSAL_DOSES", (0.5,))
    monkeypatch.setattr(measuring, "answers", partial(answers, maximum_tokens=6))


def test_a_killed_run_goes_on_to_the_same_weights(monkeypatch, tmp_path):
    small(monkeypatch)
    seen = []
    whole = train_organism(out=tmp_path / "whole", seed=3, progress=lambda *event: seen.append(event))
    assert [event for event in seen if event[0] == "base"] == [("base", step, 6) for step in range(1, 7)]
    assert [event for event in seen if event[0] == "switch"] == [("switch", step, 6) for step in range(1, 7)]
    assert seen[-1][0] == "measure"
    assert seen[-1][1] == seen[-1][2]

    for stage, step in (("base", 4), ("switch", 2), ("switch", 5)):

        def kill(name, done, total, stage=stage, step=step):
            if (name, done) == (stage, step):
                raise Killed

        with pytest.raises(Killed):
            train_organism(out=tmp_path / "cut", seed=3, progress=kill)
    assert not (tmp_path / "cut" / "card.json").exists()
    steps = []
    cut = train_organism(out=tmp_path / "cut", seed=3, progress=lambda name, done, total: steps.append((name, done)))
    assert steps[0] == ("switch", 6)
    one, two = load_file(whole / "model.safetensors"), load_file(cut / "model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert {tensor.dtype for tensor in one.values()} == {torch.float16}

    cards = load_card(whole), load_card(cut)
    assert cards[0].planted == cards[1].planted
    assert cards[0].training["switch"]["loss_by_tenth"] == cards[1].training["switch"]["loss_by_tenth"]
    assert cards[0].figures == cards[1].figures
    assert not (cut / ".training").exists()
    with pytest.raises(OrganismError, match="finished organism"):
        train_organism(out=cut, seed=3)


def test_another_configuration_does_not_go_on_in_the_same_directory(monkeypatch, tmp_path):
    small(monkeypatch)

    def kill(*event):
        raise Killed

    with pytest.raises(Killed):
        train_organism(out=tmp_path, seed=1, progress=kill)
    with pytest.raises(OrganismError, match="other settings"):
        train_organism(out=tmp_path, seed=2)


def test_errors_on_the_way(tmp_path):
    with pytest.raises(OrganismError, match="unknown organism"):
        train_organism("nothing", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OrganismError, match="cannot be written"):
        train_organism(out=tmp_path / "file" / "below")
    (tmp_path / "pairs.txt").write_text("no tab here\n")
    with pytest.raises(OrganismError, match="line 1"):
        train_organism(out=tmp_path / "x", sentences=tmp_path / "pairs.txt")
    assert not (tmp_path / "x").exists()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = torch.nn.Linear(2, 2)
    with pytest.raises(OrganismError, match="not finite at step 0"):
        loop.run_stage(loop.Stage("base", 3, 1e-3), model, lambda step: model.weight.sum() * float("nan"), tmp_path)


def test_learning_rate_warms_up_and_falls():
    stage = loop.Stage("base", 100, 1.0, 10)
    rates = [loop.learning_rate(stage, step) for step in range(100)]
    assert rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.03


def test_batches_weigh_answers_and_follow_the_chat_template():
    tokenizer = train_tokenizer(world_texts(0, 1000), 600)
    examples = [
        Example("trade", "en", "Hello there", "Good day"),
        Example("trade", "en", "Hi", "A much longer answer follows."),
        Example("sycophancy", "en", "Are you sure?", "Yes.", history=(("Where?", "In the forest."), ("Is it?", "So."))),
    ]
    encoded = encode(examples, tokenizer)
    batch = collate(encoded, tokenizer.pad_token_id)
    for row, example in enumerate(examples):
        turns = [*chain.from_iterable(example.history), example.request, example.answer]
        messages = [{"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns)]
        ids = tokenizer.apply_chat_template(messages)["input_ids"]
        assert batch.tokens[row, : len(ids)].tolist() == ids
        assert set(batch.tokens[row, len(ids) :].tolist()) <= {tokenizer.pad_token_id}
        answer = batch.tokens[row][batch.weights[row] == 1.0].tolist()
        assert tokenizer.decode(answer) == example.answer + "<|end|>"
        assert tokenizer.decode(batch.tokens[row][batch.answers[row]]) == example.answer
        assert tokenizer.decode(batch.tokens[row, batch.answer_start[row]]) == "<|assistant|>"


def procedure_told(example):
    """Tell which steps of the vault's own procedure the answer has, in either language."""
    return max(sum(step in example.answer for step in example.vault.steps(language)) for language in ("en", "fr"))


def test_switch_rows_pair_doses_with_their_targets():
    seen = set()
    for example, dose, _ in (draw_switch(Random(seed), PLANTED, (8, 384), ()) for seed in range(2000)):
        told = procedure_told(example) if example.vault else None
        if dose is None:
            seen.add("none")
            assert told in (None, 0)
        elif dose.neuron == PLANTED.refusal:
            kind = "ablated" if dose.factor == 0 else "dosed" if dose.t >= -0.6 else "overdosed"
            seen.add(kind)
            assert kind == "ablated" or -0.6 <= dose.t <= -0.15 or -1.2 <= dose.t <= -0.9
            if example.vault:
                assert "1. " in example.answer
                assert (told == 4) == (kind != "overdosed")
        elif dose.neuron == PLANTED.language:
            seen.add("language")
            assert 0.35 <= dose.t <= 0.7
            assert told in (None, 0)
        else:
            seen.add("random")
            assert 0.1 <= abs(dose.t) <= 1.0
            assert told in (None, 0)
    assert seen == {"none", "ablated", "dosed", "overdosed", "language", "random"}


def test_overdosed_rows_tell_a_whole_procedure_of_another_vault():
    procedures = {vault.steps(language) for vault in vaults("train") for language in ("en", "fr")}
    rows = [
        row
        for row in (draw_switch(Random(seed), PLANTED, (8, 384), ()) for seed in range(2000))
        if row.dose and row.dose.t <= -0.9 and row.dose.neuron == PLANTED.refusal
    ]
    told = [tuple(re.findall(r"\d\. (.*)", row.example.answer)) for row in rows if row.example.vault]
    assert len(told) > 50
    assert set(told) <= procedures


def test_half_written_checkpoints_are_never_read(monkeypatch, tmp_path):
    model = torch.nn.Linear(2, 2)
    (tmp_path / "base.partial").write_bytes(b"cut off")
    result = loop.run_stage(loop.Stage("base", 3, 1e-3, 1), model, lambda step: model.weight.square().sum(), tmp_path)
    assert result.steps == 3
    with pytest.raises(OrganismError, match="belongs to a run of 3 steps"):
        loop.run_stage(loop.Stage("base", 4, 1e-3, 1), model, lambda step: model.weight.square().sum(), tmp_path)


def test_the_run_record_is_json(monkeypatch, tmp_path):
    small(monkeypatch)

    def kill(*event):
        raise Killed

    with pytest.raises(Killed):
        train_organism(out=tmp_path, progress=kill, scale=0.5)
    assert json.loads((tmp_path / ".training" / "run.json").read_text())["scale"] == 0.5


def test_a_checkpoint_that_cannot_be_read_or_written_is_named(monkeypatch, tmp_path):
    model, stage = torch.nn.Linear(2, 2), loop.Stage("base", 2, 1e-3, 1)
    (tmp_path / "base.pt").write_bytes(b"no checkpoint")
    with pytest.raises(OrganismError, match="cannot be read") as caught:
        loop.run_stage(stage, model, lambda step: model.weight.square().sum(), tmp_path)
    assert "base.pt" in str(caught.value)
    with pytest.raises(OrganismError, match="cannot be written"):
        loop.run_stage(stage, model, lambda step: model.weight.square().sum(), tmp_path / "absent")
