"""Calls into Transformers: its many ways to fail become one error with the repair, and it draws nothing of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import WARNING, Handler, LogRecord, getLogger
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import logging

from controlwindow.errors import ArchitectureError, ControlWindowError, ModelError
from controlwindow.models.files import read_object
from controlwindow.text import one_line, printable

_log = getLogger(__name__)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_COMPLETE = "check that the directory is complete: config.json, model.safetensors, tokenizer files"


def call(
    function: Callable[..., Any], location: Path, hint: str = _COMPLETE, *, name: Path | None = None, **options: Any
) -> Any:
    """Call a `from_pretrained` on what is already on this machine.

    Args:
        function: The function; it is given the location and the options.
        location: The folder.
        hint: The repair, for failures without one of their own.
        name: What errors call it; default the location.
        options: Further arguments.

    Raises:
        ModelError: Whatever went wrong.
        ArchitectureError: Transformers does not know the architecture.
    """
    with foreign_errors(f"cannot load {name or location}", hint), _heard(name or location):
        return function(location, trust_remote_code=False, local_files_only=True, **options)


@contextmanager
def foreign_errors(what: str, hint: str) -> Iterator[None]:
    """Turn every exception of another library into one `ModelError`; our own errors pass.

    Raises:
        ModelError: Whatever was raised inside.
        ArchitectureError: Transformers does not know the architecture.
    """
    try:
        yield
    except ControlWindowError:
        raise
    # Libraries raise OSError, ValueError, KeyError, TypeError and their own for one and the same user mistake; a panic
    # in Rust (tokenizers, safetensors) is no Exception at all.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        text = one_line(error) or type(error).__name__
        lowered = text.lower()
        if "trust_remote_code" in lowered or "custom code" in lowered:
            raise ModelError(
                f"{what}: it needs its own code to load, and remote code is never run",
                "use a checkpoint of an architecture that Transformers ships",
            ) from error
        if "does not recognize this architecture" in lowered or "unrecognized configuration" in lowered:
            raise ArchitectureError(
                f"{what}: {text[:200]}", "only architectures that this Transformers version knows can be adapted"
            ) from error
        if isinstance(error, RecursionError):
            text = "something in it is nested too deep"
        raise ModelError(f"{what}: {text[:300]}", hint) from error


def load_tokenizer(directory: Path, *, name: Path | None = None, **options: Any) -> Any:
    """The tokenizer of a folder, with the chat template wherever Transformers keeps one.

    Raises:
        ModelError: There is none that works, or a template lies where nothing reads it.
    """
    shown = name or directory
    tokenizer = call(AutoTokenizer.from_pretrained, directory, name=shown, **options)
    # Transformers 5.0 makes up a tokenizer of special tokens alone where the files are absent.
    with foreign_errors(f"cannot load {shown}", _COMPLETE):
        empty = len(tokenizer) <= len(tokenizer.added_tokens_decoder)
    if empty:
        raise ModelError(f"cannot load {shown}: its tokenizer knows no words, only special tokens", _COMPLETE)
    if not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = processor_template(directory)
    return tokenizer


def processor_template(directory: Path) -> str | dict[str, str] | None:
    """The chat template of a folder's processor, where a multimodal model keeps the one that its text is wrapped in.

    Raises:
        ModelError: There is none, but a template lies under a name that nothing reads.
    """
    for name in ("chat_template.json", "processor_config.json"):
        if (directory / name).is_file():
            found = read_object(directory / name).get("chat_template")
            if isinstance(found, str | dict) and found:
                return found
    strays = sorted(
        path.name
        for path in directory.iterdir()
        if path.suffix in (".jinja", ".jinja2", ".j2") or path.stem.startswith("chat_template")
    )
    if strays:
        raise ModelError(
            f"{directory} holds {printable(strays[0], 80)}, but its tokenizer has no chat template, so prompts would "
            "go to the model as raw text",
            "name it chat_template.jinja if prompts are to be wrapped in it, or move it away",
        )
    return None


@contextmanager
def _heard(location: Path) -> Iterator[None]:
    """Pass what Transformers warns of on through our own log, a line each; it draws no bar and no table.

    Its warnings quote what files say, with escapes for colours around.
    """
    shown, library, collected = logging.is_progress_bar_enabled(), getLogger("transformers"), _Collector()
    handlers, library.handlers = library.handlers, [collected]
    logging.disable_progress_bar()
    try:
        yield
        for message in dict.fromkeys(collected.messages):
            _log.warning("%s: Transformers says: %s", printable(location), one_line(message, 300))
    finally:
        library.handlers = handlers
        if shown:
            logging.enable_progress_bar()


class _Collector(Handler):
    def __init__(self) -> None:
        super().__init__(WARNING)
        self.messages: list[str] = []

    def emit(self, record: LogRecord) -> None:
        self.messages.append(_COLOURS.sub("", record.getMessage()))
