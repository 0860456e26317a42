"""The command `guide`: the pages that hints name, wherever the package was installed from."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markdown import Markdown

import controlwindow
from controlwindow.cli.display import output, print_json
from controlwindow.cli.options import JsonOption
from controlwindow.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: controlwindow guide behaviors")(guide)


def guide(
    page: Annotated[
        str | None, typer.Argument(help="A page's name; without one, all are listed.", metavar="PAGE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a page of the guide: every key of a file, every quantity, every error."""
    pages = guide_pages()
    if page is None:
        titles = {name: title_of(path) for name, path in pages.items()}
        if as_json:
            print_json([{"name": name, "title": title} for name, title in titles.items()], "guide")
            return
        width = max(map(len, titles), default=0)
        for name, title in titles.items():
            sys.stdout.write(f"{name:{width}}  {title}\n")
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        close = difflib.get_close_matches(name, pages, n=1)
        raise UsageError(
            f"the guide has no page {page!r}",
            f"did you mean {close[0]!r}?" if close else "controlwindow guide lists them",
        )
    text = pages[name].read_text("utf-8")
    if as_json:
        print_json({"name": name, "title": title_of(pages[name]), "markdown": text}, "page")
    elif sys.stdout.isatty():
        output().print(Markdown(text))
    else:
        sys.stdout.write(text)


def guide_pages() -> dict[str, Path]:
    """The pages by name, sorted: those in the package (a wheel), or those of the checkout it is run from.

    Raises:
        UsageError: Neither is there.
    """
    package = Path(controlwindow.__file__).parent
    for folder in (package / "guide", package.parents[1] / "docs"):
        found = {path.stem: path for path in sorted(folder.glob("*.md"))}
        if found:
            return found
    raise UsageError("this installation has no guide", "install the wheel, or run a checkout with its docs/ folder")


def title_of(page: Path) -> str:
    """What a page's first heading says."""
    return page.read_text("utf-8").partition("\n")[0].lstrip("# ").strip()
