"""The limits of a server, and how it refuses: limiters as in real APIs, as values.

In the switch *limits*, each one is an object with a ``kind``: ``{"kind": "bucket", "rate": 50, "burst": 50}``. Nothing
here reads a clock: each call gets the time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import attrs

__all__ = ["PASS", "Bucket", "Concurrency", "Fate", "Gate", "Limit", "Queue", "Window", "read_limits"]

REFUSALS = ("reset", "lost")
"""How a server refuses without an answer: it resets the connection, or it never answers."""
STATUSES = range(400, 600)
ROUNDING_ERROR = 1e-9


@attrs.frozen
class Fate:
    """The result of a request at the limits."""

    wait: float = 0.0
    """Seconds until its answer."""
    refusal: int | str | None = None
    """The status of the refusal, or *reset* or *lost*; None: the request is done and answered."""
    retry_after: int | None = None
    """The seconds of ``Retry-After``."""
    work: float = 0.0
    """Seconds until it takes effect."""
    is_done: bool = False
    """Whether it takes effect although it is refused, because a gateway gave up first."""


PASS = Fate()


def _wrong(limit: Limit, field: attrs.Attribute[Any], rule: str, value: object) -> ValueError:
    return ValueError(f"{type(limit).__name__.lower()}: {field.name} must be {rule}, not {value!r}")


def _positive(limit: Limit, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _wrong(limit, field, "a finite number above 0", value)


def _not_negative(limit: Limit, field: attrs.Attribute[Any], value: object) -> None:
    if value != 0:
        _positive(limit, field, value)


def _flag(limit: Limit, field: attrs.Attribute[Any], value: object) -> None:
    if type(value) is not bool:
        raise _wrong(limit, field, "true or false", value)


def _a_refusal(limit: Limit, field: attrs.Attribute[Any], value: object) -> None:
    if value not in REFUSALS and (type(value) is not int or value not in STATUSES):
        raise _wrong(limit, field, "a status from 400 to 599, reset or lost", value)


def _methods(limit: Limit, field: attrs.Attribute[Any], value: object) -> None:
    if not all(isinstance(method, str) for method in _members(value)):
        raise _wrong(limit, field, "names of HTTP methods", value)


def _steps(limit: Limit, field: attrs.Attribute[Any], value: object) -> None:
    for pair in map(_members, _members(value)):
        if len(pair) != 2:  # noqa: PLR2004 a pair
            raise _wrong(limit, field, "pairs of seconds and a factor", value)
        _not_negative(limit, field, pair[0])
        _positive(limit, field, pair[1])


def _members(value: object) -> tuple[object, ...]:
    """Return the members of a tuple; for anything else, one None, which no validator accepts."""
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else (None,)


def _tuples(value: object) -> Any:  # noqa: ANN401 the validator of the field checks it
    """Return JSON lists as tuples, which have a hash."""
    if isinstance(value, list | tuple):
        return tuple(map(_tuples, cast("Sequence[object]", value)))
    return value


@attrs.frozen(kw_only=True)
class Limit:
    """The base of all limiters."""

    methods: tuple[str, ...] = attrs.field(default=(), converter=_tuples, validator=_methods)
    """The HTTP methods that it counts; empty: all."""
    refusal: int | str = attrs.field(default=429, validator=_a_refusal)
    """How it refuses: by a status, by *reset* of the connection, or *lost*, with no answer at all."""
    retry_after: float | None = attrs.field(default=None, validator=attrs.validators.optional(_not_negative))
    """The seconds of ``Retry-After`` on a refusal; None: no such header."""
    ban: float = attrs.field(default=0.0, validator=_not_negative)
    """Seconds for which it refuses everything after a request above the limit."""
    steps: tuple[tuple[float, float], ...] = attrs.field(default=(), converter=_tuples, validator=_steps)
    """Its changes: pairs of seconds from the start, and the factor of the limit from then on."""
    repeat: float = attrs.field(default=0.0, validator=_not_negative)
    """Seconds after which the steps begin again, as with another tenant that comes and goes; 0: never."""

    def factor(self, seconds: float) -> float:
        """Return the factor of the limit, *seconds* after its start."""
        if self.repeat:
            seconds %= self.repeat
        return next((factor for at, factor in reversed(self.steps) if seconds >= at), 1.0)


class Counter:
    """The requests that a limiter has seen."""

    def admit(self, now: float, factor: float) -> Fate:
        """Count a request that comes *now*."""
        raise NotImplementedError

    def left(self, now: float) -> float:
        """Return the seconds until it may admit a request again; 0 if that is not known."""
        del now
        return 0.0

    def leave(self) -> None:
        """Count the end of a request that was admitted."""


REFUSED = Fate(refusal=429)


@attrs.frozen(kw_only=True)
class Bucket(Limit):
    """A limit of requests a second, with a burst after a rest."""

    rate: float = attrs.field(validator=_positive)
    """Requests a second."""
    burst: float = attrs.field(default=1.0, validator=_positive)
    """The number of requests that may come at once after a rest."""


class _Tokens(Counter):
    def __init__(self, limit: Bucket) -> None:
        self._limit = limit
        self._tokens = limit.burst
        self._filled: float | None = None

    def admit(self, now: float, factor: float) -> Fate:
        gone = 0.0 if self._filled is None else now - self._filled
        self._tokens = min(self._limit.burst, self._tokens + gone * self._limit.rate * factor)
        self._filled = now
        if self._tokens < 1 - ROUNDING_ERROR:
            return REFUSED
        self._tokens -= 1
        return PASS


@attrs.frozen(kw_only=True)
class Window(Limit):
    """A limit of requests in each span of some seconds. A quota has a long span."""

    calls: float = attrs.field(validator=_positive)
    """The number of requests."""
    seconds: float = attrs.field(validator=_positive)
    """The length of the span."""
    sliding: bool = attrs.field(default=False, validator=_flag)
    """Whether the span always ends now; otherwise the spans follow each other."""
    counts_refused: bool = attrs.field(default=False, validator=_flag)
    """Whether a refused request counts too."""
    tells: bool = attrs.field(default=False, validator=_flag)
    """Whether ``Retry-After`` has the rest of the span."""


class _Span(Counter):
    def __init__(self, limit: Window) -> None:
        self._limit = limit
        self._number = -1
        self._calls = 0

    def admit(self, now: float, factor: float) -> Fate:
        number = int(now // self._limit.seconds)
        if number != self._number:
            self._number, self._calls = number, 0
        good = self._calls < self._limit.calls * factor
        self._calls += good or self._limit.counts_refused
        return PASS if good else REFUSED

    def left(self, now: float) -> float:
        return self._limit.seconds - now % self._limit.seconds


class _Log(Counter):
    def __init__(self, limit: Window) -> None:
        self._limit = limit
        self._times: deque[float] = deque()

    def admit(self, now: float, factor: float) -> Fate:
        times = self._times
        while times and times[0] <= now - self._limit.seconds:
            times.popleft()
        good = len(times) < self._limit.calls * factor
        if good or self._limit.counts_refused:
            times.append(now)
        return PASS if good else REFUSED

    def left(self, now: float) -> float:
        return self._times[0] + self._limit.seconds - now if self._times else 0.0


@attrs.frozen(kw_only=True)
class Concurrency(Limit):
    """A limit of requests at the same time."""

    calls: float = attrs.field(validator=_positive)
    """The number of requests."""


class _Busy(Counter):
    def __init__(self, limit: Concurrency) -> None:
        self._limit = limit
        self._calls = 0

    def admit(self, now: float, factor: float) -> Fate:
        del now
        if self._calls >= self._limit.calls * factor:
            return REFUSED
        self._calls += 1
        return PASS

    def leave(self) -> None:
        self._calls -= 1


@attrs.frozen(kw_only=True)
class Queue(Limit):
    """A server that works on one request at a time; the others wait."""

    rate: float = attrs.field(validator=_positive)
    """Requests a second."""
    gateway: float | None = attrs.field(default=None, validator=attrs.validators.optional(_positive))
    """Seconds after which a gateway in front of it answers with *refusal*; the work is done all the same.
    None: there is no gateway."""
    refusal: int | str = attrs.field(default=504, validator=_a_refusal)


class _Line(Counter):
    def __init__(self, limit: Queue) -> None:
        self._limit = limit
        self._free = 0.0

    def admit(self, now: float, factor: float) -> Fate:
        self._free = max(self._free, now) + 1 / (self._limit.rate * factor)
        wait, most = self._free - now, self._limit.gateway
        if most is not None and wait > most:
            return Fate(most, self._limit.refusal, work=wait, is_done=True)
        return Fate(wait, work=wait)


KINDS: Mapping[str, Callable[..., Limit]] = {
    "bucket": Bucket,
    "concurrency": Concurrency,
    "queue": Queue,
    "window": Window,
}
COUNTERS: Mapping[type[Limit], Callable[[Any], Counter]] = {
    Bucket: _Tokens,
    Concurrency: _Busy,
    Queue: _Line,
    Window: lambda limit: _Log(limit) if limit.sliding else _Span(limit),
}
Leave: TypeAlias = Callable[[], None]


class Gate:
    """Asks all *limits* of a server about each request; it starts *now*."""

    def __init__(self, limits: Sequence[Limit], now: float) -> None:
        self._limits = [(limit, COUNTERS[type(limit)](limit)) for limit in limits]
        self._began = now
        self._banned: dict[int, float] = {}

    def enter(self, method: str, now: float) -> tuple[Fate, Leave]:
        """Return the fate of a request that comes *now*, and a function to call when its answer leaves."""
        seconds = now - self._began
        fate, admitted = PASS, list[Counter]()
        for number, (limit, counter) in enumerate(self._limits):
            if limit.methods and method not in limit.methods:
                continue
            is_banned = now < self._banned.get(number, now)
            fate = REFUSED if is_banned else counter.admit(seconds, limit.factor(seconds))
            if fate.refusal is not None and not fate.is_done:
                if limit.ban and not is_banned:
                    self._banned[number] = now + limit.ban
                left = counter.left(seconds) if isinstance(limit, Window) and limit.tells else limit.retry_after
                fate = Fate(refusal=limit.refusal, retry_after=None if left is None else math.ceil(left))
                break
            admitted.append(counter)
        if fate.refusal is not None and not fate.is_done:
            for counter in admitted:
                counter.leave()
            admitted.clear()

        def leave() -> None:
            while admitted:
                admitted.pop().leave()

        return fate, leave


def read_limits(given: object) -> tuple[Limit, ...]:
    """Return the limits in *given*: one or a list of limits, or of objects with a kind; raises `ValueError`."""
    many = cast("Sequence[object]", given) if isinstance(given, list | tuple) else (given,)
    return tuple(limit if isinstance(limit, Limit) else _read(limit) for limit in many)


def _read(given: object) -> Limit:
    if not isinstance(given, Mapping):
        raise ValueError(f'limits must be objects such as {{"kind": "bucket", "rate": 50}}, not {given!r}')  # noqa: TRY004 as for any wrong switch
    rest: dict[str, Any] = {**given}
    kind = rest.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"the kind of a limit must be one of {', '.join(KINDS)}, not {kind!r}")
    try:
        return KINDS[kind](**rest)
    except TypeError as wrong:  # an unknown key, or a missing one
        raise ValueError(f"{kind}: {str(wrong).partition('() ')[2]}") from None
