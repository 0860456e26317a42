"""What the pages of all kinds of run share: how one is drawn from its template, and what its figures are called."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from controlwindow.report import palette, wording
from controlwindow.report.drawing import render


class Page(NamedTuple):
    """The page and the figures it shows, by file stem."""

    html: str
    figures: Mapping[str, str]


class Sheet:
    """A page in the making: its figures are drawn one by one, then its template is filled in.

    Args:
        template: File of the template under `templates/`.
        filters: Filters that this kind's template asks for, beside those that all have.
    """

    def __init__(self, template: str, filters: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self._environment = _environment().overlay()
        self._environment.filters = {**self._environment.filters, **(filters or {})}
        self._template = template
        self._figures: dict[str, str] = {}

    def draw(self, stem: str, specification: Mapping[str, Any] | None, description: str) -> Markup | None:
        """Draw a figure; None where there is nothing to draw.

        Args:
            stem: File stem of the figure.
            specification: The chart.
            description: What it shows, for readers who cannot see it.

        Raises:
            ReportError: It cannot be drawn.
        """
        if specification is None:
            return None
        self._figures[stem] = render(dict(specification), stem, description)
        return Markup(self._figures[stem])

    def page(self, **values: Any) -> Page:
        """The page with its figures."""
        return Page(
            self._environment.get_template(self._template).render(style=Markup(_style()), **values), self._figures
        )


@cache
def _environment() -> Environment:
    """Escaped, and strict about what is missing."""
    environment = Environment(
        loader=PackageLoader("controlwindow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": wording.number,
        "quantity": wording.quantity,
        "percent": wording.percent,
        "percent_interval": wording.percent_interval,
        "interval": wording.interval,
        "outcome": wording.outcome_name,
        "visible": wording.visible,
        "pretty": _pretty,
    }
    return environment


@cache
def _style() -> str:
    rules = resources.files("controlwindow.report").joinpath("templates/report.css").read_text(encoding="utf-8")
    return rules + "".join(f".verdict-{name}{{--hue:{color}}}\n" for name, color in palette.VERDICTS.items())


def slug(text: str) -> str:
    """A file stem of letters, digits and dashes.

    Example:
        >>> slug("L3.N120"), slug("../../etc")
        ('l3-n120', 'etc')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "unnamed"


def unique(stem: str, taken: set[str]) -> str:
    """The stem, or the stem with a number where it is taken; it is taken afterwards."""
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}"
    taken.add(name)
    return name


def _pretty(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
