"""Contenders: what does a job once and says how long it took, in this process or in a peer's own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from benchmarks.environments import PEERS, Unavailable, interpreter, last_line
from benchmarks.peers.protocol import Job

START_SECONDS, RUN_SECONDS = 900, 1800
"""Longest waits for a peer to get ready (it may try several batch sizes) and to do the job once."""


class PeerKind(NamedTuple):
    """A way to do the job that runs in a process of its own.

    Attributes:
        name: Key in results.
        title: What tables call it.
        script: Its script in `peers/`.
        environment: Its environment.
    """

    name: str
    title: str
    script: str
    environment: str


REFERENCE = PeerKind("reference", "plain reference", "reference.py", "transformers")
ROWS = PeerKind("rows", "Transformers, doses × prompts rows", "rows.py", "transformers")
ONE_DOSE = PeerKind("one_dose", "Transformers, one dose at a time", "one_dose.py", "transformers")
ONE_ROW = PeerKind("one_row", "Transformers, one prompt and one dose", "one_row.py", "transformers")
PEER_KINDS = (
    ROWS,
    PeerKind("nnsight", "nnsight", "nnsight_rows.py", "nnsight"),
    PeerKind("transformer_lens", "TransformerLens", "transformer_lens_rows.py", "transformer_lens"),
    PeerKind("pyvene", "pyvene", "pyvene_rows.py", "pyvene"),
    PeerKind("steering_vectors", "steering-vectors", "steering_vectors_rows.py", "steering_vectors"),
    ONE_DOSE,
    ONE_ROW,
)
"""Every peer, the strongest baseline first."""


@dataclass(frozen=True)
class Done:
    """One run of a contender.

    Attributes:
        seconds: How long it took.
        found: What it found: for grids "tokens", `[dose][prompt]`.
    """

    seconds: float
    found: dict[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """Does the same job every time it is asked."""

    name: str
    title: str

    def run(self) -> Done:
        """Do the job once."""


@dataclass
class Local:
    """A contender in this process.

    Attributes:
        name: Key in results.
        title: What tables call it.
        work: Does the job and returns what it found, if that is of interest.
        prepare: Runs before the clock starts.
        settle: Waits until the device is idle, before the clock starts and before it stops.
    """

    name: str
    title: str
    work: Callable[[], dict[str, Any] | None]
    prepare: Callable[[], None] = lambda: None
    settle: Callable[[], None] = lambda: None

    def run(self) -> Done:
        """Do the job once."""
        self.prepare()
        self.settle()
        begin = time.perf_counter()
        found = self.work()
        self.settle()
        return Done(time.perf_counter() - begin, found or {})


class Peer:
    """A contender in a process and an environment of its own; a context manager that ends the process.

    Args:
        kind: Which.
        job: The job.

    Attributes:
        versions: Versions of what it runs on.

    Raises:
        Unavailable: It cannot be installed, or does not get ready.
    """

    def __init__(self, kind: PeerKind, job: Job, python: Path | None = None) -> None:
        self.name, self.title = kind.name, kind.title
        python = interpreter(kind.environment) if python is None else python
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-")
        place = Path(self._folder.name)
        (place / "job.json").write_text(json.dumps(asdict(job)), "utf-8")
        self._log = (place / "log").open("w+", encoding="utf-8", errors="replace")
        self._answers, answers = os.pipe()
        self._rest = b""
        try:
            self._process = subprocess.Popen(
                [str(python), str(PEERS / kind.script), str(place / "job.json"), str(answers)],
                stdin=subprocess.PIPE,
                stdout=self._log,
                stderr=self._log,
                pass_fds=[answers],
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
                text=True,
            )
        finally:
            os.close(answers)
        try:
            self.versions: dict[str, str] = self._answer(START_SECONDS)["versions"]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self) -> Done:
        """Do the job once.

        Raises:
            Unavailable: It failed.
        """
        self._say({"command": "run"})
        answer = self._answer(RUN_SECONDS)
        return Done(answer.pop("seconds"), answer)

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._say({"command": "stop"})
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        os.close(self._answers)
        self._log.close()
        self._folder.cleanup()

    def _say(self, command: dict[str, str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def _answer(self, limit: float) -> dict[str, Any]:
        end = time.monotonic() + limit
        while b"\n" not in self._rest:
            if not select.select([self._answers], [], [], max(0.0, end - time.monotonic()))[0]:
                raise Unavailable(f"it gave no answer in {limit:.0f} seconds")
            part = os.read(self._answers, 1 << 16)
            if not part:
                self._process.wait()
                self._log.seek(0)
                raise Unavailable(last_line(self._log.read()) or f"it ended with code {self._process.returncode}")
            self._rest += part
        line, self._rest = self._rest.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer
