"""One timer for many limits in time."""

from __future__ import annotations

import asyncio

import pytest

from cdp_orders_async.session.watch import Limit, Watch
from tests.virtual import VirtualLoop, run


async def rest(watch: Watch, seconds: float) -> float:
    """Sleep for *seconds* under *watch*; return when it was over."""
    with Limit(watch):
        await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


def test_each_ends_in_its_own_time() -> None:
    """What takes longer than the limit ends with `TimeoutError`, counted from when it began; the rest goes on."""

    async def main(loop: VirtualLoop) -> None:
        watch = Watch(10, loop)
        late = asyncio.create_task(rest(watch, 60))
        await asyncio.sleep(4)
        later = asyncio.create_task(rest(watch, 60))
        soon = asyncio.create_task(rest(watch, 9))
        await asyncio.wait({late})
        assert loop.time() == 10
        assert await soon == 13
        await asyncio.wait({later})
        assert loop.time() == 14
        for task in (late, later):
            assert isinstance(task.exception(), TimeoutError)
        assert await rest(watch, 9.5) == 23.5

    run(main)


def test_a_cancellation_stays_one() -> None:
    """Work that somebody cancels is cancelled, also where its time is over at the same moment."""

    async def main(loop: VirtualLoop) -> None:
        watch = Watch(10, loop)
        task = asyncio.create_task(rest(watch, 60))
        both = asyncio.create_task(rest(watch, 60))
        loop.call_at(10, both.cancel)
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task, both})
        assert task.cancelled()
        assert both.cancelled()

    run(main)


def test_an_error_stays_what_it_is() -> None:
    """An error of the work passes, and what comes after it in the task is not ended."""

    async def fails(watch: Watch) -> None:
        with Limit(watch):
            raise ValueError("its own")

    async def main(loop: VirtualLoop) -> None:
        watch = Watch(10, loop)
        with pytest.raises(ValueError, match="its own"):
            await fails(watch)
        await asyncio.sleep(20)

    run(main)


def test_many_end_together() -> None:
    """A thousand that began at the same time end at the same time, and those that began later do not."""

    async def main(loop: VirtualLoop) -> None:
        watch = Watch(10, loop)
        first = [asyncio.create_task(rest(watch, 60)) for _ in range(1000)]
        await asyncio.sleep(5)
        second = [asyncio.create_task(rest(watch, 9)) for _ in range(1000)]
        await asyncio.wait(first)
        assert loop.time() == 10
        await asyncio.wait(second)
        assert loop.time() == 14
        assert all(isinstance(task.exception(), TimeoutError) for task in first)
        assert {task.result() for task in second} == {14}
        watch.close()
        watch.close()

    run(main)
