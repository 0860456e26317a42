"""Reference pages as Markdown: every command with its options, every public name with its docstring."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

import controlwindow
from controlwindow.cli.app import app


def command_page() -> str:
    """`controlwindow --help` of every command, as tables."""
    parts = [
        "# Commands",
        "Read from the code when this site was built. Every command ends with 0, with 2 and one message where something"
        " is wrong, and with 130 where it was interrupted; `gate` has a 1 of its own.",
    ]
    for path, command in commands():
        parts.extend(_command(path, command))
    return "\n\n".join(parts) + "\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command that can be called, with its whole name."""
    root = get_command(app)
    context = typer.Context(root, info_name="controlwindow")
    yield from _below("controlwindow", root, context)


def _below(path: str, group: Any, context: typer.Context) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        whole = f"{path} {name}"
        if hasattr(command, "list_commands"):
            yield from _below(whole, command, typer.Context(command, info_name=whole, parent=context))
        else:
            yield whole, command


def _command(path: str, command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=path)
    yield f"## {path.removeprefix('controlwindow ')}"
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```"
    yield _prose(inspect.cleandoc(command.help or ""))
    rows = ["| | default | |", "|---|---|---|"]
    for parameter in command.params:
        if not parameter.hidden and parameter.name != "help":
            rows.append(
                f"| {_names(parameter, context)} | {_default(parameter, context)} | {_cell(parameter.help or '')} |"
            )
    if len(rows) > 2:
        yield "\n".join(rows)
    if command.epilog:
        example = command.epilog.removeprefix("Example: ")
        yield f"```console\n$ {example}\n```"


def _names(parameter: Any, context: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in sorted((*parameter.opts, *parameter.secondary_opts), key=len))
    return names if parameter.is_flag else f"{names} `{_cell(parameter.display_type_rich(context))}`"


def _default(parameter: Any, context: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.get_default(context, call=False)
    if value is None or value is False or callable(value) or value in ((), []):
        return ""
    return f"`{_cell(str(value))}`"


def _prose(text: str) -> str:
    return text.replace("\b", "").replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def api_page() -> str:
    """Every name in `controlwindow.__all__`, rendered from its docstring by mkdocstrings."""
    parts = [
        "# Python",
        "`import controlwindow as cw`. What is named here is public; everything else may move. Read from the docstrings"
        " when this site was built.",
    ]
    parts.extend(f"::: controlwindow.{name}" for name in sorted(controlwindow.__all__, key=str.lower))
    return "\n\n".join(parts) + "\n"
