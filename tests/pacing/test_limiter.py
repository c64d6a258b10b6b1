"""The rate limiter, in virtual time."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections.abc import Callable, Coroutine
from contextvars import Context
from itertools import pairwise

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async.pacing.limiter import Limiter
from tests.virtual import VirtualLoop, run

UNIT = 1 / 64  # seconds; with powers of two, times add up exactly


async def take(limiter: Limiter, grants: dict[int, float], number: int, *, bulk: bool = False) -> None:
    """Acquire once and write down when it was granted."""
    await limiter.acquire(bulk=bulk)
    grants[number] = asyncio.get_running_loop().time()


def most_in_a_second(times: list[float]) -> int:
    """Count the grants in the fullest span of one second."""
    return max(bisect_left(times, time + 1 - 1e-9) - index for index, time in enumerate(times))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Limiter(0), "rate"),
        (lambda: Limiter(-1), "rate"),
        (lambda: Limiter(math.nan), "rate"),
        (lambda: Limiter(1, burst=0), "burst"),
        (lambda: Limiter(1, bulk_share=-0.1), "bulk_share"),
        (lambda: Limiter(1, bulk_share=math.nan), "bulk_share"),
        (lambda: Limiter(1).set_rate(0), "rate"),
        (lambda: Limiter(1).set_rate(2, 0), "burst"),
    ],
)
def test_a_wrong_value_is_refused_by_name(make: Callable[[], object], name: str) -> None:
    """A rate, burst or share that makes no sense is an error that names it."""
    with pytest.raises(ValueError, match=f"^{name}: "):
        make()


def test_a_refused_rate_changes_nothing() -> None:
    """After a refused change the limiter is as it was."""
    limiter = Limiter(5, burst=2)
    with pytest.raises(ValueError, match="burst"):
        limiter.set_rate(9, 0)
    assert (limiter.rate, limiter.burst) == (5, 2)


def test_repr_reports_the_state() -> None:
    """The repr tells the settings, who waits, for how long, and the pause."""

    async def main(loop: VirtualLoop) -> str:
        limiter = Limiter(2, burst=1, clock=loop.time)
        limiter.pause_until(3)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(limiter.acquire()) for _ in range(4)]
            await asyncio.sleep(1)
            report = repr(limiter)
            for task in tasks:
                task.cancel()
        return report

    assert run(main) == "Limiter(rate=2, burst=1, waiting=4, delay=4.000, paused_for=2.000)"


def test_no_rate_is_no_limit() -> None:
    """Without a rate nobody waits, except for a pause."""

    async def main(loop: VirtualLoop) -> list[float]:
        limiter = Limiter(None, clock=loop.time)
        grants: dict[int, float] = {}
        for number in range(1000):
            await take(limiter, grants, number)
        limiter.pause_until(7)
        async with asyncio.TaskGroup() as group:
            for number in range(1000, 2000):
                group.create_task(take(limiter, grants, number))
        return list(grants.values())

    assert run(main) == [0.0] * 1000 + [7.0] * 1000


@given(
    st.integers(0, 3),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 6), st.none() | st.integers(0, 30)), min_size=1, max_size=60),
)
def test_grants_come_when_the_rate_says(power: int, burst: int, callers: list[tuple[int, int | None]]) -> None:
    """Every caller is granted at exactly the time that GCRA gives, as if those who gave up had never come."""
    interval = UNIT * 2**power
    expected: dict[int, float] = {}
    clock, due = 0.0, -math.inf
    for number, (gap, patience) in enumerate(callers):
        clock += gap * UNIT
        time = max(clock, due)
        if patience is None or time < clock + (patience + 0.5) * UNIT:
            expected[number] = time
            due = max(due, time - (burst - 1) * interval) + interval

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(1 / interval, burst=burst, clock=loop.time)
        grants: dict[int, float] = {}
        async with asyncio.TaskGroup() as group:
            for number, (gap, patience) in enumerate(callers):
                await asyncio.sleep(gap * UNIT)
                assert limiter.delay() <= (limiter.waiting + 1) * interval
                task = group.create_task(take(limiter, grants, number))
                if patience is not None:
                    loop.call_later((patience + 0.5) * UNIT, task.cancel)
        assert limiter.waiting == 0
        return grants

    grants = run(main)
    assert grants == expected
    assert list(grants) == sorted(grants)


STEPS = st.one_of(
    st.tuples(st.just("call"), st.integers(1, 40)),
    st.tuples(st.just("call and cancel"), st.floats(0, 0.3)),
    st.tuples(st.just("pause"), st.floats(-0.1, 1)),
    st.tuples(st.just("rate"), st.sampled_from((0.5, 3, 47, 500, 5000))),
    st.tuples(st.just("burst"), st.integers(1, 9)),
    st.tuples(st.just("late"), st.floats(0, 0.2)),
)


@given(st.lists(st.tuples(st.sampled_from((0.0, 0.0004, 0.003, 0.02, 0.3)), STEPS), max_size=60))
def test_bounds_hold_whatever_happens(plan: list[tuple[float, tuple[str, float]]]) -> None:
    """Order, pauses and any second's most hold under changes, cancellations, late timers; then all is well."""

    async def main(loop: VirtualLoop) -> None:
        limiter = Limiter(47, clock=loop.time)
        grants: dict[int, float] = {}
        pauses: list[tuple[float, float]] = []
        rates, bursts = [47.0], [1]
        count = 0
        async with asyncio.TaskGroup() as group:
            for gap, (step, value) in plan:
                await asyncio.sleep(gap)
                if step == "pause":
                    limiter.pause_until(loop.time() + value)
                    pauses.append((loop.time(), loop.time() + value))
                elif step == "rate":
                    limiter.set_rate(value)
                    rates.append(value)
                elif step == "burst":
                    limiter.set_rate(limiter.rate, int(value))
                    bursts.append(int(value))
                elif step == "late":
                    loop.selector.late = value
                for _ in range(int(value) if step == "call" else step == "call and cancel"):
                    task = group.create_task(take(limiter, grants, count, bulk=count % 3 == 0))
                    count += 1
                    if step == "call and cancel":
                        loop.call_later(value, task.cancel)
            loop.selector.late = 0
            limiter.set_rate(5000)
            rates.append(5000)
        lanes = [[grants[n] for n in sorted(grants) if (n % 3 == 0) is bulk] for bulk in (False, True)]
        assert lanes == [sorted(lane) for lane in lanes]
        times = sorted(grants.values())
        assert not [time for time in times for begin, end in pauses if begin < time < end]
        if times:
            assert most_in_a_second(times) <= 1.01 * max(rates) + max(bursts) + 1
        await rate_is(64, limiter, loop)

    run(main)


async def rate_is(rate: float, limiter: Limiter, loop: VirtualLoop) -> None:
    """Check that nobody waits, and that the limiter still keeps its rate to the letter."""
    assert limiter.waiting == 0
    await asyncio.sleep(5)  # so that any hold of the past is over
    limiter.set_rate(rate, 1)
    grants: dict[int, float] = {}
    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(take(limiter, grants, number))
    gaps = [later - former for former, later in pairwise(grants.values())]
    assert max(abs(gap - 1 / rate) for gap in [*gaps, limiter.delay()]) < 1e-9
    assert limiter.waiting == 0
    assert loop.time() == grants[29]


@pytest.mark.parametrize("rate", [50, 500, 5000])
@pytest.mark.parametrize("late", [0, 0.004, 0.02, 0.045])
def test_late_timers_do_not_lower_the_rate(rate: float, late: float) -> None:
    """With every timer late the rate is reached all the same, and no second gets more than its share."""

    async def main(loop: VirtualLoop) -> list[float]:
        limiter = Limiter(rate, clock=loop.time)
        times: list[float] = []
        loop.selector.late = late

        async def worker() -> None:
            while True:
                await limiter.acquire()
                times.append(loop.time())

        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(worker()) for _ in range(300)]
            await asyncio.sleep(5)
            for task in workers:
                task.cancel()
        return times

    times = run(main)
    assert most_in_a_second(times) <= 1.01 * rate + 2
    assert len(times) >= 0.97 * 5 * rate


def test_what_a_long_stall_held_back_does_not_go_at_once() -> None:
    """After a stall a twentieth of a second's grants go at once; the second gets its share of those used, no more."""

    async def main(loop: VirtualLoop) -> list[float]:
        limiter = Limiter(512, clock=loop.time)
        grants: dict[int, float] = {}
        tasks: list[asyncio.Task[None]] = []

        async def cancel_ten() -> None:
            await take(limiter, grants, 1)
            loop.selector.late = 0
            for task in tasks[:10]:
                task.cancel()

        loop.selector.late = 2
        await take(limiter, grants, 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(cancel_ten())
            tasks.extend(group.create_task(take(limiter, grants, number)) for number in range(2, 100))
        async with asyncio.TaskGroup() as group:
            for number in range(100, 700):
                await asyncio.sleep(1 / 512)
                group.create_task(take(limiter, grants, number))
        return list(grants.values())

    times = run(main)
    assert times.count(times[1]) == 26 - 10
    assert most_in_a_second(times) == 519


def granted_together(late: int, first: Callable[[Limiter, list[asyncio.Task[None]]], None]) -> dict[int, float]:
    """Let a timer be late, so that callers from 1 on get their grants at once, and run *first* when 1 wakes."""

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(1 / UNIT, clock=loop.time)
        grants: dict[int, float] = {}
        tasks: list[asyncio.Task[None]] = []

        async def caller(number: int) -> None:
            await take(limiter, grants, number)
            if number == 1:
                loop.selector.late = 0
                first(limiter, tasks)

        loop.selector.late = late * UNIT
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(caller(number)) for number in range(6))
        return grants

    return run(main)


def test_a_grant_to_a_cancelled_caller_goes_to_the_next() -> None:
    """A caller that is cancelled in the moment between its grant and its waking costs nobody anything."""

    def first(_limiter: Limiter, tasks: list[asyncio.Task[None]]) -> None:
        tasks[2].cancel()

    assert granted_together(2, first) == {0: 0, 1: 3 * UNIT, 3: 3 * UNIT, 4: 3 * UNIT + 0.001, 5: 4 * UNIT}


def test_a_cancelled_caller_takes_no_grant_with_it() -> None:
    """A caller that is cancelled in the moment before its grant leaves it to the next."""

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(1, clock=loop.time)
        grants: dict[int, float] = {}
        loop.selector.late = 0.04  # so that two timers fire in one round
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(take(limiter, grants, number)) for number in range(3)]
            loop.call_at(0.99, tasks[1].cancel)
        return grants

    assert run(main) == {0: 0, 2: 1.03}


def test_a_newcomer_does_not_overtake() -> None:
    """Who comes when a grant is overdue, because the timer is late, goes behind who waits for it."""

    async def main(loop: VirtualLoop) -> list[int]:
        ahead = 0.0
        limiter = Limiter(1, clock=lambda: loop.time() + ahead)
        grants: dict[int, float] = {}
        async with asyncio.TaskGroup() as group:
            for number in range(2):
                group.create_task(take(limiter, grants, number))
            await asyncio.sleep(0.5)
            ahead = 9.0
            group.create_task(take(limiter, grants, 2))
        return list(grants)

    assert run(main) == [0, 1, 2]


def test_many_who_give_up_do_not_put_off_the_rest() -> None:
    """A stream of callers that come and give up every half millisecond delays nobody's grant."""

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(16, clock=loop.time)
        grants: dict[int, float] = {}
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(take(limiter, grants, number))
            for _ in range(500):
                task = group.create_task(limiter.acquire())
                await asyncio.sleep(0.0005)
                task.cancel()
        return grants

    assert run(main) == {0: 0, 1: 1 / 16, 2: 2 / 16}


def test_waiters_benefit_from_a_higher_rate_at_once() -> None:
    """Those who wait at a low rate go at the new one from the moment of the change."""

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(1 / 1024, clock=loop.time)
        grants: dict[int, float] = {}
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(take(limiter, grants, number))
            await asyncio.sleep(1)
            limiter.set_rate(4)
        return grants

    assert run(main) == {0: 0, 1: 1.25, 2: 1.5, 3: 1.75}


def test_the_later_of_two_pauses_wins() -> None:
    """No pause is made shorter, not by a change of the rate either, and what it held back does not go at once."""

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(4, burst=3, clock=loop.time)
        grants: dict[int, float] = {}
        limiter.pause_until(10)
        limiter.pause_until(5)
        limiter.pause_until(math.nan)
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(take(limiter, grants, number))
            await asyncio.sleep(1)
            assert (limiter.paused_for, limiter.delay(), limiter.waiting) == (9, 10, 4)
            limiter.set_rate(2)
        assert limiter.paused_for == 0
        return grants

    assert run(main) == {0: 10, 1: 10.5, 2: 11, 3: 11.5}


def test_a_pause_shorter_than_the_wait_changes_nothing() -> None:
    """Who waits for longer than the pause lasts goes when the rate says."""

    async def main(loop: VirtualLoop) -> dict[int, float]:
        limiter = Limiter(1, clock=loop.time)
        grants: dict[int, float] = {}
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(take(limiter, grants, number))
            await asyncio.sleep(0.25)
            limiter.pause_until(0.5)
        return grants

    assert run(main) == {0: 0, 1: 1, 2: 2}


def test_a_pause_outlasts_a_cancelled_grant() -> None:
    """A grant that is given back during a pause is not handed on before its end."""

    def first(limiter: Limiter, tasks: list[asyncio.Task[None]]) -> None:
        limiter.pause_until(8)
        tasks[2].cancel()

    assert granted_together(1, first) == {0: 0, 1: 2 * UNIT, 3: 8, 4: 8 + UNIT, 5: 8 + 2 * UNIT}


def test_a_limiter_serves_one_loop_after_the_other() -> None:
    """A loop that ends while callers wait leaves nothing behind that would block the next one."""
    limiter = Limiter(1, clock=lambda: asyncio.get_running_loop().time())
    limiter.pause_until(4)

    async def leave(_loop: VirtualLoop) -> None:
        task = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(1)
        assert not task.done()

    async def stay(loop: VirtualLoop) -> float:
        await limiter.acquire()
        return loop.time()

    run(leave)
    assert limiter.waiting == 0
    assert run(stay) == 4


class CountingLoop(uvloop.Loop):
    """uvloop that writes down the delay of every timer."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Write the delay down and set the timer."""
        self.delays.append(delay)
        return super().call_later(delay, callback, *args, context=context)


def count(main: Callable[[], Coroutine[object, object, None]]) -> list[float]:
    """Run *main* on uvloop, and return the delays of its timers."""
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, CountingLoop)
        runner.run(main())
        return loop.delays


def test_uvloop_does_not_spin() -> None:
    """On uvloop, whose clock is coarse, no timer is shorter than a millisecond, and one serves many callers."""

    async def main() -> None:
        limiter = Limiter(5000)
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(limiter.acquire())

    delays = count(main)
    assert min(delays) >= 0.001
    assert len(delays) <= 50


def test_uvloop_takes_an_endless_pause() -> None:
    """A pause without end is waited for in parts: uvloop refuses an endless timer."""

    async def main() -> None:
        limiter = Limiter(5000)
        limiter.pause_until(math.inf)
        task = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()

    assert count(main) == [3600]


def test_old_name_of_acquire_nowait() -> None:
    """The old name works for one release, with a warning."""
    limiter = Limiter(1, clock=lambda: 0.0)
    with pytest.warns(DeprecationWarning, match="acquire_nowait"):
        assert limiter.take()
    with pytest.warns(DeprecationWarning, match="acquire_nowait"):
        assert not limiter.take()
