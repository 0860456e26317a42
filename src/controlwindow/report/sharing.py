"""What a report may be shared without: completions of sensitive behaviors, and the handle on a real model.

Withholding happens on the document, before anything is drawn, so that neither page, figure nor file name can leak.
Exact coordinates are coarsened along with the dose because t follows from c by the inverse saturation curve.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeVar, overload

from pydantic import JsonValue

from controlwindow.report.pages.audit.document import (
    DoseRow,
    Panel,
    ReportDocument,
    Sample,
    ScreenRank,
    WindowResult,
)
from controlwindow.report.pages.audit.summary import ranked

COARSE_STEP = 0.05
_NEURON_NAME = re.compile(r"\bL\d+(?:\.E\d+)?\.N\d+\b", re.IGNORECASE)
_NEURON_KEYS = frozenset({"neuron", "neurons"})
_BANDS = ((0.001, "top 0.1 %"), (0.01, "top 1 %"), (0.1, "top 10 %"), (1.0, "lower 90 %"))
WITHHELD = "withheld"

Key = TypeVar("Key")


def shareable(
    document: ReportDocument, *, include_completions: bool = False, include_neurons: bool = False
) -> ReportDocument:
    """The document without what must not be shared.

    Args:
        document: The full document.
        include_completions: Keep the completions of behaviors marked sensitive.
        include_neurons: Keep neurons and doses of sensitive behaviors on models that are not organisms.

    Returns:
        A document of the same type. A neuron that is withheld for one behavior is withheld for all of them, since
        its other windows would name it.
    """
    sensitive = {behavior.name for behavior in document.behaviors if behavior.sensitive}
    windows = document.windows
    if not include_completions:
        windows = tuple(_without_completions(w) if w.behavior in sensitive else w for w in windows)
    hide = not include_neurons and not document.model.organism
    hidden = [window for window in windows if hide and window.behavior in sensitive]
    if not hidden:
        return document.model_copy(update={"windows": windows})

    pseudonyms: dict[str, str] = {}
    for window in ranked(hidden):
        pseudonyms.setdefault(window.neuron, f"neuron {_letters(len(pseudonyms))}")
    coverage = document.coverage
    return document.model_copy(
        update={
            "windows": tuple(
                _without_identity(w, pseudonyms[w.neuron], document.model.layers) if w.neuron in pseudonyms else w
                for w in windows
            ),
            "configuration": {key: _scrub_value(value, key) for key, value in document.configuration.items()},
            "coverage": coverage.model_copy(update={"statement": _scrub(coverage.statement), "screen_recall": ()}),
            "notes": tuple(_scrub(note) for note in document.notes),
        }
    )


def _letters(index: int) -> str:
    """Name by position: A, B, … Z, AA, AB and so on."""
    name = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def _region(layer: int, layers: int) -> str:
    return ("early", "middle", "late")[min(2, 3 * layer // layers)]


def _scrub(text: str) -> str:
    return _NEURON_NAME.sub(f"[{WITHHELD}]", text)


def _scrub_value(value: JsonValue, key: str = "") -> JsonValue:
    if key.lower() in _NEURON_KEYS and value:
        return WITHHELD
    if isinstance(value, str):
        return _scrub(value)
    if isinstance(value, Mapping):
        return {_scrub(name): _scrub_value(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_scrub_value(inner) for inner in value]
    return value


@overload
def _coarse(value: float) -> float: ...
@overload
def _coarse(value: None) -> None: ...
@overload
def _coarse(value: float | None) -> float | None: ...
def _coarse(value: float | None) -> float | None:
    return None if value is None else min(1.0, max(-1.0, round(round(value / COARSE_STEP) * COARSE_STEP, 2)))


def _coarse_interval(interval: tuple[float | None, float | None] | None) -> tuple[float | None, float | None] | None:
    """Outward, so that a coarse interval still covers."""
    if interval is None:
        return None
    low, high = interval
    return (
        None if low is None else max(-1.0, round(math.floor(round(low / COARSE_STEP, 6)) * COARSE_STEP, 2)),
        None if high is None else min(1.0, round(math.ceil(round(high / COARSE_STEP, 6)) * COARSE_STEP, 2)),
    )


def _coarse_values(values: Mapping[Key, float | None]) -> dict[Key, float | None]:
    return {key: _coarse(value) for key, value in values.items()}


def _without_completions(window: WindowResult) -> WindowResult:
    if window.panel is None:
        return window
    samples = tuple(sample.model_copy(update={"text": None}) for sample in window.panel.samples)
    return window.model_copy(update={"panel": window.panel.model_copy(update={"samples": samples})})


def _without_identity(window: WindowResult, pseudonym: str, layers: int) -> WindowResult:
    doses: dict[float, DoseRow] = {}
    for dose in window.doses:
        c = _coarse(dose.c)
        # Of doses that round to one, the first of those measured on most prompts is shown.
        if c not in doses or dose.n > doses[c].n:
            doses[c] = dose.model_copy(update={"t": None, "c": c, "c_measured": None, "c_measured_interval": None})
    return window.model_copy(
        update={
            "neuron": pseudonym,
            "layer": None,
            "region": window.region if window.layer is None else _region(window.layer, layers),
            "withheld": True,
            "trigger": _coarse(window.trigger),
            "trigger_interval": _coarse_interval(window.trigger_interval),
            "trigger_t": None,
            "ceiling": _coarse(window.ceiling),
            "ceiling_interval": _coarse_interval(window.ceiling_interval),
            "ceiling_t": None,
            "ceiling_predicted": _coarse(window.ceiling_predicted),
            "ceiling_predicted_interval": _coarse_interval(window.ceiling_predicted_interval),
            "predictions": _coarse_values(window.predictions),
            "propagation": None,
            "c0": None,
            "budget": None,
            "residual_norm": None,
            "write_norm": None,
            "triggers_by_outcome": {
                outcome: _coarse_values(by_horizon) for outcome, by_horizon in window.triggers_by_outcome.items()
            },
            "outcomes_at": _coarse(window.outcomes_at),
            "plateau": _coarse(window.plateau),
            "routed_share": None,
            "injected_trigger": _coarse(window.injected_trigger),
            "curve": None,
            "doses": tuple(doses.values()),
            "panel": None if window.panel is None else _bare_panel(window.panel),
        }
    )


def _bare_panel(panel: Panel) -> Panel:
    return Panel(
        ranks=tuple(_banded(rank) for rank in panel.ranks),
        samples=tuple(
            Sample(t=None, c=_coarse(s.c), outcome=s.outcome, prompt=s.prompt, text=s.text) for s in panel.samples
        ),
    )


def _banded(rank: ScreenRank) -> ScreenRank:
    """A rank names the neuron to whoever runs the same screen; its band does not."""
    band = None
    if rank.rank is not None and rank.of > 0:
        band = next(name for bound, name in _BANDS if min(1.0, rank.rank / rank.of) <= bound)
    return ScreenRank(screen=rank.screen, rank=None, of=rank.of, band=band)
