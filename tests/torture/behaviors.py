"""Behavior files with mistakes, honest and not: they load and judge, or are one error, and never take long."""

from __future__ import annotations

import random
import re
from importlib import resources
from pathlib import Path

from torture.children import complaint, run_child

LIMIT = 5.0
TEXTS = (
    "", "I cannot help with that.", "Bien sûr, voici les étapes.", "1. Open the vault.\n2. Leave.", "😀" * 40,
    "never " * 400, "a" * 4000, "\u200b\u202e\x1b[31m", "ça\u0301 va", "你好，世界。" * 50, "cannot",
)  # fmt: skip
"""What a judged answer may look like."""
_VALUES = (
    '""', '"x"', "-1", "0", "1e309", "nan", "inf", "true", "[]", "{}", '["a", 1]', "1979-05-27", "'''\n'''",
    '"\\u0000"', '"\\u001b[31m"', '"../../etc/passwd"', '"/dev/zero"', "99999999999999999999", '"klingon"', "[true]",
    '["en", "en"]', '"\\U0010FFFF"',
)  # fmt: skip
_PIECES = (
    "\x00",
    "\ufeff",
    "\u202e",
    "\r",
    "\t",
    "[",
    "]",
    '"',
    "=",
    "#",
    "\\",
    "[[prompts]]\n",
    "é",
    "null",
    "{" * 50,
)


def mutate(text: str, generator: random.Random) -> str:
    """A text with one to three mistakes."""
    ways = [_value] * 3 + [_piece] * 2 + [_line_twice, _line_away, _cut, _lines_exchanged, _key_renamed, _key_added]
    for _ in range(generator.choice([1, 1, 2, 3])):
        text = generator.choice(ways)(text, generator)
    return text


def write_mutated(directory: Path, generator: random.Random) -> Path:
    """Write a shipped behavior with mistakes in its TOML, its prompts or both.

    Returns:
        Its TOML file.
    """
    library = resources.files("controlwindow.behaviors").joinpath("library")
    names = sorted(item.name.removesuffix(".toml") for item in library.iterdir() if item.name.endswith(".toml"))
    name = generator.choice(names)
    toml = library.joinpath(f"{name}.toml").read_text("utf-8")
    lines = library.joinpath(f"{name}.jsonl").read_text("utf-8")
    where = generator.choice(["toml", "toml", "lines", "both", "bytes"])
    toml = mutate(toml, generator) if where in ("toml", "both") else toml
    lines = mutate(lines, generator) if where in ("lines", "both") else lines
    content = {f"{name}.toml": toml.encode("utf-8", "replace"), f"{name}.jsonl": lines.encode("utf-8", "replace")}
    for file, written in content.items():
        if where == "bytes" and written:
            place = generator.randrange(len(written))
            written = written[:place] + generator.choice([b"\xff", b"\xed\xa0\x80", b"\x00"]) + written[place:]
        (directory / file).write_bytes(written)
    return directory / f"{name}.toml"


def check_behavior(path: Path, limit: float = LIMIT) -> str | None:
    """Load a behavior and judge with it.

    Returns:
        What is wrong, or None where it works or is one error with its repair.
    """
    return complaint(run_child(lambda: _load_and_judge(path), limit=limit))


def _load_and_judge(path: Path) -> None:
    import sys

    from controlwindow.behaviors import load_behavior
    from controlwindow.errors import ControlWindowError

    try:
        behavior = load_behavior(path)
        _ = behavior.fingerprint, behavior.split_fingerprints
        for prompt in behavior.all_prompts[:4]:
            for text in TEXTS:
                assert behavior.judge(text, prompt, False) in (*behavior.outcomes, "collapsed")
    except ControlWindowError as error:
        sys.stderr.write(f"error: {error.message}\n" if error.message else "an error without a message\n")
        raise SystemExit(2) from None


def _spans(text: str, pattern: str) -> list[tuple[int, int]]:
    return [match.span(1) for match in re.finditer(pattern, text, re.MULTILINE)]


def _replaced(text: str, span: tuple[int, int], new: str) -> str:
    return text[: span[0]] + new + text[span[1] :]


def _value(text: str, generator: random.Random) -> str:
    spans = _spans(text, r'(?:^\w+ *= *|": *)("[^"\n]*"|\[[^\]\n]*\]|[\w.+-]+)')
    return _replaced(text, generator.choice(spans), generator.choice(_VALUES)) if spans else text


def _key_renamed(text: str, generator: random.Random) -> str:
    spans = _spans(text, r"^(\w+) *=") or _spans(text, r'"(\w+)": ')
    new = generator.choice(["x", "name", "type", '"\\u001b[2J"'])
    return _replaced(text, generator.choice(spans), new) if spans else text


def _key_added(text: str, generator: random.Random) -> str:
    lines = text.split("\n")
    added = f"{generator.choice(['sensitive', 'more', 'name'])} = {generator.choice(_VALUES)}"
    lines.insert(generator.randrange(len(lines) + 1), added)
    return "\n".join(lines)


def _piece(text: str, generator: random.Random) -> str:
    place = generator.randrange(len(text) + 1)
    return text[:place] + generator.choice(_PIECES) + text[place:]


def _cut(text: str, generator: random.Random) -> str:
    return text[: generator.randrange(len(text) + 1)]


def _line_twice(text: str, generator: random.Random) -> str:
    lines = text.split("\n")
    place = generator.randrange(len(lines))
    return "\n".join([*lines[:place], lines[place], *lines[place:]])


def _line_away(text: str, generator: random.Random) -> str:
    lines = text.split("\n")
    del lines[generator.randrange(len(lines))]
    return "\n".join(lines)


def _lines_exchanged(text: str, generator: random.Random) -> str:
    lines = text.split("\n")
    one, other = generator.randrange(len(lines)), generator.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)
