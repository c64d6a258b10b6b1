"""What a job needs of a load, whichever engine sends it, and what an engine is."""

from __future__ import annotations

import collections
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import OnExisting, Outcome, Verdict
from cdp_orders_async.jobs.journal import JournalPlace
from cdp_orders_async.journal import PostgresJournal, SqliteJournal
from cdp_orders_async.timings import Timings

__all__ = ["Engine", "Loading"]


class Loading(Protocol):
    """A load under way; `Load` says what each member means."""

    counts: collections.Counter[Verdict]
    times: Timings
    error: Exception | None

    @property
    def done(self) -> int:
        """The number of ended orders."""
        ...

    @property
    def under_way(self) -> int:
        """The number of orders that were taken and have not ended."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether the load was stopped: no further order is taken."""
        ...

    @property
    def paused(self) -> str | None:
        """Why the load waits for the server."""
        ...

    @property
    def trouble(self) -> str | None:
        """The last failure because the server is not well or busy; None if it did anything since."""
        ...

    @property
    def paused_for(self) -> float:
        """Seconds until the server is tried again."""
        ...

    @property
    def breaker(self) -> Literal["closed", "open", "half-open"]:
        """Whether requests pass."""
        ...

    @property
    def share(self) -> float:
        """The orders under way, each counted as the share that came to its end."""
        ...

    @property
    def succeeded(self) -> int:
        """The number of successful requests."""
        ...

    @property
    def waits_for(self) -> str | None:
        """What the load waits for though the server answers; None: for nothing but answers."""
        ...

    @property
    def held(self) -> bool:
        """Whether `hold` keeps the load from sending."""
        ...

    @property
    def outcome(self) -> Outcome | None:
        """The first outcome that was not taken yet; it is taken now."""
        ...

    @property
    def requests_left(self) -> Sequence[tuple[float, bool]]:
        """For each order under way: the requests that it still needs, and whether it is known if the server has it."""
        ...

    @property
    def settles_in(self) -> float:
        """Seconds that the load waits because lists may lag."""
        ...

    def clock(self) -> float:
        """Return the time in seconds."""
        ...

    def hold(self) -> None:
        """Begin no request until `release`."""
        ...

    def release(self) -> None:
        """Go on after `hold`."""
        ...

    def stop(self, drain: float = 0.0) -> None:
        """Take no new order; give up after *drain* seconds, and at once what waits for a server that is not well."""
        ...

    def fail(self, error: Exception) -> None:
        """End the load because of *error*."""
        ...

    def __aiter__(self) -> AsyncIterator[Outcome]:
        """Yield the outcomes."""
        ...


class Engine(Protocol):
    """Another way to load than the requests of `ingest`."""

    @property
    def name(self) -> str:
        """Its name in options and records."""
        ...

    @property
    def takes(self) -> frozenset[str]:
        """Which of ``look_first``, ``on_existing``, ``keep_before`` and ``control`` it can do."""
        ...

    def __call__(
        self,
        client: CdpOrders | CdpOrdersV2,
        lines: AsyncGenerator[InputLine, None],
        records: SqliteJournal | PostgresJournal,
        journal: JournalPlace,
        drain: float,
        *,
        look_first: bool,
        on_existing: OnExisting,
        settle: float,
    ) -> AbstractAsyncContextManager[Loading]:
        """Load the *lines* over *client*: ``async with`` gives the load.

        Parameters: *records*, the open journal, whose place is *journal*; *drain*, seconds that what is in flight gets
        to finish when the block is left early; *look_first*, *on_existing* and *settle*, as in `ingest`.
        """
        ...
