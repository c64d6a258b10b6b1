"""What can happen, each thing as a frozen value."""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

from msgspec import Struct

__all__ = [
    "REFUSED_FOR_LOAD",
    "AttemptEnded",
    "AttemptStarted",
    "Call",
    "CallEnded",
    "CallStarted",
    "Event",
    "LoadEnded",
    "LoadStarted",
    "OrderEnded",
    "OrderStarted",
    "PartAdopted",
    "PauseBegan",
    "PauseEnded",
    "RateChanged",
]


REFUSED_FOR_LOAD = frozenset((429, 503))
"""The statuses by which a server refuses a request because it has too much to do."""


class Call(Struct, frozen=True, kw_only=True):
    """One logical call: a request with all its attempts. Its events have it in common."""

    id: str
    """What tells it from other calls: the ``X-Request-Id`` of its first attempt."""
    operation: str
    """What it does, as in ``items.create``."""
    method: str
    """The HTTP method."""
    path: str
    """The path below the base URL, without a query: ``/v2.1/orders/0f8f…/orderItems``."""
    route: str
    """The template of the path: ``/v2.1/orders/{ref}/orderItems``; the path itself for a request of your own."""
    host: str
    """The host name of the server."""
    port: int | None
    """The port of the server."""
    began: float
    """When it began, in seconds since 1970 in UTC."""
    order: str | None = None
    """In a load, the key of the order that it is for."""
    file: str | None = None
    """In a load, the file that the order came from; None where it came from Python."""
    line: int | None = None
    """In a load, the line of the order in its file, or its position in the input, from 1."""
    load: str | None = None
    """The id of the load, which its events have in common."""


class CallStarted(Struct, frozen=True):
    """A call began; it may have to wait before it is sent."""

    call: Call


class AttemptStarted(Struct, frozen=True, kw_only=True):
    """An attempt of a call has its connection slot and its permit, and is sent now, in the same task.

    An attempt that ends before that has no such event.
    """

    call: Call
    number: int
    """The number of the attempt within its call, from 1."""
    request_id: str
    """The ``X-Request-Id`` that the attempt is sent with."""
    waited: float
    """Seconds that it waited for the rate limit."""
    headers: dict[str, str]
    """Empty: an observer may add headers, such as ``traceparent``, which the attempt is sent with.

    The headers of the client itself cannot be replaced, and a text that is not a header is not sent.
    """


class AttemptEnded(Struct, frozen=True, kw_only=True):
    """An attempt of a call ended; each attempt is one send at most."""

    call: Call
    number: int
    """The number of the attempt within its call, from 1."""
    request_id: str
    """The ``X-Request-Id`` that the attempt was sent with."""
    seconds: float
    """From the moment it was sent to its end; 0 where it was not sent."""
    status: int | None
    """The HTTP status of the answer; None where none came."""
    error: str | None
    """The class of the error; None after a success."""
    delivery: str
    """How far the request got: ``done``, or a value of `Delivery`."""
    again: bool | None = False
    """Whether another attempt follows; None where a look-up decides that, after a lost answer of a load."""
    wait: float | None = None
    """Seconds until the next attempt may be sent; None where none follows, or a look-up decides."""


class CallEnded(Struct, frozen=True, kw_only=True):
    """A call ended, with a result or with an error."""

    call: Call
    request_id: str
    """The ``X-Request-Id`` of the last attempt; in a load each attempt has its own."""
    seconds: float
    """From the beginning of the call to its end, with all waits."""
    status: int | None
    """The HTTP status of the last answer; None where the last attempt got none."""
    attempts: int
    """How often it was sent, or tried to be."""
    error: str | None
    """The class of the error that it ended with; None after a success."""
    delivery: str
    """How far the request got in all attempts: ``done``, or a value of `Delivery`."""


class RateState(Struct, frozen=True, kw_only=True):
    """The rate at which the client sends, and what is known of the server's limit."""

    per_second: float | None
    """Calls a second that may be sent now; None: no limit."""
    slots: int
    """Calls that may be in flight now."""
    limit: float | None
    """Calls a second that were too many; None: no limit is known."""
    found_for: float | None
    """Seconds since the last cut; None: there was none."""
    cut_for: str | None
    """What the last cut was made for: ``429``, ``504``, ``a lost answer``; None: there was none."""
    of: str
    """Which calls it holds for, ``reads`` or ``writes``; empty: all."""

    def __str__(self) -> str:
        of = f"{self.of}: " if self.of else ""
        known = f"limit about {self.limit:.4g}/s, found {self.found_for:.0f} s ago" if self.limit else "no limit known"
        return f"{of}{known}, last cut for {self.cut_for}" if self.cut_for is not None else f"{of}no limit met so far"


class RateChanged(RateState, frozen=True, kw_only=True):
    """The rate at which the client sends changed, because of what the server bears."""

    cut: bool
    """Whether the calls a second or those in flight became fewer."""


class PauseBegan(Struct, frozen=True):
    """A load stopped sending, because the server is not well."""

    cause: str
    """Why, in a sentence."""
    seconds: float
    """Until the server is tried again."""


class PauseEnded(Struct, frozen=True):
    """A load goes on after a pause, or ended in it."""

    cause: str
    """The last reason of the pause, in a sentence."""
    seconds: float
    """How long it lasted."""


class PartAdopted(Struct, frozen=True, kw_only=True):
    """A look-up found a part of an order on the server, so that it is not created again."""

    order: str
    """The key of the order."""
    file: str | None
    """The file that the order came from; None where it came from Python."""
    line: int
    """The line of the order in its file, or its position in the input, from 1."""
    part: str
    """Where the part stands in the input: ``order``, ``contact``, ``items/3``, ``items/3/ext``."""
    kind: str
    """The resource that it is of, as in ``cdp.items``."""
    ref: UUID | None
    """The reference of what was found; None for an extension that shows none."""


class LoadStarted(Struct, frozen=True):
    """A load began, in the task of its caller; `ingest_one`, which loads a single order, has no such event."""

    load: str
    """The id of the load."""


class LoadEnded(Struct, frozen=True, kw_only=True):
    """A load ended: each order that it took came to its end."""

    load: str
    """The id of the load."""
    seconds: float
    """From its beginning to its end."""
    error: str | None
    """The class of the error that ended it; None where the input came to its end, or the load was stopped."""


class OrderStarted(Struct, frozen=True, kw_only=True):
    """A load took an order from its input."""

    order: str | None
    """The key of the order; None where it could not be read."""
    file: str | None
    """The file that the order came from; None where it came from Python."""
    line: int
    """The line of the order in its file, or its position in the input, from 1."""
    load: str
    """The id of the load."""


class OrderEnded(Struct, frozen=True, kw_only=True):
    """An order of a load came to its end."""

    order: str | None
    """The key of the order; None where it could not be read."""
    file: str | None
    """The file that the order came from; None where it came from Python."""
    line: int
    """The line of the order in its file, or its position in the input, from 1."""
    verdict: str
    """What came of it, a value of `Verdict`."""
    seconds: float
    """From the first look at the order to its end."""
    load: str | None = None
    """The id of the load."""


Event: TypeAlias = (
    CallStarted
    | AttemptStarted
    | AttemptEnded
    | CallEnded
    | RateChanged
    | PauseBegan
    | PauseEnded
    | PartAdopted
    | LoadStarted
    | LoadEnded
    | OrderStarted
    | OrderEnded
)
"""Whatever an observer can be told of."""
