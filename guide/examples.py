"""Doctests of our docstrings stand under "Example:", which griffe would take for a remark."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Reads "Example:" as Google's "Examples:"."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rename the section of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
