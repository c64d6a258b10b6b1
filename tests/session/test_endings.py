"""However calls end: no more sockets than connections, and after the close no socket, timer, task or waiting call."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TypeAlias

import pytest
import trustme

from cdp_orders_async.errors import CdpError, Delivery
from cdp_orders_async.session import Session
from tests.session.batches import Batch
from tests.session.calling import ask
from tests.session.endings import (
    FATES,
    NOTHING,
    PATIENCE,
    TLS,
    Connected,
    Fate,
    Loop,
    Tls,
    Trust,
    connected,
    left,
    meeting,
    opened,
    turns,
)
from tests.virtual import run_in

pytestmark = pytest.mark.usefixtures("way")

Call: TypeAlias = "asyncio.Task[CdpError | bytes]"
TURNS = 40
"""More turns of the loop than a call takes."""
COMMON = {"answered", "cancelled", "NotSent", "OutcomeUnknown", "DeadlineExceeded"}
"""Ends of which there are many."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module", params=TLS)
def trust(request: pytest.FixtureRequest, authority: trustme.CA) -> Trust:
    """Make both sides of one version of TLS after the other, and of none."""
    tls: Tls = request.param
    return Trust.of(authority, tls)


def test_calls_that_end_in_every_way(trust: Trust) -> None:
    """Calls of which some are cancelled, some refused, some lost, and some closed under, leave nothing."""
    ends, fates = Counter[str](), Counter[Fate]()
    for seed in range(12):
        batch = Batch(seed, trust)
        run_in(Loop, batch.run)
        assert (seed, batch.wrong) == (seed, [])
        ends += batch.ends
        fates += batch.fates
    assert len(fates) > len(FATES) / 2
    assert {end.partition(",")[0] for end in ends} >= COMMON
    assert any(end.endswith(", closed") for end in ends)


async def outcome(session: Session, method: str = "POST") -> CdpError | bytes:
    """Call; return the answer or the error."""
    try:
        return await session.send(ask(method))
    except CdpError as error:
        return error


def one_call(
    trust: Trust, fate: Fate, then: Callable[[Loop, Session, Call, Connected], Coroutine[None, None, None]]
) -> None:
    """Make a call that meets *fate*, do *then* with it, and see that nothing is left."""

    async def main(loop: Loop) -> None:
        loop.slowness = 0
        with connected() as counted:
            async with meeting(lambda: fate, trust.server) as server:
                session = opened(loop, server, trust, retries=0)
                call = asyncio.create_task(outcome(session))
                await then(loop, session, call, counted)
                began = loop.time()
                await session.aclose()
                assert loop.time() == began
                assert counted.now == 0
                await turns(PATIENCE)
                assert left(loop, counted) == NOTHING

    run_in(Loop, main)


@pytest.mark.parametrize("fate", ["answer", "deaf", "half a body", "no handshake"])
def test_cancelled_in_each_turn(fate: Fate, trust: Trust) -> None:
    """Wherever a call is cancelled, its socket is gone in the next turns, though the server says no goodbye."""
    ends = Counter[str]()

    for number in range(TURNS):

        async def cancels(_: Loop, __: Session, call: Call, counted: Connected) -> None:
            await turns(number)  # noqa: B023 it runs here
            call.cancel()
            await asyncio.wait([call])
            ends["cancelled" if call.cancelled() else "answered"] += 1
            await turns(2)
            assert counted.now <= (fate == "answer")  # which leaves a connection that is kept

        one_call(trust, fate, cancels)
        if ends["answered"]:
            break
    assert ends["cancelled"] > 5
    assert ends["answered"] == (fate == "answer")


@pytest.mark.parametrize("fate", ["answer", "deaf", "half a body", "no handshake"])
def test_closed_in_each_turn(fate: Fate, trust: Trust) -> None:
    """Wherever a call is when its client is closed, it ends with a verdict, and its socket is gone."""
    ends = Counter[str]()
    for number in range(TURNS):

        async def closes(_: Loop, session: Session, call: Call, counted: Connected) -> None:
            await turns(number + 1)  # noqa: B023 the same
            await session.aclose()
            assert counted.now == 0
            await turns(PATIENCE)
            ends[getattr(call.result(), "delivery", "answered")] += 1

        one_call(trust, fate, closes)
        if ends["answered"]:
            break
    assert ends[Delivery.NOT_SENT] > 3
    assert ends["answered"] == (fate == "answer")


def test_answer_after_a_stall_in_each_turn(trust: Trust) -> None:
    """Wherever a call is when the loop stands still beyond all its times, what arrived meanwhile is read."""
    whole: list[bool] = []
    for fate, number in itertools.product(("answer", "in pieces"), range(TURNS)):

        async def stalls(loop: Loop, _: Session, call: Call, __: Connected) -> None:
            await turns(number)  # noqa: B023 the same
            whole.append(call.done())
            loop.selector.now += 50
            assert await call == b"{}"

        one_call(trust, fate, stalls)  # type: ignore[arg-type]
    assert any(whole)
    assert whole.count(False) > 15
