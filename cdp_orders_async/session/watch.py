"""Ends what takes too long, with one timer for all calls of a session: asyncio's own timeout sets one for each."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ["Limit", "Watch"]


class Watch:
    """Gives everything the same number of *seconds*: ``with Limit(watch): ...`` raises `TimeoutError` after them.

    *loop* is the event loop in which all of it runs.
    """

    __slots__ = ("_timer", "limits", "loop", "seconds")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = seconds
        self.loop = loop
        self.limits: dict[Limit, float] = {}
        """When each ends, the first to end first."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, limit: Limit) -> None:
        """Let *limit* begin now."""
        self.limits[limit] = end = self.loop.time() + self.seconds
        if self._timer is None:
            self._timer = self.loop.call_at(end, self._look)

    def close(self) -> None:
        """Take the timer away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """End what is over, and come again when the next may be."""
        self._timer = None
        for limit, end in list(self.limits.items()):
            if end > self.loop.time():
                self._timer = self.loop.call_at(end, self._look)
                return
            del self.limits[limit]
            limit.end()


class Limit:
    """The limit of one piece of work, to be used in a task, once."""

    __slots__ = ("_cancelling", "_ended", "_task", "_watch")

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._ended = False

    def __enter__(self) -> None:
        task = asyncio.current_task(self._watch.loop)
        if task is None:
            raise RuntimeError("only what runs in a task can be ended")
        self._task = task
        self._cancelling = task.cancelling()
        self._watch.begin(self)

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        self._watch.limits.pop(self, None)
        # As asyncio's own timeout does: where somebody else cancelled too, it stays a cancellation.
        if self._ended and self._task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def end(self) -> None:
        """Cancel the work."""
        self._ended = True
        self._task.cancel()
