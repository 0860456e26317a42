"""Whether a behavior's completions lie apart, which must not depend on when a run was cut off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from controlwindow.errors import LedgerError

if TYPE_CHECKING:
    from controlwindow.behaviors import Behavior
    from controlwindow.runs.ledger.ledger import Ledger


def settle_sensitivity(ledger: Ledger, behaviors: Iterable[Behavior]) -> None:
    """Have completions of sensitive behaviors apart, also those from before a behavior was declared sensitive.

    Called when a plan is committed and when a run is gone on with.

    Args:
        ledger: The run's ledger.
        behaviors: The behaviors as they are declared now.

    Raises:
        LedgerError: A behavior was sensitive when this run was begun and is declared not to be, or a file cannot be
            written.
    """
    for behavior in behaviors:
        if behavior.sensitive:
            ledger.keep_apart(behavior.name)
        elif ledger.is_sensitive(behavior.name):
            raise LedgerError(
                f"the behavior {behavior.name!r} was sensitive when {ledger.path} was written, and is no longer",
                "declare `sensitive = true` again, or start a new run with another --out",
            )


def behavior_records(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Records of a run's behaviors by name, each as sensitive as it was declared last."""
    return {
        name: {**record, "sensitive": record["sensitive"] or ledger.is_sensitive(name)}
        for name, record in ledger.find_all("behavior").items()
    }
