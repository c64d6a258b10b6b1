"""One timer for many timeouts in time."""

from __future__ import annotations

import asyncio

import pytest

from cdp_orders_async.session.timeouts import Broken, Timeout, TimeoutPool
from tests.virtual import VirtualLoop, run


async def rest(pool: TimeoutPool, seconds: float) -> float:
    """Sleep for *seconds* under *pool*; return when it was over."""
    with Timeout(pool):
        await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


def test_each_ends_in_its_own_time() -> None:
    """What takes longer than the timeout ends with `TimeoutError`, counted from when it began; the rest goes on."""

    async def main(loop: VirtualLoop) -> None:
        pool = TimeoutPool(10, loop)
        late = asyncio.create_task(rest(pool, 60))
        await asyncio.sleep(4)
        later = asyncio.create_task(rest(pool, 60))
        soon = asyncio.create_task(rest(pool, 9))
        await asyncio.wait({late})
        assert loop.time() == 10
        assert await soon == 13
        await asyncio.wait({later})
        assert loop.time() == 14
        for task in (late, later):
            assert isinstance(task.exception(), TimeoutError)
        assert await rest(pool, 9.5) == 23.5

    run(main)


def test_a_cancellation_stays_one() -> None:
    """Work that somebody cancels is cancelled, also where its time is over at the same moment."""

    async def main(loop: VirtualLoop) -> None:
        pool = TimeoutPool(10, loop)
        task = asyncio.create_task(rest(pool, 60))
        both = asyncio.create_task(rest(pool, 60))
        loop.call_at(10, both.cancel)
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task, both})
        assert task.cancelled()
        assert both.cancelled()

    run(main)


def test_an_error_stays_what_it_is() -> None:
    """An error of the work passes, and what comes after it in the task is not ended."""

    async def fails(pool: TimeoutPool) -> None:
        with Timeout(pool):
            raise ValueError("its own")

    async def main(loop: VirtualLoop) -> None:
        pool = TimeoutPool(10, loop)
        with pytest.raises(ValueError, match="its own"):
            await fails(pool)
        await asyncio.sleep(20)

    run(main)


def test_many_end_together() -> None:
    """A thousand that began at the same time end at the same time, and those that began later do not."""

    async def main(loop: VirtualLoop) -> None:
        pool = TimeoutPool(10, loop)
        first = [asyncio.create_task(rest(pool, 60)) for _ in range(1000)]
        await asyncio.sleep(5)
        second = [asyncio.create_task(rest(pool, 9)) for _ in range(1000)]
        await asyncio.wait(first)
        assert loop.time() == 10
        await asyncio.wait(second)
        assert loop.time() == 14
        assert all(isinstance(task.exception(), TimeoutError) for task in first)
        assert {task.result() for task in second} == {14}
        pool.close()
        pool.close()

    run(main)


def test_fewer_seconds() -> None:
    """A timeout may have fewer seconds than its pool gives, and not more."""

    async def work(pool: TimeoutPool, seconds: float | None) -> float:
        try:
            with Timeout(pool, seconds):
                await asyncio.sleep(60)
        except TimeoutError:
            return asyncio.get_running_loop().time()
        raise AssertionError("it did not end")

    async def main(loop: VirtualLoop) -> None:
        pool = TimeoutPool(10, loop)
        assert await asyncio.gather(*(work(pool, seconds) for seconds in (None, 4, 10, 20, -1))) == [
            10, 4, 10, 10, 0.001
        ]  # fmt: skip
        assert [Timeout(pool, seconds).shortened for seconds in (None, 4, 10, 20)] == [False, True, False, False]
        assert pool.timeouts == {}

    run(main)


def test_close_ends_all() -> None:
    """What goes on under a pool that is closed ends, and nothing begins any more."""

    async def main(loop: VirtualLoop) -> None:
        pool = TimeoutPool(10, loop)
        tasks = [asyncio.create_task(rest(pool, 5)) for _ in range(3)]
        await asyncio.sleep(1)
        pool.close()
        await pool.wait_closed()
        assert pool.timeouts == {}
        await asyncio.wait(tasks)
        assert {str(task.exception()) for task in tasks} == {"the client is closed"}
        assert {task.cancelling() for task in tasks} == {0}
        with pytest.raises(Broken, match=r"^the client is closed$"):
            await rest(pool, 1)

    run(main)


def test_close_under_a_cancellation() -> None:
    """Work of a task that was cancelled before it began, and caught that, ends as any other."""

    async def caught(pool: TimeoutPool) -> float:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return await rest(pool, 5)
        return 0.0

    async def main(loop: VirtualLoop) -> None:
        pool = TimeoutPool(10, loop)
        task = asyncio.create_task(caught(pool))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(1)
        pool.close()
        await asyncio.wait([task])
        assert isinstance(task.exception(), Broken)

    run(main)


@pytest.mark.parametrize("before", [0, 1])
def test_a_task_that_cancels_itself(before: int) -> None:
    """A task that was cancelled just before, and has not noticed yet, is cancelled."""

    async def main(loop: VirtualLoop) -> None:
        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            if before:
                task.cancel()
            with Timeout(TimeoutPool(10, loop)):
                if not before:
                    task.cancel()
                await asyncio.sleep(1)

        task = asyncio.create_task(work())
        await asyncio.wait([task])
        assert task.cancelled()

    run(main)


def test_what_stalls_the_loop_ends_nothing_at_once() -> None:
    """Where the loop stood still beyond the time, what came meanwhile can still be read."""

    async def main(loop: VirtualLoop) -> None:
        for seconds in (None, 4.0):
            pool, came = TimeoutPool(10, loop), asyncio.Event()
            with Timeout(pool, seconds):
                loop.selector.now += 100
                loop.call_later(0.05, came.set)
                await came.wait()
            with pytest.raises(TimeoutError), Timeout(pool, seconds):  # noqa: PT012
                loop.selector.now += 100
                await asyncio.sleep(1)

    run(main)
