"""Copies of models, so that a load keeps the values of an order if the user changes its objects later."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

import attrs

from cdp_orders_async.models.common import list_fields, once_a_model
from cdp_orders_async.wire.direct import setter

__all__ = ["copy_of"]

T = TypeVar("T")


def copy_of(model: T) -> T:
    """Return a copy of a *model*; the models in its lists are copied too."""
    copy: T = _copier(model.__class__)(model)
    return copy


@once_a_model
def _copier(model: type[Any]) -> Callable[[Any], Any]:
    names, lists, new = [field.name for field in attrs.fields(model)], list_fields(model), object.__new__
    values_of, set_all = attrgetter(*names), setter(names)

    def copied(value: Any) -> Any:  # noqa: ANN401 the model
        copy = new(model)
        set_all(copy, *values_of(value))
        for name in lists:
            if held := getattr(copy, name):
                setattr(copy, name, tuple([copy_of(part) if attrs.has(part.__class__) else part for part in held]))
        return copy

    return copied
