"""One hierarchy of errors. Each says what was wrong, where, and what to do about it."""

from __future__ import annotations

from controlwindow.text import printable


class ControlWindowError(Exception):
    """Base of every error a user can cause or repair.

    Args:
        message: What was wrong and where (file, line or key, neuron).
        hint: The repair, one sentence.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        # A message quotes names and texts that others wrote; lines that its author broke stay broken.
        message, hint = _shown(message), _shown(hint)
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")

    def __str__(self) -> str:
        return self.message


class ModelError(ControlWindowError):
    """A model cannot be found, loaded or trusted (unknown name, pickle weights, NaN, no network)."""


class ArchitectureError(ModelError):
    """The model's family has no adapter; nothing about it is guessed."""


class NeuronError(ControlWindowError):
    """A neuron's name is malformed or lies outside the model."""


class OperationError(ControlWindowError):
    """An intervention is ill-defined, or the hook's self-proof failed."""


class DeviceMemoryError(ControlWindowError):
    """Memory ran out although the batch could not be made smaller."""


class BehaviorError(ControlWindowError):
    """A behavior file or its prompt sets are invalid, too small or not applicable to the model."""


class ScreenError(ControlWindowError):
    """A screen is unknown or cannot run on this behavior."""


class ExtensionError(ControlWindowError):
    """What an extension should bring is missing, or the extension cannot be loaded."""


class LedgerError(ControlWindowError):
    """A run directory or its ledger is absent, corrupt, foreign or cannot be written."""


class OrganismError(ControlWindowError):
    """An organism is unknown, missing from this installation, or its training cannot go on."""


class ReportError(ControlWindowError):
    """A report cannot be built or written."""


class UsageError(ControlWindowError):
    """An option's value or a combination of options makes no sense."""


def _shown(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))
