"""Checkpoints and chat templates from anywhere: they load and render, or are one error, and never take long."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torture.children import complaint, run_child

LIMIT = 15.0
"""Seconds for loading and rendering a model of 2M parameters, which takes one or two."""
ASKED = "How does the maple vault open?"

TEMPLATES = {
    "endless loop": "{% for i in range(10**9) %}{% for j in range(10**9) %}{% endfor %}{% endfor %}",
    "endless output": "{{ 'x' * 10**10 }}",
    "endless nesting": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "an import": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a module": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "a type error": "{{ messages + 1 }}",
    "a division": "{{ 1 / 0 }}",
    "an exception": "{{ raise_exception('\u001b[31mred\u0007') }}",
    "no syntax": "{% for message in messages %}{{ message",
    "text dropped": "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}",
    "text fixed": "always the same",
    "nothing": "",
    "no text": 7,
    "a date": "{{ strftime_now('%Y-%m-%d %H:%M:%S') }}{% for m in messages %}{{ m.content }}{% endfor %}",
    "thinking": "{% for m in messages %}{{ m.content }}{% endfor %}<think>",
    "a stop token at the end": "{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}",
    "control characters": "\u001b[2J{% for m in messages %}{{ m.content }}{% endfor %}",
    "huge": "{# " + "x" * 10_000_000 + " #}{% for m in messages %}{{ m.content }}{% endfor %}",
    "nested": "{% if true %}" * 3000 + "x" + "{% endif %}" * 3000,
}  # fmt: skip
_NUMBERS = (0, -1, 1_000_000, 10**12, 1.5, float("nan"), float("inf"), None, "x", [], {}, True, "\u0000", "9" * 5000)


def write_hostile(directory: Path, original: Path, generator: random.Random) -> str:
    """Write a copy of a checkpoint with one thing wrong.

    Args:
        directory: Where it is written.
        original: The checkpoint.
        generator: Chooses what.

    Returns:
        What was done, in words.
    """
    shutil.copytree(original, directory)
    ways: list[Callable[[Path, random.Random], str]] = [
        _template, _template, _template, _config, _config, _config, _deep, _index, _cut, _flip, _no_file,
        _pickle, _file,
    ]  # fmt: skip
    way = generator.choice(ways)
    return f"{way.__name__.removeprefix('_')}: {way(directory, generator)}"


def check_hostile(directory: Path, limit: float = LIMIT) -> str | None:
    """Load a checkpoint and render a prompt.

    Returns:
        What is wrong, or None where it works or is one error with its repair.
    """
    return complaint(run_child(lambda: _load_and_render(directory), limit=limit))


def _load_and_render(directory: Path) -> None:
    import sys

    from controlwindow.errors import ControlWindowError
    from controlwindow.models import load_model
    from controlwindow.models.chat import prompt_token_ids

    try:
        model = load_model(str(directory), device="cpu")
        (ids,) = prompt_token_ids(model.tokenizer, model.chat, [ASKED])
        assert "maple" in model.tokenizer.decode(ids), "what is asked is not in what is rendered"
    except ControlWindowError as error:
        if any(ord(character) < 32 and character not in "\n\t" for character in error.message + error.hint):
            raise AssertionError("control characters reach the terminal") from error
        sys.stderr.write(f"error: {error.message}\n")
        raise SystemExit(2) from None


def _changed_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


def _template(directory: Path, generator: random.Random) -> str:
    name = generator.choice(list(TEMPLATES))
    file = directory / "chat_template.jinja"
    if file.exists() and isinstance(TEMPLATES[name], str):
        file.write_text(str(TEMPLATES[name]), "utf-8")
    else:
        _changed_json(directory / "tokenizer_config.json", lambda d: d.update(chat_template=TEMPLATES[name]))
    return name


def _config(directory: Path, generator: random.Random) -> str:
    document = json.loads((directory / "config.json").read_text("utf-8"))
    key, value = generator.choice(sorted(document)), generator.choice(_NUMBERS)
    _changed_json(directory / "config.json", lambda d: d.update({key: value}))
    return f"config.json: {key} = {str(value)[:40]!r}"


def _deep(directory: Path, generator: random.Random) -> str:
    name = generator.choice(["config.json", "tokenizer_config.json", "generation_config.json", "adapter_config.json"])
    (directory / name).write_text("[" * 100_000 + "]" * 100_000)
    return f"{name}: lists in lists"


def _index(directory: Path, generator: random.Random) -> str:
    target = generator.choice(["../x/model.safetensors", "/etc/passwd", "model.bin", "\u0000", "model.safetensors"])
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": target}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    if generator.random() < 0.5:
        (directory / "model.safetensors").unlink()
    return f"an index to {target!r}"


def _cut(directory: Path, generator: random.Random) -> str:
    path = generator.choice(sorted(p for p in directory.iterdir() if p.is_file()))
    content = path.read_bytes()
    path.write_bytes(content[: generator.randrange(len(content) + 1)])
    return f"{path.name} cut"


def _flip(directory: Path, generator: random.Random) -> str:
    path = generator.choice(["config.json", "tokenizer.json", "tokenizer_config.json"])
    content = bytearray((directory / path).read_bytes())
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    (directory / path).write_bytes(content)
    return f"a bit of {path} flipped"


def _no_file(directory: Path, generator: random.Random) -> str:
    path = directory / generator.choice(["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
    path.unlink()
    way = generator.choice(["fifo", "directory", "loop", "zeros", "absent"])
    if way == "fifo":
        os.mkfifo(path)
    elif way == "directory":
        path.mkdir()
    elif way == "loop":
        path.symlink_to(path)
    elif way == "zeros":
        path.symlink_to("/dev/zero")
    return f"{path.name}: {way}"


def _pickle(directory: Path, generator: random.Random) -> str:
    import torch

    name = generator.choice(["model.safetensors", "pytorch_model.bin"])
    torch.save({"model.embed_tokens.weight": torch.zeros(2, 2)}, directory / name)
    return f"{name} is a pickle"


def _file(directory: Path, generator: random.Random) -> str:
    name = generator.choice(["adapter_config.json", "quantize_config.json", "modeling_x.py", "generation_config.json"])
    content = generator.choice(["{}", '{"peft_type": "LORA"}', "raise SystemExit(9)", '{"top_k": "x"}'])
    (directory / name).write_text(content)
    return f"{name} beside it"
