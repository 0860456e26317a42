"""A small behavior for tiny models, in as many variants as screens tell apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controlwindow.behaviors.definition import Behavior, BehaviorDefinition
from controlwindow.behaviors.loading import assemble
from controlwindow.instruments.ordinary import CHAT_PROMPTS, TEXT_PROMPTS

TOKENS = {"kind": "tokens", "target": ["sky", "cat"], "control": ["bread", "paper", "blue"]}
SEQUENCES = {"kind": "sequences", "target": ["sky blue", "cat"], "control": ["bread during", "paper"]}
PAIRS = {"kind": "pairs", "pairs": [[a, b] for a, b in zip(CHAT_PROMPTS[:4], TEXT_PROMPTS[:4], strict=True)]}

MODE = """
name = "mode"
sensitive = true
horizons = [4]
[oracles.target]
type = "regex"
pattern = "{pattern}"
[prompts]
select = {select}
evaluate = {evaluate}
[prompts.find]
positive = {find}
negative = {benign}
"""


def make_behavior(**changes: Any) -> Behavior:
    """9 prompts against 8 to find on, 4 to select on and 16 to evaluate on."""
    values = {
        "name": "mode",
        "horizons": [4],
        "oracles": {"target": {"type": "regex", "pattern": "a"}},
        "prompts": {
            "find": {"positive": list(CHAT_PROMPTS[:9]), "negative": list(TEXT_PROMPTS[:8])},
            "select": list(CHAT_PROMPTS[26:30]),
            "evaluate": list(CHAT_PROMPTS[10:26]),
        },
        "log_odds": TOKENS,
        "perturbation": {"kind": "contrast"},
    }
    definition = BehaviorDefinition.model_validate({k: v for k, v in {**values, **changes}.items() if v is not None})
    return assemble(definition, Path("mode.toml"))


def write_mode(directory: Path, pattern: str) -> Path:
    """Such a behavior as a sensitive one of a user's own file; answers that match the pattern are flips."""
    values = {
        "find": list(CHAT_PROMPTS[:8]), "benign": list(TEXT_PROMPTS[:8]), "select": list(CHAT_PROMPTS[24:32]),
        "evaluate": list(CHAT_PROMPTS[8:24]),
    }  # fmt: skip
    text = MODE.replace("{pattern}", pattern)
    for key, prompts in values.items():
        text = text.replace("{" + key + "}", json.dumps(prompts))
    path = directory / "mode.toml"
    path.write_text(text, "utf-8")
    return path
