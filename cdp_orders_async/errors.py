"""The errors of the library; each one says whether it is safe to send the request again.

CdpError                      the root; only subclasses are raised
├─ Invalid                    a value breaks a documented rule; nothing was sent (also a ValueError)
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


MAX_KEY_LENGTH = 64
MAX_KEY_DIGITS = 4  # more digits may be a date or a personal number


def counted(count: int, one: str, several: str = "") -> str:
    """Return *count* with its noun: *one*, or else *several*, which is *one* with an s where it is not given."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def shown_key(key: str) -> str:
    """Return the *key* of an object; ``***`` if it is not a field name: it may be a value, such as an email."""
    start = key[:MAX_KEY_LENGTH]
    is_name = start.isascii() and (not start or start.replace("_", "a").replace("-", "a").isalnum())
    return shown(key, MAX_KEY_LENGTH) if is_name and sum(map(str.isdigit, start)) <= MAX_KEY_DIGITS else "***"


def shown(text: str, most: int) -> str:
    """Return the first *most* characters of *text*, printable, and an ellipsis for the rest."""
    return printable(text[:most]) + ("\N{HORIZONTAL ELLIPSIS}" if len(text) > most else "")


class Delivery(enum.StrEnum):
    """How far a request got; every failure has it."""

    NOT_SENT = "not_sent"
    """The request cannot have had an effect."""
    UNKNOWN = "unknown"
    """It is unknown whether the server did it."""
    DONE_UNREADABLE = "done_unreadable"
    """The server did it; its answer could not be read."""
    REFUSED = "refused"
    """The server answered that it did not do it."""


MAYBE_DONE = frozenset({Delivery.UNKNOWN, Delivery.DONE_UNREADABLE})
"""The deliveries after which the server may have done what was asked."""


class Violation(NamedTuple):
    """One broken rule: the field and the rule."""

    field: str
    """The path from the value that was checked: ``$.orderItems[3].name``."""
    rule: str
    """The rule as a sentence, which never repeats the value."""

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class CdpError(Exception):
    """The base class of all errors of this library; only subclasses are raised."""

    delivery: Delivery = Delivery.NOT_SENT
    """Whether the request may have had an effect."""
    attempts: int = 0
    """The number of attempts to send the request."""
    request_id: str | None = None
    """The id of the request in ``X-Request-Id``, which the client made."""
    offset: int | None = None
    """The offset of the page of a listing that failed, to continue from there; None elsewhere."""
    outcome: object | None = None
    """The `Outcome` of the order whose load the error ended; None elsewhere. See `Outcome.of`."""


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
    """Whether the cause will probably not go away: for example a certificate that is not trusted."""


class PoolTimeout(NotSent):
    """No connection became free in time."""


class OutcomeUnknown(CdpError):
    """The request was sent and its answer was lost: the server may have done it.

    A create that is answered with a server error (5xx) raises this too, with the `ServerError` as its cause. So does a
    load that made something before a `NotSent` ended it.
    """

    delivery = Delivery.UNKNOWN


class _Answered(CdpError):
    """An error that comes from an answer."""

    _start: Opaque[bytes] | None = None

    @property
    def start(self) -> bytes:
        """The beginning of the answer, for a person who needs it.

        It may repeat personal values, so no text, repr or pickle of the error shows it. Credentials in it are masked.
        """
        return b"" if self._start is None else self._start.open()

    @start.setter
    def start(self, start: bytes) -> None:
        self._start = Opaque(start)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the error without the beginning of the answer."""
        return type(self), self.args, {key: value for key, value in vars(self).items() if key != "_start"}


class Refused(_Answered):
    """The server answered with an error.

    The number in *status* comes from the HTTP status line: in the body, the vendor's ``status`` is an
    integer in a 400 and the text ``UNAUTHORIZED`` in a 401. In *message*, *developer_message* and *more_info_url*,
    ``***`` replaces each word that may belong to a person; see *start* for the original text.
    """

    delivery = Delivery.REFUSED
    from_api: bool = True
    """Whether the answer had the form of the API's answers; the page of a gateway has another form."""

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
        """The seconds that the server asked to wait; None if it did not."""

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
    """5xx, or an invalid status: the server failed, perhaps after it did what was asked."""

    delivery = Delivery.UNKNOWN


class Unreadable(_Answered):
    """The server did what was asked, but its answer does not fit the documentation.

    *problems* lists what does not fit and where; *start* is the beginning of the body; *cut* says whether the transfer
    broke off.
    """

    delivery = Delivery.DONE_UNREADABLE
    from_api: bool = True
    """Whether the answer had the form of the API's answers: a JSON object with a reference, a link or a list."""

    def __init__(
        self, method: str, path: str, status: int, problems: tuple[str, ...], start: bytes = b"", *, cut: bool = False
    ) -> None:
        super().__init__(method, path, status, problems)
        self.method = method
        self.path = path
        self.status = status
        self.problems = problems
        self.start = start
        self.cut = cut
        """Whether the answer ended too early."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}: {self.status}, but the answer does not fit: {'; '.join(self.problems)}"


class DeadlineExceeded(CdpError, TimeoutError):
    """The deadline of the whole call passed, or can no longer be met.

    `delivery` tells how far the last attempt got.
    """


class InputError(CdpError):
    """The input of a load cannot be read, or cannot be read to its end."""


class JournalError(CdpError):
    """The journal cannot be opened, read or written."""
