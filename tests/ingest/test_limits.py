"""Whole loads against servers with limits, in virtual time: all orders are loaded, once, in a time that fits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import orjson
import pytest

from cdp_orders_async import (
    CdpError,
    Load,
    MemoryJournal,
    NotSent,
    Outcome,
    OutcomeUnknown,
    Request,
    Resources,
    Settings,
    Verdict,
)
from cdp_orders_async.emulator import Bucket, Emulator, Limit, Queue, Switches, Window
from cdp_orders_async.session import Session, Timings
from cdp_orders_async.session.attempt import NO_HEADERS, Answer, HttpBackend
from cdp_orders_async.settings import Credentials
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import asked
from tests.ingest.orders import WHEN, count, whole
from tests.ingest.serving import BASE, KEY, TOKEN
from tests.virtual import VirtualLoop, run

ORDERS = 60
REQUESTS = ORDERS * count([whole()])
WAY = 0.025


class Wire(HttpBackend):
    """A way to an emulator that takes virtual time and no sockets."""

    def __init__(self, emulator: Emulator, settings: Settings, loop: VirtualLoop, seed: int) -> None:
        super().__init__(BASE, Credentials(KEY, TOKEN), settings, loop.time)
        self._emulator = emulator
        self._random = random.Random(seed)  # noqa: S311 not for secrets

    async def send_once(
        self,
        request: Request[Any],
        request_id: str,
        left: float | None,
        times: Timings,
        headers: Mapping[str, str] = NO_HEADERS,
        given_up: Callable[[], bool] | None = None,
    ) -> Answer:
        """Send once."""
        del request_id, left, times, headers, given_up
        emulator = self._emulator
        await asyncio.sleep(WAY * self._random.uniform(0.8, 1.2))
        endpoint, segments = emulator.find(request.method, request.path)
        fate, leave = emulator.enter(endpoint.operation, request.method)
        try:
            if fate.is_done:
                emulator.answer_later(endpoint, segments, asked(request), fate.work)
            if fate.refusal is not None:
                await asyncio.sleep(fate.wait + WAY)
                if isinstance(fate.refusal, str):
                    raise (OutcomeUnknown if self._random.random() < 0.5 else NotSent)("the connection was reset")
                return fate.refusal, b"{}", None if fate.retry_after is None else str(fate.retry_after)
            reply = await emulator.answer_slowly(endpoint, segments, asked(request), fate.wait)
        finally:
            leave()
        await asyncio.sleep(WAY)
        return reply.status, orjson.dumps(reply.body), None

    async def _open(self) -> None:
        """Need nothing."""

    async def _close(self) -> None:
        """Need nothing."""


def session_to(emulator: Emulator, loop: VirtualLoop, seed: int, rate: float | Literal["auto"] = "auto") -> Session:
    """Return a session over a `Wire`."""
    settings = Settings(rate=rate, connections=64, trust_env=False)
    drawn = random.Random(seed)  # noqa: S311 not for secrets
    session = Session(BASE, Credentials(KEY, TOKEN), settings, clock=loop.time, uniform=drawn.uniform)
    vars(session)["_http"] = Wire(emulator, settings, loop, seed)  # there is no other way in
    return session


def begun(
    session: Session, loop: VirtualLoop, *, look_first: bool = False, orders: int = ORDERS, drain: float = 1.0
) -> Load:
    """Begin a load of so many *orders*."""
    load = Load(
        Resources(session, BASE),
        [whole(f"A-{n}") for n in range(orders)],
        journal=MemoryJournal(),
        look_first=look_first,
        on_existing="keep",
        open_orders=256,
        settle=2,
        drain=drain,
        clock=loop.time,
    )
    load.start()
    return load


def limited(loop: VirtualLoop, *limits: Limit) -> Emulator:
    """Return an emulator in virtual time."""
    return Emulator(switches=Switches(limits=limits, upsert=False), clock=lambda: WHEN + timedelta(seconds=loop.time()))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("limit", "rate", "seconds"),
    [
        (Bucket(rate=50, burst=50, refusal="reset"), 50, 0),
        (Bucket(rate=50, burst=50, refusal=529), 50, 0),
        (Bucket(rate=50, burst=50, refusal="reset", ban=10), 50, 60),
        (Bucket(rate=50, burst=50, refusal="reset", ban=60), 50, 600),
        (Bucket(rate=50, burst=50), 50, 0),
        (Bucket(rate=50, burst=50, refusal=503, retry_after=30), 50, 200),
        (Queue(rate=40, gateway=1), 40, 0),
        (Queue(rate=40, gateway=1, refusal=524), 40, 0),
        (Queue(rate=4, gateway=10), 4, 0),
        (Window(calls=600, seconds=60), 10, 0),
    ],
    ids=str,
)
def test_all_is_loaded(limit: Limit, rate: float, seconds: float, seed: int) -> None:
    """Each order is loaded once, in less than three times the time that the limit asks for, and what it makes wait."""

    async def main(loop: VirtualLoop) -> float:
        emulator = limited(loop, limit)
        session = session_to(emulator, loop, seed)
        load = begun(session, loop)
        await load.run()
        took = loop.time()
        await load.aclose()
        await session.aclose()
        emulator.waiting.finish()
        assert load.counts == {Verdict.LOADED: ORDERS}
        assert stored(emulator) == wanted([whole(f"A-{n}") for n in range(ORDERS)])
        return took

    assert run(main) <= 3 * REQUESTS / rate + seconds


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("writes", [1, 5, 10])
def test_writes_that_are_slower_than_the_look_before(writes: int, seed: int) -> None:
    """Calls that waited before reads and writes got a rate each say nothing of the new one."""

    async def main(loop: VirtualLoop) -> float:
        of_reads = Bucket(rate=50, burst=50, methods=("GET",))
        emulator = limited(loop, of_reads, Bucket(rate=writes, burst=writes, methods=("POST",)))
        session = session_to(emulator, loop, seed)
        load = begun(session, loop, look_first=True)
        await load.run()
        took = loop.time()
        await load.aclose()
        await session.aclose()
        assert load.counts == {Verdict.LOADED: ORDERS}
        assert stored(emulator) == wanted([whole(f"A-{n}") for n in range(ORDERS)])
        return took

    assert run(main) <= 2 * REQUESTS / writes


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("rate", [45, 200])
def test_a_rate_given_by_hand_is_not_worse(rate: float, seed: int) -> None:
    """A 429 without Retry-After holds up its own call, and a rate that is too high is lowered."""

    async def main(loop: VirtualLoop) -> float:
        emulator = limited(loop, Bucket(rate=50, burst=1))
        session = session_to(emulator, loop, seed, rate)
        load = begun(session, loop)
        await load.run()
        took = loop.time()
        await load.aclose()
        await session.aclose()
        assert load.counts == {Verdict.LOADED: ORDERS}
        return took

    assert run(main) <= 2 * REQUESTS / 50


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "rate"), [(60, 200), (60, "auto"), (300, "auto")])
def test_one_order_that_always_makes_all_wait(
    status: int, asked: int, rate: float | Literal["auto"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two times it waits alone: the others are held up by two pauses, and not by each."""

    async def main(loop: VirtualLoop) -> None:
        session = session_to(limited(loop), loop, 1, rate)
        load = begun(session, loop)
        send_once = Wire.send_once

        async def refuse_one(wire: Wire, request: Request[Any], *given: Any, **named: Any) -> Answer:  # noqa: ANN401
            if request.operation == "orders.create" and b'"A-7"' in (request.body or b""):
                await asyncio.sleep(WAY)
                return status, b"{}", str(asked)
            return await send_once(wire, request, *given, **named)

        monkeypatch.setattr(Wire, "send_once", refuse_one)
        task = asyncio.create_task(load.run())
        await asyncio.sleep(2 * asked + 60)
        assert load.counts[Verdict.LOADED] == ORDERS - 1
        await task
        await load.aclose()
        await session.aclose()
        assert load.counts == {Verdict.LOADED: ORDERS - 1, Verdict.FAILED: 1}

    run(main)


def test_a_quota_pauses_the_load_and_fails_nothing() -> None:
    """After minutes of 429 the load pauses and says since when; when the quota is back, all is loaded."""

    async def main(loop: VirtualLoop) -> None:
        emulator = limited(loop, Window(calls=200, seconds=4 * 3600))
        session = session_to(emulator, loop, 1)
        load = begun(session, loop)
        task = asyncio.create_task(load.run())
        await asyncio.sleep(600)
        assert load.paused is not None
        assert "429" in load.paused
        assert "nothing has succeeded for " in load.paused
        assert not set(load.counts) - {Verdict.LOADED}
        before = session.stats.requests
        await asyncio.sleep(3 * 3600)
        assert session.stats.requests - before < 3 * 3600 / 30
        assert not set(load.counts) - {Verdict.LOADED}
        emulator.store.switches = Switches(upsert=False)
        await task
        assert load.counts == {Verdict.LOADED: ORDERS}
        assert stored(emulator) == wanted([whole(f"A-{n}") for n in range(ORDERS)])
        await load.aclose()
        await session.aclose()

    run(main)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("limit", [Window(calls=600, seconds=60), Window(calls=100, seconds=10)], ids=str)
def test_interactive_calls_get_turns_beside_a_load(limit: Window, seed: int) -> None:
    """Once two windows have passed, a call each second beside a load is done, and hardly waits."""

    async def main(loop: VirtualLoop) -> None:
        emulator = limited(loop, limit)
        session = session_to(emulator, loop, seed)
        load = begun(session, loop, orders=500)
        task = asyncio.create_task(load.run())
        await asyncio.sleep(2 * limit.seconds + 1)
        api = Resources(session, BASE)
        order = UUID(next(iter(emulator.store.all("orders"))).ref)
        waits, failed = list[float](), 0
        for _ in range(100):
            await asyncio.sleep(1)
            began = loop.time()
            try:
                await api.orders.get(order)
            except CdpError:
                failed += 1
            else:
                waits.append(loop.time() - began)
        assert not task.done()
        assert failed <= 5
        assert statistics.median(waits) <= 0.5
        task.cancel()
        await asyncio.wait([task])
        await load.aclose()
        await session.aclose()

    run(main)


@pytest.mark.parametrize("rate", ["auto", 60])
@pytest.mark.parametrize("end", ["stopped", "failed"])
@pytest.mark.parametrize(
    "limit",
    [
        Window(calls=100, seconds=1e6, refusal=503),
        Window(calls=100, seconds=1e6, refusal="reset"),
        Window(calls=100, seconds=1e6),
        Window(calls=100, seconds=1e6, retry_after=60),
    ],
    ids=str,
)
def test_what_waits_at_the_end_is_given_up_at_once(limit: Window, end: str, rate: float | Literal["auto"]) -> None:
    """A load that ends while nothing succeeds sends nothing more, whatever its drain; what is in flight is waited for.

    Before, most of its calls waited for a rate that refusals had made low, or for the end of a pause.
    """

    async def main(loop: VirtualLoop) -> None:
        emulator = limited(loop, limit)
        session = session_to(emulator, loop, 1, rate)
        load = begun(session, loop, orders=500, drain=60)
        outcomes: list[Outcome] = []

        async def take() -> None:
            with contextlib.suppress(NotSent):
                async for outcome in load:
                    outcomes.append(outcome)  # noqa: PERF401 the load raises its error after them

        task = asyncio.create_task(take())
        while load.trouble is None:  # noqa: ASYNC110 the load sets no event
            await asyncio.sleep(0.1)
        await asyncio.sleep(4)
        began, sent = loop.time(), session.stats.requests
        if end == "stopped":
            load.stop(60)
        else:
            load.fail(NotSent("it was given up"))
        await asyncio.wait([task])
        assert loop.time() - began <= 3 * WAY
        assert session.stats.requests == sent
        there = {str(record.data["referenceId"]) for record in emulator.store.all("orders")}
        absent = {outcome.key for outcome in outcomes if outcome.verdict in {Verdict.FAILED, Verdict.NOT_TRIED}}
        assert not {key for key in absent if key is not None and key.partition("@")[0] in there}
        assert len(outcomes) == load.done > 0
        await session.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)
