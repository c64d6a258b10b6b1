"""Opening, closing, loops, cancellation, and what a session shows of itself."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
import random
import re
import threading
import traceback

import aiohttp
import pytest

from cdp_orders_async.errors import CdpError, NotSent
from cdp_orders_async.session import Session
from cdp_orders_async.settings import Credentials, Settings
from tests.servers import PHASES, Cut, Reply, serving
from tests.session.calling import (
    METHODS,
    ONCE,
    TOKEN,
    Gate,
    ask,
    bulk_of,
    calling,
    closed_port,
    deaf_port,
    failure,
    until,
)
from tests.ways import over

pytestmark = pytest.mark.usefixtures("way")


def made(url: str, http: aiohttp.ClientSession | None = None) -> Session:
    """Make a session."""
    return Session(url, Credentials("key", TOKEN), ONCE if http else over(ONCE), http=http)


async def test_close_twice() -> None:
    """Closing is done once, and doing it again is no error, used or not."""
    async with serving() as server:
        session = made(server.url)
        await session.send(ask())
        for _ in range(2):
            await session.aclose()
    unused = made(closed_port())
    for _ in range(2):
        await unused.aclose()


async def test_use_after_close() -> None:
    """A closed session says so, opened before or not."""
    async with serving() as server:
        session = made(server.url)
        await session.send(ask())
        for closed in (session, made(server.url)):
            await closed.aclose()
            with pytest.raises(RuntimeError, match=r"^the client is closed$"):
                await closed.send(ask())
    assert len(server.requests) == 1


async def test_close_while_opening() -> None:
    """Closing while the certificates are read leaves nothing open, and its call was not sent."""
    session = Session("https://api.test", Credentials("key", TOKEN), over(Settings(trust_env=False)))
    call = asyncio.create_task(session.send(ask()))
    await asyncio.sleep(0)
    await session.aclose()
    with pytest.raises(NotSent, match=r"^GET /v2.1/orders was not sent \(the client is closed\)$"):
        await call


async def test_close_ends_what_is_in_flight() -> None:
    """A call whose connection is closed under it fails with a verdict."""
    async with serving(Cut("done", "stall")) as server:
        session = made(server.url)
        call = asyncio.create_task(failure(session, ask("POST")))
        await server.arrived.wait()
        await session.aclose()
        assert (await call).delivery == "unknown"


async def test_your_own_session_is_never_closed() -> None:
    """An aiohttp session that was passed in is used, and stays open."""
    async with serving() as server, aiohttp.ClientSession(headers={"X-Mine": "yes"}) as http:
        for _ in range(2):
            session = made(server.url, http)
            await session.send(ask())
            await session.aclose()
        assert not http.closed
    assert [asked.headers["x-mine"] for asked in server.requests] == ["yes", "yes"]
    assert server.connections == 1


async def test_connections_are_kept() -> None:
    """Calls one after the other use one connection."""
    async with serving() as server, calling(server.url) as session:
        for method in METHODS * 3:
            await session.send(ask(method))
        assert server.connections == 1


async def test_connections_are_bounded() -> None:
    """No more connections are opened than the settings say, and whoever came first goes first."""
    gate = Gate()
    settings = Settings(trust_env=False, connections=1)
    async with (
        serving() as server,
        calling(server.url, settings, limiter=gate) as session,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(session.send(ask("GET")))
        await gate.reached.wait()
        group.create_task(session.send(ask("PUT")))
        group.create_task(session.send(ask("PATCH")))
        group.create_task(session.send(ask("POST")))
        await asyncio.sleep(0)
        gate.opened.set()
    assert [asked.method for asked in server.requests] == ["GET", "PUT", "PATCH", "POST"]
    assert server.connections == 1


def test_second_event_loop() -> None:
    """A session belongs to the loop of its first use, and says so in any other."""

    async def use_it(session: Session) -> None:
        await session.send(ask())

    async def main() -> None:
        async with serving() as server, calling(server.url) as session:
            await use_it(session)
            failures: list[BaseException] = []

            def elsewhere() -> None:
                try:
                    asyncio.run(use_it(session))
                except RuntimeError as error:
                    failures.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert [str(error) for error in failures] == [
                "the client belongs to another event loop; make one client for each loop"
            ]
            await use_it(session)

    asyncio.run(main())


def test_made_outside_a_loop() -> None:
    """A session can be made where no event loop is, and used in one afterwards."""
    sessions: list[Session] = []

    async def main() -> None:
        async with serving() as server:
            sessions.append(await asyncio.to_thread(made, server.url))
            await sessions[0].send(ask())
            await sessions[0].aclose()

    asyncio.run(main())


def test_many_short_loops() -> None:
    """A hundred short runs leave nothing behind that would warn."""

    async def main() -> None:
        async with serving() as server, calling(server.url) as session:
            await session.send(ask("POST"))

    for _ in range(100):
        asyncio.run(main())
    gc.collect()


async def test_first_calls_open_one_session() -> None:
    """Calls that come at once open the session once."""
    async with serving() as server, calling(server.url, Settings(trust_env=False, connections=1)) as session:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(session.send(ask()))
        assert server.connections == 1


@pytest.mark.parametrize("phase", PHASES)
async def test_cancelled_calls_leave_nothing_behind(phase: str) -> None:
    """Calls that are cancelled while the server is silent give back slot and turn, and close their connection."""
    step = next(Cut(known, "stall") for known in PHASES if known == phase)
    settings = Settings(trust_env=False, connections=3)
    async with serving(*[step] * 3, Reply()) as server, calling(server.url, settings) as session:
        calls = [asyncio.create_task(session.send(ask("POST"))) for _ in range(10)]
        await until(lambda: server.connections == 3 and server.arrived.is_set())
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls)
        assert_idle(session)
        assert await session.send(ask()) == b"{}"


async def test_hundreds_of_cancelled_calls() -> None:
    """Whenever calls are cancelled, in the pool, in the limiter, while connecting, in flight: all slots are free."""
    dice = random.Random(7)  # noqa: S311 no secret
    settings = Settings(trust_env=False, connections=5, rate=2000, burst=5)
    steps = (Reply(), Reply(503), Cut("done", "stall"), Cut("in the body", "stall"), Cut("head read"))
    async with serving(*dice.choices(steps, k=2000)) as server, calling(server.url, settings) as session:
        for _ in range(10):
            calls = [asyncio.create_task(attempt(session, dice.choice(METHODS))) for _ in range(50)]
            while running := [call for call in calls if not call.done()]:
                dice.choice(running).cancel()
                for _ in range(dice.randrange(20)):
                    await asyncio.sleep(0)
        assert_idle(session)
    assert 0 < len(server.requests) < 500


async def attempt(session: Session, method: str) -> None:
    """Call, whatever comes of it."""
    try:
        await session.send(ask(method))
    except CdpError:
        return


async def test_cancelled_call_frees_its_connection() -> None:
    """A call that is cancelled within an answer ends its connection at once, though the exception is kept."""
    chunk = Reply(body=b"2\r\n{}\r\n0", headers={"Content-Length": "", "Transfer-Encoding": "chunked"})
    settings = Settings(retries=0, trust_env=False, connections=1)
    head_came = asyncio.Event()

    async def ends(_session: object, _context: object, _params: object) -> None:
        head_came.set()

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(ends)
    async with (
        serving(Cut("in the body", "stall", chunk), Reply()) as server,
        calling(server.url, settings, trace_configs=[trace]) as session,
    ):
        call = asyncio.create_task(session.send(ask()))
        await head_came.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as kept:
            await call
        assert await session.send(ask()) == b"{}"
        assert kept.value.__traceback__ is not None


async def test_cancelled_while_connecting() -> None:
    """A call that is cancelled while it connects gives its slot back."""
    with deaf_port() as url:
        async with calling(url, Settings(trust_env=False, connections=1)) as session:
            call = asyncio.create_task(session.send(ask()))
            await until(lambda: session.stats.in_flight)
            call.cancel()
            await asyncio.wait([call])
            assert_idle(session)


async def test_cancelled_between_retries() -> None:
    """A call that is cancelled while it waits to be sent again holds nothing."""
    async with serving(Reply(503)) as server, calling(server.url, Settings(), uniform=lambda _, high: high) as session:
        call = asyncio.create_task(session.send(ask()))
        await until(lambda: server.ledger and not session.stats.in_flight)
        assert_idle(session)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()


def assert_idle(session: Session) -> None:
    """Assert that nobody holds a slot or waits, as its text tells."""
    assert session.stats.in_flight == 0
    assert "0 in flight, ConnectionSlots(" in repr(session)
    slots = re.search(r"ConnectionSlots\((\d+), free=(\d+), waiting=0\)", repr(session))
    assert slots is not None
    assert slots[1] == slots[2]
    assert session.limiter.waiting == 0


async def test_transport_of_a_load() -> None:
    """What the transport of a load sends goes through its session."""
    async with serving() as server, calling(server.url) as session:
        assert await bulk_of(session).send(ask()) == b"{}"
        assert session.stats.requests == 1


def test_sessions_are_not_pickled() -> None:
    """Neither a session nor a copy of one can travel, and the refusal says what can."""
    session = made("https://api.test")
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"^a session cannot be pickled; pickle its Settings and make a new one$"):
            way(session)


async def test_logs_hold_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """The debug log names operation, verdict and request id of each attempt, and neither token, query nor body."""
    caplog.set_level(logging.DEBUG)
    request = ask("PUT", query={"guestRef": "canary-guest"}, body=b'{"email": "canary-mail"}')
    reply = Reply(503, b'{"message": "canary-answer"}')
    async with (
        serving(reply, Cut("done"), Reply(body=b"canary-body")) as server,
        calling(server.url, Settings(trust_env=False)) as session,
    ):
        await session.send(request)
        shown = repr(session)
    records = [record.__dict__ for record in caplog.records if record.name == "cdp_orders_async"]
    assert [record["message"] for record in records] == [
        "PUT /v2.1/orders, attempt 1: ServerError, unknown",
        "PUT /v2.1/orders, attempt 2: OutcomeUnknown, unknown",
        "PUT /v2.1/orders, attempt 3: done",
    ]
    assert [(record["cdp_operation"], record["cdp_attempt"], record["cdp_delivery"]) for record in records] == [
        ("orders.some", 1, "unknown"),
        ("orders.some", 2, "unknown"),
        ("orders.some", 3, "done"),
    ]
    assert {record["cdp_request_id"] for record in records} == {server.requests[0].headers["x-request-id"]}
    assert "canary" not in shown + "".join(str(record.__dict__) for record in caplog.records)


@pytest.mark.parametrize("step", [Reply(401), Reply(500), Cut("done"), Cut("in the body"), Reply(raw=b"no\r\n\r\n")])
async def test_errors_hold_no_secret(step: Reply | Cut) -> None:
    """No error shows the API token, nor does its pickle hold it, and the pickle says the same."""
    async with serving(step) as server, calling(server.url) as session:
        error = await failure(session, ask("POST", body=b"canary-body"))
    stored = pickle.dumps(error)
    assert "canary" not in repr(error) + "".join(traceback.format_exception(error)) + stored.decode("latin-1")
    again = pickle.loads(stored)  # noqa: S301 made here
    assert (type(again), str(again), again.delivery) == (type(error), str(error), error.delivery)
    assert (again.attempts, again.request_id) == (1, server.requests[0].headers["x-request-id"])


async def test_trace_configs_are_used() -> None:
    """The tracing of aiohttp sees one request for each attempt, and the bodies of the answers."""
    seen: list[str] = []
    bodies: list[bytes] = []

    async def begins(_session: object, _context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.method)

    trace = aiohttp.TraceConfig()

    async def reads(_session: object, _context: object, params: aiohttp.TraceResponseChunkReceivedParams) -> None:
        bodies.append(params.chunk)

    trace.on_request_start.append(begins)
    trace.on_response_chunk_received.append(reads)
    async with (
        serving(Reply(429, b"later"), Reply(body=b"done")) as server,
        calling(server.url, Settings(trust_env=False), trace_configs=[trace]) as session,
    ):
        assert await session.send(ask("POST")) == b"done"
    assert seen == ["POST", "POST"]
    assert bodies == [b"later", b"done"]
