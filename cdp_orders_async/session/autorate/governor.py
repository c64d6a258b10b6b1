"""Finds the rate, and the number of calls in flight, that a server accepts: a state machine that sees each call.

It starts slowly and doubles each second. If the server limits the rate, refusals fall when the rate falls; noise, such
as that of a bad proxy, does not depend on it. So each cut is an experiment, a trial: the rate goes down to the calls
that the server accepted. If the share of refusals falls, there is a limit, and the rate climbs again: slowly at first,
and fast above the rate that was too high. If not, it is noise: the cut is undone; the next needs a higher share.

A refusal that takes far longer than an answer, such as that of a gateway before a queue, leads to fewer calls in
flight. A refusal that asks to wait is not noise. The next climb takes many times as long as the pause of the server.
"""

from __future__ import annotations

import math

from msgspec import Struct

__all__ = ["LEAST_RATE", "MIN_ANSWERS", "START_RATE", "Climb", "Governor", "Trial", "spread"]

START_RATE = 10.0  # Calls a second at the start. Common limits allow ten, and six seconds later the rate is 640.
GROWTH = 2.0  # The factor of the rate in each second of the start. Few calls follow before a refusal comes back.
MEMORY = 0.25  # Seconds over which the pace is counted. At the start the rate grows by a fifth in this time.
LONGEST_MEMORY = 2.0  # A longer time is that of an answer, at most this: calls that wait for slots leave in waves.
USED = 0.7  # If calls use less than this share of the rate, they teach nothing about a higher rate: it stays.
LEAST_RATE = 0.5  # No cut goes below one call in two seconds, so that a server that is back is noticed soon.
LEAST_SLOTS = 4  # No cut goes below four calls in flight: with fewer, one slow call would hold up most of the others.
KEPT_RATE = 0.92  # The share of the accepted calls that a cut leaves: little is lost, and a trial sees the difference.
DEEPEST = 3.0  # A cut leaves a third of the known limit: a window that is full accepts nothing, whatever its limit is.
KEPT_SLOTS = 0.6  # The share of the calls in flight that a cut leaves. A smaller cut hardly shortens a queue.
ROOM = 0.5  # The calls in flight grow again while answers take less than this share of the time of a late refusal.
MIN_CLIMB = 10.0  # The least length of a climb, so that the refusals at its end are one in a hundred calls.
CLIMB_CALLS = 250  # The least number of calls in a climb, for the same reason, where the rate is low.
WORTH = 10.0  # A climb takes ten times as long as the pause that may end it: pauses are then a tenth of the time.
WINDOWS = 2.0  # A climb takes two windows: what is too much then comes at the end of a window, and its pause is short.
FULL = 0.7  # The weight of a known limit that was just passed: a sliding window is too full to accept so much at first.
STEEP = 4  # The power of time in a climb: after a limit found far too low, it is back in three times its length.
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


class Climb(Struct):
    """The growth after a cut: very slow at first, then faster and faster above the old maximum."""

    start: float  # the value after the cut
    known: float  # the value that was too high
    seconds: float  # seconds until it reaches that value
    below: float = 0.0  # so far below the start it begins; it is back there well before it ends
    age: float = 0.0  # seconds since it began

    def higher(self, seconds: float) -> float:
        """Go on for *seconds*; return the new value."""
        self.age += seconds
        done = self.age / self.seconds
        return self.start - self.below * max(0.0, 1 - done) ** 3 + (self.known - self.start) * done**STEEP


class Trial(Struct):
    """The calls after a cut, which show whether refusals come from noise or from a limit."""

    before: tuple[float, Climb | None, int, Climb | None]  # the rate, the slots and their climbs before the cut
    until: float  # the end of the trial
    share: float  # the share of refusals before the cut; if they are noise, it does not change
    sample: float  # the number of answers that gave that share
    slowest: float  # seconds of the slowest refusal: so long the last calls may wait for their answer
    answers: int = 0
    refusals: int = 0
    passed: bool = False  # whether the rate before was above the known limit, and this is the first cut since


class Governor:
    """Steer a rate and a number of slots by the results of the calls.

    *slots* is the most calls in flight, *rate* the calls per second at the start. Calls that are sent before *since*
    say nothing about that rate. It has no clock and no timer: each method gets the time in seconds.
    """

    def __init__(self, slots: int, rate: float = START_RATE, since: float = -math.inf) -> None:
        self.rate = rate  # calls per second that are allowed; infinite: limited only by the calls in flight
        self.climb: Climb | None = None  # the growth of the rate; None: no limit is known, and it doubles each second
        self.slots = slots  # calls in flight that are allowed
        self.pace = rate  # calls per second that were sent lately
        self.cut_at = since  # the time of the last cut, or of the start
        self.cut_for: str | None = None  # its reason
        self._was_asked = False  # whether the server asked to wait then
        self._most_slots = slots
        self._queue: Climb | None = None  # the growth of the calls in flight; None: they were never cut
        self._sends = 0  # since the pace was last counted
        self._counted = -math.inf  # the time of that count
        self._since = since  # answers count if their call was sent after this time
        self._count = 0  # the number of these answers
        self._share = 0.0  # the share of refusals among the last of these answers
        self._noise = 0.0  # the share of refusals that comes at any rate
        self._judged = -math.inf  # the time when that share was found
        self._trial: Trial | None = None
        self._row = 0  # refusals since the last good answer
        self._quickest = math.inf  # seconds of the quickest good answer
        self._latest = 0.0  # seconds of the latest good answer
        self._patience = math.inf  # seconds after which a slow call was refused
        self._good = -math.inf  # the time when the call of the latest good answer was sent
        self._bad = -math.inf  # the time of the last refusal
        self._opened = math.inf  # the start of this spell, a time between two pauses of the server
        self._taken = 0  # the good answers of this spell
        self._spell = (0.0, 0.0)  # the good answers and the seconds of the spell before

    def sent(self, now: float, *, full: bool) -> bool:
        """Count a call that leaves now, *full* if it took the last slot; return whether more may be allowed now."""
        self._sends += 1
        gone = now - self._counted
        if gone < max(MEMORY, min(self._latest, LONGEST_MEMORY)):
            return False
        sends, self._sends, self._counted = self._sends, 0, now
        if gone > MIN_CLIMB:  # this was a rest, not a pace
            return False
        self.pace = sends / gone
        if self._trial is not None or self._good <= self._since:  # nothing good is known of this rate
            return False
        if self._queue is not None and self._latest < ROOM * self._patience:
            self.slots = min(round(self._queue.higher(gone)), self._most_slots)
        if self.pace >= USED * self.rate:
            self.rate = max(self.rate, self.climb.higher(gone) if self.climb else self.rate * GROWTH**gone)
        elif full and self.climb is None:
            self.rate = math.inf  # the calls in flight hold it back, not the rate
        return True

    def answered(self, now: float, seconds: float) -> None:
        """Count a call whose answer, which shows no overload, took *seconds* to come."""
        sent, last = now - seconds, self._good
        self._good, self._row, self._latest = sent, 0, seconds
        self._quickest = min(self._quickest, seconds)
        self._opened = min(self._opened, sent)
        self._taken += 1
        if self._counts(0, sent):
            if SILENCE < sent - last < math.inf and self._bad > last:
                self._resume(now, sent - last)
            self._conclude(now)

    def _resume(self, now: float, silence: float) -> None:
        """Learn from a pause that the server made."""
        before, taken, seconds = self._spell, self._taken, max(now - self._opened, MEMORY)
        self._spell, self._taken, self._opened = (taken, seconds), 0, now
        alike = taken >= MIN_ANSWERS and all(abs(a - b) <= ALIKE * a for a, b in zip(self._spell, before, strict=True))
        if alike:  # a window accepts so many calls, however fast they come
            self.climb = climb_to(taken / seconds)
        elif self.climb is not None and before[1]:
            self.climb = climb_to(self.climb.known * (taken / seconds / self.climb.known) ** HINT)
        if self.climb is not None:
            least = WINDOWS * seconds if alike and not self._was_asked else WORTH * silence
            self.climb.seconds = max(self.climb.seconds, least)
            self.rate = self.pace = self.climb.start
            self._sends, self._counted = 0, now

    def refused(self, now: float, seconds: float, why: str = "", asked: float = 0.0) -> None:
        """Count a call that was refused for the reason *why*, *seconds* after it left; *asked*: the seconds to wait."""
        self._row, self._bad = self._row + 1, now
        sent, trial = now - seconds, self._trial
        counts = self._counts(1, sent)
        if trial is not None:
            trial.slowest = max(trial.slowest, seconds)
        elif now > self._judged + TRUST:
            self._noise = 0.0
        usual, sample = self._noise if trial is None else trial.share, self._sample()
        too_many = self._share > usual + max(RARE, MISHAPS / sample) + DEVIATIONS * spread(usual, sample)
        if counts and asked > 0 and self._share < 1:  # otherwise it asks again in the same pause
            self._cut(now, seconds, why, asked)
        elif self._row >= MAX_IN_ROW and sent > self.cut_at and self._good <= self._since:
            self.rate = max(LEAST_RATE, min(self.rate, self.pace) / 2)  # the known limit will hold when it is back
            self._trial, self.cut_at, self.cut_for, self._was_asked = None, now, why, False
            self._begin(now)
        elif counts and self._count >= MIN_ANSWERS and too_many:
            self._cut(now, seconds, why)
        elif counts:
            self._conclude(now)

    def acquit(self) -> None:
        """Forget the refusals before, if the last one asked to wait: they concerned one call alone."""
        if self._was_asked:
            self.climb, self._spell = None, (0.0, 0.0)  # it climbs as at the start

    def _counts(self, refusals: int, sent: float) -> bool:
        """Count the answer to a call that was sent at the time *sent*; False if it says nothing of this rate."""
        if sent < self._since:
            return False
        self._count += 1
        self._share += (refusals - self._share) / self._sample()
        trial = self._trial
        if trial is not None and (sent <= trial.until or trial.answers < MIN_ANSWERS):
            trial.answers += 1
            trial.refusals += refusals
        return True

    def _sample(self) -> float:
        """Return the number of answers that the share is of: at the least those of a second."""
        return max(1.0, min(self._count, max(SMALL_SAMPLE, self.pace)))

    def _cut(self, now: float, seconds: float, why: str, asked: float = 0.0) -> None:
        """Allow fewer calls, after a refusal that took *seconds* to come, and begin a trial."""
        share, sample = (self._share, self._sample()) if self._count >= MIN_ANSWERS else (0.0, 1.0)
        trial = self._trial
        before = (self.rate, self.climb, self.slots, self._queue) if trial is None else trial.before
        passed = trial is None and self.climb is not None and self.rate > self.climb.known
        if seconds > SLOW * self._quickest:
            busy = min(float(self.slots), self.pace * seconds)
            self.slots = max(LEAST_SLOTS, round(KEPT_SLOTS * busy))
            self._queue = Climb(self.slots, max(busy, self.slots / KEPT_SLOTS), max(MIN_CLIMB, SLOW * seconds))
            self._patience = seconds
        else:
            used, known = min(self.rate, self.pace), 0.0 if self.climb is None else self.climb.known
            if known:  # above the known limit, the calls only used up a burst
                used = min(used, (used + 2 * known) / 3)
            limit = accepted = max(known / DEEPEST, used * (1 - share) / (1 - self._noise))
            if trial is not None and trial.passed:
                limit = FULL * known + (1 - FULL) * accepted
            self.climb = climb_to(limit)
            self.rate = max(LEAST_RATE, KEPT_RATE * accepted)
            self.climb.below = self.climb.start - self.rate
        lasts = EXPECTED / max(share - self._noise, RARE) / min(self.rate, self.pace)
        until = now + UNCOUNTED + min(MIN_CLIMB, max(SHORTEST_TRIAL, lasts))
        self._trial = None if asked else Trial(before, until, share, sample, seconds, passed=passed)
        self.cut_at, self.cut_for, self._was_asked = now, why, asked > 0
        self._begin(now, UNCOUNTED)

    def _begin(self, now: float, pause: float = 0.0) -> None:
        """Count only calls that are sent after a *pause*, at the rate that is allowed from *now* on."""
        self._since, self._count, self._share = now + pause, 0, 0.0
        self._sends, self._counted, self.pace = 0, now, min(self.rate, self.pace)

    def _conclude(self, now: float) -> None:
        """End the trial, if all its calls have been answered: it was a limit, or noise, or the rate is too high."""
        trial = self._trial
        if trial is None or now <= trial.until + trial.slowest or trial.answers < MIN_ANSWERS:
            return
        share, left, several = trial.share, trial.refusals / trial.answers, trial.refusals >= TRIAL_REFUSALS
        # The share before the cut was looked at because it was high: it is probably higher than the true share.
        likely = max(self._noise, share - spread(share, trial.sample))
        worse = min(NOISIEST, share + RARE + 2 * spread(share, trial.answers))
        if several and share < NOISIEST and likely < left <= worse:
            self._noise = (share * trial.sample + trial.refusals) / (trial.sample + trial.answers)
            self.rate, self.climb, self.slots, self._queue = trial.before
            self._begin(now)
        elif several and left > self._noise + RARE + spread(left, trial.answers):
            self._cut(now, trial.slowest, self.cut_for or "")
            return
        else:  # the refusals that a limit leaves are not noise, but as many are accepted
            self._noise = min(left, max(RARE, self._noise))
        self._trial, self._judged = None, now


def climb_to(known: float) -> Climb:
    """Return the climb to the *known* rate, which is too high."""
    known = max(known, LEAST_RATE)
    return Climb(max(LEAST_RATE, KEPT_RATE * known), known, max(MIN_CLIMB, CLIMB_CALLS / known))


def spread(share: float, answers: float) -> float:
    """Return the standard deviation of a *share* that was found in so many *answers*."""
    return math.sqrt(share * (1 - share) / answers)
