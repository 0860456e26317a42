"""What long work says of itself: stage, how far, how long still. Shown by the command line and in notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

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


class NotebookProgress:
    """Progress under a cell: one bar that is drawn anew, with the stages that are done above it."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._name = ""
        self._handle: Any = None

    @contextmanager
    def stage(self, name: str, *, searches: Sequence[WindowSearch] = ()) -> Iterator[Stage]:
        """Begin a stage; with searches, progress is the mean of how far each of them is."""
        self._name, self._searches = name, searches
        self._show(0.0)
        bar = Stage()
        bar.update = lambda done, total: self._show(done / total if total else 0.0)  # type: ignore[method-assign]
        try:
            yield bar
        finally:
            self._done.append(name)
            self._name, self._searches = "", ()
            self._show(1.0)

    _searches: Sequence[WindowSearch] = ()

    def rows(self, done: int, total: int) -> None:
        """Rows of the running chunk."""
        if not self._searches and total:
            self._show(done / total)

    def tick(self) -> None:
        """A chunk or a round was committed."""
        if self._searches:
            self._show(sum(search.progress for search in self._searches) / len(self._searches))

    def _show(self, share: float) -> None:
        # A kernel has it; elsewhere this class has no use.
        display = import_module("IPython.display")
        running = f'<div><progress max="1" value="{share:.3f}"></progress> {escape(self._name)}</div>'
        shown = display.HTML(
            "".join(f"<div>done: {escape(name)}</div>" for name in self._done) + (running if self._name else "")
        )
        if self._handle is None:
            self._handle = display.display(shown, display_id=True)
        else:
            self._handle.update(shown)


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
