"""Compare a sent value with a stored one, to decide which resource on the server a part is: pure functions.

A field that was not sent is ignored: the server may fill it in. Empty text and an empty list count as a missing
field, because the vendor does not document whether a server keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard
from uuid import UUID

import attrs

from cdp_orders_async.arguments import need
from cdp_orders_async.graph import Pairs
from cdp_orders_async.journal import is_same_order
from cdp_orders_async.models import (
    Consumer,
    Contact,
    Extension,
    FlightSegment,
    Identifier,
    Link,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    Order,
    OrderItem,
    OrderItemV2,
    OrderV2,
    PersonV2,
)
from cdp_orders_async.models.common import AnyItem, AnyNewOrder, AnyPerson, as_sent
from cdp_orders_async.models.constraints import is_tuple_or_list
from cdp_orders_async.redact import sealed
from cdp_orders_async.wire.codec import in_utc

__all__ = ["diff", "differences", "extra_fields", "may_match", "merge", "same_order"]

STORED_AS: Mapping[type[Any], type[Any]] = {
    NewOrder: Order,
    NewOrderV2: OrderV2,
    NewOrderItem: OrderItem,
    NewOrderItemV2: OrderItemV2,
    NewContact: Contact,
    NewContactV2: Contact,
    NewConsumer: Consumer,
    NewConsumerV2: Consumer,
    Mapping: Extension,
}
"""The model of a stored part, by the model of the sent part."""

TIME_TOLERANCE = timedelta(seconds=1)
"""The wire carries milliseconds, and the vendor's examples only seconds."""
DAY = timedelta(days=1)
MAX_UTC_OFFSET = timedelta(hours=14)
"""The offset of the time zone farthest to the east: a day begins there so much earlier than in UTC."""
UTC_OFFSET_STEP = timedelta(minutes=15)
"""Time zones differ from UTC by multiples of this."""


@sealed
def differences(
    new: NewOrder
    | NewOrderV2
    | NewOrderItem
    | NewOrderItemV2
    | NewContact
    | NewContactV2
    | NewConsumer
    | NewConsumerV2
    | Pairs,
    got: Order | OrderV2 | OrderItem | OrderItemV2 | Contact | Consumer | Extension,
) -> tuple[str, ...]:
    """Return the names of the fields that differ between a part that was sent and the one that a server has.

    For an extension they are the keys of its pairs. The comparison allows for a server that keeps a value in another
    form. These are no differences: a field of *got* that *new* leaves out, less than a second between two times,
    another form of a number, empty text or an empty list in place of a missing field, another order of identifiers or
    of links, and the time of day where version 2 has a date.

    Parameters: *new*, what was sent: a model such as `NewOrder`, or the pairs of an extension; *got*, what the server
    has, a model such as `Order`, or an `Extension`. Raises TypeError for another type, and for two that do not belong
    together.

        if differences(new, await cdp.orders.get(ref)):
            ...
    """
    kinds = tuple(STORED_AS)
    need(new, kinds, "new", "what is sent, such as NewOrder, or the pairs of an extension")
    expected = next(stored for kind, stored in STORED_AS.items() if isinstance(new, kind))
    need(got, expected, "got")
    return diff(new, got)


def diff(sent: Any, stored: Any) -> tuple[str, ...]:  # noqa: ANN401 a model or pairs, and the resource on the server
    """Return the names of the sent fields that have another value on the server."""
    if _is_pairs(sent):
        pairs = stored.pairs if isinstance(stored, Extension) else {}
        return tuple(key for key, value in sent.items() if not _same(value, pairs.get(key)))
    return tuple(
        name
        for name in attrs.fields_dict(sent.__class__)
        if (value := getattr(sent, name)) is not None and not _comparison(sent, name)(value, getattr(stored, name))
    )


def extra_fields(sent: Any, stored: Any) -> int:  # noqa: ANN401 as above
    """Return the number of fields that have a value on the server and were not sent."""
    if _is_pairs(sent):
        return len(stored.pairs.keys() - sent.keys())
    names = attrs.fields_dict(sent.__class__)
    return sum(getattr(sent, name) is None and not _is_empty(getattr(stored, name)) for name in names)


def merge(sent: Any, stored: Any, fixed: Collection[str]) -> Any:  # noqa: ANN401 a model, and the resource on the server
    """Return *sent* with the value on the server in each field that was not sent, and in the *fixed* fields.

    A link on the server becomes its reference. Identifiers and flight segments that both sides have, each once, are
    merged in the same way.
    """
    merged: dict[str, object] = {}
    for name in attrs.fields_dict(sent.__class__):
        ours, theirs = getattr(sent, name), getattr(stored, name)
        if theirs is None:
            continue
        if ours is None or name in fixed:
            merged[name] = theirs.ref if isinstance(theirs, Link) else theirs
        elif 0 < len(known := _by_key(theirs)) == len(theirs) and len(_by_key(ours)) == len(ours):
            merged[name] = tuple(merge(part, known.get(_key(part), part), ()) for part in ours)
    return attrs.evolve(sent, **merged)


def may_match(sent: object, stored: object) -> bool:
    """Return whether *stored* on the server may be *sent*.

    Orders are compared by reference id and time, items by reference id, people by identifiers. A value without such an
    id is compared by its content.
    """
    match sent, stored:
        case AnyNewOrder(), Order():
            near = stored.ordered_at is None or is_same_order(sent.ordered_at, stored.ordered_at)
            return sent.reference_id == stored.reference_id and near
        case NewOrderItem() | NewOrderItemV2(), AnyItem() if sent.reference_id:
            return sent.reference_id == stored.reference_id
        case AnyPerson(), AnyPerson() if sent.identifiers and stored.identifiers:
            return _by_key(sent.identifiers).keys() <= _by_key(stored.identifiers).keys()
        case _:
            return not set(diff(sent, stored)) - {"order_items", "identifiers"}


def same_order(sent: AnyNewOrder, stored: Order) -> bool:
    """Return whether the *stored* order has the reference id and the time of the *sent* order.

    If only the time differs, either the reference id was used again, or the time of this order was changed. An order
    that the server shows without its time counts as the same. So does one in the same second that it shows without a
    fraction, as in the vendor's examples of version 2.1.
    """
    if sent.reference_id != stored.reference_id or stored.ordered_at is None:
        return sent.reference_id == stored.reference_id
    ours, theirs = as_sent(in_utc(sent.ordered_at)), as_sent(in_utc(stored.ordered_at))
    return theirs in {ours, ours.replace(microsecond=0)}


def _comparison(sent: object, name: str) -> Callable[[object, object], bool]:
    """Return the function that compares the field *name* of *sent*."""
    if name in {"date_of_birth", "passport_expiry"} and isinstance(sent, PersonV2):
        return _same_day
    if name in {"departure_date_time", "arrival_date_time"}:
        return _same_local_time
    return _same


def _same(sent: object, stored: object) -> bool:
    if isinstance(sent, bool) or isinstance(stored, bool):
        return sent is stored
    if isinstance(sent, datetime) and isinstance(stored, datetime):
        return abs(sent - stored) < TIME_TOLERANCE
    if is_tuple_or_list(sent) and is_tuple_or_list(stored):
        return _same_list(sent, stored)
    if attrs.has(type(sent)) and attrs.has(type(stored)):
        return not diff(sent, stored)
    if stored is None:
        return _is_empty(sent)
    return sent == (stored.ref if isinstance(stored, Link) else stored)


def _same_list(sent: Sequence[object], stored: Sequence[object]) -> bool:
    """Compare lists; references and identifiers may be in any order, and a repeated entry counts once."""
    if all(isinstance(entry, UUID) for entry in (*sent, *stored)):
        return set(sent) == set(stored)
    if all(isinstance(entry, Identifier) for entry in (*sent, *stored)):
        ours, theirs = _by_key(sent), _by_key(stored)
        return ours.keys() == theirs.keys() and all(_same(entry, theirs[key]) for key, entry in ours.items())
    return len(sent) == len(stored) and all(map(_same, sent, stored))


def _same_day(sent: object, stored: object) -> bool:
    """Compare a date of version 2: only the day in UTC counts, since the server may add a time.

    The server may also show midnight of that day in a time zone to the east: in UTC that is still the day before.
    """
    if not (isinstance(sent, datetime) and isinstance(stored, datetime)):
        return _same(sent, stored)
    midnight = sent.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    earlier = midnight - stored
    if earlier <= timedelta(0):
        return -earlier < DAY
    # Exactly one day before the sent time is not a midnight of a time zone: the server has another day with its time.
    return earlier <= MAX_UTC_OFFSET and not earlier % UTC_OFFSET_STEP and bool((sent - stored) % DAY)


def _same_local_time(sent: object, stored: object) -> bool:
    """Compare the times of a flight, which are text with or without seconds."""
    try:
        return _same(_read(sent), _read(stored))
    except (ValueError, OverflowError):  # not a time: the text counts
        return _same(sent, stored)


def _read(time: object) -> object:
    return in_utc(datetime.fromisoformat(time)) if isinstance(time, str) else time


def _key(part: object) -> object:
    """Return the key of an identifier or a flight segment within its list, None for anything else."""
    if isinstance(part, Identifier):
        return part.provider, part.id
    return part.id if isinstance(part, FlightSegment) else None


def _by_key(parts: object) -> dict[object, object]:
    """Return a list of identifiers or flight segments by key; an empty dict for anything else."""
    return {key: part for part in parts if (key := _key(part)) is not None} if is_tuple_or_list(parts) else {}


def _is_empty(value: object) -> bool:
    return value is None or value == "" or (is_tuple_or_list(value) and not value)


def _is_pairs(value: object) -> TypeGuard[Pairs]:
    return isinstance(value, Mapping)
