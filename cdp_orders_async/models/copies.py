"""Copies of models: what is loaded does not change with the objects that it was given in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar, get_type_hints

import attrs

__all__ = ["copy_of"]

T = TypeVar("T")
Way: TypeAlias = tuple[Callable[[Any], Sequence[object]], Callable[..., None], Sequence[str]]


class _Ways(dict[type[Any], Way]):
    """For each model: what reads all fields at once, what sets them all, and the names of those that hold lists."""

    def __missing__(self, model: type[Any]) -> Way:
        names = [one.name for one in attrs.fields(model)]
        # To name each field as it is set would take three times as long.
        set_all: Callable[..., None] = vars(attrs.make_class(model.__name__, names))["__init__"]
        lists = [name for name, hint in get_type_hints(model).items() if "tuple[" in str(hint)]
        way = self[model] = attrgetter(*names), set_all, lists
        return way


WAYS = _Ways()


def copy_of(model: T) -> T:
    """Return a copy of a *model*, in whose lists are copies of models too."""
    values_of, set_all, lists = WAYS[model.__class__]
    copy: T = object.__new__(model.__class__)
    set_all(copy, *values_of(model))
    for name in lists:
        if held := getattr(copy, name):
            setattr(copy, name, tuple([copy_of(one) if hasattr(one, "__attrs_attrs__") else one for one in held]))
    return copy
