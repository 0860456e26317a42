"""What long work says of itself: stage, how far, how long still. Shown by the command line, silent elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from controlwindow.windows.search import WindowSearch


class Stage:
    """One part of the work; the base class shows nothing."""

    def update(self, done: int, total: int) -> None:
        """Say how far the stage is."""


class Progress(Protocol):
    """Receives progress."""

    def stage(self, name: str, *, searches: Sequence[WindowSearch] = ()) -> AbstractContextManager[Stage]:
        """Begin a stage; with searches, its progress is how many of them are settled."""

    def rows(self, done: int, total: int) -> None:
        """Rows of the running chunk."""

    def tick(self) -> None:
        """A chunk or a round was committed."""


class Silent:
    """Shows nothing."""

    @contextmanager
    def stage(self, name: str, *, searches: Sequence[WindowSearch] = ()) -> Iterator[Stage]:
        """Begin a stage."""
        yield Stage()

    def rows(self, done: int, total: int) -> None:
        """Rows of the running chunk."""

    def tick(self) -> None:
        """A chunk or a round was committed."""
