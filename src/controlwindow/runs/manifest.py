"""Putting a run's manifest on disk, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlwindow.errors import LedgerError


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write a manifest.

    Raises:
        LedgerError: It cannot be written.
    """
    scratch = path.with_suffix(".json.part")
    try:
        scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        os.replace(scratch, path)
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}: {error.strerror}", "free disk space or check permissions, then resume the run"
        ) from error
