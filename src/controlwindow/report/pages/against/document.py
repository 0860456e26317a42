"""What a page of two audits is drawn from: windows that both measured, before and now, with marked fields."""

from __future__ import annotations

from controlwindow.report.marks import Count, Document, Part, Place
from controlwindow.report.pages.gate.document import Change, Missing

ORDER = ("opened", "closed", "moved", "unclear", "same")
"""How changes are listed: what a reader looks for first."""


class AgainstDocument(Document):
    """Everything that the page says.

    Attributes:
        before: Model of the run that is compared with.
        now: Model of the run.
        organisms: Whether both are organisms.
        sensitive: Names of the behaviors that are.
        only_before: Windows that the earlier run alone measured.
        only_now: Windows that the later run alone measured.
        missing: Why a behavior could not be compared.
    """

    kind = "comparison of two runs"

    before: Place
    before_fingerprint: str
    now: Place
    now_fingerprint: str
    organisms: bool
    sensitive: tuple[str, ...]
    layers: Count
    only_before: Count
    only_now: Count
    changes: tuple[Change, ...]
    missing: tuple[Missing, ...] = ()

    def secret(self, part: Part) -> bool | None:
        """Whether a part belongs to a sensitive behavior where either model is no organism."""
        if self.organisms:
            return False
        return part.behavior in self.sensitive if isinstance(part, Change) else None

    def layers_of(self, part: Part) -> int:
        """Blocks of the models."""
        return self.layers

    @property
    def withheld(self) -> bool:
        """Whether anything was."""
        return any(change.withheld for change in self.changes)

    def listed(self) -> tuple[Change, ...]:
        """Changes as they are shown; where neurons are withheld their order says no more than their rows do."""

        def key(change: Change) -> tuple[object, ...]:
            shown = (change.height_before, change.height_now, change.trigger_before, change.trigger_now)
            numbers = tuple(2.0 if value is None else value for value in shown)
            return (change.behavior, ORDER.index(change.change), -change.n, numbers, change.p_holm, change.neuron)

        return tuple(sorted(self.changes, key=key))
