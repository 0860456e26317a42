"""Lists of neurons that others wrote, as `@FILE` names them: circuits, triples, tables.

Read are, by what the file holds and not by who wrote it: JSON of a circuit as neural-steering saves it (`neurons` maps
"layer,position,index" to an attribution) or of indices by layer; JSON lists of names, of (layer, index, value) triples
as ONE reports its controllers, or of objects; CSV with a header; and plain text, a name a line. Values order a file and
no more: the dose of an audit is its own.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from controlwindow.errors import NeuronError
from controlwindow.models.neuron import Neuron, as_list

FORMATS = (
    "give JSON (a circuit, indices by layer, names, triples or objects), CSV with a column neuron, or layer and neuron,"
    " or text with a name a line; `controlwindow guide bridges` shows each"
)

_LAYER, _INDEX, _EXPERT = ("layer", "l"), ("neuron", "index", "idx", "n", "unit"), ("expert", "e")
_VALUE = ("attribution", "score", "delta", "value", "m", "weight", "importance")
_LARGEST = 64 * 1024 * 1024


class Listed(NamedTuple):
    """A neuron of a file, and the value beside it; None where there is none."""

    neuron: Neuron
    value: float | None


def named_neurons(given: Iterable[Neuron | str] | Neuron | str) -> list[Neuron | str]:
    """Neurons that a caller gives, with those of a file in the place of its `@FILE` or `@FILE:K`.

    `@FILE:K` takes the K of largest absolute value, or the first K of a file without values.

    Raises:
        NeuronError: A file cannot be read, or what it holds is no list of neurons.

    Example:
        >>> named_neurons("L3.N7"), named_neurons(("L3.N7", "L0.N1"))
        (['L3.N7'], ['L3.N7', 'L0.N1'])
    """
    found: list[Neuron | str] = []
    for one in as_list(given):
        if isinstance(one, str) and one.startswith("@"):
            found += [listed.neuron for listed in read_neurons(one[1:])]
        else:
            found.append(one)
    return found


def read_neurons(given: str | Path) -> list[Listed]:
    """The neurons of a file, each once, the one of largest absolute value first; in its own order without values.

    Args:
        given: The file, with `:K` behind it for its first K.

    Raises:
        NeuronError: It cannot be read, holds no neurons, or an entry is malformed; the message names the entry.
    """
    path, top = _place(str(given))
    try:
        if path.stat().st_size > _LARGEST:
            raise NeuronError(f"{path} is larger than {_LARGEST >> 20} MiB", "give the neurons alone")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NeuronError(f"cannot read neurons from {path}: {error}", FORMATS) from error
    entries = _json(path, text) if _is_json(path, text) else _csv(path, text) if _is_table(path, text) else _lines(text)
    strongest: dict[Neuron, Listed] = {}
    for where, entry in entries:
        listed = _listed(path, where, entry)
        known = strongest.get(listed.neuron)
        # A circuit names a neuron once for every position; the largest of its values stands for it.
        if known is None or abs(listed.value or 0.0) > abs(known.value or 0.0):
            strongest[listed.neuron] = listed
    if not strongest:
        raise NeuronError(f"{path} holds no neurons", FORMATS)
    found = sorted(strongest.values(), key=lambda listed: -abs(listed.value or 0.0))
    return found if top is None else found[:top]


def _place(given: str) -> tuple[Path, int | None]:
    match = re.fullmatch(r"(.+):(\d+)", given)
    if match is None or Path(given).exists():
        return Path(given), None
    if int(match[2]) < 1:
        raise NeuronError(f"no neurons are asked for of {match[1]}", "write @FILE:8 for its strongest eight")
    return Path(match[1]), int(match[2])


def _is_json(path: Path, text: str) -> bool:
    return path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "[")


def _is_table(path: Path, text: str) -> bool:
    return path.suffix.lower() in (".csv", ".tsv") or "," in text.partition("\n")[0]


def _json(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NeuronError(f"{path} is no JSON: {error}", FORMATS) from error
    if isinstance(found, Mapping) and isinstance(found.get("neurons"), Mapping | list):
        found = found["neurons"]
    if isinstance(found, list):
        yield from ((f"entry {place}", entry) for place, entry in enumerate(found))
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from _by_key(key, value)
    else:
        raise NeuronError(f"{path} holds {type(found).__name__}, where neurons are expected", FORMATS)


def _by_key(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """One item of a mapping: indices of a layer, or one neuron with its value."""
    numbers = key.removeprefix("L").split(",")
    if isinstance(value, list) and len(numbers) == 1:
        yield from ((f"layer {key!r}, entry {place}", [numbers[0], index]) for place, index in enumerate(value))
    elif len(numbers) in (2, 3):
        # The middle of three is the position that a circuit found it at.
        yield f"key {key!r}", [numbers[0], numbers[-1], value]
    else:
        yield f"key {key!r}", {"neuron": key, "value": value}


def _csv(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    rows = csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ",")
    names = {str(name).strip().lower(): name for name in rows.fieldnames or ()}
    if not any(name in names for name in _INDEX):
        raise NeuronError(
            f"{path} has no column of neurons: {', '.join(names) or 'it is empty'}",
            "name the columns in its first line: neuron (as in L3.N7), or layer and neuron",
        )
    try:
        for row in rows:
            yield f"line {rows.line_num}", {name: row[column] for name, column in names.items()}
    except csv.Error as error:
        raise NeuronError(f"{path}, line {rows.line_num}: {error}", FORMATS) from error


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        name = line.partition("#")[0].strip()
        if name:
            yield f"line {number}", name


def _listed(path: Path, where: str, entry: Any) -> Listed:
    try:
        return _read(entry)
    except (NeuronError, ValueError, TypeError, OverflowError) as error:
        said = error.message if isinstance(error, NeuronError) else "it names no neuron"
        raise NeuronError(f"{path}, {where}: {json.dumps(entry, default=str)[:120]}: {said}", FORMATS) from error


def _read(entry: Any) -> Listed:
    if isinstance(entry, str):
        return Listed(Neuron.parse(entry), None)
    if isinstance(entry, list):
        if len(entry) not in (2, 3):
            raise ValueError
        return Listed(Neuron(_whole(entry[0]), _whole(entry[1])), _number(entry[2]) if len(entry) == 3 else None)
    if not isinstance(entry, Mapping):
        raise TypeError
    fields = {str(name).lower(): value for name, value in entry.items()}
    value, index, layer, expert = (_first(fields, names) for names in (_VALUE, _INDEX, _LAYER, _EXPERT))
    if isinstance(index, str) and not index.strip().isdecimal():
        return Listed(Neuron.parse(index), _number(value))
    return Listed(Neuron(_whole(layer), _whole(index), None if expert is None else _whole(expert)), _number(value))


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or float(value) != int(float(value)):
        raise ValueError
    return int(float(value))


def _number(value: Any) -> float | None:
    """A value that orders; what is none, or no number, orders nothing."""
    if isinstance(value, bool) or value is None:
        return None
    found = float(value)
    if found != found:
        raise ValueError
    return found
