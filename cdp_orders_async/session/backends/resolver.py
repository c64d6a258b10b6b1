"""The addresses of a host."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Sequence

from cdp_orders_async.session.backends.sockets import Address

__all__ = ["Resolver"]

FRESH = 10.0  # seconds for which an address is used without another look-up


class Resolver:
    """Finds the addresses of one host: many callers who ask at the same time share one look-up.

    What is found is kept for some seconds, a failure is not. A caller who is cancelled ends the look-up of nobody else.
    """

    def __init__(self, host: str | None, port: int | None, loop: asyncio.AbstractEventLoop) -> None:
        self._host, self._port, self._loop = host, port, loop
        self._found: Sequence[Address] = ()
        self._until = -math.inf  # when what was found is too old
        self._task: asyncio.Task[Sequence[Address]] | None = None

    async def addresses(self) -> Sequence[Address]:
        """Return the addresses; raises what the look-up raises."""
        if self._loop.time() < self._until:
            return self._found
        if self._task is None:
            self._task = self._loop.create_task(self._look_up())
            self._task.add_done_callback(self._note)
        task = self._task
        await asyncio.wait({task})
        return task.result()

    def forget(self) -> None:
        """Look up again the next time: no connection was made to what was found."""
        self._until = -math.inf

    async def aclose(self) -> None:
        """End a look-up that goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _look_up(self) -> Sequence[Address]:
        return await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)

    def _note(self, task: asyncio.Task[Sequence[Address]]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is None:
            self._found, self._until = task.result(), self._loop.time() + FRESH
