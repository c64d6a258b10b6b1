"""The calls of an undo: what waits before it is sent can be given up, and it is known how long nothing succeeds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TypeVar

from cdp_orders_async.errors import CdpError
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
        self._halted = False
        self._waits = TimeoutPool(math.inf, asyncio.get_running_loop())
        self._sender = BulkTransport(
            session, Timings(), lambda: self._halted, bulk=False, waits=self._waits, on_failure=self._failed
        )

    def halt(self) -> None:
        """Give up what waits before it is sent, and send nothing more; what is in flight may finish."""
        self._halted = True
        self._waits.close()

    async def send(self, request: Request[T], /) -> T:
        """Send *request*, again where that is safe.

        Raises a `CdpError`; it is `GivenUp` only if the request was halted and the server has not done it.
        """
        if self._halted:
            raise GivenUp("it was given up before it was sent")
        result = await self._session.send(request, self._sender)
        self.health.succeeded(creates=False)
        return result

    def _failed(self, error: CdpError, operation: str) -> None:
        if not isinstance(error, GivenUp):
            self.health.failed(error, operation)
