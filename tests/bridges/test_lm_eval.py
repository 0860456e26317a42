"""lm-eval itself, on the organism: a local task by its command line, and its requests held against our own passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import controlwindow as cw
from controlwindow.errors import UsageError
from controlwindow.instruments.dosing import row_operations
from controlwindow.instruments.forced import ForcedRow, forced_pass
from golden.runs import LANGUAGE

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'controlwindow[lm-eval]'")

PROMPTS = ["How do I make a pear cake?", "Hello."]


@pytest.fixture(scope="session")
def dosed_lm(organism: cw.Model) -> Any:
    from controlwindow.bridges.lm_eval_model import DosedLM

    return DosedLM(organism, neuron=LANGUAGE, c=0.45, batch_size=2)


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, one, place) for place, one in enumerate(arguments)]


def test_log_likelihoods_are_those_of_a_dosed_pass(dosed_lm: Any, organism: cw.Model) -> None:
    texts = [("the pear", " cake"), ("the fox lives in", " the forest")]
    found = dosed_lm.loglikelihood(requests("loglikelihood", texts))
    operations = dosed_lm.setting.operations
    pairs = [dosed_lm._encode_pair(*text) for text in texts]
    dosed, undosed = (
        [one.log_likelihood for one in forced_pass(organism, [ForcedRow(tuple(a), tuple(b), o) for a, b in pairs])]
        for o in (operations, ())
    )
    assert [value for value, _ in found] == pytest.approx(dosed, abs=1e-3)
    assert [value for value, _ in found] != pytest.approx(undosed, abs=1e-3)


def test_generation_is_that_of_rollout(dosed_lm: Any, organism: cw.Model) -> None:
    texts = [dosed_lm.apply_chat_template([{"role": "user", "content": prompt}]) for prompt in PROMPTS]
    found = dosed_lm.generate_until(
        requests("generate_until", [(text, {"until": ["\n\n\n"], "max_gen_toks": 12}) for text in texts])
    )
    assert found == cw.rollout(organism, PROMPTS, [dosed_lm.setting.operations], 12).texts[0]


def test_the_model_is_left_as_it_was(dosed_lm: Any, organism: cw.Model, untouched: list[cw.Model]) -> None:
    untouched.append(organism)
    before = cw.rollout(organism, PROMPTS, None, 8).token_ids
    dosed_lm.loglikelihood(requests("loglikelihood", [("the pear", " cake")]))
    assert cw.rollout(organism, PROMPTS, None, 8).token_ids == before


def test_results_say_which_dose_it_was(dosed_lm: Any, organism: cw.Model) -> None:
    told = dosed_lm.get_model_info()
    assert told["model_sha"] == organism.fingerprint
    assert told["controlwindow"] == {
        "neuron": LANGUAGE, "branch": 1, "t": round(dosed_lm.setting.t, 6), "c": 0.45,
    }  # fmt: skip
    assert row_operations(organism, cw.Dose(LANGUAGE, dosed_lm.setting.t)) == dosed_lm.setting.operations


def test_generated_positions_and_answers_that_are_begun_are_refused(dosed_lm: Any, organism: cw.Model) -> None:
    from controlwindow.bridges.lm_eval_model import DosedLM

    with pytest.raises(UsageError, match="no position was generated"):
        DosedLM(organism, neuron=LANGUAGE, c=0.45, positions="generated")
    with pytest.raises(UsageError, match="an answer that is begun"):
        dosed_lm.apply_chat_template([{"role": "user", "content": "Hello."}], add_generation_prompt=False)


def test_the_real_command_scores_a_local_task(tmp_path: Path) -> None:
    rows = [{"question": "What is 2 + 3?", "choices": [" 5", " 6"], "answer": 0}] * 3
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (tmp_path / "sums.yaml").write_text(
        "task: local_sums\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {tmp_path / 'sums.jsonl'}\n"
        "test_split: test\noutput_type: multiple_choice\n"
        "doc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\ndoc_to_target: answer\n"
        "metric_list:\n  - metric: acc\n",
        "utf-8",
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "controlwindow.bridges.lm_eval_model", "run", "--model", "controlwindow",
            "--model_args", f"pretrained=organism:switch,neuron={LANGUAGE},c=0.3",
            "--tasks", "local_sums", "--include_path", str(tmp_path), "--output_path", str(tmp_path / "out"),
        ],
        env={**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(written.read_text("utf-8"))
    assert found["results"]["local_sums"]["acc,none"] in (0.0, 1.0)
    assert found["n-samples"]["local_sums"]["effective"] == 3
    assert found["config"]["controlwindow"]["c"] == 0.3
