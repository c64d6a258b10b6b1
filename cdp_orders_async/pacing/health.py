"""Whether the server is well: only here it is decided what a failure says of the server, and what of a request."""

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
from cdp_orders_async.wire import is_of_a_gateway

__all__ = ["Health", "Overload", "Sign", "overload", "sign_of"]

MISDIRECTED = {
    "orders.create": frozenset({404, 405, 408, 421}),
    "orders.list": frozenset({405, 408, 421}),
    "orders.get": frozenset({405, 408, 421}),
}
"""Statuses that the API itself never answers to these operations: the request went to another server."""
OF_THE_API = frozenset({500, 501})
"""Statuses of failures of the API itself, which do not come from too much load."""
BARRED = frozenset({407, 411, 415, 417, 451})
"""Statuses by which something on the way to the API refuses each request, whatever it asks."""
MAX_IN_ROW = 5
"""Such answers in a row, or refused credentials, that end a load: waiting does not help against them."""
UNPROVEN = 30.0
"""Seconds of failures after which a load ends if the server never did anything."""
SILENT = 180.0
"""Seconds in which the server refused everything for its load, after which a load pauses: it is probably a quota."""
LASTING = 180.0
"""Seconds of failures with a cause that will probably not go away, such as a certificate, after which a load ends, or
the last orders of its input."""


class Sign(enum.Enum):
    """What a failed call says."""

    REQUEST = "it is about this request: others may succeed"
    UNWELL = "it is not about this request: the server, or the way to it, is not well"
    BUSY = "the server asks to come more slowly"
    DENIED = "these credentials, or this request, may not do it"
    LOCAL = "nothing was asked of the server"


def sign_of(error: CdpError, operation: str) -> Sign:
    """Tell what *error*, from the *operation* (``orders.create``), says of the server and of the request."""
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
        case Refused(from_api=False) if error.status in BARRED:
            sign = Sign.DENIED
        case Refused():
            sign = Sign.UNWELL if _is_elsewhere(error, operation) else Sign.REQUEST
        case _:
            sign = Sign.LOCAL
    return sign


def _is_elsewhere(error: Refused, operation: str) -> bool:
    """Tell whether something on the way to the API refused, and not the API."""
    return is_of_a_gateway(error) or error.status in MISDIRECTED.get(operation, ())


class Overload(NamedTuple):
    """What a failure says of the load of the server."""

    why: str
    """The failure; empty if it says nothing of the load."""
    asked: float = 0.0
    """Seconds that the server asked to wait."""


def overload(error: CdpError, *, late: bool) -> Overload | None:
    """Tell whether *error* may come from too much load; None: the server answered for another reason.

    A limit answers 429 or 503, a gateway before a queue 502, 504 or a 5xx of its own such as 524 or 529, a firewall
    drops the connection. 500 and 501 come from the API itself. *late* says that no answer came within the timeout.
    """
    answered = error.__cause__ if isinstance(error, OutcomeUnknown) else error
    sign: Overload | None = None
    match answered:
        case RateLimited() | ServerError() if answered.status not in OF_THE_API:
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
    """Decides from the calls of a load when it pauses and when it ends.

    *fail* is called with the error that ends the load. A *patient* load waits for a server that is not well; any other
    load ends with the first refusal of its credentials. *clock* gives the time in seconds.
    """

    def __init__(
        self, fail: Callable[[CdpError], None], *, patient: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.breaker = Breaker(clock=clock)
        self.created = 0
        """The number of creates that succeeded."""
        self.read = 0
        """The number of other calls that succeeded."""
        self.cause: CdpError | None = None
        """The last failure that shows that the server is not well."""
        self.trouble: CdpError | None = None
        """The last failure because the server is not well or busy; None if it did anything since."""
        self._troubled = 0.0  # the time of the first such failure
        self._fail = fail
        self._patient = patient
        self._clock = clock
        self._is_well = False  # whether nothing failed since the last success
        self._reached = False  # whether the server ever answered, or may have done something
        self._denied = 0  # in a row
        self._misdirected = 0  # in a row
        self._busy: float | None = None  # the time of the first refusal for the load since the last success
        self._since: float | None = None  # the time of the first failure since the last success

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
            self._since = self.trouble = None
        self._reached, self._is_well = True, self._since is None

    @property
    def answered(self) -> int:
        """The number of calls that succeeded."""
        return self.created + self.read

    def failed(self, error: CdpError, operation: str) -> Sign:
        """Count a call of *operation* that failed; return what its *error* says."""
        creates = operation.endswith(".create")
        self._is_well = False
        sign = sign_of(error, operation)
        if sign in {Sign.UNWELL, Sign.BUSY}:
            self._troubled = self._clock() if self.trouble is None else self._troubled
            self.trouble = error
        elif sign is Sign.REQUEST and (creates or not self.breaker.creates_fail):
            self.trouble = None
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
    def is_stuck(self) -> bool:
        """Whether no create has succeeded for minutes, and some failed."""
        return self.breaker.creates_fail and self._since is not None and self._clock() > self._since + LASTING

    @property
    def troubled_for(self) -> float:
        """Seconds in which nothing has succeeded because the server is not well or busy."""
        return 0.0 if self.trouble is None else self._clock() - self._troubled

    @property
    def why(self) -> str:
        """The reason why the load pauses."""
        if self._busy is None:
            return str(self.cause)
        return f"{self.cause}; nothing has succeeded for {(self._clock() - self._busy) / 60:.0f} min"

    def _refuses_all(self) -> bool:
        """Tell whether the server has accepted nothing for minutes, because of its load."""
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
