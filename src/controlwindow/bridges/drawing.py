"""What other tools measured along an audit's windows, put on disk beside the audit's own report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from controlwindow.errors import UsageError
from controlwindow.report.drawing import render
from controlwindow.report.page import slug, unique
from controlwindow.report.pages.capability.document import CapabilityDocument
from controlwindow.report.pages.capability.figures import capability_figure, describe_capability
from controlwindow.report.sharing import shareable
from controlwindow.report.writing import write_svg

FOLDER = "capability"


def require_inspect() -> None:
    """Say what to install where Inspect is missing.

    Raises:
        UsageError: It is.
    """
    if find_spec("inspect_ai") is None:
        raise UsageError("reading logs of Inspect needs inspect_ai", "pip install 'controlwindow[inspect]'")


def draw_capability(
    run: str | Path, evals: Sequence[str | Path], *, include_neurons: bool | None = None
) -> tuple[CapabilityDocument, list[Path]]:
    """Draw scores of Inspect's tasks along the windows of an audit, one figure a window, into its directory.

    Args:
        run: The audit's directory.
        evals: Logs, or folders of them.
        include_neurons: Name neurons and doses of sensitive behaviors on models that are no organisms; None keeps what
            the run was begun with.

    Returns:
        What may be shown, and where the figures lie.

    Raises:
        UsageError: inspect_ai is missing, or a log does not belong to the audit.
        LedgerError: The run is none.
        ReportError: A figure cannot be drawn or written.
    """
    require_inspect()
    from controlwindow.bridges.inspect.logs import capability
    from controlwindow.bridges.settings import read_audit

    names = read_audit(run).plan.include_neurons if include_neurons is None else include_neurons
    shown = shareable(capability(run, evals), include_neurons=names)
    folder = Path(run) / FOLDER
    for old in folder.glob("*.svg"):
        # It may show what is withheld now.
        old.unlink()
    paths: list[Path] = []
    taken: set[str] = set()
    for window in shown.windows:
        specification = capability_figure(window)
        if specification is None:
            continue
        side = "plus" if window.branch > 0 else "minus"
        stem = unique(slug(f"{window.behavior}-{window.neuron}-{side}"), taken)
        paths.append(folder / f"{stem}.svg")
        write_svg(paths[-1], render(specification, stem, describe_capability(window)))
    return shown, paths
