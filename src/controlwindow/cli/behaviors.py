"""Commands on behaviors: list those shipped, make one of public prompts, check one against a model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.text import Text

from controlwindow.behaviors import known_behaviors, load_behavior, load_to_run
from controlwindow.behaviors.agreement_files import agreements_of
from controlwindow.behaviors.making import REFUSAL_ORACLES, MadeBehavior, Recipe, make_behavior
from controlwindow.behaviors.prompts import SPLITS
from controlwindow.behaviors.sources import TableSource
from controlwindow.cli.behavior_display import describe, show_check, show_description
from controlwindow.cli.display import output, print_json
from controlwindow.cli.options import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelSource,
    RemoteJudgeOption,
    SeedOption,
    SystemOption,
)
from controlwindow.cli.progress import TerminalProgress
from controlwindow.errors import UsageError
from controlwindow.report.terminal import plain_table

app = typer.Typer(
    help="What is looked for in answers: list, make and check behaviors.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_HUB = "hub:"
_SIZE_HELP = "Prompts of either role in this split."


@app.command("list", epilog="Example: controlwindow behaviors list --json")
def list_behaviors(as_json: JsonOption = False) -> None:
    """List the behaviors that come with the package."""
    entries = [describe(load_behavior(name)) for name in known_behaviors()]
    if as_json:
        print_json(entries, "behaviors")
        return
    for entry in entries:
        show_description(entry)


@app.command(
    "new",
    epilog="Example: controlwindow behaviors new declines --positive harmful.csv:goal --negative benign.csv:question",
)
def new(
    name: Annotated[str, typer.Argument(help="Name of the behavior and of its files.", metavar="NAME")],
    positive: Annotated[
        str,
        typer.Option(
            help="Prompts to be steered: FILE:COLUMN (.txt, .csv, .tsv, .json, .jsonl, .parquet), or "
            "hub:ORGANISATION/NAME:COLUMN. Three columns A,B,C make a conversation: user, assistant, user."
        ),
    ],
    negative: Annotated[str | None, typer.Option(help="The contrast, in the same way; screens need one.")] = None,
    positive_where: Annotated[
        list[str] | None, typer.Option(help="Take rows with COLUMN=VALUE only; several times for several.")
    ] = None,
    negative_where: Annotated[list[str] | None, typer.Option(help="The same for the contrast.")] = None,
    find: Annotated[int, typer.Option(min=0, help=_SIZE_HELP)] = 64,
    select: Annotated[int, typer.Option(min=0, help=_SIZE_HELP)] = 32,
    evaluate: Annotated[int, typer.Option(min=16, help=_SIZE_HELP)] = 64,
    paired: Annotated[
        bool, typer.Option("--paired", help="The i-th rows of both tables belong together, as translations do.")
    ] = False,
    oracle: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=TABLE as in a behavior file, such as 'target={type=\"regex\", pattern=\"^Oui\"}'. "
            "Default: refused={type=\"refusal\"}."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--field", help="FIELD=COLUMN: fills language, steps, about, source or target of every prompt."),
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="ISO 639-1 code; several times for several. Default en.")
    ] = None,
    positive_language: Annotated[str | None, typer.Option(help="Language of the prompts, of several.")] = None,
    negative_language: Annotated[str | None, typer.Option(help="The contrast's language.")] = None,
    horizon: Annotated[list[int] | None, typer.Option(help="Tokens; several times. Default 16, 32 and 64.")] = None,
    sensitive: Annotated[
        bool | None, typer.Option(help="Keep completions out of reports. Default: refusals only.")
    ] = None,
    description: Annotated[str, typer.Option(help="One sentence for readers.")] = "",
    dataset_split: Annotated[str, typer.Option(help="Split of data sets of the hub.")] = "train",
    dataset_config: Annotated[str | None, typer.Option(help="Configuration of data sets of the hub.")] = None,
    out: Annotated[Path, typer.Option(help="Directory to write NAME.toml and NAME.jsonl to.")] = Path(),
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a behavior of two tables of prompts: duplicates are dropped, splits share none."""
    hub = {"split": dataset_split, "config": dataset_config}
    recipe = Recipe(
        name=name,
        positive=_source(positive, positive_where, column, positive_language, hub),
        negative=None if negative is None else _source(negative, negative_where, column, negative_language, hub),
        sizes={"find": find, "select": select, "evaluate": evaluate},
        seed=seed,
        oracles=dict(_oracle(text) for text in oracle) if oracle else dict(REFUSAL_ORACLES),
        languages=tuple(language or ["en"]),
        horizons=tuple(horizon or [16, 32, 64]),
        sensitive=sensitive,
        paired=paired,
        description=description,
    )
    _show_made(make_behavior(recipe, out), as_json)


@app.command("check", epilog="Example: controlwindow behaviors check declines.toml organism:switch")
def check(
    behavior: Annotated[str, typer.Argument(help="A behavior's name, or a path to a TOML file.", metavar="FILE")],
    model: Annotated[
        str | None, typer.Argument(help="Also roll the prompts out on this model, undosed.", metavar="MODEL")
    ] = None,
    neurons: Annotated[int, typer.Option(min=1, help="Neurons of the audit whose cost is told.")] = 8,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    system_prompt: SystemOption = None,
    remote_judge: RemoteJudgeOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Validate a behavior; with a model, say which prompts are eligible, what oracles say, and what an audit costs."""
    if model is None:
        loaded = load_behavior(behavior)
        agreements_of(loaded)
        described = describe(loaded)
        if as_json:
            print_json(described, "behavior")
        else:
            show_description(described)
        return
    from controlwindow.validation.behavior_check import check_behavior

    loaded = load_to_run(behavior, remote_judge=remote_judge)
    opened = ModelSource(model, device, dtype, system_prompt).open()
    with TerminalProgress() as progress:
        found = check_behavior(opened, loaded, seed=seed, progress=progress)
    if as_json:
        print_json(found.to_json(neurons), "behavior-check")
    else:
        show_check(found, neurons)


def _show_made(made: MadeBehavior, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "name": made.behavior.name,
                "behavior": str(made.path),
                "prompts": str(made.prompts),
                "fingerprint": made.behavior.fingerprint,
                "sides": {role: side._asdict() for role, side in made.sides.items()},
                "splits": {split: len(made.behavior.prompts(split)) for split in SPLITS},
            },
            "behavior-made",
        )
        return
    columns = [("side", "left"), ("rows", "right"), ("empty", "right"), ("duplicates", "right"), ("used", "right")]
    rows = [
        [role, str(side.rows), str(side.empty), str(side.duplicates), str(side.used)]
        for role, side in made.sides.items()
    ]
    console = output()
    console.print(plain_table(columns, rows))
    splits = ", ".join(f"{len(made.behavior.prompts(split))} {split}" for split in SPLITS)
    console.print(Text(f"each side: {splits}"))
    console.print(Text(f"written: {made.path}, {made.prompts.name}"), soft_wrap=True)


def _source(
    text: str,
    conditions: list[str] | None,
    fields: list[str] | None,
    language: str | None,
    hub: dict[str, Any],
) -> TableSource:
    """A table's column as an option writes it."""
    where: dict[str, Any] = dict(map(_equation, conditions or []))
    columns = dict(map(_equation, fields or []))
    place, mark, column = text.rpartition(":")
    if text.startswith(_HUB) and mark and place != _HUB[:-1]:
        table: dict[str, Any] = {"dataset": place.removeprefix(_HUB), **hub}
    elif mark and place:
        table = {"file": place}
    else:
        table, column = {"file": text}, ""
    names = tuple(column.split(","))
    chosen: Any = None if not column else column if len(names) == 1 else names
    try:
        return TableSource(**table, column=chosen, where=where, fields=columns, language=language)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{text}: " + (f"{key}: " if key else "") + first["msg"][0].lower() + first["msg"][1:],
            "write FILE:COLUMN, or FILE:USER,ASSISTANT,USER for a conversation",
        ) from error


def _equation(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not (name and mark):
        raise UsageError(f"{text!r} is not NAME=VALUE", "write it as in label=unsafe")
    return name, value


def _oracle(text: str) -> tuple[str, dict[str, Any]]:
    name, table = _equation(text)
    try:
        found = tomllib.loads(f"oracle = {table}")["oracle"]
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"{text!r} is no oracle: {error}", 'write it as in target={type="refusal"}') from error
    if not isinstance(found, dict):
        raise UsageError(f"{text!r} is no oracle: a table is needed", 'write it as in target={type="refusal"}')
    return name, found
