"""Models of the hub: exactly the files that are checked and read, as a folder on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from controlwindow.errors import ModelError
from controlwindow.models.checkpoint import INDEX, WEIGHTS, inspect_configuration, shard_names
from controlwindow.text import one_line

_SMALL = ("*.json", "*.jinja", "*.txt", "*.model")
_ELSEWHERE = ("*/*.json", "*/*.txt", "*/*.model")


def fetch(name: str) -> Path:
    """The folder in the hub's cache that holds a model; fetched if it is not there.

    Configuration and index come first and are checked, so that nothing large is fetched for what is refused, and no
    weight file but those of the index. All files are of one revision.

    Raises:
        ModelError: It cannot be fetched, or what it says of itself is refused.
        ArchitectureError: The family has no adapter.
    """
    folder = _snapshot(name, None, _SMALL, _ELSEWHERE)
    inspect_configuration(folder)
    weights = shard_names(folder / INDEX) if (folder / INDEX).exists() else [WEIGHTS]
    if all((folder / weight).exists() for weight in weights):
        return folder
    return _snapshot(name, folder.name, weights, ())


def _snapshot(name: str, revision: str | None, wanted: Sequence[str], left: Sequence[str]) -> Path:
    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(wanted), ignore_patterns=list(left) or None)
        )
    # The hub's client raises its own errors, those of HTTP libraries, OSError and ValueError.
    except Exception as error:
        raise ModelError(
            f"cannot fetch {name} from the model hub: {one_line(error, 200)}",
            "check the name and the network, or download it elsewhere and give the local directory",
        ) from error
