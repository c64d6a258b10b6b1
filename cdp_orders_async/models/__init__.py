"""What you send (`NewOrder`), what is kept (`Order`), and what may change (`OrderChanges`)."""

from __future__ import annotations

from cdp_orders_async.models.changes import (
    ConsumerChanges,
    ContactChanges,
    OrderChanges,
    OrderItemChanges,
    PersonChanges,
)
from cdp_orders_async.models.common import Channel, Extension, ExtensionValue, Gender, Identifier, Link, Resource
from cdp_orders_async.models.v2 import (
    FlightSegment,
    NewConsumerV2,
    NewContactV2,
    NewOrderItemV2,
    NewOrderV2,
    OrderItemStatusV2,
    OrderItemTypeV2,
    OrderItemV2,
    OrderStatusV2,
    OrderV2,
    PersonV2,
)
from cdp_orders_async.models.v2_1 import (
    Consumer,
    Contact,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    Order,
    OrderItem,
    OrderStatus,
    Person,
)

__all__ = [
    "Channel",
    "Consumer",
    "ConsumerChanges",
    "Contact",
    "ContactChanges",
    "Extension",
    "ExtensionValue",
    "FlightSegment",
    "Gender",
    "Identifier",
    "Link",
    "NewConsumer",
    "NewConsumerV2",
    "NewContact",
    "NewContactV2",
    "NewOrder",
    "NewOrderItem",
    "NewOrderItemV2",
    "NewOrderV2",
    "Order",
    "OrderChanges",
    "OrderItem",
    "OrderItemChanges",
    "OrderItemStatusV2",
    "OrderItemTypeV2",
    "OrderItemV2",
    "OrderStatus",
    "OrderStatusV2",
    "OrderV2",
    "Person",
    "PersonChanges",
    "PersonV2",
    "Resource",
]
