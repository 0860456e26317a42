"""How every page's template is read: escaped, strict about what is missing, with the filters that the page asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def page_template(
    name: str, filters: Mapping[str, Callable[..., Any]], functions: Mapping[str, Callable[..., Any]] | None = None
) -> Template:
    """A template of this package.

    Args:
        name: Its file under `templates/`.
        filters: Filters by name.
        functions: What the template calls, by name.
    """
    environment = Environment(
        loader=PackageLoader("controlwindow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    environment.globals |= dict(functions or {})
    return environment.get_template(name)
