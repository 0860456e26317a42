"""What a handler is, and how the engine finds the one of a cell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from controlwindow.cells import Cell, Rows
from controlwindow.errors import ExtensionError
from controlwindow.measuring.bench import Bench
from controlwindow.plugins import HANDLERS, import_modules, load_plugin

C = TypeVar("C", bound=Cell)


class Handler(ABC, Generic[C]):
    """Measures some kinds of cells. An engine has one of each class, made when it is first needed.

    Attributes:
        bench: The model and what measuring it takes.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @abstractmethod
    def rows_in(self, cell: C) -> int:
        """Batch rows of a cell."""

    @abstractmethod
    def run(self, cells: Sequence[C]) -> dict[C, Rows]:
        """Measure cells of one chunk."""


class OneByOne(Handler[C]):
    """A handler whose cells share nothing."""

    @abstractmethod
    def measure(self, cell: C) -> Rows:
        """Measure one cell."""

    def run(self, cells: Sequence[C]) -> dict[C, Rows]:
        """Measure cells in turn."""
        return {cell: self.measure(cell) for cell in cells}


class OnContrast(OneByOne[C]):
    """A handler that reads every prompt of a contrast once."""

    def rows_in(self, cell: C) -> int:
        """One row a prompt of either side."""
        contrast = self.bench.contrast(cell)
        return len(contrast.positive) + len(contrast.negative)


_HANDLERS: dict[type[Cell], type[Handler[Any]]] = {}
H = TypeVar("H", bound=type[Handler[Any]])


def handles(*kinds: type[Cell]) -> Callable[[H], H]:
    """Class decorator: make a handler known as that of some kinds of cells, and of their subclasses."""

    def register(handler: H) -> H:
        _HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def handler_of(kind: type[Cell]) -> type[Handler[Any]]:
    """The handler of a kind of cell: of a module beside this one, or of an extension.

    Raises:
        ExtensionError: There is none, or the extension that has it cannot be loaded.
    """
    import_modules(__name__.rpartition(".")[0])
    if kind not in _HANDLERS:
        load_plugin(HANDLERS, kind.__name__)
    for ancestor in kind.__mro__:
        if ancestor in _HANDLERS:
            return _HANDLERS[ancestor]
    raise ExtensionError(
        f"nothing here measures cells of the kind {kind.__name__!r}",
        f"decorate a handler with @handles({kind.__name__}) and import its module, or name it as an entry point "
        f"{kind.__name__!r} of the group {HANDLERS}",
    )
