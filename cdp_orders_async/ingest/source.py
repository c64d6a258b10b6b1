"""The input of a load: one task draws an order after the other from it, when there is room, and closes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

from cdp_orders_async.errors import InputError
from cdp_orders_async.graph import Line, OrderGraph

__all__ = ["Orders", "Source"]

Orders: TypeAlias = Iterable[OrderGraph | Line] | AsyncIterable[OrderGraph | Line]

END_OF_INPUT: Final[Any] = object()
"""What comes after the last order; None is no order, and no end either."""


class Source:
    """Draws from *orders* while there is *room*, and hands each on with its position, from 1, to *take*.

    One task draws and closes it: a source may hold a context variable, a timeout or a task group around its yields.
    At its end, by whatever, *ended* is called once.
    """

    def __init__(
        self,
        orders: Orders,
        room: Callable[[], bool],
        take: Callable[[int, OrderGraph | Line], None],
        ended: Callable[[], None],
    ) -> None:
        self.stopped = False
        """Whether it is asked for no more."""
        self.done = False
        """Whether it has ended and is closed."""
        self.error: Exception | None = None
        """What broke it off, or its closing."""
        self._lines = _iterator(orders)
        self._room = room
        self._take = take
        self._ended = ended
        self._waiting: asyncio.Future[None] | None = None
        self._drawing = False
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that draws; None before the first order is asked for, and after the end."""
        return None if self.done else self._task

    def wake(self) -> None:
        """Draw, if there is room now."""
        if self._task is None:
            if not self.done:
                self._task = self._loop.create_task(self._draw_all())
                self._task.add_done_callback(self._drop)
        elif self._waiting is not None and not self._waiting.done() and (self.stopped or self._room()):
            self._waiting.set_result(None)

    def end(self) -> None:
        """Give nothing at all, and need no task for it."""
        self.done = True

    def stop(self) -> None:
        """Draw no more, and end what waits for an input that has nothing to give yet."""
        if self.stopped:
            return
        self.stopped = True
        if self._task is None:
            self.wake()  # it is closed in its own task
        elif self._drawing:
            self._task.cancel()
        else:
            self.wake()

    def _drop(self, _: object) -> None:
        """Note the end of a task that was cancelled before it began, as a loop does that closes."""
        if not self.done:
            self.stopped = self.done = True
            self._ended()

    async def _draw_all(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 for the types: this is a coroutine
        self._task = task  # at once: where the loop starts tasks eagerly, whoever made it has not got it yet
        try:
            await self._run_step(self._draw(task), task)
        finally:
            try:
                await self._run_step(_close(self._lines), task)
            finally:
                self.stopped = self.done = True
                self._ended()

    async def _run_step(self, step: Awaitable[None], task: asyncio.Task[None]) -> None:
        """Do a *step*, and note what breaks it off: what was drawn before is loaded all the same."""
        try:
            await step
        except Exception as error:  # noqa: BLE001 told by the load
            self.error = self.error or error
        except (KeyboardInterrupt, SystemExit):
            raise  # the process ends
        except BaseException as error:  # CancelledError, a group of it, or the panic of an extension
            if not task.cancelling():  # nobody cancelled
                self.error = self.error or _input_error(error)
            elif self.stopped:
                task.uncancel()
            else:
                raise

    async def _draw(self, task: asyncio.Task[None]) -> None:
        position = 0
        while True:
            while not self.stopped and not self._room():
                self._waiting = self._loop.create_future()
                await self._waiting
            if self.stopped:
                return
            self._drawing = True
            try:
                line = await anext(self._lines, END_OF_INPUT)
                if task.cancelling():  # stopped by the source itself: the cancellation comes with the next wait
                    await asyncio.sleep(0)
            finally:
                self._drawing = False
            if line is END_OF_INPUT:
                return
            position += 1
            self._take(position, line)


async def _close(lines: AsyncIterator[OrderGraph | Line]) -> None:
    try:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()
    except BaseExceptionGroup as group:
        _, others = group.split(GeneratorExit)  # as a task group around a yield tells that it is closed
        if others is not None:
            raise others from group


def _input_error(error: BaseException) -> InputError:
    nobody = ", and nobody had cancelled it" if isinstance(error, asyncio.CancelledError) else ""
    ended = InputError(f"the input broke off: it raised {type(error).__name__}{nobody}")
    ended.__cause__ = error
    return ended


def _iterator(orders: Orders) -> AsyncIterator[OrderGraph | Line]:
    async def walk(plain: Iterable[OrderGraph | Line]) -> AsyncGenerator[OrderGraph | Line, None]:
        for line in plain:
            yield line

    return aiter(orders) if isinstance(orders, AsyncIterable) else walk(orders)
