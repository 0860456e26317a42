"""Finds an oracle by its `type`: a module of this package, or an entry point that an installed package offers.

A module of this package is an oracle if it is not one of `_HELPERS`; its name is the oracle's type. Another package
offers one under the group `controlwindow.oracles`, as in its pyproject.toml:

    [project.entry-points."controlwindow.oracles"]
    haiku = "my_package.haiku:HaikuOracle"

Nothing of a plugin is imported before a behavior file asks for its type, so a broken one troubles nobody else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import PlainValidator, SerializeAsAny, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, PydanticKnownError

from controlwindow.behaviors.oracles.base import Oracle
from controlwindow.errors import BehaviorError

ENTRY_POINTS = "controlwindow.oracles"

_PACKAGE = __name__.rpartition(".")[0]
_HELPERS = frozenset({"base", "registry"})


def shipped_oracles() -> tuple[str, ...]:
    """Types of the oracles of this package."""
    package = importlib.import_module(_PACKAGE)
    return tuple(
        sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _HELPERS)
    )


def known_oracles() -> tuple[str, ...]:
    """Types of all oracles, those of installed packages included; nothing is imported."""
    return tuple(sorted({*shipped_oracles(), *(entry.name for entry in metadata.entry_points(group=ENTRY_POINTS))}))


def oracle_class(name: str) -> type[Oracle]:
    """The oracle of a type.

    Raises:
        KeyError: There is none.
        BehaviorError: An installed package offers it, but it cannot be used; names package and object.
    """
    if name in shipped_oracles():
        return _shipped(name)
    offered = [entry for entry in metadata.entry_points(group=ENTRY_POINTS) if entry.name == name]
    if not offered:
        raise KeyError(name)
    if len({entry.value for entry in offered}) > 1:
        raise BehaviorError(
            f"the oracle '{name}' is offered by more than one package: {', '.join(map(_origin, offered))}",
            "uninstall all but one of them",
        )
    return _offered(offered[0])


def provenance(oracle: Oracle) -> dict[str, str]:
    """Which package an oracle comes from, where it is not this one: its code is part of what a judgement depends on."""
    if oracle.type in shipped_oracles():
        return {}
    offered = [entry for entry in metadata.entry_points(group=ENTRY_POINTS) if entry.name == oracle.type]
    return {"offered_by": _origin(offered[0])} if offered else {}


@lru_cache(maxsize=64)
def _shipped(name: str) -> type[Oracle]:
    module = importlib.import_module(f"{_PACKAGE}.{name}")
    (found,) = [value for value in vars(module).values() if _type_of(value) == name]
    oracle: type[Oracle] = found
    return oracle


def _offered(entry: metadata.EntryPoint) -> type[Oracle]:
    repair = "repair or uninstall that package"
    try:
        found = entry.load()
    except Exception as error:
        raise BehaviorError(
            f"the oracle '{entry.name}' of {_origin(entry)} cannot be loaded: {type(error).__name__}: {error}", repair
        ) from error
    if _type_of(found) != entry.name:
        raise BehaviorError(
            f"the oracle '{entry.name}' of {_origin(entry)} is not a subclass of Oracle with type: "
            f"Literal['{entry.name}']",
            repair,
        )
    oracle: type[Oracle] = found
    return oracle


def _origin(entry: metadata.EntryPoint) -> str:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed package"
    return f"{package} ({entry.value})"


def _type_of(value: object) -> str | None:
    """The one type that an oracle's class declares; None for anything else."""
    if not (isinstance(value, type) and issubclass(value, Oracle)):
        return None
    annotation = value.model_fields["type"].annotation
    names = get_args(annotation) if get_origin(annotation) is Literal else ()
    return str(names[0]) if len(names) == 1 else None


def _validated(value: Any, info: ValidationInfo) -> Oracle:
    if isinstance(value, Oracle):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("oracle_table", "an oracle is a table with a 'type', as in {type = \"refusal\"}")
    if "type" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'type'"})
    name = value["type"]
    try:
        chosen = oracle_class(name if isinstance(name, str) else "")
    except KeyError:
        expected = ", ".join(f"'{known}'" for known in known_oracles())
        raise PydanticKnownError(
            "union_tag_invalid", {"discriminator": "'type'", "tag": str(name), "expected_tags": expected}
        ) from None
    try:
        return chosen.model_validate(value, context=info.context)
    except ValidationError as error:
        # As errors of a member of a union are reported: the member's name, then the place inside it.
        raise ValidationError.from_exception_data(
            chosen.__name__, [_inside(name, one) for one in error.errors()]
        ) from None


def _inside(name: str, error: ErrorDetails) -> InitErrorDetails:
    words = PydanticCustomError(error["type"], "{message}", {**error.get("ctx", {}), "message": error["msg"]})
    return InitErrorDetails(type=words, loc=(name, *error["loc"]), input=error["input"])


#: The oracle that a behavior file's `type` selects.
AnyOracle = Annotated[SerializeAsAny[Oracle], PlainValidator(_validated)]


class _Oracles(Mapping[str, type[Oracle]]):
    """Every known oracle by its type, loaded when it is looked up."""

    def __getitem__(self, name: str) -> type[Oracle]:
        return oracle_class(name)

    def __iter__(self) -> Iterator[str]:
        return iter(known_oracles())

    def __len__(self) -> int:
        return len(known_oracles())


ORACLES: Mapping[str, type[Oracle]] = _Oracles()
