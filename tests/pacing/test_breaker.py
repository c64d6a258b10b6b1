"""The circuit breaker, in virtual time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async.pacing.breaker import Breaker
from tests.virtual import VirtualLoop, run


async def passed(breaker: Breaker, log: dict[str, float], name: str) -> None:
    """Wait for the breaker and write down when it let this caller through."""
    await breaker.wait()
    log[name] = asyncio.get_running_loop().time()


def look(breaker: Breaker) -> tuple[str, float]:
    """Return its state, and for how long it is open."""
    return breaker.state, breaker.open_for


def opened(loop: VirtualLoop, threshold: int = 3) -> Breaker:
    """Make a breaker that has just opened for 5 seconds."""
    breaker = Breaker(threshold, clock=loop.time)
    for _ in range(threshold):
        breaker.failure()
    return breaker


def test_failures_in_a_row_open_it() -> None:
    """It opens at the threshold, and any success before that starts the count anew."""

    async def main(loop: VirtualLoop) -> None:
        breaker = Breaker(clock=loop.time)
        for _ in range(19):
            breaker.failure()
        breaker.success()
        for _ in range(19):
            breaker.failure()
            await breaker.wait()
        assert look(breaker) == ("closed", 0)
        breaker.failure()
        assert look(breaker) == ("open", 5)
        await asyncio.sleep(2)
        assert look(breaker) == ("open", 3)
        await asyncio.sleep(3)
        assert look(breaker) == ("half-open", 0)

    run(main)


def test_one_probe_at_a_time() -> None:
    """When the pause is over one caller goes; its success lets all others go at once."""

    async def main(loop: VirtualLoop) -> None:
        breaker = opened(loop)
        log: dict[str, float] = {}
        async with asyncio.TaskGroup() as group:
            for name in "abcde":
                group.create_task(passed(breaker, log, name))
            await asyncio.sleep(6)
            assert list(log.values()) == [5]
            assert look(breaker) == ("half-open", 0)
            breaker.success()
            assert look(breaker) == ("closed", 0)
        assert list(log.values()) == [5, 6, 6, 6, 6]
        await breaker.wait()
        assert loop.time() == 6

    run(main)


def test_each_failed_probe_doubles_the_pause() -> None:
    """A failed probe opens it again for twice as long, up to a minute; a success makes the next pause short again."""

    async def main(loop: VirtualLoop) -> list[float]:
        breaker = opened(loop)
        probes: list[float] = []
        for _ in range(6):
            await breaker.wait()
            probes.append(loop.time())
            breaker.failure()
            breaker.failure()  # of a call that was sent before it opened
            assert breaker.state == "open"
        await breaker.wait()
        breaker.success()
        for _ in range(3):
            breaker.failure()
        probes.append(breaker.open_for)
        return probes

    assert run(main) == [5, 15, 35, 75, 135, 195, 5]


def test_calls_from_before_do_not_make_the_pause_longer() -> None:
    """Failures of calls that were sent before it opened change nothing; a success of one closes it."""

    async def main(loop: VirtualLoop) -> None:
        breaker = opened(loop)
        await asyncio.sleep(1)
        for _ in range(30):
            breaker.failure()
        assert breaker.open_for == 4
        log: dict[str, float] = {}
        async with asyncio.TaskGroup() as group:
            group.create_task(passed(breaker, log, "a"))
            await asyncio.sleep(1)
            breaker.success()
            breaker.success()
        assert log == {"a": 2}

    run(main)


def test_cancelled_waiters_leave_nothing_behind() -> None:
    """Callers that give up while it is open do not take the probe with them."""

    async def main(loop: VirtualLoop) -> dict[str, float]:
        breaker = opened(loop)
        log: dict[str, float] = {}
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(passed(breaker, log, name)) for name in "abc"]
            await asyncio.sleep(1)
            tasks[0].cancel()
            loop.call_later(4, tasks[1].cancel)
        return log

    assert run(main) == {"c": 5}


def test_a_probe_without_a_verdict_blocks_nobody_for_ever() -> None:
    """When the probe's call is given up, the next caller goes after another pause."""

    async def main(loop: VirtualLoop) -> dict[str, float]:
        breaker = opened(loop)
        log: dict[str, float] = {}
        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(passed(breaker, log, name))
        return log

    assert list(run(main).values()) == [5, 10, 15]


def test_timers_that_fire_early() -> None:
    """A rest shorter than a tick of the clock is not waited for, again and again, by callers that take turns."""

    async def main(loop: VirtualLoop) -> None:
        looks = [0]

        def clock() -> float:
            looks[0] += 1
            assert looks[0] < 100, "it waits again and again"
            return loop.time()

        breaker = Breaker(1, clock=clock)
        breaker.failure()
        assert breaker.until is not None
        loop.selector.now = math.nextafter(breaker.until, 0)
        waiting = list[asyncio.Task[None]]()
        for _ in range(4):
            waiting.append(asyncio.create_task(breaker.wait()))
            await asyncio.sleep(0)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        breaker.success()
        await asyncio.gather(*waiting)

    run(main)


def test_waiters_see_a_pause_that_was_made_longer() -> None:
    """Who waits behind a probe that fails waits for the whole new pause."""

    async def main(loop: VirtualLoop) -> list[float]:
        breaker = opened(loop)
        log: dict[str, float] = {}
        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(passed(breaker, log, name))
            await asyncio.sleep(7)
            breaker.failure()
        return list(log.values())

    assert run(main) == [5, 17]


@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.sampled_from(("success", "failure", "call", "cancel")), st.sampled_from((0, 0, 1, 5))), max_size=60
    ),
)
def test_an_outage_is_met_with_few_calls(threshold: int, plan: list[tuple[str, int]]) -> None:
    """Nobody goes while it is open, two at once only when it is closed, and nobody is forgotten."""

    async def main(loop: VirtualLoop) -> None:
        breaker = Breaker(threshold, clock=loop.time)
        tried: list[float] = []

        async def call() -> None:
            await breaker.wait()
            assert breaker.state != "open"
            if breaker.state == "half-open":
                tried.append(loop.time())

        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []
            for step, gap in plan:
                if step == "success":
                    breaker.success()
                    tried.clear()
                elif step == "failure":
                    breaker.failure()
                elif step == "call":
                    tasks.append(group.create_task(call()))
                elif tasks:
                    tasks.pop().cancel()
                await asyncio.sleep(gap)
                assert len(tried) == len(set(tried))
            breaker.success()
        assert breaker.state == "closed"

    run(main)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Breaker(threshold=0), "threshold"),
        (lambda: Breaker(pause=0), "pause"),
        (lambda: Breaker(max_pause=math.nan), "max_pause"),
    ],
)
def test_wrong_values_are_refused(make: Callable[[], object], name: str) -> None:
    """A threshold or pause that makes no sense is an error that names it."""
    with pytest.raises(ValueError, match=name):
        make()
