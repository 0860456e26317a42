"""The validation of the law as a kind of run: several ledgers, one for each model, that hold one plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from controlwindow.errors import LedgerError
from controlwindow.jobs.law.plan import LawPlan
from controlwindow.jobs.law.runner import run_law
from controlwindow.models import Model
from controlwindow.report.pages.law.page import JSON_NAME, law_terminal, write_law
from controlwindow.runs.kinds import LEDGER_NAME, Kind, Shown, register_kind
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.progress import Progress
from controlwindow.runs.provenance import work_in

if TYPE_CHECKING:
    from rich.console import RenderableType


class LawKind(Kind):
    """Validations of the law."""

    name = "law"
    begin = "controlwindow validate --out"
    plan = LawPlan
    page_name = "law.html"

    def job(
        self, plan: LawPlan, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None
    ) -> NoReturn:
        """One model of a validation is no run of its own."""
        raise LedgerError(f"{directory} holds one model of a validation", f"resume the whole one, {directory.parent}")

    def holds(self, directory: Path) -> bool:
        """Whether a folder of the directory holds a model's ledger with such a plan."""
        return self._plan(directory) is not None

    def resume(self, directory: Path, model: Model | None, progress: Progress | None) -> dict[str, Any]:
        """Go on with a validation, one model after the other."""
        plan = self._plan(directory)
        if plan is None:
            raise LedgerError(f"{directory} holds no validation", f"start one with `{self.begin}`")
        document = run_law(plan, directory, progress=progress)
        write_law(document, directory, work=work_in(directory))
        return document

    def document(self, directory: Path) -> dict[str, Any]:
        """The law document of a finished validation."""
        path = directory / JSON_NAME
        if not path.is_file():
            raise LedgerError(
                f"the validation {directory} is not finished", f"go on with controlwindow resume {directory}"
            )
        try:
            document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise LedgerError(
                f"{path} cannot be read: {error}", f"write it again with controlwindow resume {directory}"
            ) from error
        return document

    def page(self, directory: Path, shown: Shown) -> Path:
        """Draw the page again."""
        write_law(self.document(directory), directory, work=work_in(directory))
        return directory / self.page_name

    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """Aims and what was measured."""
        yield from law_terminal(self.document(directory))

    def _plan(self, directory: Path) -> LawPlan | None:
        for path in sorted(directory.glob(f"*/{LEDGER_NAME}")):
            with Ledger(path) as ledger:
                found = ledger.find("plan", self.name)
            if found is not None:
                return LawPlan.from_record(found)
        return None


register_kind(LawKind())
