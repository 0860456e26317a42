"""Fitting the ceiling predictors on measured ceilings, and writing the calibration that ships.

`python -m controlwindow.validation.fitting --law runs/law --write` reads the random neurons of a validation of the law;
`--census organism:switch` reads the census in an organism's card, `--run runs/stories:tinystories` those of an audit;
nothing is measured here but what predictors read of a census.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from controlwindow.catalogue import load_card
from controlwindow.errors import LedgerError
from controlwindow.jobs.audit.results import read_results
from controlwindow.jobs.law.fits import observations_of
from controlwindow.models import Model, Neuron, load_model
from controlwindow.runs.kinds import LEDGER_NAME, open_run
from controlwindow.runs.ledger import Ledger
from controlwindow.windows.calibrating import fit_predictors
from controlwindow.windows.calibration import Calibration, Observation
from controlwindow.windows.features import subject_from_json, subjects_of

_log = logging.getLogger(__name__)


def observations_of_census(model: Model, most: int | None = None) -> list[Observation]:
    """Ceilings of an organism's census, both branches of every neuron and all behaviors.

    Args:
        model: The organism.
        most: Neurons that are read at most, evenly spaced over the census; None for all.

    Raises:
        ValueError: The card holds no census.
    """
    assert model.organism is not None
    card = load_card(model.organism)
    if card.census is None:
        raise ValueError(f"the card of {card.name} holds no census")
    rows = [dict(zip(card.census["columns"], values, strict=True)) for values in card.census["rows"]]
    names = list(dict.fromkeys(row["neuron"] for row in rows))
    chosen = set(names if most is None else names[:: max(1, -(-len(names) // most))])
    # A neuron that the residual is parallel to has no dose.
    rows = [row for row in rows if row["neuron"] in chosen and abs(row["c0"]) < 1]
    pairs = list(dict.fromkeys((row["neuron"], row["branch"]) for row in rows))
    subjects = dict(
        zip(pairs, subjects_of(model, [(Neuron.parse(name), branch) for name, branch in pairs]), strict=True)
    )
    return [
        Observation(
            model=card.name,
            fingerprint=model.fingerprint,
            lineage=card.lineage,
            behavior=row["behavior"],
            subject=subjects[row["neuron"], row["branch"]],
            ceiling=row["ceiling"],
        )
        for row in rows
    ]


def observations_of_run(ledger: Ledger, lineage: str) -> list[Observation]:
    """Ceilings of the random neurons of an audit; those chosen for their effect would bias the fit.

    What predictors read of them stands in the ledger, committed before their first rollout.
    """
    results = read_results(ledger)
    predictions = ledger.find_all("prediction")
    found = []
    for window in results.windows:
        if window["candidate_from"] != "random" or abs(window["c0"]) >= 1:
            continue
        prediction = predictions[f"{window['behavior']}/{window['neuron']}/{window['branch']:+d}"]
        found.append(
            Observation(
                model=results.model["name"],
                fingerprint=results.model["fingerprint"],
                lineage=lineage,
                behavior=window["behavior"],
                subject=subject_from_json(prediction["subject"]),
                ceiling=window["ceiling"],
            )
        )
    return found


def observations_of_law(ledger: Ledger) -> list[Observation]:
    """Ceilings of the random neurons of one model of a finished validation of the law, calibration and held out.

    Raises:
        LedgerError: The ledger holds no calibration of a validation.
    """
    evidence = ledger.find("calibration", "evidence")
    if evidence is None:
        raise LedgerError(f"{ledger.path} holds no calibration of the law", "let `controlwindow validate` finish")
    inputs = ledger.find_all("inputs")
    pairs = [
        {**pair, "subject": inputs[name]["subject"]}
        for role in ("calibration", "held_out")
        for name, pair in ledger.find_all(f"pair {role}").items()
        if pair["source"] == "random" and abs(pair["c0"]) < 1
    ]
    return observations_of([{**evidence, "pairs": pairs}])


def summary(calibration: Calibration) -> dict[str, object]:
    """What is printed of a calibration: its models, what the chosen predictors read, and every error."""
    return {
        "models": calibration.models,
        "default": {
            "unknown models": calibration.default_for("1"),
            "models fitted": calibration.default_for("1", known=True),
        },
        "predictors": {
            name: {
                "scale": p.scale,
                "anchor": p.anchor,
                "features": p.features,
                "error_known": p.error_known,
                "error_left_out": p.error_left_out,
            }
            for name, p in calibration.predictors.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, print the errors of every predictor, and write the calibration if asked."""
    parser = argparse.ArgumentParser(description="Fit the ceiling predictors on measured ceilings.")
    parser.add_argument("--census", action="append", default=[], help="organism whose card holds a census")
    parser.add_argument("--run", action="append", default=[], help="run directory of an audit, as DIRECTORY:LINEAGE")
    parser.add_argument("--law", action="append", default=[], help="run directory of `controlwindow validate`")
    parser.add_argument("--neurons", type=int, help="most neurons of each census; default all")
    parser.add_argument("--write", action="store_true", help="write the calibration that ships with the package")
    given = parser.parse_args(arguments)
    observations: list[Observation] = []
    for name in given.census:
        _log.info("reading %s", name)
        observations += observations_of_census(load_model(name), given.neurons)
    for run in given.run:
        directory, _, lineage = run.rpartition(":")
        with open_run(Path(directory)) as ledger:
            observations += observations_of_run(ledger, lineage)
    for run in given.law:
        for path in sorted(Path(run).glob(f"*/{LEDGER_NAME}")):
            with Ledger(path) as ledger:
                observations += observations_of_law(ledger)
    calibration = fit_predictors(observations)
    sys.stdout.write(json.dumps(summary(calibration), indent=1) + "\n")
    if given.write:
        path = Path(__file__).parent.parent / "windows" / "calibration.json"
        path.write_text(calibration.to_json(), "utf-8")


if __name__ == "__main__":
    main()
