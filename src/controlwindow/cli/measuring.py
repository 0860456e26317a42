"""Commands that measure: audit, window, screen, atlas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, cast

import polars as pl
import typer
from rich.markup import escape
from rich.text import Text

from controlwindow.behaviors import load_behavior, load_to_run
from controlwindow.behaviors.prompts import Split
from controlwindow.catalogue import load_card
from controlwindow.cli.display import check_open, messages, output, print_json, say_directory
from controlwindow.cli.estimating import BudgetOption, EstimateOption, parse_duration, say_estimate, show_estimate
from controlwindow.cli.options import (
    DEFAULT_MODEL,
    BehaviorOption,
    CompletionsOption,
    JsonOption,
    ModelSource,
    NeuronsOption,
    OpenOption,
    RemoteJudgeOption,
    SeedOption,
    opens_model,
    read_lines,
    read_named,
)
from controlwindow.cli.progress import TerminalProgress
from controlwindow.cli.runs import show_run
from controlwindow.errors import UsageError
from controlwindow.instruments.generic import GENERIC_TOKENS, generic_pass
from controlwindow.jobs.audit.call import audit as run_audit
from controlwindow.jobs.audit.call import audit_plan, carry_out
from controlwindow.jobs.screen.call import detection as detect
from controlwindow.jobs.screen.call import run_screen
from controlwindow.jobs.vectors.call import audit_vectors
from controlwindow.models.vectors import read_vector
from controlwindow.report.charts import draw_atlas, draw_screen
from controlwindow.report.terminal import plain_table
from controlwindow.runs.kinds import LEDGER_NAME
from controlwindow.screens import DEFAULT_SCREEN, Coverage, find_screen
from controlwindow.windows.atlas import predict_ceilings

_NOTES = 12
"""Most notes of a screen that are printed."""

_NEURON_HELP = "A neuron to test, as in L3.N7, or @FILE with a list of them; may be given several times."


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("audit", epilog="Example: controlwindow audit ./my-model -b behavior.toml --top 8 --out runs/mine")(
        audit
    )
    app.command("window", epilog="Example: controlwindow window organism:switch -b refusal -n L3.N7")(window)
    app.command("screen", epilog="Example: controlwindow screen organism:switch -b refusal --method window")(screen)
    app.command("atlas", epilog="Example: controlwindow atlas organism:switch --json > ceilings.json")(atlas)


@opens_model(DEFAULT_MODEL)
def audit(
    model: ModelSource,
    behavior: Annotated[
        list[str] | None,
        typer.Option("--behavior", "-b", help="A behavior's name or TOML file; several times for several. "
                     "Default for organisms: those of its planted neurons."),
    ] = None,
    neuron: Annotated[list[str] | None, typer.Option("--neuron", "-n", help=_NEURON_HELP)] = None,
    vector: Annotated[
        list[str] | None,
        typer.Option("--vector", help="A residual vector in place of neurons: FILE:LAYER, as `units` takes it; several "
                     "times for several."),
    ] = None,
    screen: Annotated[str, typer.Option(help="Screen whose top neurons are tested.")] = DEFAULT_SCREEN,
    top: Annotated[int, typer.Option(min=0, help="How many of the screen's top, and as many random ones.")] = 4,
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="Predict ceilings from generic text alone; quicker, and less certain.")
    ] = False,
    keep_late: Annotated[
        bool, typer.Option("--keep-late", help="Test the screen's top also where nothing later could recompute it.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Run directory; default runs/<time>.")] = None,
    seed: SeedOption = 0,
    generic: Annotated[
        Path | None, typer.Option(help="Text file of ordinary prompts for the generic pass, one a line.")
    ] = None,
    include_completions: CompletionsOption = False,
    include_neurons: NeuronsOption = False,
    remote_judge: RemoteJudgeOption = False,
    estimate: EstimateOption = False,
    budget: BudgetOption = None,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """The main job: candidates, predicted ceilings, windows with verdicts, and a report.

    Tests an organism's planted neurons, those named, the screen's top K and K random ones. A directory that already
    holds the same audit is gone on with. With --vector the windows of vectors are measured, and of no neuron.
    """
    chosen = find_screen(screen)
    if vector and neuron:
        raise UsageError("vectors and neurons are measured in runs of their own", "leave out --vector or --neuron")
    vectors = [read_vector(given) for given in vector or []]
    behaviors = behavior or _default_behaviors(model.name)
    for name in behaviors:
        wanted = load_to_run(name, remote_judge=remote_judge)
        if top and not vectors:
            chosen.check(wanted)
    named = read_named(neuron)
    prompts = None if generic is None else read_lines(generic, "prompts")
    seconds = None if budget is None else parse_duration(budget)
    directory = out if out is not None else Path("runs") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    loaded = model.open()
    if vectors:
        say_directory(directory, asked=out is not None)
        with TerminalProgress() as progress:
            audit_vectors(
                loaded, behaviors, vectors, directory, seed=seed, include_neurons=include_neurons, progress=progress
            )
        show_run(directory, as_json, include_neurons, opened=open_report)
        return
    planned = audit_plan(
        loaded,
        behaviors,
        budget=seconds,
        # What was begun is gone on with, and nobody need be told again.
        estimate=estimate or not (directory / LEDGER_NAME).exists(),
        neurons=named,
        screen=screen,
        top=top,
        probe=not no_probe,
        keep_late=keep_late,
        seed=seed,
        generic_prompts=prompts,
        include_completions=include_completions,
        include_neurons=include_neurons,
        remote_judge=remote_judge,
    )
    if planned.estimate is not None:
        if estimate:
            show_estimate(planned.estimate, planned.plan.given_up, as_json)
            return
        messages().print(Text(say_estimate(planned.estimate, planned.plan.given_up), style="dim"), soft_wrap=True)
    say_directory(directory, asked=out is not None)
    with TerminalProgress() as progress:
        carry_out(loaded, planned, directory, progress)
    show_run(directory, as_json, include_neurons, opened=open_report)


def _default_behaviors(model: str) -> list[str]:
    if model.startswith("organism:"):
        planted = load_card(model.removeprefix("organism:")).planted
        return sorted({p.behavior for p in planted}, reverse=True)
    raise UsageError(
        "no behavior was given, and only organisms have some of their own",
        "name a TOML file with --behavior; controlwindow guide behaviors shows how to write one",
    )


@opens_model()
def window(
    model: ModelSource,
    behavior: BehaviorOption,
    neuron: Annotated[str, typer.Option("--neuron", "-n", help="The neuron, as in L3.N7, or @FILE with several.")],
    out: Annotated[Path | None, typer.Option(help="Keep ledger and report in this run directory.")] = None,
    seed: SeedOption = 0,
    remote_judge: RemoteJudgeOption = False,
    open_report: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure one neuron's window on both branches."""
    check_open(open_report, out)
    load_to_run(behavior, remote_judge=remote_judge)
    named = read_named([neuron])
    say_directory(out)
    loaded = model.open()
    with TerminalProgress() as progress:
        result = run_audit(
            loaded,
            behavior,
            out,
            neurons=named,
            top=0,
            planted=False,
            seed=seed,
            remote_judge=remote_judge,
            progress=progress,
        )
    if out is not None:
        show_run(out, as_json, opened=open_report)
    elif as_json:
        print_json(result.results.to_json(), "audit")
    else:
        console = output()
        for w in result.windows:
            verdict = w.verdict if w.failure_mode is None else f"{w.verdict}: {w.failure_mode}"
            sure = "" if w.decided else ", undecided"
            capped = "" if w.plateau is None else f"plateau {w.plateau:.3f}, "
            console.print(
                f"[bold]{w.neuron} {w.branch:+d}[/]  {verdict} (probability {w.verdict_probability:.2f}{sure})"
            )
            console.print(
                f"  trigger {_threshold(w.trigger, w.trigger_interval)}, "
                f"ceiling {_threshold(w.ceiling, w.ceiling_interval)}",
                f"  predicted ceiling {_threshold(w.ceiling_predicted, w.ceiling_predicted_interval)}, {capped}"
                f"height {w.height:.0%}",
                sep="\n",
                markup=False,
            )
        console.print(
            f"[dim]{result.windows[0].n_eligible} eligible prompts; c values, 95 % intervals (predicted: 90 %)"
        )


@opens_model()
def screen(
    model: ModelSource,
    behavior: BehaviorOption,
    method: Annotated[str, typer.Option("--method", "-m", help="The screen's name.")] = DEFAULT_SCREEN,
    top: Annotated[int | None, typer.Option(min=1, help="Rows to show; default 20, in JSON all.")] = None,
    split: Annotated[str, typer.Option(help="Split whose prompts are read: find or select.")] = "find",
    control: Annotated[
        str | None,
        typer.Option(help="shuffled: the same screen on shuffled labels; random: layer-matched random neurons."),
    ] = None,
    seed: SeedOption = 0,
    detection: Annotated[
        bool, typer.Option("--detection", help="Add how well each neuron tells X+ from X− on the evaluate split (AUC).")
    ] = False,
    remote_judge: RemoteJudgeOption = False,
    figure: Annotated[Path | None, typer.Option(help="Draw the ranking to this SVG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rank every FFN neuron for a behavior."""
    chosen, wanted = find_screen(method), load_behavior(behavior)
    if chosen.needs_rollouts:
        wanted = load_to_run(wanted, remote_judge=remote_judge)
    chosen.check(wanted, split, control)
    if detection:
        wanted.contrast("evaluate")
    name = wanted.name
    loaded = model.open()
    with TerminalProgress() as progress:
        found = run_screen(
            loaded,
            behavior,
            method,
            split=cast(Split, split),
            control=control,
            seed=seed,
            remote_judge=remote_judge,
            progress=progress,
        )
        if detection:
            areas = detect(loaded, behavior, progress=progress)
            found = replace(found, table=found.table.join(areas, on="neuron", how="left", maintain_order="left"))
    table, title = found.table, method if control is None else f"{method} ({control} control)"
    if figure is not None:
        draw_screen(table, figure, f"{title} screen for {name}, {loaded.name}")
    if as_json:
        print_json(found.to_json()[:top], "screen")
        return
    rows = [
        [
            str(r["rank"]), r["neuron"], f"{r['score']:+.4g}", _number(r["coherence"]), _number(r["budget"]),
            *([_threshold(r["auc"], (r["auc_low"], r["auc_high"]))] if detection else []),
        ]
        for r in table.head(top or 20).to_dicts()
    ]  # fmt: skip
    columns = [("rank", "right"), ("neuron", "left"), ("score", "right"), ("coherence", "right"), ("budget", "right")]
    if detection:
        columns.append(("AUC on evaluate", "left"))
    output().print(plain_table(columns, rows, escape(f"{title} screen of {loaded.name} for {name}")))
    # A table is made only of scores that cover every neuron; what it leaves out was dropped on purpose.
    left_out = "".join(f", {count} dropped ({escape(reason)})" for reason, count in found.dropped.items() if count)
    output().print(f"[dim]{Coverage(len(loaded.neurons), len(loaded.neurons))}{left_out}; {found.cost}")
    for note in found.notes[:_NOTES]:
        output().print(f"[dim]{escape(note)}")
    if len(found.notes) > _NOTES:
        output().print(f"[dim]… and {len(found.notes) - _NOTES} more")


@opens_model()
def atlas(
    model: ModelSource,
    neuron: Annotated[list[str] | None, typer.Option("--neuron", "-n", help=_NEURON_HELP + " Default: all.")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also dose random directions of every layer: slower, and predicts better.")
    ] = False,
    generic_prompts: Annotated[
        Path | None, typer.Option(help="Ordinary prompts for the generic pass, one a line; default the model's own.")
    ] = None,
    generic_length: Annotated[int, typer.Option(min=1, help="Length of a generic answer in tokens.")] = GENERIC_TOKENS,
    figure: Annotated[Path | None, typer.Option(help="Draw predicted ceilings by layer to this SVG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the ceiling of every FFN neuron on both branches, without a rollout of any of them."""
    named = None if neuron is None else read_named(neuron)
    prompts = None if generic_prompts is None else read_lines(generic_prompts, "prompts")
    loaded = model.open()
    passes = "generic and probe passes" if probe else "generic pass and weights"
    with TerminalProgress() as progress, progress.stage(passes) as stage:
        generic = generic_pass(loaded, prompts, generic_length)
        table = predict_ceilings(loaded, named, probe=probe, generic=generic, progress=stage.update)
    if figure is not None:
        draw_atlas(table, figure, f"{loaded.name}, {table['predictor'][0]} predictor")
    if as_json:
        print_json(table.to_dicts(), "atlas")
        return
    if neuron:
        columns = [("neuron", "left"), ("branch", "right"), ("c0", "right"), ("budget", "right"), ("ceiling", "left")]
        rows = [
            [r["neuron"], f"{r['branch']:+d}", f"{r['c0']:+.3f}", _number(r["budget"]),
             _predicted(r)]
            for r in table.to_dicts()
        ]  # fmt: skip
        output().print(plain_table(columns, rows))
    else:
        output().print(_atlas_by_layer(table))
    first = table.row(0, named=True)
    note = " (in sample: this model was among those fitted)" if first["in_sample"] else ""
    output().print(
        f"[dim]tier {first['tier']}, predictor {first['predictor']}{note}; ceilings in c, 90 % intervals; "
        "--json gives every neuron"
        + ("; --probe predicts layer by layer, from probe passes" if first["tier"] == "0" else "")
    )
    if table.filter(pl.col("reachable").not_() & pl.col("plateau").is_not_null()).height:
        output().print("[dim]capped: a norm after the FFN keeps c below the predicted ceiling at any dose")


def _atlas_by_layer(table: pl.DataFrame) -> object:
    grouped = table.group_by("layer").agg(
        neurons=pl.col("neuron").n_unique(),
        residual=pl.col("residual_norm").first(),
        budget=pl.col("budget").median(),
        widest=pl.col("c0").abs().max(),
        low=pl.col("ceiling_predicted").quantile(0.05),
        middle=pl.col("ceiling_predicted").median(),
        high=pl.col("ceiling_predicted").quantile(0.95),
        plateau=pl.col("plateau").median(),
        capped=100 * pl.col("reachable").not_().mean(),
    ).sort("layer")  # fmt: skip
    columns = [("layer", "right"), ("neurons", "right"), ("‖r‖", "right"), ("median budget", "right"),
               ("largest |c0|", "right"), ("ceiling 5 %", "right"), ("median", "right"), ("95 %", "right")]  # fmt: skip
    keys = ["residual", "budget", "widest", "low", "middle", "high"]
    if table["plateau"].null_count() < len(table):
        columns += [("median plateau", "right"), ("% capped", "right")]
        keys += ["plateau", "capped"]
    rows = [[str(r["layer"]), str(r["neurons"]), *(_number(r[key]) for key in keys)] for r in grouped.to_dicts()]
    return plain_table(columns, rows, "predicted ceilings by layer")


def _predicted(row: Mapping[str, Any]) -> str:
    if row["ceiling_predicted"] is not None:
        return _threshold(row["ceiling_predicted"], (row["ceiling_low"], row["ceiling_high"]))
    if row["reachable"] is None:
        return "–"
    return "not reached" if row["plateau"] is None else f"capped, plateau {row['plateau']:.3f}"


def _threshold(value: float | None, interval: tuple[float | None, float | None]) -> str:
    if value is None:
        return "not reached"
    low, high = interval
    return f"{value:.3f} [{_number(low)}, {_number(high)}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
