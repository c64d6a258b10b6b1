"""Copies of models: a load keeps the values of an order that it was given, whatever becomes of the objects."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

import attrs

from cdp_orders_async.models.common import list_fields, per_model
from cdp_orders_async.wire.direct import setter

__all__ = ["copy_of"]

T = TypeVar("T")


def copy_of(model: T) -> T:
    """Return a copy of a *model*; the models in its lists are copied too."""
    copy: T = _copier(model.__class__)(model)
    return copy


@per_model
def _copier(model: type[Any]) -> Callable[[Any], Any]:
    names, lists, new = [one.name for one in attrs.fields(model)], list_fields(model), object.__new__
    values_of, set_all = attrgetter(*names), setter(names)

    def copied(value: Any) -> Any:  # noqa: ANN401 the model
        copy = new(model)
        set_all(copy, *values_of(value))
        for name in lists:
            if held := getattr(copy, name):
                setattr(copy, name, tuple([copy_of(one) if attrs.has(one.__class__) else one for one in held]))
        return copy

    return copied
