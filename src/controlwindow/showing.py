"""How results show themselves in a notebook: each knows who draws it, and nothing is imported until it is asked.

What is drawn lies in `report/notebook`, in a row above most of what is drawn, so it is found by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_DRAWER = "controlwindow.report.notebook"


class Showable:
    """A result that notebooks show as a figure or a table instead of its `repr`."""

    def _repr_html_(self) -> str:
        return str(import_module(_DRAWER).html_of(self))


def drawn(result: Any) -> Any:
    """The chart of a result, as the house draws it: an Altair chart."""
    return import_module(_DRAWER).chart_of(result)
