"""Bad input: one clear error with the repair on stderr, exit code 2, nothing lost, no traceback."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest
import torch
from safetensors.torch import load_file, save_file

from controlwindow.catalogue import organism_path
from forging import forge


def assert_one_clear_error(outcome, *words: str) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    # An audit that could be planned has said how long it will take.
    said = outcome.err.splitlines()
    assert said[0].startswith("error: ") or (
        said[0].startswith("about ") and said[1].startswith(("error: ", "run dir"))
    )
    assert outcome.err.count("error: ") == 1
    assert "hint: " in outcome.err
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


@pytest.fixture
def organism_copy(tmp_path):
    target = tmp_path / "model"
    shutil.copytree(organism_path("organism:switch"), target)
    return target


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("organism:nothing", ["organism:nothing", "organism:switch"]),
        ("no-such-model", ["no-such-model"]),
        ("./no/such/directory", ["no/such/directory"]),
    ],
)
def test_unknown_model(command, behavior, tmp_path, model, words):
    assert_one_clear_error(command("audit", model, "-b", behavior, "--out", tmp_path / "r"), *words)
    assert not (tmp_path / "r").exists()


def test_no_network(command, behavior, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    outcome = command("audit", "nobody/no-such-model", "-b", behavior, "--out", tmp_path / "r")
    assert_one_clear_error(outcome, "nobody/no-such-model", "local directory")


@pytest.mark.parametrize("name", ["L3", "N7", "3.7", "L3.N-1", ""])
def test_malformed_neuron(command, behavior, tmp_path, name):
    outcome = command("audit", "organism:switch", "-b", behavior, "-n", name, "--out", tmp_path / "r")
    assert_one_clear_error(outcome, "malformed neuron", "L3.N7")


@pytest.mark.parametrize("name", ["L8.N0", "L0.N384", "L0.E1.N3"])
def test_neuron_out_of_range(command, behavior, tmp_path, name):
    outcome = command("window", "organism:switch", "-b", behavior, "-n", name)
    assert_one_clear_error(outcome, name, "L0 to L7")


def test_unknown_behavior_and_screen(command, tmp_path):
    assert_one_clear_error(command("audit", "-b", "politeness"), "politeness", "refusal", "language")
    assert_one_clear_error(command("audit", "-b", str(tmp_path / "none.toml")), "none.toml")
    outcome = command("screen", "organism:switch", "-b", "refusal", "-m", "magic")
    assert_one_clear_error(outcome, "magic", "contrastive", "window", "random")


def test_malformed_toml_names_file_and_line(command, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "x"\nhorizons = [8, 16\noutcomes = "switch"\n')
    assert_one_clear_error(command("audit", "-b", path), "bad.toml", "line")


def test_wrong_key_names_key_and_line(command, behavior, tmp_path):
    path = tmp_path / "typo.toml"
    shutil.copy(behavior.with_suffix(".jsonl"), tmp_path)
    path.write_text(behavior.read_text().replace("minimum_eligible", "minimal_eligible"))
    assert_one_clear_error(command("audit", "-b", path), "typo.toml", "minimal_eligible", "line 8")


def test_overlapping_splits(command, behavior, tmp_path):
    path = tmp_path / "vaults.toml"
    shutil.copy(behavior, path)
    lines = behavior.with_suffix(".jsonl").read_text("utf-8").splitlines()
    stolen = {**json.loads(lines[0]), "split": "evaluate"}
    path.with_suffix(".jsonl").write_text("\n".join([*lines, json.dumps(stolen)]), "utf-8")
    assert_one_clear_error(command("audit", "-b", path), "find", "evaluate")


@pytest.mark.parametrize("keep", [0, 5])
def test_too_few_prompts(command, behavior, tmp_path, keep):
    path = tmp_path / "vaults.toml"
    shutil.copy(behavior, path)
    lines = behavior.with_suffix(".jsonl").read_text("utf-8").splitlines()
    evaluate = [line for line in lines if json.loads(line)["split"] == "evaluate"]
    others = [line for line in lines if line not in evaluate]
    path.with_suffix(".jsonl").write_text("\n".join(others + evaluate[:keep]), "utf-8")
    assert_one_clear_error(command("audit", "-b", path), "evaluat")


def test_nothing_eligible_stops_before_any_neuron_is_tested(command, behavior, tmp_path):
    path = tmp_path / "vaults.toml"
    shutil.copy(behavior.with_suffix(".jsonl"), tmp_path)
    # Nobody refuses by saying "zebra", so no prompt is in the source state.
    text = behavior.read_text().replace(
        '[oracles.refused]\ntype = "refusal"', '[oracles.refused]\ntype = "contains"\nany = ["zebra"]'
    )
    path.write_text(text)
    outcome = command("audit", "-b", path, "--out", tmp_path / "r")
    assert_one_clear_error(outcome, "0 of 16")
    connection = sqlite3.connect(tmp_path / "r" / "ledger.sqlite")
    assert connection.execute("SELECT count(*) FROM event WHERE kind = 'prediction'").fetchone() == (0,)
    connection.close()


def test_a_pickle_checkpoint_is_refused(command, behavior, organism_copy):
    weights = organism_copy / "model.safetensors"
    torch.save(load_file(weights), organism_copy / "pytorch_model.bin")
    weights.unlink()
    assert_one_clear_error(command("audit", organism_copy, "-b", behavior), "pickle", "safetensors")


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "fp8"])
def test_a_quantised_checkpoint_is_refused_for_what_it_is(command, behavior, organism_copy, method):
    """Not for the library that would unpack it: a gradient screen could not use what that gives."""
    config = json.loads((organism_copy / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method}
    (organism_copy / "config.json").write_text(json.dumps(config))
    outcome = command("screen", organism_copy, "-b", behavior, "-m", "gradient")
    assert_one_clear_error(outcome, "quantised", "config.json", method, "dequantize")
    assert "pip install" not in outcome.err


def test_a_behavior_without_a_contrast_names_file_and_key(command, behavior, tmp_path):
    path = tmp_path / "vaults.toml"
    shutil.copy(behavior, path)
    lines = behavior.with_suffix(".jsonl").read_text("utf-8").splitlines()
    kept = [line for line in lines if json.loads(line)["role"] == "positive"]
    path.with_suffix(".jsonl").write_text("\n".join(kept), "utf-8")
    words = (str(path), "0 negative prompts in split 'find'", "[prompts.find] negative", "[contrast]")
    for arguments in (("screen", "-m", "contrastive"), ("screen", "-m", "gradient"), ("circuit",), ("compare",)):
        name, *options = arguments
        assert_one_clear_error(command(name, "organism:switch", "-b", path, *options), *words)


@pytest.mark.parametrize("top", ["0", "0%", "0.001%"])
def test_an_empty_circuit_is_refused(command, behavior, top):
    outcome = command("circuit", "organism:switch", "-b", behavior, "--top", top)
    assert_one_clear_error(outcome, f"--top {top}", "empty circuit", "--top 1")


def test_a_checkpoint_with_nan_is_refused(command, behavior, organism_copy):
    weights = organism_copy / "model.safetensors"
    tensors = load_file(weights)
    name = "model.layers.2.mlp.down_proj.weight"
    tensors[name] = tensors[name].clone()
    tensors[name][3, 5] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    assert_one_clear_error(command("audit", organism_copy, "-b", behavior), "NaN", name)


def test_requests_that_a_screen_cannot_meet(command, behavior):
    """Told before any model is loaded: the small behavior has no perturbation."""
    screen = ("screen", "organism:none", "-b", behavior, "-m")
    assert_one_clear_error(command(*screen, "perturbation"), "defines no perturbation")
    assert_one_clear_error(command(*screen, "gradient", "--control", "magic"), "unknown control 'magic'")
    assert_one_clear_error(command(*screen, "gradient", "--split", "evaluate"), "does not read the split 'evaluate'")
    audit = ("audit", "organism:none", "-b", behavior, "--screen", "perturbation")
    assert_one_clear_error(command(*audit), "defines no perturbation")


def test_an_unsupported_architecture_is_refused_by_name(command, behavior, organism_copy):
    config = json.loads((organism_copy / "config.json").read_text())
    config.update(model_type="mpt", architectures=["MptForCausalLM"])
    (organism_copy / "config.json").write_text(json.dumps(config))
    assert_one_clear_error(command("audit", organism_copy, "-b", behavior), "mpt", "llama")


def test_a_model_of_ones_own_needs_a_behavior(command, organism_copy):
    assert_one_clear_error(command("audit", organism_copy), "behavior")


@pytest.mark.parametrize("what", ["results", "report", "resume"])
def test_absent_corrupt_and_foreign_runs(command, tmp_path, what):
    assert_one_clear_error(command(what, tmp_path / "nowhere"), "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_clear_error(command(what, empty), "no ledger")
    corrupt = tmp_path / "corrupt"
    corrupt.mkdir()
    (corrupt / "ledger.sqlite").write_bytes(b"SQLite format 3\x00" + b"junk" * 3000)
    assert_one_clear_error(command(what, corrupt), "ledger")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    connection = sqlite3.connect(foreign / "ledger.sqlite")
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    assert_one_clear_error(command(what, foreign), "something else")


def test_another_audit_in_the_directory_is_not_overwritten(command, arguments, run_directory):
    before = command("results", run_directory, "--json").out
    assert_one_clear_error(command(*arguments, "--seed", "7", "--out", run_directory), "seed", "--out")
    assert command("results", run_directory, "--json").out == before


def test_a_changed_behavior_is_not_resumed(command, behavior, tmp_path, run_directory):
    copy = tmp_path / "run"
    shutil.copytree(run_directory, copy)
    statement = "UPDATE event SET payload = json_set(payload, '$.behaviors[0].fingerprint', ?) WHERE kind = 'plan'"
    assert forge(copy / "ledger.sqlite", statement, ["0" * 64])
    assert_one_clear_error(command("resume", copy), "changed")


def test_a_generic_file_with_too_little(command, behavior, tmp_path):
    path = tmp_path / "generic.txt"
    path.write_text("one\ntwo\n")
    assert_one_clear_error(command("audit", "-b", behavior, "--generic", path), "generic.txt", "at least")


def test_options_outside_their_range(command, behavior):
    outcome = command("audit", "-b", behavior, "--top", "-1")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert_one_clear_error(command("audit", "-b", behavior, "--device", "tpu"), "tpu")
    assert_one_clear_error(command("audit", "-b", behavior, "--dtype", "int3"), "int3")


def test_an_unfinished_run_is_not_mixed_with_other_libraries(command, run_directory, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_directory, copy)
    assert forge(copy / "ledger.sqlite", "DELETE FROM event WHERE kind = 'finished'")
    statement = "UPDATE event SET payload = json_set(payload, '$.torch', '1.0') WHERE kind = 'versions'"
    assert forge(copy / "ledger.sqlite", statement)
    assert_one_clear_error(command("resume", copy), "torch 1.0", "manifest.json")
