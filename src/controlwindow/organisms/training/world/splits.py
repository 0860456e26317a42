"""Which names and which combinations belong to which split: decided by a hash, so that it never changes."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "find", "select", "evaluate"]
SPLITS: tuple[Split, ...] = ("train", "find", "select", "evaluate")

# Sixteenths of the hash range; everything that is not reserved for prompts is for training.
_RESERVED: dict[int, Split] = {0: "find", 1: "find", 2: "select", 3: "evaluate", 4: "evaluate"}


def split_of(key: str) -> Split:
    """Assign a name or a combination to its split.

    Args:
        key: The text that identifies it in every language.

    Returns:
        The split; 11 of 16 keys are for training.
    """
    return _RESERVED.get(hashlib.sha256(key.encode()).digest()[0] % 16, "train")
