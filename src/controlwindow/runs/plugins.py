"""Registries: what is known by a name, from the modules of a package and from entry points of others."""

from __future__ import annotations

import importlib
import pkgutil
from importlib import metadata
from importlib.util import find_spec
from typing import Generic, TypeVar

from controlwindow.errors import ControlWindowError, UsageError

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Items by name. They are found when one is first asked for, so that importing the package costs nothing.

    Args:
        package: Package whose modules register their items when they are imported.
        group: Entry points of other distributions that are loaded likewise.
        what: What an item is, for errors.
        leaf: Module that registers in each of the package's own packages; empty where its modules do.
    """

    def __init__(self, package: str, group: str, what: str, leaf: str = "") -> None:
        self._package, self._group, self._what, self._leaf = package, group, what, leaf
        self._items: dict[str, Item] = {}
        self._searched = False

    def add(self, name: str, item: Item) -> None:
        """Make an item known by its name."""
        self._items[name] = item

    def names(self) -> tuple[str, ...]:
        """Names of all there are, sorted."""
        self._search()
        return tuple(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._search()
        return name in self._items

    def __getitem__(self, name: str) -> Item:
        """An item by name.

        Raises:
            UsageError: There is none of that name.
        """
        self._search()
        if name not in self._items:
            raise UsageError(f"unknown {self._what} {name!r}", f"there are: {', '.join(self.names())}")
        return self._items[name]

    def _search(self) -> None:
        if self._searched:
            return
        self._searched = True
        package = importlib.import_module(self._package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
            name = f"{self._package}.{module.name}" + (f".{self._leaf}" if self._leaf else "")
            if not self._leaf or find_spec(name) is not None:
                importlib.import_module(name)
        for point in metadata.entry_points(group=self._group):
            try:
                point.load()
            except ControlWindowError:
                raise
            except Exception as error:
                raise ControlWindowError(
                    f"the {self._what} {point.name!r} of {_distribution(point)} cannot be loaded: "
                    f"{type(error).__name__}: {error}",
                    "repair or uninstall that distribution",
                ) from error


def _distribution(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
