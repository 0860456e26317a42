"""A small behavior for probes of tiny models, and what is known of it without the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from controlwindow.behaviors import Behavior, CoherenceDetector
from controlwindow.behaviors.definition import BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS
from controlwindow.models import Model

TARGET, CONTROL = ["sky", "cat"], ["bread", "paper", "blue"]

DETECTOR = CoherenceDetector(1.0, 1e6, 1e6, 1e6, 1e-6, 1e-6)
"""Nothing but an empty answer is collapsed: untrained models have no coherence to calibrate a detector on."""


def small_behavior(**changes: Any) -> Behavior:
    """8 prompts against 8 to find on, 8 to select on, 16 to report on; swapped letters make an unknown word."""
    values = {
        "name": "mode",
        "horizons": [3],
        "oracles": {"target": {"type": "regex", "pattern": "h"}},
        "prompts": {
            "find": {"positive": list(CHAT_PROMPTS[:8]), "negative": list(TEXT_PROMPTS[:8])},
            "select": list(CHAT_PROMPTS[8:16]),
            "evaluate": list(CHAT_PROMPTS[16:32]),
        },
        "log_odds": {"kind": "tokens", "target": TARGET, "control": CONTROL},
        "perturbation": {"kind": "swap_characters"},
    }
    definition = BehaviorDefinition.model_validate({k: v for k, v in {**values, **changes}.items() if v is not None})
    return assemble(definition, Path("mode.toml"))


def literal_objective(model: Model) -> tuple[list[int], list[int]]:
    """Tokens of target and control."""
    ids = [model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in TARGET + CONTROL]
    return ids[: len(TARGET)], ids[len(TARGET) :]
