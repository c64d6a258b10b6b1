"""Timeouts with one timer for all calls of a session; asyncio's own timeout sets one timer for each call."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from cdp_orders_async.outlasting import STALL

__all__ = ["CLOSED", "Broken", "Timeout", "TimeoutPool"]

CLOSED = "the client is closed"


class Broken(Exception):
    """Work that failed, with a reason that may be shown."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
        """Whether the cause will probably not go away."""


class TimeoutPool:
    """Gives each work the same number of *seconds*: ``with Timeout(pool): ...`` raises `TimeoutError` after that.

    If *seconds* is infinite, only `close` or the work's own timeout ends it. All work runs in the event loop *loop*.
    """

    __slots__ = ("_idle", "_timer", "closed", "loop", "seconds", "timeouts")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = seconds
        self.loop = loop
        self.timeouts: dict[Timeout, float] = {}
        """The end of each timeout, the earliest first."""
        self.closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    def begin(self, timeout: Timeout) -> None:
        """Start *timeout* now; raises `Broken` after `close`."""
        if self.closed:
            raise Broken(CLOSED)
        self.timeouts[timeout] = end = self.loop.time() + self.seconds
        if self._timer is None and end < math.inf:
            self._timer = self.loop.call_at(end, self._look, end)

    def finish(self, timeout: Timeout) -> None:
        """Remove *timeout*."""
        del self.timeouts[timeout]
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def close(self) -> None:
        """Cancel the timer and end all work with `Broken`, except that of the task that calls this."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if asyncio.get_running_loop() is self.loop:  # a task of another loop can only be ended there
            for timeout in self._others():
                timeout.end()

    async def wait_closed(self) -> None:
        """Wait until all work has ended, except that of the calling task."""
        while asyncio.get_running_loop() is self.loop and self._others():
            self._idle = self.loop.create_future()
            await self._idle

    def _others(self) -> list[Timeout]:
        mine = asyncio.current_task()
        return [timeout for timeout in self.timeouts if timeout.task is not mine]

    def _look(self, due: float) -> None:
        """End the work whose time is over, and set the timer for the next."""
        self._timer = None
        now = self.loop.time()
        if now > due + STALL:  # the loop was blocked: answers that came meanwhile are read first
            self._timer = self.loop.call_at(now + STALL, self._look, now + STALL)
            return
        for timeout, end in self.timeouts.items():
            if end > now:
                self._timer = self.loop.call_at(end, self._look, end)
                return
            timeout.end()


class Timeout:
    """The timeout of one piece of work in a task: the seconds of *pool*, or *seconds* if they are fewer. Use it once.

    Raises `TimeoutError` when the time is over, and `Broken` if the pool is closed, or if the work waits for something
    that was cancelled although nobody cancelled the task.
    """

    __slots__ = ("_cancelling", "_ended", "_pool", "_seconds", "_timer", "task")

    def __init__(self, pool: TimeoutPool, seconds: float | None = None) -> None:
        self._pool = pool
        self._seconds = None if seconds is None or seconds >= pool.seconds else max(seconds, 0.001)
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def shortened(self) -> bool:
        """Whether it has fewer seconds than its pool."""
        return self._seconds is not None

    def __enter__(self) -> None:
        task = asyncio.current_task(self._pool.loop)
        if task is None:
            raise RuntimeError("a timeout needs a task")
        self.task = task
        self._cancelling = task.cancelling()
        self._pool.begin(self)
        if self._seconds is not None:
            due = self._pool.loop.time() + self._seconds
            self._timer = self._pool.loop.call_at(due, self._look, due)

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._pool.finish(self)
        if self._timer is not None:
            self._timer.cancel()
        cancelling = self.task.uncancel() if self._ended else self.task.cancelling()
        if not isinstance(error, asyncio.CancelledError) or cancelling > self._cancelling:
            return  # as in asyncio's own timeout: if somebody else cancelled too, it stays a cancellation
        if self._pool.closed:
            raise Broken(CLOSED) from error
        if self._ended:
            raise TimeoutError from error
        if not cancelling:  # otherwise the task may have been cancelled before it began this work
            raise Broken("what it waited for was cancelled") from error

    def end(self) -> None:
        """Cancel the work."""
        if not self._ended:
            self._ended = True
            self.task.cancel()

    def _look(self, due: float) -> None:
        now = self._pool.loop.time()
        if now > due + STALL:
            self._timer = self._pool.loop.call_at(now + STALL, self._look, now + STALL)
        else:
            self.end()
