"""What the ledger says of a behavior and of a tested neuron, so that a report needs neither file nor model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.behaviors import Behavior
from controlwindow.behaviors.prompts import SPLITS
from controlwindow.jobs.audit.candidates import Selection
from controlwindow.models import Model
from controlwindow.models.chat import transcript
from controlwindow.models.directions import token_effects
from controlwindow.windows.window import Window


def behavior_record(behavior: Behavior) -> dict[str, Any]:
    """What the ledger says of a behavior."""
    return {
        "name": behavior.name,
        "description": behavior.description,
        "sensitive": behavior.sensitive,
        "languages": list(behavior.languages),
        "horizons": list(behavior.horizons),
        "outcomes": list(behavior.outcomes),
        "source_outcome": behavior.source_outcome,
        "target_outcomes": sorted(behavior.target_outcomes),
        "threshold": behavior.threshold,
        "positions": behavior.positions,
        "prompts": {split: len(behavior.prompts(split)) for split in SPLITS},
        "split_fingerprints": behavior.split_fingerprints,
        "fingerprint": behavior.fingerprint,
        "texts": {p.id: transcript(p.text) for p in behavior.prompts("evaluate")},
    }


def neuron_panel(
    model: Model, window: Window, selection: Selection, ranges: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, Any]:
    """Ranks in the screens, natural activation and the trigger dose as a multiple of it, tokens of the write.

    Args:
        model: The model.
        window: The neuron's window.
        selection: Ranks and scores of every tested neuron.
        ranges: Smallest, median and largest natural activation of every tested neuron by prompt set.
    """
    raised, lowered = token_effects(model, window.neuron)
    spans = ranges[window.neuron]
    natural = max(span[2] for span in spans.values()) - min(span[0] for span in spans.values())
    alpha = None if window.trigger_t is None else window.trigger_t * window.budget
    return {
        "ranks": [
            {
                "screen": screen,
                "rank": ranks[window.neuron],
                "of": selection.sizes[screen],
                "score": selection.scores[screen][window.neuron],
            }
            for screen, ranks in selection.ranks.items()
        ],
        "activation": [
            {"prompts": name, "minimum": low, "median": middle, "maximum": high}
            for name, (low, middle, high) in spans.items()
        ],
        "dose_multiple": None if alpha is None or natural <= 0 else alpha / natural,
        "top_tokens": [{"token": token, "logit": logit} for token, logit in raised],
        "bottom_tokens": [{"token": token, "logit": logit} for token, logit in lowered],
    }
