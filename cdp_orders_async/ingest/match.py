"""Which of the things that the server has is the one that was sent: pure comparisons.

A field that was not sent says nothing: the server may fill it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import attrs

from cdp_orders_async.models import Extension, NewOrder, NewOrderItem, Order, OrderItem, Person

__all__ = ["could_be", "differences"]

SAME_ORDER = timedelta(days=2)
"""The API takes orders with one reference id for the same when they were made within this time."""


def differences(sent: object, got: object) -> tuple[str, ...]:
    """Return the names of the fields that were *sent* and that are otherwise in what the server *got*."""
    if isinstance(got, Extension):
        pairs = sent if isinstance(sent, Mapping) else {}
        return tuple(key for key, value in pairs.items() if key not in got.pairs or not _same(value, got.pairs[key]))
    return tuple(
        field.name
        for field in attrs.fields(cast("type[attrs.AttrsInstance]", type(sent)))
        if (value := getattr(sent, field.name)) is not None and not _same(value, getattr(got, field.name))
    )


def could_be(sent: object, got: object) -> bool:
    """Tell whether what the server *got* may be what was *sent*.

    Orders go by reference id and time, items by reference id, people by identifiers, each of them else by
    content.
    """
    match sent, got:
        case NewOrder(), Order():
            near = got.ordered_at is None or abs(sent.ordered_at - got.ordered_at) <= SAME_ORDER
            return sent.reference_id == got.reference_id and near
        case NewOrderItem(reference_id=str(reference)), OrderItem() if reference:
            return reference == got.reference_id
        case Person(identifiers=tuple(ids)), Person(identifiers=tuple(theirs)) if ids and theirs:
            have = {(one.provider, one.id) for one in theirs}
            return all((one.provider, one.id) in have for one in ids)
        case _:
            return not set(differences(sent, got)) - {"order_items", "identifiers"}


def _same(sent: Any, got: Any) -> bool:  # noqa: ANN401 any two values
    if isinstance(sent, bool) or isinstance(got, bool):
        return sent is got
    if isinstance(sent, tuple) and isinstance(got, tuple) and all(isinstance(one, UUID) for one in (*sent, *got)):
        return set(sent) == set(got)
    if isinstance(sent, tuple) and isinstance(got, tuple) and all(map(attrs.has, map(type, (*sent, *got)))):
        return len(sent) == len(got) and all(not differences(one, other) for one, other in zip(sent, got, strict=True))
    return bool(sent == got)
