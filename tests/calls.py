"""One call of each operation of the API, in an order in which all of them can be made."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from decimal import Decimal
from typing import TypeVar
from uuid import UUID, uuid4

import attrs

from cdp_orders_async import ExtensionValue, NewConsumer, NewContact, NewOrder, NewOrderItem, Resources
from tests.values import NOW

T = TypeVar("T")

ORDER = NewOrder(reference_id="B94TXY-1", ordered_at=NOW, price=Decimal(50), currency_code="EUR", channel="WEB")
ITEM = NewOrderItem(type="MOBILE", name="AZ10", price=Decimal(105), currency_code="EUR", status="CONFIRMED")
CONTACT = NewContact(first_name="Ada", emails=("ada@example.com",))
PAIRS: dict[str, ExtensionValue] = {"withWarranty": True, "color": "obsidian", "capacityInGb": 128}


@attrs.define
class Refs:
    """What the calls are about, by kind."""

    orders: UUID = attrs.field(factory=uuid4)
    items: UUID = attrs.field(factory=uuid4)
    contacts: UUID = attrs.field(factory=uuid4)
    consumers: UUID = attrs.field(factory=uuid4)


async def walked(listing: AsyncIterable[T]) -> list[T]:
    """Return all entries of a listing."""
    return [entry async for entry in listing]


def consumer(refs: Refs) -> NewConsumer:
    """Return a consumer who uses the item."""
    return NewConsumer(first_name="Ada", order_items=(refs.items,))


CALLS: Mapping[str, Callable[[Resources, Refs], Awaitable[object]]] = {
    "orders.create": lambda cdp, _: cdp.orders.create(ORDER),
    "items.create": lambda cdp, refs: cdp.items.create(refs.orders, ITEM),
    "contacts.create": lambda cdp, refs: cdp.contacts.create(refs.orders, CONTACT),
    "consumers.create": lambda cdp, refs: cdp.consumers.create(refs.orders, consumer(refs)),
    "order_extensions.create": lambda cdp, refs: cdp.order_extensions.create(refs.orders, PAIRS),
    "item_extensions.create": lambda cdp, refs: cdp.item_extensions.create(refs.items, PAIRS),
    "orders.get": lambda cdp, refs: cdp.orders.get(refs.orders),
    "items.get": lambda cdp, refs: cdp.items.get(refs.items),
    "contacts.get": lambda cdp, refs: cdp.contacts.get(refs.contacts),
    "consumers.get": lambda cdp, refs: cdp.consumers.get(refs.consumers),
    "order_extensions.get": lambda cdp, refs: cdp.order_extensions.get(refs.orders),
    "item_extensions.get": lambda cdp, refs: cdp.item_extensions.get(refs.items),
    "orders.list": lambda cdp, _: walked(cdp.orders.list(reference_id="B94TXY-1", sort="created::DESC")),
    "items.list": lambda cdp, refs: walked(cdp.items.list(refs.orders)),
    "contacts.list": lambda cdp, refs: walked(cdp.contacts.list(refs.orders, limit=7)),
    "consumers.list": lambda cdp, refs: walked(cdp.consumers.list(refs.orders)),
    "consumers.items": lambda cdp, refs: walked(cdp.consumers.items(refs.consumers).pages()),
    "order_extensions.list": lambda cdp, refs: walked(cdp.order_extensions.list(refs.orders)),
    "item_extensions.list": lambda cdp, refs: walked(cdp.item_extensions.list(refs.items)),
    "orders.replace": lambda cdp, refs: cdp.orders.replace(refs.orders, ORDER),
    "items.replace": lambda cdp, refs: cdp.items.replace(refs.items, ITEM),
    "contacts.replace": lambda cdp, refs: cdp.contacts.replace(refs.contacts, CONTACT),
    "consumers.replace": lambda cdp, refs: cdp.consumers.replace(refs.consumers, consumer(refs)),
    "order_extensions.replace": lambda cdp, refs: cdp.order_extensions.replace(refs.orders, PAIRS),
    "item_extensions.replace": lambda cdp, refs: cdp.item_extensions.replace(refs.items, PAIRS),
    "orders.update": lambda cdp, refs: cdp.orders.update(refs.orders, {"point_of_sale": "home"}),
    "items.update": lambda cdp, refs: cdp.items.update(refs.items, {"original_price": Decimal("110.5")}),
    "contacts.update": lambda cdp, refs: cdp.contacts.update(refs.contacts, {"date_of_birth": NOW}),
    "consumers.update": lambda cdp, refs: cdp.consumers.update(refs.consumers, {"order_items": ()}),
    "order_extensions.update": lambda cdp, refs: cdp.order_extensions.update(refs.orders, {"color": "red"}),
    "item_extensions.update": lambda cdp, refs: cdp.item_extensions.update(refs.items, {"color": "red"}),
    "order_extensions.delete_fields": lambda cdp, refs: cdp.order_extensions.delete_fields(refs.orders, None),
    "item_extensions.delete_fields": lambda cdp, refs: cdp.item_extensions.delete_fields(
        refs.items, ["color", "capacityInGb"]
    ),
    "order_extensions.delete": lambda cdp, refs: cdp.order_extensions.delete(refs.orders),
    "item_extensions.delete": lambda cdp, refs: cdp.item_extensions.delete(refs.items),
    "consumers.delete": lambda cdp, refs: cdp.consumers.delete(refs.consumers),
    "contacts.delete": lambda cdp, refs: cdp.contacts.delete(refs.contacts),
    "items.delete": lambda cdp, refs: cdp.items.delete(refs.items),
    "orders.delete": lambda cdp, refs: cdp.orders.delete(refs.orders),
}
