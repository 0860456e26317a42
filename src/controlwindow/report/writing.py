"""Putting a report on disk: whole or not at all, and never with leftovers of a less careful one."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

from controlwindow.errors import ReportError
from controlwindow.report.page import Page
from controlwindow.report.pages.audit.document import ReportDocument
from controlwindow.report.pages.audit.page import render_page
from controlwindow.report.sharing import shareable
from controlwindow.runs.ledger import make_directory
from controlwindow.runs.provenance import NO_WORK, Work

_HALF = re.compile(r"\.(?:html|svg|json|md|tex)\.[^.]+\.part$")


def write_report(
    document: ReportDocument,
    directory: Path,
    *,
    include_completions: bool = False,
    include_neurons: bool = False,
    work: Work = NO_WORK,
) -> Path:
    """Write `report.html` and `figures/*.svg` into a run directory.

    Args:
        document: The audit's results.
        directory: The run directory; made if absent.
        include_completions: Show the completions of sensitive behaviors.
        include_neurons: Show neurons and doses of sensitive behaviors on models that are not organisms.
        work: When it was measured, for how long and by which command.

    Returns:
        The path of the page.

    Raises:
        ReportError: A figure cannot be drawn, or a file cannot be written.
    """
    shown = shareable(document, include_completions=include_completions, include_neurons=include_neurons)
    return write_page(render_page(shown, work.rows(hide=shown.withheld)), directory)


def write_page(page: Page, directory: Path) -> Path:
    """Write a page as `report.html` and its figures as `figures/*.svg`.

    Figures of an earlier report that this one does not have are removed: they may show what is withheld now.

    Args:
        page: The page.
        directory: The run directory; made if absent.

    Returns:
        The path of the page.

    Raises:
        ReportError: A file cannot be written.
    """
    folder = directory / "figures"
    target = directory / "report.html"
    try:
        make_directory(folder)
        sweep(directory, folder)
        names = {f"{stem}.svg" for stem in page.figures}
        for old in folder.glob("*.svg"):
            if old.name not in names:
                old.unlink()
        for stem, svg in page.figures.items():
            replace_file(folder / f"{stem}.svg", svg)
        replace_file(target, page.html)
    except OSError as error:
        raise ReportError(
            f"the report cannot be written to {directory}: {error.strerror or error}",
            "free some space or choose a directory you may write to, then run `controlwindow report` on the run",
        ) from error
    return target


def sweep(*folders: Path) -> None:
    """Remove halves that a report left when it was killed: they may hold completions that are withheld now."""
    for folder in folders:
        for left in folder.glob(".*.part"):
            if _HALF.search(left.name):
                left.unlink(missing_ok=True)


def write_svg(path: Path, svg: str) -> None:
    """Write one figure where the user asked for it.

    Raises:
        ReportError: The file cannot be written.
    """
    try:
        make_directory(path.parent)
        replace_file(path, svg)
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}", "choose another file") from error


def replace_file(path: Path, text: str) -> None:
    """Write beside the target and rename, so that a reader sees the old file or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a report is meant to be shared.
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
