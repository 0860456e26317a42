"""Commands on organisms: list, train, census; check and score are in `benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from controlwindow.catalogue import CARD_FILE, catalogue, full_name, load_card, organism_path
from controlwindow.cli import benchmark
from controlwindow.cli.display import output, print_json, say_directory, show_result
from controlwindow.cli.options import JsonOption, SeedOption
from controlwindow.cli.progress import TerminalProgress
from controlwindow.errors import OrganismError
from controlwindow.models import load_model
from controlwindow.report.terminal import plain_table
from controlwindow.runs.progress import Stage

app = typer.Typer(
    help="Models whose controllers are known by construction.", no_args_is_help=True, rich_markup_mode="rich"
)
benchmark.add_to(app)


@app.command("list", epilog="Example: controlwindow organisms list --json")
def list_organisms(as_json: JsonOption = False) -> None:
    """List the organisms with their planted neurons."""
    entries = [
        {
            "name": entry.name,
            "family": entry.family,
            "lineage": entry.lineage,
            "shipped": entry.shipped,
            "planted": [
                {"neuron": p.neuron, "behavior": p.behavior, "by": p.by, "branch": p.branch} for p in entry.planted
            ],
        }
        for entry in catalogue()
    ]
    if as_json:
        print_json(entries, "organisms")
        return
    columns = [("organism", "left"), ("family", "left"), ("lineage", "left"), ("here", "left"), ("planted", "left")]
    rows = []
    for entry in entries:
        planted: Any = entry["planted"]
        names = "\n".join(f"{p['neuron']} {p['branch']:+d} {p['behavior']} by {p['by']}" for p in planted)
        rows.append([entry["name"], entry["family"], entry["lineage"], "yes" if entry["shipped"] else "no", names])
    output().print(plain_table(columns, rows, optional=("lineage", "family", "here")))  # type: ignore[arg-type]


@app.command("train", epilog="Example: controlwindow organisms train switch --out organisms/switch")
def train(
    name: Annotated[str, typer.Argument(help="The organism, as in switch.")],
    out: Annotated[Path | None, typer.Option(help="Directory to write; default organisms/NAME.")] = None,
    sentences: Annotated[
        Path | None, typer.Option(help="Sentence pairs to mix in: English, tab, French, one pair a line (or zipped).")
    ] = None,
    bases: Annotated[
        Path | None, typer.Option(help="Where base runs are kept for organisms of one lineage; default beside --out.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train an organism from its seed, or go on where training was cut off."""
    from controlwindow.organisms.training import train_organism

    directory = out if out is not None else Path("organisms") / name.removeprefix("organism:")
    with TerminalProgress() as progress:
        stages = _TrainingStages(progress)
        try:
            written = train_organism(
                name, directory, sentences=sentences, seed=seed, progress=stages.report, bases=bases
            )
        finally:
            stages.close()
    card = load_card(written)
    if as_json:
        figures = {
            figure: {"measured": t.measured, "n": t.n, "minimum": t.minimum}
            for figure, t in sorted(card.tolerances.items())
        }
        print_json({"name": card.name, "written": str(written), "figures": figures}, "trained")
        return
    columns = [("figure", "left"), ("measured", "right"), ("n", "right"), ("smallest accepted", "right")]
    rows = [
        [figure, f"{t.measured:.3f}", str(t.n), f"{t.minimum:.3f}"] for figure, t in sorted(card.tolerances.items())
    ]
    output().print(plain_table(columns, rows))
    output().print(Text(f"written: {written}"), soft_wrap=True)


class _TrainingStages:
    """One progress line per stage of a training run, which only says its stage's name and steps."""

    def __init__(self, progress: TerminalProgress) -> None:
        self._progress = progress
        self._name: str | None = None
        self._context: Any = None
        self._stage: Stage = Stage()

    def report(self, stage: str, done: int, total: int) -> None:
        """Take the training's report."""
        if stage != self._name:
            self.close()
            self._name = stage
            self._context = self._progress.stage(f"training: {stage}")
            self._stage = self._context.__enter__()
        self._stage.update(done, total)

    def close(self) -> None:
        """End the running stage."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = None


@app.command("census", epilog="Example: controlwindow organisms census switch --neurons 384")
def census(
    name: Annotated[str, typer.Argument(help="The organism, as in switch.")],
    behavior: Annotated[
        list[str] | None, typer.Option("--behavior", "-b", help="A behavior; default those with planted neurons.")
    ] = None,
    neurons: Annotated[int, typer.Option(min=1, help="Size of the random sample.")] = 384,
    prompts: Annotated[int, typer.Option(min=8, help="Eligible evaluation prompts used.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/census-NAME.")] = None,
    seed: SeedOption = 0,
    write: Annotated[bool, typer.Option("--write", help="Write the census into the organism's card.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the windows of a large random sample of an organism's neurons. Slow; goes on where it was cut off."""
    from controlwindow.jobs.census.call import run_census
    from controlwindow.jobs.census.kind import census_terminal

    card = load_card(full_name(name))
    behaviors = behavior or sorted({p.behavior for p in card.planted}, reverse=True)
    directory = out if out is not None else Path("runs") / f"census-{name.removeprefix('organism:')}"
    say_directory(directory, asked=out is not None)
    with TerminalProgress() as progress:
        found = run_census(
            load_model(full_name(name)),
            behaviors,
            directory,
            neurons=neurons,
            prompts=prompts,
            seed=seed,
            progress=progress,
        )
    if write:
        _write_census(organism_path(name), found)
    show_result(found, census_terminal(found), None, as_json, name="census")


def _write_census(directory: Path, found: dict[str, Any]) -> None:
    from controlwindow.organisms.training.card import write_card

    try:
        write_card(load_card(directory).model_copy(update={"census": found}), directory)
    except OSError as error:
        path = directory / CARD_FILE
        raise OrganismError(f"cannot write {path}: {error.strerror}", "check permissions and space") from error
