"""The pictures of the concept pages are what the script draws today."""

from __future__ import annotations

import re

import pytest

from guide.pictures import DOCS, PICTURES


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_picture_is_the_one_that_is_drawn(name):
    drawn, kept = PICTURES[name]() + "\n", (DOCS / "pictures" / f"{name}.svg").read_text("utf-8")
    # Words and shapes; how wide a font is on this machine moves labels by fractions of a pixel.
    assert words(drawn) == words(kept)
    assert shapes(drawn) == shapes(kept)


def test_every_concept_has_its_picture_and_every_picture_its_concept():
    shown = {
        page.stem: set(re.findall(r"\]\(\.\./pictures/(\w+)\.svg\)", page.read_text("utf-8")))
        for page in (DOCS / "concepts").glob("*.md")
    }
    assert shown == {name: {name} for name in PICTURES}
    assert {p.stem for p in (DOCS / "pictures").glob("*.svg")} == set(PICTURES)


def words(svg: str) -> list[str]:
    return re.findall(r"<(?:text|tspan|title|desc)[^>]*>([^<]+)<", svg)


def shapes(svg: str) -> tuple[int, ...]:
    return tuple(svg.count(f"<{tag}") for tag in ("path", "line", "rect", "text"))
