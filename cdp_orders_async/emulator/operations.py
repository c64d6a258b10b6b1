"""The operations: each makes a reply from a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import attrs
import orjson

from cdp_orders_async.emulator.records import Cause, Invalid, Json, Missing, Record
from cdp_orders_async.emulator.representation import Links, embed, page, shown
from cdp_orders_async.emulator.rules import V2_1_RULES, V2_RULES, Rules, checked, checked_pairs, day
from cdp_orders_async.emulator.store import EXTENSION_OWNERS, Store
from cdp_orders_async.routes import V2 as V2_TABLE
from cdp_orders_async.routes import V2_1 as V2_1_TABLE
from cdp_orders_async.routes import Route, Table

__all__ = ["V2", "V2_1", "Call", "Operation", "Reply", "Version"]


@attrs.frozen
class Reply:
    """An answer: its status and its JSON, None for an empty body."""

    status: int
    body: Mapping[str, object] | None = None
    retry_after: int | None = None
    """Seconds."""
    allow: str | None = None
    """The allowed methods, if the method of the request is not allowed."""
    challenge: str | None = None
    """The credentials that are required, if they are missing or wrong."""
    data: bytes | None = None
    """The body of an answer that is not JSON."""
    content_type: str = "application/json"

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        return self.data if self.data is not None else b"" if self.body is None else orjson.dumps(self.body)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that only some answers have."""
        given = {"Retry-After": self.retry_after, "Allow": self.allow, "WWW-Authenticate": self.challenge}
        return {name: str(value) for name, value in given.items() if value is not None}


@attrs.frozen
class Call:
    """One request to one operation."""

    store: Store
    links: Links
    rules: Mapping[str, Rules]
    kind: str
    ref: str
    """The ref in the path; empty for the collection of orders."""
    ext: str
    """The extension in the path; in version 2 its ref."""
    query: Mapping[str, str]
    body: dict[str, Json]
    cause: Cause

    def record(self) -> Record:
        """Return the record that the path names."""
        if self.kind not in EXTENSION_OWNERS:
            return self.store.get(self.kind, self.ref)
        record = self.store.extension(self.kind, self.ref)
        if self.links.legacy and self.ext.lower() != record.ref:
            raise Missing(f"ref: no such resource: {self.ext}.")
        return record

    def data(self, *, partial: bool = False) -> dict[str, Json]:
        """Return the body, checked."""
        if self.kind in EXTENSION_OWNERS:
            pairs = dict(self.body)
            if self.links.legacy and pairs.pop("key", None) != "default":
                raise Invalid("key: must be default.")
            return checked_pairs(pairs)
        rules, switches = self.rules[self.kind], self.store.switches
        if "firstName" in rules.fields and switches.require_first_name is not None:
            names = rules.required or ("firstName",)
            rules = attrs.evolve(rules, required=names if switches.require_first_name else ())
        if switches.dates_only:
            rules = attrs.evolve(rules, fields={**rules.fields, **dict.fromkeys(rules.dates, day)})
        return checked(rules, self.body, now=self.store.clock(), partial=partial, switches=switches)

    def answer(self, status: int, record: Record) -> Reply:
        """Answer with the resource; a new or changed order of version 2 lists its parts."""
        body = shown(record, self.store, self.links)
        if self.links.legacy and record.kind == "orders":
            if self.cause.method == "POST":
                embed(body, record, self.store, self.links, whole=False)
            elif self.query.get("expand") == "orderItems":
                embed(body, record, self.store, self.links, whole=True)
                body["href"] = f"{body['href']}?expand=orderItems"
        return Reply(status, body)

    def page(self, records: list[Record], **extra: Json) -> Reply:
        """Answer with a page of a list."""
        listed = self.store.listed(records)
        return Reply(200, page(self.cause.path, self.query, listed, self.store, self.links, **extra))


Operation: TypeAlias = Callable[[Call], Reply]


def create(call: Call) -> Reply:
    """Store an order, or a part of an order."""
    return call.answer(201, call.store.create(call.kind, call.data(), call.cause, call.ref))


def create_for_guest(call: Call) -> Reply:
    """Store an order, under the guest in the query."""
    guest = call.query.get("guestRef", "")
    return call.answer(201, call.store.create(call.kind, call.data(), call.cause, guest=guest))


def extend(call: Call) -> Reply:
    """Give an order or an item its data extension."""
    return call.answer(201, call.store.extend(call.kind, call.ref, call.data(), call.cause))


def get(call: Call) -> Reply:
    """Answer with the stored record."""
    return call.answer(200, call.record())


def replace(call: Call) -> Reply:
    """Replace the stored values with the body."""
    return call.answer(200, call.store.replace(call.record(), call.data(), call.cause))


def update(call: Call) -> Reply:
    """Change the stored values of the keys in the body."""
    return call.answer(200, call.store.update(call.record(), call.data(partial=True), call.cause))


def delete(call: Call) -> Reply:
    """Delete a record with everything under it."""
    call.store.delete(call.record(), call.cause)
    return Reply(204)


def delete_fields(call: Call) -> Reply:
    """Delete the named pairs of an extension; all pairs if none is named."""
    record = call.record()
    names = call.query["name"].split("|") if call.query.get("name") else list(record.data)
    return call.answer(200, call.store.delete_fields(record, names, call.cause))


def list_parts(call: Call) -> Reply:
    """List the parts of an order of one kind."""
    return call.page(call.store.parts(call.kind, call.store.get("orders", call.ref).ref))


def list_extensions(call: Call) -> Reply:
    """List the data extensions of an owner, at most one."""
    owner = call.store.get(EXTENSION_OWNERS[call.kind], call.ref)
    return call.page(call.store.parts(call.kind, owner.ref), name="ext")


def list_items_of(call: Call) -> Reply:
    """List the items that a consumer uses."""
    return call.page(call.store.items_of(call.record()))


def list_orders(call: Call) -> Reply:
    """List the orders with a referenceId, or the orders of a guest."""
    reference_id, guest_ref = call.query.get("referenceId"), call.query.get("guestRef")
    sort, _, direction = call.query.get("sort", "created").partition("::")
    if sort not in {"created", "orderedAt"} or direction not in {"", "ASC", "DESC"}:
        raise Invalid("sort: must be created or orderedAt, with ::ASC or ::DESC after it or nothing.")
    if reference_id and not guest_ref:
        if sort == "orderedAt":
            raise Invalid("sort: orderedAt can only be used with guestRef.")
        orders = call.store.orders_called(reference_id)
    elif guest_ref and not reference_id:
        # The contact links the order to the guest, so a list by guest lags behind the contact.
        orders = call.store.orders_of(guest_ref)
        orders = [
            order for order in orders if call.store.listed((call.store.parts("contacts", order.ref) or [order])[:1])
        ]
    else:
        raise Invalid("Exactly one of referenceId and guestRef is required.")
    if sort == "orderedAt":
        orders.sort(key=lambda order: str(order.data["orderedAt"]))
    return call.page(orders[::-1] if direction == "DESC" else orders)


HANDLERS = {"create": create, "get": get, "replace": replace, "update": update, "delete": delete, "list": list_parts}
EXTENSION = {**HANDLERS, "create": extend, "delete_fields": delete_fields, "list": list_extensions}
OVERRIDES = {"orders.list": list_orders, "consumers.items": list_items_of}
# In version 2 an update sends the whole resource, except for an order: no key of it is documented as required.
OVERRIDES_V2 = {
    **OVERRIDES,
    **dict.fromkeys(("items.update", "contacts.update", "consumers.update"), replace),
    "orders.create": create_for_guest,
}


@attrs.frozen
class Version:
    """One version of the API over the store: its routes, the operations behind them, its rules for bodies."""

    operations: Mapping[Route, Operation]
    rules: Mapping[str, Rules]
    legacy: bool
    """Whether it is version 2."""
    paths: Mapping[str, str]
    """The path of each operation."""

    def links(self, base: str) -> Links:
        """Return the links of this version that begin with *base*."""
        return Links(base, self.paths, self.legacy)


def operations(table: Table, overrides: Mapping[str, Operation]) -> Iterator[tuple[Route, Operation]]:
    """Yield each route of the table with its operation, and the route of the links to guests."""
    for route in table.routes():
        kind, _, verb = route.operation.partition(".")
        yield route, overrides.get(route.operation) or (EXTENSION if kind in EXTENSION_OWNERS else HANDLERS)[verb]
    yield Route("guests.get", "GET", f"{table.prefix}/guests/{{ref}}"), get


def version(table: Table, overrides: Mapping[str, Operation], rules: Mapping[str, Rules]) -> Version:
    """Return the version of a table; *overrides* are operations that differ from their verb."""
    served = dict(operations(table, overrides))
    return Version(served, rules, table is V2_TABLE, {route.operation: route.path for route in served})


V2_1 = version(V2_1_TABLE, OVERRIDES, V2_1_RULES)
V2 = version(V2_TABLE, OVERRIDES_V2, V2_RULES)
