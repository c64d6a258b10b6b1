"""How far a load is, told a few times a second."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator

from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.jobs.estimate import Estimate
from cdp_orders_async.jobs.events import OnEvent, Progress
from cdp_orders_async.jobs.loading import Loading
from cdp_orders_async.jobs.report import NOT_AS_WANTED
from cdp_orders_async.session import Session
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = ["Meter"]

EVERY = 0.25  # seconds between two looks
WINDOW = 5.0  # seconds over which the speed is measured
MOST = 10_000  # lines that are remembered
LONG = 5.0  # seconds; a longer wait that the server asks for is a pause, a shorter one part of its speed
WITHOUT_REQUESTS = frozenset({Verdict.INVALID, Verdict.BUSY, Verdict.NOT_TRIED})


class Meter:
    """Measures a load of the orders of *source* over *session*."""

    def __init__(self, source: GraphFile | GraphFiles, session: Session) -> None:
        self.estimate = Estimate()
        self.ended = False
        """Whether the source was read to its end."""
        self._read = 0
        self._source = source
        self._session = session
        self._before = session.stats.requests, session.stats.retries
        self._sends: collections.deque[tuple[float, int]] = collections.deque()
        self._heard = self._sent = 0  # orders that ended, and those of them that needed requests
        self._since: dict[tuple[str | None, int], None] = {}  # lines after the last order that needed no request
        self._rate = session.settings.rate

    async def __aiter__(self) -> AsyncGenerator[InputLine, None]:
        """Yield the lines of the source, and count them."""
        async with contextlib.aclosing(aiter(self._source)) as lines:
            async for line in lines:
                self._read += 1
                self._since[line.file, line.number] = None
                if len(self._since) > MOST:
                    del self._since[next(iter(self._since))]
                yield line
        self.ended = True

    def hear(self, outcome: Outcome) -> None:
        """Count an order that ended."""
        spent = outcome.times
        sent = outcome.verdict not in WITHOUT_REQUESTS and spent.total > spent.journal
        self._heard += 1
        if not sent and (place := (outcome.file, outcome.number)) in self._since:
            while next(iter(self._since)) != place:
                del self._since[next(iter(self._since))]
            del self._since[place]
        self._sent += sent
        self.estimate.mix.ended(sent=sent)

    @property
    def requests(self) -> int:
        """Requests that were sent since this measures."""
        return self._session.stats.requests - self._before[0]

    @contextlib.contextmanager
    def watching(self, load: Loading, on_event: OnEvent, look: Callable[[], None]) -> Generator[None, None, None]:
        """Tell *on_event* of the progress now and then while the block lasts, and *look* each time.

        If one of them raises, that ends the *load*.
        """
        loop, began = asyncio.get_running_loop(), load.clock()
        self._sends.append((began, self.requests))
        timer: asyncio.TimerHandle

        def tell() -> None:
            nonlocal timer
            try:
                on_event(self._progress(load, began))
                look()
            except Exception as error:  # noqa: BLE001 the load raises it
                load.fail(error)
            else:
                timer = loop.call_later(EVERY, tell)

        timer = loop.call_later(EVERY, tell)
        try:
            yield
        finally:
            timer.cancel()

    def _progress(self, load: Loading, began: float) -> Progress:
        session, limiter, autorate = self._session, self._session.limiter, self._session.autorate
        now, share, retries = load.clock(), load.share, session.stats.retries - self._before[1]
        waits = load.breaker != "closed" or load.held or limiter.paused_for > LONG
        if session.settings.rate != self._rate:
            self._rate = session.settings.rate
            self.estimate.speed.restart()
        self.estimate.speed.note(now, self._sent + share, self.requests - retries, waiting=waits)
        row = len(self._since) - (load.done - self._heard)
        total = self._read if self.ended else self._source.expected_lines
        return Progress(
            seconds=now - began,
            done=load.done,
            not_loaded=sum(load.counts[verdict] for verdict in NOT_AS_WANTED),
            retries=retries,
            speed=self._speed(now),
            rate=limiter.rate,
            limits=() if autorate is None else tuple(map(str, autorate.states())),
            interactive=limiter.interactive,
            fraction=None if not total else min(1.0, (self._heard + share) / total),
            seconds_left=None if total is None else self.estimate.seconds(total - self._heard - share, row),
            breaker=load.breaker,
            paused=load.paused,
            wait=limiter.paused_for if load.paused is None else load.paused_for,
            held=load.held,
            finishing=load.stopping and load.under_way > 0,
        )

    def _speed(self, now: float) -> float:
        """Return how many requests were sent a second, over the last seconds."""
        sends = self._sends
        sends.append((now, self.requests))
        while len(sends) > 2 and now - sends[0][0] > WINDOW:  # noqa: PLR2004 two make a difference
            sends.popleft()
        since, before = sends[0]
        return (self.requests - before) / max(now - since, 0.001)

    @property
    def speed(self) -> float:
        """Requests a second, over the last seconds."""
        (since, before), (now, requests) = self._sends[0], self._sends[-1]
        return (requests - before) / max(now - since, 0.001)
