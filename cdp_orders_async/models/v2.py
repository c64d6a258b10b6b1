"""The models of the legacy version 2, if they differ from those of version 2.1.

Version 2 has no partial update, so it has no models for changes: an update sends the whole object again.
Source: the vendor's pages of the Order REST API v2 (legacy), and of those on contacts, consumers and items.
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
    OrderItemStatusV2,
    OrderItemTypeV2,
    OrderStatusV2,
    Value,
)
from cdp_orders_async.models.constraints import (
    Capitals,
    Currency,
    Filled,
    FilledCapitals,
    ItemName,
    Language,
    LocalTime,
)
from cdp_orders_async.models.v2_1 import Consumer, Contact, Order

NEEDED = {"needed": True}
"""Marks a field that must be sent although the server may leave it out."""


@attrs.define(kw_only=True, eq=False, repr=False)
class NewOrderV2(AnyNewOrder):
    """An order to create with version 2, or to send again."""

    point_of_sale: Filled
    """A point of sale that your tenant defines."""
    status: OrderStatusV2 | str | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class OrderV2(Order):
    """An order as version 2 shows it; a list that an answer only links to is None."""

    contacts: tuple[Contact, ...] | None = None
    consumers: tuple[Consumer, ...] | None = None
    order_items: tuple[OrderItemV2, ...] | None = None
    """Complete after ``get(ref, expand_items=True)``; otherwise each item has only *ref* and *href*."""


@attrs.define(kw_only=True, eq=False, repr=False)
class FlightSegment(Value):
    """One leg of a flight.

    To send one, *id*, *origin*, *destination*, both times, *fare_class*, *carrier* and *flight_number* are required;
    the server may show fewer. Its times are text in the vendor's form, ``2025-08-23T16:17Z``: local times of the
    airport, which end in Z although they are not in UTC. A `datetime` would change their meaning.
    """

    id: Filled | None = attrs.field(default=None, metadata=NEEDED)
    origin: FilledCapitals | None = attrs.field(default=None, metadata=NEEDED)
    """The IATA code of an airport or a city, in capitals."""
    destination: FilledCapitals | None = attrs.field(default=None, metadata=NEEDED)
    origin_destination: Capitals | None = None
    departure_date_time: LocalTime | None = attrs.field(default=None, metadata=NEEDED)
    arrival_date_time: LocalTime | None = attrs.field(default=None, metadata=NEEDED)
    fare_class: Filled | None = attrs.field(default=None, metadata=NEEDED)
    fare_family: str | None = None
    booking_class: Capitals | None = None
    carrier: FilledCapitals | None = attrs.field(default=None, metadata=NEEDED)
    flight_number: Filled | None = attrs.field(default=None, metadata=NEEDED)
    operating_carrier: str | None = None
    operating_flight_number: str | None = None
    equipment_type: Capitals | None = None
    """The type of the aircraft, in capitals."""


@attrs.define(kw_only=True, eq=False, repr=False)
class NewOrderItemV2(AnyNewItem):
    """Something bought as part of an order, to create with version 2 or to send again."""

    currency_code: Currency
    type: OrderItemTypeV2 | str
    product_id: Filled
    reference_id: Filled
    """Your own id of the item."""
    status: OrderItemStatusV2 | str
    original_currency_code: Currency | None = None
    vendor: str | None = None  # here so that the fields keep their order
    language: Language | None = None
    channel: Capitals | None = None
    name: ItemName | None = None
    """At most 128 characters."""
    quantity: int | Decimal | None = None
    """A number; in version 2.1 it must be whole."""
    ordered_at: datetime | None = None
    """With a time zone; by default the time of the order."""
    passenger_type_code: str | None = None
    """For example ``ADT``, an adult."""
    flight_segments: tuple[FlightSegment, ...] | None = None
    """The legs, if the *type* is FLIGHT."""
    consumer_type_code: str | None = None
    """The same as *passenger_type_code*, under its name in the samples of the Batch API."""


@attrs.define(kw_only=True, eq=False, repr=False)
class OrderItemV2(AnyItem):
    """An item as version 2 shows it."""

    quantity: int | Decimal | None = None
    passenger_type_code: str | None = None
    flight_segments: tuple[FlightSegment, ...] | None = None
    consumer_type_code: str | None = None


@attrs.define(kw_only=True, eq=False, repr=False)
class PersonV2(AnyPerson):
    """The fields of new contacts and consumers; its repr shows no personal value."""

    first_name: Filled = attrs.field(repr=False)
    last_name: Filled = attrs.field(repr=False)
    guest: UUID | None = None
    """The reference of the guest that this person is, if you know it."""


class NewContactV2(PersonV2):
    """The primary person of an order, to create with version 2 or to send again."""

    __slots__ = ()


@attrs.define(kw_only=True, eq=False, repr=False)
class NewConsumerV2(PersonV2):
    """A person who uses items of an order, to create with version 2 or to send again."""

    order_items: tuple[UUID, ...] | None = None
    """References of the items that this person uses; they must exist already."""
