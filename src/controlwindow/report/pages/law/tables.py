"""Tables of a validation of the law, once as text cells, for the page and for a paper (Markdown, LaTeX)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlwindow.report.pages.law.layout import Table, interval, small, to_latex, to_markdown
from controlwindow.report.pages.law.rivals import constant_table, height_table, noise_table, rival_table
from controlwindow.report.wording import number

__all__ = ["Table", "interval", "paper_tables", "small", "to_latex", "to_markdown"]

_ROUTING = {"everywhere": "at every position", "routed": "where a router sends the text"}
_PERCENT = ("accuracy", "coverage", "verdict", "failure")


def aims_table(document: Mapping[str, Any]) -> Table:
    """The aims with what was reported before and what was measured."""
    rows = []
    for aim in document["aims"]:
        value = aim["measured"]
        shown = "–" if value is None else str(value) if isinstance(value, int) else _shown(aim["what"], value)
        met = {True: "as aimed at", False: "not as aimed at", None: "not measured"}[aim["met"]]
        rows.append((aim["what"], aim["reported"] or "–", aim["aim"], shown, met))
    caption = "What was measured here, beside what this project aims at with its own models and what was reported."
    columns = ("what", "reported", "aim of the project", "measured here", "")
    return Table(caption, columns, tuple(rows))


def errors_table(document: Mapping[str, Any]) -> Table:
    """Errors and skills of predicted ceilings in both settings."""
    rows = []
    for setting, title in (("known", "known models"), ("left_out", "lineages left out")):
        scores = document["scores"]["ceilings"][setting]
        if not scores["pairs"]:
            continue
        for what, found in (
            ("MAE in c", scores["mae"]),
            ("bias in c", scores["bias"]),
            ("MAE in log t", scores["mae_log_t"]),
            ("MAE in c of the model's median", scores["mae_median"]),
            ("MAE in c of the best of the constants", scores["mae_constant"]),
            ("skill against the median", scores["skill_vs_median"]),
            ("skill against the best of the constants", scores["skill_vs_constant"]),
            *((f"MAE in c, {region} layers", value) for region, value in scores["by_region"].items()),
            *((f"MAE in c, neurons that act {_ROUTING[name]}", v) for name, v in scores["by_routing"].items()),
        ):
            if found["value"] is not None:
                rows.append((title, what, number(found["value"], 3), interval(found["interval"]), str(found["n"])))
    return Table("Predicted ceilings.", ("setting", "", "value", "95 % interval", "pairs"), tuple(rows))


def lineage_table(document: Mapping[str, Any]) -> Table:
    """Every lineage left out: its error, that of the best of the constants, and the coverage of its intervals."""
    scores = document["scores"]["ceilings"]["left_out"]
    rows = []
    for lineage, covered in scores["coverage_by_lineage"].items():
        cells = ["–", "–", "–", "", "0"]
        values = scores["skill_by_lineage"].get(lineage)
        if values is not None and values["mae"] is not None:
            skill = values["skill_vs_constant"]
            cells = [number(values["mae"], 3), number(values["mae_constant"], 3), number(skill["value"], 2)]
            cells += [interval(skill["interval"], 2), str(skill["n"])]
        rows.append((lineage, *cells, f"{covered['value']:.0%}", str(covered["n"])))
    columns = (
        "lineage", "MAE in c", "of the constant", "skill", "95 % interval", "pairs reached", "coverage", "pairs",
    )  # fmt: skip
    return Table("Lineages left out, one at a time; intervals resample its neurons.", columns, tuple(rows))


def model_table(document: Mapping[str, Any]) -> Table:
    """Every model: error on its held-out neurons, coverage, share without a ceiling."""
    scores = document["scores"]["ceilings"]["known"]
    rows = []
    for model, found in scores["by_model"].items():
        covered = scores["coverage_by_model"][model]
        rows.append(
            (
                model,
                document["models"][model]["family"],
                number(found["value"], 3),
                interval(found["interval"]),
                f"{covered['value']:.0%}",
                str(found["n"]),
                str(covered["n"]),
            )
        )
    columns = ("model", "family", "MAE in c", "95 % interval", "coverage", "pairs reached", "pairs")
    return Table("Models, held-out neurons.", columns, tuple(rows))


def predictor_table(document: Mapping[str, Any]) -> Table:
    """Mean absolute error of every predictor in both settings."""
    both = {setting: document["scores"]["ceilings"][setting]["predictors"] for setting in ("known", "left_out")}
    rows = []
    for name in sorted({*both["known"], *both["left_out"]}):
        cells = [name]
        for found in both.values():
            score = found.get(name, {"value": None, "interval": None})
            cells += [number(score["value"], 3), interval(score["interval"])]
        rows.append(tuple(cells))
    columns = ("predictor", "known models", "95 % interval", "lineages left out", "95 % interval")
    return Table("Mean absolute error in c of each predictor.", columns, tuple(rows))


def verdict_table(document: Mapping[str, Any]) -> Table:
    """Both verdicts on every stratum against the majority and the best simple rule."""
    rows = []
    for setting, title in (("known", "known models"), ("left_out", "lineages left out")):
        for stratum, verdicts in document["scores"]["verdicts"][setting].items():
            for kind in ("fully_committed", "ceiling_committed"):
                found = verdicts.get(kind) if isinstance(verdicts, Mapping) else None
                if not found or not found["n"]:
                    continue
                rows.append(
                    (
                        title,
                        stratum,
                        kind.replace("_", " "),
                        f"{found['accuracy']:.1%}",
                        interval(found["accuracy_interval"]),
                        f"{found['majority']['accuracy']:.1%}",
                        small(found["majority"]["p_value"]),
                        f"{found['rule']['accuracy']:.1%}",
                        small(found["rule"]["p_value"]),
                        str(found["n"]),
                    )
                )
    columns = ("setting", "pairs", "verdict", "accuracy", "95 % interval", "majority", "p", "rule", "p", "n")
    return Table("Verdicts.", columns, tuple(rows))


def trigger_table(document: Mapping[str, Any]) -> Table:
    """Predicted triggers against measured ones."""
    rows = []
    for setting, title in (("known", "known models"), ("left_out", "lineages left out")):
        for group, found in document["scores"]["triggers"][setting].items():
            if found["pairs"]:
                covered = "–" if found["coverage"] is None else f"{found['coverage']:.0%}"
                rows.append(
                    (
                        title,
                        group,
                        number(found["mae"]["value"], 3),
                        interval(found["mae"]["interval"]),
                        covered,
                        number(found["auc_reached"], 2),
                        f"{found['reached_and_predicted']} of {found['reached']}",
                        str(found["pairs"]),
                    )
                )
    columns = (
        "setting",
        "neurons",
        "MAE in c",
        "95 % interval",
        "coverage",
        "reached: area under the curve",
        "predicted of those reached",
        "pairs",
    )
    return Table("Predicted triggers.", columns, tuple(rows))


def failure_table(document: Mapping[str, Any]) -> Table:
    """What the cards know against what was measured and predicted."""
    rows = []
    for name, found in document["scores"]["failure_modes"].items():
        for answer, said in found["confusion"].items():
            counts = ", ".join(f"{mode} {count}" for mode, count in said.items())
            rows.append((name.replace("_", " "), answer, counts))
    return Table("Failure modes: known answer, and what was said.", ("", "answer", "said"), tuple(rows))


def control_table(document: Mapping[str, Any]) -> Table:
    """First-order scores against measured control."""
    rows = []
    for group, found in document["scores"]["control"].items():
        screens = dict(found["screens"])
        if found["neurons"]:
            screens["readout cosine"] = found["readout_cosine"]["agreement"]
        for screen, value in screens.items():
            rows.append(
                (
                    group,
                    screen,
                    number(value["auc"], 2),
                    interval(value["auc_interval"], 2),
                    number(value["tau_b"], 2),
                    interval(value["tau_b_interval"], 2),
                    str(value["n"]),
                )
            )
    columns = ("neurons", "score", "area under the curve", "95 % interval", "τ-b", "95 % interval", "n")
    return Table("First-order scores and control.", columns, tuple(rows))


def detector_table(document: Mapping[str, Any]) -> Table:
    """Labelled controls of every kind, and the share judged collapsed."""
    kinds = document["scores"]["detector"]["kinds"]
    rows = [
        (kind, found["label"], str(found["n"]), f"{found['collapsed'] / found['n']:.1%}")
        for kind, found in kinds.items()
    ]
    return Table(
        "The coherence detector on labelled controls.", ("control", "label", "n", "judged collapsed"), tuple(rows)
    )


def sensitivity_table(document: Mapping[str, Any]) -> Table:
    """How far thresholds move with what they could depend on."""
    found = document["scores"]["sensitivity"]
    rows = []

    def add(what: str, change: Mapping[str, Any]) -> None:
        rows.append(
            (
                what,
                number(change["mean_change"], 3),
                number(change["mean_absolute_change"], 3),
                f"{change['lost']} / {change['gained']}",
                str(change["n"]),
            )
        )

    for factor, change in found["ceiling_by_coherence_threshold"].items():
        add(f"ceiling, coherence thresholds × {factor}", change)
    for horizon, change in found["ceiling_by_horizon"].items():
        add(f"ceiling, {horizon}", change)
    for value in ("ceiling", "trigger"):
        add(f"{value}, decoding twice as long", found["longer_decoding"][value])
        add(f"{value}, the other positions dosed", found["other_positions"][value])
        add(f"{value}, other prompts", found["other_prompts"][value])
    columns = ("", "mean change in c", "mean absolute change", "lost / gained", "pairs")
    return Table("Sensitivity of thresholds.", columns, tuple(rows))


def paper_tables(document: Mapping[str, Any]) -> tuple[Table, ...]:
    """The tables that a paper would show."""
    return (
        aims_table(document), noise_table(document), errors_table(document), constant_table(document),
        lineage_table(document), model_table(document), predictor_table(document), trigger_table(document),
        verdict_table(document), rival_table(document), failure_table(document), control_table(document),
        height_table(document), detector_table(document), sensitivity_table(document),
    )  # fmt: skip


def _shown(what: str, value: float) -> str:
    return f"{value:.1%}" if any(word in what for word in _PERCENT) else number(value, 3)
