"""Lists of neurons that others wrote: every format that is read, and one clear error for what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from controlwindow.errors import NeuronError
from controlwindow.models import Neuron
from controlwindow.models.neuron_files import named_neurons, read_neurons

# neural-steering's Circuit.save: a neuron stands once for each position at which it was found.
CIRCUIT = {
    "neurons": {"2,1,27": -0.78, "0,41,9": 0.5, "2,40,27": 0.1, "3,4,80": -0.9},
    "prompt": "…",
    "target_token": "I",
    "total_logit_diff": 1.5,
}
FOUND = {
    "circuit.json": (json.dumps(CIRCUIT), ["L3.N80", "L2.N27", "L0.N9"]),
    "by_layer.json": ('{"26": [490, 21], "11": [42]}', ["L26.N490", "L26.N21", "L11.N42"]),
    "triples.json": ("[[1, 55, 3.0], [4, 15, -8.0]]", ["L4.N15", "L1.N55"]),
    "names.json": ('["L3.N7", "L1.E2.N4"]', ["L3.N7", "L1.E2.N4"]),
    "screen.json": ('[{"neuron": "L3.N7", "rank": 1, "score": 0.2}, {"neuron": "L0.N1", "score": -0.4}]',
                    ["L0.N1", "L3.N7"]),
    "objects.json": ('[{"layer": 3, "neuron": 7, "m": -1}, {"layer": 4, "index": 2, "expert": 1, "m": 2}]',
                     ["L4.E1.N2", "L3.N7"]),
    "table.csv": ("layer,position,neuron,attribution,role\n1,1,27,0.4,\n0,1,9,-0.7,relay\n", ["L0.N9", "L1.N27"]),
    "names.csv": ("neuron,score\nL3.N7,0.1\nL3.N8,0.2\n", ["L3.N8", "L3.N7"]),
    "tabs.tsv": ("Layer\tIndex\n3\t7\n2\t5\n", ["L3.N7", "L2.N5"]),
    "list.txt": ("# mine\nL3.N7  # the first\n\nl2.n5\n", ["L3.N7", "L2.N5"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_file_gives_its_neurons_the_strongest_first(name: str, tmp_path: Path) -> None:
    text, names = FOUND[name]
    (tmp_path / name).write_text(text, "utf-8")
    assert [str(listed.neuron) for listed in read_neurons(tmp_path / name)] == names


def test_a_neuron_of_several_positions_keeps_its_largest_value(tmp_path: Path) -> None:
    (tmp_path / "circuit.json").write_text(json.dumps(CIRCUIT), "utf-8")
    assert read_neurons(tmp_path / "circuit.json")[1] == (Neuron(2, 27), -0.78)


def test_a_file_stands_where_a_name_does_and_a_number_takes_its_first(tmp_path: Path) -> None:
    (tmp_path / "circuit.json").write_text(json.dumps(CIRCUIT), "utf-8")
    found = named_neurons(["L1.N1", f"@{tmp_path}/circuit.json:2"])
    assert found == ["L1.N1", Neuron(3, 80), Neuron(2, 27)]


BROKEN: dict[str, tuple[str, str]] = {
    "cut.json": ('{"neurons": {"1,2,3": 0.', "is no JSON"),
    "number.json": ('{"neurons": 3}', "key 'neurons'"),
    "four.json": ("[[1, 2], [1, 2, 3, 4]]", "entry 1"),
    "half.json": ("[[1, 2.5]]", "entry 0"),
    "below.json": ("[[-1, 2]]", "counts from below 0"),
    "nan.json": ("[[1, 2, NaN]]", "entry 0"),
    "truth.json": ("[[true, 2]]", "entry 0"),
    "empty.json": ("[]", "holds no neurons"),
    "key.json": ('{"neurons": {"mlp.3": 0.1}}', "malformed neuron 'mlp.3'"),
    "layer.csv": ("layer,unit\n3,\n", "line 2"),
    "column.csv": ("layer,attribution\n3,0.5\n", "no column of neurons: layer, attribution"),
    "word.csv": ("neuron,score\nL3.N7,high\n", "line 2"),
    "list.txt": ("L3.N7\nneuron 8\n", "line 2"),
    "nothing.txt": ("# nothing\n", "holds no neurons"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_list_of_neurons_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    text, said = BROKEN[name]
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(NeuronError, match=said) as error:
        read_neurons(tmp_path / name)
    assert name in error.value.message
    assert error.value.hint


@pytest.mark.parametrize("given", ["missing.json", "", "missing.json:3"])
def test_a_file_that_is_not_there_is_named(given: str) -> None:
    with pytest.raises(NeuronError, match="cannot read neurons from"):
        named_neurons(f"@{given}")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.json").write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(NeuronError, match="cannot read neurons"):
        read_neurons(tmp_path / "weights.json")


def test_an_audit_is_planned_with_the_neurons_of_a_file(llama: Any, tmp_path: Path) -> None:
    from controlwindow.jobs.audit.plan import plan_audit

    (tmp_path / "triples.json").write_text("[[1, 5, 0.5], [0, 2, -3]]", "utf-8")
    plan = plan_audit(llama, [], neurons=f"@{tmp_path}/triples.json")
    assert plan.neurons == ("L0.N2", "L1.N5")
    (tmp_path / "outside.json").write_text("[[99, 5]]", "utf-8")
    with pytest.raises(NeuronError, match=r"L99\.N5 is not in"):
        plan_audit(llama, [], neurons=f"@{tmp_path}/outside.json")
