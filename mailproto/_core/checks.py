"""What may stand in a config, checked when it is made: otherwise it shows later what is wrong, and far from there."""

from __future__ import annotations

import dataclasses
import enum
import operator
import os
from collections.abc import Callable, Collection, Iterable
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

from mailproto.errors import GrammarError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Check: TypeAlias = Callable[[str, Any], None]


# In the two below int stands before the protocol that has it as well, for to ask that takes long.


def check_count(name: str, value: object, least: int = 0) -> None:
    """Raise for what is no whole number, of whatever library, or less than ``least``."""
    if not isinstance(value, int | SupportsIndex) or isinstance(value, bool):
        raise TypeError(f"{name} has to be a whole number, not {value!r:.40}")
    if operator.index(value) < least:
        raise GrammarError(f"{name} has to be {least} at least, not {value}")


def check_amount(name: str, value: object) -> None:
    """Raise for what is no number of seconds, say: for text, for less than 0, and for what is not a number at all."""
    if not isinstance(value, float | int | SupportsIndex) or isinstance(value, bool):
        raise TypeError(f"{name} has to be a number, not {value!r:.40}")
    if not (value if isinstance(value, float) else operator.index(value)) >= 0:
        raise GrammarError(f"{name} has to be 0 at least, not {value}")


def check_kind(name: str, value: object, kind: type | UnionType) -> None:
    """Raise `TypeError` for what is not of a kind. It is not shown: there may be a password in it, as in a URL."""
    if not isinstance(value, kind):
        wanted = kind.__name__ if isinstance(kind, type) else str(kind)
        raise TypeError(f"{name} has to be a {wanted}, not {type(value).__name__}")


def check_callable(name: str, value: object) -> None:
    """Raise `TypeError` for what cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} has to be something to be called, not {type(value).__name__}")


def check_collection(name: str, value: object) -> None:
    """Raise `GrammarError` for a text, which is a collection of its letters, and `TypeError` for what is none at all.

    Nor is a generator one: it would be empty behind the first look at it.
    """
    if isinstance(value, str):
        raise GrammarError(f"{name} is no collection, but one: {value!a:.60}")
    if not isinstance(value, Collection):
        raise TypeError(f"{name} has to be a collection, not {type(value).__name__}")


def check_each(name: str, values: Iterable[object], kind: type) -> None:
    """Raise `TypeError` if one of these is not of a kind."""
    for value in values:
        check_kind(f"each of {name}", value, kind)


def check_path(path: str | os.PathLike[str]) -> None:
    """Raise `GrammarError` for an empty path, which is mostly a variable that is not set.

    It would be the directory that the program happens to run in, or a database that is forgotten.
    """
    if not os.fspath(path):
        raise GrammarError("the path is empty")


def check_fields(config: DataclassInstance) -> None:
    """Check the fields of a dataclass that are annotated as numbers, truth values, text, collections or functions,
    and those whose default is the member of an enum, or made by another dataclass. Numbers are not negative.

    Raises:
        TypeError: a field has a value of another type, such as a text that would be taken for true.
        GrammarError: a number is negative or NaN, or a text stands where it would be a collection of its letters.
    """
    for name, check in _checks_of(type(config)):
        check(name, getattr(config, name))


@cache
def _checks_of(kind: type[DataclassInstance]) -> tuple[tuple[str, _Check], ...]:
    """Return the names of the fields of a class that can be checked, and how."""
    found = ((field.name, _check_of(field)) for field in dataclasses.fields(kind))
    return tuple((name, check) for name, check in found if check is not None)


def _check_of(field: dataclasses.Field[Any]) -> _Check | None:
    annotation = str(field.type)
    check = _BY_ANNOTATION.get(annotation.removesuffix(" | None"))
    if check is None and annotation.startswith(("tuple[", "frozenset[")):
        check = check_collection
    if check is None and annotation.startswith("Callable["):
        check = check_callable
    if check is None and isinstance(field.default, enum.Enum):
        check = _of_kind(type(field.default))
    if check is None and isinstance(field.default_factory, type) and dataclasses.is_dataclass(field.default_factory):
        check = _of_kind(field.default_factory)
    return _or_none(check) if check is not None and annotation.endswith(" | None") else check


def _of_kind(kind: type) -> _Check:
    return lambda name, value: check_kind(name, value, kind)


def _or_none(check: _Check) -> _Check:
    def check_if_any(name: str, value: object) -> None:
        if value is not None:
            check(name, value)

    return check_if_any


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} has to be True or False, not {value!r:.40}")


def _check_text(name: str, value: object) -> None:
    check_kind(name, value, str)


_BY_ANNOTATION: dict[str, _Check] = {
    "int": check_count,
    "float": check_amount,
    "bool": _check_flag,
    "str": _check_text,
}
