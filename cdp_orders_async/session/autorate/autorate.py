"""Steers the limiter and the slots of a session; reads get their own rate if the server limits them separately."""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec.structs import asdict

from cdp_orders_async.pacing.limiter import ConnectionSlots, Limiter
from cdp_orders_async.session.autorate.governor import LEAST_RATE, MIN_ANSWERS, START_RATE, Governor, spread
from cdp_orders_async.telemetry import RateChanged, RateState

__all__ = ["Autorate"]

MAX_COUNTED = 400  # After so many answers the count begins anew: a new difference shows in seconds.
APART = 5.0  # Reads and writes have separate limits if one of them is refused five times as often as the other.
CERTAIN = 3.0  # The difference must also be three standard deviations: then it is not chance.


class Autorate:
    """Find the rate of a *limiter* and the number of *slots* from the results of the calls.

    The rate is at most *most* calls a second, and starts there; without *most* it starts slowly. *clock* has seconds.
    """

    def __init__(
        self, limiter: Limiter, slots: ConnectionSlots, most: float | None, clock: Callable[[], float]
    ) -> None:
        self.on_change: Callable[[RateChanged], None] | None = None
        self._retired = False
        self._slots = slots
        self._clock = clock
        self._most = most or math.inf
        self._lanes = [(limiter, Governor(slots.size, most or START_RATE))] * 2  # of writes, of reads
        self._answers = [0, 0]  # to writes, to reads
        self._refusals = [0, 0]
        limiter.set_rate(most or START_RATE)

    @property
    def apart(self) -> bool:
        """Whether reads and writes have a rate each."""
        return self._lanes[0] is not self._lanes[1]

    def limiter(self, *, reads: bool) -> Limiter:
        """Return the limiter for reads or for writes."""
        return self._lanes[reads][0]

    def states(self) -> tuple[RateState, ...]:
        """Return the known state of the limit, or of the two limits for writes and for reads."""
        return tuple(self._state(reads=reads) for reads in ((False, True) if self.apart else (False,)))

    def set_most(self, most: float | None) -> None:
        """Send at most *most* calls a second from now on; None: as many as the server bears.

        A rate that is given holds for reads and writes together. It is used at once if no limit is known.
        """
        self._most = most or math.inf
        if most is not None:
            self._lanes[True][0].set_rate(most)  # for those who wait there
            self._lanes = [self._lanes[False]] * 2
            if self._lanes[False][1].climb is None:
                self._lanes[False][1].rate = most
        for reads in (False, True):
            self._apply(reads=reads)

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
        self._lanes[reads][1].answered(self._clock(), seconds)
        self._compare(0, reads=reads)
        self._apply(reads=reads)

    def refused(self, seconds: float, why: str, asked: float, *, reads: bool) -> None:
        """Count a call that the server refused for its load; *why* is the reason, *asked* the seconds to wait."""
        self._lanes[reads][1].refused(self._clock(), seconds, why, asked)
        self._compare(1, reads=reads)
        self._apply(reads=reads)

    def acquit(self) -> None:
        """Take back what the last refusals that asked to wait have taught: they concerned one call alone."""
        for _, governor in self._lanes:
            governor.acquit()

    def _compare(self, refusals: int, *, reads: bool) -> None:
        """Count an answer, and give reads and writes a rate each if one of them is refused far more often."""
        self._answers[reads] += 1
        self._refusals[reads] += refusals
        if self._most < math.inf or not any(self._refusals) or min(self._answers) < MIN_ANSWERS or self.apart:
            return
        answers = sum(self._answers)
        shares = [refused / count for refused, count in zip(self._refusals, self._answers, strict=True)]
        worse, share = shares[True] > shares[False], sum(self._refusals) / answers
        certain = CERTAIN * spread(share, math.prod(self._answers) / answers)
        if max(shares) >= APART * min(shares) and max(shares) - min(shares) >= certain:
            limiter, governor = self._lanes[worse]
            guess = max(LEAST_RATE, governor.pace * (self._answers[worse] - self._refusals[worse]) / answers)
            governor.climb = None  # the limit that was found belongs to the refused calls
            # Until then the calls leave that wait for the old limiter now, at its rate.
            since = self._clock() + limiter.delay(bulk=True)
            self._lanes[worse] = (limiter.another(limiter.rate), Governor(governor.slots, guess, since))
        elif answers > MAX_COUNTED:
            self._answers, self._refusals = [0, 0], [0, 0]

    def _apply(self, *, reads: bool) -> None:
        """Set the limiter and the slots, and report what changed."""
        limiter, governor = self._lanes[reads]
        rate, slots = min(governor.rate, self._most), min(self._lanes[0][1].slots, self._lanes[1][1].slots)
        old_rate, old_slots = limiter.rate or math.inf, self._slots.size
        if self._retired or (rate, slots) == (old_rate, old_slots):
            return
        limiter.set_rate(None if rate == math.inf else rate)
        self._slots.resize(slots)
        if self.on_change is not None:
            cut = rate < old_rate or slots < old_slots
            self.on_change(RateChanged(cut=cut, **asdict(self._state(reads=reads))))

    def _state(self, *, reads: bool) -> RateState:
        limiter, governor = self._lanes[reads]
        return RateState(
            per_second=limiter.rate,
            slots=self._slots.size,
            limit=None if governor.climb is None else governor.climb.known,
            found_for=None if governor.cut_for is None else self._clock() - governor.cut_at,
            cut_for=governor.cut_for,
            of="" if not self.apart else "reads" if reads else "writes",
        )
