"""What can go wrong, and first of all whether it is safe to send again.

CdpError                      the root; never raised itself
├─ Invalid                    our own check, before anything was sent (also a ValueError)
├─ NotSent                    nothing reached the server: always safe to send again
│  └─ PoolTimeout             no connection became free in time
├─ OutcomeUnknown             sent, but the answer was lost: look before you send a create again
├─ Refused                    the server answered with an error
│  ├─ BadRequest 400 · Unauthorized 401 · Forbidden 403 · NotFound 404 · Conflict 409
│  ├─ RateLimited 429
│  └─ ServerError 5xx
├─ Unreadable                 the server did it, but its answer does not fit
├─ DeadlineExceeded           the call's own deadline passed (also a TimeoutError)
├─ InputError                 the input of a load cannot be read any further
└─ JournalError               the journal cannot be opened, read or written
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from cdp_orders_async.redact import Opaque, printable

__all__ = [
    "BadRequest",
    "CdpError",
    "Conflict",
    "DeadlineExceeded",
    "Delivery",
    "Forbidden",
    "InputError",
    "Invalid",
    "JournalError",
    "NotFound",
    "NotSent",
    "OutcomeUnknown",
    "PoolTimeout",
    "RateLimited",
    "Refused",
    "ServerError",
    "Unauthorized",
    "Unreadable",
    "Violation",
]


LONGEST_KEY = 64
MOST_DIGITS = 4  # of a key; more may be a date, or somebody's number


def shown_key(key: str) -> str:
    """Return the *key* of an object, ``***`` for what is no name of a field: it may be a value, such as an email."""
    start = key[:LONGEST_KEY]
    is_name = start.isascii() and (not start or start.replace("_", "a").replace("-", "a").isalnum())
    return shown(key, LONGEST_KEY) if is_name and sum(map(str.isdigit, start)) <= MOST_DIGITS else "***"


def shown(text: str, most: int) -> str:
    """Return the first *most* characters of *text*, printable, with an ellipsis for the rest."""
    return printable(text[:most]) + ("\N{HORIZONTAL ELLIPSIS}" if len(text) > most else "")


class Delivery(enum.StrEnum):
    """How far a request got: the verdict that every failure carries."""

    NOT_SENT = "not_sent"
    """No byte of it can have had an effect."""
    UNKNOWN = "unknown"
    """It may have been done, or not."""
    DONE_UNREADABLE = "done_unreadable"
    """The server did it; what it answered could not be read."""
    REFUSED = "refused"
    """The server answered that it did not do it."""


class Violation(NamedTuple):
    """One broken rule: which field, and what the rule is."""

    field: str
    """Where, as a path from the value that was checked: ``$.orderItems[3].name``."""
    rule: str
    """The rule in words; it never repeats the value."""

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class CdpError(Exception):
    """The root of all errors of this library; never raised itself."""

    delivery: Delivery = Delivery.NOT_SENT
    """Whether the request may have had an effect."""
    attempts: int = 0
    """How often the request was sent, or tried to be."""
    request_id: str | None = None
    """The id that the client gave the request in ``X-Request-Id``."""
    offset: int | None = None
    """Where a listing stood when one of its pages failed, to go on from there."""
    outcome: object | None = None
    """What the load of one order made before the error ended it: an `Outcome`, None elsewhere; see `Outcome.of`."""


class Invalid(CdpError, ValueError):
    """A value breaks a documented rule; nothing was sent."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(violations)
        self.violations = violations

    def __str__(self) -> str:
        return "; ".join(map(str, self.violations))


class NotSent(CdpError):
    """Nothing reached the server, so sending again is safe."""

    lasting: bool = False
    """Whether its cause is not likely to pass: a certificate that is not trusted."""


class PoolTimeout(NotSent):
    """No connection became free in time."""


class OutcomeUnknown(CdpError):
    """The request was sent and its answer was lost: it may have been done.

    A server error (5xx) to a create is this too, with the `ServerError` as its cause.
    """

    delivery = Delivery.UNKNOWN


class _Answered(CdpError):
    """An error that is an answer."""

    _start: Opaque[bytes] | None = None

    @property
    def start(self) -> bytes:
        """The beginning of the answer, as it came, for a person who looks for it.

        It may repeat what was sent about somebody, so no text, repr or pickle of the error has it. The credentials in
        it are masked.
        """
        return b"" if self._start is None else self._start.open()

    @start.setter
    def start(self, start: bytes) -> None:
        self._start = Opaque(start)

    def __reduce__(self) -> tuple[object, ...]:
        """Leave the beginning of the answer behind."""
        return type(self), self.args, {key: value for key, value in vars(self).items() if key != "_start"}


class Refused(_Answered):
    """The server answered with an error.

    The number in *status* comes from the HTTP status line: in the body, the vendor's ``status`` is an
    integer in a 400 and the text ``UNAUTHORIZED`` in a 401. Of *message*, *developer_message* and *more_info_url* the
    words are kept that can be nobody's, with ``***`` in place of the others; see *start* for what was said.
    """

    delivery = Delivery.REFUSED
    from_api: bool = True
    """Whether the answer had the form of the API's own; the page of a gateway has another."""

    def __init__(
        self,
        method: str,
        path: str,
        status: int,
        code: int | None = None,
        message: str | None = None,
        developer_message: str | None = None,
        more_info_url: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(method, path, status, code, message, developer_message, more_info_url, retry_after)
        self.method = method
        self.path = path
        self.status = status
        self.code = code
        self.message = message
        self.developer_message = developer_message
        self.more_info_url = more_info_url
        self.retry_after = retry_after
        """Seconds that the server asked to wait, if it did."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.status} {printable(self.message or 'without a message')}"


class BadRequest(Refused):
    """400: the server's own validation failed."""


class Unauthorized(Refused):
    """401: the client key or the API token is missing or wrong."""


class Forbidden(Refused):
    """403: these credentials may not do this."""


class NotFound(Refused):
    """404: nothing is stored under this reference."""


class Conflict(Refused):
    """409: the stored resource contradicts the request."""


class RateLimited(Refused):
    """429: too many requests."""


class ServerError(Refused):
    """5xx, or no status of an answer: the server failed, perhaps after doing what was asked."""

    delivery = Delivery.UNKNOWN


class Unreadable(_Answered):
    """The server did what was asked, but its answer does not fit.

    *problems* lists what does not fit and where; *start* is the beginning of the body; *cut* says whether the transfer
    broke off.
    """

    delivery = Delivery.DONE_UNREADABLE
    from_api: bool = True
    """Whether the answer was JSON, as the API's are; the page of a gateway is not."""

    def __init__(
        self,
        method: str,
        path: str,
        status: int,
        problems: tuple[str, ...],
        start: bytes = b"",
        *,
        cut: bool = False,
    ) -> None:
        super().__init__(method, path, status, problems)
        self.method = method
        self.path = path
        self.status = status
        self.problems = problems
        self.start = start
        self.cut = cut
        """Whether the transfer of the answer broke off."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.status}, but the answer does not fit: {'; '.join(self.problems)}"


class DeadlineExceeded(CdpError, TimeoutError):
    """The deadline of the whole call passed, or cannot be met any more.

    `delivery` tells how far the last attempt got.
    """


class InputError(CdpError):
    """The input of a load cannot be read, or not any further."""


class JournalError(CdpError):
    """The journal cannot be opened, read or written."""
