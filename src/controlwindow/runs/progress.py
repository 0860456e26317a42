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


PREPARING = ("{}: proving the hooks", "{}: generic pass", "{}: setting the coherence detector")
"""What stages every run begins with are called, of a model's name (`session.prepare`)."""


class Within:
    """Progress whose stages are part of a larger one, which is named before each.

    Args:
        inner: Where it is shown.
        title: The larger stage.
    """

    def __init__(self, inner: Progress, title: str) -> None:
        self._inner, self._title = inner, title

    def stage(self, name: str, *, searches: Sequence[WindowSearch] = ()) -> AbstractContextManager[Stage]:
        """Begin a stage."""
        return self._inner.stage(f"{self._title}: {name}", searches=searches)

    def rows(self, done: int, total: int) -> None:
        """Rows of the running chunk."""
        self._inner.rows(done, total)

    def tick(self) -> None:
        """A chunk or a round was committed."""
        self._inner.tick()


class Numbered(Within):
    """Progress whose stages say which of how many they are; those not foreseen say nothing.

    Args:
        inner: Where it is shown.
        foreseen: Names of all stages in their order; one that turns out not to be needed is left out.
    """

    def __init__(self, inner: Progress, foreseen: Sequence[str]) -> None:
        super().__init__(inner, "")
        self._places = {name: place for place, name in enumerate(foreseen, 1)}

    def stage(self, name: str, *, searches: Sequence[WindowSearch] = ()) -> AbstractContextManager[Stage]:
        """Begin a stage."""
        place = self._places.get(name)
        shown = name if place is None else f"{place}/{len(self._places)} {name}"
        return self._inner.stage(shown, searches=searches)


def numbered(progress: Progress | None, model: str, stages: Sequence[str]) -> Progress:
    """Progress of a run that prepares a model and then goes through stages.

    Args:
        progress: Where it is shown; None nowhere.
        model: The model's name.
        stages: Names of the stages after the preparation.
    """
    return Silent() if progress is None else Numbered(progress, [*(name.format(model) for name in PREPARING), *stages])


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
