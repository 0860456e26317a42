"""One screen from beginning to end: a ranking of every neuron, with a ledger in memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from controlwindow.behaviors import Behavior, Split, load_behavior, load_to_run
from controlwindow.cells import AreaCell
from controlwindow.models import Model
from controlwindow.models.model import require_model
from controlwindow.report.notebook import table_html
from controlwindow.report.wording import number, quantity
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent
from controlwindow.runs.session import prepare
from controlwindow.screens import DEFAULT_SCREEN, Cost, find_screen
from controlwindow.screens.detection import detection_table

_SHOWN = 10
"""Neurons, and notes, that a notebook shows."""


@dataclass(frozen=True)
class Screening:
    """A screen's table and what belongs to it.

    Attributes:
        table: The ranking, as `screen` gives it.
        cost: What its passes cost, the generic pass not included: it is the model's.
        dropped: How many neurons were left out of the table on purpose, by reason.
        notes: What a reader of the table should know, such as perturbations that flip nothing.
    """

    table: pl.DataFrame
    cost: Cost
    dropped: dict[str, int]
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        top = self.table.head(_SHOWN)
        rows = [
            [str(r["rank"]), r["neuron"], f"{r['score']:+.4g}", number(r["coherence"]), quantity(r["budget"])]
            for r in top.to_dicts()
        ]
        said = "".join(f"<li>{escape(note)}</li>" for note in self.notes[:_SHOWN])
        words = f"<p>{len(self.table)} neurons ranked; {escape(str(self.cost))}</p>"
        return words + table_html(("rank", "neuron", "score", "coherence", "budget"), rows) + f"<ul>{said}</ul>"

    def to_json(self) -> list[dict[str, Any]]:
        """The table's rows, each with what the whole table cost."""
        cost = {**asdict(self.cost), "tokens": round(self.cost.tokens)}
        return [{**row, "cost": cost} for row in self.table.to_dicts()]


def screen(
    model: Model,
    behavior: str | Path | Behavior,
    method: str = DEFAULT_SCREEN,
    *,
    split: Split = "find",
    seed: int = 0,
    control: str | None = None,
    remote_judge: bool = False,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Rank every FFN neuron for a behavior.

    Args:
        model: The model.
        behavior: A name, a path to a TOML file, or a loaded behavior.
        method: The screen's name: causal, contrastive, window, perturbation, gradient, gradient_x_activation,
            attribution_patching, readout, one or random.
        split: Split whose prompts are read, find or select.
        seed: Seed of what is random.
        control: None; "shuffled" for the same screen on shuffled labels; "random" for layer-matched random neurons
            under the same selection.
        remote_judge: Let judges on other machines read answers of sensitive behaviors, where a screen rolls out.
        progress: Where progress is shown.

    Returns:
        Best first: neuron, layer, index, score, sign, rank, coherence, budget; with experts also expert. What it cost
        and left out comes with `run_screen`.

    Raises:
        ScreenError: No such screen or control, or the behavior lacks what the screen reads.
        BehaviorError: The behavior is invalid or has no contrast.

    Example:
        >>> import controlwindow as cw
        >>> table = cw.screen(cw.load_model("organism:switch"), "refusal", method="window")
        >>> table["rank"][0]
        1
    """
    found = run_screen(
        model,
        behavior,
        method,
        split=split,
        seed=seed,
        control=control,
        remote_judge=remote_judge,
        progress=progress,
    )
    return found.table


def detection(
    model: Model,
    behavior: str | Path | Behavior,
    *,
    split: Split = "evaluate",
    progress: Progress | None = None,
) -> pl.DataFrame:
    """How well every FFN neuron tells X+ from X− by its activation at the last prompt position.

    Args:
        model: The model.
        behavior: A name, a path to a TOML file, or a loaded behavior.
        split: Split whose contrast is read; by default the one that no screen reads.
        progress: Where progress is shown.

    Returns:
        neuron, auc, auc_low, auc_high (95 %), in the order of `model.neurons`. Above 0.5, X+ excites the neuron more.

    Raises:
        BehaviorError: The behavior is invalid, or the split has no contrast.

    Example:
        >>> import controlwindow as cw
        >>> table = cw.detection(cw.load_model("organism:switch"), "refusal")
        >>> table.columns
        ['neuron', 'auc', 'auc_low', 'auc_high']
    """
    loaded = load_behavior(behavior)
    require_model(model)
    loaded.contrast(split)
    progress, cell = progress or Silent(), AreaCell(loaded.name, split)
    with Ledger() as ledger:
        prepared = prepare(model, ledger, progress, seed=0, prove=False, judge=False)
        with progress.stage(f"{loaded.name}: detection"):
            found = prepared.session([loaded]).ask("detection", [cell])
    return detection_table(model, found[cell][0])


def run_screen(
    model: Model,
    behavior: str | Path | Behavior,
    method: str = DEFAULT_SCREEN,
    *,
    split: Split = "find",
    seed: int = 0,
    control: str | None = None,
    remote_judge: bool = False,
    progress: Progress | None = None,
) -> Screening:
    """Rank every FFN neuron for a behavior, as `screen`, and say what it cost and left out.

    Example:
        >>> import controlwindow as cw
        >>> found = cw.run_screen(cw.load_model("organism:switch"), "refusal", method="readout")
        >>> found.cost.forward, len(found.table)
        (0, 3072)
    """
    chosen = find_screen(method)
    require_model(model)
    loaded = load_to_run(behavior, remote_judge=remote_judge) if chosen.needs_rollouts else load_behavior(behavior)
    progress = progress or Silent()
    with Ledger() as ledger:
        # What a screen rolls out is judged; the others neither roll out nor, but for causal, dose.
        prepared = prepare(model, ledger, progress, seed=seed, prove=False, judge=chosen.needs_rollouts)
        planner = chosen(model, loaded, prepared.generic, split=split, seed=seed, control=control)
        with progress.stage(f"{loaded.name}: screen {method}"):
            prepared.session([planner.behavior]).scheduler.run(f"screen {method}", [planner])
    return Screening(
        planner.table(),
        planner.cost,
        {reason: int(mask.sum()) for reason, mask in planner.dropped().items()},
        tuple(planner.notes),
    )
