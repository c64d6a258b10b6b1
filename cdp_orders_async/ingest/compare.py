"""Compare what was sent with what the server has: pure functions, used to decide which thing on the server it is.

A field that was not sent says nothing: the server may fill it in. Empty text and an empty list say what a missing
field says, because no page of the vendor tells whether a server keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard
from uuid import UUID

import attrs

from cdp_orders_async.graph import Pairs
from cdp_orders_async.journal import is_same_order
from cdp_orders_async.models import (
    Extension,
    FlightSegment,
    Identifier,
    Link,
    NewOrderItem,
    NewOrderItemV2,
    Order,
    PersonV2,
)
from cdp_orders_async.models.common import AnyItem, AnyNewOrder, AnyPerson
from cdp_orders_async.models.constraints import is_list
from cdp_orders_async.wire.codec import in_utc

__all__ = ["diff", "extra_fields", "may_match", "merge", "same_order"]

SAME_TIME = timedelta(seconds=1)
"""The wire carries milliseconds, and the vendor's examples only seconds."""
DAY = timedelta(days=1)
EASTMOST = timedelta(hours=14)
"""So much earlier than in UTC a day begins in the time zone farthest to the east."""
ZONES = timedelta(minutes=15)
"""Time zones differ from UTC by multiples of this."""


def diff(sent: Any, got: Any) -> tuple[str, ...]:  # noqa: ANN401 a model or pairs, and what the server has of it
    """Return the names of the sent fields that have another value on the server."""
    if _is_pairs(sent):
        pairs = got.pairs if isinstance(got, Extension) else {}
        return tuple(key for key, value in sent.items() if not _same(value, pairs.get(key)))
    return tuple(
        name
        for name in attrs.fields_dict(sent.__class__)
        if (value := getattr(sent, name)) is not None and not _comparison(sent, name)(value, getattr(got, name))
    )


def extra_fields(sent: Any, got: Any) -> int:  # noqa: ANN401 as above
    """Return how many fields have a value on the server, though none was sent."""
    if _is_pairs(sent):
        return len(got.pairs.keys() - sent.keys())
    return sum(
        getattr(sent, name) is None and not _is_empty(getattr(got, name)) for name in attrs.fields_dict(sent.__class__)
    )


def merge(sent: Any, got: Any, fixed: Collection[str]) -> Any:  # noqa: ANN401 a model, and what the server has of it
    """Return *sent* with the value on the server where nothing was sent, and in the *fixed* fields.

    A link on the server becomes the reference that it stands for. Identifiers and flight segments that both sides
    have, each once, are merged in the same way.
    """
    merged: dict[str, object] = {}
    for name in attrs.fields_dict(sent.__class__):
        ours, theirs = getattr(sent, name), getattr(got, name)
        if theirs is None:
            continue
        if ours is None or name in fixed:
            merged[name] = theirs.ref if isinstance(theirs, Link) else theirs
        elif 0 < len(known := _by_key(theirs)) == len(theirs) and len(_by_key(ours)) == len(ours):
            merged[name] = tuple(merge(one, known.get(_key(one), one), ()) for one in ours)
    return attrs.evolve(sent, **merged)


def may_match(sent: object, got: object) -> bool:
    """Return whether what the server has may be what was sent.

    Orders are compared by reference id and time, items by reference id, people by identifiers. What has no such id is
    compared by its content.
    """
    match sent, got:
        case AnyNewOrder(), Order():
            near = got.ordered_at is None or is_same_order(sent.ordered_at, got.ordered_at)
            return sent.reference_id == got.reference_id and near
        case NewOrderItem() | NewOrderItemV2(), AnyItem() if sent.reference_id:
            return sent.reference_id == got.reference_id
        case AnyPerson(), AnyPerson() if sent.identifiers and got.identifiers:
            return _by_key(sent.identifiers).keys() <= _by_key(got.identifiers).keys()
        case _:
            return not set(diff(sent, got)) - {"order_items", "identifiers"}


def same_order(sent: AnyNewOrder, got: Order) -> bool:
    """Return whether the server's order has the reference id and the time of the order that was sent.

    An order with the same reference id and another time is either one whose id was used again, or this one with a
    time that has changed. An order that the server shows without its time counts as the same.
    """
    return sent.reference_id == got.reference_id and (got.ordered_at is None or _same(sent.ordered_at, got.ordered_at))


def _comparison(sent: object, name: str) -> Callable[[object, object], bool]:
    """Return how a field of *sent* is compared."""
    if name in {"date_of_birth", "passport_expiry"} and isinstance(sent, PersonV2):
        return _same_day
    if name in {"departure_date_time", "arrival_date_time"}:
        return _same_local_time
    return _same


def _same(sent: object, got: object) -> bool:
    if isinstance(sent, bool) or isinstance(got, bool):
        return sent is got
    if isinstance(sent, datetime) and isinstance(got, datetime):
        return abs(sent - got) < SAME_TIME
    if is_list(sent) and is_list(got):
        return _same_list(sent, got)
    if attrs.has(type(sent)) and attrs.has(type(got)):
        return not diff(sent, got)
    if got is None:
        return _is_empty(sent)
    return sent == (got.ref if isinstance(got, Link) else got)


def _same_list(sent: Sequence[object], got: Sequence[object]) -> bool:
    """Compare lists: in any order, and each entry once, where the entries are references or identifiers."""
    if all(isinstance(one, UUID) for one in (*sent, *got)):
        return set(sent) == set(got)
    if all(isinstance(one, Identifier) for one in (*sent, *got)):
        ours, theirs = _by_key(sent), _by_key(got)
        return ours.keys() == theirs.keys() and all(_same(one, theirs[key]) for key, one in ours.items())
    return len(sent) == len(got) and all(map(_same, sent, got))


def _same_day(sent: object, got: object) -> bool:
    """Compare what version 2 calls a date: the day in UTC counts, whatever time the server adds to it.

    Where the server shows midnight of that day in a time zone to the east, that is still the day before in UTC.
    """
    if not (isinstance(sent, datetime) and isinstance(got, datetime)):
        return _same(sent, got)
    midnight = sent.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    earlier = midnight - got
    if earlier <= timedelta(0):
        return -earlier < DAY
    # Exactly a day before what was sent is no midnight of a zone: it is another day, kept with its time.
    return earlier <= EASTMOST and not earlier % ZONES and bool((sent - got) % DAY)


def _same_local_time(sent: object, got: object) -> bool:
    """Compare the times of a flight, which are text in one of several forms: with or without seconds."""
    try:
        return _same(_read(sent), _read(got))
    except (ValueError, OverflowError):  # no time in any form: the text counts
        return _same(sent, got)


def _read(time: object) -> object:
    return in_utc(datetime.fromisoformat(time)) if isinstance(time, str) else time


def _key(part: object) -> object:
    """Return what tells an identifier or a flight segment from its neighbours, None for anything else."""
    if isinstance(part, Identifier):
        return part.provider, part.id
    return part.id if isinstance(part, FlightSegment) else None


def _by_key(parts: object) -> dict[object, object]:
    """Return a list of identifiers or of flight segments by key; nothing for anything else."""
    return {key: part for part in parts if (key := _key(part)) is not None} if is_list(parts) else {}


def _is_empty(value: object) -> bool:
    return value is None or value == "" or (is_list(value) and not value)


def _is_pairs(value: object) -> TypeGuard[Pairs]:
    return isinstance(value, Mapping)
