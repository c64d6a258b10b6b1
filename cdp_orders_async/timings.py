"""The times of calls: by purpose, and counted by length."""

from __future__ import annotations

import math
from bisect import bisect

import msgspec

__all__ = ["Durations", "Timings"]

SHORTEST = 1e-4  # seconds; shorter durations count as this
PER_DOUBLING = 4  # buckets, so that a bucket is a fifth longer than the one before it
BUCKETS = 100  # the last one has all durations of more than 47 minutes
BOUNDS = [SHORTEST * math.exp2(bucket / PER_DOUBLING) for bucket in range(1, BUCKETS)]  # where the next bucket begins


class Timings(msgspec.Struct):
    """The seconds that calls spent, by purpose; the seconds of parallel calls add up."""

    connection: float = 0.0
    """Waiting until fewer calls were in flight."""
    rate: float = 0.0
    """Waiting for a permit of the rate limit."""
    lane: float = 0.0
    """Waiting of a bulk call because interactive calls went first, as far as that was known when it began to wait."""
    backoff: float = 0.0
    """Waiting before a call was sent again, and while the server was not well."""
    settle: float = 0.0
    """Waiting until a list of the server shows all that was written, to look for something that may be there."""
    held: float = 0.0
    """Waiting because the load was held."""
    connect: float = 0.0
    """Getting a connection, new or kept."""
    server: float = 0.0
    """From the request to the first byte of the answer."""
    body: float = 0.0
    """Reading the answer."""
    decode: float = 0.0
    """Decoding the answer."""
    journal: float = 0.0
    """Waiting until the journal was on disk."""

    @property
    def total(self) -> float:
        """The sum of all seconds."""
        seconds: float = sum(msgspec.structs.astuple(self))
        return seconds

    def add(self, other: Timings) -> None:
        """Add the seconds of *other*."""
        for name in FIELD_NAMES:
            if seconds := getattr(other, name):
                setattr(self, name, getattr(self, name) + seconds)

    def to_json(self) -> dict[str, float]:
        """Return the seconds that are not zero, rounded to milliseconds."""
        return {name: seconds for name in FIELD_NAMES if (seconds := round(getattr(self, name), 3))}


FIELD_NAMES = Timings.__struct_fields__


class Durations(msgspec.Struct):
    """Counts durations by their length, in a fixed memory: a quantile is right to within a tenth of its value."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)

    def add(self, seconds: float) -> None:
        """Count a duration of so many *seconds*."""
        self.counts[bisect(BOUNDS, seconds)] += 1

    def merge(self, other: Durations) -> None:
        """Add the durations of *other*."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def since(self, earlier: Durations) -> Durations:
        """Return the durations that were added after the copy *earlier* was made."""
        return Durations([now - then for now, then in zip(self.counts, earlier.counts, strict=True)])

    def copy(self) -> Durations:
        """Return a copy, which stays as it is."""
        return Durations(self.counts.copy())

    def quantile(self, share: float) -> float | None:
        """Return the seconds that this *share* of the durations, from 0 to 1, do not exceed; None without any."""
        left = share * sum(self.counts)
        for bucket, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return SHORTEST * math.exp2((bucket + 0.5) / PER_DOUBLING)
        return None
