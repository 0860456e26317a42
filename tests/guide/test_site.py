"""The site as `make docs` builds it: strictly, whole, from the code as it is, and without anything from elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

import controlwindow

mkdocs = pytest.importorskip("mkdocs", reason="the docs extra is not installed")
ROOT = Path(__file__).resolve().parents[2]
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Reader(HTMLParser):
    """What a page loads, what it links to, and the ids it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.ids.add(values["id"])
        if tag in LOADS and values.get(LOADS[tag]):
            self.loads.append(values[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    directory = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(directory))
    # Strict: a page that is in no menu, a link or an anchor that leads nowhere, is an error here.
    build(config)
    return directory


@pytest.fixture(scope="module")
def pages(site):
    return {p.relative_to(site).as_posix(): p.read_text("utf-8") for p in sorted(site.rglob("*.html"))}


def test_nothing_is_loaded_from_elsewhere(site, pages):
    for name, text in pages.items():
        for address in Reader(text).loads:
            assert not re.match(r"(\w+:)?//", address), f"{name} loads {address}"
    sheets = [p.read_text("utf-8") for p in site.rglob("*.css")]
    assert sheets
    for sheet in sheets:
        assert re.findall(r"url\(['\"]?(?:\w+:)?//", sheet) == []
        assert "@import" not in sheet


def test_every_page_of_the_folder_is_there(pages):
    own = {p.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert set(pages) == own | {"404.html", "reference/commands.html", "reference/api.html"}


def test_every_command_has_its_section(pages):
    from guide.reference import commands

    text = pages["reference/commands.html"]
    names = {path.removeprefix("controlwindow ") for path, _ in commands()}
    assert {"audit", "organisms train", "behaviors check", "guide"} <= names
    headings = set(re.findall(r'<h2 id="[^"]+">([^<]+)<', text))
    assert headings == names
    assert "<code>--include-neurons</code>" in text


def test_every_public_name_has_its_section(pages):
    ids = Reader(pages["reference/api.html"]).ids
    assert {f"controlwindow.{name}" for name in controlwindow.__all__} <= ids


def test_the_search_knows_the_pages_and_can_be_read_from_a_folder(site):
    script = (site / "search" / "search_index.js").read_text("utf-8")
    index = json.loads(script.removeprefix("var __index = "))
    places = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"tutorial.html", "glossary.html", "reference/commands.html", "concepts/budget.html"} <= places


def test_links_into_the_repository_became_paths(pages):
    assert "<code>examples/gate/github.yml</code>" in pages["howto/ci.html"]
    assert not re.search(r'href="(\.\./)+(examples|src)/', "".join(pages.values()))


def test_a_search_in_a_browser_from_the_folder(site):
    """As a reader would: open the file, type a word, see pages."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    named = (os.environ.get("CONTROLWINDOW_CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser")))
    with api.sync_playwright() as player:
        path = next((path for path in (*named, player.chromium.executable_path) if path and Path(path).exists()), None)
        if path is None:
            pytest.skip("no Chromium here: install one, or name it with CONTROLWINDOW_CHROMIUM")
        browser = player.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        # The search listens to keys, as a reader presses them, once its worker has read the index.
        page.click("input.md-search__input", timeout=60_000)
        page.wait_for_timeout(1000)
        page.keyboard.type("plateau", delay=60)
        page.wait_for_selector(".md-search-result__link", timeout=120_000)
        found = [link.get_attribute("href") or "" for link in page.locator(".md-search-result__link").all()]
        browser.close()
    assert any(re.search(r"(glossary|definitions|concepts/\w+)\.html", link) for link in found)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
