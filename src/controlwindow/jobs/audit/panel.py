"""What a report says of a tested neuron beside its window: ranks, natural activations, tokens of its write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from controlwindow.jobs.audit.candidates import Selection
from controlwindow.models import Model
from controlwindow.models.directions import token_effects
from controlwindow.windows.window import Window


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
