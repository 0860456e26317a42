"""What MkDocs does with our pages beyond its own: reference pages from the code, and links that leave docs/.

Nothing generated is committed: the commands and the public names are read from the package when the site is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import api_page, command_page

ROOT = Path(__file__).resolve().parents[1]
GENERATED = {"reference/commands.md": command_page, "reference/api.md": api_page}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)#]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and the pictures of the repository that pages show from outside docs/."""
    for path, make in GENERATED.items():
        files.append(File.generated(config, path, content=make()))
    docs = Path(config.docs_dir)
    for page in sorted(docs.rglob("*.md")):
        for picture, _, target in _LINK.findall(page.read_text("utf-8")):
            outside = _outside(page.parent, target, docs)
            if picture and outside and files.get_file_from_path(_carried(outside)) is None:
                files.append(File.generated(config, _carried(outside), abs_src_path=str(outside)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Links to files of the repository become their paths: the site does not carry them, and knows no address of it."""
    docs = Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent
    depth = "../" * page.file.src_uri.count("/")

    def rewrite(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        outside = _outside(folder, target, docs)
        if outside is None:
            return match[0]
        if picture:
            return f"![{text}]({depth}{_carried(outside)})"
        path = outside.relative_to(ROOT).as_posix()
        return f"`{path}`" if text in (path, "") else f"{text} (`{path}`)"

    return _LINK.sub(rewrite, markdown)


def _outside(folder: Path, target: str, docs: Path) -> Path | None:
    """The file of the repository that a link leads to, unless it lies in docs/."""
    path = (folder / target).resolve()
    return None if path.is_relative_to(docs.resolve()) or not path.is_relative_to(ROOT) else path


def _carried(path: Path) -> str:
    return "repository/" + path.relative_to(ROOT).as_posix()
