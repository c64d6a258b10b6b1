"""The kinds of objects of the API, with their models."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

from cdp_orders_async import models, routes

__all__ = [
    "CONSUMERS",
    "CONSUMERS_V2",
    "CONTACTS",
    "CONTACTS_V2",
    "ITEMS",
    "ITEMS_V2",
    "ITEM_EXTENSIONS",
    "ORDERS",
    "ORDERS_V2",
    "ORDER_EXTENSIONS",
    "ORDER_EXTENSIONS_V2",
    "V2",
    "V2_1",
    "Api",
    "Changes",
    "Kind",
    "New",
    "Stored",
]

New = TypeVar("New")
Stored = TypeVar("Stored")
Changes = TypeVar("Changes")


class Kind(Struct, Generic[New, Stored, Changes], frozen=True, eq=False):
    """The name of a kind, and its models: to create, as the server stores it, and for changes."""

    name: str
    """The attribute of the client, as in ``cdp.items``."""
    new: type[New]
    stored: type[Stored]
    changes: type[Changes]


ORDERS = Kind("orders", models.NewOrder, models.Order, models.OrderChanges)
ITEMS = Kind("items", models.NewOrderItem, models.OrderItem, models.OrderItemChanges)
CONTACTS = Kind("contacts", models.NewContact, models.Contact, models.ContactChanges)
CONSUMERS = Kind("consumers", models.NewConsumer, models.Consumer, models.ConsumerChanges)
Pairs = dict[str, models.ExtensionValue]
ORDER_EXTENSIONS = Kind("order_extensions", Pairs, models.Extension, Pairs)
ITEM_EXTENSIONS = Kind("item_extensions", Pairs, models.Extension, Pairs)

ORDERS_V2 = Kind("orders", models.NewOrderV2, models.OrderV2, models.NewOrderV2)
ITEMS_V2 = Kind("items", models.NewOrderItemV2, models.OrderItemV2, models.NewOrderItemV2)
CONTACTS_V2 = Kind("contacts", models.NewContactV2, models.Contact, models.NewContactV2)
CONSUMERS_V2 = Kind("consumers", models.NewConsumerV2, models.Consumer, models.NewConsumerV2)
ORDER_EXTENSIONS_V2 = Kind("order_extensions", Pairs, models.Extension, Pairs)


class Api(Struct, frozen=True, eq=False):
    """One version of the API: its routes and its kinds."""

    table: routes.Table
    kinds: tuple[Kind[Any, Any, Any], ...]
    whole_lists: bool = True
    """Whether a list can hold whole entries and names its next page; otherwise its pages hold links."""

    def __repr__(self) -> str:
        return f"<Api {self.version}>"  # the help of public functions shows it as a default

    @property
    def prefix(self) -> str:
        """The first segment of its paths, as in ``/v2.1``."""
        return self.table.prefix

    @property
    def version(self) -> str:
        """Its number, as in ``2.1``."""
        return self.prefix.removeprefix("/v")

    @property
    @functools.cache  # noqa: B019 there are two versions, and they live as long as the program
    def models(self) -> Mapping[str, type[Any]]:
        """The models to create, by the name of their kind."""
        return {kind.name: kind.new for kind in self.kinds}


V2_1 = Api(routes.V2_1, (ORDERS, ITEMS, CONTACTS, CONSUMERS, ORDER_EXTENSIONS, ITEM_EXTENSIONS))
"""The current version."""
V2 = Api(routes.V2, (ORDERS_V2, ITEMS_V2, CONTACTS_V2, CONSUMERS_V2, ORDER_EXTENSIONS_V2), whole_lists=False)
"""The legacy version."""
