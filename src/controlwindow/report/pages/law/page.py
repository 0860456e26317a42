"""What a validation of the law leaves behind: `law.json`, one offline page, its figures, and tables for a paper."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from controlwindow.errors import ReportError
from controlwindow.report.page import Sheet
from controlwindow.report.pages.law import figures as law_figures
from controlwindow.report.pages.law import tables as law_tables
from controlwindow.report.terminal import plain_table
from controlwindow.report.writing import replace_file, sweep
from controlwindow.runs.ledger import make_directory
from controlwindow.runs.provenance import NO_WORK, Made, Work
from controlwindow.values import from_table

JSON_NAME = "law.json"


def write_law(
    document: Mapping[str, Any], directory: Path, extra: Path | None = None, work: Work = NO_WORK
) -> list[Path]:
    """Write the document, the page, the figures and the tables.

    Args:
        document: The law document.
        directory: The run directory.
        extra: Another file that the document is written to, such as docs/results/law.json.
        work: When it was measured, for how long and by which command.

    Returns:
        The files written.

    Raises:
        ReportError: A figure cannot be drawn, or a file cannot be written.
    """
    page, figures = render_law(document, work.rows(hide=bool(document.get("withheld"))))
    tables = law_tables.paper_tables(document)
    files = {
        directory / JSON_NAME: law_text(document),
        directory / "law.html": page,
        directory / "tables.md": "\n\n".join(map(law_tables.to_markdown, tables)) + "\n",
        directory / "tables.tex": "\n\n".join(map(law_tables.to_latex, tables)) + "\n",
        **{directory / "figures" / f"{stem}.svg": svg for stem, svg in figures.items()},
    }
    if extra is not None:
        files[extra] = law_text(document)
    try:
        sweep(directory, directory / "figures")
        for path, text in files.items():
            make_directory(path.parent)
            replace_file(path, text)
    except OSError as error:
        raise ReportError(
            f"the law document cannot be written to {directory}: {error.strerror or error}",
            "free some space or choose another directory, then run the same command again",
        ) from error
    return list(files)


def law_text(document: Mapping[str, Any]) -> str:
    """The document as JSON, one record a line."""
    rows = document["records"]["rows"]
    bare = {**document, "records": {**document["records"], "rows": []}}
    text = json.dumps(bare, indent=1, ensure_ascii=False, allow_nan=False)
    lines = ",\n".join("   " + json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    head, _, tail = text.rpartition('"rows": []')
    return f'{head}"rows": [\n{lines}\n  ]{tail}\n'


def law_terminal(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What a reader at a terminal is shown of a validation."""
    table = law_tables.aims_table(document)
    rows = [[what, measured, aim] for what, _, aim, measured, _ in table.rows]
    columns = [("", "left"), ("measured", "right"), ("this project’s aim for its own models", "left")]
    yield plain_table(columns, rows, optional=(columns[2][0],))
    yield (
        f"[dim]{len(document['models'])} models, {document['lineages']} lineages, {document['held_out_neurons']} "
        f"held-out neurons; order proved by the ledgers for {document['order']['forecasts']} forecasts"
    )


def render_law(document: Mapping[str, Any], made: Made = ()) -> tuple[str, Mapping[str, str]]:
    """The page, and its figures by file stem.

    Raises:
        ReportError: A figure cannot be drawn.
    """
    records = from_table(document["records"])
    scores = document["scores"]
    specifications = {
        "known-models": law_figures.predicted_against_measured(records, "known"),
        "lineages-left-out": law_figures.predicted_against_measured(records, "left_out"),
        "coverage-known-models": law_figures.coverage_by_model(scores, "known"),
        "errors-by-lineage": law_figures.errors_by_group(scores),
        "constants": law_figures.constants(scores),
        "detector-roc": law_figures.roc(document["models"]),
    }
    sheet = Sheet("law.html.jinja")
    figures = {
        stem: sheet.draw(stem, found, _DESCRIPTIONS[stem])
        for stem, found in specifications.items()
        if found is not None
    }
    seed = document["plan"]["sizes"]["seed"]
    origin = [
        *made,
        ("plan", document["plan"]["digest"]),
        ("seed", None if seed is None else str(seed)),
        *((f"model {model['name']}", f"weights {model['fingerprint']}") for model in document["plan"]["models"]),
    ]
    return sheet.page(document=document, figures=figures, descriptions=_DESCRIPTIONS, tables=law_tables, origin=origin)


_DESCRIPTIONS = {
    "known-models": "Predicted against measured ceilings, held-out neurons of known models, by layer region.",
    "lineages-left-out": "Predicted against measured ceilings, each lineage predicted without itself.",
    "coverage-known-models": "Share of measured ceilings inside the nominal 90 % interval, by model, with the aim.",
    "errors-by-lineage": "Mean absolute error on every lineage left out, of the law and of the best constant.",
    "constants": "Leave-one-out error in log dose of a constant α, t and c, natural neurons.",
    "detector-roc": "ROC of the coherence detector on labelled controls, a line for each model and behavior.",
}
