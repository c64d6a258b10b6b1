"""Which of the things that the server has is the one that was sent: pure comparisons.

A field that was not sent says nothing: the server may fill it in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeGuard
from uuid import UUID

import attrs

from cdp_orders_async.graph import Pairs
from cdp_orders_async.models import Extension, Link, NewOrderItem, NewOrderItemV2, Order
from cdp_orders_async.models.common import AnyItem, AnyNewOrder, AnyPerson

__all__ = ["diff", "extra_fields", "may_match", "merge", "same_order"]

SAME_ORDER = timedelta(days=2)
"""The API takes orders with one reference id for the same when they were made within this time."""
SAME_TIME = timedelta(seconds=1)
"""The wire carries milliseconds, and the vendor's examples only seconds."""


def diff(sent: Any, got: Any) -> tuple[str, ...]:  # noqa: ANN401 a model or pairs, and what the server has of it
    """Return the names of the fields that were *sent* and that are otherwise in what the server *got*."""
    if _is_pairs(sent):
        pairs = got.pairs if isinstance(got, Extension) else {}
        return tuple(key for key, value in sent.items() if key not in pairs or not _same(value, pairs[key]))
    return tuple(
        name
        for name in attrs.fields_dict(sent.__class__)
        if (value := getattr(sent, name)) is not None and not _same(value, getattr(got, name))
    )


def extra_fields(sent: Any, got: Any) -> int:  # noqa: ANN401 as above
    """Count what the server *got* beyond what was *sent*."""
    if _is_pairs(sent):
        return len(got.pairs.keys() - sent.keys())
    return sum(
        getattr(sent, name) is None and getattr(got, name) not in (None, "", ())
        for name in attrs.fields_dict(sent.__class__)
    )


def merge(sent: Any, got: Any, fixed: Collection[str]) -> Any:  # noqa: ANN401 a model, and what the server has of it
    """Return *sent* with what the server *got* where nothing was sent, and in the *fixed* fields.

    A link that was not sent is left to the server.
    """
    theirs = {name: getattr(got, name) for name in attrs.fields_dict(sent.__class__)}
    return attrs.evolve(
        sent,
        **{
            name: value
            for name, value in theirs.items()
            if value is not None and not isinstance(value, Link) and (name in fixed or getattr(sent, name) is None)
        },
    )


def may_match(sent: object, got: object) -> bool:
    """Tell whether what the server *got* may be what was *sent*.

    Orders go by reference id and time, items by reference id, people by identifiers, each of them else by
    content.
    """
    match sent, got:
        case AnyNewOrder(), Order():
            near = got.ordered_at is None or abs(sent.ordered_at - got.ordered_at) <= SAME_ORDER
            return sent.reference_id == got.reference_id and near
        case NewOrderItem() | NewOrderItemV2(), AnyItem() if sent.reference_id:
            return sent.reference_id == got.reference_id
        case AnyPerson(identifiers=tuple(ids)), AnyPerson(identifiers=tuple(theirs)) if ids and theirs:
            have = {(one.provider, one.id) for one in theirs}
            return all((one.provider, one.id) in have for one in ids)
        case _:
            return not set(diff(sent, got)) - {"order_items", "identifiers"}


def _same(sent: object, got: object) -> bool:
    if isinstance(sent, bool) or isinstance(got, bool):
        return sent is got
    if isinstance(sent, datetime) and isinstance(got, datetime):
        return abs(sent - got) < SAME_TIME
    if _is_tuple(sent) and _is_tuple(got):
        if all(isinstance(one, UUID) for one in (*sent, *got)):
            return set(sent) == set(got)
        return len(sent) == len(got) and all(map(_same, sent, got))
    if attrs.has(type(sent)) and attrs.has(type(got)):
        return not diff(sent, got)
    return sent == (got.ref if isinstance(got, Link) else got)


def _is_pairs(value: object) -> TypeGuard[Pairs]:
    return isinstance(value, Mapping)


def _is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(value, tuple)


def same_order(sent: AnyNewOrder, got: Order) -> bool:
    """Tell whether the order *got* was made at the very time of *sent*, and is not only near it."""
    return sent.reference_id == got.reference_id and (got.ordered_at is None or _same(sent.ordered_at, got.ordered_at))
