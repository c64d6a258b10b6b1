"""The bases of the models of both versions.

snake_case here is camelCase on the wire. Of a stored object only *ref* is certain: any other field that the server
leaves out is None, because orders also come from other APIs (Batch, Stream) that need fewer fields.
No repr shows a personal value. It shows a mark instead: within one process, equal values have equal marks, so that a
failed comparison shows which fields differ.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_type_hints
from uuid import UUID

import attrs

from cdp_orders_async.models.constraints import Country, Currency, Filled, Past

R = TypeVar("R")

_KEY = os.urandom(16)

RESERVED_KEYS = frozenset({"name", "href", "ref", "key", "createdAt", "modifiedAt", "order", "orderItem"})
"""The keys of a data extension that the server sets."""

ExtensionValue: TypeAlias = str | bool | int | float
"""The values of a data extension: only primitive ones."""

Gender: TypeAlias = Literal["male", "female", "unknown"]
Channel: TypeAlias = Literal[
    "WEB", "MOBILE_WEB", "MOBILE_APP", "CALL_CENTER", "AIRPORT_KIOSK", "BRANCH", "KIOSK", "OFFLINE", "GDS", "OTA",
    "OTHER",
]  # fmt: skip
OrderItemStatusV2: TypeAlias = Literal[
    "RESERVED", "PENDING", "DECLINED", "CONFIRMED", "CANCELLED", "REFUNDED", "PURCHASED", "UNKNOWN",
]  # fmt: skip
OrderStatusV2: TypeAlias = Literal[
    OrderItemStatusV2, "PAYMENT_PENDING", "PARTIALY_CONFIRMED", "PARTIALY_REFUNDED"  # the vendor's spelling
]  # fmt: skip
OrderStatus: TypeAlias = Literal[OrderStatusV2, "BROWSED", "SEARCHED"]
OrderItemTypeV2: TypeAlias = Literal[
    "FLIGHT", "HOTEL", "CAR", "BAG", "INSURANCE", "CAR_SEAT", "MEAL", "FEE", "LOUNGE_ACCESS", "HOTEL_WIFI",
    "HOTEL_BREAKFAST", "SEAT_UPGRADE", "TAXI", "PARKING", "SEAT", "UPGRADE", "TRANSPORT", "OTHER",
    "INFLIGHT_ENTERTAINMENT", "ACTIVITY", "CARBON_OFFSET", "PAID_SUBSCRIPTION", "COMFORT_PACK", "INFLIGHT_VOUCHER",
    "PACKAGE", "SMS_ITINERARY", "SPECIAL_ASSISTANCE", "CHARITY_DONATION", "TRANSFER",
    "BAGGAGE", "FEES", "SEAT_UPGRADES", "INFLIGHT_VOUCHERS",  # these are deprecated
]  # fmt: skip


def once_a_model(make: Callable[[type[Any]], R]) -> Callable[[type[Any]], R]:
    """Return *make* with a cache of its result for each model."""
    made: Callable[[type[Any]], R] = functools.cache(make)  # type: ignore[assignment] # for mypy no class has a hash
    return made


def as_sent(moment: datetime) -> datetime:
    """Return *moment* as a request carries it: cut off after the milliseconds."""
    finer = moment.microsecond % 1000
    return moment.replace(microsecond=moment.microsecond - finer) if finer else moment


def list_fields(model: type[Any]) -> list[str]:
    """Return the names of the fields of *model* that hold several values."""
    return [name for name, hint in get_type_hints(model).items() if "tuple[" in str(hint)]


def camel(name: str) -> str:
    """Return *name* as the wire writes it: ``reference_id`` is ``referenceId``."""
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))


class Value:  # noqa: PLW1641 a mutable value has no hash
    """Compares and shows the fields as attrs does; attrs would compile these methods for each class at each import."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        fields = (field.name for field in _fields(self) if field.eq)
        return all(getattr(self, name) == getattr(other, name) for name in fields)

    def __repr__(self) -> str:
        fields = ((field, getattr(self, field.name)) for field in _fields(self))
        # Absent fields are left out, or pytest would cut the reprs of two models before the place where they differ.
        shown = (f"{field.name}={_shown(field, value)}" for field, value in fields if not _is_absent(field, value))
        return f"{type(self).__name__}({', '.join(shown)})"


def differences(first: Value, second: Value, at: str = "") -> Iterator[str]:
    """Yield the fields in which two values of one class differ: the path below *at*, and both reprs."""
    for field in _fields(first):
        whole = (f"{at}{field.name}", getattr(first, field.name), getattr(second, field.name))
        for where, left, right in _pairs_of(*whole) if field.repr else [whole]:
            if not field.eq or left == right:
                continue
            if field.repr and isinstance(left, Value) and isinstance(right, Value) and type(left) is type(right):
                yield from differences(left, right, f"{where}.")
            else:
                yield f"{where}: {_shown(field, left)} != {_shown(field, right)}"


def _pairs_of(name: str, left: object, right: object) -> list[tuple[str, object, object]]:
    """Return the entries of two lists of one length in pairs, with their paths; any other two values are one pair."""
    if not isinstance(left, tuple) or not isinstance(right, tuple):
        return [(name, left, right)]
    ours, theirs = cast("tuple[object, ...]", left), cast("tuple[object, ...]", right)
    if len(ours) != len(theirs):
        return [(name, left, right)]
    return [(f"{name}[{n}]", *pair) for n, pair in enumerate(zip(ours, theirs, strict=True))]


def _shown(field: attrs.Attribute[Any], value: object) -> str:
    return repr(value) if field.repr or value is None else f"<{_mark(field.name, value)}>"


def _is_absent(field: attrs.Attribute[Any], value: object) -> bool:
    return value is None and (field.default is None or not field.repr)


def _mark(name: str, value: object) -> str:
    """Return a mark for a hidden value. It does not reveal the value, because the key of the hash is never shown."""
    return hashlib.blake2b(f"{name}={value!r}".encode(errors="replace"), key=_KEY, digest_size=2).hexdigest()


def _fields(value: Value) -> tuple[attrs.Attribute[Any], ...]:
    found: tuple[attrs.Attribute[Any], ...] = attrs.fields(cast("type[attrs.AttrsInstance]", type(value)))
    return found


@attrs.define(kw_only=True, eq=False, repr=False)
class Link(Value):
    """A link to another resource."""

    href: str

    @property
    def ref(self) -> UUID | None:
        """The reference in the last segment of the path; None if that is not a reference."""
        try:
            return UUID(self.href.partition("?")[0].rstrip("/").rpartition("/")[2])
        except ValueError:
            return None


@attrs.define(kw_only=True, eq=False, repr=False, slots=False)  # two bases with slots cannot meet in one class
class Resource(Value):
    """The fields that the server adds to every stored object."""

    ref: UUID
    """The reference, a UUID made by the server."""
    href: str | None = None
    created_at: datetime | None = None
    modified_at: datetime | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class OrderOptions(Value):
    """The optional fields of an order in both versions."""

    channel: Channel | str | None = None
    payment_type: str | None = None
    """Free text; the vendor's examples are Card, Paypal, Voucher, ATM, Cash and Other."""
    card_type: str | None = None
    """Free text; the vendor's examples are Mastercard, Visa, Diners and American Express."""


@attrs.define(kw_only=True, eq=False, repr=False)
class AnyNewOrder(OrderOptions):
    """The required fields of a new order in both versions."""

    reference_id: Filled
    """Your own id of the order, often a booking code. It cannot be changed later."""
    ordered_at: datetime
    """The time of the order, with a time zone. It cannot be changed later."""
    price: Decimal
    """The amount paid, to 15 significant digits."""
    currency_code: Currency
    """ISO 4217, three letters."""


@attrs.define(kw_only=True, eq=False, repr=False)
class ItemOptions(Value):
    """The optional fields of an item in both versions."""

    description: str | None = None
    original_price: Decimal | None = None
    original_currency_code: str | None = None
    vendor: str | None = None
    language: str | None = None
    channel: str | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class AnyNewItem(ItemOptions):
    """The required fields of a new item in both versions."""

    price: Decimal
    currency_code: Filled


@attrs.define(kw_only=True, eq=False, repr=False)
class AnyItem(Resource, ItemOptions):
    """An item as the server stores it, in both versions."""

    type: str | None = None
    name: str | None = None
    price: Decimal | None = None
    currency_code: str | None = None
    status: str | None = None
    product_id: str | None = None
    reference_id: str | None = None
    ordered_at: datetime | None = None
    order: Link | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class Identifier(Value):
    """An id by which the tenant's identity rules may find the guest."""

    provider: Filled
    """The name of the identifier in the identity rule."""
    id: Filled = attrs.field(repr=False)
    expiry_date: datetime | None = attrs.field(default=None, repr=False)


@attrs.define(kw_only=True, eq=False, repr=False)
class AnyPerson(Value):
    """The fields of contacts and consumers in both versions; its repr shows no personal value."""

    title: str | None = attrs.field(default=None, repr=False)
    gender: Gender | str | None = attrs.field(default=None, repr=False)
    date_of_birth: Past | None = attrs.field(default=None, repr=False)
    """In the past."""
    emails: tuple[str, ...] | None = attrs.field(default=None, repr=False)
    phone_numbers: tuple[str, ...] | None = attrs.field(default=None, repr=False)
    nationality: str | None = attrs.field(default=None, repr=False)
    passport_number: str | None = attrs.field(default=None, repr=False)
    passport_expiry: datetime | None = attrs.field(default=None, repr=False)
    identifiers: tuple[Identifier, ...] | None = attrs.field(default=None, repr=False)
    """Enough of them for your identity rules to find the guest."""
    country: Country | None = attrs.field(default=None, repr=False)
    """ISO 3166-1 alpha-2, two letters."""


@attrs.define(kw_only=True, eq=False, repr=False)
class Extension(Value):
    """A data extension as the server stores it; if a listing did not expand it, it has only its *href*."""

    ref: UUID | None = None
    href: str | None = None
    created_at: datetime | None = None
    modified_at: datetime | None = None
    name: str | None = None
    key: str | None = None
    pairs: dict[str, ExtensionValue] = attrs.field(factory=dict[str, ExtensionValue], repr=False)
    """Your key-value pairs."""
