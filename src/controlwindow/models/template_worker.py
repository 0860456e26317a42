"""Runs chat templates in a process of their own, which `models.templates` starts and may lose.

A template is a program that a checkpoint brings: it can loop for ever, write without end, or fill the memory. This file
is run by its path, so it imports nothing of the package. Requests and answers are JSON, one a line.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

if __name__ == "__main__":
    # Where the parent found jinja2: an isolated interpreter need not look there.
    sys.path.extend(sys.argv[1:])

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 1 << 30
"""Most bytes of address space, where the system can limit it."""


class Generation(Extension):
    """The tag `generation` of Transformers, which marks what the assistant wrote: here it is its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        """Read the body up to the closing tag."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


def environment(clock: Callable[[], datetime]) -> Any:
    """An environment as Transformers gives to templates, with a clock that stands still."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    # What is drawn at random would be another prompt on every run.
    del made.filters["random"], made.globals["lipsum"]
    made.globals["strftime_now"] = lambda form: clock().strftime(form)
    return made


_now = datetime.min
_environment = environment(lambda: _now)


@lru_cache(maxsize=8)
def compiled(template: str) -> Any:
    """A template, ready to be filled in."""
    return _environment.from_string(template)


def read(template: str) -> dict[str, Any]:
    """The variables that a template looks up, and everything that it may write word for word."""
    tree = _environment.parse(template)
    words = [node.data for node in tree.find_all(nodes.TemplateData)]
    words += [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    # Templates are compiled here too, so that one that cannot be is found out before it is used.
    compiled(template)
    clock = any(node.name == "strftime_now" for node in tree.find_all(nodes.Name))
    return {"names": sorted(meta.find_undeclared_variables(tree)), "words": words, "clock": clock}


def render(request: dict[str, Any]) -> dict[str, Any]:
    """The renderings of conversations, in order."""
    global _now
    _now = datetime.fromisoformat(request["date"])
    template, texts = compiled(request["template"]), []
    for messages in request["conversations"]:
        parts, length = [], 0
        for part in template.generate(messages=messages, **request["variables"]):
            parts.append(part)
            length += len(part)
            if length > request["longest"]:
                return {"error": "long", "message": ""}
        texts.append("".join(parts))
    return {"texts": texts}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What a request asks for, or how that failed."""
    try:
        return read(request["template"]) if "conversations" not in request else render(request)
    except jinja2.TemplateSyntaxError as error:
        return {"error": "syntax", "message": str(error.message), "line": error.lineno}
    except MemoryError:
        return {"error": "memory", "message": ""}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)[:2000]}


def main() -> None:
    """Answer requests until there are no more; one that needs too much processor time ends the process."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        pass
    # An interrupt at the terminal reaches the whole group; what it ends is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    timed = hasattr(signal, "setitimer")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if timed:
            # Its signal ends the process wherever it is, also inside one long call.
            signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        found = json.dumps(answer(request)).encode()
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(found + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
