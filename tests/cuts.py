"""Small cuts of shipped behaviors: the first prompts of every split and role, as a user's own file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path


def cut_prompts(shipped: str, left: Mapping[str, int], target: Path) -> None:
    """Write the first prompts of a shipped behavior.

    Args:
        shipped: The behavior's name.
        left: How many are left of each split, for either role.
        target: The file to write, one JSON object a line.
    """
    counts: dict[tuple[str, str], int] = {}
    kept = []
    text = resources.files("controlwindow.behaviors").joinpath(f"library/{shipped}.jsonl").read_text("utf-8")
    for line in text.splitlines():
        row = json.loads(line)
        key = (row["split"], row["role"])
        counts[key] = counts.get(key, 0) + 1
        if counts[key] <= left[row["split"]]:
            kept.append(line)
    target.write_text("\n".join(kept) + "\n", "utf-8")
