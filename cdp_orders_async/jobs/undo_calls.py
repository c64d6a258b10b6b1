"""The calls of an undo: what waits before it is sent can be given up, and it is known how long nothing succeeds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TypeVar

import anyio

from cdp_orders_async.errors import CdpError
from cdp_orders_async.jobs.patience import WAITS, is_on_the_way
from cdp_orders_async.pacing.health import Health
from cdp_orders_async.session import BulkTransport, GivenUp, Session, TimeoutPool, Timings
from cdp_orders_async.wire import Request

__all__ = ["UndoCalls"]

T = TypeVar("T")


class UndoCalls:
    """A transport over *session*, until it is halted; *clock* gives the time in seconds."""

    def __init__(self, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        self.health = Health(lambda _: None, patient=False, clock=clock)
        self._session = session
        self._halting = anyio.Event()
        self._waits = TimeoutPool(math.inf, asyncio.get_running_loop())
        self._sender = BulkTransport(
            session, Timings(), self._halting.is_set, bulk=False, waits=self._waits, on_failure=self._failed
        )

    def halt(self) -> None:
        """Give up what waits before it is sent, and send nothing more; what is in flight may finish."""
        self._halting.set()
        self._waits.close()

    async def send(self, request: Request[T], /) -> T:
        """Send *request*, again where that is safe.

        Raises a `CdpError`; it is `GivenUp` only if the request was halted and the server has not done it.
        """
        for wait in WAITS:
            try:
                return await self._sent(request)
            except CdpError as error:
                if not is_on_the_way(error, request.operation):
                    raise
            with anyio.move_on_after(wait):
                await self._halting.wait()
        return await self._sent(request)

    async def _sent(self, request: Request[T]) -> T:
        if self._halting.is_set():
            raise GivenUp("it was given up before it was sent")
        result = await self._session.send(request, self._sender)
        self.health.succeeded(creates=False)
        return result

    def _failed(self, error: CdpError, operation: str) -> None:
        if not isinstance(error, GivenUp):
            self.health.failed(error, operation)
