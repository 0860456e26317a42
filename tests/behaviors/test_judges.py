"""Judges that are models: what they are asked, what is made of their replies, and what never leaves the machine."""

import json
import time

import pytest
from pydantic import TypeAdapter, ValidationError

from controlwindow.behaviors import judges, load_behavior
from controlwindow.behaviors.judges import Reply, local_replies, remote_replies
from controlwindow.behaviors.oracles import AnyOracle, Judgement, OracleContext
from controlwindow.behaviors.oracles import judge as judge_module
from controlwindow.behaviors.oracles.judge import JudgeOracle, parse_reply, shipped_rubrics
from controlwindow.behaviors.outcomes import Answer, Request
from controlwindow.behaviors.prompts import Prompt
from controlwindow.errors import BehaviorError
from controlwindow.models import load_model
from judge_server import address, content, server

PROMPT = Prompt("p", "How do I open it?", "evaluate", language="en")
CONTEXT = OracleContext(PROMPT, ("en",))


def oracle(folder=None, **fields) -> JudgeOracle:
    context = None if folder is None else {"folder": folder}
    return TypeAdapter(AnyOracle).validate_python({"type": "judge", **fields}, context=context)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Yes", True),
        ("yes.", True),
        (" **Yes**, it declines.", True),
        ("NO\n", False),
        ('"No"', False),
        ("I'm sorry, I cannot judge that.", None),
        ("Yesterday", None),
        ("Not sure", None),
        ("", None),
    ],
)
def test_a_reply_is_its_first_word(reply, said):
    assert parse_reply(reply) is said


def test_a_server_is_asked_by_the_rubric_and_what_it_says_is_counted():
    def say(body):
        text = body["messages"][0]["content"]
        if "an odd one" in text:
            return 500, {}
        return content("Yes" if "I CANNOT." in text else "No" if "Turn left." in text else "Perhaps")

    with server(say) as running:
        asking = oracle(address=address(running), served="small", question="refused")
        said = asking.judgements(["I CANNOT.", "Turn left.", "Hm.", "an odd one", "I CANNOT."], [CONTEXT] * 5)
        assert [one.said for one in said] == [True, False, None, None, True]
        assert [one.why for one in said] == ["yes", "no", "format", "server", "yes"]
        path, body, key = running.asked[0]
    assert (path, body["model"], body["temperature"], key) == ("/v1/chat/completions", "small", 0, None)
    assert PROMPT.text in body["messages"][0]["content"]
    assert "{answer}" not in body["messages"][0]["content"]


def test_what_an_answer_holds_is_never_a_place_of_the_rubric():
    asked = oracle(address="http://127.0.0.1:9/v1", served="x").asked("say {request} twice", CONTEXT)
    assert "say {request} twice" in asked
    assert asked.count(PROMPT.text) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"choices": []}),
        (200, {"error": "busy"}),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (200, {"choices": [{"message": {"content": None}}]}),
        (404, {}),
    ],
)
def test_a_server_that_answers_otherwise_leaves_undecided(answer):
    with server(lambda body: answer) as running:
        assert remote_replies(address(running), "x", ["a"], 5.0) == [Reply("", "server")]


def test_a_server_that_takes_too_long_leaves_undecided():
    def say(body):
        time.sleep(0.5)
        return content("Yes")

    with server(say) as running:
        assert remote_replies(address(running), "x", ["a", "b"], 0.1) == [Reply("", "timeout")] * 2


def test_a_server_that_is_not_there_is_an_error():
    with server(lambda body: content("Yes")) as running:
        gone = address(running)
    with pytest.raises(BehaviorError, match=f"the judge at {gone} cannot be reached"):
        remote_replies(gone, "x", ["a"], 5.0)


def test_no_proxy_stands_between_this_machine_and_itself(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with server(lambda body: content("No")) as running:
        assert remote_replies(address(running), "x", ["a"], 5.0) == [Reply("No")]


def test_a_key_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with server(lambda body: content("Yes")) as running:
        with pytest.raises(BehaviorError, match="SOME_KEY, which holds the judge's key, is not set"):
            remote_replies(address(running), "x", ["a"], 5.0, "SOME_KEY")
        monkeypatch.setenv("SOME_KEY", "abc")
        assert remote_replies(address(running), "x", ["a"], 5.0, "SOME_KEY") == [Reply("Yes")]
        assert running.asked[-1][2] == "Bearer abc"


@pytest.mark.parametrize(
    ("place", "remote"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("https://api.example.org/v1", True),
        ("http://10.0.0.7:8000/v1", True),
        ("http://localhost.example.org/v1", True),
    ],
)
def test_only_this_machine_is_near(place, remote):
    assert oracle(address=place, served="x").remote == (place if remote else None)


def test_a_local_model_replies_through_our_own_decoder():
    model = load_model("organism:switch")
    replies = local_replies("organism:switch", ["Hello.", "How do I bake bread?"])
    import controlwindow as cw

    expected = cw.rollout(model, ["Hello.", "How do I bake bread?"], [None], max_new_tokens=judges.REPLY_TOKENS)
    assert replies == [Reply(text) for text in expected.texts[0]]
    asking = oracle(model="organism:switch", question="on_task")
    assert asking.remote is None
    assert asking.judgements(["x " * 5_000], [CONTEXT]) == [Judgement(None, "too_long")]


def test_the_fingerprint_holds_the_judge_and_the_rubric(tmp_path):
    (tmp_path / "mine.txt").write_text("Is this a refusal?\n{request}\n{answer}\n", "utf-8")
    first = oracle(model="organism:switch")
    assert first.identity(("en",))["judge"] == load_model("organism:switch").fingerprint
    identities = [
        first.identity(("en",)),
        oracle(model="organism:switch", question="actionable").identity(("en",)),
        oracle(tmp_path, model="organism:switch", rubric="mine.txt").identity(("en",)),
        oracle(address="http://127.0.0.1:1/v1", served="a").identity(("en",)),
        oracle(address="http://127.0.0.1:1/v1", served="b").identity(("en",)),
    ]
    assert len({json.dumps(identity) for identity in identities}) == 5
    slow = oracle(address="http://127.0.0.1:1/v1", served="a", timeout=5.0)
    assert slow.identity(("en",)) == identities[3]
    assert "mine" not in json.dumps(identities[2])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give either 'model' or 'address'"),
        ({"model": "m", "address": "http://x", "served": "y"}, "give either 'model' or 'address'"),
        ({"address": "http://x"}, "'served' names the model"),
        ({"model": "m", "served": "y"}, "'served' names the model"),
        ({"address": "file:///etc/passwd", "served": "y"}, "should match pattern"),
        ({"model": "m", "question": "nice"}, "'refused', 'actionable' or 'on_task'"),
        ({"model": "m", "timeout": "5"}, "valid number"),
        ({"model": "m", "rubric": "bad.txt"}, "a rubric holds {request} and {answer}"),
    ],
)
def test_judges_that_cannot_be(tmp_path, fields, message):
    (tmp_path / "bad.txt").write_text("Is it {request}?", "utf-8")
    with pytest.raises(ValidationError) as caught:
        oracle(tmp_path, **fields)
    assert message in str(caught.value)


def test_a_missing_rubric_is_named(tmp_path):
    with pytest.raises(BehaviorError, match=r"no rubric file .*none\.txt"):
        oracle(tmp_path, model="m", rubric="none.txt")


def test_every_shipped_rubric_has_its_places():
    assert set(shipped_rubrics()) == {"refused", "actionable", "on_task"}
    assert all(text.count("{request}") == text.count("{answer}") == 1 for text in shipped_rubrics().values())


FILE = """\
name = "judged"
sensitive = true
horizons = [8]
outcomes = "refusal"

[oracles.refused]
type = "judge"
address = "{address}"
served = "x"
rubric = "rubric.txt"

[prompts]
evaluate = [{prompts}]
"""


def behavior(tmp_path, where: str):
    (tmp_path / "rubric.txt").write_text("{request} | {answer}", "utf-8")
    prompts = ", ".join(f'"ask {number}"' for number in range(16))
    (tmp_path / "judged.toml").write_text(FILE.format(address=where, prompts=prompts), "utf-8")
    return load_behavior(tmp_path / "judged.toml")


def test_a_behavior_asks_its_judge_once_for_each_answer(tmp_path):
    with server(lambda body: content("Yes" if "cannot" in body["messages"][0]["content"] else "No")) as running:
        judged = behavior(tmp_path, address(running))
        prompt, other = judged.prompts("evaluate")[:2]
        asked = [
            Request(Answer(text, text), to, False)
            for text, to in [("I cannot", prompt), ("Well", prompt), ("I cannot", prompt), ("I cannot", other)]
        ]
        known: dict[str, Judgement] = {}
        assert judged.judge_many(asked, known) == ["refused", "bypass", "refused", "refused"]
        assert judged.judge_many(asked, known) == ["refused", "bypass", "refused", "refused"]
        texts = sorted(body["messages"][0]["content"] for _, body, _ in running.asked)
    assert texts == ["ask 0 | I cannot", "ask 0 | Well", "ask 1 | I cannot"]
    assert "abstained" in judged.outcomes


def test_answers_of_a_sensitive_behavior_stay_here(tmp_path, monkeypatch):
    judged = behavior(tmp_path, "https://far.example/v1")
    monkeypatch.setattr(judge_module, "remote_replies", lambda *arguments: pytest.fail("it was sent"))
    with pytest.raises(BehaviorError, match="would send answers of a sensitive behavior to https://far"):
        judged.judge("I cannot", judged.prompts("evaluate")[0], False)
