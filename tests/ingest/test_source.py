"""One task draws from a source and closes it; and a cancellation that nobody sent is an error, never a silent end."""

from __future__ import annotations

import asyncio
import contextvars
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from cdp_orders_async import (
    CdpOrders,
    Delivery,
    InputError,
    Load,
    MemoryJournal,
    NotSent,
    OrderGraph,
    Outcome,
    OutcomeUnknown,
    Resources,
    Settings,
    SqliteJournal,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches, running
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, collected
from tests.ingest.orders import item, order, whole
from tests.ingest.serving import BASE, KEY, TOKEN
from tests.ingest.test_cancelling import ours
from tests.servers import Reply, serving
from tests.session.calling import until


def some(number: int) -> list[OrderGraph]:
    """Return small orders."""
    return [OrderGraph(order=order(f"A-{n}"), items=(item("i1"), item())) for n in range(number)]


def cancelled_by_nobody() -> asyncio.CancelledError:
    """Return what should never be raised by hand."""
    return asyncio.CancelledError("nobody cancelled")


@pytest.mark.parametrize("where", ["first", "later", "at its end"])
async def test_a_source_that_raises_cancelled_error(where: str) -> None:
    """It is an input that broke off, and no silent end; what was taken before is loaded."""

    async def source() -> AsyncIterator[OrderGraph]:
        try:
            for n, graph in enumerate(some(3)):
                if where == "first" or (where == "later" and n == 2):
                    raise cancelled_by_nobody()
                yield graph
        finally:
            if where == "at its end":
                raise cancelled_by_nobody()

    network = Network(Emulator())
    async with ingest(Resources(network, BASE), source()) as load:
        for _ in range(2):
            with pytest.raises(InputError, match="nobody had cancelled it"):
                await collected(load)
    taken = {"first": 0, "later": 2, "at its end": 3}[where]
    assert load.counts.total() == load.counts[Verdict.LOADED] == taken
    assert stored(network.emulator) == wanted(some(taken))


class Panic(BaseException):
    """What no `except Exception` catches, such as the panic of an extension in Rust."""


@pytest.mark.parametrize("error", [Panic("canary"), GeneratorExit(), BaseExceptionGroup("", [Panic("canary")])])
@pytest.mark.parametrize("where", ["later", "at its end"])
async def test_a_source_that_raises_what_is_no_exception(error: BaseException, where: str) -> None:
    """It is an input that broke off, and no silent end; what was taken before is loaded."""

    async def source() -> AsyncIterator[OrderGraph]:
        try:
            for graph in some(3):
                yield graph
            if where == "later":
                raise error
        finally:
            if where == "at its end":
                raise error

    network = Network(Emulator())
    async with ingest(Resources(network, BASE), source()) as load:
        with pytest.raises(InputError, match=f"^the input broke off: it raised {type(error).__name__}$"):
            await load.run()
    assert load.counts == {Verdict.LOADED: 3}
    assert stored(network.emulator) == wanted(some(3))


class Cancelling:
    """A limiter of one's own that raises an error after some calls."""

    def __init__(self, calls: int, error: BaseException | None = None) -> None:
        self.calls = calls
        self.error = error

    async def acquire(self) -> None:
        """Let some through."""
        self.calls -= 1
        if self.calls < 0:
            raise self.error or cancelled_by_nobody()


@pytest.mark.parametrize("calls", [0, 1, 5, 20])
async def test_a_limiter_that_raises_cancelled_error(calls: int) -> None:
    """It ends the load with an error, never in silence, and each order that was taken has an outcome."""
    emulator = Emulator()
    async with (
        running(emulator) as url,
        CdpOrders(base_url=url, client_key=KEY, api_token=TOKEN, shared_limiter=Cancelling(calls)) as cdp,
    ):
        async with ingest(cdp, some(30), open_orders=5) as load:
            with pytest.raises(OutcomeUnknown, match="its call was cancelled, and not by the load"):
                await load.run()
        with pytest.raises(OutcomeUnknown, match="its call was cancelled, and not by the load") as caught:
            await ingest_one(cdp, whole("single"))
        assert Outcome.of(caught.value) is not None
    assert load.done > 0
    # A create that waits for its connection while another order ends the load is not sent.
    assert calls - 1 <= emulator.requests.total() <= calls


@pytest.mark.parametrize("error", [ConnectionError("away"), TimeoutError("away"), KeyError("away")])
async def test_a_limiter_that_raises_an_exception(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request was not sent, and is sent again; in the end the outcome of the order tells the limiter as cause."""
    monkeypatch.setattr(sys.modules["cdp_orders_async.ingest.attempts"], "ROUNDS", 1)
    emulator = Emulator()
    limiter = Cancelling(3, error)
    settings = Settings(retries=1)
    async with (
        running(emulator) as url,
        CdpOrders(base_url=url, client_key=KEY, api_token=TOKEN, settings=settings, shared_limiter=limiter) as cdp,
    ):
        cause = f"(the shared limiter raised {type(error).__name__})"
        outcome = await ingest_one(cdp, whole("single"))
        assert (outcome.verdict, emulator.requests.total()) == (Verdict.PARTIAL, 3)
        failures = [part.failure for part in outcome.parts if part.failure is not None]
        assert {(one.message[-len(cause) :], one.delivery) for one in failures} == {(cause, Delivery.NOT_SENT)}
        with pytest.raises(NotSent, match=re.escape(cause)) as caught:
            await cdp.orders.get(UUID(str(outcome.ref)))
        assert (caught.value.attempts, caught.value.__cause__) == (2, error)
        limiter.calls = 1000
        assert (await ingest_one(cdp, whole("single"))).verdict is Verdict.LOADED
    assert stored(emulator) == wanted([whole("single")])


@pytest.mark.parametrize("error", [Panic(), GeneratorExit()])
async def test_a_limiter_that_raises_what_is_no_exception(error: BaseException) -> None:
    """It ends the load with an error, and each order that was taken has an outcome."""
    emulator = Emulator()
    async with (
        running(emulator) as url,
        CdpOrders(base_url=url, client_key=KEY, api_token=TOKEN, shared_limiter=Cancelling(5, error)) as cdp,
        ingest(cdp, some(30), open_orders=5) as load,
    ):
        with pytest.raises(OutcomeUnknown, match=f"^a call ended in {type(error).__name__}$"):
            await load.run()
    assert load.done > 0
    assert load.under_way == 0
    assert emulator.requests.total() == 5


@pytest.mark.parametrize("end", [SystemExit(3), KeyboardInterrupt()])
def test_a_limiter_that_ends_the_process(end: BaseException) -> None:
    """The process ends, and nothing waits for an order that nobody works on."""
    loads: list[Load] = []

    async def work() -> None:
        async with (
            running(Emulator()) as url,
            CdpOrders(base_url=url, client_key=KEY, api_token=TOKEN, shared_limiter=Cancelling(5, end)) as cdp,
            ingest(cdp, some(30), open_orders=5) as load,
        ):
            loads.append(load)
            await load.run()

    with pytest.raises(type(end)):
        asyncio.run(work())
    assert loads[0].under_way == 0


@pytest.mark.parametrize("error", [ValueError("canary"), Panic("canary")])
@pytest.mark.parametrize("method", ["claim", "record", "end"])
async def test_a_journal_that_raises_what_is_no_journal_error(
    method: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal of one's own ends the load with its error, and each order that was taken has an outcome."""
    network, journal, calls = Network(Emulator()), MemoryJournal(), 0
    works: Callable[..., object] = getattr(journal, method)

    def breaks(*given: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise error
        return works(*given, **named)

    monkeypatch.setattr(journal, method, breaks)
    async with ingest(Resources(network, BASE), some(10), journal=journal, open_orders=2) as load:
        with pytest.raises((ValueError, OutcomeUnknown), match=r"canary|Panic"):
            await load.run()
    assert load.done > 0
    assert load.under_way == 0


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_client_that_is_closed(when: str) -> None:
    """A client that is closed, before a load or in the middle of it, ends it with an error, and each order in truth."""
    ends = {"before": (RuntimeError, None), "meanwhile": (OutcomeUnknown, Delivery.UNKNOWN)}
    emulator = Emulator(switches=Switches(latency=0.02))
    async with running(emulator) as url:
        cdp = CdpOrders(base_url=url, client_key=KEY, api_token=TOKEN, settings=Settings(retries=0))
        if when == "before":
            await cdp.aclose()
        async with ingest(cdp, some(30), open_orders=5) as load:
            loading = asyncio.create_task(load.run())
            if when == "meanwhile":
                await until(lambda: emulator.requests.total() > 10)
                await cdp.aclose()
            with pytest.raises((OutcomeUnknown, RuntimeError), match=r"^the client is closed$") as caught:
                await loading
            assert Verdict.FAILED not in load.counts  # what had sent nothing was not tried
        assert (type(caught.value), getattr(caught.value, "delivery", None)) == ends[when]
        with pytest.raises(RuntimeError, match="the client is closed"):
            await ingest_one(cdp, whole())


async def test_a_client_that_is_closed_while_a_load_waits() -> None:
    """A load that waits for a server that is not well, and an order beside it, end at once, each with the truth."""
    async with serving(Reply(503)) as server:
        cdp = CdpOrders(base_url=server.url, client_key=KEY, api_token=TOKEN, settings=Settings(retries=0))
        async with ingest(cdp, some(60)) as load:
            one = asyncio.create_task(ingest_one(cdp, whole()))
            await until(lambda: load.paused)
            await until(lambda: not cdp.session.stats.in_flight)
            requests = len(server.requests)
            await cdp.aclose()
            for _ in range(50):
                await asyncio.sleep(0)
            assert (one.done(), repr(load)[:11]) == (True, "<Load ended")
            with pytest.raises(OutcomeUnknown, match=r"^the client is closed$") as caught:
                await load.run()
            assert caught.value.delivery is Delivery.UNKNOWN
            with pytest.raises(OutcomeUnknown, match=r"^the client is closed$") as caught:
                await one
            outcome = Outcome.of(caught.value)
            assert outcome is not None
            assert (outcome.verdict, caught.value.delivery) == (Verdict.UNKNOWN, Delivery.UNKNOWN)
        assert len(server.requests) == requests


VARIABLE = contextvars.ContextVar("VARIABLE", default=0)


async def test_a_source_with_a_context_variable() -> None:
    """A source may set a variable before a yield and reset it after: one task draws it and closes it."""
    closed: list[int] = []

    async def source() -> AsyncIterator[OrderGraph]:
        token = VARIABLE.set(7)
        try:
            for graph in some(20):
                yield graph
                assert VARIABLE.get() == 7
        finally:
            VARIABLE.reset(token)
            closed.append(VARIABLE.get())

    for enough in (20, 3):
        async with ingest(Resources(Network(Emulator()), BASE), source(), open_orders=2) as load:
            async for _ in load:
                if load.done == enough:
                    break
    assert closed == [0, 0]


@pytest.mark.parametrize("scope", ["timeout", "anyio", "group", "anyio group"])
async def test_a_source_with_a_scope_around_its_yields(scope: str) -> None:
    """A timeout or a task group around the yields of a source ends the source, not a create."""

    async def source() -> AsyncIterator[OrderGraph]:
        graphs = iter(some(10))
        if scope == "timeout":
            async with asyncio.timeout(60):
                for graph in graphs:
                    yield graph
        elif scope == "anyio":
            with anyio.fail_after(60):
                for graph in graphs:
                    yield graph
        elif scope == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
                for graph in graphs:
                    yield graph
        else:
            async with anyio.create_task_group() as others:
                others.start_soon(anyio.sleep, 0)
                for graph in graphs:
                    yield graph

    network = Network(Emulator())
    async with ingest(Resources(network, BASE), source(), open_orders=2) as load:
        assert await load.run() == {Verdict.LOADED: 10}
    async with ingest(Resources(network, BASE), source(), open_orders=2) as load:
        await anext(load)
    assert load.error is None


async def test_a_source_whose_time_is_over() -> None:
    """A timeout of the source is an input that broke off: no create is cancelled."""

    async def source() -> AsyncIterator[OrderGraph]:
        async with asyncio.timeout(0.05):
            yield whole()
            await asyncio.get_running_loop().create_future()

    network = Network(Emulator())
    async with ingest(Resources(network, BASE), source()) as load:
        with pytest.raises(TimeoutError):
            await load.run()
    assert load.counts == {Verdict.LOADED: 1}
    assert stored(network.emulator) == wanted([whole()])


async def test_stopping_from_another_thread_is_refused() -> None:
    """`stop` outside of the load's loop does nothing by half: it says how it is done."""
    raised: list[BaseException] = []
    network = Network(Emulator())
    async with ingest(Resources(network, BASE), some(5)) as load:

        def stop() -> None:
            try:
                load.stop()
            except RuntimeError as error:
                raised.append(error)

        thread = threading.Thread(target=stop)
        thread.start()
        thread.join()
        assert await load.run() == {Verdict.LOADED: 5}
    assert [str(error) for error in raised] == [
        "a load is stopped in its own event loop: use loop.call_soon_threadsafe(load.stop)"
    ]


async def test_a_source_is_cancelled_once() -> None:
    """A load that is stopped, stopped again, and left, asks its source to end once."""
    cancelled: list[int] = []

    async def source() -> AsyncIterator[OrderGraph]:
        yield whole()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            for _ in range(5):  # its clean-up takes some turns of the loop
                await asyncio.sleep(0)
            cancelled.append(1)
            raise

    async with ingest(Resources(Network(Emulator()), BASE), source()) as load:
        await anext(load)
        load.stop(5.0)
        load.stop()
    assert cancelled == [1]
    assert (load.error, ours()) == (None, [])


async def test_a_journal_closes_while_the_threads_are_busy(tmp_path: Path) -> None:
    """Whoever keeps the default executor busy does not hold up the journal."""
    release, loop = threading.Event(), asyncio.get_running_loop()
    busy = [loop.run_in_executor(None, release.wait) for _ in range(64)]
    try:
        async with (
            asyncio.timeout(30),
            await SqliteJournal.open(tmp_path / "J.sqlite", identity={}) as journal,
            ingest(Resources(Network(Emulator()), BASE), some(10), journal=journal) as load,
        ):
            assert await load.run() == {Verdict.LOADED: 10}
        assert not any(one.done() for one in busy)
    finally:
        release.set()
    await asyncio.gather(*busy)
