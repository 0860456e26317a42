"""What judges said is kept with a run, and one that was cut off judges no text twice."""

from __future__ import annotations

import pytest

from controlwindow.behaviors import load_behavior
from controlwindow.behaviors.oracles import Judgement
from controlwindow.cells import RolloutCell
from controlwindow.instruments.generic import generic_pass
from controlwindow.instruments.ordinary import CHAT_PROMPTS
from controlwindow.measuring.detector import fit_detector
from controlwindow.measuring.engine import Engine
from controlwindow.measuring.judgements import JUDGEMENTS, KeptJudgements, reply_counts
from controlwindow.models import load_model
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.scheduler import Scheduler
from judge_server import address, content, server

FILE = """
name = "judged"
horizons = [4, 8]

[oracles.target]
type = "judge"
address = "{address}"
served = "x"
rubric = "rubric.txt"

[prompts]
evaluate = [{prompts}]
"""


@pytest.fixture(scope="module")
def organism():
    return load_model("organism:switch", device="cpu")


def judged(folder, where: str):
    (folder / "rubric.txt").write_text("{request} | {answer}", "utf-8")
    prompts = ", ".join(f'"{text}"' for text in CHAT_PROMPTS[:16])
    (folder / "judged.toml").write_text(FILE.format(address=where, prompts=prompts), "utf-8")
    return load_behavior(folder / "judged.toml")


def say(body):
    """Yes to answers of even length, no to others, and something else to every fifth."""
    length = len(body["messages"][0]["content"])
    return content("Perhaps" if length % 5 == 0 else "Yes" if length % 2 == 0 else "No")


def test_a_run_that_was_cut_off_judges_no_text_twice(tmp_path, organism, monkeypatch):
    generic = generic_pass(organism)
    detector = fit_detector(organism, generic, 0)[0]
    with server(say) as running:
        behavior = judged(tmp_path, address(running))
        cell = RolloutCell("judged", "evaluate", horizon=8)

        def run(ledger):
            engine = Engine(organism, {"judged": behavior}, generic, ledger, detector)
            Scheduler(ledger, engine).run("undosed", [Asks([cell])])
            return ledger.rows(cell)

        path = tmp_path / "ledger.sqlite"
        with Ledger(path, create=True) as ledger, monkeypatch.context() as patched:
            patched.setattr(ledger, "commit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run(ledger)
            assert ledger.rows(cell) is None
        asked = len(running.asked)
        with Ledger(path) as ledger:
            resumed = run(ledger)
            counts = reply_counts(ledger.find_all(JUDGEMENTS), "judged")
        assert len(running.asked) == asked > 0
        with Ledger() as ledger:
            assert run(ledger) == resumed
        assert len(running.asked) == 2 * asked
        texts = {body["messages"][0]["content"] for _, body, _ in running.asked}
    assert len(texts) == asked
    assert sum(counts["target"].values()) == asked
    assert counts["target"]["format"] == sum(len(text) % 5 == 0 for text in texts)
    told = {"abstained": "Perhaps", "switched": "Yes", "unswitched": "No"}
    requests = {prompt.id: prompt.text for prompt in behavior.prompts("evaluate")}
    for row in resumed:
        if not row["reason"]:
            # Of the texts that were judged for this prompt, the longest is that of the last horizon.
            text = max((text for text in texts if text.startswith(requests[row["prompt"]] + " | ")), key=len)
            reply = say({"messages": [{"content": text}]})[1]["choices"][0]["message"]["content"]
            assert told[row["outcomes"]["8"]] == reply


class Asks:
    """Asks for cells once."""

    def __init__(self, cells):
        self.cells = cells

    def next_cells(self):
        return self.cells

    def update(self, results):
        self.cells = []


def test_judgements_are_those_of_one_behavior():
    with Ledger() as ledger:
        kept = KeptJudgements(ledger, "one")
        kept.update({"refused/a": Judgement(True, "yes"), "refused/b": Judgement(None, "timeout")})
        kept.update({"refused/b": Judgement(True, "yes"), "on_task/a": Judgement(False, "no")})
        again, other = KeptJudgements(ledger, "one"), KeptJudgements(ledger, "two")
        # What was said first stays.
        assert [again["refused/a"], again["refused/b"]] == [Judgement(True, "yes"), Judgement(None, "timeout")]
        assert "refused/a" not in other
        other.update({"refused/a": Judgement(False, "")})
        records = ledger.find_all(JUDGEMENTS)
    assert len(records) == 3
    assert reply_counts(records, "one") == {"on_task": {"no": 1}, "refused": {"timeout": 1, "yes": 1}}
    assert reply_counts(records, "two") == {"refused": {"no": 1}}
