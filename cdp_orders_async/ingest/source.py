"""The input of a load: one task draws orders from it one by one, while there is room, and closes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

from cdp_orders_async.errors import InputError
from cdp_orders_async.graph import InputLine, OrderGraph

__all__ = ["Orders", "Source"]

Orders: TypeAlias = Iterable[OrderGraph | InputLine] | AsyncIterable[OrderGraph | InputLine]

END_OF_INPUT: Final[Any] = object()
"""Follows the last order. A None from the input is not the end: it is a wrong order."""


class Source:
    """Draws *orders* while there is *room*, and passes each one with its position, from 1, to *take*.

    One task draws from and closes the input, because an input may hold a context variable, a timeout or a task group
    around its yields. *ended* is called once, however the input ends.
    """

    def __init__(
        self,
        orders: Orders,
        room: Callable[[], bool],
        take: Callable[[int, OrderGraph | InputLine], None],
        ended: Callable[[], None],
    ) -> None:
        self.stopped = False
        """Whether the input was stopped before its end."""
        self.done = False
        """Whether the input has ended and is closed."""
        self.error: Exception | None = None
        """The error of the input, or of its closing."""
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
        """The task that draws; None before the first order is drawn and after the end."""
        return None if self.done else self._task

    def wake(self) -> None:
        """Draw orders if there is room now."""
        if self._task is None:
            if not self.done:
                self._task = self._loop.create_task(self._draw_all())
                self._task.add_done_callback(self._drop)
        elif self._waiting is not None and not self._waiting.done() and (self.stopped or self._room()):
            self._waiting.set_result(None)

    def end(self) -> None:
        """Note that there is nothing to draw; no task is started."""
        self.done = True

    def stop(self) -> None:
        """Draw no further order, and cancel the wait for an input that has no order yet."""
        if self.stopped or self.done:
            return
        self.stopped = True
        if self._task is None:
            self.wake()  # the task closes the input
        elif self._drawing:
            self._task.cancel()
        else:
            self.wake()

    def _drop(self, _: object) -> None:
        """Note the end of a task that was cancelled before it began: a loop that closes does that."""
        if not self.done:
            self.done = True
            self._ended()

    async def _draw_all(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 for the types: this is a coroutine
        self._task = task  # at once: in a loop that starts tasks eagerly, `wake` has no task yet
        try:
            await self._run_step(self._draw(task), task)
        finally:
            try:
                await self._run_step(_close(self._lines), task)
            finally:
                self.done = True
                self._ended()

    async def _run_step(self, step: Awaitable[None], task: asyncio.Task[None]) -> None:
        """Run a *step*, and keep its error: orders that were drawn before are still loaded."""
        try:
            await step
        except Exception as error:  # noqa: BLE001 the load raises it
            self.error = self.error or error
        except (KeyboardInterrupt, SystemExit):
            raise  # the process ends
        except BaseException as error:  # CancelledError, a group of it, or the panic of an extension module
            if not task.cancelling():  # the step raised it, nobody cancelled the task
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
                if task.cancelling():  # the input stopped the load: the cancellation comes with the next wait
                    await asyncio.sleep(0)
            finally:
                self._drawing = False
            if line is END_OF_INPUT:
                return
            position += 1
            self._take(position, line)


async def _close(lines: AsyncIterator[OrderGraph | InputLine]) -> None:
    try:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()
    except BaseExceptionGroup as group:
        _, others = group.split(GeneratorExit)  # a task group around a yield raises it when it is closed
        if others is not None:
            raise others from group


def _input_error(error: BaseException) -> InputError:
    nobody = ", and nobody had cancelled it" if isinstance(error, asyncio.CancelledError) else ""
    ended = InputError(f"the input broke off: it raised {type(error).__name__}{nobody}")
    ended.__cause__ = error
    return ended


def _iterator(orders: Orders) -> AsyncIterator[OrderGraph | InputLine]:
    async def walk(plain: Iterable[OrderGraph | InputLine]) -> AsyncGenerator[OrderGraph | InputLine, None]:
        for line in plain:
            yield line

    return aiter(orders) if isinstance(orders, AsyncIterable) else walk(orders)
