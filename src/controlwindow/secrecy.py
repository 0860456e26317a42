"""What may leave the machine of settings, paths and foreign text; `report/sharing` applies it to whole documents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

WITHHELD = "withheld"
NAME_OF_NEURON = re.compile(r"\bL\d+(?:\.E\d+)?\.N\d+\b", re.IGNORECASE)

_HARMLESS = frozenset({"behavior", "behaviors", "device", "dtype", "factors", "levels", "methods", "model", "thinking"})
"""Settings from which, with the model at hand, no neuron follows: no screen, size, seed, name or hash."""

_HARMLESS_OPTIONS = frozenset({"--behavior", "-b", "--device", "--dtype", "--level", "--method"})
"""Options whose values may be told in the same way; the names of methods are told by the page itself."""


def hides_neurons(*, sensitive: bool, organism: bool, include_neurons: bool) -> bool:
    """Whether neurons and doses are withheld: those of sensitive behaviors on models whose makers planted none."""
    return sensitive and not organism and not include_neurons


def shareable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, without what a neuron follows from: names, screen, sizes, seed and the hash of all of it."""
    return {key: without_folders(value) for key, value in settings.items() if key in _HARMLESS}


def shareable_command(words: Sequence[str], *, hide: bool) -> list[str]:
    """The words of a command, without the folders that lead to files.

    Args:
        words: The words.
        hide: Whether neurons are withheld; then what stands before the first option, and of the options only those
            from whose values no neuron follows. What is left out is an ellipsis at the end.

    Example:
        >>> shareable_command(["audit", "mine", "-b", "/home/me/b.toml", "-n", "L3.N7", "--seed", "4"], hide=True)
        ['audit', 'mine', '-b', 'b.toml', '…']
    """
    if not hide:
        return [
            "=".join(map(file_name, word.partition("=")[::2])) if "=" in word else file_name(word) for word in words
        ]
    first = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    kept = [_last_step(word) for word in words[:first]]
    for place in range(first, len(words)):
        name, sign, given = words[place].partition("=")
        value = "" if place + 1 == len(words) else words[place + 1]
        if name in _HARMLESS_OPTIONS:
            kept += [f"{name}={_last_step(given)}"] if sign else [name, _last_step(value)]
    return kept if len(kept) == len(words) else [*kept, "…"]


def _last_step(word: str) -> str:
    return str(scrubbed(PurePosixPath(word.replace("\\", "/")).name or word))


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
    if place.startswith("@"):
        # A list of neurons is named by its file.
        return f"@{file_name(place[1:])}"
    path = place.replace("\\", "/")
    is_path = path.startswith(("/", "./", "../", "~")) or path[1:3] == ":/"
    return (PurePosixPath(path).name or WITHHELD) if is_path else place
