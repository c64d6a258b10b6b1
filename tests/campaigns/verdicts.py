"""Every operation under every fault, sent once: what the error says of its delivery, and what the ledger knows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs

from cdp_orders_async import CdpError, CdpOrders, NewConsumer, NewContact, NewOrder, NewOrderItem, Settings
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.kinds import V2_1
from tests.campaigns.loads import every_fault
from tests.campaigns.orders import Json

SETTINGS = Settings(timeout=0.4, retries=0)
PRICE = Decimal(9)
WHEN = datetime(2024, 1, 1, tzinfo=UTC)
NEW: Mapping[str, Any] = {
    "orders": NewOrder(reference_id="A", ordered_at=WHEN, price=PRICE, currency_code="EUR"),
    "items": NewOrderItem(type="SEAT", name="Seat", price=PRICE, currency_code="EUR", status="OK"),
    "contacts": NewContact(first_name="Ann"),
    "consumers": NewConsumer(first_name="Bob"),
    "order_extensions": {"seat": 1},
    "item_extensions": {"seat": 1},
}
CHANGES: Mapping[str, object] = {
    **dict.fromkeys(("orders", "items"), {"price": Decimal(10)}),
    **dict.fromkeys(("contacts", "consumers"), {"city": "Dublin"}),
    **dict.fromkeys(("order_extensions", "item_extensions"), {"seat": 2}),
}
DELETED_LAST = ("order_extensions item_extensions", "items contacts consumers", "orders")
"""What is deleted at once, after everything else was done, and in which order."""


@attrs.frozen
class Sent:
    """What became of one request under a fault."""

    operation: str
    fault: Json
    done: bool
    """Whether the server did it; for what changes something, by its ledger."""
    said: str
    """What the client says of its delivery; ``done`` where there was no error."""
    requests: int
    attempts: int

    @property
    def true(self) -> bool:
        """Whether the client says what is so or that it does not know, and one attempt was one request."""
        known = self.done == (self.said in {"done", "done_unreadable"})
        return (known or self.said == "unknown") and self.requests == self.attempts == 1


async def call(cdp: CdpOrders, operation: str, refs: Mapping[str, UUID]) -> object:
    """Do *operation* once; *refs* are those of the resources, of an extension its owner's."""
    kind, _, verb = operation.partition(".")
    resource: Any = getattr(cdp, kind)
    ref = refs[kind]
    under = ref if "extensions" in kind else refs["orders"]
    match verb:
        case "create":
            return await (resource.create(NEW[kind]) if kind == "orders" else resource.create(under, NEW[kind]))
        case "list" | "items":
            named = {"reference_id": "A"} if kind == "orders" else {}
            where = () if named else (ref,) if verb == "items" else (under,)
            return [page async for page in getattr(resource, verb)(*where, **named).pages()]
        case "get" | "delete":
            return await getattr(resource, verb)(ref)
        case "delete_fields":
            return await resource.delete_fields(ref, ["seat"])
        case _:
            return await getattr(resource, verb)(ref, NEW[kind] if verb == "replace" else CHANGES[kind])


async def sent_under(fault: Json) -> list[Sent]:
    """Send a request of every operation under *fault*, each by a client of its own."""
    emulator = Emulator()
    answered = fault.get("phase", "body" if fault["action"] == "drip" else "accepted") in {"written", "head", "body"}
    sent: list[Sent] = []
    async with running(emulator) as base_url:

        def client() -> CdpOrders:
            return CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=SETTINGS)  # noqa: S106

        async def send(operation: str) -> None:
            said, attempts = "done", 1
            async with client() as cdp:
                try:
                    await call(cdp, operation, refs)
                except CdpError as error:
                    said, attempts = str(error.delivery), error.attempts
            reads = operation.endswith((".get", ".list", ".items"))
            done = answered if reads else emulator.store.counts[operation] > before[operation]
            received = emulator.requests[operation] + emulator.dropped[operation]
            sent.append(Sent(operation, fault, done, said, received, attempts))

        async with client() as cdp:
            order = (await cdp.orders.create(NEW["orders"])).ref
            refs = {"orders": order, "order_extensions": order}
            for kind in ("items", "contacts", "consumers"):
                refs[kind] = (await getattr(cdp, kind).create(order, NEW[kind])).ref
            refs["item_extensions"] = refs["items"]
            for kind in ("order_extensions", "item_extensions"):
                await getattr(cdp, kind).create(refs[kind], NEW[kind])
        before = emulator.store.counts.copy()
        emulator.requests.clear()
        emulator.faults = Faults.of({"faults": [{**fault, "chance": 1}]})
        deletions = [[f"{kind}.delete" for kind in kinds.split()] for kinds in DELETED_LAST]
        operations = [route.operation for route in V2_1.routes()]
        for turn in ([one for one in operations if not one.endswith(".delete")], *deletions):
            async with asyncio.TaskGroup() as group:
                for operation in turn:
                    group.create_task(send(operation))
    return sent


async def verdicts() -> list[Sent]:
    """Send a request of every operation under every fault."""
    return [one for fault in every_fault(1) for one in await sent_under(fault)]
