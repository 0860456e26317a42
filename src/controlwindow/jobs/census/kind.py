"""The census as a kind of run: how one is gone on with, read and shown; its results go into an organism's card."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from controlwindow.behaviors import load_behavior
from controlwindow.errors import LedgerError
from controlwindow.jobs.census.job import Census
from controlwindow.jobs.census.plan import CensusPlan
from controlwindow.models import Model, load_model
from controlwindow.runs.kinds import Kind, Shown, open_run, register_kind
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.console import RenderableType


class CensusKind(Kind):
    """Censuses."""

    name = "census"
    begin = "controlwindow organisms census NAME --out"
    plan = CensusPlan
    page_name = None

    def job(
        self, plan: CensusPlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> Census:
        """The census of a plan."""
        found = load_model(plan.organism) if model is None else model
        if found.fingerprint != plan.fingerprint:
            raise LedgerError(
                f"{directory} is of {plan.organism} with weights {plan.fingerprint[:12]}, but {found.name} has "
                f"{found.fingerprint[:12]}",
                "give the model that was measured, or start a new run with another --out",
            )
        return Census(found, tuple(map(load_behavior, plan.behaviors)), plan, ledger, progress or Silent())

    def document(self, directory: Path) -> dict[str, Any]:
        """The results of a finished census."""
        with open_run(directory) as ledger:
            self.planned(ledger)
            found: dict[str, Any] | None = ledger.find("result", self.name)
        if found is None:
            raise LedgerError(f"the census {directory} is not finished", f"go on with controlwindow resume {directory}")
        return found

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """How many of the sample open for each behavior, and which."""
        yield from census_terminal(self.document(directory))


def census_terminal(document: dict[str, Any]) -> Iterator[RenderableType]:
    """What a reader at a terminal is shown of a census."""
    for behavior, rate in document["open"].items():
        low, high = rate["interval"]
        yield f"{behavior}: {rate['k']} of {rate['n']} random neurons open [{low:.1%}, {high:.1%}]"
        yield Text(", ".join(rate["neurons"]) or "none", style="dim")


register_kind(CensusKind())
