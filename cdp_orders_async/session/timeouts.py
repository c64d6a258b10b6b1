"""Ends what takes too long, with one timer for all calls of a session: asyncio's own timeout sets one for each."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

__all__ = ["CLOSED", "Broken", "Timeout", "TimeoutPool"]

CLOSED = "the client is closed"
STALL = 0.1  # seconds that a timer may come late, and that work gets more where it came later


class Broken(Exception):
    """Work that came to nothing, in words that may be shown."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
        """Whether its cause is not likely to pass."""


class TimeoutPool:
    """Gives everything the same number of *seconds*: ``with Timeout(pool): ...`` raises `TimeoutError` after them.

    Where they are infinite, only a timeout of its own or `close` ends something. *loop* is the event loop in which all
    of it runs.
    """

    __slots__ = ("_idle", "_timer", "closed", "loop", "seconds", "timeouts")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = seconds
        self.loop = loop
        self.timeouts: dict[Timeout, float] = {}
        """When each ends, the first to end first."""
        self.closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    def begin(self, timeout: Timeout) -> None:
        """Let *timeout* begin now; raises `Broken` after `close`."""
        if self.closed:
            raise Broken(CLOSED)
        self.timeouts[timeout] = end = self.loop.time() + self.seconds
        if self._timer is None and end < math.inf:
            self._timer = self.loop.call_at(end, self._look, end)

    def finish(self, timeout: Timeout) -> None:
        """Let *timeout* be over."""
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
        """Return when nothing goes on any more."""
        while asyncio.get_running_loop() is self.loop and self._others():
            self._idle = self.loop.create_future()
            await self._idle

    def _others(self) -> list[Timeout]:
        mine = asyncio.current_task()
        return [timeout for timeout in self.timeouts if timeout.task is not mine]

    def _look(self, due: float) -> None:
        """End what is over, and come again when the next may be."""
        self._timer = None
        now = self.loop.time()
        if now > due + STALL:  # the loop stood still, and answers that came meanwhile are still to be read
            self._timer = self.loop.call_at(now + STALL, self._look, now + STALL)
            return
        for timeout, end in self.timeouts.items():
            if end > now:
                self._timer = self.loop.call_at(end, self._look, end)
                return
            timeout.end()


class Timeout:
    """The timeout of one piece of work, to be used in a task, once: that of *pool*, or *seconds* if they are fewer.

    Raises `TimeoutError` when they are over, and `Broken` where the pool is closed or where what the work waits for
    was cancelled, though nobody cancelled the task.
    """

    __slots__ = ("_cancelling", "_ended", "_pool", "_seconds", "_timer", "task")

    def __init__(self, pool: TimeoutPool, seconds: float | None = None) -> None:
        self._pool = pool
        self._seconds = None if seconds is None or seconds >= pool.seconds else max(seconds, 0.001)
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    @property
    def shortened(self) -> bool:
        """Whether it has fewer seconds than its pool gives."""
        return self._seconds is not None

    def __enter__(self) -> None:
        task = asyncio.current_task(self._pool.loop)
        if task is None:
            raise RuntimeError("only what runs in a task can be ended")
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
            return  # as asyncio's own timeout does: where somebody else cancelled too, it stays a cancellation
        if self._pool.closed:
            raise Broken(CLOSED) from error
        if self._ended:
            raise TimeoutError from error
        if not cancelling:  # else the task may have cancelled itself before it came here
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
