"""How far a request got: the verdicts, and that one attempt is one send."""

from __future__ import annotations

import asyncio
import traceback

import aiohttp
import pytest

from cdp_orders_async.errors import (
    BadRequest,
    CdpError,
    DeadlineExceeded,
    Delivery,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    Refused,
    ServerError,
    Unreadable,
)
from cdp_orders_async.settings import Settings
from tests.servers import EFFECTIVE, PHASES, Cut, Phase, Reply, serving
from tests.session.calling import METHODS, ONCE, Gate, ask, bulk_of, calling, closed_port, deaf_port, failure, resolving
from tests.session.endings import Loop
from tests.virtual import run_in
from tests.ways import Way

pytestmark = pytest.mark.usefixtures("way")
HURRIED = Settings(retries=0, trust_env=False, read_timeout=0.1)


@pytest.mark.parametrize("action", ["close", "reset"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("method", METHODS)
async def test_one_attempt_is_one_send(method: str, phase: Phase, action: str) -> None:
    """A dropped connection is never answered by a hidden second send, and the verdict fits the server's ledger."""
    cut = Cut(phase, "reset" if action == "reset" else "close")
    async with serving(cut) as server, calling(server.url) as session:
        error = await failure(session, ask(method))
    assert server.connections == 1
    assert len(server.requests) == (phase != "accepted")
    assert len(server.ledger) == (phase in EFFECTIVE)
    assert_honest(error, phase)
    assert error.attempts == 1


@pytest.mark.parametrize("phase", PHASES)
def test_silence_is_judged_as_a_cut(phase: Phase) -> None:
    """A server that falls silent leaves the same verdicts as one that drops the connection."""

    async def main(loop: Loop) -> list[asyncio.Task[CdpError]]:
        async with (
            serving(Cut(phase, "stall")) as server,
            calling(server.url, HURRIED, clock=loop.time) as session,
        ):
            async with asyncio.TaskGroup() as group:
                errors = [group.create_task(failure(session, ask(method))) for method in METHODS]
            assert server.connections == len(METHODS)
        return errors

    for error in run_in(Loop, main):
        assert_honest(error.result(), phase)


def assert_honest(error: CdpError, phase: Phase) -> None:
    """Assert that the verdict tells the truth about a request whose connection ended in *phase*."""
    if phase == "in the body":
        assert isinstance(error, Unreadable)
        assert (error.delivery, error.cut, error.status) == (Delivery.DONE_UNREADABLE, True, 200)
    elif phase != "accepted":
        assert isinstance(error, OutcomeUnknown)
        assert error.delivery is Delivery.UNKNOWN
    else:  # whether bytes left before the end is chance; both are true
        assert isinstance(error, (OutcomeUnknown, NotSent))


@pytest.mark.parametrize("method", METHODS)
async def test_dead_connection_of_the_pool_hides_no_second_send(method: str) -> None:
    """A connection that was kept and dies under the next request fails it: once sent, outcome unknown."""
    async with serving(Reply(), Cut("head read")) as server, calling(server.url) as session:
        await session.send(ask())
        error = await failure(session, ask(method))
    assert [asked.connection for asked in server.requests] == [1, 1]
    assert error.delivery is Delivery.UNKNOWN


@pytest.mark.parametrize("method", METHODS)
async def test_refused_connection_is_not_sent(method: str, way: Way) -> None:
    """Where nobody listens nothing was sent."""
    async with calling(closed_port()) as session:
        error = await failure(session, ask(method))
    assert isinstance(error, NotSent)
    name = "ClientConnectorError" if way == "aiohttp" else "ConnectionRefusedError"
    assert str(error).startswith(f"{method} /v2.1/orders was not sent ({name}: ")


@pytest.mark.parametrize("method", METHODS)
async def test_unknown_host_is_not_sent(method: str) -> None:
    """A host without an address was sent nothing."""
    async with resolving("nowhere") as http, calling("http://api.test", http=http) as session:
        error = await failure(session, ask(method))
    assert isinstance(error, NotSent)
    assert "ClientConnectorDNSError: no such host" in str(error)


@pytest.mark.parametrize("method", METHODS)
async def test_connection_that_takes_too_long_is_not_sent(method: str) -> None:
    """The connect timeout is no timeout of the answer."""
    settings = Settings(retries=0, trust_env=False, connect_timeout=0.05)
    with deaf_port() as url:
        async with calling(url, settings) as session:
            error = await failure(session, ask(method))
    assert isinstance(error, NotSent)
    assert "TimeoutError: timed out" in str(error)


async def test_time_over_while_connecting_is_not_sent() -> None:
    """Where the whole attempt runs out of time before its body began to leave, nothing was sent."""
    with deaf_port() as url:
        async with calling(url, Settings(retries=0, trust_env=False, timeout=0.05)) as session:
            error = await failure(session, ask("POST"))
    assert type(error) is NotSent


async def test_deadline_while_connecting_is_not_sent() -> None:
    """A deadline that passes before the body began to leave says so."""
    with deaf_port() as url:
        async with calling(url, Settings(trust_env=False, deadline=0.05)) as session:
            error = await failure(session, ask("POST"))
    assert isinstance(error, DeadlineExceeded)
    assert error.delivery is Delivery.NOT_SENT


def test_deadline_while_waiting_for_the_answer_is_unknown() -> None:
    """A deadline that passes after the request left leaves its outcome unknown."""
    settings = Settings(trust_env=False, deadline=3)

    async def main(loop: Loop) -> None:
        async with (
            serving(Cut("done", "stall")) as server,
            calling(server.url, settings, clock=loop.time) as session,
        ):
            error = await failure(session, ask("POST"))
        assert isinstance(error, DeadlineExceeded)
        assert isinstance(error, TimeoutError)
        assert (error.delivery, error.attempts, len(server.ledger)) == (Delivery.UNKNOWN, 1, 1)

    run_in(Loop, main)


async def test_connect_timeout_is_not_the_deadline() -> None:
    """A connection that takes too long is tried again while the deadline allows it."""
    settings = Settings(trust_env=False, retries=1, connect_timeout=0.05, deadline=10)
    with deaf_port() as url:
        async with calling(url, settings) as session:
            error = await failure(session, ask("POST"))
    assert type(error) is NotSent
    assert error.attempts == 2


async def test_full_pool_is_not_sent() -> None:
    """A call that gets no connection in time was not sent, and says what it waited for."""
    settings = Settings(trust_env=False, connections=1, pool_timeout=0.05)
    async with serving(Cut("done", "stall")) as server, calling(server.url, settings) as session:
        busy = asyncio.create_task(session.send(ask()))
        await server.arrived.wait()
        error = await failure(session, ask("POST"))
        busy.cancel()
        assert isinstance(error, PoolTimeout)
        assert str(error) == "no connection became free within 0.05 s"
        assert (error.delivery, error.attempts, len(server.requests)) == (Delivery.NOT_SENT, 1, 1)


async def test_deadline_in_the_pool_is_not_sent() -> None:
    """A deadline that passes while waiting for a connection is not a pool timeout."""
    settings = Settings(trust_env=False, connections=1, pool_timeout=60, deadline=0.05)
    gate = Gate()
    async with calling(closed_port(), settings, limiter=gate) as session:
        busy = asyncio.create_task(bulk_of(session).send(ask()))
        await gate.reached.wait()
        error = await failure(session, ask("POST"))
        busy.cancel()
    assert isinstance(error, DeadlineExceeded)
    assert error.delivery is Delivery.NOT_SENT


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("status", "kind"), [(400, BadRequest), (500, ServerError), (302, Refused)])
async def test_status_counts_though_the_body_is_cut(method: str, status: int, kind: type[Refused]) -> None:
    """A refusal whose body broke off is still that refusal."""
    cut = Cut("in the body", reply=Reply(status, b'{"message": "some"}'))
    async with serving(cut) as server, calling(server.url) as session:
        error = await failure(session, ask(method))
    if method == "POST" and status == 500:
        assert isinstance(error, OutcomeUnknown)
        error = error.__cause__ if isinstance(error.__cause__, CdpError) else error
    assert isinstance(error, kind)
    assert error.status == status


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"garbage\r\n\r\n", "HttpParserError"),
        (b"HTTP/1.1 twohundred OK\r\n\r\n", "HttpParserInvalidStatusError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "HttpParserError"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HttpParserError"),
    ],
    ids=["no HTTP", "status", "length", "colon"],
)
@pytest.mark.parametrize("method", METHODS)
async def test_garbage_is_unknown(method: str, raw: bytes, problem: str, way: Way) -> None:
    """An answer that is no HTTP says nothing about what was done, and is not repeated in the error."""
    problem = "ClientResponseError" if way == "aiohttp" else problem
    async with serving(Reply(raw=raw)) as server, calling(server.url) as session:
        error = await failure(session, ask(method))
    assert isinstance(error, OutcomeUnknown)
    assert str(error) == f"{method} /v2.1/orders was sent, but its answer was lost ({problem})"
    assert len(server.ledger) == 1


async def test_large_body_cut_on_the_way_is_unknown() -> None:
    """A body that had begun to leave when the connection broke may have arrived."""
    async with serving(Cut("head read", "reset")) as server, calling(server.url) as session:
        error = await failure(session, ask("POST", body=b"x" * 1_000_000))
    assert error.delivery is Delivery.UNKNOWN


async def test_raise_for_status_of_your_session_does_not_interfere() -> None:
    """A refusal stays one where the aiohttp session passed in would raise by itself."""
    async with (
        serving(Reply(404, b"")) as server,
        aiohttp.ClientSession(raise_for_status=True) as http,
        calling(server.url, http=http) as session,
    ):
        assert (await failure(session, ask("PUT"))).delivery is Delivery.REFUSED


async def test_errors_name_neither_host_nor_query() -> None:
    """What a traceback shows of a failure is method, path and cause, not the query."""
    async with serving(Reply(raw=b"no HTTP\r\n\r\n")) as server, calling(server.url, ONCE) as session:
        gone = await failure(session, ask(query={"guestRef": "canary-guest"}))
    async with calling(server.url, ONCE) as session:
        refused = await failure(session, ask(query={"guestRef": "canary-guest"}))
    with deaf_port() as url:
        async with calling(url, Settings(retries=0, connect_timeout=0.05)) as session:
            slow = await failure(session, ask(query={"guestRef": "canary-guest"}))
    for error in (gone, refused, slow):
        assert "canary" not in "".join(traceback.format_exception(error))
