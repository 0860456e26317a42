"""What the pages of all kinds of run share: how one is drawn from its template, and what its figures are called."""

from __future__ import annotations

import base64
import hashlib
import html
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
        style, script = (Markup(text) for text in (_style(), _script()))
        text = self._environment.get_template(self._template).render(
            style=style, script=script, policy=_POLICY, **values
        )
        return Page(text.replace(_POLICY, _policy(text), 1), self._figures)


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


_POLICY = "the policy that the page is read under"
"""Stands in the page until all that it allows is there to be hashed."""

_OWN_STYLES = re.compile(r"background:#[0-9a-f]{6}|--width:\d+px;max-width:var\(--width\);width:100%;height:auto")
"""What the page itself writes into style attributes: swatches, and widths of figures."""


@cache
def _style() -> str:
    hues = "".join(f".verdict-{name}{{--hue:{color}}}\n" for name, color in palette.VERDICTS.items())
    return f"\n{_resource('report.css')}{hues}{_dark()}"


def _dark() -> str:
    """The page at night: its own colours, and those of figures by what each of them is in daylight."""
    hues = "".join(f".verdict-{name}{{--hue:{palette.at_night(color)}}}\n" for name, color in palette.VERDICTS.items())
    changed = palette.NIGHT.items()
    colors = "".join(f'svg [{of}="{day}"]{{{of}:{night}}}' for day, night in changed for of in ("fill", "stroke"))
    swatches = "".join(f'.swatch[style="background:{day}"]{{background:{night}!important}}' for day, night in changed)
    return f"@media screen and (prefers-color-scheme:dark){{\n{_resource('night.css')}{hues}{colors}\n{swatches}\n}}\n"


@cache
def _script() -> str:
    return _resource("report.js")


def _resource(name: str) -> str:
    return resources.files("controlwindow.report").joinpath(f"templates/{name}").read_text(encoding="utf-8")


def _policy(text: str) -> str:
    """Nothing may be loaded, sent or run but the page's own style and script, each by its hash.

    Style attributes are hashed too, and only those of a form that the page itself writes.
    """
    attributes = {html.unescape(value) for value in re.findall(r'\sstyle="([^"]*)"', text)}
    own = sorted(_hash(value) for value in attributes if _OWN_STYLES.fullmatch(value))
    allowed = " ".join([_hash(_style()), "'unsafe-hashes'", *own])
    return (
        f"default-src 'none'; style-src {allowed}; script-src {_hash(_script())}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
