"""Whether the server is well: the one place that tells what an answer says of it from what it says of a request."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import NamedTuple

from cdp_orders_async.errors import (
    CdpError,
    DeadlineExceeded,
    Delivery,
    Forbidden,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    ServerError,
    Unauthorized,
    Unreadable,
)
from cdp_orders_async.pacing.breaker import Breaker

__all__ = ["Health", "Overload", "Sign", "overload", "sign_of"]

MISDIRECTED = frozenset({404, 405, 408, 421})
"""What the API itself never says to the creation of an order: the request went to somebody else."""
MAX_IN_ROW = 5
"""Answers in a row, with no success between, that are enough to end a load: none of them passes by waiting."""
UNPROVEN = 30.0
"""Seconds of failures after which a server that never did anything is given up."""
SILENT = 180.0
"""Seconds in which the server refused everything for its load, after which a load pauses: then it is a quota."""
LASTING = 180.0
"""Seconds of failures whose cause is not likely to pass, such as a certificate, after which a load ends."""


class Sign(enum.Enum):
    """What a failed call says."""

    REQUEST = "it is about this request: others may succeed"
    UNWELL = "it is not about this request: the server, or the way to it, is not well"
    BUSY = "the server asks to come more slowly"
    DENIED = "these credentials, or this request, may not do it"
    LOCAL = "nothing was asked of the server"


def sign_of(error: CdpError, operation: str) -> Sign:
    """Tell what *error*, met by the *operation* (``orders.create``), says of the server and of the request."""
    match error:
        case RateLimited():
            sign = Sign.BUSY
        case Unauthorized() | Forbidden():
            sign = Sign.DENIED
        case PoolTimeout() | DeadlineExceeded(delivery=Delivery.NOT_SENT):
            sign = Sign.LOCAL
        case NotSent() | OutcomeUnknown() | ServerError() | DeadlineExceeded():
            sign = Sign.UNWELL
        case Unreadable():
            sign = Sign.UNWELL if error.cut or not error.from_api else Sign.REQUEST
        case Refused():
            sign = Sign.UNWELL if _is_elsewhere(error, operation) else Sign.REQUEST
        case _:
            sign = Sign.LOCAL
    return sign


def _is_elsewhere(error: Refused, operation: str) -> bool:
    """Tell whether not the API refused, but something on the way to it."""
    if 300 <= error.status < 400:  # noqa: PLR2004 HTTP
        return True
    return error.status in MISDIRECTED and (operation == "orders.create" or not error.from_api)


class Overload(NamedTuple):
    """What a failure says of the load that the server bears."""

    why: str
    """What the failure was, in words; empty where it says nothing of the load."""
    asked: float = 0.0
    """Seconds that the server asked to wait."""


def overload(error: CdpError, *, late: bool) -> Overload | None:
    """Tell whether *error* may come from too much load; None: the server answered, and its reason is another one.

    A limit says 429 or 503, a gateway before a queue 502 or 504, a firewall drops the connection. *late* says that no
    answer came in all the time that there was.
    """
    answered = error.__cause__ if isinstance(error, OutcomeUnknown) else error
    sign: Overload | None = None
    match answered:
        case RateLimited() | ServerError(status=502 | 503 | 504):
            sign = Overload(str(answered.status), answered.retry_after or 0.0)
        case Refused() | Unreadable(cut=False):
            pass
        case PoolTimeout() | NotSent(lasting=True):
            sign = Overload("")
        case NotSent():
            sign = Overload("a connection that was not made")
        case DeadlineExceeded() if not late:  # the caller had no more time
            sign = Overload("")
        case _:
            sign = Overload("no answer in time" if late else "a lost answer")
    return sign


class Health:
    """What the calls of a load tell of the server: when to pause, and when to give up.

    *fail* is called with the error that ends the load. One that is *patient* waits for a server that is not well;
    another one ends with the first refusal of its credentials. *clock* gives the time in seconds.
    """

    def __init__(
        self, fail: Callable[[CdpError], None], *, patient: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.breaker = Breaker(clock=clock)
        self.created = 0
        """How many creates succeeded."""
        self.read = 0
        """How many other calls succeeded."""
        self.cause: CdpError | None = None
        """The last failure that says that the server is not well."""
        self._fail = fail
        self._patient = patient
        self._clock = clock
        self._is_well = False  # whether nothing failed since the last success
        self._reached = False  # whether anything was ever answered, or may have been done
        self._denied = 0  # in a row
        self._misdirected = 0  # in a row
        self._busy: float | None = None  # when the row of refusals for the load began that has no success in it
        self._since: float | None = None  # when the row of failures began that has no success in it

    def succeeded(self, *, creates: bool) -> None:
        """Count a call that succeeded."""
        if creates:
            self.created += 1
        else:
            self.read += 1
        if self._is_well:
            return
        self._denied = self._misdirected = 0
        self._busy = None
        self.breaker.success(creates=creates)
        if creates or not self.breaker.creates_fail:
            self._since = None
        self._reached, self._is_well = True, self._since is None

    @property
    def answered(self) -> int:
        """How many calls succeeded."""
        return self.created + self.read

    def failed(self, error: CdpError, operation: str) -> Sign:
        """Count a call of *operation* that failed; return what its *error* says."""
        creates = operation.endswith(".create")
        self._is_well = False
        sign = sign_of(error, operation)
        if sign is Sign.UNWELL:
            self._unwell(error, creates=creates)
        elif sign is Sign.DENIED:
            self._reached = True
            self._denied += 1
            known = isinstance(error, Refused) and error.from_api
            if self._denied >= MAX_IN_ROW or (known and not (self.answered and self._patient)):
                self._fail(error)
        elif sign is Sign.BUSY and self._refuses_all():
            self.cause = error
            self.breaker.failure(creates=creates)
        elif sign is not Sign.LOCAL:
            self._reached = True
            self._denied = 0
            self.breaker.success(creates=creates)
        return sign

    @property
    def why(self) -> str:
        """Why the load pauses, in words."""
        silent = (
            "" if self._busy is None else f"; nothing has succeeded for {(self._clock() - self._busy) / 60:.0f} min"
        )
        return f"{self.cause}{silent}"

    def _refuses_all(self) -> bool:
        """Tell whether the server has taken nothing for minutes, because it is asked for too much."""
        now = self._clock()
        self._busy = now if self._busy is None else self._busy
        return self._patient and now > self._busy + SILENT

    def _unwell(self, error: CdpError, *, creates: bool) -> None:
        now = self._clock()
        self.cause = error
        self._since = now if self._since is None else self._since
        if isinstance(error, NotSent) and not self._reached:
            self._fail(error)
            return
        self._reached = True
        elsewhere = isinstance(error, Refused) and not isinstance(error, ServerError)  # which passes
        self._misdirected += elsewhere and getattr(error, "from_api", True)
        self.breaker.failure(creates=creates)
        lasting = elsewhere or (isinstance(error, NotSent) and error.lasting)
        gone = now - self._since
        if not self._patient:
            return
        if (not self.answered and (self._misdirected >= MAX_IN_ROW or gone > UNPROVEN)) or (lasting and gone > LASTING):
            self._fail(error)
