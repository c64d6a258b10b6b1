"""The resources of the API, and the verbs that they are built from."""

from __future__ import annotations

from cdp_orders_async.resources.resources import (
    Consumers,
    ConsumersV2,
    Contacts,
    ContactsV2,
    Extensions,
    ExtensionsV2,
    Items,
    ItemsV2,
    Orders,
    OrdersV2,
)
from cdp_orders_async.resources.verbs import Listing

__all__ = [
    "Consumers",
    "ConsumersV2",
    "Contacts",
    "ContactsV2",
    "Extensions",
    "ExtensionsV2",
    "Items",
    "ItemsV2",
    "Listing",
    "Orders",
    "OrdersV2",
]
