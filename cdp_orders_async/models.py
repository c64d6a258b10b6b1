"""What you send (`NewOrder`), what is kept (`Order`), and what may change (`OrderChanges`).

snake_case here is camelCase on the wire. In what is kept, only *ref* is certain: whatever else the
server leaves out is None, because orders also arrive by other ways (Batch, Stream) that ask for less.
Personal values are kept out of every repr. Source: the vendor's pages of the Order REST API v2.1.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias, TypedDict
from uuid import UUID

import attrs

__all__ = [
    "Channel",
    "Consumer",
    "ConsumerChanges",
    "Contact",
    "ContactChanges",
    "Extension",
    "ExtensionValue",
    "Gender",
    "Identifier",
    "Link",
    "NewConsumer",
    "NewContact",
    "NewOrder",
    "NewOrderItem",
    "Order",
    "OrderChanges",
    "OrderItem",
    "OrderItemChanges",
    "OrderStatus",
    "Person",
    "PersonChanges",
    "Resource",
]

RESERVED_KEYS = frozenset({"name", "href", "ref", "key", "createdAt", "modifiedAt", "order", "orderItem"})
"""The keys of a data extension that are not yours: the server sets them."""

ExtensionValue: TypeAlias = str | bool | int | float
"""What a data extension can hold: primitive values only."""

Channel: TypeAlias = Literal[
    "WEB",
    "MOBILE_WEB",
    "MOBILE_APP",
    "CALL_CENTER",
    "AIRPORT_KIOSK",
    "BRANCH",
    "KIOSK",
    "OFFLINE",
    "GDS",
    "OTA",
    "OTHER",
]
OrderStatus: TypeAlias = Literal[
    "BROWSED",
    "CANCELLED",
    "CONFIRMED",
    "DECLINED",
    "PARTIALY_CONFIRMED",  # the vendor's spelling
    "PARTIALY_REFUNDED",
    "PAYMENT_PENDING",
    "PENDING",
    "PURCHASED",
    "REFUNDED",
    "RESERVED",
    "SEARCHED",
    "UNKNOWN",
]
Gender: TypeAlias = Literal["male", "female", "unknown"]


def camel(name: str) -> str:
    """Return *name* as the wire writes it: ``reference_id`` is ``referenceId``."""
    head, *rest = name.split("_")
    return head + "".join(map(str.capitalize, rest))


@attrs.define(kw_only=True)
class Link:
    """A link to another resource."""

    href: str

    @property
    def ref(self) -> UUID | None:
        """The reference in the last segment of the path, or None where that is no reference."""
        try:
            return UUID(self.href.partition("?")[0].rstrip("/").rpartition("/")[2])
        except ValueError:
            return None


@attrs.define(kw_only=True, slots=False)  # two bases with slots cannot meet in one class
class Resource:
    """What the server adds to everything it keeps."""

    ref: UUID
    """The reference, a UUID made by the server."""
    href: str | None = None
    created_at: datetime | None = None
    modified_at: datetime | None = None


@attrs.define(kw_only=True)
class _OrderOptions:
    channel: Channel | str | None = None
    point_of_sale: str | None = None
    status: OrderStatus | str | None = None
    payment_type: str | None = None
    card_type: str | None = None


@attrs.define(kw_only=True)
class NewOrder(_OrderOptions):
    """An order to create, or to put in place of one."""

    reference_id: str
    """Your own id of the order, often a booking code. It cannot be changed later."""
    ordered_at: datetime
    """When it was ordered, with a time zone. It cannot be changed later."""
    price: Decimal
    """The amount paid, to 15 significant digits."""
    currency_code: str
    """ISO 4217, three letters."""


@attrs.define(kw_only=True)
class Order(Resource, _OrderOptions):
    """An order as the server keeps it."""

    reference_id: str | None = None
    ordered_at: datetime | None = None
    price: Decimal | None = None
    currency_code: str | None = None


class OrderChanges(TypedDict, total=False):
    """What `update` may change of an order; *reference_id* and *ordered_at* cannot change."""

    price: Decimal
    currency_code: str
    channel: Channel | str
    point_of_sale: str
    status: OrderStatus | str
    payment_type: str
    card_type: str


@attrs.define(kw_only=True)
class _ItemOptions:
    description: str | None = None
    product_id: str | None = None
    original_price: Decimal | None = None
    original_currency_code: str | None = None
    reference_id: str | None = None
    vendor: str | None = None
    language: str | None = None
    quantity: int | None = None
    channel: str | None = None


@attrs.define(kw_only=True)
class NewOrderItem(_ItemOptions):
    """Something bought as part of an order, to create or to put in place of one."""

    type: str
    """Free text, but none of the words that the vendor reserves (FLIGHT, HOTEL, ...)."""
    name: str
    """At most 128 characters."""
    price: Decimal
    currency_code: str
    status: str


@attrs.define(kw_only=True)
class OrderItem(Resource, _ItemOptions):
    """An item as the server keeps it."""

    type: str | None = None
    name: str | None = None
    price: Decimal | None = None
    currency_code: str | None = None
    status: str | None = None
    ordered_at: datetime | None = None
    order: Link | None = None


class OrderItemChanges(TypedDict, total=False):
    """What `update` may change of an item."""

    type: str
    name: str
    price: Decimal
    currency_code: str
    status: str
    description: str
    product_id: str
    original_price: Decimal
    original_currency_code: str
    reference_id: str
    vendor: str
    language: str
    quantity: int
    channel: str


@attrs.define(kw_only=True)
class Identifier:
    """An id by which the tenant's identity rules may find the guest."""

    provider: str
    """The name of the identifier in the identity rule."""
    id: str = attrs.field(repr=False)
    expiry_date: datetime | None = attrs.field(default=None, repr=False)


@attrs.define(kw_only=True)
class Person:
    """What contacts and consumers have in common; its repr shows no personal value."""

    title: str | None = attrs.field(default=None, repr=False)
    first_name: str | None = attrs.field(default=None, repr=False)
    last_name: str | None = attrs.field(default=None, repr=False)
    gender: Gender | str | None = attrs.field(default=None, repr=False)
    date_of_birth: datetime | None = attrs.field(default=None, repr=False)
    """In the past."""
    emails: tuple[str, ...] | None = attrs.field(default=None, repr=False)
    phone_numbers: tuple[str, ...] | None = attrs.field(default=None, repr=False)
    nationality: str | None = attrs.field(default=None, repr=False)
    passport_number: str | None = attrs.field(default=None, repr=False)
    passport_expiry: datetime | None = attrs.field(default=None, repr=False)
    identifiers: tuple[Identifier, ...] | None = attrs.field(default=None, repr=False)
    """Enough of them for your identity rules to find the guest."""
    street: tuple[str, ...] | None = attrs.field(default=None, repr=False)
    city: str | None = attrs.field(default=None, repr=False)
    state: str | None = attrs.field(default=None, repr=False)
    post_code: str | None = attrs.field(default=None, repr=False)
    country: str | None = attrs.field(default=None, repr=False)
    """ISO 3166-1 alpha-2, two letters."""


@attrs.define(kw_only=True)
class NewContact(Person):
    """The primary person of an order, to create or to put in place of one."""


@attrs.define(kw_only=True)
class NewConsumer(Person):
    """A person who uses items of an order, to create or to put in place of one."""

    order_items: tuple[UUID, ...] | None = None
    """References of the items that this person uses; they must exist already."""


@attrs.define(kw_only=True)
class Contact(Resource, Person):
    """A contact as the server keeps it."""

    guest: Link | None = None
    """The guest that this contact was matched to; ``guest.ref`` is the guest reference."""
    order: Link | None = None


@attrs.define(kw_only=True)
class Consumer(Resource, Person):
    """A consumer as the server keeps it."""

    order_items: tuple[UUID, ...] | None = None
    """References of the items that this person uses, where the server names them."""
    guest: Link | None = None
    order: Link | None = None


class PersonChanges(TypedDict, total=False):
    """What `update` may change of a contact or a consumer."""

    title: str
    first_name: str
    last_name: str
    gender: Gender | str
    date_of_birth: datetime
    emails: tuple[str, ...]
    phone_numbers: tuple[str, ...]
    nationality: str
    passport_number: str
    passport_expiry: datetime
    identifiers: tuple[Identifier, ...]
    street: tuple[str, ...]
    city: str
    state: str
    post_code: str
    country: str


class ContactChanges(PersonChanges, total=False):
    """What `update` may change of a contact."""


class ConsumerChanges(PersonChanges, total=False):
    """What `update` may change of a consumer."""

    order_items: tuple[UUID, ...]


@attrs.define(kw_only=True)
class Extension:
    """A data extension as the server keeps it; one that a listing did not expand has only its *href*."""

    ref: UUID | None = None
    href: str | None = None
    created_at: datetime | None = None
    modified_at: datetime | None = None
    name: str | None = None
    key: str | None = None
    pairs: dict[str, ExtensionValue] = attrs.field(factory=dict[str, ExtensionValue], repr=False)
    """Your key-value pairs."""
