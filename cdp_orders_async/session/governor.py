"""Finds the rate that a server bears, since the API documents neither a limit nor 429.

A limit answers to the rate; noise, such as a proxy that now and then says 503, does not. So each cut is a trial, down
to what was not refused, which a limit bears. If the share of refusals falls, there is a limit, and from there the rate
grows by CUBIC, as in TCP. If the share stays as it was, it is noise: the rate is what it was before, and from then on
only a share that is clearly higher leads to a cut. After a minute one more trial shows whether it still is noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from msgspec import Struct

from cdp_orders_async.limiter import Limiter, Slots
from cdp_orders_async.session.cubic import KEPT, Cubic, between
from cdp_orders_async.session.gradient import Gradient
from cdp_orders_async.session.trial import NOISIEST, RARE, SURE, Trial, spread

__all__ = ["Governor"]

MEMORY = 0.5
"""Seconds over which the calls a second are averaged."""
START = 0.1
"""Seconds that are too few for an average: so long all connections may be sent on at once."""
BUSY = 10.0
"""Seconds for which the most calls a second are remembered: calls that time out hold up others."""
FEW = 10
"""Answers that tell nothing yet."""
SAMPLE = 75
"""Answers, at least, over which the share of refusals is averaged; where more come in a second, over a second."""
MISHAPS = 1.5
"""Refusals in that sample which are no reason for a cut."""
MISHAPS_AT_FIRST = 4.0
"""The same while the rate doubles each second: an early cut costs much, and too high a rate soon shows."""
PAUSE = 0.5
"""Seconds after a cut until answers count again: a window that is full must be over."""
FAR = 0.25
"""The share of the old maximum below which a new one is doubted: the rate doubles each second instead."""
PRIOR = 25
"""Answers of a trial that weigh as much as all that was known of the noise before it."""
TRUST = 60.0
"""Seconds after which noise is doubted."""
STEP = 0.1
"""Seconds between two raises of the rate."""
LONGEST_STEP = 2.0
"""Seconds that a raise makes up for; a longer time without calls is rest."""
USED = 0.7
"""The share of the rate that calls must use for it to be raised."""
LEAST_RATE = 0.5
"""Calls per second that no cut goes below."""


class _Pace(Struct):
    """How many calls leave in a second."""

    of_late: float = 0.0
    most: float = 0.0
    _total: float = 0.0
    _began: float | None = None
    _at: float = 0.0

    def add(self, now: float) -> None:
        if self._began is None:
            self._began = self._at = now
        gone = now - self._at
        self._total = self._total * math.exp(-gone / MEMORY) + 1 / MEMORY
        self.of_late = self._total / (1 - math.exp(-max(now - self._began, START) / MEMORY))
        self.most = max(self.most * math.exp(-gone / BUSY), self.of_late)
        self._at = now


class Governor:
    """Steer a rate and a number of slots by what becomes of the calls.

    The rate has no limit until the server refuses calls; the slots have the size that they were given. It owns no
    timer: it changes them when it is told of a call, and so never while nothing is sent.
    """

    def __init__(self, limiter: Limiter, slots: Slots, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limiter = limiter
        """The limiter whose rate it sets."""
        self.slots = slots
        """The slots whose number it sets."""
        self.clock = clock
        """Gives the time in seconds."""
        self._gradient = Gradient(slots, most)
        self._pace = _Pace()
        self._since = -math.inf  # when the calls were sent that are judged
        self._count = 0  # of their answers
        self._share = 0.0  # of refusals among the last of these
        self._answered = False  # whether any was good
        self._slowest = 0.0  # seconds that a refusal took since the last trial
        self._noise = 0.0  # the share of refusals that comes at any rate
        self._known = -math.inf  # when that was found
        self._trial: Trial | None = None
        self._outage: float | None = None  # the rate before nothing succeeded any more
        self._raised = -math.inf  # when the rate was last set
        self._curve = Cubic(0.0)

    def __repr__(self) -> str:
        return f"Governor(rate={self.rate}, limit={self.limit})"

    @property
    def rate(self) -> float | None:
        """Calls per second that the server seems to bear; None while no limit is known."""
        return self.limiter.rate

    @property
    def limit(self) -> int:
        """Calls in flight that the server seems to bear."""
        return self.slots.size

    def sent(self) -> None:
        """Count a call that leaves now."""
        now = self.clock()
        self._pace.add(now)
        rate = self.limiter.rate
        since = now - self._raised
        if rate is None or since < STEP or self._trial is not None or not self._answered:
            return
        self._raised = now
        if self._pace.of_late >= USED * rate:  # else nothing is known of a higher one
            self.limiter.set_rate(self._curve.higher(rate, min(since, LONGEST_STEP)))

    def answered(self, seconds: float) -> None:
        """Count a call whose answer, which shows no overload, took *seconds* to come."""
        now = self.clock()
        self._gradient.answered(seconds, now)
        if not self._counts(0, now - seconds):
            return
        self._answered = True
        if self._outage is not None:
            self._set(KEPT * self._outage, self._curve.peak, now)
            self._outage = None
        self._conclude(now)

    def refused(self, seconds: float = 0.0) -> None:
        """Count a call that the server refused for its load, or left without an answer, *seconds* after it was sent.

        What was sent before the last cut says nothing about the rate since.
        """
        now = self.clock()
        if not self._counts(1, now - seconds):
            return
        self._slowest = max(self._slowest, seconds)
        enough = SAMPLE if self.limiter.rate is None else FEW
        if self._count >= enough and (self._share > self._bound() or self._doubts(now)):
            self._lower(now)
        else:
            self._conclude(now)

    def _counts(self, refusals: int, sent: float) -> bool:
        """Count the answer to a call that was sent then; False if it tells nothing."""
        if sent < self._since:
            return False
        self._count += 1
        self._share += (refusals - self._share) / self._sample()
        if self._trial is not None:
            self._trial.count(refusals, sent)
        return True

    def _sample(self) -> float:
        """Return over how many answers the share of refusals is averaged."""
        noisy = FEW / self._noise if self._noise > RARE else 0.0
        return min(self._count, max(SAMPLE, self._pace.of_late, noisy))

    def _bound(self) -> float:
        """Return the share of refusals beyond which there are too many."""
        usual = self._noise if self._trial is None else self._trial.share
        sample = self._sample()
        at_first = self.limiter.rate is not None and self._curve.peak is None
        mishaps = (MISHAPS_AT_FIRST if at_first else MISHAPS) / sample
        return usual + max(RARE, mishaps) + SURE * spread(usual, sample)

    def _doubts(self, now: float) -> bool:
        return self._trial is None and self._noise > RARE and now > self._known + TRUST

    def _lower(self, now: float) -> None:
        rate, share, peak = self.limiter.rate, self._share, self._curve.peak
        used = self._pace.most if rate is None else between((USED * rate, rate), self._pace.most)
        if not self._answered:  # it is down rather than overloaded: what was known will hold when it is back
            self._outage = self._outage or used
            self._trial = None
            self._set(used / 2, peak, now)
            return
        if rate is not None and (peak is not None or rate > self._curve.start):  # else a guess that may be far too low
            peak = used * min(1.0, (1 - share + spread(share, self._count)) / (1 - self._noise))
        before, floor = (rate, self._curve), 0.0 if self._doubts(now) else self._noise
        if self._trial is not None:
            before, floor = self._trial.before, self._trial.floor
        lower = max(LEAST_RATE, KEPT * used * (1 - share))
        self._trial = Trial(now + PAUSE, lower, before, share, self._sample(), floor)
        self._set(lower, peak, now)
        self._since = now + PAUSE

    def _set(self, rate: float, peak: float | None, now: float) -> None:
        rate = max(LEAST_RATE, rate)
        self._curve = Cubic(rate, peak and max(peak, rate / KEPT))
        self.limiter.set_rate(rate)
        self._begin(now)

    def _begin(self, now: float) -> None:
        """Judge what is sent from now on."""
        self._since = self._raised = now
        self._count = 0
        self._share = 0.0
        self._answered = False

    def _conclude(self, now: float) -> None:
        """End the trial, if all of its calls have been answered."""
        trial = self._trial
        if trial is None or now <= trial.until + self._slowest or not (verdict := trial.verdict()):
            return
        if verdict == "worse":
            self._lower(now)
            return
        self._trial = None
        self._slowest = 0.0
        self._known = self._raised = now
        if verdict == "noise":
            self._noise = (trial.share * trial.sample + trial.refusals) / (trial.sample + trial.answers)
            rate, self._curve = trial.before
            self.limiter.set_rate(rate)
            self._begin(now)
            return
        if trial.share < NOISIEST or trial.left < NOISIEST / 2:  # else the rate is still far too high
            self._noise += (trial.left - self._noise) * trial.answers / (trial.answers + PRIOR)
        known, found = trial.before[1].peak, self._curve.peak
        if known and found and found < FAR * known:  # was it half an outage?
            self._curve.peak = None
