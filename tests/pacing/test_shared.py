"""A rate that processes share, in virtual time: several limiters on one store, over ways that take their time."""

from __future__ import annotations

import asyncio
import math
import random
import signal
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_orders_async import Invalid, NotSent, Settings
from cdp_orders_async.jobs.events import Event, Message
from cdp_orders_async.jobs.throttle import Throttle
from cdp_orders_async.pacing.shared import SLACK, Lease, SharedLimiter, SlotStore
from tests.servers import Reply, serving
from tests.session.calling import ONCE, ask, bulk_of, calling
from tests.virtual import VirtualLoop, run

EARLIER = 1e9  # seconds that the clock of the store is ahead of ours


class Table:
    """The slots in a database, as its statements do it, and its clock."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate = rate
        self.ahead = EARLIER
        self.due = self.paused_until = clock() + EARLIER
        self.changes = 0
        self.leased = 0
        self._clock = clock

    def now(self) -> float:
        """Return the time of the store."""
        return self._clock() + self.ahead

    def lease(self, count: int) -> Lease:
        """Move the time from which slots are free."""
        start = max(self.due, self.now()) if count else 0.0
        self.due = start + count / self.rate if count else self.due
        self.leased += count
        return Lease(start, self.now(), self.rate, self.changes)

    def pause(self, seconds: float) -> None:
        """Let no slot begin before."""
        self.paused_until = max(self.paused_until, self.now() + seconds)
        self.due = max(self.due, self.paused_until)
        self.changes += 1

    def set_rate(self, rate: float) -> None:
        """Change the rate; the next slot is at most one interval away."""
        self.rate = rate
        self.due = max(self.paused_until, min(self.due, self.now() + 1 / rate))
        self.changes += 1


class Far(SlotStore):
    """A connection to a table whose trips take from 0 to *trip* seconds each way."""

    def __init__(self, table: Table, trip: float = 0.0, seed: int = 0) -> None:
        self.name = "a"
        self._table = table
        self._trip = trip
        self._random = random.Random(seed)  # noqa: S311 not for secrets
        self.away = False
        self.lasting = False

    async def _go(self) -> None:
        await asyncio.sleep(self._random.uniform(0, self._trip))
        if self.away:
            error = NotSent("the store is away")
            error.lasting = self.lasting
            raise error

    async def lease(self, count: int) -> Lease:
        """Go there, and come back with a lease."""
        await self._go()
        lease = self._table.lease(count)
        await self._go()
        return lease

    async def pause(self, seconds: float) -> None:
        """Go there."""
        await self._go()
        self._table.pause(seconds)

    async def set_rate(self, rate: float) -> None:
        """Go there."""
        await self._go()
        self._table.set_rate(rate)

    async def aclose(self) -> None:
        """Be away for good."""
        self.away = True


def most_in_a_second(times: Sequence[float]) -> int:
    """Count the grants in the fullest span of one second."""
    times = sorted(times)
    return max(bisect_right(times, time + 1 - 1e-6) - number for number, time in enumerate(times))


async def grants(limiter: SharedLimiter, loop: VirtualLoop, times: list[float], *, bulk: bool = False) -> None:
    """Take slots for ever, and write down when."""
    while True:
        await limiter.acquire(bulk=bulk)
        times.append(loop.time())


async def ended(tasks: Sequence[asyncio.Task[Any]], *limiters: SharedLimiter) -> None:
    """Cancel *tasks* and close *limiters*; no task is left."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for limiter in limiters:
        await limiter.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@settings(max_examples=20)
@given(
    rate=st.floats(1, 300),
    processes=st.integers(1, 6),
    callers=st.integers(1, 40),
    trip=st.floats(0, 0.03),
    seed=st.integers(0, 1000),
)
def test_processes_keep_one_rate(rate: float, processes: int, callers: int, trip: float, seed: int) -> None:
    """Together they never go faster than the rate, and no slower where enough callers wait; none takes much more."""
    seconds = max(3.0, 20 / rate)

    async def main(loop: VirtualLoop) -> tuple[list[list[float]], Table]:
        table = Table(rate, loop.time)
        limiters = [SharedLimiter(Far(table, trip, seed + n), rate, clock=loop.time) for n in range(processes)]
        times: list[list[float]] = [[] for _ in limiters]
        tasks = [
            asyncio.create_task(grants(limiter, loop, granted))
            for limiter, granted in zip(limiters, times, strict=True)
            for _ in range(callers)
        ]
        await asyncio.sleep(seconds)
        await ended(tasks, *limiters)
        return times, table

    times, table = run(main)
    every = sorted(time for granted in times for time in granted)
    # Late timers use the slots of a moment before; the first answers do not tell yet how the clocks differ.
    assert most_in_a_second(every) <= rate * (1 + SLACK + trip) + 2
    assert len(every) <= table.leased
    if processes * callers >= rate * (0.1 + 8 * trip) + processes:
        steady = [time for time in every if time >= 1]
        assert len(steady) >= 0.97 * rate * (seconds - 1 - 2 * trip) - 2 * processes
        assert table.leased <= len(every) * 1.03 + processes * (2 + rate * max(0.05, 12 * trip))


def two(loop: VirtualLoop, rate: float, trip: float = 0.001) -> tuple[Table, SharedLimiter, SharedLimiter, Far]:
    """Return a table, two limiters on it, and the connection of the first one."""
    table = Table(rate, loop.time)
    far = Far(table, trip)
    return table, SharedLimiter(far, rate, clock=loop.time), SharedLimiter(Far(table, trip), rate, clock=loop.time), far


def test_a_process_that_rests_takes_nothing() -> None:
    """One caller now and then leases one slot each time, and waits no longer than the trip."""

    async def main(loop: VirtualLoop) -> None:
        table, limiter, other, _ = two(loop, 100.0)
        for number in range(1, 6):
            await asyncio.sleep(1)
            before = loop.time()
            await limiter.acquire()
            assert loop.time() - before < 0.005
            assert table.leased == number
        await ended([], limiter, other)

    run(main)


def test_a_killed_process_costs_its_lease() -> None:
    """The slots of a process that ends pass unused: two leases of a fortieth of a second at most."""

    async def main(loop: VirtualLoop) -> None:
        table, limiter, other, _ = two(loop, 200.0)
        times: list[float] = []
        lost: list[float] = []
        dying = [asyncio.create_task(grants(other, loop, lost)) for _ in range(32)]
        tasks = [asyncio.create_task(grants(limiter, loop, times)) for _ in range(32)]
        await asyncio.sleep(2)
        assert 0 <= table.leased - len(times) - len(lost) <= 20
        await ended_only(dying, other)
        before = len(times)
        await asyncio.sleep(2)
        assert len(times) - before >= 2 * 200 - 10 - 5
        await ended(tasks, limiter)

    run(main)


async def ended_only(tasks: Sequence[asyncio.Task[Any]], limiter: SharedLimiter) -> None:
    """Cancel *tasks* and close their *limiter*, while others go on."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await limiter.aclose()


@pytest.mark.parametrize("rate", [200.0, 0.5])
def test_a_pause_holds_all(rate: float) -> None:
    """After a pause in one process none goes for its seconds, but what the other had leased for the next moment."""

    async def main(loop: VirtualLoop) -> None:
        _, limiter, other, _ = two(loop, rate)
        times: list[float] = []
        tasks = [asyncio.create_task(grants(one, loop, times)) for one in (limiter, other) for _ in range(8)]
        await asyncio.sleep(5.1)
        limiter.pause(30)
        limiter.pause(10)  # a pause never becomes shorter
        await asyncio.sleep(40)
        held = [time for time in times if 5.1 + 0.06 <= time < 35.1]
        assert all(time < 5.1 + 1.1 for time in held)
        assert len(held) <= 1
        after = [time for time in times if time >= 35.1]
        assert len(after) == pytest.approx(10 * rate, abs=3 + 0.02 * 10 * rate)
        assert most_in_a_second(times) <= rate * (1 + SLACK) + 2
        await ended(tasks, limiter, other)

    run(main)


@pytest.mark.parametrize("seconds", [60.0, math.inf])
def test_a_pause_outlasts_a_store_that_is_away(seconds: float) -> None:
    """A pause that the store could not be told counts once it is back, for all, what is left of it."""

    async def main(loop: VirtualLoop) -> None:
        _, limiter, other, far = two(loop, 50.0)
        far.away = True
        limiter.pause(seconds)
        with pytest.raises(NotSent):
            await limiter.acquire()
        await asyncio.sleep(5)
        far.away = False
        times: list[float] = []
        tasks = [asyncio.create_task(grants(limiter, loop, times))]
        await asyncio.sleep(1)
        tasks.append(asyncio.create_task(grants(other, loop, times)))
        await asyncio.sleep(100)
        if seconds < math.inf:
            assert min(times) == pytest.approx(60, abs=0.2)
        else:
            assert times == []
        await ended(tasks, limiter, other)

    run(main)


def test_a_rate_that_changes_counts_for_all() -> None:
    """A rate that is set in one process is kept by the other, also where it waits for a slot that is far away."""

    async def main(loop: VirtualLoop) -> None:
        table, limiter, other, _ = two(loop, 0.02)
        times: list[float] = []
        tasks = [asyncio.create_task(grants(other, loop, times)) for _ in range(64)]
        await asyncio.sleep(10)
        limiter.set_rate(100.0)
        assert limiter.rate == 100.0
        await asyncio.sleep(11.5)
        assert (table.rate, other.rate) == (100.0, 100.0)
        assert len([time for time in times if time >= 11.5]) >= 990
        limiter.set_rate(10.0)
        before = len(times)
        await asyncio.sleep(10)
        assert len(times) - before <= 110
        await ended(tasks, limiter, other)

    run(main)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_is_set_changes_little(step: float) -> None:
    """After the clock of the store was set, calls go on at the rate: its statement moves the due time back too."""

    async def main(loop: VirtualLoop) -> None:
        table, limiter, other, _ = two(loop, 100.0)
        times: list[float] = []
        tasks = [asyncio.create_task(grants(limiter, loop, times)) for _ in range(32)]
        await asyncio.sleep(2)
        table.ahead += step
        table.due += min(step, 0.0)
        await asyncio.sleep(2)
        assert len([time for time in times if time > 2.2]) >= 175
        assert most_in_a_second(times) <= 100 * (1 + 2 * SLACK) + 6
        await ended(tasks, limiter, other)

    run(main)


def test_a_process_holds_few_slots() -> None:
    """A load takes few slots before their time: customers of other processes wait for them."""

    async def main(loop: VirtualLoop) -> None:
        table, limiter, other, _ = two(loop, 200.0)
        times, held = list[float](), list[int]()
        tasks = [asyncio.create_task(grants(limiter, loop, times, bulk=True)) for _ in range(32)]
        while loop.time() < 3:
            await asyncio.sleep(0.001)
            held.append(table.leased - len(times))
        assert max(held) <= 200 * 0.025
        assert len(times) == pytest.approx(600, abs=6)
        waited = list[float]()
        for _ in range(100):
            asked = loop.time()
            await other.acquire()
            waited.append(loop.time() - asked)
            await asyncio.sleep(0.0137)
        assert max(waited) <= 0.025 + 0.01
        await ended(tasks, limiter, other)

    run(main)


def test_lanes() -> None:
    """Interactive callers go before bulk ones, which keep their share."""

    async def main(loop: VirtualLoop) -> None:
        _, limiter, other, _ = two(loop, 100.0)
        lanes: dict[bool, list[float]] = {False: [], True: []}
        tasks = [
            asyncio.create_task(grants(limiter, loop, lanes[bulk], bulk=bulk)) for bulk in lanes for _ in range(16)
        ]
        await asyncio.sleep(10)
        assert len(lanes[True]) == pytest.approx(100, abs=5)
        assert len(lanes[False]) == pytest.approx(900, abs=15)
        await ended(tasks, limiter, other)

    run(main)


def test_callers_that_give_up_use_no_slot() -> None:
    """A caller that is cancelled, also at the moment of its grant, leaves its slot to the next one."""

    async def main(loop: VirtualLoop) -> None:
        table, limiter, other, _ = two(loop, 10.0, trip=0.0)
        first = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0.01)
        assert first.done()
        calls = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
        loop.call_at(0.1, calls[0].cancel)  # its slot comes then too
        await asyncio.sleep(0.15)
        assert [call.done() for call in calls] == [True, True]
        assert calls[0].cancelled()
        assert not calls[1].cancelled()
        assert table.leased == 2
        await ended([], limiter, other)

    run(main)


@pytest.mark.parametrize("lasting", [False, True])
def test_a_store_that_is_away(lasting: bool) -> None:  # noqa: FBT001 a parameter
    """Each caller gets an error of its own, which says that nothing was sent; once the store is back, calls go on."""

    async def main(loop: VirtualLoop) -> None:
        _, limiter, other, far = two(loop, 100.0)
        far.away, far.lasting = True, lasting
        errors = await asyncio.gather(*(limiter.acquire() for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in errors] == ["the store is away"] * 3
        assert len(set(map(id, errors))) == 3
        assert all(isinstance(error, NotSent) and error.lasting is lasting for error in errors)
        far.away = False
        await limiter.acquire()
        call = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        await limiter.aclose()
        await limiter.aclose()
        for waiting in (call, limiter.acquire()):
            with pytest.raises(NotSent, match="closed"):
                await waiting
        await ended([], other)

    run(main)


class Noting(SharedLimiter):
    """A limiter that keeps what a session asks of it."""

    def __init__(self) -> None:
        super().__init__(Far(Table(1000.0, lambda: 0.0)), 1000.0)
        self.lanes: list[bool] = []
        self.pauses: list[float] = []

    async def acquire(self, *, bulk: bool = False) -> None:
        """Keep the lane."""
        self.lanes.append(bulk)

    def pause(self, seconds: float) -> None:
        """Keep the seconds."""
        self.pauses.append(seconds)


async def test_a_session_uses_its_lanes_pauses_and_rate() -> None:
    """Calls of a load go in the bulk lane, an answer pauses all processes, and a rate that is set is shared."""
    noting = Noting()
    async with (
        serving(Reply(), Reply(), Reply(429, headers={"Retry-After": "7"})) as server,
        calling(server.url, ONCE, limiter=noting) as session,
    ):
        await session.send(ask())
        await bulk_of(session).send(ask())
        with pytest.raises(Exception, match="429"):
            await session.send(ask())
        assert noting.lanes == [False, True, False]
        assert noting.pauses == [7]
        assert (session.settings.rate, session.autorate) == (1000, None)
        session.set_rate(50)
        assert (noting.rate, session.settings.rate, session.limiter.rate, session.autorate) == (50, 50, None, None)
        for rate in ("auto", None, 1e-9):
            with pytest.raises(Invalid, match="where processes share it"):
                session.set_rate(rate)
        assert (noting.rate, session.settings.rate) == (50, 50)
    await noting.aclose()
    with pytest.raises(Invalid, match="each process would find another rate"):
        async with calling(server.url, Settings(rate="auto"), limiter=noting):
            pass


async def test_a_load_changes_the_rate_of_all() -> None:
    """A signal scales the rate that processes share; a control file that asks for auto is told that it cannot be."""
    noting, told = Noting(), list[Event]()
    async with calling("http://127.0.0.1:1", ONCE, limiter=noting) as session:
        throttle = Throttle(session, lambda: 1.0, told.append)
        throttle.on_signal(next(number for number in signal.Signals if number.name == "SIGUSR1"))
        assert (noting.rate, session.settings.rate) == (750, 750)
        throttle.set_rate("auto", "control")
        throttle.set_rate(None, "control")
        assert noting.rate == 750
    await noting.aclose()
    texts = [event.text for event in told if isinstance(event, Message)]
    assert texts[0] == "SIGUSR1: the rate is now at most 750 requests a second."
    assert all("must be a number where processes share it" in text for text in texts[1:])
    assert len(texts) == 3


@pytest.mark.parametrize(("own", "followed"), [(None, 500.0), (1000.0, 500.0), (20.0, 20.0)])
async def test_a_session_follows_the_rate_of_the_others(own: float | None, followed: float) -> None:
    """A rate that another process changed counts for this one too, unless it was given a lower rate of its own."""
    table = Table(1000.0, lambda: 0.0)
    limiter = SharedLimiter(Far(table), 1000.0)
    async with (
        serving(Reply(), Reply()) as server,
        calling(server.url, attrs.evolve(ONCE, rate=own), limiter=limiter) as session,
    ):
        await session.send(ask())
        table.set_rate(500.0)
        await session.send(ask())
        assert (limiter.rate, session.settings.rate) == (500, followed)
        assert own is None or session.limiter.rate == followed
    await limiter.aclose()


class Pausing:
    """A limiter of one's own that can be paused."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def acquire(self) -> None:
        """Let everybody go."""

    def pause(self, seconds: float) -> None:
        """Keep the seconds."""
        self.pauses.append(seconds)


async def test_a_limiter_of_your_own_is_paused() -> None:
    """A limiter of a user that has a method for it is told of a pause."""
    pausing = Pausing()
    async with (
        serving(Reply(429, headers={"Retry-After": "7"})) as server,
        calling(server.url, ONCE, limiter=pausing) as session,
    ):
        with pytest.raises(Exception, match="429"):
            await session.send(ask())
    assert pausing.pauses == [7]
