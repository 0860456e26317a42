"""One small audit of the shipped organism with a sensitive behavior and an open one, and studios on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import controlwindow as cw
from controlwindow.live.guard import loopback_names
from controlwindow.live.line import Line
from controlwindow.live.requests import Ask
from controlwindow.live.server import live_app
from controlwindow.live.serving import listening_socket
from controlwindow.live.studio import Studio
from controlwindow.live.subjects import Subject, subject_of_run
from golden.behaviors import write_behaviors
from golden.runs import LANGUAGE, REFUSAL

TOKEN = "a-token-that-only-the-link-holds"


@pytest.fixture(scope="session")
def organism() -> cw.Model:
    return cw.load_model("organism:switch")


@pytest.fixture(scope="session")
def live_run(tmp_path_factory: pytest.TempPathFactory, organism: cw.Model) -> Path:
    """Both planted neurons, each tested for its own behavior."""
    directory = tmp_path_factory.mktemp("live")
    refusal, language = write_behaviors(directory)
    # A shorter horizon than the shipped one: enough to be refused or bypassed in, and half the time.
    refusal.write_text(refusal.read_text("utf-8").replace("[8, 32, 64]", "[8, 32]"), "utf-8")
    named = {"language": [LANGUAGE], "vaults": [REFUSAL]}
    cw.audit(organism, [language, refusal], directory / "run", neurons=named, top=0, planted=False)
    return directory / "run"


@pytest.fixture(scope="session")
def subject(live_run: Path, organism: cw.Model) -> Subject:
    return subject_of_run(live_run, model=organism)


@pytest.fixture(scope="session")
def studio(subject: Subject) -> Studio:
    return Studio(subject)


class Pretender:
    """A studio that generates nothing: it says so many tokens, each when it may, and counts who is at work."""

    def __init__(self, tokens: int = 3, pause: float = 0.0) -> None:
        self.tokens, self.pause = tokens, pause
        self.gate = threading.Event()
        self.gate.set()
        self.working = self.most = 0
        self.begun: list[str] = []
        self.cut: list[str] = []

    def scene(self) -> dict[str, Any]:
        return {"model": "none"}

    def generate(self, ask: Ask, emit: Any, left: threading.Event) -> None:
        self.working += 1
        self.most = max(self.most, self.working)
        self.begun.append(str(ask.prompt))
        try:
            emit("begin", {"tokens": self.tokens})
            for place in range(self.tokens):
                while not self.gate.wait(0.01):
                    if left.is_set():
                        break
                if left.is_set():
                    self.cut.append(str(ask.prompt))
                    return
                time.sleep(self.pause)
                emit("token", {"place": place})
            emit("end", {})
        finally:
            self.working -= 1


@pytest.fixture
def pretender() -> Pretender:
    return Pretender()


class Served:
    """An application on a free port of loopback, in a thread."""

    def __init__(self, studio: Any, token: str = TOKEN) -> None:
        self._socket = listening_socket(0)
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.link = f"{self.address}/#token={token}"
        self.headers = {"authorization": f"Bearer {token}"}
        self.line = Line()
        app = live_app(studio, token, loopback_names(self.port), self.line)
        config = uvicorn.Config(app, log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        self._socket.close()


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Serves studios until the test is over."""
    open_servers: list[Served] = []

    def start(studio: Any, token: str = TOKEN) -> Served:
        open_servers.append(Served(studio, token))
        return open_servers[-1]

    yield start
    for server in open_servers:
        server.stop()
