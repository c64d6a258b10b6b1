"""The handle of a load in files: what a job sees of it, how it ends, and how its outcomes are taken."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from cdp_orders_async.engines.batch_delivery import Patience
from cdp_orders_async.errors import CdpError
from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.ingest.outcomes import in_truth
from cdp_orders_async.outlasting import Drain, outlast
from cdp_orders_async.redact import strip_frames
from cdp_orders_async.session import Session
from cdp_orders_async.timings import Timings

__all__ = ["Handle"]


class Handle:
    """A load under way: ``async for outcome in load`` yields the outcome of each order.

    A subclass does the work in `_all`, and ends in `_leave` what was begun. Parameters: *session*, with which the load
    ends; *patience*, which says whether it waits for the server; *drain*, the seconds that what is in flight gets to
    finish; *clock*, in seconds.
    """

    def __init__(self, session: Session, patience: Patience, drain: float, clock: Callable[[], float]) -> None:
        self.counts: collections.Counter[Verdict] = collections.Counter()
        self.times = Timings()
        self.error: Exception | None = None
        self.clock = clock
        self._session = session
        self._patience = patience
        self._drain = drain
        self._taken = 0
        """The number of orders that were taken from the input."""
        self._waiting: collections.deque[Outcome] = collections.deque()
        self._came, self._gone, self._released = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._released.set()
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._main: asyncio.Task[None] | None = None
        self._abortable: set[asyncio.Task[Any]] = set()
        self._reading: asyncio.Future[Any] | None = None
        """The next line, while the load waits for it."""
        self._time_left = Drain(self._abort, lambda: self._waits_in_vain)
        self._stopped = self._aborting = self._closed = False

    def __repr__(self) -> str:
        state = "ended" if self._end.done() else "stopping" if self._stopped else "running"
        return f"<{type(self).__name__} {state}: {self.done} orders done, {self.under_way} under way>"

    @property
    def done(self) -> int:
        """The number of ended orders."""
        return self.counts.total()

    @property
    def under_way(self) -> int:
        """The number of orders that were taken and have not ended."""
        return self._taken - self.done

    @property
    def stopping(self) -> bool:
        """Whether the load was stopped: no further order is taken."""
        return self._stopped

    @property
    def paused(self) -> str | None:
        """Why the load waits for a server that is not well."""
        return self._patience.why

    @property
    def trouble(self) -> str | None:
        """Why the load waits for a server that is not well: other failures end it."""
        return self.paused

    @property
    def paused_for(self) -> float:
        """Seconds until the server is tried again."""
        return max(0.0, self._patience.until - self.clock()) if self.paused else 0.0

    @property
    def breaker(self) -> Literal["closed", "open"]:
        """Whether calls pass."""
        return "closed" if self.paused is None else "open"

    @property
    def share(self) -> float:
        """The share of the orders under way that came to its end: none, since a file ends as a whole."""
        return 0.0

    @property
    def requests_left(self) -> Sequence[tuple[float, bool]]:
        """Nothing: the calls of a file do not depend on the number of its orders."""
        return ()

    @property
    def settles_in(self) -> float:
        """Seconds that the load waits because lists may lag: 0, it reads no list."""
        return 0.0

    @property
    def waits_for(self) -> str | None:
        """Nothing: it waits for answers alone."""
        return None

    @property
    def succeeded(self) -> int:
        """The number of successful calls."""
        return self._patience.succeeded

    @property
    def held(self) -> bool:
        """Whether `hold` keeps the load from cutting and sending further files."""
        return not self._released.is_set()

    def hold(self) -> None:
        """Begin no further file until `release`."""
        self._released.clear()

    def release(self) -> None:
        """Go on after `hold`."""
        self._released.set()

    def start(self) -> None:
        """Begin."""
        self._session.on_close[self._client_closed] = None
        self._main = self._loop.create_task(self._run())

    def __aiter__(self) -> AsyncIterator[Outcome]:
        return self

    async def __anext__(self) -> Outcome:
        while not self._waiting:
            if self._end.done():
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        self._gone.set()
        return self._waiting.popleft()

    @property
    def outcome(self) -> Outcome | None:
        """The first outcome that was not taken yet; it is taken now."""
        return self._waiting.popleft() if self._waiting else None

    def stop(self, drain: float = 0.0) -> None:
        """Take no new order; after *drain* seconds give up the uploads in flight and the waits for results.

        While the load waits for a server that is not well, all is given up at once. A file whose upload began is found
        again by the next load with the same journal.
        """
        self._stopped = True
        self._released.set()
        if self._reading is not None:
            self._reading.cancel()
        self._time_left.within(drain)

    def fail(self, error: Exception) -> None:
        """End the load because of *error*; what is in flight gets time to finish."""
        self.error = self.error or strip_frames(error)
        self.stop(self._drain)

    async def aclose(self) -> None:
        """End the load, if it has not ended; what is in flight gets time to finish, and nothing is left after that."""
        self._closed = True
        self._gone.set()
        if not self._end.done():
            self.stop(self._drain)
        await outlast(lambda: () if self._main is None or self._main.done() else (self._main,), self._abort)

    @property
    def _waits_in_vain(self) -> bool:
        return self.paused is not None

    def _client_closed(self, error: CdpError) -> None:
        self.fail(error)

    def _abort(self) -> None:
        self._aborting = self._stopped = True
        for task in self._abortable:
            task.cancel()

    async def _run(self) -> None:
        try:
            try:
                await self._all()
            except Exception as error:  # noqa: BLE001 the iteration raises it
                self.fail(error)
            await self._leave()
        except Exception as error:  # noqa: BLE001 the same
            self.error = self.error or strip_frames(error)
        finally:
            self._session.on_close.pop(self._client_closed, None)
            self._time_left.end()
            self.error = in_truth(self.error, self.counts)
            self._end.set_result(None)
            self._came.set()

    async def _all(self) -> None:
        """Take the orders, and bring all of them to their end unless the load stops."""
        raise NotImplementedError

    async def _leave(self) -> None:
        """End the orders that were taken and have not ended."""
        raise NotImplementedError

    def _tell(self, outcome: Outcome) -> None:
        self.counts[outcome.verdict] += 1
        self._waiting.append(outcome)
        self._came.set()
