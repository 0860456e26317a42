"""Tables of what the law is held against: the noise of a measurement, constants, simple rules, heights of windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlwindow.report.pages.law.layout import Table, interval, small
from controlwindow.report.wording import number

_SETTINGS = (("known", "known models"), ("left_out", "lineages left out"))


def noise_table(document: Mapping[str, Any]) -> Table:
    """What a second measurement on other prompts differs by; its √2-th is the floor of every predictor."""
    rows = []
    for group, thresholds in document["scores"]["noise"]["retest"].items():
        for threshold, found in thresholds.items():
            difference, error = found["difference"], found["error"]
            rows.append(
                (
                    group,
                    threshold.replace("_", " "),
                    number(difference["value"], 3),
                    number(error["value"], 3),
                    interval(error["interval"]),
                    str(difference["n"]),
                    str(difference["clusters"]),
                )
            )
    columns = ("models", "threshold", "mean difference in c", "error of one", "95 % interval", "pairs", "neurons")
    return Table("Copies of one write column, measured on disjoint prompts.", columns, tuple(rows))


def constant_table(document: Mapping[str, Any]) -> Table:
    """Every constant, the best one in hindsight, and models that no constant is far from."""
    rows = []
    for setting, title in _SETTINGS:
        found = document["scores"]["ceilings"][setting]["constants"]
        if not found:
            continue
        for name, values in (*found["each"].items(), ("best c in hindsight", found["in_hindsight"])):
            shown = f"{name} (the best)" if name == found["best"] else name
            if values["mae"]["value"] is not None:
                rows.append((title, shown, *_cells(values["mae"], values["skill"])))
        near = found["without_far_models"]
        if near["left_out"] and near["mae_best"]["value"] is not None:
            left_out = ", ".join(near["left_out"])
            rows.append((title, f"the best, without {left_out}", *_cells(near["mae_best"], near["skill"])))
    columns = ("setting", "constant", "MAE in c", "95 % interval", "skill against it", "95 % interval", "pairs")
    return Table("Constants: one ceiling for all neurons.", columns, tuple(rows))


def _cells(error: Mapping[str, Any], skill: Mapping[str, Any]) -> tuple[str, ...]:
    shown = number(skill["value"], 2), interval(skill["interval"], 2)
    return (number(error["value"], 3), interval(error["interval"]), *shown, str(error["n"]))


def rival_table(document: Mapping[str, Any]) -> Table:
    """Every rule that verdicts are held against, with McNemar's test and the difference over lineages."""
    rows = []
    for setting, title in _SETTINGS:
        for stratum, verdicts in document["scores"]["verdicts"][setting].items():
            found = verdicts.get("fully_committed") if isinstance(verdicts, Mapping) else None
            if not found or not found["n"]:
                continue
            named = {
                "majority of all": found["majority"],
                f"best on calibration: {found['rule']['name']}": found["rule"],
            }
            for name, rival in (named | found["rivals"]).items():
                difference = rival["difference"]
                rows.append(
                    (
                        title,
                        stratum,
                        name,
                        f"{rival['accuracy']:.1%}",
                        f"{100 * difference['value']:+.1f}",
                        ""
                        if difference["interval"] is None
                        else interval([100 * e for e in difference["interval"]], 1),
                        small(rival["p_value"]),
                    )
                )
    columns = ("setting", "pairs", "rule", "its accuracy", "forecast better by", "95 %, lineages", "p (McNemar)")
    return Table("Verdicts against simple rules; majorities are oracles of these very pairs.", columns, tuple(rows))


def height_table(document: Mapping[str, Any]) -> Table:
    """Where the gradient ranks neurons by the height of their windows."""
    rows = []
    for group, found in document["scores"]["control"].items():
        for band in found["gradient_by_height"] if group != "natural, weighted" else ():
            low, high = band["height"]
            share = "–" if band["in_top_tenth"] is None else f"{band['in_top_tenth']:.0%}"
            lower = "–" if band["in_lower_half"] is None else f"{band['in_lower_half']:.0%}"
            rows.append(
                (
                    group,
                    f"{low:.0%} to {high:.0%}",
                    str(band["n"]),
                    number(band["median_rank"], 2),
                    share,
                    lower,
                    number(band["median_readout_cosine"], 3),
                )
            )
    columns = ("neurons", "height", "n", "median rank", "in the top tenth", "in the lower half", "|cos| with readout")
    return Table("The gradient's rank given the window's height.", columns, tuple(rows))
