"""Fitting the ceiling predictors on measured ceilings, and writing the calibration that ships.

`python -m controlwindow.validation.fitting --census organism:switch --run runs/stories:tinystories --write` reads the
census in an organism's card and the random neurons of audit runs; nothing is measured here but layer features.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from controlwindow import geometry
from controlwindow.models import Model, Neuron, load_model
from controlwindow.organisms.catalogue import load_card
from controlwindow.running.ledger import Ledger
from controlwindow.running.results import open_run, read_results
from controlwindow.windows.calibration import Observation, fit
from controlwindow.windows.layer_features import layer_features


def observations_of_census(model: Model) -> list[Observation]:
    """Ceilings of an organism's census.

    Raises:
        ValueError: The card holds no census.
    """
    assert model.organism is not None
    card = load_card(model.organism)
    if card.census is None:
        raise ValueError(f"the card of {card.name} holds no census")
    features = layer_features(model)
    found = []
    for values in card.census["rows"]:
        row = dict(zip(card.census["columns"], values, strict=True))
        if row["ceiling"] is None or abs(row["c0"]) >= 1:
            continue
        layer = features[Neuron.parse(row["neuron"]).layer]
        found.append(
            Observation(
                model=card.name,
                fingerprint=model.fingerprint,
                lineage=card.lineage,
                neuron=row["neuron"],
                branch=row["branch"],
                cosine=row["c0"],
                ceiling_t=geometry.dose_for(row["ceiling"], row["c0"]),
                participation_ratio=layer.participation_ratio,
                probe_dose=layer.probe_dose,
            )
        )
    return [o for o in found if o.ceiling_t > 0]


def observations_of_run(ledger: Ledger, lineage: str) -> list[Observation]:
    """Ceilings of the random neurons of an audit; those chosen for their effect would bias the fit."""
    results = read_results(ledger)
    generic = ledger.find("generic", "generic")
    assert generic is not None
    found = []
    for window in results.windows:
        # Predictors speak of the coordinate that collapses text, whatever dose a norm makes of it.
        if window["candidate_from"] != "random" or window["ceiling"] is None or abs(window["c0"]) >= 1:
            continue
        layer = generic["layers"][Neuron.parse(window["neuron"]).layer]
        found.append(
            Observation(
                model=results.model["name"],
                fingerprint=results.model["fingerprint"],
                lineage=lineage,
                neuron=window["neuron"],
                branch=window["branch"],
                cosine=window["c0"],
                ceiling_t=geometry.dose_for(window["ceiling"], window["c0"]),
                participation_ratio=layer["participation_ratio"],
                probe_dose=layer["probe_dose"],
            )
        )
    return [o for o in found if o.ceiling_t > 0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print the errors of every predictor, and write the calibration if asked."""
    parser = argparse.ArgumentParser(description="Fit the ceiling predictors on measured ceilings.")
    parser.add_argument("--census", action="append", default=[], help="organism whose card holds a census")
    parser.add_argument("--run", action="append", default=[], help="run directory of an audit, as DIRECTORY:LINEAGE")
    parser.add_argument("--write", action="store_true", help="write the calibration that ships with the package")
    given = parser.parse_args(arguments)
    observations: list[Observation] = []
    for name in given.census:
        observations += observations_of_census(load_model(name))
    for run in given.run:
        directory, _, lineage = run.rpartition(":")
        with open_run(Path(directory)) as ledger:
            observations += observations_of_run(ledger, lineage)
    calibration = fit(observations)
    summary = {
        "models": calibration.models,
        "default": calibration.default,
        "error_known": {name: p.error_known for name, p in calibration.predictors.items()},
        "error_left_out": {name: p.error_left_out for name, p in calibration.predictors.items()},
    }
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    if given.write:
        path = Path(__file__).parent.parent / "windows" / "calibration.json"
        path.write_text(calibration.to_json(), "utf-8")


if __name__ == "__main__":
    main()
