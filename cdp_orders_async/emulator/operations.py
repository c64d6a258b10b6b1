"""What each operation of version 2.1 does: from a request already read to an answer not yet written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import attrs

from cdp_orders_async.emulator.records import Cause, Invalid, Json, Record
from cdp_orders_async.emulator.representation import Links, page, shown
from cdp_orders_async.emulator.rules import V2_1_RULES, Rules, checked, checked_pairs
from cdp_orders_async.emulator.store import EXTENSION_OWNERS, Store
from cdp_orders_async.kinds import V2_1 as V2_1_TABLE
from cdp_orders_async.kinds import Route

__all__ = ["V2_1", "Call", "Operation", "Reply", "Version"]


@attrs.frozen
class Reply:
    """An answer: its status and its JSON, None for an empty body."""

    status: int
    body: Mapping[str, object] | None = None
    retry_after: int | None = None
    """Seconds."""


@attrs.frozen
class Call:
    """One request to one operation."""

    store: Store
    links: Links
    rules: Mapping[str, Rules]
    kind: str
    ref: str
    """What the path names; empty for the collection of orders."""
    query: Mapping[str, str]
    body: dict[str, Json]
    cause: Cause

    def record(self) -> Record:
        """Return what the path names."""
        return (self.store.extension if self.kind in EXTENSION_OWNERS else self.store.get)(self.kind, self.ref)

    def data(self, *, partial: bool = False) -> dict[str, Json]:
        """Return the body, checked."""
        if self.kind in EXTENSION_OWNERS:
            return checked_pairs(self.body)
        switches = self.store.switches
        required = ("firstName",) if switches.require_first_name and "firstName" in self.rules[self.kind].fields else ()
        return checked(
            self.rules[self.kind],
            self.body,
            now=self.store.clock(),
            partial=partial,
            switches=switches,
            required=required,
        )

    def answer(self, status: int, record: Record) -> Reply:
        """Answer with the resource."""
        return Reply(status, shown(record, self.store, self.links))

    def page(self, records: list[Record], **extra: Json) -> Reply:
        """Answer with a page of a list."""
        listed = self.store.listed(records)
        return Reply(200, page(self.cause.path, self.query, listed, self.store, self.links, **extra))


Operation: TypeAlias = Callable[[Call], Reply]


def create(call: Call) -> Reply:
    """Keep an order, or a part of one."""
    return call.answer(201, call.store.create(call.kind, call.data(), call.cause, call.ref))


def extend(call: Call) -> Reply:
    """Give an order or an item its data extension."""
    return call.answer(201, call.store.extend(call.kind, call.ref, call.data(), call.cause))


def get(call: Call) -> Reply:
    """Answer with what is kept."""
    return call.answer(200, call.record())


def replace(call: Call) -> Reply:
    """Put the body in place of what was sent before."""
    return call.answer(200, call.store.replace(call.record(), call.data(), call.cause))


def update(call: Call) -> Reply:
    """Put the keys of the body over what is there."""
    return call.answer(200, call.store.update(call.record(), call.data(partial=True), call.cause))


def delete(call: Call) -> Reply:
    """Delete, with all that is under it."""
    call.store.delete(call.record(), call.cause)
    return Reply(204)


def delete_fields(call: Call) -> Reply:
    """Delete the named pairs of an extension; all of them where none is named."""
    record = call.record()
    names = call.query["name"].split("|") if call.query.get("name") else list(record.data)
    return call.answer(200, call.store.delete_fields(record, names, call.cause))


def list_parts(call: Call) -> Reply:
    """List what an order has of a kind."""
    return call.page(call.store.parts(call.kind, call.store.get("orders", call.ref).ref))


def list_extensions(call: Call) -> Reply:
    """List the data extensions, of which there is at most one."""
    owner = call.store.get(EXTENSION_OWNERS[call.kind], call.ref)
    return call.page(call.store.parts(call.kind, owner.ref), name="ext")


def list_items_of(call: Call) -> Reply:
    """List the items that a consumer uses."""
    return call.page(call.store.items_of(call.record()))


def list_orders(call: Call) -> Reply:
    """List the orders with a referenceId, or those that a guest owns."""
    reference_id, guest_ref = call.query.get("referenceId"), call.query.get("guestRef")
    sort, _, direction = call.query.get("sort", "created").partition("::")
    if sort not in {"created", "orderedAt"} or direction not in {"", "ASC", "DESC"}:
        raise Invalid("sort: must be created or orderedAt, with ::ASC or ::DESC after it or nothing.")
    if reference_id and not guest_ref:
        if sort == "orderedAt":
            raise Invalid("sort: orderedAt can only be used with guestRef.")
        orders = call.store.orders_called(reference_id)
    elif guest_ref and not reference_id:
        # The contact is what links the order to the guest, so a list by guest lags behind the contact.
        orders = call.store.orders_of(guest_ref)
        orders = [order for order in orders if call.store.listed(call.store.parts("contacts", order.ref)[:1])]
    else:
        raise Invalid("Exactly one of referenceId and guestRef is required.")
    if sort == "orderedAt":
        orders.sort(key=lambda order: str(order.data["orderedAt"]))
    return call.page(orders[::-1] if direction == "DESC" else orders)


EVERY = {"create": create, "get": get, "replace": replace, "update": update, "delete": delete, "list": list_parts}
EXTENSION = {**EVERY, "create": extend, "delete_fields": delete_fields, "list": list_extensions}
ODD = {"orders.list": list_orders, "consumers.items": list_items_of}


@attrs.frozen
class Version:
    """One version of the API over the store: its routes, the operations behind them, its rules for bodies."""

    operations: Mapping[Route, Operation]
    rules: Mapping[str, Rules]
    paths: Mapping[str, str]
    """The path of each operation."""


def operations_2_1() -> Iterator[tuple[Route, Operation]]:
    """Yield each route of the table with what is behind it, and the one that the links to guests lead to."""
    for route in V2_1_TABLE.routes():
        kind, _, verb = route.operation.partition(".")
        yield route, ODD.get(route.operation) or (EXTENSION if kind in EXTENSION_OWNERS else EVERY)[verb]
    yield Route("guests.get", "GET", f"{V2_1_TABLE.prefix}/guests/{{ref}}"), get


def version(operations: Mapping[Route, Operation], rules: Mapping[str, Rules]) -> Version:
    """Return the version that these operations make."""
    return Version(operations, rules, {route.operation: route.path for route in operations})


V2_1 = version(dict(operations_2_1()), V2_1_RULES)
