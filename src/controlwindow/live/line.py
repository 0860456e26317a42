"""The line: one generation at a time, whoever came first; whoever leaves gives up the place."""

from __future__ import annotations

import asyncio

from controlwindow.errors import UsageError

MOST_WAITING = 64
"""Requests that may wait; a page that asks for more is told to come back."""


class Full(UsageError):
    """Too many are waiting."""


class Place:
    """A place in the line.

    Attributes:
        ahead: How many come before; 0 for the one whose turn it is.
        changed: Set whenever `ahead` changes.
    """

    def __init__(self, ahead: int) -> None:
        self.ahead = ahead
        self.changed = asyncio.Event()


class Line:
    """Places in the order in which they were taken. Lives in one event loop.

    Args:
        most: Places that there are, the one whose turn it is included.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._places: list[Place] = []

    def __len__(self) -> int:
        return len(self._places)

    def join(self) -> Place:
        """Take the last place.

        Raises:
            Full: There is none.
        """
        if len(self._places) >= self._most:
            raise Full(f"{len(self._places)} generations are waiting already", "try again in a while")
        self._places.append(Place(len(self._places)))
        return self._places[-1]

    def leave(self, place: Place) -> None:
        """Give a place up; all behind it move up."""
        self._places.remove(place)
        for ahead, other in enumerate(self._places):
            if other.ahead != ahead:
                other.ahead = ahead
                other.changed.set()
