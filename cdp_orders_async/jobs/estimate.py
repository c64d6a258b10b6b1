"""The time that the rest of a load takes: the requests that are left, and the speed."""

from __future__ import annotations

import collections
import math

from msgspec import Struct

__all__ = ["Estimate", "Mix", "Speed"]

SHORTEST = 1.0  # seconds of work before there is a speed
LATELY = 60.0  # seconds over which the speed is measured
ENOUGH = 10  # requests over which it is measured at least
MARK = 0.5  # seconds between two marks
STALL = 5.0  # seconds without progress, and...
STALLED = 10  # ...so many times the usual time between two requests, are a wait
RUN = 4  # orders in a row that may show a change of the input
CHANCE = 1e-4  # how likely such a row may be by chance


class Mix:
    """Tells which share of the orders to come needs requests, from those that ended.

    The others end at once, for instance because the journal knows them. They stand among the others, or all in one
    place: a row that is too long for chance begins a new mix.
    """

    def __init__(self) -> None:
        self._counts = [0, 0]  # without requests, with requests
        self._row = 0
        self._row_is: bool | None = None

    def ended(self, *, sent: bool) -> None:
        """Count an order that ended; *sent* tells whether it needed requests."""
        self._row = self._row + 1 if sent is self._row_is else 1
        self._row_is = sent
        self._counts[sent] += 1
        before = sum(self._counts) - self._row
        if before and self._row >= RUN and ((self._counts[sent] - self._row) / before) ** self._row < CHANCE:
            self._counts = [0, 0]
            self._counts[sent] = self._row

    def share(self, row: int) -> float | None:
        """Return the share, from 0 to 1; None while it is not known.

        *row*: the orders that were taken after the last one that ended without requests.
        """
        skipped, sent = self._counts
        if not skipped or (row >= RUN and (sent / (skipped + sent)) ** row < CHANCE):
            return 1.0
        return None if sent < RUN else sent / (skipped + sent)


class _Mark(Struct, frozen=True):
    """How far a load was at a time."""

    seconds: float
    """Seconds of work before it."""
    requests: int


class Speed:
    """Measures the requests a second, of late; time in which the load waits for a server does not count."""

    def __init__(self) -> None:
        self.expected: float | None = None
        """The highest speed that is allowed, which counts until there is a measured one; None: there is none."""
        self._marks: collections.deque[_Mark] = collections.deque()
        self._began: float | None = None
        self._seconds = 0.0  # of work
        self._now = -math.inf
        self._latest = _Mark(0.0, 0)
        self._grew = 0.0  # the seconds of work until the last progress
        self._grew_at = 0.0  # when that was

    def restart(self) -> None:
        """Forget how fast it was, because it will be another speed."""
        self._marks.clear()
        self._began = None

    def note(self, now: float, requests: int, *, waiting: bool = False) -> None:
        """Note that at the time *now* so many *requests* were answered.

        *waiting*: the load waits. The time before it in which nothing was done belongs to the wait, and so does any
        other time without progress that is much longer than usual.
        """
        gone = 0.0 if self._now == -math.inf else now - self._now
        self._now = now
        if waiting or self._is_stalled(requests):
            self._seconds = self._grew
            self._latest = _Mark(self._grew, self._latest.requests)
            while self._marks and self._marks[-1].seconds > self._grew:
                self._marks.pop()
            return
        self._seconds += gone
        if requests > self._latest.requests:
            self._grew, self._grew_at = self._seconds, now
        self._latest = _Mark(self._seconds, requests)
        if not requests:  # nothing was sent yet
            return
        if self._began is None:
            self._began = self._seconds
        if not self._marks or self._seconds - self._marks[-1].seconds >= MARK:
            self._marks.append(self._latest)
        span = min(LATELY, (self._seconds - self._began) / 2)
        while len(self._marks) > 1 and self._is_enough(self._marks[1], span):
            self._marks.popleft()

    def _is_stalled(self, requests: int) -> bool:
        """Tell whether nothing was done for much longer than usual."""
        if requests > self._latest.requests or not self._marks:
            return False
        mark = self._marks[0]
        usual = (self._grew - mark.seconds) / max(1, self._latest.requests - mark.requests)
        return self._now - self._grew_at > max(STALL, STALLED * usual)

    def _is_enough(self, mark: _Mark, span: float) -> bool:
        latest = self._latest
        return latest.seconds - mark.seconds >= max(span, SHORTEST) and latest.requests - mark.requests >= ENOUGH

    @property
    def requests(self) -> float | None:
        """Requests a second; None while it is not known."""
        if not self._marks:
            return self.expected
        mark, latest = self._marks[0], self._latest
        gone, requests = latest.seconds - mark.seconds, latest.requests - mark.requests
        if requests < ENOUGH or not gone:
            return self.expected
        speed = requests / gone
        if gone >= SHORTEST:
            return speed
        return None if self.expected is None else min(speed, self.expected)


class Estimate:
    """Estimates how long the rest of a load takes."""

    def __init__(self) -> None:
        self.mix = Mix()
        self.speed = Speed()

    def seconds(self, left: float, to_come: float, size: float, row: int) -> float | None:
        """Return the seconds of work that the rest takes; None while they are not known.

        The rest is *left*, the requests of the orders under way, and so many orders *to_come*, each of *size* requests
        if it needs any. *row*, as in `Mix.share`.
        """
        share, speed = self.mix.share(row) if to_come else 0.0, self.speed.requests
        if share is None or speed is None:
            return None
        requests = left + to_come * share * size
        return requests / speed if requests else None
