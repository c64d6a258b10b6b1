"""The course of a load over time, in a bounded number of moments: orders, requests, refusals, answer times, waits."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, to_builtins

from cdp_orders_async.timings import Durations

__all__ = ["Course", "Moment", "Pause", "Series"]

MOST_MOMENTS = 600
MOST_PAUSES = 50
STEP = 0.25
"""Seconds of a moment at first. It doubles each time when there are too many moments."""

MOST = 1e12
"""The largest number that is taken from a file: sums of such numbers stay finite."""
Number = Annotated[float, Meta(ge=0, le=MOST)]
Count = Annotated[int, Meta(ge=0, le=10**12)]


class Moment(Struct, frozen=True, array_like=True):
    """A stretch of a load. In JSON it is a list of its values."""

    seconds: Number
    """Its length."""
    orders: Count = 0
    """Orders that came to their end in it."""
    requests: Count = 0
    """Requests that were sent in it."""
    retries: Count = 0
    """Those of them that were sent again."""
    refused: Count = 0
    """Answers 429 and 503."""
    rate: Number | None = None
    """Requests a second that were allowed at its end; None: without a limit."""
    median: Number | None = None
    """Seconds that half of the answers took at most; None: no answer came."""
    slow: Number | None = None
    """Seconds that 95 % of the answers took at most."""
    waited: Number = 0.0
    """Seconds in which the load waited for the server, or because the control file said so."""


class Pause(Struct, frozen=True):
    """A wait of a whole load."""

    at: Number
    """Seconds since the load began."""
    seconds: Number
    why: str
    """The cause, in a sentence."""


class Course(Struct, frozen=True, kw_only=True):
    """The course of a load, as its record keeps it."""

    moments: tuple[Moment, ...] = ()
    pauses: tuple[Pause, ...] = ()
    """The first pauses."""
    more_pauses: Count = 0
    """The number of the other pauses."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        data: dict[str, object] = to_builtins(self)
        return data


class _Stretch(Struct):
    """A moment that may still grow."""

    seconds: float
    counts: tuple[int, int, int, int]
    rate: float | None
    answers: Durations
    waited: float

    def extend(self, later: _Stretch) -> None:
        """Add the stretch that follows."""
        self.seconds += later.seconds
        first, second, third, fourth = (a + b for a, b in zip(self.counts, later.counts, strict=True))
        self.counts = first, second, third, fourth
        self.rate = later.rate
        self.answers.merge(later.answers)
        self.waited += later.waited

    def moment(self) -> Moment:
        orders, requests, retries, refused = self.counts
        median, slow = self.answers.quantile(0.5), self.answers.quantile(0.95)
        return Moment(
            _short(self.seconds) or 0.0,
            orders,
            requests,
            retries,
            refused,
            _short(self.rate),
            _short(median),
            _short(slow),
            _short(self.waited) or 0.0,
        )


def _short(value: float | None) -> float | None:
    """Return *value* with four digits, which are enough for a picture, and more where it is large."""
    return None if value is None else float(f"{value:.4g}") if value < 1000 else round(value, 1)  # noqa: PLR2004


class Series:
    """Collects the course of a load; however long that is, it keeps at most *most* moments."""

    def __init__(self, most: int = MOST_MOMENTS) -> None:
        self._most = most
        self._step = STEP
        self._stretches: list[_Stretch] = []
        self._pauses: list[Pause] = []
        self._more_pauses = 0
        self._paused = False
        self._seconds = 0.0
        self._counts = 0, 0, 0, 0
        self._answers = Durations()

    def note(
        self, seconds: float, counts: tuple[int, int, int, int], rate: float | None, answers: Durations, why: str | None
    ) -> None:
        """Note the state of the load, so many *seconds* after its start.

        *counts*: orders, requests, retries and refusals since the start; *rate*: requests a second that are allowed;
        *answers*: the times of all answers since the start; *why*: the reason why the load has waited since the last
        note, None if it has not.
        """
        gone = max(0.0, seconds - self._seconds)
        orders, requests, retries, refused = (now - then for now, then in zip(counts, self._counts, strict=True))
        new = _Stretch(
            gone,
            (orders, requests, retries, refused),
            rate,
            answers.since(self._answers),
            gone if why is not None else 0.0,
        )
        self._note_pause(gone, why)
        self._seconds, self._counts, self._answers = seconds, counts, answers.copy()
        if self._stretches and (self._stretches[-1].seconds < self._step or gone < self._step / 2):
            self._stretches[-1].extend(new)
        else:
            self._stretches.append(new)
        if len(self._stretches) > self._most:
            self._halve()

    def course(self) -> Course:
        """Return what is known until now."""
        moments = tuple(stretch.moment() for stretch in self._stretches)
        return Course(moments=moments, pauses=tuple(self._pauses), more_pauses=self._more_pauses)

    def _note_pause(self, gone: float, why: str | None) -> None:
        if why is None:
            self._paused = False
        elif self._paused:
            if not self._more_pauses:
                last = self._pauses[-1]
                self._pauses[-1] = Pause(last.at, round(last.seconds + gone, 3), why)
        else:
            self._paused = True
            if len(self._pauses) < MOST_PAUSES:
                self._pauses.append(Pause(round(self._seconds, 3), round(gone, 3), why))
            else:
                self._more_pauses += 1

    def _halve(self) -> None:
        """Make one stretch of each two neighbours."""
        halved = self._stretches[::2]
        for first, second in zip(halved, self._stretches[1::2], strict=False):
            first.extend(second)
        self._stretches = halved
        self._step *= 2
