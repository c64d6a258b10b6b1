"""The page of the latest requests: what it shows of each, and how new ones come in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import aiohttp
import pytest

from cdp_orders_async.emulator import Emulator, Switches, running
from cdp_orders_async.emulator.traffic import KEPT, Traffic
from tests.emulator.talking import ABSENT, ORDER, Json, Talk, talking, until

LIST = "/v2.1/orders?referenceId=a"


async def events(
    session: aiohttp.ClientSession, url: str, last: str | None = None
) -> AsyncGenerator[tuple[str, str], None]:
    """Yield the id and the data of each event, as a browser reads them."""
    headers = {} if last is None else {"Last-Event-ID": last}
    async with session.get(url, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        found, lines = "", list[str]()
        async for line in response.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                found = value
            elif name == "data":
                lines.append(value)
            elif not name and lines:
                yield found, "\n".join(lines)
                lines = []


async def test_requests_come_in() -> None:
    """A request is shown as soon as it is answered, with its status; a reader that comes back misses none."""
    async with talking() as talk:
        await talk("GET", "/v2.1/orders", referenceId="before")
        url = f"{talk.base_url}/__pages/requests/events?after=1"
        async with aclosing(events(talk.session, url)) as stream:
            waiting = asyncio.ensure_future(anext(stream))
            await talk("GET", f"/v2.1/orders/{ABSENT}")
            number, rows = await asyncio.wait_for(waiting, 60)
            assert (number, rows.count("<tr ")) == ("2", 1)
            assert f"GET /v2.1/orders/{ABSENT}" in rows
            assert '<td class="brief">404</td>' in rows
            await talk("POST", "/v2.1/orders", {**ORDER, "referenceId": "<canary>"}, mark="<canary>")
            number, rows = await asyncio.wait_for(anext(stream), 60)
            assert (number, "orders.create" in rows, "<canary>" in rows) == ("3", True, False)
        async with aclosing(events(talk.session, url, "1")) as stream:
            number, rows = await asyncio.wait_for(anext(stream), 60)
            assert (number, rows.count("<tr ")) == ("3", 2)
        async with aclosing(events(talk.session, f"{url[:-1]}0&kind=failed")) as stream:
            assert (await asyncio.wait_for(anext(stream), 60))[1].count("<tr ") == 1


async def test_the_end_of_the_server_ends_the_stream() -> None:
    """A reader does not keep the server from its end, and its page is not among the requests."""
    emulator = Emulator()
    async with aiohttp.ClientSession() as session:
        async with running(emulator) as url:
            response = await session.get(f"{url}/__pages/requests/events?after=0")
        assert await asyncio.wait_for(response.read(), 60) == b""
    assert emulator.traffic.count == 0


async def test_a_reset_goes_on_counting() -> None:
    """After a reset the list is empty, and the next number is a new one, so that a reader that stays sees it."""
    async with talking() as talk:
        await talk("GET", LIST)
        talk.emulator.reset()
        assert talk.emulator.traffic.after(0) == []
        await talk("GET", LIST)
        assert [handled.number for handled in talk.emulator.traffic.after(0)] == [2]


def last(talk: Talk) -> tuple[str, int | None, str]:
    """Return the operation, the status and the note of the newest request."""
    newest = talk.emulator.traffic.after(0)[0]
    return newest.operation, newest.status, newest.note


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"action": "status", "status": 418}, (418, "fault: status, accepted")),
        ({"action": "close", "phase": "before"}, (None, "fault: close, before")),
        ({"action": "reset", "phase": "written"}, (None, "fault: reset, written")),
        ({"action": "close", "phase": "head"}, (None, "fault: close, head")),
        ({"action": "html", "status": 502}, (502, "fault: html, accepted")),
        ({"action": "drip", "phase": "body", "seconds": 0.1}, (201, "fault: drip, body")),
    ],
)
async def test_a_fault_is_noted(fault: Json, seen: tuple[int | None, str]) -> None:
    """A request with a fault has its fault as the reason, and no status if no answer was sent."""
    plan: Json = {"faults": [{"operation": "orders.create", "script": [fault]}]}
    async with talking(faults=plan) as talk:
        with suppress(aiohttp.ClientError):  # a client repeats a GET, but no POST
            await talk("POST", "/v2.1/orders", ORDER)
        await until(lambda: talk.emulator.traffic.count == 1)
        assert last(talk) == ("orders.create", *seen)
        await talk("POST", "/v2.1/orders", ORDER)
        assert last(talk) == ("orders.create", 201, "")


async def test_a_limit_and_wrong_credentials_are_noted() -> None:
    """A request above a limit has the limit as the reason; one without credentials has its status."""
    async with talking(Switches(rate=0.001)) as talk:
        await talk("GET", LIST)
        await talk("GET", LIST)
        assert last(talk) == ("orders.list", 429, "limit")
        async with aiohttp.ClientSession() as session, session.get(talk.base_url + LIST) as response:
            assert response.headers["WWW-Authenticate"] == 'Basic realm="Order REST API", charset="UTF-8"'
        assert last(talk) == ("orders.list", 401, "")
        await talk("GET", "/elsewhere")
        assert last(talk) == ("", 404, "")


async def test_a_client_that_left_is_noted() -> None:
    """A request whose client left before the answer has no status."""
    async with talking(Switches(latency=3600)) as talk:
        leaving = asyncio.ensure_future(talk("GET", LIST))
        await until(lambda: talk.emulator.requests.total() == 1)
        leaving.cancel()
        await asyncio.wait([leaving])
        await until(lambda: talk.emulator.traffic.count == 1)
        assert last(talk) == ("orders.list", None, "no answer")


def test_traffic_is_bounded() -> None:
    """Only the latest requests are kept, each with the beginning of its path."""
    traffic, now = Traffic(), Emulator().store.clock()
    for _ in range(KEPT + 5):
        traffic.add(now, "GET", "/" + "a" * 5_000, "")
    kept = traffic.after(0)
    assert (len(kept), kept[0].number, len(kept[0].path)) == (KEPT, KEPT + 5, 301)
    assert len(traffic.after(KEPT)) == 5


async def test_without_javascript_the_page_refreshes() -> None:
    """The page refreshes where no script runs, until the reader stops it; the filter stays."""
    async with talking() as talk:
        path = "/__pages/requests?operation=orders.list"
        page = (await talk("GET", path)).text
        assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page
        assert 'href="/__pages/requests?operation=orders.list&amp;refresh=no"' in page
        still = (await talk("GET", f"{path}&refresh=no")).text
        assert "http-equiv" not in still
        assert 'href="/__pages/requests?operation=orders.list"' in still
