"""A loop whose tasks begin when they are made: a load works there as on any other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from cdp_orders_async import MemoryJournal, OrderGraph, Verdict, ingest, ingest_one
from cdp_orders_async.emulator import Emulator
from tests.ingest.expectations import stored, wanted
from tests.ingest.orders import item, order, whole
from tests.ingest.serving import serving

PyTask: Any = vars(asyncio.tasks)["_PyTask"]
FACTORY: Any = getattr(asyncio, "eager_task_factory", None)
"""Since Python 3.12; in 3.11 the task below does the same."""


class EagerTask(PyTask):  # type: ignore[misc]
    """A task that makes its first step when it is made, as one of `asyncio.eager_task_factory` does."""

    _skips = False

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: asyncio.AbstractEventLoop, **rest: Any) -> None:  # noqa: ANN401
        super().__init__(coro, loop=loop, **rest)  # pyright: ignore[reportUnknownMemberType] nobody knows the base
        outer = asyncio.current_task(loop)
        if outer is not None:
            vars(asyncio.tasks)["_leave_task"](loop, outer)
        self._context.run(self._Task__step)
        if outer is not None:
            vars(asyncio.tasks)["_enter_task"](loop, outer)
        self._skips = True  # the step that every new task schedules

    def _Task__step(self, exc: BaseException | None = None) -> None:  # noqa: N802 as the name is for asyncio
        if self._skips:
            self._skips = False
        else:
            super()._Task__step(exc)  # pyright: ignore[reportUnknownMemberType] nobody knows the base


def eager_task(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **rest: Any) -> asyncio.Future[Any]:  # noqa: ANN401
    """Make an eager task."""
    return EagerTask(coro, loop=loop, **rest)


@pytest.mark.parametrize("connections", [1, 256])
def test_loads_on_a_loop_of_eager_tasks(connections: int) -> None:
    """Many orders over many connections neither recurse nor wait for ever, with one order beside them."""
    graphs = [OrderGraph(order=order(f"A-{n}"), items=tuple(item(f"i{m}") for m in range(9))) for n in range(60)]
    emulator = Emulator()

    factory: Any = FACTORY or eager_task  # the stubs know the type of neither

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        begun: list[int] = []

        async def probe() -> None:
            begun.append(1)

        task = asyncio.get_running_loop().create_task(probe())
        assert begun == [1]  # it is eager
        await task
        async with serving(emulator, timeout=60, connections=connections) as cdp:
            journal = MemoryJournal()
            for verdict in (Verdict.LOADED, Verdict.ALREADY):
                async with ingest(cdp, graphs, journal=journal, open_orders=200) as load:
                    one = asyncio.create_task(ingest_one(cdp, whole(), journal=journal))
                    assert await load.run() == {verdict: 60}
                    assert (await one).verdict == verdict

    asyncio.run(main())
    assert stored(emulator) == wanted([*graphs, whole()])
