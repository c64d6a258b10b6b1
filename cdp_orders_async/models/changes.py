"""The fields that `update` may change, in version 2.1.

The annotations are not postponed (PEP 563), because typing would compile each text at each import.
"""

from datetime import datetime
from decimal import Decimal
from typing import TypedDict
from uuid import UUID

from cdp_orders_async.models.common import Channel, Gender, Identifier, OrderStatus
from cdp_orders_async.models.constraints import Country, Currency, Filled, ItemName, ItemType, Past


class OrderChanges(TypedDict, total=False):
    """The fields of an order that `update` may change; *reference_id* and *ordered_at* cannot change."""

    price: Decimal
    currency_code: Currency
    channel: Channel | str
    point_of_sale: str
    status: OrderStatus | str
    payment_type: str
    card_type: str


class OrderItemChanges(TypedDict, total=False):
    """The fields of an item that `update` may change."""

    type: ItemType
    name: ItemName
    price: Decimal
    currency_code: Filled
    status: Filled
    description: str
    product_id: str
    original_price: Decimal
    original_currency_code: str
    reference_id: str
    vendor: str
    language: str
    quantity: int
    channel: str


class PersonChanges(TypedDict, total=False):
    """The fields of a contact or a consumer that `update` may change."""

    title: str
    first_name: str
    last_name: str
    gender: Gender | str
    date_of_birth: Past
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
    country: Country


class ContactChanges(PersonChanges, total=False):
    """The fields of a contact that `update` may change."""


class ConsumerChanges(PersonChanges, total=False):
    """The fields of a consumer that `update` may change."""

    order_items: tuple[UUID, ...]
