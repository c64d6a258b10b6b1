"""The verbs as request values, and listings over whatever a server may answer."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from decimal import Decimal
from typing import Any, Literal, TypeVar
from uuid import UUID

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async import (
    ExtensionValue,
    Invalid,
    NewConsumer,
    NewOrder,
    NewOrderItem,
    NotFound,
    OrderItem,
    Page,
    Request,
    Resources,
    ServerError,
)
from cdp_orders_async.kinds import V2_1
from cdp_orders_async.wire import encode
from tests.calls import CALLS, ITEM, ORDER, PAIRS, Refs, walked
from tests.values import NOW

T = TypeVar("T")

BASE = "https://host/base"
OWNERS = {"order_extensions": "orders", "item_extensions": "items"}
REF = UUID("2d7de9df-45a2-45ea-872c-30e45139007d")


@attrs.define
class Recorder:
    """A transport that keeps what is sent, and answers something that fits every reader but that of a deletion."""

    sent: list[Request[Any]] = attrs.field(factory=list[Request[Any]])

    async def send(self, request: Request[T], /) -> T:
        """Keep *request*."""
        self.sent.append(request)
        return request.read(encode({"ref": str(REF), "offset": 0, "items": []}))


def bodies(refs: Refs) -> dict[str, object]:
    """Return what each operation that has a body sends."""
    consumer = {"items": [{"href": f"{BASE}/v2.1/orderItems/{refs.items}"}]}
    order = {
        "referenceId": "B94TXY-1",
        "orderedAt": "2024-01-01T16:17:16Z",
        "price": 50,
        "currencyCode": "EUR",
        "channel": "WEB",
    }
    item = {"type": "MOBILE", "name": "AZ10", "price": 105, "currencyCode": "EUR", "status": "CONFIRMED"}
    contact = {"firstName": "Ada", "emails": ["ada@example.com"]}
    whole: dict[str, object] = {
        "orders": order,
        "items": item,
        "contacts": contact,
        "consumers": {"firstName": "Ada", "orderItems": consumer},
        "order_extensions": PAIRS,
        "item_extensions": PAIRS,
    }
    return {
        **{f"{kind}.{verb}": body for kind, body in whole.items() for verb in ("create", "replace")},
        "orders.update": {"pointOfSale": "home"},
        "items.update": {"originalPrice": 110.5},
        "contacts.update": {"dateOfBirth": "2024-01-01T16:17:16Z"},
        "consumers.update": {"orderItems": {"items": []}},
        "order_extensions.update": {"color": "red"},
        "item_extensions.update": {"color": "red"},
    }


def query_of(operation: str) -> dict[str, str]:
    """Return the query that an operation of `CALLS` sends."""
    if operation.endswith((".list", ".items")):
        filters = {"orders.list": {"referenceId": "B94TXY-1", "sort": "created::DESC"}}.get(operation, {})
        limit = "7" if operation == "contacts.list" else "100"
        return {**filters, "expand": "true", "offset": "0", "limit": limit}
    return {"name": "color|capacityInGb"} if operation == "item_extensions.delete_fields" else {}


@pytest.mark.parametrize("route", list(V2_1.table.routes()), ids=lambda route: route.operation)
async def test_each_verb_is_its_row(route: tuple[str, str, str]) -> None:
    """Each call is one request: method and path of its row, its query and body, and whether it creates."""
    operation, method, path = route
    recorder, refs = Recorder(), Refs()
    await CALLS[operation](Resources(recorder, BASE), refs)
    kind, _, verb = operation.partition(".")
    owner = "orders" if verb in {"create", "list"} and kind not in OWNERS else OWNERS.get(kind, kind)
    (sent,) = recorder.sent
    assert (sent.operation, sent.method) == (operation, method)
    assert sent.path == path.replace("{ref}", str(getattr(refs, owner)))
    assert sent.query == query_of(operation)
    assert (sent.body and orjson.loads(sent.body)) == bodies(refs).get(operation)
    assert sent.creates == (verb == "create")


async def test_requests_can_be_made_and_not_sent() -> None:
    """A request is the same whether it is sent or only made."""
    recorder, refs = Recorder(), Refs()
    cdp = Resources(recorder, BASE)
    await cdp.items.create(refs.orders, ITEM)
    await cdp.orders.replace(refs.orders, ORDER)
    await cdp.order_extensions.update(refs.orders, PAIRS)
    made = [
        cdp.items.to_create(refs.orders, ITEM),
        cdp.orders.to_replace(refs.orders, ORDER),
        cdp.order_extensions.to_update(refs.orders, PAIRS),
    ]
    assert made == recorder.sent


BAD_ORDER = NewOrder(reference_id="", ordered_at=NOW, price=Decimal(1), currency_code="EUR")
BAD_ITEM = NewOrderItem(type="FLIGHT", name="A", price=Decimal(1), currency_code="EUR", status="A")
BAD_CONSUMER = NewConsumer(country="Ireland")
BAD_PAIRS: dict[str, ExtensionValue] = {"Colour": 1}


REFUSED: list[tuple[str, Callable[[Resources], Awaitable[object]]]] = [
    ("$.referenceId", lambda cdp: cdp.orders.create(BAD_ORDER)),
    ("$.referenceId", lambda cdp: cdp.orders.replace(REF, BAD_ORDER)),
    ("$.currencyCode", lambda cdp: cdp.orders.update(REF, {"currency_code": "euro"})),
    ("$.type", lambda cdp: cdp.items.create(REF, BAD_ITEM)),
    ("$.type", lambda cdp: cdp.items.replace(REF, BAD_ITEM)),
    ("$.type", lambda cdp: cdp.items.update(REF, {"type": "FLIGHT"})),
    ("$.country", lambda cdp: cdp.consumers.create(REF, BAD_CONSUMER)),
    ("$.country", lambda cdp: cdp.consumers.replace(REF, BAD_CONSUMER)),
    ("$.country", lambda cdp: cdp.contacts.update(REF, {"country": "Ireland"})),
    ("$.Colour", lambda cdp: cdp.order_extensions.create(REF, BAD_PAIRS)),
    ("$.Colour", lambda cdp: cdp.order_extensions.replace(REF, BAD_PAIRS)),
    ("$.Colour", lambda cdp: cdp.item_extensions.update(REF, BAD_PAIRS)),
    ("names", lambda cdp: cdp.item_extensions.delete_fields(REF, [])),
    ("names", lambda cdp: cdp.item_extensions.delete_fields(REF, [""])),
    ("names", lambda cdp: cdp.item_extensions.delete_fields(REF, ["a", "b|c"])),
    ("names", lambda cdp: cdp.item_extensions.delete_fields(REF, "color")),
    ("reference_id, guest_ref", lambda cdp: walked(cdp.orders.list())),
    ("reference_id, guest_ref", lambda cdp: walked(cdp.orders.list(reference_id="A", guest_ref=REF))),
    ("sort", lambda cdp: walked(cdp.orders.list(reference_id="A", sort="orderedAt"))),
    ("sort", lambda cdp: walked(cdp.orders.list(reference_id="A", sort="orderedAt::DESC"))),
    ("limit", lambda cdp: walked(cdp.orders.list(reference_id="A", limit=0))),
    ("limit", lambda cdp: walked(cdp.items.list(REF, limit=101))),
    ("limit", lambda cdp: walked(cdp.consumers.items(REF, limit=101))),
    ("limit", lambda cdp: walked(cdp.order_extensions.list(REF, limit=-1))),
]


@pytest.mark.parametrize(("field", "call"), REFUSED)
async def test_what_breaks_a_rule_is_not_sent(field: str, call: Callable[[Resources], Awaitable[object]]) -> None:
    """Every verb checks what it is given, and nothing leaves when that is wrong."""
    recorder = Recorder()
    with pytest.raises(Invalid) as caught:
        await call(Resources(recorder, BASE))
    assert [violation.field for violation in caught.value.violations] == [field]
    assert recorder.sent == []


@pytest.mark.parametrize("ref", ["", "..", f"{REF}/../x", f"{REF}?a=b", "None", None, 1])
@pytest.mark.parametrize("operation", sorted(CALLS.keys() - {"orders.create", "orders.list"}))
async def test_only_a_uuid_becomes_part_of_a_path(operation: str, ref: Any) -> None:  # noqa: ANN401 that is the point
    """A reference that is none is refused, whatever it would make of the path."""
    recorder = Recorder()
    with pytest.raises(Invalid, match=r"must be a (UUID|list of UUIDs)$"):
        await CALLS[operation](Resources(recorder, BASE), Refs(ref, ref, ref, ref))
    assert recorder.sent == []


async def test_reference_as_text() -> None:
    """Text that is a UUID is one, in any of its forms."""
    recorder = Recorder()
    cdp = Resources(recorder, BASE)
    for text in (str(REF).upper(), f"{{{REF}}}", REF.hex):
        await cdp.orders.get(text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] text, on purpose
        await walked(cdp.orders.list(guest_ref=text))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert {request.path for request in recorder.sent} == {f"/v2.1/orders/{REF}", "/v2.1/orders"}
    assert {request.query.get("guestRef", str(REF)) for request in recorder.sent} == {str(REF)}


@attrs.define
class Server:
    """A transport to a server with a list of items, which may have ways of its own."""

    count: int
    """How many items there are."""
    clamp: int = 100
    """How many entries a page has at most, whatever was asked for."""
    after: Literal["empty", "repeat"] = "empty"
    """What follows the last entry: an empty page, or the last page again."""
    names_next: Literal["rightly", "always"] = "rightly"
    bare: frozenset[int] = frozenset()
    """The numbers of the items that are not expanded."""
    fails_at: int | None = None
    """The offset of the page that fails."""
    offsets: list[int] = attrs.field(factory=list[int])
    """Where the pages began that were asked for."""
    fetched: list[int] = attrs.field(factory=list[int])
    """The numbers of the items that were asked for one by one."""

    async def send(self, request: Request[T], /) -> T:
        """Answer a list, or one item."""
        if request.operation == "items.get":
            number = UUID(request.path.rpartition("/")[2]).int
            self.fetched.append(number)
            return request.read(encode(shown(number)))
        offset, limit = int(request.query["offset"]), min(int(request.query["limit"]), self.clamp)
        self.offsets.append(offset)
        if offset == self.fails_at:
            raise ServerError("GET", request.path, 500)
        if offset >= self.count and self.after == "repeat":
            offset = max(0, self.count - 1) // limit * limit
        numbers = range(offset, min(offset + limit, self.count))
        entries = [shown(number, whole=number not in self.bare) for number in numbers]
        page: dict[str, object] = {"offset": offset, "limit": limit, "items": entries}
        if self.names_next == "always" or numbers.stop < self.count:
            page["next"] = {"href": "https://elsewhere/x"}
        return request.read(encode(page))


def shown(number: int, *, whole: bool = True) -> dict[str, str]:
    """Return an item as a list shows it."""
    href = f"{BASE}/v2.1/orderItems/{UUID(int=number)}"
    return {"ref": str(UUID(int=number)), "href": href, "name": str(number)} if whole else {"href": href}


def numbers_of(items: list[OrderItem]) -> list[tuple[int, str | None]]:
    """Return which items these are."""
    return [(item.ref.int, item.name) for item in items]


servers = st.builds(
    Server,
    count=st.integers(0, 30),
    clamp=st.integers(1, 12),
    after=st.sampled_from(["empty", "repeat"]),
    names_next=st.sampled_from(["rightly", "always"]),
    bare=st.frozensets(st.integers(0, 29), max_size=8),
)


@given(servers, st.integers(1, 100))
async def test_listing_gives_everything_once(server: Server, limit: int) -> None:
    """Whatever the server makes of pages, links and expansion, each entry comes once, whole and in order."""
    listing = Resources(server, BASE).items.list(REF, limit=limit)
    expected = [(number, str(number)) for number in range(server.count)]
    assert numbers_of(await walked(listing)) == expected
    assert server.fetched == [number for number in range(server.count) if number in server.bare]
    pages = -(-server.count // min(limit, server.clamp))
    assert len(server.offsets) == (pages + 1 if server.names_next == "always" else max(1, pages))
    assert numbers_of(await walked(listing)) == expected


@given(servers, st.integers(1, 100), st.integers(0, 5))
async def test_pages_hold_what_arrives(server: Server, limit: int, skipped: int) -> None:
    """Pages begin where they are told to, hold what arrived without fetching more, and are never empty."""
    start = skipped * min(limit, server.clamp)
    pages = await walked(Resources(server, BASE).items.list(REF, limit=limit).pages(start))
    if start < server.count:
        assert [entry.ref.int for page in pages for entry in page.items] == list(range(start, server.count))
    assert server.fetched == []
    assert all(0 < len(page.items) == min(limit, server.clamp) for page in pages[:-1])
    assert server.offsets[0] == start


@pytest.mark.parametrize(("start", "error", "words"), [("x", TypeError, "start must be a wh"), (-1, Invalid, "start")])
async def test_pages_begin_at_an_entry(start: Any, error: type[Exception], words: str) -> None:  # noqa: ANN401 a wrong one
    """What is no place in a list is refused before anything is sent."""
    server = Server(1)
    with pytest.raises(error, match=words):
        await walked(Resources(server, BASE).items.list(REF).pages(start))
    assert server.offsets == []


async def collect(pages: AsyncIterable[T], got: list[T]) -> None:
    """Add *pages* to what was *got*, as far as they come."""
    async for page in pages:
        got.append(page)  # noqa: PERF401 what came before an error counts


@given(st.integers(1, 30), st.integers(1, 7), st.data())
async def test_failed_page_says_where_to_go_on(count: int, limit: int, data: st.DataObject) -> None:
    """When a page fails, the error knows its offset, and from there the rest can be had."""
    fails_at = data.draw(st.sampled_from(range(0, count, limit)))
    server = Server(count, fails_at=fails_at)
    listing = Resources(server, BASE).items.list(REF, limit=limit)
    got: list[Page[OrderItem]] = []
    with pytest.raises(ServerError) as caught:
        await collect(listing.pages(), got)
    assert caught.value.offset == fails_at
    server.fails_at = None
    await collect(listing.pages(fails_at), got)
    assert [entry.ref.int for page in got for entry in page.items] == list(range(count))
    assert server.offsets.count(fails_at) == 2


async def test_same_page_for_ever_is_no_listing_for_ever() -> None:
    """A server that ignores the offset gives its page once."""

    class Deaf(Server):
        async def send(self, request: Request[T], /) -> T:
            query = {**request.query, "offset": "0"} if request.query else {}
            return await super().send(request.with_query(query))

    server = Deaf(3, names_next="always")
    assert len(await walked(Resources(server, BASE).items.list(REF))) == 3
    assert server.offsets == [0, 0]


async def test_entry_that_went_away() -> None:
    """An entry that cannot be fetched is an error, not a gap."""

    class Forgetful(Server):
        async def send(self, request: Request[T], /) -> T:
            if request.operation == "items.get":
                raise NotFound("GET", request.path, 404)
            return await super().send(request)

    listing = Resources(Forgetful(2, bare=frozenset({1})), BASE).items.list(REF)
    with pytest.raises(NotFound):
        await walked(listing)
