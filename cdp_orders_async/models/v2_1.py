"""The models of version 2.1; version 2 uses some of the models of stored objects too.

Source: the vendor's pages of the Order REST API v2.1.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import attrs

from cdp_orders_async.models.common import (
    AnyItem,
    AnyNewItem,
    AnyNewOrder,
    AnyPerson,
    Link,
    OrderOptions,
    OrderStatus,
    Resource,
)
from cdp_orders_async.models.constraints import Filled, ItemName, ItemType


@attrs.define(kw_only=True, eq=False, repr=False)
class NewOrder(AnyNewOrder):
    """An order to create, or to replace an order with."""

    point_of_sale: str | None = None
    status: OrderStatus | str | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class Order(Resource, OrderOptions):
    """An order as the server stores it."""

    reference_id: str | None = None
    ordered_at: datetime | None = None
    price: Decimal | None = None
    currency_code: str | None = None
    point_of_sale: str | None = None
    status: OrderStatus | str | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class NewOrderItem(AnyNewItem):
    """Something bought as part of an order, to create or to replace an item with."""

    type: ItemType
    """Free text, but none of the words that the vendor reserves (FLIGHT, HOTEL, ...)."""
    name: ItemName
    """At most 128 characters."""
    status: Filled
    product_id: str | None = None
    reference_id: str | None = None
    quantity: int | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class OrderItem(AnyItem):
    """An item as the server stores it."""

    quantity: int | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class Person(AnyPerson):
    """The fields of contacts and consumers; its repr shows no personal value."""

    first_name: str | None = attrs.field(default=None, repr=False)
    last_name: str | None = attrs.field(default=None, repr=False)
    street: tuple[str, ...] | None = attrs.field(default=None, repr=False)
    city: str | None = attrs.field(default=None, repr=False)
    state: str | None = attrs.field(default=None, repr=False)
    post_code: str | None = attrs.field(default=None, repr=False)


class NewContact(Person):
    """The primary person of an order, to create or to replace a contact with."""

    __slots__ = ()


@attrs.define(kw_only=True, eq=False, repr=False)
class NewConsumer(Person):
    """A person who uses items of an order, to create or to replace a consumer with."""

    order_items: tuple[UUID, ...] | None = None
    """References of the items that this person uses; they must exist already."""


@attrs.define(kw_only=True, eq=False, repr=False)
class Contact(Resource, Person):
    """A contact as the server stores it."""

    guest: Link | None = None
    """The guest that this contact was matched to; ``guest.ref`` is the guest reference."""
    order: Link | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class Consumer(Resource, Person):
    """A consumer as the server stores it."""

    order_items: tuple[UUID, ...] | None = None
    """References of the items that this person uses, if the server lists them."""
    guest: Link | None = None
    order: Link | None = None
