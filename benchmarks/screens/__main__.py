"""The command: measure what is not stored yet, score, and keep tables and figure."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

import controlwindow as cw
from benchmarks.results import machine
from benchmarks.screens.measuring import REFERENCE, Store, measure_reference, measure_screen
from benchmarks.screens.pages import draw, markdown
from benchmarks.screens.summary import aims, summarise
from benchmarks.tables import insert
from controlwindow.behaviors import load_behavior
from controlwindow.catalogue import behaviors_of
from controlwindow.errors import BehaviorError
from controlwindow.screens import screen_names
from controlwindow.validation.truth import choose_organisms

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
STORE = HERE.parent / ".screens"
DOCUMENT = HERE.parents[1] / "docs" / "screens.md"
BEGIN, END = "<!-- screens: begin -->", "<!-- screens: end -->"
ORDER = ("causal", "gradient", "one", "gradient_x_activation", "attribution_patching", "contrastive", "window",
         "perturbation", "readout", "random")  # fmt: skip


def main(
    organism: Annotated[list[str] | None, typer.Option(help="An organism; several times. Default: all here.")] = None,
    screen: Annotated[list[str] | None, typer.Option(help="A screen; several times. Default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    store: Annotated[Path, typer.Option(help="Where single results are kept; what is there is not repeated.")] = STORE,
    output: Annotated[Path, typer.Option(help="Where tables and figure go.")] = RESULTS,
) -> None:
    """Run every screen on every behavior of every organism, and score them against cards and census.

    Goes on where it was cut off. A run over all organisms and screens is written into docs/screens.md; any other as
    partial-screens.*.
    """
    console = Console(stderr=True)
    warnings.simplefilter("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    chosen, kept = choose_organisms(organism or ()), Store(store)
    names = [*(n for n in ORDER if n in screen_names()), *(n for n in screen_names() if n not in ORDER)]
    names = [name for name in names if not screen or name in screen]
    records = []
    for card in chosen.cards:
        model = cw.load_model(card.name, device="cpu")
        for behavior_name in behaviors_of(card):
            try:
                behavior = load_behavior(behavior_name)
                behavior.contrast("find")
            except BehaviorError as error:
                console.print(f"{card.name} {behavior_name}: {error}")
                continue
            records.append(
                kept.get(model, behavior, REFERENCE, seed, lambda m=model, b=behavior: measure_reference(m, b, seed))
            )
            for name in names:
                console.print(f"[dim]{card.name} {behavior_name}: {name}")
                records.append(
                    kept.get(
                        model, behavior, name, seed, lambda m=model, b=behavior, n=name: measure_screen(m, b, n, seed)
                    )
                )
    standings = summarise(records, names, seed)
    whole = not organism and not screen
    stem = "screens" if whole else "partial-screens"
    found = machine("cpu")
    conditions = f"{len(chosen.cards)} organisms, {len({c.lineage for c in chosen.cards})} lineages; seed {seed}; " + (
        "; ".join(f"{name} {value}" for name, value in found.items()) + "; one thread"
    )
    text = markdown(standings, conditions)
    document = {
        "machine": found,
        "seed": seed,
        "organisms": [card.name for card in chosen.cards],
        "missing": list(chosen.missing),
        "aims": [vars(aim) for aim in aims(standings)],
        "screens": [standing.to_json() for standing in standings],
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{stem}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (output / f"{stem}.md").write_text(text, "utf-8")
    (output / f"{stem}.svg").write_text(draw(standings), "utf-8")
    if whole and output == RESULTS:
        insert(DOCUMENT, text, BEGIN, END)
    Console().print(f"written: {output / stem}.json, .md, .svg")


if __name__ == "__main__":
    typer.run(main)
