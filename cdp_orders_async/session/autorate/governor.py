"""Finds the rate, and the number of calls in flight, that a server bears: a state machine, told of each call.

It starts slowly and doubles each second. A limit answers to the rate; noise, such as a proxy that now and then
says 503, does not. So each cut is a trial, down to what the server took. If the share of refusals falls, there is a
limit, and the rate climbs from there: slowly at first, and fast once it is past the rate that was too high. If the
share stays as it was, it is noise: all is as it was before, and then only a clearly higher share leads to a cut.

A refusal that takes far longer than answers do, as those of a gateway before a queue, is met by fewer calls in flight.
A refusal that asks to wait is no noise. What a pause of the server costs, the next climb takes many times over.
"""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from cdp_orders_async.telemetry import RateChanged

__all__ = ["SETTLED", "START", "Climb", "Governor", "RateState", "Trial", "climb_to", "spread"]

START = 10.0  # It starts with ten calls a second: common limits bear them, and 640 are reached in six seconds.
GROWTH = 2.0  # It doubles in a second: while the first refusal is on its way, few calls follow a call too many.
MEMORY = 0.25  # The pace is counted over a quarter of a second, in which the rate of the start grows by a fifth.
USED = 0.7  # Where calls use less than this share of the rate, nothing is learnt of a higher one, and it stays.
LEAST_RATE = 0.5  # No cut goes below a call in two seconds: so soon a server that is back is noticed.
LEAST_SLOTS = 4  # No cut goes below four calls in flight: with fewer, one slow call would hold up most of the rest.
KEPT = 0.92  # A cut leaves so much of what the server took: most of a limit is used, and a trial sees the difference.
KEPT_SLOTS = 0.6  # A cut leaves six tenths of the calls in flight: in a queue that is hardly cut all wait as long.
ROOM = 0.5  # The calls in flight grow again while answers take less than half of the time after which one was refused.
CYCLE = 10.0  # A climb takes ten seconds or more, so that the few refusals at its end are one in a hundred calls...
CALLS = 250  # ...and it takes this many calls, for the same reason where the rate is low.
WORTH = 10.0  # A climb takes ten times as long as a pause that it may end in, so that pauses are a tenth of the time...
FLIGHT = 20.0  # ...and twenty times as long as a refusal takes to come, or as it asked to wait.
STEEP = 4  # The power of time by which it climbs: from a limit found far too low it is back in three times its length.
FEW = 10  # In a trial more is cut at once, after ten answers: its rate is far too high, and the next is a trial too.
ROW = 7  # Seven refusals in a row are no chance, even where a third is noise: the server takes nothing.
SAMPLE = 75  # The share of refusals is that of 75 answers or more, in which two stay below three in a hundred.
MISHAPS = 2.5  # Two refusals in a sample are an accident, since one call in a hundred may fail; three are not.
SURE = 3.0  # Three standard deviations above the noise come by chance once in a thousand times.
PAUSE = 0.5  # For half a second after a cut no answer counts: one of a full window says nothing of the new rate.
SLOW = 4.0  # A refusal that took four times as long as the quickest answer had to wait for something.
LONG = 2.0  # A silence of two seconds after a refusal is a pause of the server: even the least rate calls as often.
ALIKE = 0.03  # Two spells are windows of one length if their calls and their seconds differ by at most 3 %.
HINT = 0.1  # Of what a spell says by the pause at its end so little is taken, since a burst may have made it short.
TRUST = 300.0  # After five minutes noise is found anew, since a limit may have taken its place.
RARE = 0.01  # A server that refuses one call in a hundred may be left alone: that costs less than a lower rate.
SETTLED = 25  # From so many answers on, a share of refusals is known to about a fifth, which tells a half from a whole.
NOISIEST = 0.5  # A server that refuses half of all calls is spared, whatever the reason is.
SHORTEST = 2.0  # A trial takes two seconds, since many limits count by the second, and at most a cycle.
EXPECTED = 6  # In between, it takes as long as noise needs for six refusals...
FOUND = 3  # ...and fewer than three may be an accident of a limit that was found well.


class Trial(Struct):
    """The calls that are sent after a cut, to see what noise and a limit make of them."""

    until: float  # when the last of them is sent
    share: float  # the share of refusals before the cut; noise leaves it as it is
    sample: float  # the answers by which that is known
    floor: float  # the share of refusals that is left if there is a limit
    slowest: float  # seconds that the slowest refusal took: so long the last of the calls may be out
    answers: int = 0
    refusals: int = 0


class Climb(Struct):
    """A way back up from a cut: hardly at first, then faster and faster past the old maximum."""

    start: float  # the value after the cut
    known: float  # the value that was too high
    seconds: float  # how long it takes until there
    age: float = 0.0  # how long it has lasted

    def higher(self, seconds: float) -> float:
        """Go on for *seconds*; return the value then."""
        self.age += seconds
        return self.start + (self.known - self.start) * (self.age / self.seconds) ** STEEP


class Allowed(Struct):
    """What calls may do."""

    rate: float | None  # calls per second; None: as many as the calls in flight give
    slots: int  # calls in flight
    climb: Climb | None = None  # how the rate grows; None: no limit is known, and it doubles each second
    queue: Climb | None = None  # how the calls in flight grow; None: they were never cut


class RateState(Struct, frozen=True):
    """What is known of a server's limit."""

    rate: float | None  # calls per second that are allowed now; None: no limit
    slots: int  # calls in flight that are allowed now
    limit: float | None  # calls per second that were too many; None: no limit is known
    found_for: float  # seconds since the last cut
    cut_for: str | None  # what that was made for: 429, 504, a lost answer; None: there was none
    of: str = ""  # which calls it holds for, reads or writes; empty: all

    def changed(self, *, cut: bool) -> RateChanged:
        """Return it as an event; *cut*: calls may do less than before."""
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
        known = (f"{self.of}: " if self.of else "") + (found or "no limit known")
        return known if self.cut_for is None else f"{known}, last cut for {self.cut_for}"


class Governor:
    """Steer a rate and a number of slots by what becomes of the calls.

    *slots* is the most calls in flight, *rate* the calls per second at first, *most* the highest rate. It has no clock
    and no timer: whoever tells it of a call says when that is, in seconds.
    """

    def __init__(self, slots: int, rate: float = START, most: float = math.inf) -> None:
        self.allowed = Allowed(rate, slots)
        self.pace = 0.0  # calls per second that were sent of late
        self._most = most
        self._most_slots = slots
        self._sends = 0  # since the pace was last counted
        self._counted = -math.inf  # when that was
        self._cut_at = -math.inf
        self._cut_for: str | None = None
        self._since = -math.inf  # when the first of the calls was sent that are judged
        self._count = 0  # of their answers
        self._shares = (0.0, 0.0)  # of refusals among the last few of these, and among more
        self._noise = 0.0  # the share of refusals that comes at any rate
        self._judged = -math.inf  # when that was found
        self._trial: Trial | None = None
        self._before = self.allowed  # the trial
        self._row = 0  # refusals since the last good answer
        self._outage: float | None = None  # the rate before the server took nothing any longer
        self._quickest = math.inf  # seconds of the quickest good answer
        self._latest = 0.0  # seconds of the latest one
        self._patience = math.inf  # seconds after which a slow call was refused
        self._good = math.inf  # when the latest call was sent that was answered well
        self._bad = -math.inf  # when a call was last refused
        self._opened = math.inf  # when the spell began that no pause has ended yet
        self._taken = 0  # the good answers of this spell
        self._spell = (0.0, 0.0)  # the good answers and the seconds of the one before

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
        """Return what is known *now* of the limit *of* some calls."""
        allowed = self.allowed
        limit = None if allowed.climb is None else allowed.climb.known
        return RateState(allowed.rate, allowed.slots, limit, now - self._cut_at, self._cut_for, of)

    def sent(self, now: float, *, full: bool) -> bool:
        """Count a call that leaves now, *full* if it took the last slot; return whether `allowed` may have changed."""
        self._sends += 1
        gone = now - self._counted
        if gone < MEMORY:
            return False
        if gone < CYCLE:  # else it is the pace of a rest
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
        if sent - last > LONG and self._bad > last:
            self._resume(now, sent - last)
        self._conclude(now)

    def _resume(self, now: float, silence: float) -> None:
        """Learn from a pause that the server made."""
        allowed, before = self.allowed, self._spell
        taken, seconds = self._spell = (self._taken, max(now - self._opened, MEMORY))
        self._taken, self._opened = 0, now
        if taken >= SETTLED and all(abs(a - b) <= ALIKE * a for a, b in zip(self._spell, before, strict=True)):
            allowed.climb = climb_to(taken / seconds)  # a window that takes so many calls, however fast they come
            self.pace = allowed.rate = allowed.climb.start
        elif allowed.climb is not None and before[1]:
            known = allowed.climb.known
            allowed.climb = climb_to(known * (taken / seconds / known) ** HINT)
            allowed.rate = allowed.climb.start
        if allowed.climb is not None:
            allowed.climb.seconds = max(allowed.climb.seconds, WORTH * silence)

    def refused(self, now: float, seconds: float, why: str = "", asked: float = 0.0) -> None:
        """Count a call that was refused for the load, or left without an answer, *seconds* after it was sent.

        *why* says in words how; *asked* are the seconds that the server asked to wait. What was sent before the last
        cut says nothing about the rate since.
        """
        self._row, self._bad = self._row + 1, now
        sent, trial = now - seconds, self._trial
        counts = self._counts(1, sent)
        if trial is not None:
            trial.slowest = max(trial.slowest, seconds)
        elif now > self._judged + TRUST:
            self._noise = 0.0
        usual, few = (self._noise, SETTLED) if trial is None else (trial.share, FEW)
        too_many = any(
            share > usual + max(RARE, MISHAPS / sample) + SURE * spread(usual, sample)
            for share, sample in zip(self._shares, self._samples(), strict=True)
        )
        if counts and asked > 0 and self._shares[0] < 1:  # else it asks again in the same pause
            self._cut(now, seconds, why, asked)
        elif self._row >= ROW and sent > self._cut_at and self._shares[0] == min(self._count, 1):  # none was good since
            self._back_off(now, why)
        elif counts and self._count >= few and too_many:
            self._cut(now, seconds, why)
        elif counts:
            self._conclude(now)

    def _counts(self, refusals: int, sent: float) -> bool:
        """Count the answer to a call that was sent then; False if it tells nothing."""
        if sent < self._since:
            return False
        self._count += 1
        few, many = (old + (refusals - old) / of for old, of in zip(self._shares, self._samples(), strict=True))
        self._shares = few, many
        trial = self._trial
        if trial is not None and (sent <= trial.until or trial.answers < SETTLED):
            trial.answers += 1
            trial.refusals += refusals
        return True

    def _samples(self) -> tuple[float, float]:
        """Return over how many answers the shares are averaged: few show a limit soon, more tell it from noise."""
        few = max(SAMPLE, self.pace)
        many = max(few, SETTLED / self._noise) if self._noise > RARE else few
        return max(1.0, min(self._count, few)), max(1.0, min(self._count, many))

    def _back_off(self, now: float, why: str) -> None:
        """Halve the rate while the server takes nothing: what was known will hold when it is back."""
        rate = self.allowed.rate or self.pace or LEAST_RATE
        self._outage = self._outage or rate
        self._trial = None
        self.allowed.rate = max(LEAST_RATE, rate / 2)
        self._cut_at, self._cut_for = now, why
        self._begin(now)

    def _cut(self, now: float, seconds: float, why: str, asked: float = 0.0) -> None:
        """Allow less than what was too much, which took *seconds* to be refused, and see what that brings."""
        allowed = self.allowed
        share, sample = max(zip(self._shares, self._samples(), strict=True)) if self._count >= FEW else (0.0, 1.0)
        if self._trial is None:
            self._before = replace(allowed)
        if seconds > SLOW * self._quickest:
            busy = min(float(allowed.slots), self.pace * seconds)
            allowed.slots = max(LEAST_SLOTS, round(KEPT_SLOTS * busy))
            allowed.queue = Climb(allowed.slots, max(busy, allowed.slots / KEPT_SLOTS), max(CYCLE, SLOW * seconds))
            self._patience = seconds
        else:
            used = min(allowed.rate or self.pace or START, self.pace or math.inf)
            known, calls = (math.inf, 0) if allowed.climb is None else (allowed.climb.known, CALLS)
            used = min(used, (used + 2 * known) / 3)  # past what was too much only a burst of the server was used up
            allowed.climb = climb_to(used * (1 - share) / (1 - self._noise), FLIGHT * max(seconds, asked), calls)
            allowed.rate = allowed.climb.start
        lasts = EXPECTED / max(share - self._noise, RARE) / (allowed.rate or self.pace or LEAST_RATE)
        until = now + PAUSE + min(CYCLE, max(SHORTEST, lasts))
        self._trial = None if asked else Trial(until, share, sample, self._noise, seconds)
        self._cut_at, self._cut_for = now, why
        self._begin(now, PAUSE)

    def _begin(self, now: float, pause: float = 0.0) -> None:
        """Judge what is sent after a *pause*, at the rate that is allowed from *now* on."""
        self._since, self._count, self._shares = now + pause, 0, (0.0, 0.0)
        self._sends, self._counted, self.pace = 0, now, self.allowed.rate or self.pace

    def _conclude(self, now: float) -> None:
        """End the trial, if all of its calls have been answered: it was a limit, or noise, or the rate is too high."""
        trial = self._trial
        if trial is None or now <= trial.until + trial.slowest or trial.answers < SETTLED:
            return
        share, floor, left = trial.share, trial.floor, trial.refusals / trial.answers
        # The share before the cut was looked at because it was high, so that by chance it seems higher than it is.
        likely = max(floor, share - spread(share, trial.sample))
        worse = min(NOISIEST, share + RARE + 2 * spread(share, trial.answers))
        noise = share < NOISIEST and trial.refusals >= FOUND and likely < left <= worse
        if not noise and trial.refusals >= FOUND and left > floor + RARE + spread(left, trial.answers):
            self._cut(now, trial.slowest, self._cut_for or "")
            return
        self._trial, self._judged = None, now
        if noise:
            self._noise = (share * trial.sample + trial.refusals) / (trial.sample + trial.answers)
            self.allowed = self._before
            self._begin(now)
        else:  # what is left of a limit is no noise, but as much as may be left alone
            self._noise += (min(left, max(RARE, self._noise)) - self._noise) * trial.answers / (trial.answers + SETTLED)


def climb_to(known: float, least: float = 0.0, calls: int = CALLS) -> Climb:
    """Return the climb to a rate that is too high, in *least* seconds and *calls* or more."""
    known = max(known, LEAST_RATE)
    return Climb(max(LEAST_RATE, KEPT * known), known, max(CYCLE, calls / known, least))


def spread(share: float, answers: float) -> float:
    """Return the standard deviation of a *share* that is found in so many *answers*."""
    return math.sqrt(share * (1 - share) / answers)
