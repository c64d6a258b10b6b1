"""What an observer is told of a single call, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

import pytest

from cdp_orders_async import (
    AttemptEnded,
    AttemptStarted,
    Call,
    CallEnded,
    CallStarted,
    CdpError,
    CdpOrders,
    NotFound,
    Observer,
    RateChanged,
    Request,
    Resources,
    Settings,
)
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.routes import V2, V2_1
from cdp_orders_async.session.calls import OpenCall, Report
from tests.ingest.orders import order
from tests.ingest.serving import served
from tests.servers import Cut, Reply, serving
from tests.session.calling import ONCE, Gate, ask, calling, closed_port, failure, until
from tests.session.endings import Loop
from tests.telemetry.watching import Kept, script, status, watched
from tests.virtual import LoopbackLoop, run_in

TWICE = Settings(retries=1, trust_env=False)
DONE = Reply(body=b'"done"')


@pytest.mark.usefixtures("way")
async def test_a_call_that_succeeds() -> None:
    """It begins, has one attempt and ends: with names, places and numbers, and nothing else."""
    kept, before = Kept(), time.time()
    async with (
        serving(Reply(201, b'"done"')) as server,
        calling(server.url, ONCE, observers=[kept], clock=lambda: 5.0) as session,
    ):
        await session.send(ask("POST", query={"guestRef": "canary"}))
    first = kept.of(CallStarted)[0].call
    assert before <= first.began <= time.time()
    call = Call(
        id=server.requests[0].headers["x-request-id"],
        operation="orders.some",
        method="POST",
        path="/v2.1/orders",
        route="/v2.1/orders",
        host="127.0.0.1",
        port=int(server.url.rpartition(":")[2]),
        began=first.began,
    )
    attempt = AttemptEnded(
        call=call, number=1, request_id=call.id, seconds=0.0, status=201, error=None, delivery="done", again=False
    )
    end = CallEnded(call=call, request_id=call.id, seconds=0.0, status=201, attempts=1, error=None, delivery="done")
    sent = AttemptStarted(call=call, number=1, request_id=call.id, waited=0.0, headers={})
    assert kept.events == [CallStarted(call), sent, attempt, end]


async def test_paths_have_templates() -> None:
    """The template of each operation of both versions is that of its route; a request of your own has its path."""
    kept, ref = Kept(), "0f8fad5b-d9cb-469f-a165-70867728950e"
    routes = [*V2_1.routes(), *V2.routes()]
    async with serving(DONE) as server, calling(server.url, ONCE, observers=[kept]) as session:
        for route in routes:
            path = route.path.format(ref=ref, ext=ref)
            await session.send(Request(route.operation, route.method, path, bytes))
        for path in ("/v2.1/mine/1", "/mine", "/"):
            await session.send(Request("orders.get", "GET", path, bytes) if path == "/" else ask_at(path))
    assert [one.call.route for one in kept.of(CallStarted)] == [
        *[route.path for route in routes],
        *("/v2.1/mine/1", "/mine", "/"),
    ]
    assert not any(ref in one.call.route for one in kept.of(CallStarted))


def ask_at(path: str) -> Request[bytes]:
    """Return a request of one's own."""
    return Request("mine.get", "GET", path, bytes)


def test_a_call_that_is_retried() -> None:
    """A 429 is told with the seconds until the next attempt; the call has one beginning and one end."""
    kept = Kept()

    async def main(loop: LoopbackLoop) -> None:
        faults = script(("orders.create", [status(429, 3)]))
        async with watched(Emulator(faults=faults), loop, kept, retries=2) as cdp:
            assert isinstance(cdp, Resources)
            await cdp.orders.create(order())

    run_in(LoopbackLoop, main)
    assert kept.attempts() == [(1, 429, "RateLimited", "refused", True), (2, 201, None, "done", False)]
    assert [one.wait for one in kept.of(AttemptEnded)] == [3, None]
    assert kept.ends() == [(2, 201, None, "done")]
    [ended] = kept.of(CallEnded)
    assert 3 <= ended.seconds < 4
    assert all(one.seconds < 1 for one in kept.of(AttemptEnded))
    assert {one.request_id for one in kept.of(AttemptEnded)} == {ended.call.id}
    kept.check()


Told: TypeAlias = tuple[int, int | None, str | None, str, bool | None]
FAILURES: Mapping[str, tuple[str, Sequence[Reply | Cut], Sequence[Told]]] = {
    "refused": ("POST", [Reply(400)], [(1, 400, "BadRequest", "refused", False)]),
    "not retried": ("POST", [Reply(503)], [(1, 503, "OutcomeUnknown", "unknown", False)]),
    "given up": (
        "GET",
        [Reply(503)],
        [(1, 503, "ServerError", "unknown", True), (2, 503, "ServerError", "unknown", False)],
    ),
    "lost": ("POST", [Cut("done")], [(1, None, "OutcomeUnknown", "unknown", False)]),
    "unreadable": ("POST", [Cut("in the body")], [(1, 200, "Unreadable", "done_unreadable", False)]),
    "lost, then refused": (
        "PUT",
        [Cut("done"), Reply(409)],
        [(1, None, "OutcomeUnknown", "unknown", True), (2, 409, "Conflict", "refused", False)],
    ),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("case", FAILURES)
async def test_a_call_that_fails(case: str) -> None:
    """Each attempt says whether it is the last; the end is that of the error that the caller gets."""
    method, plan, attempts = FAILURES[case]
    kept = Kept()
    async with serving(*plan) as server, calling(server.url, TWICE, observers=[kept]) as session:
        error = await failure(session, ask(method))
    assert kept.attempts() == attempts
    last = attempts[-1]
    assert kept.ends() == [(len(attempts), last[1], type(error).__name__, str(error.delivery))]
    kept.check()


@pytest.mark.usefixtures("way")
def test_a_call_that_times_out() -> None:
    """An answer that does not come in time is a lost answer."""
    kept = Kept()
    settings = Settings(retries=0, trust_env=False, timeout=3)

    async def main(loop: Loop) -> CdpError:
        async with (
            serving(Cut("done", "stall")) as server,
            calling(server.url, settings, observers=[kept], clock=loop.time) as session,
        ):
            return await failure(session, ask("POST"))

    error = run_in(Loop, main)
    assert kept.attempts() == [(1, None, type(error).__name__, "unknown", False)]
    assert kept.ends() == [(1, None, type(error).__name__, "unknown")]


async def test_a_call_that_is_not_sent() -> None:
    """Where nothing can be sent, an attempt lasted no time."""
    kept = Kept()
    async with calling(closed_port(), TWICE, observers=[kept]) as session:
        await failure(session, ask("POST"))
        await session.aclose()
        with pytest.raises(RuntimeError):
            await session.send(ask())
    assert kept.attempts() == [
        (1, None, "NotSent", "not_sent", True),
        (2, None, "NotSent", "not_sent", False),
        (1, None, "RuntimeError", "not_sent", False),
    ]
    assert kept.ends() == [(2, None, "NotSent", "not_sent"), (1, None, "RuntimeError", "not_sent")]
    assert kept.of(AttemptEnded)[-1].seconds == 0
    kept.check()


async def test_calls_that_are_cancelled() -> None:
    """One that waits for its turn was not sent; of one that was sent nothing is known; between two, what was before."""
    kept, gate = Kept(), Gate()
    settings = Settings(trust_env=False, connections=1, retries=1)
    slowly = Reply(429, headers={"Retry-After": "60"})
    async with (
        serving(Cut("done", "stall")) as server,
        calling(server.url, settings, limiter=gate, observers=[kept]) as session,
    ):
        calls = [asyncio.create_task(session.send(ask("POST"))) for _ in range(2)]
        await gate.reached.wait()
        gate.opened.set()
        await until(lambda: server.ledger)
        await cancelled(reversed(calls))
    async with serving(slowly) as server, calling(server.url, settings, observers=[kept]) as session:
        call = asyncio.create_task(session.send(ask("POST")))
        await until(lambda: len(kept.of(AttemptEnded)) == 3)
        await cancelled([call])
    assert kept.attempts() == [
        (1, None, "CancelledError", "not_sent", False),
        (1, None, "CancelledError", "unknown", False),
        (1, 429, "RateLimited", "refused", True),
    ]
    assert kept.ends() == [
        (1, None, "CancelledError", "not_sent"),
        (1, None, "CancelledError", "unknown"),
        (1, 429, "CancelledError", "refused"),
    ]


class Once:
    """A limiter that lets one call through, and no other."""

    def __init__(self) -> None:
        self.let = False
        self.asked = asyncio.Event()

    async def acquire(self) -> None:
        """Wait for ever from the second time on."""
        if self.let:
            self.asked.set()
            await asyncio.Event().wait()
        self.let = True


async def test_a_cancelled_call_that_may_be_done() -> None:
    """What an earlier attempt may have done, an attempt that was not sent does not undo."""
    kept, once = Kept(), Once()
    async with (
        serving(Cut("done")) as server,
        calling(server.url, TWICE, limiter=once, observers=[kept]) as session,
    ):
        call = asyncio.create_task(session.send(ask("PUT")))
        await once.asked.wait()
        await cancelled([call])
    assert kept.attempts() == [
        (1, None, "OutcomeUnknown", "unknown", True),
        (2, None, "CancelledError", "not_sent", False),
    ]
    assert kept.ends() == [(2, None, "CancelledError", "unknown")]


async def cancelled(calls: Iterable[asyncio.Task[bytes]]) -> None:
    """Cancel *calls*, one after the other."""
    for call in calls:
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_without_an_observer_nothing_is_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody listens, no call has a report; once the log listens, it has."""
    made: list[Report] = []
    real = Report.attempt

    def attempt(report: Report, call: OpenCall, error: BaseException | None = None) -> None:
        made.append(report)
        real(report, call, error)

    monkeypatch.setattr(Report, "attempt", attempt)
    async with serving(DONE) as server, calling(server.url) as session:
        await session.send(ask())
        assert (session.is_watched, made) == (False, [])
        caplog.set_level(logging.DEBUG, "cdp_orders_async")
        await session.send(ask())
        assert session.is_watched
    assert len(made) == 1


async def test_a_client_takes_observers() -> None:
    """Each observer of a client is told, in the order that it was given."""
    told: list[tuple[str, str]] = []

    def named(name: str) -> Observer:
        return lambda event: told.append((name, type(event).__name__))

    async with (
        served(Emulator()) as options,
        CdpOrders(**options, observers=[named("a"), named("b")]) as cdp,
    ):
        await cdp.orders.create(order())
        with pytest.raises(NotFound):
            await cdp.orders.get(UUID(int=1))
    kinds = ("CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded") * 2
    assert told == [(name, kind) for kind in kinds for name in ("a", "b")]


async def test_a_rate_that_is_cut() -> None:
    """What the server bears changes the rate, and what it was cut for is told."""
    kept = Kept()
    now = [100.0]
    settings = Settings(retries=0, trust_env=False, rate="auto")
    async with (
        serving(DONE, Reply(429, headers={"Retry-After": "2"})) as server,
        calling(server.url, settings, observers=[kept], clock=lambda: now[0]) as session,
    ):
        await session.send(ask())
        now[0] += 1
        await failure(session, ask())
        assert session.autorate is not None
        [state] = session.autorate.states()
    last = kept.of(RateChanged)[-1]
    assert (last.cut, last.cut_for, last.found_for, last.of) == (True, "429", 0.0, "")
    assert (last.per_second, last.slots, last.limit) == (state.per_second, state.slots, state.limit)
    assert last.limit is not None
