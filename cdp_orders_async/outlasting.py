"""The end of our own work: a wait for it that a cancellation does not cut short, and the time that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import anyio

__all__ = ["Drain", "outlast"]


async def outlast(pending: Callable[[], Collection[asyncio.Future[Any]]], cancelled: Callable[[], None]) -> None:
    """Wait until *pending* returns no futures, and raise a cancellation only after that.

    *cancelled* is called at each cancellation. Asyncio cancels once; an anyio scope cancels again at each wait, so the
    wait is shielded from it.
    """
    last: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while waited := pending():
            try:
                await asyncio.wait(waited)
            except asyncio.CancelledError as error:
                last = error
                cancelled()
    if last is not None:
        raise last


class Drain:
    """The time that what is in flight gets to finish: after it, *abort* is called."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self._abort = abort
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    def within(self, seconds: float) -> None:
        """Leave at most *seconds* from now on: a later call can only shorten the time, and 0 calls *abort* at once."""
        if self._over:
            return
        if seconds <= 0:
            self._cancel()
            self._abort()
        elif self._timer is None or self._timer.when() > self._loop.time() + seconds:
            self._cancel()
            self._timer = self._loop.call_later(seconds, self._abort)

    def end(self) -> None:
        """Forget the time, because everything has ended: *abort* is not called again."""
        self._over = True
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
