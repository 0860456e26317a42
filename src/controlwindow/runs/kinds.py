"""Kinds of runs: one table from which every run is resumed, read, drawn and shown."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from controlwindow.errors import LedgerError, UsageError
from controlwindow.models import Model
from controlwindow.plugins import KINDS, load_plugin, plugin_names
from controlwindow.runs.command import note_directory
from controlwindow.runs.ledger import Ledger
from controlwindow.runs.manifest import MANIFEST_NAME, write_manifest
from controlwindow.runs.plan import Plan, commit_plan
from controlwindow.runs.progress import Progress
from controlwindow.runs.provenance import BEGUN, at_work

if TYPE_CHECKING:
    from rich.console import RenderableType

LEDGER_NAME = "ledger.sqlite"


class Shown(NamedTuple):
    """What a page shows beyond what may be shared; None keeps what the run's plan says.

    Attributes:
        completions: Completions of sensitive behaviors.
        neurons: Neurons and doses of sensitive behaviors on models that are no organisms.
    """

    completions: bool | None = None
    neurons: bool | None = None


class Job(Protocol):
    """What a run does. Every stage looks into the ledger first, so that one cut off goes on where it was."""

    @property
    def plan(self) -> Plan:
        """What is to be done."""

    @property
    def ledger(self) -> Ledger:
        """Where everything is written."""

    def records(self) -> Sequence[tuple[str, str, Any]]:
        """What a new plan is written with: models and behaviors."""

    def run(self) -> Any:
        """Do the whole job."""


class Kind(ABC):
    """One kind of run, known by the name under which ledgers hold its plan."""

    name: ClassVar[str]
    begin: ClassVar[str]
    """The command that begins one, for hints."""

    plan: ClassVar[type[Plan]]
    page_name: ClassVar[str | None] = "report.html"
    """Name of its page in a run directory; None for a kind that has none."""

    @abstractmethod
    def job(self, plan: Any, ledger: Ledger, directory: Path, model: Model | None, progress: Progress | None) -> Job:
        """The job of a plan that lies in a ledger, with the model and the behaviors that were planned.

        Raises:
            LedgerError: The model or a behavior is no longer what was planned.
            ModelError: The model was in hand and is not given.
        """

    @abstractmethod
    def document(self, directory: Path) -> dict[str, Any]:
        """Results as plain values, from the ledger alone: what `results --json` prints.

        Raises:
            LedgerError: There are none yet.
        """

    def page(self, directory: Path, shown: Shown) -> Path:
        """Draw the page and its figures from the ledger, and say where the page lies.

        Raises:
            UsageError: This kind of run has no page.
        """
        raise UsageError(f"{directory} holds a {self.name}, which has no page", "print it with controlwindow results")

    @abstractmethod
    def terminal(self, directory: Path, shown: Shown) -> Iterator[RenderableType]:
        """What a reader at a terminal is shown of the results; it withholds what the page withholds."""

    def names_neurons(self, directory: Path, shown: Shown) -> bool:
        """Whether neurons of sensitive behaviors are named on any model: as asked, else as the plan says."""
        if shown.neurons is not None:
            return shown.neurons
        with open_run(directory) as ledger:
            return bool(self.planned(ledger).include_neurons)

    def result(self, found: Any, job: Job, directory: Path | None) -> Any:
        """What the call that began the run gives back, from what the job gave."""
        return found

    def resume(self, directory: Path, model: Model | None, progress: Progress | None) -> Any:
        """Go on with a run that was cut off; a finished one is only reported again."""
        with open_run(directory) as ledger:
            ledger.lock()
            job = self.job(self.planned(ledger), ledger, directory, model, progress)
            return self.carry_out(job, directory)

    def carry_out(self, job: Job, directory: Path | None) -> Any:
        """Do a job and draw its page; what the page shows follows the job's own plan, which may ask for more."""
        found = do(job, directory)
        if directory is not None and self.page_name is not None:
            plan = job.plan
            shown = Shown(getattr(plan, "include_completions", False), getattr(plan, "include_neurons", False))
            self.page(directory, shown)
        return self.result(found, job, directory)

    def planned(self, ledger: Ledger) -> Any:
        """The plan that a ledger holds.

        Raises:
            LedgerError: It holds none of this kind.
        """
        found = ledger.find("plan", self.name)
        if found is None:
            raise LedgerError(f"{ledger.path} holds no {self.name}", f"start one with `{self.begin}`")
        return self.plan.from_record(found)

    def holds(self, directory: Path) -> bool:
        """Whether a directory without a ledger of its own holds a run of this kind, such as one of several models."""
        return False


_JOBS = "controlwindow.jobs"
_KINDS: dict[str, Kind] = {}


def register_kind(kind: Kind) -> None:
    """Make a kind of run known by the name of its plan."""
    _KINDS[kind.name] = kind


def kind_names() -> tuple[str, ...]:
    """Names of the kinds of runs there are, those of extensions among them."""
    _import_jobs()
    return tuple(sorted({*_KINDS, *plugin_names(KINDS)}))


def find_kind(name: str) -> Kind | None:
    """A kind of run by the name of its plan: of a job here, or of an extension; None where there is none.

    Raises:
        ExtensionError: The extension that has it cannot be loaded.
    """
    _import_jobs()
    if name not in _KINDS:
        load_plugin(KINDS, name)
    return _KINDS.get(name)


def _import_jobs() -> None:
    """Have every job say its kind; done when a run is first asked for, since it costs what all of them import."""
    for job in pkgutil.iter_modules(import_module(_JOBS).__path__, f"{_JOBS}."):
        if find_spec(f"{job.name}.kind") is not None:
            import_module(f"{job.name}.kind")


def kind_of(directory: str | Path) -> Kind:
    """The kind of run that a directory holds; its ledger is read once.

    Raises:
        LedgerError: There is no run, it died before its plan was written, or its kind is unknown here.
    """
    directory = Path(directory)
    _require_directory(directory)
    holder = _holder(directory)
    if holder is not None:
        return holder
    with open_run(directory) as ledger:
        plans = list(ledger.find_all("plan"))
    if not plans:
        raise LedgerError(
            f"the run in {directory} ended before its plan was written, so nothing is lost",
            "start it again with the command and the --out that it was begun with",
        )
    found = find_kind(plans[0])
    if found is None:
        raise LedgerError(
            f"{directory} holds a run of the kind {plans[0]!r}, which is unknown here",
            "install the version or the extension that wrote it",
        )
    return found


def _require_directory(directory: Path) -> None:
    hint = "give the directory that a command named with --out"
    try:
        there = directory.is_dir()
    except OSError as error:
        raise LedgerError(f"no run directory at {str(directory)[:200]}: {error.strerror}", hint) from error
    if not there:
        raise LedgerError(f"no run directory at {directory}", hint)


def _holder(directory: Path) -> Kind | None:
    """The kind of a run whose ledgers lie below its directory; None where the directory has a ledger of its own."""
    if not directory.is_dir() or (directory / LEDGER_NAME).is_file():
        return None
    _import_jobs()
    return next((kind for kind in _KINDS.values() if kind.holds(directory)), None)


def open_run(directory: Path) -> Ledger:
    """The ledger of a run directory.

    Raises:
        LedgerError: There is none, or it cannot be read.
    """
    _require_directory(directory)
    return Ledger(directory / LEDGER_NAME)


@contextmanager
def run_ledger(directory: Path | None) -> Iterator[Ledger]:
    """A ledger for a new run, or for one that is gone on with, claimed for this process; None keeps it in memory.

    Raises:
        LedgerError: It cannot be made or read, another process is running it, or the directory holds a run of several
            ledgers.
    """
    holder = None if directory is None else _holder(directory)
    if holder is not None:
        raise LedgerError(f"{directory} holds a run of another kind ({holder.name})", "give another --out")
    with Ledger() if directory is None else Ledger(directory / LEDGER_NAME, create=True) as ledger:
        ledger.lock()
        yield ledger


def do(job: Job, directory: Path | None = None) -> Any:
    """Commit a job's plan and do the job.

    Args:
        job: The job, with an open ledger.
        directory: Where the manifest is written; None where the ledger is kept in memory.

    Raises:
        LedgerError: The ledger holds another run, or cannot be written.
    """
    commit_plan(job.ledger, job.plan, job.records())
    ledger, kind = job.ledger, job.plan.kind
    if directory is not None:
        note_directory(directory)
    if _is_over(ledger, kind):
        # It may lie where nothing can be written any more.
        if directory is not None and not (directory / MANIFEST_NAME).is_file():
            write_manifest(ledger, directory, kind)
        return job.run()
    with at_work(ledger):
        if directory is not None:
            write_manifest(ledger, directory, kind)
        found = job.run()
    if directory is not None:
        # Once more, with what was noted of the model when it was prepared and of the work.
        write_manifest(ledger, directory, kind)
    ledger.remember("finished", kind, dict)
    ledger.record(_OVER, kind, {})
    return found


_OVER = "over"
"""A record after the last manifest: a result alone does not say that there is one."""


def _is_over(ledger: Ledger, kind: str) -> bool:
    if ledger.find(_OVER, kind) is not None:
        return True
    # Earlier runs noted neither; nothing is left to be done for them that needs their ledger written.
    return not ledger.find_all(BEGUN) and ledger.find("finished", kind) is not None
