"""Commands on what is kept of models between commands: list and clear."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.text import Text

from controlwindow.cli.display import output, print_json
from controlwindow.cli.options import JsonOption
from controlwindow.models.kept import VARIABLE, cache_directory, forget_files, kept_files
from controlwindow.report.terminal import plain_table
from controlwindow.report.wording import size_words
from controlwindow.text import printable

app = typer.Typer(
    help="What was computed of models and is kept for the next command.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def kept_summary() -> dict[str, Any]:
    """Where values are kept, how many and how large; the directory is None where nothing is kept."""
    directory, files = cache_directory(), list(kept_files())
    return {
        "directory": None if directory is None else str(directory),
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "variable": VARIABLE,
    }


@app.command("list", epilog="Example: controlwindow cache list --json")
def list_kept(as_json: JsonOption = False) -> None:
    """List what is kept: of which model, what, since when, how long it took, how large."""
    files = list(kept_files())
    if as_json:
        print_json([{**file._asdict(), "path": str(file.path)} for file in files], "cache")
        return
    console = output()
    columns = [("model", "left"), ("what", "left"), ("made", "left"), ("took", "right"), ("size", "right")]
    rows = [
        [printable(file.model), file.what, file.made, f"{file.seconds:.0f} s", size_words(file.size)] for file in files
    ]
    if rows:
        console.print(plain_table(columns, rows))
    _say_total(kept_summary())


@app.command("clear", epilog="Example: controlwindow cache clear --model organism:switch")
def clear(
    model: Annotated[
        str | None, typer.Option(help="Only what is kept of this model, as `cache list` names it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what is kept; the next command computes it again."""
    wanted: Iterable[Any] = [file for file in kept_files() if model is None or file.model == model]
    removed = forget_files(file.path for file in wanted)
    if as_json:
        print_json({"removed": len(removed), "bytes": sum(removed)}, "cache-cleared")
        return
    output().print(f"removed {len(removed)} files, {size_words(sum(removed))}")


def _say_total(kept: dict[str, Any]) -> None:
    if kept["directory"] is None:
        words = f"nothing is kept: {VARIABLE} is off, or no home directory is known"
    else:
        words = f"{kept['files']} files, {size_words(kept['bytes'])} in {kept['directory']}"
    output().print(Text(words, style="dim"), soft_wrap=True)
