"""What comes from outside the package: modules named as entry points of a distribution, loaded when they are asked for.

An entry point is found by group and name, and its module is imported on first use. So an extension costs nothing until
it is needed, and one that is broken breaks only what asks for it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from controlwindow.errors import ExtensionError

HANDLERS = "controlwindow.handlers"
"""Group of handlers; an entry point is named as the class of the cell that its module handles."""

SCREENS = "controlwindow.screens"
"""Group of screens; an entry point is named as the screen that its module registers."""

KINDS = "controlwindow.kinds"
"""Group of kinds of runs; an entry point is named as the plan that its module's kind carries out."""


def import_modules(package: str) -> None:
    """Import every module of a package, so that what they register is known."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        import_module(module.name)


def plugin_names(group: str) -> tuple[str, ...]:
    """Names of a group's entry points, without loading any."""
    return tuple(sorted(entry_points(group=group).names))


def load_plugin(group: str, name: str) -> Any:
    """What an entry point names, imported now; None where no installed distribution has it.

    Raises:
        ExtensionError: Two distributions have it, or it cannot be imported; the message names it.
    """
    found = list(entry_points(group=group, name=name))
    if not found:
        return None
    if len(found) > 1:
        owners = " and ".join(sorted(point.dist.name if point.dist else point.value for point in found))
        raise ExtensionError(f"{owners} both have an entry point {name!r} in {group}", "uninstall one of them")
    point = found[0]
    owner = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
    try:
        return point.load()
    # Whatever a stranger's module raises while it is imported, the user needs its name.
    except Exception as error:
        raise ExtensionError(
            f"the entry point {name!r} of {group} ({point.value}, from {owner}) cannot be loaded: "
            f"{type(error).__name__}: {error}",
            "repair that distribution, or uninstall it",
        ) from error
