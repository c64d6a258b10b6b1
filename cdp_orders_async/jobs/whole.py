"""A whole order of the server as a line of input: the order with its parts nested, as a load takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import attrs

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.jobs.snapshot import Snapshot, read_snapshot
from cdp_orders_async.models import Consumer, Contact, Order, OrderItem, OrderItemV2
from cdp_orders_async.models.common import camel
from cdp_orders_async.redact import Opaque, sealed
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
    snapshot = Snapshot(order.ref, Opaque(order))
    await read_snapshot(client, snapshot, with_links=True)
    contacts, items, consumers = (list(snapshot.listed(kind).values()) for kind in ("contacts", "items", "consumers"))
    unsaid = [f"order {order.ref} has {len(contacts)} contacts, of which the first is shown"] if contacts[1:] else []
    line = _plain(client, "orders", order)
    if contacts:
        line["contact"] = _plain(client, "contacts", contacts[0])
    line["orderItems"] = [{**_plain(client, "items", item), **_nested(snapshot, item.ref)} for item in items]
    references = _references(items)
    line["consumers"] = []
    for consumer in consumers:
        used = consumer.order_items or ()
        named = [references[ref] for ref in used if references.get(ref) is not None]
        if len(named) < len(used):
            unsaid.append(
                f"consumer {consumer.ref} uses items that have no reference id of their own, which are left out"
            )
        at = {"orderItems": [{"referenceId": reference} for reference in named]} if named else {}
        line["consumers"].append({**_plain(client, "consumers", consumer), **at})
    return {**line, **_nested(snapshot, order.ref)}, unsaid


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


def _nested(snapshot: Snapshot, owner: UUID) -> dict[str, Any]:
    extension = snapshot.extensions.get(owner)
    return {} if extension is None else {"extensions": [{"name": "ext", "key": "default", **extension.open().pairs}]}
