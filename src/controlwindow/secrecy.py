"""What may leave the machine of settings, paths and foreign text; `report/sharing` applies it to whole documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

WITHHELD = "withheld"
NAME_OF_NEURON = re.compile(r"\bL\d+(?:\.E\d+)?\.N\d+\b", re.IGNORECASE)

_HARMLESS = frozenset({"behavior", "behaviors", "device", "dtype", "factors", "levels", "methods", "model", "thinking"})
"""Settings from which, with the model at hand, no neuron follows: no screen, size, seed, name or hash."""


def hides_neurons(*, sensitive: bool, organism: bool, include_neurons: bool) -> bool:
    """Whether neurons and doses are withheld: those of sensitive behaviors on models whose makers planted none."""
    return sensitive and not organism and not include_neurons


def shareable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, without what a neuron follows from: names, screen, sizes, seed and the hash of all of it."""
    return {key: without_folders(value) for key, value in settings.items() if key in _HARMLESS}


def shareable_manifest(manifest: Mapping[str, Any], *, hide: bool) -> dict[str, Any]:
    """A run's manifest, where neurons are withheld without its seed and with settings that name none.

    Args:
        manifest: The manifest.
        hide: Whether neurons are withheld (`hides_neurons`).
    """
    if not hide:
        return dict(manifest)
    models = {
        key: scrubbed(without_folders(manifest[key])) for key in ("model", "base") if manifest.get(key) is not None
    }
    settings = shareable_settings(manifest["configuration"])
    return {**manifest, **models, "seed": None, "configuration": settings, "withheld": True}


def scrubbed(value: Any) -> Any:
    """Text, or texts, with every name of a neuron struck out."""
    if isinstance(value, str):
        return NAME_OF_NEURON.sub(f"[{WITHHELD}]", value)
    if isinstance(value, Mapping):
        return {scrubbed(key): scrubbed(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(scrubbed(inner) for inner in value)
    return value


def without_folders(value: Any) -> Any:
    """Nested values with the names of files in place of the paths that lead to them."""
    if isinstance(value, str):
        return file_name(value)
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    return value


def file_name(place: str) -> str:
    """A path without the folders that lead to it; what is no path stays.

    Example:
        >>> file_name("/home/me/models/mine"), file_name("owner/name"), file_name("organism:switch")
        ('mine', 'owner/name', 'organism:switch')
    """
    path = place.replace("\\", "/")
    is_path = path.startswith(("/", "./", "../", "~")) or path[1:3] == ":/"
    return (PurePosixPath(path).name or WITHHELD) if is_path else place
