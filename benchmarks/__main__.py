"""The command: run workloads, print the tables, and keep them with a figure."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks import atlas, grid, screening, searching, throughput
from benchmarks.environments import Unavailable
from benchmarks.figure import draw
from benchmarks.results import Part, Results, Standing, machine
from benchmarks.tables import insert, markdown, show
from benchmarks.work import SIZES, Settings

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCUMENT = HERE.parent / "docs" / "performance.md"
WORKLOADS = ("grid", "hooks", "floor", "search", "screen", "atlas")


def main(
    only: Annotated[str, typer.Option(help="Workloads, separated by commas.")] = ",".join(WORKLOADS),
    repeats: Annotated[int, typer.Option(min=1, help="Rounds in which contenders take turns.")] = 5,
    threads: Annotated[int, typer.Option(min=0, help="Threads for every contender; 0 is torch's default.")] = 0,
    quick: Annotated[bool, typer.Option(help="Small work, to see that everything runs; no numbers.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    model_size: Annotated[
        str, typer.Option(help=f"Time a random-weights model instead: {', '.join(SIZES)}.")
    ] = "organism",
    dtype: Annotated[str, typer.Option(help="Type of random weights; default float32 on a CPU, bfloat16 else.")] = "",
    atlas_size: Annotated[str, typer.Option(help="Size of the atlas's model.")] = "atlas",
    output: Annotated[Path, typer.Option(help="Where results are kept.")] = RESULTS,
) -> None:
    """Time the package against its peers; ratios of one run on one machine.

    A run of all workloads is kept as latest.json, latest.md and latest.svg and written into docs/performance.md;
    any other as partial.*.
    """
    console = Console()
    warnings.simplefilter("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if threads:
        torch.set_num_threads(threads)
    settings = Settings(torch.get_num_threads(), repeats, quick, device, lambda text: console.print(f"[dim]{text}"))
    weights = dtype or ("float32" if device == "cpu" else "bfloat16")
    runs: dict[str, Callable[[], Part]] = {
        "grid": lambda: grid.run(settings),
        "hooks": lambda: grid.run_hooks(settings),
        "floor": lambda: grid.run_floor(settings),
        "search": lambda: searching.run(settings),
        "screen": lambda: screening.run(settings),
        "atlas": lambda: atlas.run(settings, atlas_size, weights),
        "throughput": lambda: throughput.run(settings, model_size, weights),
    }
    names = only.split(",") if model_size == "organism" else ["throughput"]
    unknown = [name for name in names if name not in runs]
    if unknown or (model_size != "organism" and model_size not in SIZES) or atlas_size not in SIZES:
        raise typer.BadParameter(f"workloads: {', '.join(WORKLOADS)}; sizes: {', '.join(SIZES)}")
    results = Results(
        machine(device),
        {"threads": settings.threads, "repeats": repeats, "device": device, **({"quick": True} if quick else {})},
        [_attempt(name, runs[name], console) for name in names],
    )
    show(results, console)
    complete = set(names) == set(WORKLOADS) and not quick and atlas_size == "atlas"
    keep(results, output, "latest" if complete else "partial")
    if complete and output == RESULTS:
        insert(DOCUMENT, markdown(results))


def _attempt(name: str, run: Callable[[], Part], console: Console) -> Part:
    """A workload, or why it cannot run: one that fails must not take the others with it."""
    console.rule(name, align="left")
    try:
        return run()
    except Unavailable as error:
        return Part(name, f"{name}: not run", standings=[Standing(name, name, "unavailable", error.reason)])


def keep(results: Results, folder: Path, stem: str) -> None:
    """Write results as JSON, Markdown and, where there is something to draw, SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.to_json(), indent=1, ensure_ascii=False)
    (folder / f"{stem}.json").write_text(text + "\n", "utf-8")
    (folder / f"{stem}.md").write_text(markdown(results), "utf-8")
    drawn = draw(results)
    if drawn is not None:
        (folder / f"{stem}.svg").write_text(drawn, "utf-8")


if __name__ == "__main__":
    typer.run(main)
