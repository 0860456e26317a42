"""The command: measure what is not stored yet, score, and keep tables and figure."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

import controlwindow as cw
from benchmarks.results import machine
from benchmarks.screens.measuring import REFERENCE, Store, measure_reference, measure_screen
from benchmarks.screens.pages import draw, markdown
from benchmarks.screens.rescoring import rescored
from benchmarks.screens.summary import Standing, aims, known_places, summarise
from benchmarks.tables import insert
from controlwindow.behaviors import load_behavior
from controlwindow.catalogue import behaviors_of, load_card
from controlwindow.errors import BehaviorError
from controlwindow.screens import screen_names
from controlwindow.validation.truth import choose_organisms

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
STORE = HERE.parent / ".screens"
DOCUMENT = HERE.parents[1] / "docs" / "screens.md"
KNOWN = HERE.parents[1] / "src" / "controlwindow" / "screens" / "known.json"
BEGIN, END = "<!-- screens: begin -->", "<!-- screens: end -->"
ORDER = ("causal", "gradient", "one", "gradient_x_activation", "attribution_patching", "contrastive", "window",
         "perturbation", "readout", "random")  # fmt: skip


def main(
    organism: Annotated[list[str] | None, typer.Option(help="An organism; several times. Default: all here.")] = None,
    screen: Annotated[list[str] | None, typer.Option(help="A screen; several times. Default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    store: Annotated[Path, typer.Option(help="Where single results are kept; what is there is not repeated.")] = STORE,
    output: Annotated[Path, typer.Option(help="Where tables and figure go.")] = RESULTS,
    rescore: Annotated[bool, typer.Option(help="Count the rates of screens.json anew; no screen is run.")] = False,
) -> None:
    """Run every screen on every behavior of every organism, and score them against cards and census.

    Goes on where it was cut off. A run over all organisms and screens is written into docs/screens.md; any other as
    partial-screens.*.
    """
    if rescore:
        document, standings = rescored(json.loads((output / "screens.json").read_text("utf-8")))
        _write(document, standings, output, "screens", True)
        return
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
    document = {
        "machine": machine("cpu"),
        "seed": seed,
        "organisms": [card.name for card in chosen.cards],
        "weights": {record["organism"]: record["key"]["weights"] for record in records},
        "missing": list(chosen.missing),
        "aims": [vars(aim) for aim in aims(standings)],
        "screens": [standing.to_json() for standing in standings],
    }
    _write(document, standings, output, "screens" if whole else "partial-screens", whole)


def _write(document: dict[str, Any], standings: Sequence[Standing], output: Path, stem: str, whole: bool) -> None:
    """Keep document, tables and figure; a whole comparison also goes into docs/screens.md and into the package."""
    names = document["organisms"]
    lineages = {load_card(name).lineage for name in names}
    conditions = f"{len(names)} organisms, {len(lineages)} lineages; seed {document['seed']}; " + (
        "; ".join(f"{name} {value}" for name, value in document["machine"].items()) + "; one thread"
    )
    text = markdown(standings, conditions)
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{stem}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (output / f"{stem}.md").write_text(text, "utf-8")
    (output / f"{stem}.svg").write_text(draw(standings), "utf-8")
    if whole and output == RESULTS:
        insert(DOCUMENT, text, BEGIN, END)
        provenance = {
            "measured_by": "python -m benchmarks.screens",
            "seed": document["seed"],
            "organisms": document.get("weights", dict.fromkeys(names)),
            "libraries": {name: document["machine"][name] for name in ("controlwindow", "torch", "transformers")},
        }
        KNOWN.write_text(json.dumps({**provenance, "places": known_places(standings)}, indent=1) + "\n", "utf-8")
    Console().print(f"written: {output / stem}.json, .md, .svg")


if __name__ == "__main__":
    typer.run(main)
