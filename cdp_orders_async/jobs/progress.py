"""How far a load is, and how long it may still take."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Generator

from msgspec import Struct

from cdp_orders_async.graph import InputLine
from cdp_orders_async.ingest import Load
from cdp_orders_async.jobs.events import OnEvent, Progress
from cdp_orders_async.jobs.report import NOT_AS_WANTED
from cdp_orders_async.session import Session
from cdp_orders_async.sources import GraphFile, GraphFiles

__all__ = ["Meter", "TimeLeft"]

EVERY = 0.25  # seconds between two looks
WINDOW = 5.0  # seconds over which the speed is measured
SOONEST = 10.0  # seconds in which an input is read before there is an estimate of the rest
LATELY = 60.0  # seconds over which is measured how fast it is read
STEPS = 8  # steps of the reading over which that is measured at least


class _Mark(Struct, frozen=True):
    """How far a load was at a time."""

    now: float
    fraction: float
    done: int
    requests: int


class TimeLeft:
    """Estimates how long the rest of an input takes, from how fast it was read in the last minute.

    An input is read in steps, and a packed one in large steps: it takes some of them to tell how fast that goes. There
    is no estimate at first, nor at the end, when all is read and no step is left to be counted.
    """

    def __init__(self) -> None:
        self._marks: collections.deque[_Mark] = collections.deque()

    def restart(self) -> None:
        """Forget how fast it went."""
        self._marks.clear()

    def seconds(self, now: float, fraction: float | None, done: int, requests: int) -> float | None:
        """Return the estimate at a time when the share *fraction* of the input is read, None if there is none."""
        marks = self._marks
        # Orders that the journal knows end without a request, and say nothing about how long the others take.
        if fraction is None or (marks and requests - marks[0].requests < done - marks[0].done):
            marks.clear()
            return None
        if not marks or fraction != marks[-1].fraction:
            marks.append(_Mark(now, fraction, done, requests))
        while len(marks) > STEPS and now - marks[1].now > LATELY:
            marks.popleft()
        read, seconds = fraction - marks[0].fraction, now - marks[0].now
        return seconds * (1 - fraction) / read if read and fraction < 1 and seconds >= SOONEST else None


class Meter:
    """Measures a load that takes its lines from a file."""

    def __init__(self, source: GraphFile | GraphFiles, session: Session) -> None:
        self._source = source
        self._session = session
        self._taken = 0
        self._before = session.stats.requests, session.stats.retries
        self._sends: collections.deque[tuple[float, int]] = collections.deque()
        self._left = TimeLeft()

    async def counted(self, lines: AsyncGenerator[InputLine, None]) -> AsyncGenerator[InputLine, None]:
        """Yield the *lines* that the load takes, and count them: more is read than is taken, and taken than done."""
        async with contextlib.aclosing(lines):
            async for line in lines:
                self._taken += 1
                yield line

    @property
    def requests(self) -> int:
        """Requests that were sent since this measures."""
        return self._session.stats.requests - self._before[0]

    @contextlib.contextmanager
    def told(self, load: Load, on_event: OnEvent) -> Generator[None, None, None]:
        """Tell *on_event* of the progress now and then while the block lasts; if that raises, it ends the *load*."""
        loop, began = asyncio.get_running_loop(), load.clock()
        self._sends.append((began, self.requests))
        timer: asyncio.TimerHandle

        def tell() -> None:
            nonlocal timer
            try:
                on_event(self._progress(load, began))
            except Exception as error:  # noqa: BLE001 the load raises it
                load.fail(error)
            else:
                timer = loop.call_later(EVERY, tell)

        timer = loop.call_later(EVERY, tell)
        try:
            yield
        finally:
            timer.cancel()

    def _progress(self, load: Load, began: float) -> Progress:
        limiter, autorate = self._session.limiter, self._session.autorate
        now, read = load.clock(), self._source.fraction
        if load.paused is not None:
            self._left.restart()
        return Progress(
            seconds=now - began,
            done=load.done,
            not_loaded=sum(load.counts[verdict] for verdict in NOT_AS_WANTED),
            retries=self._session.stats.retries - self._before[1],
            speed=self._speed(now),
            rate=limiter.rate,
            limits=() if autorate is None else tuple(map(str, autorate.states())),
            fraction=None if read is None or not self._taken else read * load.done / self._taken,
            seconds_left=self._left.seconds(now, read, load.done, self.requests),
            paused=load.paused,
            wait=limiter.paused_for if load.paused is None else load.paused_for,
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
