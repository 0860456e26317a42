"""The one script that pages may hold: this package's own, allowed by its hash and by nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import controlwindow

SCRIPT = (Path(controlwindow.__file__).parent / "report" / "templates" / "report.js").read_text("utf-8")


def policy_of(html: str) -> dict[str, list[str]]:
    """The content security policy of a page, by directive."""
    (content,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', html)
    return {name: sources for name, *sources in (part.split() for part in content.split(";"))}


def hash_of(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def without_own_script(html: str) -> str:
    """A page less the script that it may hold; its policy allows that one alone."""
    assert html.count("<script") == 1
    assert policy_of(html)["script-src"] == [hash_of(SCRIPT)]
    assert policy_of(html)["default-src"] == ["'none'"]
    return html.replace(f"<script>{SCRIPT}</script>", "")
