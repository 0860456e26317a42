"""The server: who is let in, what is told, one generation at a time, and what happens when somebody leaves."""

from __future__ import annotations

import asyncio
import json
import re
import time

import httpx
import pytest
from starlette.testclient import TestClient

from controlwindow.live.guard import POLICY, loopback_names
from controlwindow.live.server import FILES, live_app, static_file

TOKEN = "a-token-that-only-the-link-holds"
BASE = "http://127.0.0.1:8000"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
ASK = {"neuron": "L4.N160", "prompt": "Tell me about the red fox.", "coordinate": 0.5, "tokens": 6}


@pytest.fixture
def client(studio):
    return TestClient(live_app(studio, TOKEN, loopback_names(8000)), base_url=BASE)


def events(text):
    return [
        (kind, json.loads(data)) for kind, data in re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
    ]  # fmt: skip


@pytest.mark.parametrize("path", FILES)
def test_the_page_is_served_with_a_policy_that_loads_nothing_else(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert "default-src 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", [name for name, _ in FILES.values()])
def test_no_file_of_the_page_names_another_place(name):
    places = set(re.findall(r"https?://[^\s\"'`)]+", static_file(name)))
    assert places <= {"http://www.w3.org/2000/svg", "http://127.0.0.1:…/#token=…"}
    assert "import(" not in static_file(name)
    assert "innerHTML" not in static_file(name)


@pytest.mark.parametrize("path", ["/api/scene", "/api/neuron/L1.N2", "/api/generate"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({**HEADERS, "host": "evil.example:8000"}, 421),
        ({**HEADERS, "host": "127.0.0.1:8001"}, 421),
        ({**HEADERS, "host": "127.0.0.1"}, 421),
        ({**HEADERS, "host": ""}, 421),
        ({**HEADERS, "origin": "http://evil.example"}, 403),
        ({**HEADERS, "origin": "http://127.0.0.1:9999"}, 403),
        ({**HEADERS, "origin": "null"}, 403),
        ({**HEADERS, "sec-fetch-site": "cross-site"}, 403),
        ({**HEADERS, "sec-fetch-site": "same-site"}, 403),
    ],
)
def test_whoever_is_no_page_of_ours_is_turned_away(client, path, headers, status):
    answer = client.post(path, json=ASK, headers=headers) if "generate" in path else client.get(path, headers=headers)
    assert answer.status_code == status
    assert answer.json()["message"]
    assert TOKEN not in answer.text
    assert answer.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("host", ["evil.example:8000", "127.0.0.1.evil.example:8000"])
def test_a_name_that_was_bound_anew_gets_not_even_the_page(client, host):
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
def test_its_own_names_are_let_in(client, host):
    origin = f"http://{host.lower()}"
    answer = client.get(
        "/api/scene", headers={**HEADERS, "host": host, "origin": origin, "sec-fetch-site": "same-origin"}
    )
    assert answer.status_code == 200
    assert answer.json()["model"]["name"] == "organism:switch"


def test_a_scene_holds_what_is_shown_and_nothing_withheld(client, studio):
    scene = client.get("/api/scene", headers=HEADERS).json()
    assert scene == json.loads(json.dumps(studio.scene()))
    assert [behavior["name"] for behavior in scene["behaviors"]] == ["language"]
    assert "vault" not in json.dumps(scene["behaviors"] + scene["handles"])


def test_a_generation_is_told_as_server_sent_events(client):
    answer = client.post("/api/generate", json={**ASK, "behavior": "language"}, headers=HEADERS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = events(answer.text)
    kinds = [kind for kind, _ in found]
    assert kinds[0] == "begin"
    assert kinds[-1] == "end"
    assert kinds.count("token") == 12
    assert [values["outcome"] for kind, values in found if kind == "outcome"] == ["unswitched", "switched"]
    assert "".join(f"event: {kind}\ndata: {json.dumps(values, ensure_ascii=False)}\n\n" for kind, values in found) == (
        answer.text
    )


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"{", "valid dictionary"), (b"[]", "valid dictionary"), (b'{"neuron": 5, "prompt": "a"}', "neuron"),
        (b'"' + b"x" * 300_000 + b'"', "valid dictionary"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_said_to_be_none(client, sent, message):
    answer = client.post("/api/generate", content=sent, headers={**HEADERS, "content-type": "application/json"})
    assert answer.status_code == 400
    assert message in answer.json()["message"]
    assert answer.json()["hint"]


def test_a_form_of_another_page_is_not_read(client):
    answer = client.post("/api/generate", content=json.dumps(ASK), headers={**HEADERS, "content-type": "text/plain"})
    assert answer.status_code == 415


def test_what_the_model_cannot_do_is_an_event_or_an_answer(client):
    assert client.get("/api/neuron/L99.N1", headers=HEADERS).status_code == 400
    (error,) = events(client.post("/api/generate", json={**ASK, "neuron": "L99.N1"}, headers=HEADERS).text)
    assert error[0] == "error"
    assert "L99.N1 is not in organism:switch" in error[1]["message"]
    assert "layers" in error[1]["hint"]


def test_what_breaks_is_told_without_its_insides(caplog):
    class Broken:
        def generate(self, ask, emit, left):
            raise RuntimeError("secret")

    client = TestClient(live_app(Broken(), TOKEN, loopback_names(8000)), base_url=BASE)
    answer = client.post("/api/generate", json=ASK, headers=HEADERS)
    assert events(answer.text)[0][1]["message"] == "the generation failed"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


# ---- with a real server, since only there somebody can leave


def ask_of(number):
    return {"neuron": "L0.N0", "prompt": f"{number}"}


async def tell(client, number, found):
    async with client.stream("POST", "/api/generate", json=ask_of(number)) as answer:
        found.append((number, answer.status_code, events("".join([chunk async for chunk in answer.aiter_text()]))))


def connect(server):
    return httpx.AsyncClient(base_url=server.address, headers=server.headers, timeout=60)


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def test_fifty_at_once_are_answered_one_after_the_other(served, pretender):
    server = served(pretender)
    found = []

    async def crowd():
        async with connect(server) as client:
            await asyncio.gather(*(tell(client, number, found) for number in range(50)))

    asyncio.run(crowd())
    assert sorted(number for number, _, _ in found) == list(range(50))
    assert {status for _, status, _ in found} == {200}
    assert all(said[-1][0] == "end" for _, _, said in found)
    assert pretender.most == 1
    waits = [[values["ahead"] for kind, values in said if kind == "queued"] for _, _, said in found]
    assert all(wait == sorted(wait, reverse=True) for wait in waits)
    assert len(server.line) == 0


def test_who_waits_is_told_how_many_are_ahead_and_beyond_the_last_place_to_come_back(served, pretender):
    pretender.gate.clear()
    server, found = served(pretender), []

    async def crowd():
        async with connect(server) as client, asyncio.TaskGroup() as tasks:
            for number in range(64):
                tasks.create_task(tell(client, number, found))
                await until(lambda n=number: len(server.line) == n + 1)
            refused = await client.post("/api/generate", json=ask_of(64))
            pretender.gate.set()
        return refused

    refused = asyncio.run(crowd())
    assert refused.status_code == 503
    assert "64 generations are waiting" in refused.json()["message"]
    assert pretender.begun == [f"{number}" for number in range(64)]
    first_waits = {number: [v["ahead"] for kind, v in said if kind == "queued"][:1] for number, _, said in found}
    assert first_waits == {0: []} | {number: [number] for number in range(1, 64)}


def test_who_leaves_gives_up_the_place_or_ends_the_generation(served, pretender):
    pretender.gate.clear()
    server, found = served(pretender), []

    async def crowd():
        async with connect(server) as client:
            tasks = []
            for number in range(3):
                tasks.append(asyncio.create_task(tell(client, number, found)))
                await until(lambda n=number: len(server.line) == n + 1)
            await until(lambda: pretender.begun == ["0"])
            # The second leaves while it waits: it is never begun.
            tasks[1].cancel()
            await until(lambda: len(server.line) == 2)
            # The first leaves while it is at work: it is cut, and the third begins.
            tasks[0].cancel()
            await until(lambda: pretender.begun == ["0", "2"])
            pretender.gate.set()
            await tasks[2]

    asyncio.run(crowd())
    assert pretender.cut == ["0"]
    assert [number for number, _, _ in found] == [2]
    assert len(server.line) == 0


def test_a_server_that_is_stopped_ends_what_it_does(served, pretender):
    pretender.gate.clear()
    server = served(pretender)

    async def ask_and_stop():
        async with connect(server) as client:
            task = asyncio.create_task(tell(client, 0, []))
            await until(lambda: pretender.begun == ["0"])
            await asyncio.to_thread(server.stop)
            with pytest.raises(httpx.HTTPError):
                await task

    asyncio.run(ask_and_stop())
    for _ in range(300):
        if pretender.cut:
            break
        time.sleep(0.01)
    assert pretender.cut == ["0"]
