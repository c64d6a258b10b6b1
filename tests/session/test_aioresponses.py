"""The client under aioresponses, with which others test what they build on aiohttp: what it plays, and what not."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from unittest.mock import Mock
from uuid import UUID

import aiohttp
import pytest
from aioresponses import CallbackResult, aioresponses

from cdp_orders_async import (
    BadRequest,
    CdpError,
    CdpOrders,
    Conflict,
    Delivery,
    Forbidden,
    NewOrder,
    NotFound,
    NotSent,
    OrderGraph,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    ServerError,
    Settings,
    Unauthorized,
    Unreadable,
    Verdict,
    ingest,
)
from tests.session.calling import closed_port

ANSWER: Any = partial(aiohttp.ClientResponse, stream_writer=Mock())
"""What makes the answers: aiohttp 3.14 wants a `stream_writer`, which aioresponses 0.7.9 does not give."""
BASE = "http://127.0.0.1"
ORDERS = f"{BASE}/v2.1/orders"
ANY = re.compile(".*")
REF = UUID(int=1)
NEW = NewOrder(
    reference_id="B94TXY-1", ordered_at=datetime(2024, 1, 1, tzinfo=UTC), price=Decimal("9.50"), currency_code="EUR"
)
SENT = {"referenceId": "B94TXY-1", "orderedAt": "2024-01-01T00:00:00Z", "price": 9.5, "currencyCode": "EUR"}
KEPT = SENT | {
    "ref": str(REF),
    "href": f"{ORDERS}/{REF}",
    "createdAt": "2024-01-01T00:00:00Z",
    "modifiedAt": "2024-01-01T00:00:00Z",
}
ONCE = Settings(retries=0, trust_env=False)


@pytest.fixture(name="server")
def _server() -> Generator[aioresponses, None, None]:
    with aioresponses() as server:
        yield server


@pytest.fixture(name="cdp")
async def _cdp(server: aioresponses) -> AsyncGenerator[CdpOrders, None]:
    del server  # it comes first
    async with client(ONCE) as cdp:
        yield cdp


def client(settings: Settings, http: aiohttp.ClientSession | None = None) -> CdpOrders:
    """Return a client of a server that is nowhere."""
    return CdpOrders(base_url=BASE, client_key="key", api_token="token", settings=settings, http_session=http)  # noqa: S106 it guards nothing


def play(server: aioresponses, method: str, url: str | re.Pattern[str] = ANY, **answer: Any) -> None:  # noqa: ANN401 its own
    """Let *server* answer a request."""
    server.add(url, method, **{"response_class": ANSWER, **answer})  # pyright: ignore[reportUnknownMemberType] its dicts are bare


def asked(server: aioresponses) -> list[tuple[str, str, Any]]:
    """Return the method, address and arguments of each request, in order within an address."""
    return [(method, str(url), call[1]) for (method, url), calls in server.requests.items() for call in calls]


async def failure(cdp: CdpOrders, method: str) -> CdpError:
    """Return the error that a call ends with; a POST creates an order, a GET reads it."""
    try:
        await (cdp.orders.create(NEW) if method == "POST" else cdp.orders.get(REF))
    except CdpError as error:
        return error
    raise AssertionError("the call succeeded")


async def test_answers_need_a_stream_writer(server: aioresponses, cdp: CdpOrders) -> None:
    """Where this fails, aioresponses gives what aiohttp wants: then `ANSWER`, here and in the README, can go."""
    play(server, "GET", payload=KEPT, response_class=None)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'stream_writer'"):
        await cdp.orders.get(REF)


async def test_answer_of_a_callback_needs_one_too(server: aioresponses, cdp: CdpOrders) -> None:
    """What a callback gives takes the place of all that was played, its `response_class` included."""
    given: list[dict[str, Any]] = [{"response_class": ANSWER}, {}]

    def answer(*_: object, **__: object) -> CallbackResult:
        return CallbackResult(payload=KEPT, **given.pop(0))

    play(server, "GET", repeat=True, callback=answer)
    assert (await cdp.orders.get(REF)).ref == REF
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'stream_writer'"):
        await cdp.orders.get(REF)


async def test_create_is_one_post(server: aioresponses, cdp: CdpOrders) -> None:
    """A create sends the order once, as JSON, with the credentials; its answer becomes the order that is kept."""
    play(server, "POST", ORDERS, status=201, payload=KEPT)
    order = await cdp.orders.create(NEW)
    assert (order.ref, order.reference_id, order.price) == (REF, "B94TXY-1", Decimal("9.5"))
    ((method, url, sent),) = asked(server)
    assert (method, url) == ("POST", ORDERS)
    assert json.loads(sent["data"].decode()) == SENT
    assert sent["data"].content_type == "application/json"
    assert sent["headers"]["Authorization"] == f"Basic {base64.b64encode(b'key:token').decode()}"


async def test_list_asks_page_after_page(server: aioresponses, cdp: CdpOrders) -> None:
    """A list asks for the next page where the last one was full."""
    for offset, count in ((0, 100), (100, 1)):
        url = f"{ORDERS}?expand=true&limit=100&offset={offset}&referenceId=B94TXY-1"
        after = {"next": {"href": url}} if offset == 0 else {}
        page = {"href": url, "offset": offset, "limit": 100, "items": [KEPT] * count, **after}
        play(server, "GET", url, payload=page)
    assert len([order async for order in cdp.orders.list(reference_id="B94TXY-1")]) == 101
    assert [method for method, _, _ in asked(server)] == ["GET", "GET"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, Refused),
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (429, RateLimited),
        (500, ServerError),
        (503, ServerError),
    ],
)
async def test_status_is_its_error(
    server: aioresponses, cdp: CdpOrders, status: int, kind: type[CdpError], method: str
) -> None:
    """Each status is its error, after one request; a create may be done unless it is refused. No link is followed."""
    play(server, method, status=status, headers={"Location": ORDERS}, repeat=True)
    error = await failure(cdp, method)
    assert type(error) is (OutcomeUnknown if status >= 500 and method == "POST" else kind)
    is_known = status in {401, 403, 429} or (method == "GET" and status < 500)  # else the answer is not the API's
    assert error.delivery is (Delivery.REFUSED if is_known else Delivery.UNKNOWN)
    assert len(asked(server)) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_own_session_raises_no_error_of_its_own(server: aioresponses, method: str) -> None:
    """A session that raises for each status does not for calls of the client."""
    play(server, method, status=404)
    async with aiohttp.ClientSession(raise_for_status=True) as http, client(ONCE, http) as cdp:
        assert type(await failure(cdp, method)) is NotFound


@pytest.mark.parametrize(("method", "status"), [("GET", 500), ("GET", 429), ("POST", 429)])
async def test_call_is_sent_again(server: aioresponses, method: str, status: int) -> None:
    """What may be sent again is, under the id that the call has."""
    play(server, method, status=status, headers={"Retry-After": "0"})
    play(server, method, payload=KEPT)
    async with client(Settings(retries=1, trust_env=False)) as cdp:
        order = await (cdp.orders.create(NEW) if method == "POST" else cdp.orders.get(REF))
    assert order.ref == REF
    first, second = (sent["headers"]["X-Request-Id"] for _, _, sent in asked(server))
    assert first == second


async def test_unreadable_answer_is_done(server: aioresponses, cdp: CdpOrders) -> None:
    """An answer of 200 that is no order says that the create was done."""
    play(server, "POST", ORDERS, body=b"<html>")
    error = await failure(cdp, "POST")
    assert isinstance(error, Unreadable)
    assert error.delivery is Delivery.DONE_UNREADABLE


async def test_too_large_answer_is_unreadable(server: aioresponses) -> None:
    """`max_answer` bounds what is read."""
    play(server, "GET", payload=KEPT | {"name": "a" * 1000})
    async with client(Settings(retries=0, trust_env=False, max_answer=1000)) as cdp:
        error = await failure(cdp, "GET")
    assert isinstance(error, Unreadable)
    assert error.problems == ("it is larger than 1,000 bytes",)


async def test_load_goes_over_it(server: aioresponses, cdp: CdpOrders) -> None:
    """A load makes its orders by the same requests."""
    play(server, "POST", ORDERS, payload=KEPT)
    async with ingest(cdp, [OrderGraph(order=NEW)]) as load:
        assert [outcome.verdict async for outcome in load] == [Verdict.LOADED]


async def test_full_pool_is_not_sent(server: aioresponses) -> None:
    """What the client itself counts holds as well: no more calls are under way than `connections`."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def answer(*_: object, **__: object) -> None:
        begun.set()
        await end.wait()

    play(server, "GET", callback=answer, payload=KEPT)
    async with client(Settings(connections=1, pool_timeout=0.05, retries=0, trust_env=False)) as cdp:
        first = asyncio.create_task(cdp.orders.get(REF))
        await begun.wait()
        assert type(await failure(cdp, "GET")) is PoolTimeout
        end.set()
        assert (await first).ref == REF
    assert len(asked(server)) == 1


@pytest.mark.parametrize(
    "played",
    [{"exception": aiohttp.ServerDisconnectedError()}, {"exception": ConnectionResetError()}, {"timeout": True}],
    ids=["disconnected", "reset", "timeout"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_lost_answer_cannot_be_played(
    server: aioresponses, cdp: CdpOrders, method: str, played: dict[str, Any]
) -> None:
    """Its errors come before anything is sent, so they are never `OutcomeUnknown`; a script of the emulator's is."""
    play(server, method, **played)
    assert type(await failure(cdp, method)) is NotSent


async def test_late_answer_cannot_be_played(server: aioresponses) -> None:
    """An answer that takes too long was never asked for either."""

    async def late(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    play(server, "POST", ORDERS, callback=late)
    async with client(Settings(retries=0, trust_env=False, timeout=0.05)) as cdp:
        assert type(await failure(cdp, "POST")) is NotSent


async def test_large_head_is_not_told_truly(server: aioresponses, cdp: CdpOrders) -> None:
    """A head that is too large is refused, as if its request had not left."""
    play(server, "POST", ORDERS, payload=KEPT, headers={"X-Large": "a" * 65_536})
    error = await failure(cdp, "POST")
    assert type(error) is NotSent
    assert "the head of the answer is larger than 65,536 bytes" in str(error)


async def test_packed_and_cut_answers_cannot_be_played(server: aioresponses, cdp: CdpOrders) -> None:
    """Nothing is unpacked, and a body that is shorter than its head says is whole."""
    packed = gzip.compress(json.dumps(KEPT).encode())
    play(server, "GET", body=packed, headers={"Content-Encoding": "gzip"})
    play(server, "GET", body=b"{", headers={"Content-Length": "2"})
    for _ in range(2):
        error = await failure(cdp, "GET")
        assert isinstance(error, Unreadable)
        assert not error.cut


async def test_own_session_shows_no_credentials(server: aioresponses) -> None:
    """The credentials that a session of somebody else is given on the way are not seen."""
    play(server, "POST", ORDERS, payload=KEPT)
    async with aiohttp.ClientSession() as http, client(ONCE, http) as cdp:
        await cdp.orders.create(NEW)
    ((_, _, sent),) = asked(server)
    assert "Authorization" not in sent["headers"]


async def test_httptools_does_not_pass_through_it(server: aioresponses) -> None:
    """The other way to send has no aiohttp that could be replaced: it goes to the network."""
    play(server, "GET", payload=KEPT)
    settings = Settings(retries=0, trust_env=False, http="httptools")
    async with CdpOrders(base_url=closed_port(), client_key="key", api_token="token", settings=settings) as cdp:  # noqa: S106 it guards nothing
        error = await failure(cdp, "GET")
    assert type(error) is NotSent
    assert "ConnectionRefusedError" in str(error)
    assert asked(server) == []
