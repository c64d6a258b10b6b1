"""The end of our own work: a wait for it that a cancellation does not cut short, and the time that it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import anyio

__all__ = ["STALL", "Drain", "outlast"]

LOOK = 0.1
"""Seconds between two looks whether what is left waits in vain."""
STALL = 0.1
"""Seconds that a timer may be late; if it is later, the loop was blocked, and the work gets so many seconds more."""


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
    """The time that what is in flight gets to finish: after it, *abort* is called.

    What is left may wait in vain, as *in_vain* tells: then *give_up* is called before, or *abort* if there is none.
    """

    def __init__(
        self, abort: Callable[[], None], in_vain: Callable[[], bool], give_up: Callable[[], None] | None = None
    ) -> None:
        self._abort = abort
        self._in_vain = in_vain
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._over = False

    def within(self, seconds: float) -> None:
        """Leave at most *seconds* from now on: a later call can only shorten the time, and 0 calls *abort* at once."""
        if self._over:
            return
        if seconds <= 0:
            self._cancel()
            self._abort()
            return
        if self._timer is None or self._timer.when() > self._loop.time() + seconds:
            self._cancel()
            self._set(self._loop.time() + seconds)
        self._look()

    def _set(self, end: float) -> None:
        self._timer = self._loop.call_at(end, self._come, end)

    def _come(self, end: float) -> None:
        now = self._loop.time()
        if now > end + STALL:  # answers that came while the loop was blocked are read first
            self._set(now + STALL)
        else:
            self.within(0)

    def end(self) -> None:
        """Forget the time, because everything has ended: *abort* is not called again."""
        self._over = True
        self._cancel()

    def _look(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        if not self._in_vain():
            self._next_look = self._loop.call_later(LOOK, self._look)
        elif self._give_up is None:
            self.within(0)
        else:
            self._give_up()

    def _cancel(self) -> None:
        for timer in (self._timer, self._next_look):
            if timer is not None:
                timer.cancel()
        self._timer = self._next_look = None
