"""Steers the limiter and the slots of a session; reads get their own rate if the server limits them separately."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from cdp_orders_async.pacing.limiter import ConnectionSlots, Limiter
from cdp_orders_async.session.autorate.governor import MIN_ANSWERS, START_RATE, Governor, RateState, climb_to, spread

__all__ = ["Autorate"]

MAX_COUNTED = 400  # With more answers than these, the older half is forgotten: a new difference shows in seconds.
APART = 5.0  # Reads and writes have separate limits if one of them is refused five times as often as the other.
CERTAIN = 3.0  # The difference must also be three standard deviations: then it is not chance.


class OnChange(Protocol):
    """A function that is called after each change of a rate or of the slots."""

    def __call__(self, *, reads: bool, cut: bool) -> None:
        """Take note of a change; *reads*: for reads, else for writes; *cut*: fewer calls are allowed than before."""
        ...


class Autorate:
    """Find the rate of a *limiter* and the number of *slots* from the results of the calls.

    The rate is at most *most* calls a second, and starts there; without *most* it starts slowly. *clock* gives the
    time in seconds.
    """

    def __init__(
        self,
        limiter: Limiter,
        slots: ConnectionSlots,
        most: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_change: OnChange | None = None
        self._retired = False
        self._slots = slots
        self._clock = clock
        self._together = most is not None  # a given rate is one rate for all calls
        governor = Governor(slots.size, START_RATE if most is None else most, math.inf if most is None else most)
        self._lanes = [(limiter, governor)] * 2  # of writes, of reads
        self._answers = [0.0, 0.0]
        self._refusals = [0.0, 0.0]
        limiter.set_rate(governor.allowed.rate)

    def limiter(self, *, reads: bool) -> Limiter:
        """Return the limiter for reads or for writes."""
        return self._lanes[reads][0]

    def states(self) -> tuple[RateState, ...]:
        """Return the known state of the limit, or of the two limits for writes and for reads."""
        return tuple(self.state(reads=reads) for reads in ((False, True) if self.apart else (False,)))

    def state(self, *, reads: bool) -> RateState:
        """Return the known state of the limit for reads or for writes."""
        of = "" if not self.apart else "reads" if reads else "writes"
        return self._lanes[reads][1].state(self._clock(), of)

    @property
    def apart(self) -> bool:
        """Whether reads and writes have a rate each."""
        return self._lanes[0] is not self._lanes[1]

    def set_most(self, most: float | None) -> None:
        """Send at most *most* calls a second from now on; None: as many as the server bears."""
        (writes, governor), (reads, _) = self._lanes
        self._together = most is not None
        if self._together and self.apart:
            reads.set_rate(most)  # for those who wait there
            self._lanes = [(writes, governor)] * 2
        for lane in (False, True):
            self._lanes[lane][1].set_most(math.inf if most is None else most)
            self._apply(reads=lane)

    def retire(self) -> None:
        """Change nothing any longer, whatever becomes of the calls that are under way."""
        self._retired = True
        for limiter, _ in self._lanes:
            limiter.set_rate(None)

    def sent(self, *, reads: bool) -> None:
        """Count a call that leaves now."""
        if self._lanes[reads][1].sent(self._clock(), full=self._slots.free == 0):
            self._apply(reads=reads)

    def answered(self, seconds: float, *, reads: bool) -> None:
        """Count a call whose answer, which shows no overload, took *seconds* to come."""
        self._answers[reads] += 1
        self._lanes[reads][1].answered(self._clock(), seconds)
        if self._refusals[not reads]:
            self._compare(reads=not reads)
        self._apply(reads=reads)

    def refused(self, seconds: float, why: str, asked: float, *, reads: bool) -> None:
        """Count a call that the server refused for its load; *why* is the reason, *asked* the seconds to wait."""
        self._answers[reads] += 1
        self._refusals[reads] += 1
        self._lanes[reads][1].refused(self._clock(), seconds, why, asked)
        self._compare(reads=reads)
        self._apply(reads=reads)

    def _compare(self, *, reads: bool) -> None:
        """Give reads and writes separate rates if *reads*, or else writes, are refused far more often."""
        if self.apart or self._together:
            return
        if sum(self._answers) > MAX_COUNTED:
            self._answers = [count / 2 for count in self._answers]
            self._refusals = [count / 2 for count in self._refusals]
        if min(self._answers) < MIN_ANSWERS:
            return
        here, there = (self._refusals[which] / self._answers[which] for which in (reads, not reads))
        both = sum(self._refusals) / sum(self._answers)
        if here < APART * there or here - there < CERTAIN * spread(both, 1 / sum(1 / n for n in self._answers)):
            return
        limiter, governor = self._lanes[reads]
        accepted = (self._answers[reads] - self._refusals[reads]) / sum(self._answers)
        climb = climb_to(governor.pace * accepted, calls=0)  # a guess, since both were held back
        governor.allowed.climb = None  # the limit that was found belongs to the refused calls
        own = Governor(governor.allowed.slots, climb.start)
        own.allowed.climb = climb
        self._lanes[reads] = (limiter.another(climb.start), own)
        self._tell(limiter.rate, reads=reads)

    def _apply(self, *, reads: bool) -> None:
        if self._retired:
            return
        limiter, governor = self._lanes[reads]
        allowed, rate, slots = governor.allowed, limiter.rate, self._slots.size
        if (math.inf if allowed.rate is None else allowed.rate) > governor.most:  # it was lowered meanwhile
            allowed.rate = governor.most
        if rate == allowed.rate and slots == allowed.slots:
            return
        if rate != allowed.rate:
            limiter.set_rate(allowed.rate)
        if slots != allowed.slots:
            self._slots.resize(allowed.slots)
        if rate != allowed.rate or not self.apart:  # two lanes share the slots, and resize them again and again
            self._tell(rate, reads=reads, cut=allowed.slots < slots and not self.apart)

    def _tell(self, before: float | None, *, reads: bool, cut: bool = False) -> None:
        """Report a change of the rate, which was *before*; *cut*: fewer calls in flight are allowed."""
        if self.on_change is not None:
            now = self._lanes[reads][1].allowed.rate
            lower = (math.inf if now is None else now) < (math.inf if before is None else before)
            self.on_change(reads=reads, cut=cut or lower)
