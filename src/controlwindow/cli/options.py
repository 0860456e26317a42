"""Arguments that several commands share, and how they become values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlwindow.errors import UsageError
from controlwindow.models import Model, load_model

DEFAULT_MODEL = "organism:switch"

ModelArgument = Annotated[
    str, typer.Argument(help="organism:NAME, a local directory, or a hub id.", show_default=True, metavar="MODEL")
]
BehaviorOption = Annotated[str, typer.Option("--behavior", "-b", help="A behavior's name, or a path to a TOML file.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
DtypeOption = Annotated[
    str | None, typer.Option(help="float32, bfloat16 or float16; default float32 on CPU, the checkpoint's on CUDA.")
]
SystemOption = Annotated[str | None, typer.Option("--system-prompt", help="System message for the chat template.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
RunArgument = Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")]
CompletionsOption = Annotated[
    bool, typer.Option("--include-completions", help="Show completions of sensitive behaviors in the report.")
]
NeuronsOption = Annotated[
    bool,
    typer.Option(
        "--include-neurons",
        help="Name neurons and doses of sensitive behaviors in the report, also on models that are no organisms.",
    ),
]
RemoteJudgeOption = Annotated[
    bool,
    typer.Option("--remote-judge", help="Allow judges on other machines to read answers of sensitive behaviors."),
]

_DTYPES = ("float32", "bfloat16", "float16")


def open_model(source: str, device: str, dtype: str | None, system_prompt: str | None) -> Model:
    """Load a model as the options say."""
    if dtype is not None and dtype not in _DTYPES:
        raise UsageError(f"unknown dtype {dtype!r}", f"use one of {', '.join(_DTYPES)}")
    return load_model(source, device=device, dtype=dtype, system_prompt=system_prompt)


def read_lines(path: Path, what: str) -> list[str]:
    """Non-empty lines of a text file.

    Raises:
        UsageError: The file cannot be read or holds too little.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {what} from {path}: {error}", "give a UTF-8 text file, one prompt a line"
        ) from error
    found = [line for line in lines if line]
    if len(found) < 8:
        raise UsageError(f"{path} holds {len(found)} {what}, at least 8 are needed", "add lines, one prompt each")
    return found
