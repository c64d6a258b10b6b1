"""Uses that a type checker must let through, and uses that it must refuse; read by mypy and pyright, never run.

A refused use carries the error of each checker: where it is no error any more, the ignore is one.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TypeVar, assert_type
from uuid import UUID

from cdp_orders_async import (
    SETTLE,
    V2,
    CdpOrders,
    CdpOrdersV2,
    Consumer,
    Consumers,
    ConsumersV2,
    Contact,
    Contacts,
    ContactsV2,
    Extension,
    Extensions,
    ExtensionsV2,
    ExtensionValue,
    FlightSegment,
    GraphFile,
    Identifier,
    InputLine,
    Invalid,
    Items,
    ItemsV2,
    Journal,
    Listing,
    Load,
    MemoryJournal,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    OnExisting,
    Order,
    OrderChanges,
    OrderGraph,
    OrderItem,
    OrderItemV2,
    Orders,
    OrdersV2,
    OrderV2,
    Outcome,
    OutcomeUnknown,
    Page,
    Priority,
    Refused,
    Request,
    Resources,
    ResourcesV2,
    Settings,
    Source,
    SqliteJournal,
    Transport,
    Violation,
    ingest,
    ingest_one,
)

T = TypeVar("T")


class StandIn:
    """A transport of somebody's own."""

    async def send(self, request: Request[T], /) -> T:
        """Answer everything with an empty object."""
        return request.read(b"{}")


class NoTransport:
    """What cannot send."""

    async def send(self, request: str, /) -> str:
        """Return *request*."""
        return request


def every_journal(file: SqliteJournal) -> tuple[Journal, ...]:
    """Take each journal for one."""
    return MemoryJournal(), MemoryJournal(1000, identity={"base URL": "http://a"}), file


async def resources_have_names(cdp: CdpOrders, old: CdpOrdersV2) -> None:
    """Take each resource by its own type, for a function of one's own."""
    assert_type(cdp.orders, Orders)
    assert_type(cdp.items, Items)
    assert_type(cdp.contacts, Contacts)
    assert_type(cdp.consumers, Consumers)
    assert_type(cdp.order_extensions, Extensions)
    assert_type(cdp.item_extensions, Extensions)
    assert_type(old.orders, OrdersV2)
    assert_type(old.items, ItemsV2)
    assert_type(old.contacts, ContactsV2)
    assert_type(old.consumers, ConsumersV2)
    assert_type(old.order_extensions, ExtensionsV2)
    assert_type(await cdp.ping(), None)
    await old.ping()


async def options_of_a_load(cdp: CdpOrders, source: Source, graph: OrderGraph, journal: Journal) -> None:
    """Hand options on by the types that the package names."""
    on_existing: OnExisting = "update"
    priority: Priority = "bulk"
    assert_type(SETTLE, float)
    async with ingest(cdp, source, journal=journal, on_existing=on_existing, settle=1) as load:
        assert_type(load, Load)
        async for outcome in load:
            assert_type(outcome, Outcome)
            assert_type(outcome.to_json(), dict[str, object])
    assert_type(await ingest_one(cdp, graph, priority=priority, deadline=10), Outcome)
    ingest(cdp, 42)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ingest(cdp, graph)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ingest(cdp, source, on_existing="replace")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await ingest_one(cdp, graph.order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Settings(timeout="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Settings(connections=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    CdpOrders(settings={})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def every_verb(cdp: CdpOrders, ref: UUID, when: datetime, price: Decimal) -> None:
    """Call each verb of each resource, and take its result for what it is."""
    order = NewOrder(reference_id="A", ordered_at=when, price=price, currency_code="EUR", channel="WEB", status="NEW")
    item = NewOrderItem(type="A", name="A", price=price, currency_code="EUR", status="A", quantity=1)
    contact = NewContact(first_name="Ada", emails=("a@b",), identifiers=(Identifier(provider="A", id="B"),))
    consumer = NewConsumer(first_name="Ada", order_items=(ref,))

    assert_type(await cdp.orders.create(order), Order)
    assert_type(await cdp.orders.get(ref), Order)
    assert_type(await cdp.orders.replace(ref, order), Order)
    assert_type(await cdp.orders.update(ref, {"price": price, "status": "PURCHASED"}), Order)
    assert_type(await cdp.orders.delete(ref), None)
    assert_type(cdp.orders.list(reference_id="A", sort="created"), Listing[Order])
    assert_type(cdp.orders.list(guest_ref=ref, sort="orderedAt::DESC", limit=10), Listing[Order])

    assert_type(await cdp.items.create(ref, item), OrderItem)
    assert_type(await cdp.items.get(ref), OrderItem)
    assert_type(await cdp.items.replace(ref, item), OrderItem)
    assert_type(await cdp.items.update(ref, {"quantity": 2, "original_price": price}), OrderItem)
    assert_type(await cdp.items.delete(ref), None)
    assert_type(cdp.items.list(ref), Listing[OrderItem])

    assert_type(await cdp.contacts.create(ref, contact), Contact)
    assert_type(await cdp.contacts.get(ref), Contact)
    assert_type(await cdp.contacts.replace(ref, contact), Contact)
    assert_type(await cdp.contacts.update(ref, {"date_of_birth": when}), Contact)
    assert_type(await cdp.contacts.delete(ref), None)
    assert_type(cdp.contacts.list(ref, limit=1), Listing[Contact])

    assert_type(await cdp.consumers.create(ref, consumer), Consumer)
    assert_type(await cdp.consumers.get(ref), Consumer)
    assert_type(await cdp.consumers.replace(ref, consumer), Consumer)
    assert_type(await cdp.consumers.update(ref, {"order_items": (ref,)}), Consumer)
    assert_type(await cdp.consumers.delete(ref), None)
    assert_type(cdp.consumers.list(ref), Listing[Consumer])
    assert_type(cdp.consumers.items(ref), Listing[OrderItem])

    for extensions in (cdp.order_extensions, cdp.item_extensions):
        assert_type(await extensions.create(ref, {"a": "b", "c": 1, "d": 1.5, "e": True}), Extension)
        assert_type(await extensions.get(ref), Extension)
        assert_type(await extensions.replace(ref, {}), Extension)
        assert_type(await extensions.update(ref, {"a": 1}), Extension)
        assert_type(await extensions.delete(ref), None)
        assert_type(await extensions.delete_fields(ref, ["a"]), Extension)
        assert_type(await extensions.delete_fields(ref, None), Extension)
        assert_type(extensions.list(ref), Listing[Extension])


async def every_verb_of_version_2(cdp: CdpOrdersV2, ref: UUID, when: datetime, price: Decimal) -> None:
    """Call each verb that version 2 has; what it updates is the whole thing."""
    order = NewOrderV2(reference_id="A", ordered_at=when, price=price, currency_code="EUR", point_of_sale="A")
    item = NewOrderItemV2(
        type="FLIGHT",
        product_id="A",
        reference_id="A",
        price=price,
        currency_code="EUR",
        status="CONFIRMED",
        quantity=price,
        flight_segments=(FlightSegment(origin="DUB", departure_date_time="2025-08-23T16:17Z"),),
    )
    contact = NewContactV2(first_name="Ada", last_name="Lovelace", guest=ref)
    consumer = NewConsumerV2(first_name="Ada", last_name="Lovelace", order_items=(ref,))

    assert_type(await cdp.orders.create(order, guest_ref=ref), OrderV2)
    assert_type(await cdp.orders.get(ref, expand_items=True), OrderV2)
    assert_type(await cdp.orders.update(ref, order), OrderV2)
    assert_type(cdp.orders.list(guest_ref=ref, limit=10), Listing[OrderV2])
    assert_type((await cdp.orders.get(ref)).order_items, tuple[OrderItemV2, ...] | None)

    assert_type(await cdp.items.create(ref, item), OrderItemV2)
    assert_type(await cdp.items.get(ref), OrderItemV2)
    assert_type((await cdp.items.get(ref)).quantity, int | Decimal | None)
    assert_type(await cdp.items.update(ref, item), OrderItemV2)
    assert_type(await cdp.items.delete(ref), None)
    assert_type(cdp.items.list(ref), Listing[OrderItemV2])

    assert_type(await cdp.contacts.create(ref, contact), Contact)
    assert_type(await cdp.contacts.get(ref), Contact)
    assert_type(await cdp.contacts.update(ref, contact), Contact)
    assert_type(await cdp.contacts.delete(ref), None)
    assert_type(cdp.contacts.list(ref), Listing[Contact])

    assert_type(await cdp.consumers.create(ref, consumer), Consumer)
    assert_type(await cdp.consumers.get(ref), Consumer)
    assert_type(await cdp.consumers.update(ref, consumer), Consumer)
    assert_type(cdp.consumers.list(ref), Listing[Consumer])

    assert_type(await cdp.order_extensions.create(ref, {"a": "b"}), Extension)
    assert_type(await cdp.order_extensions.get(ref), Extension)
    assert_type(cdp.order_extensions.list(ref), Listing[Extension])


async def results(cdp: CdpOrders, ref: UUID) -> None:
    """Take results apart: only the ref is certain, and an unknown value of an enumeration is text."""
    order = await cdp.orders.get(ref)
    assert_type(order.ref, UUID)
    assert_type(order.price, Decimal | None)
    assert_type(order.ordered_at, datetime | None)
    assert_type(order.href, str | None)
    contact = await cdp.contacts.get(ref)
    assert_type(contact.emails, tuple[str, ...] | None)
    if contact.guest is not None:
        assert_type(contact.guest.ref, UUID | None)
    extension = await cdp.item_extensions.get(ref)
    assert_type(extension.ref, UUID | None)
    assert_type(extension.pairs, dict[str, ExtensionValue])
    async for item in cdp.items.list(ref):
        assert_type(item, OrderItem)
    async for page in cdp.items.list(ref).pages(start=10):
        assert_type(page, Page[OrderItem])
        assert_type(page.items, tuple[OrderItem, ...])
    async for line in GraphFile("orders.jsonl", V2):
        assert_type(line, InputLine)
        assert_type(line.graph, OrderGraph | None)


async def requests_as_values(ref: UUID, order: NewOrder) -> None:
    """Use any transport, and requests that are only made."""
    transport: Transport = StandIn()
    cdp = Resources(transport, "https://host")
    request = cdp.orders.to_create(order)
    assert_type(request, Request[Order])
    assert_type(await transport.send(request), Order)
    assert_type(cdp.items.to_update(ref, {"name": "A"}), Request[OrderItem])
    Resources(NoTransport(), "https://host")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def errors(cdp: CdpOrders, ref: UUID) -> None:
    """Take errors apart."""
    try:
        await cdp.orders.delete(ref)
    except Invalid as error:
        assert_type(error.violations, tuple[Violation, ...])
    except Refused as error:
        assert_type(error.status, int)
        assert_type(error.retry_after, float | None)
    except OutcomeUnknown as error:
        assert_type(error.attempts, int)


async def wrong_models(cdp: CdpOrders, ref: UUID, order: NewOrder, item: NewOrderItem, contact: NewContact) -> None:
    """Send a model only to its own resource, and none that was kept."""
    await cdp.orders.create(item)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cdp.items.create(ref, order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cdp.items.replace(ref, await cdp.items.get(ref))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cdp.consumers.create(ref, contact)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cdp.contacts.create(ref, {"firstName": "Ada"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def wrong_refs(cdp: CdpOrders, ref: UUID, item: NewOrderItem) -> None:
    """Name the order of a part, and every reference as a UUID."""
    await cdp.items.create(item)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    await cdp.items.create("A", item)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cdp.orders.get(str(ref))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cdp.orders.delete()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    cdp.items.list()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    cdp.orders.list("A")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    cdp.orders.list(guest_ref="A")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    cdp.orders.list(reference_id="A", sort="price")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def wrong_changes(cdp: CdpOrders, ref: UUID, when: datetime, order: NewOrder) -> None:
    """Change known keys to known types, nothing as a whole, and no order's identity."""
    await cdp.orders.update(ref, {"curency_code": "EUR"})  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    await cdp.orders.update(ref, {"pointOfSale": "A"})  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    await cdp.orders.update(ref, {"ordered_at": when})  # type: ignore[typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    await cdp.orders.update(ref, {"price": 1.5})  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]
    await cdp.orders.update(ref, {"status": None})  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]
    await cdp.orders.update(ref, order)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    changes: OrderChanges = {"status": "PURCHASED"}
    await cdp.orders.replace(ref, changes)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await cdp.consumers.update(ref, {"order_items": ("A",)})  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]


async def wrong_extensions(cdp: CdpOrders, ref: UUID) -> None:
    """Send primitive pairs, and say so where all of them are to go."""
    await cdp.order_extensions.create(ref, {"a": None})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await cdp.order_extensions.create(ref, {"a": ["b"]})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await cdp.order_extensions.update(ref, {1: "a"})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await cdp.order_extensions.delete_fields(ref)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await cdp.order_extensions.items(ref)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def wrong_values(cdp: CdpOrders, ref: UUID, when: datetime) -> None:
    """Give all that is required, by name, and money as a Decimal; take what was kept with care."""
    NewOrder(reference_id="A", ordered_at=when, price=Decimal(1))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    NewContact("Ada")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    NewOrderItem(type="A", name="A", price=1.5, currency_code="EUR", status="A")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    NewContact(emails="a@b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    NewContact(order_items=(ref,))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    (await cdp.orders.get(ref)).price.is_nan()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    iter(cdp.orders.list(reference_id="A"))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await cdp.orders.list(reference_id="A")  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await cdp.guests.get(ref)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def not_in_version_2(cdp: CdpOrdersV2, ref: UUID, order: NewOrderV2, item: NewOrderItemV2) -> None:
    """Call nothing that version 2 lacks."""
    await cdp.orders.replace(ref, order)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.orders.delete(ref)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.items.replace(ref, item)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.contacts.replace(ref, item)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.consumers.replace(ref, item)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.consumers.delete(ref)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    cdp.consumers.items(ref)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.order_extensions.replace(ref, {})  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.order_extensions.delete_fields(ref, ["a"])  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await cdp.item_extensions.create(ref, {})  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    cdp.orders.list(reference_id="A", sort="created")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await cdp.orders.update(ref, {"status": "PURCHASED"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def versions_apart(
    old: CdpOrdersV2, new: CdpOrders, ref: UUID, when: datetime, contact: NewContact, contact_v2: NewContactV2
) -> None:
    """Send each version its own models, with what each of them needs."""
    await old.contacts.create(ref, contact)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await new.contacts.create(ref, contact_v2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    NewOrderV2(reference_id="A", ordered_at=when, price=Decimal(1), currency_code="EUR")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    NewContactV2(first_name="Ada")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    NewConsumerV2(first_name="Ada", last_name="Lovelace", city="London")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    FlightSegment(departure_date_time=when)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Resources(old.transport, "https://host").item_extensions.to_create(ref, {"a": 1})
    ResourcesV2(old.transport, "https://host").items.to_create(ref, contact_v2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
