"""What a report may be shared without: completions of sensitive behaviors, and the handle on a real model.

This is the only rule, for every kind of run. Documents mark their fields by what they are (`marks`), and one walk
withholds by marks, before anything is drawn, so that neither page, figure nor file name can leak. Exact coordinates are
coarsened along with the dose because t follows from c by the inverse saturation curve.
"""

from __future__ import annotations

import math
import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from controlwindow.report.marks import COARSE_STEP, Document, Mark, Part
from controlwindow.secrecy import (
    NAME_OF_NEURON,
    WITHHELD,
    file_name,
    scrubbed,
    shareable_settings,
    without_folders,
)

Kind = TypeVar("Kind", bound=Document)
SomePart = TypeVar("SomePart", bound=Part)


def shareable(document: Kind, *, include_completions: bool = False, include_neurons: bool = False) -> Kind:
    """The document without what must not be shared.

    Args:
        document: The full document.
        include_completions: Keep the completions of behaviors marked sensitive.
        include_neurons: Keep neurons and doses of sensitive behaviors on models that are not organisms.

    Returns:
        A document of the same type. A neuron that is withheld for one behavior is withheld for all of them, since
        its other windows would name it.
    """
    hides = (lambda part: False) if include_neurons else document.secret
    names = frozenset(_hidden_names(document, hides))
    walk = _Walk(document, hides, include_completions, names, {})
    if names:
        # Names are given to what is left, so that their order says no more than the page does.
        shuffled = sorted(names)
        random.SystemRandom().shuffle(shuffled)
        order = walk.of(document, False).in_order(shuffled)
        walk = walk._replace(pseudonyms={name: f"neuron {_letters(place)}" for place, name in enumerate(order)})
    return walk.of(document, False)


def _hidden_names(document: Document, hides: Callable[[Part], bool | None]) -> Iterator[str]:
    def visit(value: Any, hidden: bool) -> Iterator[str]:
        if isinstance(value, Part):
            said = hides(value)
            hidden = hidden if said is None else said
            for name, mark in _marks(type(value)).items():
                found = getattr(value, name)
                if hidden and mark in (Mark.NEURON, Mark.NAMED):
                    yield from _names_in(found)
                else:
                    yield from visit(found, hidden)
        elif isinstance(value, Mapping):
            for inner in value.values():
                yield from visit(inner, hidden)
        elif isinstance(value, tuple | list):
            for inner in value:
                yield from visit(inner, hidden)

    return visit(document, False)


def _names_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from NAME_OF_NEURON.findall(value)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _names_in(inner)
    elif isinstance(value, Mapping):
        for key in value:
            yield from _names_in(key)


_MARKS: dict[type[Part], dict[str, Mark | None]] = {}


def _marks(part: type[Part]) -> dict[str, Mark | None]:
    """The mark of every field of a part."""
    if part not in _MARKS:
        _MARKS[part] = {
            name: next((mark for mark in field.metadata if isinstance(mark, Mark)), None)
            for name, field in part.model_fields.items()
        }
    return _MARKS[part]


class _Walk(NamedTuple):
    """One walk over a document.

    Attributes:
        document: The document.
        hides: Whether a part is withheld; None if its owner decides.
        completions: Whether completions of sensitive behaviors are kept.
        hidden: Names of neurons that are withheld.
        pseudonyms: What stands for them; empty while their order is not known.
    """

    document: Document
    hides: Callable[[Part], bool | None]
    completions: bool
    hidden: frozenset[str]
    pseudonyms: Mapping[str, str]

    def of(self, part: SomePart, hidden: bool, sensitive: bool = False) -> SomePart:
        """A part as it may be shared; `hidden` and `sensitive` are its owner's."""
        said, secret = self.hides(part), self.document.private(part)
        hidden = hidden if said is None else said
        sensitive = sensitive if secret is None else secret
        name = next((getattr(part, field) for field, mark in _marks(type(part)).items() if mark is Mark.NEURON), None)
        hidden = hidden or (isinstance(name, str) and name in self.hidden)
        if hidden:
            part = part.bare()
        changes = {}
        for field, mark in _marks(type(part)).items():
            value = getattr(part, field)
            changed = self._field(part, field, mark, value, hidden, sensitive)
            if field == "withheld" and hidden:
                changed = True
            if changed is not value:
                changes[field] = changed
        return part.model_copy(update=changes) if changes else part

    def _field(self, part: Part, field: str, mark: Mark | None, value: Any, hidden: bool, sensitive: bool) -> Any:
        if mark is Mark.PLACE:
            return file_name(value)
        if mark is Mark.COMPLETION:
            return None if sensitive and not self.completions else value
        if mark is Mark.SETTINGS:
            return shareable_settings(value) if hidden else without_folders(value)
        if mark is None or not hidden:
            return self._inside(value, hidden, sensitive)
        if mark is Mark.REGION:
            layer = next((getattr(part, f) for f, m in _marks(type(part)).items() if m is Mark.LAYER), None)
            return value if layer is None else region(layer, self.document.layers_of(part))
        if mark is Mark.NEURON or mark is Mark.NAMED:
            return self._renamed(value)
        if mark is Mark.EXACT:
            default = type(part).model_fields[field].default
            return default if isinstance(default, tuple | dict) else None
        return _BY_MARK[mark](value)

    def _inside(self, value: Any, hidden: bool, sensitive: bool) -> Any:
        if isinstance(value, Part):
            return self.of(value, hidden, sensitive)
        if isinstance(value, tuple):
            found = tuple(self._inside(inner, hidden, sensitive) for inner in value)
            return value if all(a is b for a, b in zip(found, value, strict=True)) else found
        if isinstance(value, dict):
            changed = {key: self._inside(inner, hidden, sensitive) for key, inner in value.items()}
            return value if all(changed[key] is value[key] for key in value) else changed
        return value

    def _renamed(self, value: Any) -> Any:
        if isinstance(value, str):
            # While names have no pseudonyms yet, they stay: the order of pseudonyms follows from what is left.
            known = self.pseudonyms
            return NAME_OF_NEURON.sub(lambda name: known.get(name[0], f"[{WITHHELD}]" if known else name[0]), value)
        if isinstance(value, tuple | list):
            return type(value)(self._renamed(inner) for inner in value)
        if isinstance(value, Mapping):
            return {self._renamed(key): inner for key, inner in value.items()}
        return value


def region(layer: int, layers: int) -> str:
    """Which third of the model a layer lies in.

    Example:
        >>> region(0, 8), region(3, 8), region(7, 8)
        ('early', 'middle', 'late')
    """
    return ("early", "middle", "late")[min(2, 3 * layer // layers)]


def _letters(index: int) -> str:
    """Name by position: A, B, … Z, AA, AB and so on."""
    name = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def _coarse(value: Any) -> Any:
    """Every c in nested values, to the nearest step."""
    if isinstance(value, float | int):
        return min(1.0, max(-1.0, round(round(value / COARSE_STEP) * COARSE_STEP, 2)))
    if isinstance(value, Mapping):
        return {key: _coarse(inner) for key, inner in value.items()}
    return value


def _coarse_interval(value: Any) -> Any:
    """Outward, so that a coarse interval still covers."""
    if value is None:
        return None
    low, high = value
    ends = (
        None if low is None else max(-1.0, round(math.floor(round(low / COARSE_STEP, 6)) * COARSE_STEP, 2)),
        None if high is None else min(1.0, round(math.ceil(round(high / COARSE_STEP, 6)) * COARSE_STEP, 2)),
    )
    return type(value)(ends)


_BY_MARK: dict[Mark, Callable[[Any], Any]] = {
    Mark.PROSE: scrubbed,
    Mark.COORDINATE: _coarse,
    Mark.INTERVAL: _coarse_interval,
    Mark.LAYER: lambda value: None,
    Mark.SOURCE: lambda value: WITHHELD,
    Mark.RUN: lambda value: secrets.token_hex(6),
}
