"""Finds the rate, and the number of calls in flight, that a server accepts: a state machine that sees each call.

It starts slowly and doubles each second. If the server limits the rate, refusals fall when the rate falls; noise, such
as a proxy that sometimes answers 503, does not depend on the rate. So each cut is an experiment, a trial: the rate goes
down to the calls that the server accepted. If the share of refusals falls, there is a limit, and the rate climbs again:
slowly at first, and fast above the rate that was too high. If the share stays the same, it is noise: the cut is undone,
and after that only a clearly higher share leads to a cut.

A refusal that takes far longer than an answer, such as that of a gateway before a queue, leads to fewer calls in
flight. A refusal that asks to wait is not noise. The next climb takes many times as long as the pause of the server.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from cdp_orders_async.telemetry import RateChanged

__all__ = ["MIN_ANSWERS", "START_RATE", "Climb", "Governor", "RateState", "Trial", "climb_to", "spread"]

START_RATE = 10.0  # Calls a second at the start. Common limits allow ten, and six seconds later the rate is 640.
GROWTH = 2.0  # The factor of the rate in each second of the start. Few calls follow before a refusal comes back.
MEMORY = 0.25  # Seconds over which the pace is counted. At the start the rate grows by a fifth in this time.
USED = 0.7  # If calls use less than this share of the rate, they teach nothing about a higher rate: it stays.
LEAST_RATE = 0.5  # No cut goes below one call in two seconds, so that a server that is back is noticed soon.
LEAST_SLOTS = 4  # No cut goes below four calls in flight: with fewer, one slow call would hold up most of the others.
KEPT_RATE = 0.92  # The share of the accepted calls that a cut leaves: little is lost, and a trial sees the difference.
KEPT_SLOTS = 0.6  # The share of the calls in flight that a cut leaves. A smaller cut hardly shortens a queue.
ROOM = 0.5  # The calls in flight grow again while answers take less than this share of the time of a late refusal.
MIN_CLIMB = 10.0  # The least length of a climb, so that the refusals at its end are one in a hundred calls.
CLIMB_CALLS = 250  # The least number of calls in a climb, for the same reason, where the rate is low.
WORTH = 10.0  # A climb takes ten times as long as the pause that may end it: pauses are then a tenth of the time.
FLIGHT = 20.0  # A climb takes twenty times as long as a refusal takes to come, or as it asked to wait.
STEEP = 4  # The power of time in a climb: after a limit found far too low, it is back in three times its length.
TRIAL_ANSWERS = 10  # A trial cuts again after ten answers: its rate is far too high, and a new trial follows.
MAX_IN_ROW = 7  # Seven refusals in a row are not chance, even where a third is noise: the server accepts nothing.
SMALL_SAMPLE = 75  # The least answers of a sample: two refusals among them are less than three in a hundred.
MISHAPS = 2.5  # Two refusals in a sample are an accident, since one call in a hundred may fail; three are not.
DEVIATIONS = 3.0  # Three standard deviations above the noise come by chance once in a thousand times.
UNCOUNTED = 0.5  # Seconds after a cut in which no answer counts: a full window says nothing of the new rate.
SLOW = 4.0  # A refusal that took four times as long as the quickest answer had to wait for something.
SILENCE = 2.0  # A silence of two seconds after a refusal is a pause of the server: even the least rate sends a call.
ALIKE = 0.03  # Two spells are windows of one length if their calls and their seconds differ by at most 3 %.
HINT = 0.1  # The weight of a single spell and its pause: a burst may have made the spell short.
TRUST = 300.0  # Seconds after which noise is measured again, since a limit may have taken its place.
RARE = 0.01  # One refusal in a hundred calls is accepted: it costs less than a lower rate.
MIN_ANSWERS = 25  # From so many answers a share of refusals is known to about a fifth: a half differs from all.
NOISIEST = 0.5  # A server that refuses half of all calls gets fewer calls, for whatever reason it refuses.
SHORTEST_TRIAL = 2.0  # Seconds of a trial at least, since many limits count by the second.
EXPECTED = 6  # A trial is long enough for six refusals from noise, and at most as long as the shortest climb.
TRIAL_REFUSALS = 3  # Fewer than three refusals in a trial may be an accident, even if the limit was found well.


class Trial(Struct):
    """The calls after a cut, which show whether refusals come from noise or from a limit."""

    until: float  # the end of the trial
    share: float  # the share of refusals before the cut; if they are noise, it does not change
    sample: float  # the number of answers that gave that share
    floor: float  # the share of refusals that is left if there is a limit
    slowest: float  # seconds of the slowest refusal: so long the last calls may wait for their answer
    answers: int = 0
    refusals: int = 0


class Climb(Struct):
    """The growth after a cut: very slow at first, then faster and faster above the old maximum."""

    start: float  # the value after the cut
    known: float  # the value that was too high
    seconds: float  # seconds until it reaches that value
    age: float = 0.0  # seconds since it began

    def higher(self, seconds: float) -> float:
        """Go on for *seconds*; return the new value."""
        self.age += seconds
        return self.start + (self.known - self.start) * (self.age / self.seconds) ** STEEP


class Allowed(Struct):
    """The rate and the calls in flight that are allowed."""

    rate: float | None  # calls per second; None: limited only by the calls in flight
    slots: int  # calls in flight
    climb: Climb | None = None  # the growth of the rate; None: no limit is known, and it doubles each second
    queue: Climb | None = None  # the growth of the calls in flight; None: they were never cut


class RateState(Struct, frozen=True):
    """The known state of a server's limit."""

    rate: float | None  # calls per second that are allowed now; None: no limit
    slots: int  # calls in flight that are allowed now
    limit: float | None  # calls per second that were too many; None: no limit is known
    found_for: float  # seconds since the last cut
    cut_for: str | None  # the reason of the last cut: 429, 504, a lost answer; None: there was no cut
    of: str = ""  # its calls, reads or writes; empty: all

    def changed(self, *, cut: bool) -> RateChanged:
        """Return it as an event; *cut*: fewer calls are allowed than before."""
        return RateChanged(
            per_second=self.rate,
            slots=self.slots,
            cut=cut,
            limit=self.limit,
            found_for=None if self.cut_for is None else self.found_for,
            cut_for=self.cut_for,
            of=self.of,
        )

    def __str__(self) -> str:
        found = None if self.limit is None else f"limit about {self.limit:.4g}/s, found {self.found_for:.0f} s ago"
        unknown = "no limit met so far" if self.cut_for is None else "no limit known"
        known = (f"{self.of}: " if self.of else "") + (found or unknown)
        return known if self.cut_for is None else f"{known}, last cut for {self.cut_for}"


class Governor:
    """Steer a rate and a number of slots by the results of the calls.

    *slots* is the most calls in flight, *rate* the calls per second at the start, *most* the highest rate. It has no
    clock and no timer: each method gets the time in seconds.
    """

    def __init__(self, slots: int, rate: float = START_RATE, most: float = math.inf) -> None:
        self.allowed = Allowed(rate, slots)
        self.pace = 0.0  # calls per second that were sent lately
        self._most = most
        self._most_slots = slots
        self._sends = 0  # since the pace was last counted
        self._counted = -math.inf  # the time of that count
        self._cut_at = -math.inf
        self._cut_for: str | None = None
        self._since = -math.inf  # answers count if their call was sent after this time
        self._count = 0  # the number of these answers
        self._shares = (0.0, 0.0)  # the share of refusals among the last few of these answers, and among more
        self._noise = 0.0  # the share of refusals that comes at any rate
        self._judged = -math.inf  # the time when that share was found
        self._trial: Trial | None = None
        self._before = self.allowed  # the state before the trial
        self._row = 0  # refusals since the last good answer
        self._outage: float | None = None  # the rate before the server began to refuse everything
        self._quickest = math.inf  # seconds of the quickest good answer
        self._latest = 0.0  # seconds of the latest good answer
        self._patience = math.inf  # seconds after which a slow call was refused
        self._good = math.inf  # the time when the call of the latest good answer was sent
        self._bad = -math.inf  # the time of the last refusal
        self._opened = math.inf  # the start of this spell, a time between two pauses of the server
        self._taken = 0  # the good answers of this spell
        self._spell = (0.0, 0.0)  # the good answers and the seconds of the spell before

    @property
    def most(self) -> float:
        """The highest rate."""
        return self._most

    def set_most(self, most: float) -> None:
        """Let the rate go up to *most*, at once where no limit of the server is known, and no higher."""
        self._most = most
        allowed = self.allowed
        if most < math.inf and allowed.climb is None and self._outage is None:
            allowed.rate = most
        if self._outage is not None:
            self._outage = min(self._outage, most)

    def state(self, now: float, of: str = "") -> RateState:
        """Return the known state of the limit *of* some calls *now*."""
        allowed = self.allowed
        limit = None if allowed.climb is None else allowed.climb.known
        return RateState(allowed.rate, allowed.slots, limit, now - self._cut_at, self._cut_for, of)

    def sent(self, now: float, *, full: bool) -> bool:
        """Count a call that leaves now, *full* if it took the last slot; return whether `allowed` may have changed."""
        self._sends += 1
        gone = now - self._counted
        if gone < MEMORY:
            return False
        if gone < MIN_CLIMB:  # otherwise there was a rest, which is not a pace
            self.pace = self._sends / gone
        self._sends, self._counted = 0, now
        if self._quickest == math.inf or self._trial is not None or self._outage is not None:
            return False
        allowed, seconds = self.allowed, min(gone, 1 / LEAST_RATE)
        if allowed.queue is not None and self._latest < ROOM * self._patience:
            allowed.slots = min(round(allowed.queue.higher(seconds)), self._most_slots)
        if allowed.rate is not None and self.pace >= USED * allowed.rate:
            higher = allowed.rate * GROWTH**seconds if allowed.climb is None else allowed.climb.higher(seconds)
            allowed.rate = min(max(allowed.rate, higher), self._most)
        elif full and allowed.climb is None and self._most == math.inf:
            allowed.rate = None  # the calls in flight hold it back, not the rate
        return True

    def answered(self, now: float, seconds: float) -> None:
        """Count a call whose answer, which shows no overload, took *seconds* to come."""
        sent, last = now - seconds, self._good
        self._good, self._row, self._latest = sent, 0, seconds
        self._quickest = min(self._quickest, seconds)
        self._opened = min(self._opened, sent)
        self._taken += 1
        if not self._counts(0, sent):
            return
        if self._outage is not None:
            self.allowed.rate, self._outage = self._outage, None
            self._begin(now)
        if sent - last > SILENCE and self._bad > last:
            self._resume(now, sent - last)
        self._conclude(now)

    def _resume(self, now: float, silence: float) -> None:
        """Learn from a pause that the server made."""
        allowed, before = self.allowed, self._spell
        taken, seconds = self._spell = (self._taken, max(now - self._opened, MEMORY))
        self._taken, self._opened = 0, now
        if taken >= MIN_ANSWERS and all(abs(a - b) <= ALIKE * a for a, b in zip(self._spell, before, strict=True)):
            allowed.climb = climb_to(taken / seconds)  # a window that accepts so many calls, however fast they come
            self.pace = allowed.rate = allowed.climb.start
        elif allowed.climb is not None and before[1]:
            known = allowed.climb.known
            allowed.climb = climb_to(known * (taken / seconds / known) ** HINT)
            allowed.rate = allowed.climb.start
        if allowed.climb is not None:
            allowed.climb.seconds = max(allowed.climb.seconds, WORTH * silence)

    def refused(self, now: float, seconds: float, why: str = "", asked: float = 0.0) -> None:
        """Count a call that was refused for the load, or got no answer, *seconds* after it was sent.

        *why* is the reason; *asked* are the seconds that the server asked to wait. A call that was sent before the last
        cut says nothing about the rate after it.
        """
        self._row, self._bad = self._row + 1, now
        sent, trial = now - seconds, self._trial
        counts = self._counts(1, sent)
        if trial is not None:
            trial.slowest = max(trial.slowest, seconds)
        elif now > self._judged + TRUST:
            self._noise = 0.0
        usual, few = (self._noise, MIN_ANSWERS) if trial is None else (trial.share, TRIAL_ANSWERS)
        too_many = any(
            share > usual + max(RARE, MISHAPS / sample) + DEVIATIONS * spread(usual, sample)
            for share, sample in zip(self._shares, self._samples(), strict=True)
        )
        if counts and asked > 0 and self._shares[0] < 1:  # otherwise it asks again in the same pause
            self._cut(now, seconds, why, asked)
        # Every call since the last cut was refused.
        elif self._row >= MAX_IN_ROW and sent > self._cut_at and self._shares[0] == min(self._count, 1):
            self._back_off(now, why)
        elif counts and self._count >= few and too_many:
            self._cut(now, seconds, why)
        elif counts:
            self._conclude(now)

    def _counts(self, refusals: int, sent: float) -> bool:
        """Count the answer to a call that was sent at the time *sent*; False if it says nothing of this rate."""
        if sent < self._since:
            return False
        self._count += 1
        few, many = (old + (refusals - old) / of for old, of in zip(self._shares, self._samples(), strict=True))
        self._shares = few, many
        trial = self._trial
        if trial is not None and (sent <= trial.until or trial.answers < MIN_ANSWERS):
            trial.answers += 1
            trial.refusals += refusals
        return True

    def _samples(self) -> tuple[float, float]:
        """Return the numbers of answers for the two shares: few show a limit soon, more tell it from noise."""
        few = max(SMALL_SAMPLE, self.pace)
        many = max(few, MIN_ANSWERS / self._noise) if self._noise > RARE else few
        return max(1.0, min(self._count, few)), max(1.0, min(self._count, many))

    def _back_off(self, now: float, why: str) -> None:
        """Halve the rate while the server accepts nothing; the known limit will hold when it is back."""
        rate = self.allowed.rate or self.pace or LEAST_RATE
        self._outage = self._outage or rate
        self._trial = None
        self.allowed.rate = max(LEAST_RATE, rate / 2)
        self._cut_at, self._cut_for = now, why
        self._begin(now)

    def _cut(self, now: float, seconds: float, why: str, asked: float = 0.0) -> None:
        """Allow fewer calls, after a refusal that took *seconds* to come, and begin a trial."""
        allowed = self.allowed
        counted = self._count >= TRIAL_ANSWERS
        share, sample = max(zip(self._shares, self._samples(), strict=True)) if counted else (0.0, 1.0)
        if self._trial is None:
            self._before = replace(allowed)
        if seconds > SLOW * self._quickest:
            busy = min(float(allowed.slots), self.pace * seconds)
            allowed.slots = max(LEAST_SLOTS, round(KEPT_SLOTS * busy))
            allowed.queue = Climb(allowed.slots, max(busy, allowed.slots / KEPT_SLOTS), max(MIN_CLIMB, SLOW * seconds))
            self._patience = seconds
        else:
            used = min(allowed.rate or self.pace or START_RATE, self.pace or math.inf)
            known, calls = (math.inf, 0) if allowed.climb is None else (allowed.climb.known, CLIMB_CALLS)
            used = min(used, (used + 2 * known) / 3)  # above the known limit, the calls only used up a burst
            allowed.climb = climb_to(used * (1 - share) / (1 - self._noise), FLIGHT * max(seconds, asked), calls)
            allowed.rate = allowed.climb.start
        lasts = EXPECTED / max(share - self._noise, RARE) / (allowed.rate or self.pace or LEAST_RATE)
        until = now + UNCOUNTED + min(MIN_CLIMB, max(SHORTEST_TRIAL, lasts))
        self._trial = None if asked else Trial(until, share, sample, self._noise, seconds)
        self._cut_at, self._cut_for = now, why
        self._begin(now, UNCOUNTED)

    def _begin(self, now: float, pause: float = 0.0) -> None:
        """Count only calls that are sent after a *pause*, at the rate that is allowed from *now* on."""
        self._since, self._count, self._shares = now + pause, 0, (0.0, 0.0)
        self._sends, self._counted, self.pace = 0, now, self.allowed.rate or self.pace

    def _conclude(self, now: float) -> None:
        """End the trial, if all its calls have been answered: it was a limit, or noise, or the rate is too high."""
        trial = self._trial
        if trial is None or now <= trial.until + trial.slowest or trial.answers < MIN_ANSWERS:
            return
        share, floor, left = trial.share, trial.floor, trial.refusals / trial.answers
        # The share before the cut was looked at because it was high: it is probably higher than the true share.
        likely = max(floor, share - spread(share, trial.sample))
        worse = min(NOISIEST, share + RARE + 2 * spread(share, trial.answers))
        noise = share < NOISIEST and trial.refusals >= TRIAL_REFUSALS and likely < left <= worse
        if not noise and trial.refusals >= TRIAL_REFUSALS and left > floor + RARE + spread(left, trial.answers):
            self._cut(now, trial.slowest, self._cut_for or "")
            return
        self._trial, self._judged = None, now
        if noise:
            self._noise = (share * trial.sample + trial.refusals) / (trial.sample + trial.answers)
            self.allowed = self._before
            self._begin(now)
        else:  # the refusals that a limit leaves are not noise, but as many are accepted
            share = min(left, max(RARE, self._noise))
            self._noise += (share - self._noise) * trial.answers / (trial.answers + MIN_ANSWERS)


def climb_to(known: float, least: float = 0.0, calls: int = CLIMB_CALLS) -> Climb:
    """Return the climb to the *known* rate, which is too high, in at least *least* seconds and *calls* calls."""
    known = max(known, LEAST_RATE)
    return Climb(max(LEAST_RATE, KEPT_RATE * known), known, max(MIN_CLIMB, calls / known, least))


def spread(share: float, answers: float) -> float:
    """Return the standard deviation of a *share* that was found in so many *answers*."""
    return math.sqrt(share * (1 - share) / answers)
