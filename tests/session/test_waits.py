"""Calls that wait when their client is closed, and callers who wait for the same name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cdp_orders_async.errors import CdpError, Delivery, NotSent, OutcomeUnknown
from cdp_orders_async.session import Session
from tests.session.calling import Gate, ask, bulk_of, closed_port, failure, until
from tests.session.endings import NOTHING, PATIENCE, SEVERAL, Fate, Loop, Trust, connected, left, meeting, opened, turns
from tests.virtual import run_in

pytestmark = pytest.mark.usefixtures("way")

CLOSED = "POST /v2.1/orders was not sent (the client is closed)"


async def slots(session: Session) -> None:
    """Let all connections be in use."""
    for _ in range(SEVERAL):
        asyncio.create_task(failure(session, ask()))  # noqa: RUF006 the session ends it
    await turns(PATIENCE)


async def rate(session: Session) -> None:
    """Let the next turn be far away."""
    session.limiter.set_rate(0.001)
    session.limiter.acquire_nowait()


async def pause(session: Session) -> None:
    """Hold every call up, as an answer with Retry-After does."""
    session.limiter.pause_until(1e6)


async def nothing(_: Session) -> None:
    """Let the look-up of the name take its time."""


@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("before", [slots, rate, pause, nothing])
def test_close_while_a_call_waits(before: Callable[[Session], Awaitable[None]], bulk: bool) -> None:  # noqa: FBT001
    """A call that waits for a connection, for its turn, or for an address, ends at once, and was not sent."""

    async def main(loop: Loop) -> None:
        with connected() as counted:
            async with meeting(lambda: "silence") as server:
                session = opened(loop, server, Trust(), deadline=None)
                await before(session)
                call = asyncio.create_task(failure(bulk_of(session) if bulk else session, ask("POST")))
                await turns(30)
                began, sockets = loop.time(), counted.most
                await session.aclose()
                await turns(PATIENCE)
                assert (type(call.result()), str(call.result())) == (NotSent, CLOSED)
                assert call.cancelling() == 0
                assert loop.time() == began
                assert left(loop, counted) == NOTHING
                await asyncio.sleep(1e4)
                assert counted.most == sockets

    run_in(Loop, main)


def test_close_while_a_limiter_of_your_own_is_asked() -> None:
    """The same holds for a limiter that several processes share; what fails there goes to the caller as it is."""

    async def main(loop: Loop) -> None:
        async with meeting(lambda: "answer") as server:
            gate = Gate()
            session = opened(loop, server, Trust(), gate)
            call = asyncio.create_task(failure(session, ask("POST")))
            await gate.reached.wait()
            await session.aclose()
            await turns(PATIENCE)
            assert (type(call.result()), str(call.result())) == (NotSent, CLOSED)
            assert server.peers == []

    run_in(Loop, main)


@pytest.mark.parametrize(
    ("fate", "method", "kind", "delivery"),
    [
        ("503", "GET", OutcomeUnknown, Delivery.UNKNOWN),
        ("reset", "GET", OutcomeUnknown, Delivery.UNKNOWN),
        ("429", "POST", NotSent, Delivery.REFUSED),
        (None, "POST", NotSent, Delivery.NOT_SENT),
    ],
)
def test_close_between_two_attempts(fate: Fate | None, method: str, kind: type[CdpError], delivery: Delivery) -> None:
    """A call that waits to be sent again ends at once, and says what its earlier attempts may have done."""

    async def main(loop: Loop) -> None:
        with connected() as counted:
            async with meeting(lambda: fate or "answer") as server:
                loop.slowness = 0
                server.url = server.url if fate else closed_port()
                session = opened(loop, server, Trust())
                call = asyncio.create_task(failure(session, ask(method)))
                await until(lambda: session.stats.requests and not session.stats.in_flight)
                await turns(PATIENCE)
                began = loop.time()
                await session.aclose()
                await turns(PATIENCE)
                error = call.result()
                assert (type(error), error.delivery, error.attempts) == (kind, delivery, session.stats.requests)
                assert str(error).endswith("was not sent (the client is closed)")
                assert loop.time() == began
                assert left(loop, counted) == NOTHING

    run_in(Loop, main)


async def gathered(session: Session, number: int) -> list[bytes | BaseException]:
    """Make so many calls at once."""
    return await asyncio.gather(*(session.send(ask()) for _ in range(number)), return_exceptions=True)


def test_one_look_up_for_many_calls() -> None:
    """Calls that connect at the same time share one look-up, and so do those that come soon after."""

    async def main(loop: Loop) -> None:
        loop.slowness = 0.9
        async with meeting(lambda: "last answer") as server:
            session = opened(loop, server, Trust(), connect_timeout=1)
            assert await gathered(session, 100) == [b"{}"] * 100
            assert len(server.peers) == 100
            assert loop.looks == 1
            assert await gathered(session, 3) == [b"{}"] * 3
            assert loop.looks == 1
            await session.aclose()

    run_in(Loop, main)


@pytest.mark.parametrize("way", ["httptools"], indirect=True)
def test_addresses_grow_old() -> None:
    """What was looked up is used for ten seconds."""

    async def main(loop: Loop) -> None:
        loop.slowness = 0
        async with meeting(lambda: "last answer") as server:
            session = opened(loop, server, Trust())
            for seconds, looks in ((0, 1), (9.9, 1), (0.1, 2)):
                await asyncio.sleep(seconds)
                assert await gathered(session, 1) == [b"{}"]
                assert loop.looks == looks
            await session.aclose()

    run_in(Loop, main)


def test_failed_look_up_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that fails, fails the calls that wait for it, and the next call looks again."""

    async def nowhere(loop: Loop, *_: object, **__: object) -> list[Any]:
        loop.looks += 1
        await asyncio.sleep(0.1)
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    async def main(loop: Loop) -> None:
        async with meeting(lambda: "answer") as server:
            session = opened(loop, server, Trust(), retries=0)
            with monkeypatch.context() as patch:
                patch.setattr(Loop, "getaddrinfo", nowhere)
                errors = await gathered(session, SEVERAL)
            assert [type(error) for error in errors] == [NotSent] * SEVERAL
            assert loop.looks == 1
            assert await gathered(session, 1) == [b"{}"]
            assert loop.looks == 2
            await session.aclose()

    run_in(Loop, main)


@pytest.mark.parametrize("who", ["first", "all"])
def test_cancelled_while_a_name_is_looked_up(who: str) -> None:
    """A caller who is cancelled does not end the look-up of the others, nor of those who come later."""

    async def main(loop: Loop) -> None:
        async with meeting(lambda: "answer") as server:
            session = opened(loop, server, Trust())
            calls = [asyncio.create_task(session.send(ask())) for _ in range(2)]
            await turns(PATIENCE)
            for call in calls if who == "all" else calls[:1]:
                call.cancel()
            await asyncio.wait(calls)
            assert [call.cancelled() for call in calls] == [True, who == "all"]
            assert await gathered(session, 1) == [b"{}"]
            assert loop.looks == 1
            await session.aclose()

    run_in(Loop, main)


@pytest.mark.parametrize("way", ["httptools"], indirect=True)
def test_addresses_that_do_not_answer_are_forgotten() -> None:
    """Where no connection can be made, the host may have moved: the next call looks it up again."""

    async def main(loop: Loop) -> None:
        async with meeting(lambda: "answer") as server:
            server.url = closed_port()
            session = opened(loop, server, Trust(), retries=0)
            for looks in (1, 2):
                assert isinstance(await failure(session, ask()), NotSent)
                assert loop.looks == looks
            await session.aclose()

    run_in(Loop, main)
