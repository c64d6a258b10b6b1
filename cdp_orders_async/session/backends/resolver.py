"""The addresses of a host."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Sequence

from cdp_orders_async.session.backends.sockets import Address

__all__ = ["Resolver"]

FRESH = 10.0  # seconds for which the addresses are used without another look-up


class Resolver:
    """Finds the addresses of one host; callers at the same time share one look-up.

    The addresses are kept for some seconds, a failure is not. The cancellation of one caller does not end the look-up.
    """

    def __init__(self, host: str | None, port: int | None, loop: asyncio.AbstractEventLoop) -> None:
        self._host, self._port, self._loop = host, port, loop
        self._found: Sequence[Address] = ()
        self._until = -math.inf  # the addresses are used until this time
        self._task: asyncio.Task[Sequence[Address]] | None = None

    async def addresses(self) -> Sequence[Address]:
        """Return the addresses; raises the error of the look-up."""
        if self._loop.time() < self._until:
            return self._found
        if self._task is None:
            self._task = self._loop.create_task(self._look_up())
            self._task.add_done_callback(self._note)
        task = self._task
        await asyncio.wait({task})
        return task.result()

    def forget(self) -> None:
        """Look up again the next time, because no connection to these addresses succeeded."""
        self._until = -math.inf

    async def aclose(self) -> None:
        """End the current look-up."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _look_up(self) -> Sequence[Address]:
        return await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)

    def _note(self, task: asyncio.Task[Sequence[Address]]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is None:
            self._found, self._until = task.result(), self._loop.time() + FRESH
