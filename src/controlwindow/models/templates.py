"""Chat templates under limits of time, memory and length: they are programs that checkpoints bring."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import markupsafe

from controlwindow.errors import ModelError
from controlwindow.text import one_line

SECONDS = 2.0
"""Processor time that reading a template, or rendering one batch of prompts, may take."""

SECONDS_EACH = 0.02
"""Processor time beyond that for each prompt of a batch."""

WAIT = 60.0
"""Time by the clock after which a worker is given up, on systems that cannot limit processor time."""

LONGEST_TEMPLATE = 1 << 20
"""Most characters of a template."""

LONGEST = 1 << 20
"""Most characters of a rendering beyond four times its messages as JSON."""

_PROGRAM = Path(__file__).with_name("template_worker.py")

_RESTORE = "restore chat_template.jinja or tokenizer_config.json from the model's source"
_SWITCHED = "leave the system prompt out: many templates take none"

Messages = Sequence[dict[str, Any]]


class TemplateReading(NamedTuple):
    """What a template says of itself.

    Attributes:
        names: Variables that it looks up.
        words: Everything that it may write word for word.
        clock: Whether it asks for the date or the time.
    """

    names: frozenset[str]
    words: tuple[str, ...]
    clock: bool

    @classmethod
    def nothing(cls) -> TemplateReading:
        """What there is to read where there is no template."""
        return cls(frozenset(), (), False)


def read_template(template: str) -> TemplateReading:
    """Read a template without running it.

    Raises:
        ModelError: It is malformed, too long, or cannot be read within the limits.
    """
    if len(template) > LONGEST_TEMPLATE:
        raise ModelError(f"the tokenizer's chat template has {len(template):,} characters", _RESTORE)
    found = _ask({"template": template, "seconds": SECONDS}, "cannot be read", _RESTORE)
    return TemplateReading(frozenset(found["names"]), tuple(found["words"]), found["clock"])


def render(
    template: str,
    conversations: Sequence[Messages],
    variables: dict[str, Any],
    date: str | None,
) -> list[str]:
    """Render conversations, ready for the assistant's first token.

    Args:
        template: The template.
        conversations: The messages of each, with contents as text or as parts.
        variables: What the template is given beside them: special tokens and switches.
        date: The date and time that the template's clock shows, in ISO form; None for the first day there is, for
            templates without one.

    Raises:
        ModelError: The template refuses a conversation, fails, or goes beyond the limits of time, memory and length.
    """
    given = {"messages": [list(messages) for messages in conversations]}
    size = max((len(json.dumps(list(messages))) for messages in conversations), default=0)
    request = {
        "template": template,
        "conversations": given["messages"],
        "variables": {"tools": None, "documents": None, "add_generation_prompt": True, **variables},
        "date": date or "0001-01-01",
        "longest": LONGEST + 4 * size,
        "seconds": SECONDS + SECONDS_EACH * len(conversations),
    }
    systems = any(m["role"] == "system" for messages in conversations for m in messages)
    texts: list[str] = _ask(request, "refuses the prompt", _SWITCHED if systems else _RESTORE)["texts"]
    return texts


def _ask(request: dict[str, Any], fails: str, hint: str) -> dict[str, Any]:
    found = _worker.ask(request)
    kind, message = found.get("error"), one_line(found.get("message", ""), 300)
    what = "the tokenizer's chat template"
    if kind is None:
        return found
    if kind == "syntax":
        raise ModelError(f"{what} is malformed in line {found['line']}: {message}", _RESTORE)
    if kind == "time":
        raise ModelError(
            f"{what} does not come to an end within {request['seconds']:.0f} s of processor time", _RESTORE
        )
    if kind == "long":
        raise ModelError(f"{what} writes more than {request['longest']:,} characters for one prompt", _RESTORE)
    if kind == "memory":
        raise ModelError(f"{what} needs more memory than a template may", _RESTORE)
    if kind == "lost":
        raise ModelError(f"{what} ended the process that it ran in", _RESTORE)
    shown = message if kind == "TemplateError" else f"{kind}: {message}"
    raise ModelError(f"{what} {fails}: {shown}", hint)


class _Worker:
    """The process that runs templates; started when first asked, and again after it was lost."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's answer, or `error` with why there is none."""
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            overdue = threading.Timer(WAIT + request["seconds"], process.kill)
            overdue.start()
            try:
                process.stdin.write(line)
                process.stdin.flush()
                answer = process.stdout.readline()
            except OSError:
                answer = b""
            finally:
                waited = not overdue.is_alive()
                overdue.cancel()
            if answer.endswith(b"\n"):
                found: dict[str, Any] = json.loads(answer)
                if found.get("error") == "memory":
                    self._end()
                return found
            code = self._end()
            late = {-getattr(signal, name) for name in ("SIGPROF", "SIGXCPU") if hasattr(signal, name)}
            return {"error": "time" if waited or code in late else "lost"}

    def _running(self) -> subprocess.Popen[bytes]:
        # A forked child shares the pipes, but must not talk into them.
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            homes = {str(Path(module.__file__ or "").parent.parent) for module in (jinja2, markupsafe)}
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_PROGRAM), *sorted(homes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
        return self._process

    def _end(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        return process.wait()

    def close(self) -> None:
        """End the process, if this one has started it."""
        if self._process is not None and self._owner == os.getpid():
            self._end()


_worker = _Worker()
atexit.register(_worker.close)
