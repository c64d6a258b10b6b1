"""The 18 operations of the legacy version 2, beside those of version 2.1."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Literal, TypeVar
from uuid import UUID

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async import (
    V2,
    BadRequest,
    CdpOrders,
    CdpOrdersV2,
    Consumer,
    Extension,
    Invalid,
    Link,
    NewConsumerV2,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NotFound,
    OutcomeUnknown,
    Page,
    Request,
    ResourcesV2,
    Settings,
)
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.emulator.records import Json
from cdp_orders_async.ingest.compare import diff, may_match, merge
from cdp_orders_async.wire import encode
from tests import values
from tests.calls import Refs, walked
from tests.v2.samples import BASE, CONTACT, FLIGHT, GUEST, ORDER, PAIRS, REF

T = TypeVar("T")


def consumer(refs: Refs) -> NewConsumerV2:
    """Return a consumer who uses the item."""
    return NewConsumerV2(first_name="Ada", last_name="Lovelace", order_items=(refs.items,))


CALLS: Mapping[str, Callable[[ResourcesV2, Refs], Awaitable[object]]] = {
    "orders.create": lambda cdp, _: cdp.orders.create(ORDER),
    "items.create": lambda cdp, refs: cdp.items.create(refs.orders, FLIGHT),
    "contacts.create": lambda cdp, refs: cdp.contacts.create(refs.orders, CONTACT),
    "consumers.create": lambda cdp, refs: cdp.consumers.create(refs.orders, consumer(refs)),
    "order_extensions.create": lambda cdp, refs: cdp.order_extensions.create(refs.orders, PAIRS),
    "orders.get": lambda cdp, refs: cdp.orders.get(refs.orders, expand_items=True),
    "items.get": lambda cdp, refs: cdp.items.get(refs.items),
    "contacts.get": lambda cdp, refs: cdp.contacts.get(refs.contacts),
    "consumers.get": lambda cdp, refs: cdp.consumers.get(refs.consumers),
    "orders.list": lambda cdp, _: walked(cdp.orders.list(reference_id="B94TXY-1").pages()),
    "items.list": lambda cdp, refs: walked(cdp.items.list(refs.orders).pages()),
    "contacts.list": lambda cdp, refs: walked(cdp.contacts.list(refs.orders, limit=7).pages()),
    "consumers.list": lambda cdp, refs: walked(cdp.consumers.list(refs.orders).pages()),
    "order_extensions.list": lambda cdp, refs: walked(cdp.order_extensions.list(refs.orders).pages()),
    "orders.update": lambda cdp, refs: cdp.orders.update(refs.orders, attrs.evolve(ORDER, status="REFUNDED")),
    "items.update": lambda cdp, refs: cdp.items.update(refs.items, attrs.evolve(FLIGHT, quantity=2)),
    "contacts.update": lambda cdp, refs: cdp.contacts.update(refs.contacts, attrs.evolve(CONTACT, country="IE")),
    "consumers.update": lambda cdp, refs: cdp.consumers.update(refs.consumers, consumer(refs)),
    "contacts.delete": lambda cdp, refs: cdp.contacts.delete(refs.contacts),
    "items.delete": lambda cdp, refs: cdp.items.delete(refs.items),
}
"""One call of each operation, but for the extension's get, which asks for the list first."""


@asynccontextmanager
async def both(emulator: Emulator) -> AsyncGenerator[tuple[CdpOrdersV2, CdpOrders]]:
    """Open a client of each version on one emulator."""
    async with (
        running(emulator) as url,
        CdpOrdersV2(base_url=url, client_key="key", api_token="token") as old,  # noqa: S106 the emulator's own
        CdpOrders(base_url=url, client_key="key", api_token="token") as new,  # noqa: S106 the emulator's own
    ):
        yield old, new


async def test_every_operation_over_a_socket() -> None:
    """Each of the vendor's 18 operations, and the extension, is one call that asks the server once, or once a page.

    After a page that may have been cut short, a list is asked for the next one.
    """
    emulator, refs, got = Emulator(), Refs(), dict[str, Any]()
    async with both(emulator) as (cdp, _):
        for operation, call in CALLS.items():
            got[operation] = answer = await call(cdp, refs)
            kind, _, verb = operation.partition(".")
            if verb == "create" and hasattr(refs, kind):
                ref: object = getattr(answer, "ref", None)
                assert isinstance(ref, UUID)
                setattr(refs, kind, ref)
        assert len(got) == 18 + 2
        assert emulator.requests == {operation: 2 if operation.endswith(".list") else 1 for operation in CALLS}
        assert (await cdp.order_extensions.get(refs.orders)).pairs == PAIRS
        assert [one.pairs for one in await walked(cdp.order_extensions.list(refs.orders))] == [PAIRS]
    for kind, sent in (("orders", ORDER), ("items", FLIGHT), ("contacts", CONTACT)):
        kept = got[f"{kind}.create"]
        assert diff(sent, kept) == ()
        assert may_match(sent, kept)
        (page,) = got[f"{kind}.list"]
        assert page == Page((type(kept)(ref=kept.ref, href=kept.href),), 0, page.limit, has_next=True)
    item = got["items.create"]
    assert got["items.get"] == item
    assert item.href.endswith(f"/v2/orderItems/{item.ref}")
    assert got["orders.create"].order_items == ()
    assert got["orders.get"].order_items == (item,)
    assert got["orders.get"].contacts is None
    assert [one.ref for one in got["orders.update"].contacts] == [refs.contacts]
    assert [one.ref for one in got["orders.update"].order_items] == [refs.items]
    assert got["orders.update"].status == "REFUNDED"
    assert got["items.update"].quantity == 2
    assert got["contacts.update"].country == "IE"
    assert got["consumers.update"].order_items == (refs.items,)
    assert isinstance(got["order_extensions.create"], Extension)


@attrs.define
class Recorder:
    """A transport that keeps what is sent, and answers something that fits every reader but that of a deletion."""

    sent: list[Request[Any]] = attrs.field(factory=list[Request[Any]])

    async def send(self, request: Request[T], /) -> T:
        """Keep *request*."""
        self.sent.append(request)
        return request.read(encode({"ref": str(REF), "offset": 0, "items": []}))


@pytest.mark.parametrize(
    "route", [one for one in V2.table.routes() if one.operation in CALLS], ids=lambda one: one.operation
)
async def test_each_verb_is_its_row(route: tuple[str, str, str]) -> None:
    """Each call is one request, of the method and path of its row, and only a create makes two when sent twice."""
    operation, method, path = route
    recorder, refs = Recorder(), Refs()
    await CALLS[operation](ResourcesV2(recorder, BASE), refs)
    kind, _, verb = operation.partition(".")
    owner = "orders" if verb in {"create", "list"} else kind
    (sent,) = recorder.sent
    assert (sent.operation, sent.method, sent.creates) == (operation, method, verb == "create")
    assert sent.path == path.replace("{ref}", str(getattr(refs, owner)))
    limit = "7" if operation == "contacts.list" else "100"
    filters = {"referenceId": "B94TXY-1"} if operation == "orders.list" else {}
    expand = {"expand": "orderItems"} if operation == "orders.get" else {}
    assert sent.query == ({**filters, "offset": "0", "limit": limit} if verb == "list" else expand)


async def test_bodies_are_the_vendors() -> None:
    """Links are absolute, segments keep their local times, and an extension says its key."""
    recorder = Recorder()
    cdp = ResourcesV2(recorder, BASE)
    person = NewConsumerV2(first_name="Ada", last_name="Lovelace", guest=GUEST, order_items=(REF,))
    await cdp.consumers.create(REF, person)
    await cdp.items.update(REF, FLIGHT)
    await cdp.order_extensions.create(REF, PAIRS)
    consumers, items, extensions = (orjson.loads(one.body or b"") for one in recorder.sent)
    assert consumers == {
        "firstName": "Ada",
        "lastName": "Lovelace",
        "guest": {"href": f"{BASE}/v2/guests/{GUEST}"},
        "orderItems": {"items": [{"href": f"{BASE}/v2/orderItems/{REF}"}]},
    }
    assert items["flightSegments"][0]["departureDateTime"] == "2025-08-15T16:00Z"
    assert items["passengerTypeCode"] == "ADT"
    assert extensions == {"key": "default", **PAIRS}


def test_update_names_the_guest_again() -> None:
    """What brings a person up to date sends the link to the guest that the server shows, as `create` writes it."""
    cdp = ResourcesV2(Recorder(), BASE)
    guest = Link(href=f"http://elsewhere/v2/guests/{GUEST}")
    item = Link(href=f"http://elsewhere/v2/orders/{REF}")
    kept = Consumer(ref=REF, first_name="A.", order_items=(REF,), guest=guest, order=item)
    body = cdp.consumers.to_update(REF, merge(NewConsumerV2(first_name="Ada", last_name="L."), kept, ())).body
    assert body is not None
    assert orjson.loads(body) == {
        "firstName": "Ada",
        "lastName": "L.",
        "guest": {"href": f"{BASE}/v2/guests/{GUEST}"},
        "orderItems": {"items": [{"href": f"{BASE}/v2/orderItems/{REF}"}]},
    }


async def test_order_under_a_guest() -> None:
    """An order can be created under a guest, and is then among those of the guest, in both versions."""
    emulator = Emulator()
    async with both(emulator) as (old, new):
        first = await old.orders.create(ORDER)
        contact = await old.contacts.create(first.ref, CONTACT)
        assert contact.guest is not None
        guest = contact.guest.ref
        assert guest is not None
        other = await old.orders.create(attrs.evolve(ORDER, reference_id="other"), guest_ref=guest)
        assert [one.ref async for one in old.orders.list(guest_ref=guest)] == [first.ref, other.ref]
        assert [one.ref async for one in new.orders.list(guest_ref=guest)] == [first.ref, other.ref]
        person = NewContactV2(first_name="A.", last_name="L.", guest=guest)
        named = await old.contacts.create(other.ref, person)
        assert (named.guest, diff(person, named)) == (contact.guest, ())
        with pytest.raises(NotFound):
            await old.orders.create(attrs.evolve(ORDER, reference_id="third"), guest_ref=REF)
        with pytest.raises(BadRequest, match=r"guest: no such guest: \*\*\*"):
            await old.contacts.create(other.ref, attrs.evolve(person, guest=REF))


async def test_one_state_for_both_versions() -> None:
    """What one version makes the other shows, in its own way: also a type that version 2.1 reserves."""
    async with both(Emulator()) as (old, new):
        order = await old.orders.create(ORDER)
        flight = await old.items.create(order.ref, FLIGHT)
        seen = await new.orders.get(order.ref)
        assert (seen.reference_id, seen.point_of_sale, seen.ordered_at) == ("B94TXY-1", "spinair.com", values.NOW)
        (item,) = await walked(new.items.list(order.ref))
        assert (item.ref, item.type, item.ordered_at) == (flight.ref, "FLIGHT", values.NOW)
        assert item.href == flight.href.replace("/v2/", "/v2.1/") if flight.href else None
        await new.items.update(item.ref, {"vendor": "Acme"})
        assert (await old.items.get(item.ref)).vendor == "Acme"
        with pytest.raises(Invalid, match=r"must not be FLIGHT in version 2\.1"):
            await new.items.update(item.ref, {"type": "FLIGHT"})
        latest = await new.orders.create(
            NewOrder(reference_id="N", ordered_at=values.NOW, price=Decimal(1), currency_code="EUR", status="BROWSED")
        )
        phone = NewOrderItem(type="MOBILE", name="A", price=Decimal(1), currency_code="EUR", status="new")
        made = await new.items.create(latest.ref, phone)
        (shown,) = await walked(old.items.list(latest.ref))
        assert (shown.ref, shown.type, shown.product_id) == (made.ref, "MOBILE", None)
        assert (await old.orders.get(latest.ref)).status == "BROWSED"
        await new.orders.delete(order.ref)
        with pytest.raises(NotFound):
            await old.orders.get(order.ref)


async def test_extension_that_is_not_there() -> None:
    """An order without an extension has none to get."""
    async with both(Emulator()) as (old, new):
        order = await old.orders.create(ORDER)
        with pytest.raises(NotFound, match="no data extension"):
            await old.order_extensions.get(order.ref)
        assert await walked(old.order_extensions.list(order.ref)) == []
        await old.order_extensions.create(order.ref, PAIRS)
        assert (await new.order_extensions.get(order.ref)).pairs == PAIRS


@pytest.mark.parametrize("operation", ["orders.create", "items.create", "orders.update", "items.update"])
async def test_what_sets_values_is_sent_again(operation: str) -> None:
    """A lost answer to an update by POST is asked for again; one to a create is not."""
    faults: Json = {"faults": [{"operation": operation, "script": ["ok", {"action": "close", "phase": "written"}]}]}
    emulator, refs = Emulator(faults=Faults.of(faults)), Refs()
    settings = Settings(trust_env=False)
    async with (
        running(emulator) as url,
        CdpOrdersV2(base_url=url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106
    ):
        refs.orders = (await cdp.orders.create(ORDER)).ref
        refs.items = (await cdp.items.create(refs.orders, FLIGHT)).ref
        if operation.endswith("update"):
            await CALLS[operation](cdp, refs)
            await CALLS[operation](cdp, refs)
            assert emulator.requests[operation] == 3
        else:
            with pytest.raises(OutcomeUnknown):
                await CALLS[operation](cdp, refs)
            assert emulator.requests[operation] == 2


async def test_error_of_version_2() -> None:
    """Where version 2 puts its address for more information is read too."""
    async with both(Emulator()) as (old, _):
        with pytest.raises(NotFound) as caught:
            await old.orders.get(REF)
    assert caught.value.more_info_url == "https://support.sitecore.com"


def test_clients_say_which_they_are() -> None:
    """The repr of a client names its version and its server."""
    cdp = CdpOrdersV2(region="eu", client_key="key", api_token="token")  # noqa: S106 it guards nothing
    assert repr(cdp) == "CdpOrdersV2('https://api-engage-eu.sitecorecloud.io')"


@attrs.define
class Server:
    """A transport to a server with a list of items, as version 2 has it: only links, and no word of a next page."""

    count: int
    clamp: int
    """How many entries a page has at most, whatever was asked for."""
    tells: Literal["its own", "what was asked", "none"]
    """Which limit a page tells."""
    after: Literal["empty", "repeat"] = "empty"
    """What follows the last entry: an empty page, or the last page again."""
    asked: int = 0

    async def send(self, request: Request[T], /) -> T:
        """Answer a page, or an item."""
        if request.operation == "items.get":
            return request.read(encode({"ref": request.path[-36:], "name": "x"}))
        self.asked += 1
        offset, asked = int(request.query["offset"]), int(request.query["limit"])
        limit = min(asked, self.clamp)
        if offset >= self.count and self.after == "repeat":
            offset = max(0, self.count - 1) // limit * limit
        numbers = range(offset, min(offset + limit, self.count))
        entries = [{"href": f"{BASE}/v2/orderItems/{UUID(int=n)}"} for n in numbers]
        page: dict[str, object] = {"href": "x", "offset": offset, "items": entries}
        told = {"its own": {"limit": limit}, "what was asked": {"limit": asked}, "none": {}}[self.tells]
        return request.read(encode({**page, **told}))


servers = st.builds(
    Server,
    st.integers(0, 30),
    st.integers(1, 12),
    st.sampled_from(["its own", "what was asked", "none"]),
    st.sampled_from(["empty", "repeat"]),
)


@given(servers, st.integers(1, 100))
async def test_lists_without_next(server: Server, limit: int) -> None:
    """Each entry comes once, whole and in order; an empty page ends the list, or one below a limit of its own."""
    got = await walked(ResourcesV2(server, BASE).items.list(REF, limit=limit))
    assert [(item.ref.int, item.name) for item in got] == [(n, "x") for n in range(server.count)]
    pages, missing = divmod(server.count, -min(limit, server.clamp))
    ends_short = server.tells == "its own" and server.clamp < limit and missing
    assert server.asked == -pages + (0 if ends_short else 1)


async def test_lists_of_the_emulator() -> None:
    """Over several pages of links, each entry is fetched once."""
    emulator = Emulator()
    async with both(emulator) as (cdp, _):
        order = await cdp.orders.create(ORDER)
        items = [await cdp.items.create(order.ref, attrs.evolve(FLIGHT, reference_id=str(n))) for n in range(5)]
        assert await walked(cdp.items.list(order.ref, limit=2)) == items
        assert (emulator.requests["items.list"], emulator.requests["items.get"]) == (4, 5)


async def test_what_breaks_a_rule_is_not_sent() -> None:
    """Every verb checks what it is given."""
    recorder = Recorder()
    cdp = ResourcesV2(recorder, BASE)
    bad = attrs.evolve(ORDER, point_of_sale="")
    for call in (
        lambda: cdp.orders.create(bad),
        lambda: cdp.orders.update(REF, bad),
        lambda: cdp.items.update(REF, attrs.evolve(FLIGHT, type="Flight")),
        lambda: cdp.order_extensions.create(REF, {"key": "default"}),
        lambda: walked(cdp.orders.list()),
        lambda: walked(cdp.items.list(REF, limit=101)),
    ):
        with pytest.raises(Invalid):
            await call()
    assert recorder.sent == []
