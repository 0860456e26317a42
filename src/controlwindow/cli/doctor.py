"""The command that says what a run would find on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from controlwindow import __version__
from controlwindow.cli.caching import kept_summary
from controlwindow.cli.display import output, print_json
from controlwindow.cli.options import JsonOption, ModelSource
from controlwindow.errors import ControlWindowError
from controlwindow.models.machine import read_machine
from controlwindow.report.wording import size_words
from controlwindow.runs.records import library_versions, model_record, origin_record


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor", epilog="Example: controlwindow doctor ./my-model")(doctor)


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model to load and check too: its chat template, tokenizer and adapter.", metavar="MODEL"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what this machine gives a run, what is kept on it, and what would be slow; with a model, whether it is fit.

    Exits with 1 where the model cannot be used.
    """
    machine = read_machine()
    checked = None if model is None else _checked(model)
    document = {
        "version": __version__,
        "versions": library_versions(),
        "machine": machine.to_json(),
        "cache": kept_summary(),
        "slow": list(machine.slow()),
        "model": checked,
    }
    if as_json:
        print_json(document, "doctor")
    else:
        _show(document)
    if checked is not None and checked["error"] is not None:
        raise typer.Exit(1)


def _checked(name: str) -> dict[str, Any]:
    """What loading a model says of it; an error is part of the answer."""
    try:
        loaded = ModelSource(name, "cpu", None, None).open()
        record, origin = model_record(loaded), origin_record(loaded)
    except ControlWindowError as error:
        return {"name": name, "error": error.message, "hint": error.hint}
    return {
        "name": name,
        "error": None,
        "hint": None,
        **{key: record[key] for key in ("family", "layers", "neurons_total", "dtype", "chat_template", "thinking")},
        "stop_tokens": [str(loaded.tokenizer.decode([token])) for token in sorted(loaded.stop_ids)],
        "rendered": origin["example"],
        "notes": origin["notes"],
    }


def _show(document: dict[str, Any]) -> None:
    machine, cache = document["machine"], document["cache"]
    devices = [
        f"{name}, {size_words(memory)}"
        for name, memory in zip(machine["accelerators"], machine["accelerator_memory"], strict=True)
    ]
    allowed = machine["cpus_allowed"]
    kept = "off" if cache["directory"] is None else f"{cache['files']} files, {size_words(cache['bytes'])}"
    rows = [
        ("controlwindow", document["version"]),
        *document["versions"].items(),
        ("device", "; ".join(devices) or "CPU alone"),
        ("processors", f"{machine['cpus']}, {'all' if allowed is None else f'{allowed:g}'} of them for this process"),
        ("threads", str(machine["threads"])),
        ("memory", f"{size_words(machine['memory_free'])} free of {size_words(machine['memory'])}"),
        ("bfloat16", "native" if machine["bfloat16"] else "emulated"),
        ("kept", kept if cache["directory"] is None else f"{kept} in {cache['directory']}"),
    ]
    console = output()
    for name, value in rows:
        console.print(Text.assemble((f"{name:<14}", "dim"), value), soft_wrap=True)
    for sentence in document["slow"]:
        console.print(Text(f"slow: {sentence}", style="yellow"), soft_wrap=True)
    checked = document["model"]
    if checked is None:
        return
    console.print(Text(checked["name"], style="bold"))
    if checked["error"] is not None:
        console.print(Text(f"  cannot be used: {checked['error']}", style="red"), soft_wrap=True)
        console.print(Text(f"  hint: {checked['hint']}"), soft_wrap=True)
        return
    console.print(
        Text(
            f"  {checked['family']}, {checked['layers']} layers, {checked['neurons_total']:,} neurons, "
            f"{checked['dtype']}"
        )
    )
    console.print(Text(f"  chat template {checked['chat_template'] or 'none'}, thinking {checked['thinking']}"))
    console.print(Text(f"  ends at {', '.join(map(repr, checked['stop_tokens']))}"))
    console.print(Text(f"  a prompt as rendered: {checked['rendered']!r}"), soft_wrap=True)
    for note in checked["notes"]:
        console.print(Text(f"  note: {note}", style="yellow"), soft_wrap=True)
