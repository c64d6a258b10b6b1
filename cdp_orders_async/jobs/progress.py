"""How far a load is, told a few times a second."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator

from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.jobs.estimate import Estimate
from cdp_orders_async.jobs.events import OnEvent, Progress
from cdp_orders_async.jobs.loading import Loading
from cdp_orders_async.jobs.report import NOT_AS_WANTED
from cdp_orders_async.jobs.series import Series
from cdp_orders_async.jobs.ticking import ticking
from cdp_orders_async.session import Session
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = ["Meter"]

WINDOW = 5.0  # seconds over which the speed is measured
MOST = 10_000  # lines that are remembered
ANOTHER_RATE = 1.2  # the factor by which a rate changes before the speed is measured anew
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
        self.series = Series()
        """The course of the load."""
        stats = session.stats
        self._before = stats.requests, stats.retries, stats.refused, stats.answers.copy()
        self._answered = stats.answered
        self._sends: collections.deque[tuple[float, int]] = collections.deque()
        self._heard = self._sent = 0  # orders that ended, and those of them that needed requests
        self._since: dict[tuple[str | None, int], None] = {}  # lines after the last order that needed no request
        self._rate = session.limiter.rate  # at which the speed is measured

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

    @property
    def limits(self) -> tuple[str, ...]:
        """What is known of the limits of the server, in words."""
        autorate = self._session.autorate
        return () if autorate is None else tuple(map(str, autorate.states()))

    @contextlib.contextmanager
    def watching(self, load: Loading, on_event: OnEvent, look: Callable[[], None]) -> Generator[None, None, None]:
        """Tell *on_event* of the progress now and then while the block lasts, and *look* each time.

        If one of them raises, that ends the *load*.
        """
        began = load.clock()
        self._sends.append((began, self.requests))
        waited: str | None = None

        def tell() -> None:
            nonlocal waited
            progress = self._progress(load, began)
            self._note(progress, waited)
            waited = _wait_of(progress)
            on_event(progress)
            look()

        try:
            with ticking(tell, load.fail):
                yield
        finally:
            self._note(self._progress(load, began), waited)

    def _note(self, progress: Progress, waited: str | None) -> None:
        """Note the *progress* in the course of the load, which *waited* since the last time for this reason."""
        stats, (_, _, refused, answers) = self._session.stats, self._before
        counts = progress.done, self.requests, progress.retries, stats.refused - refused
        self.series.note(progress.seconds, counts, progress.rate, stats.answers.since(answers), waited)

    def _progress(self, load: Loading, began: float) -> Progress:
        session, limiter = self._session, self._session.limiter
        now, share, retries = load.clock(), load.share, session.stats.retries - self._before[1]
        settles_in = load.settles_in
        waits = load.breaker != "closed" or load.held or limiter.paused_for > LONG or settles_in > 0
        if _differs(limiter.rate, self._rate):
            self._rate = limiter.rate
            self.estimate.speed.restart()
        rate = session.settings.rate
        self.estimate.speed.expected = None if isinstance(rate, str) else rate
        self.estimate.speed.note(now, session.stats.answered - self._answered, waiting=waits)
        row = len(self._since) - (load.done - self._heard)
        total = self._read if self.ended else self._source.expected_lines
        seconds_left = None if total is None else self._seconds_left(load, total - load.done - load.under_way, row)
        return Progress(
            seconds=now - began,
            done=load.done,
            not_loaded=sum(load.counts[verdict] for verdict in NOT_AS_WANTED),
            retries=retries,
            speed=self._speed(now),
            rate=limiter.rate,
            limits=self.limits,
            interactive=limiter.interactive,
            fraction=None if not total else min(1.0, (self._heard + share) / total),
            seconds_left=None if seconds_left is None else settles_in + seconds_left,
            breaker=load.breaker,
            paused=load.paused,
            wait=limiter.paused_for if load.paused is None else load.paused_for,
            held=load.held,
            finishing=load.stopping and load.under_way > 0,
        )

    def _seconds_left(self, load: Loading, to_come: float, row: int) -> float | None:
        """Return the seconds of work that are left, with so many orders *to_come*; *row* as in `Mix.share`."""
        under_way = load.requests_left
        certain = [requests for requests, is_certain in under_way if is_certain]
        left = sum(certain)
        answered = self._session.stats.answered - self._answered
        size = (answered + left) / max(1, self._sent + len(certain))  # requests of an order that needs any
        left += sum(size if self._sent else requests for requests, is_certain in under_way if not is_certain)
        return self.estimate.seconds(left, max(0.0, to_come), size, row)

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


def _wait_of(progress: Progress) -> str | None:
    """Say why a load waits as a whole; None if it does not."""
    if progress.paused is not None:
        return progress.paused
    if progress.held:
        return "the control file says so"
    return "the server asked to wait" if progress.wait > LONG else None


def _differs(rate: float | None, before: float | None) -> bool:
    if rate is None or before is None:
        return rate is not before
    return not before / ANOTHER_RATE < rate < before * ANOTHER_RATE
