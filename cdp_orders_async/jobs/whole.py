"""A whole order of the server as a line of input: the order with its parts nested, as a load takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import NotFound
from cdp_orders_async.models import Consumer, Contact, Extension, Order, OrderItem, OrderItemV2
from cdp_orders_async.models.common import camel
from cdp_orders_async.redact import sealed
from cdp_orders_async.resources import Listing
from cdp_orders_async.wire import to_json

__all__ = ["whole_order"]

NOT_TAKEN = frozenset({"guest", "order", "orderItems"})
"""The links of a part, which a line of input does not have."""


@sealed
async def whole_order(client: CdpOrders | CdpOrdersV2, order: Order) -> tuple[dict[str, Any], list[str]]:
    """Read all parts of *order*, and return it as the JSON data of a line of input.

    Each resource keeps its ``ref``, which a load ignores. Returns also sentences about what such a line cannot say: a
    second contact, or a consumer's item without a reference id of its own. Raises what reading raises.

        line, unsaid = await jobs.whole_order(client, await client.orders.get(ref))
    """
    contacts, items, consumers, extension = await asyncio.gather(
        _all(client.contacts.list(order.ref)),
        _all(client.items.list(order.ref)),
        _all(client.consumers.list(order.ref)),
        _extension(client, order.ref),
    )
    extensions = await asyncio.gather(*(_extension_of_item(client, item.ref) for item in items))
    uses = await asyncio.gather(*(_uses(client, consumer) for consumer in consumers))
    unsaid = [f"order {order.ref} has {len(contacts)} contacts, of which the first is shown"] if contacts[1:] else []
    line = _plain(client, "orders", order)
    if contacts:
        line["contact"] = _plain(client, "contacts", contacts[0])
    line["orderItems"] = [
        {**_plain(client, "items", item), **_nested(pairs)} for item, pairs in zip(items, extensions, strict=True)
    ]
    references = _references(items)
    line["consumers"] = []
    for consumer, used in zip(consumers, uses, strict=True):
        named = [references[ref] for ref in used if references.get(ref) is not None]
        if len(named) < len(used):
            unsaid.append(
                f"consumer {consumer.ref} uses items that have no reference id of their own, which are left out"
            )
        at = {"orderItems": [{"referenceId": reference} for reference in named]} if named else {}
        line["consumers"].append({**_plain(client, "consumers", consumer), **at})
    return {**line, **_nested(extension)}, unsaid


async def _all(listing: Listing[Any]) -> list[Any]:
    return [entry async for entry in listing]


async def _extension(client: CdpOrders | CdpOrdersV2, order: UUID) -> Extension | None:
    try:
        return await client.order_extensions.get(order)
    except NotFound:
        return None


async def _extension_of_item(client: CdpOrders | CdpOrdersV2, item: UUID) -> Extension | None:
    if isinstance(client, CdpOrdersV2):  # version 2 has none
        return None
    try:
        return await client.item_extensions.get(item)
    except NotFound:
        return None


async def _uses(client: CdpOrders | CdpOrdersV2, consumer: Consumer) -> Sequence[UUID | None]:
    if consumer.order_items is not None or isinstance(client, CdpOrdersV2):
        return consumer.order_items or ()
    return [item.ref async for page in client.consumers.items(consumer.ref).pages() for item in page.items]


def _references(items: Sequence[OrderItem | OrderItemV2]) -> Mapping[UUID | None, str | None]:
    """Return the reference id of each item by its ref; None where it does not tell the item from the others."""
    ids = [item.reference_id for item in items]
    return {item.ref: item.reference_id if ids.count(item.reference_id) == 1 else None for item in items}


def _plain(
    client: CdpOrders | CdpOrdersV2, kind: str, got: Order | OrderItem | OrderItemV2 | Contact | Consumer
) -> Any:  # noqa: ANN401 JSON data
    """Return what a line of input may hold of a resource, and its ref."""
    taken = {"ref", *(camel(field.name) for field in attrs.fields(client.api.models[kind]))} - NOT_TAKEN
    return {key: value for key, value in to_json(got).items() if key in taken}


def _nested(extension: Extension | None) -> dict[str, Any]:
    return {} if extension is None else {"extensions": [{"name": "ext", "key": "default", **extension.pairs}]}
