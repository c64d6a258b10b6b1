"""One message of any broker: load its order, and say what to do with the message."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from uuid import UUID

from msgspec import Struct

from cdp_orders_async.arguments import need
from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, Invalid, Refused, Violation
from cdp_orders_async.graph import InputLine, Timezone, zone_of
from cdp_orders_async.ingest import SETTLE, OnExisting, Outcome, PartOutcome, Priority, Verdict, ingest_one
from cdp_orders_async.ingest.entry import check_ends, check_options
from cdp_orders_async.ingest.parts import parts_of
from cdp_orders_async.ingest.requests import Requests
from cdp_orders_async.journal import Journal
from cdp_orders_async.kinds import Api
from cdp_orders_async.pacing.health import BARRED
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources.parser import LineParser
from cdp_orders_async.threads import in_thread

__all__ = ["DEADLINE", "DRAIN", "MOST", "Action", "Decision", "Fault", "check_delivery", "deliver", "warm_up"]

DEADLINE = 60.0
"""The default time, in seconds, after which the load of one message is given up."""
DRAIN = 5.0
"""The default time, in seconds, that calls in flight get to finish when a worker is stopped."""
MOST = 5
"""The default number of deliveries after which a message is put aside."""
LONG = 1 << 16
"""The bytes of a message from which it is parsed in a thread, so that it does not hold up the event loop."""
EXAMPLE = b"""{
    "referenceId": "A", "orderedAt": "2024-01-01T00:00:00Z", "price": 1, "currencyCode": "EUR", "pointOfSale": "A",
    "contact": {"firstName": "A", "lastName": "A"}, "extensions": [{"name": "ext", "a": 1}], "orderItems": [{
        "referenceId": "A", "type": "SEAT", "name": "A", "productId": "A", "price": 1, "currencyCode": "EUR",
        "status": "CONFIRMED"}],
    "consumers": [{"firstName": "A", "lastName": "A", "orderItems": [{"referenceId": "A"}]}]
}"""
"""An order for both versions, with a part of each kind that both have."""
PASSING = frozenset({408, 429})
"""The statuses from 400 to 499 that say nothing about the order itself."""
ON_THE_WAY = BARRED | {401, 403}
"""Statuses by which something on the way to the API refuses one order, or all. An outcome has no 401 and 403 of the API
itself: they end the load with an error."""


class Action(enum.StrEnum):
    """What to do with a message."""

    ACK = "ack"
    """The order is on the server as the message says: the broker can forget the message."""
    RETRY = "retry"
    """Let the broker deliver the message again, later."""
    DEAD_LETTER = "dead letter"
    """Put the message aside for a person, with the reason. Then acknowledge it."""


class Fault(enum.StrEnum):
    """What a retry has to wait for."""

    ORDER = "order"
    """The server refused a part of the order. It will probably do so again: count this delivery."""
    SERVER = "server"
    """The server failed, its answer was lost, or a gateway refused the request. Count this delivery only if the server
    does well with other orders."""
    NONE = "none"
    """Nothing speaks against the order: another worker has it, the server was not reached, or the time was too short.
    Do not count this delivery."""


class Decision(Struct, frozen=True, kw_only=True):
    """What to do with one message, and why; nothing in it is a personal value."""

    action: Action
    reason: str | None = None
    """Why the message is not acknowledged, as a sentence."""
    key: str | None = None
    """Identifies the order, as in `Outcome.key`; None if it could not be read."""
    outcome: Outcome | None = None
    """The outcome of the order; None if no load began."""
    fault: Fault = Fault.NONE
    """What a retry has to wait for."""


def check_delivery(
    client: object,
    journal: object,
    *,
    look_first: object,
    on_existing: object,
    settle: float,
    deadline: float,
    drain: float,
    most: int,
    priority: object,
) -> None:
    """Raise TypeError for an option of another type, and `Invalid` for an option with an impossible value."""
    check_ends(client, journal)
    check_options(
        look_first=bool(look_first) if look_first is None else look_first,
        on_existing=on_existing,
        settle=settle,
        drain=drain,
        deadline=deadline,
        priority=priority,
    )
    need(deadline, float, "deadline", "seconds, a number")
    need(most, int, "most")
    if most < 1:
        raise Invalid((Violation("most", "must be above 0"),))


@sealed
async def deliver(
    client: Resources | ResourcesV2,
    body: bytes,
    *,
    times: int = 1,
    journal: Journal | None = None,
    look_first: bool | None = None,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
    deadline: float = DEADLINE,
    drain: float = DRAIN,
    most: int = MOST,
    priority: Priority = "interactive",
    timezone: Timezone = None,
) -> Decision:
    """Load the order of one message of a broker, and return what to do with the message.

    Parameters: *body*, the bytes of the message: one order as JSON, read as a line of a file is. *times*, how often the
    broker has delivered it, this time included: add 1 to a count of redeliveries, and say 2 if it is only known to be
    redelivered. *look_first*, whether the server is asked before anything is sent; by default it is asked without a
    *journal*, from the second delivery on. *most*, the number of deliveries after which a message is put aside.
    *deadline*, seconds after which the load is given up: the broker must not deliver the message again before
    *deadline* and *drain* are over. *timezone* is that of `parse_graph`; *client*, *journal*, *on_existing*, *settle*,
    *drain* and *priority* are those of `ingest_one`.

    A message that is not an order is a dead letter at once. A failure that is not the order's fault, such as wrong
    credentials, a server out of reach, the deadline or a journal out of reach, is a retry, however often. A message
    that comes more than *most* times ended a worker each time, and is a dead letter without a further try.

    Raises `TypeError` for an argument of another type, and `Invalid` for an option with an impossible value; these are
    mistakes in the program. A `CancelledError` passes.

        decision = await deliver(cdp, message.body, times=2 if message.redelivered else 1)
    """
    need(body, bytes, "body")
    need(times, int, "times")
    if times < 1:
        raise Invalid((Violation("times", "must be above 0: the first delivery is number 1"),))
    check_delivery(
        client,
        journal,
        look_first=look_first,
        on_existing=on_existing,
        settle=settle,
        deadline=deadline,
        drain=drain,
        most=most,
        priority=priority,
    )
    if times > most:  # before it is read: reading it may be what ends a worker
        reason = f"it was delivered {times} times, and no delivery before this one ended"
        return Decision(action=Action.DEAD_LETTER, reason=reason, fault=Fault.ORDER)
    line = await _read(body, client.api, timezone)
    if line.graph is None or line.violations:
        return _invalid(line)
    try:
        outcome = await ingest_one(
            client,
            line.graph,
            journal=journal,
            look_first=(journal is None and times > 1) if look_first is None else look_first,
            on_existing=on_existing,
            settle=settle,
            deadline=deadline,
            drain=drain,
            priority=priority,
        )
    except CdpError as error:
        return Decision(
            action=Action.RETRY,
            reason=f"{type(error).__name__}: {error}",
            key=line.graph.key,
            outcome=Outcome.of(error),
            # A gateway that refuses many parts of one order ends its load, as wrong credentials do.
            fault=Fault.SERVER if isinstance(error, Refused) and not error.from_api else Fault.NONE,
        )
    return _judged(outcome, times, most)


async def warm_up(client: Resources | ResourcesV2) -> None:
    """Read an example and make its requests, which are not sent; so the first message takes no longer than others.

    The code that reads and writes each kind of part is made when it is first used.
    """
    line = await _read(EXAMPLE, client.api, None)
    requests = Requests(client)
    for part in () if line.graph is None else parts_of(line.graph, copy=True):
        part.ref = UUID(int=0)
        requests.to_create(part)


async def _read(body: bytes, api: Api, timezone: Timezone) -> InputLine:
    """Read the order of a message as a line of a file is read."""
    parser = LineParser("message", api, zone_of(timezone), assign_references=False, only=None)
    line = parser.line(1, body) if len(body) < LONG else await in_thread(lambda: parser.line(1, body))
    return parser.refused(1, body, Violation("$", "must be JSON: the message is empty")) if line is None else line


def _invalid(line: InputLine) -> Decision:
    """Return the decision for a message that is not an order."""
    outcome = Outcome(file=None, number=1, key=line.key, verdict=Verdict.INVALID, violations=line.violations)
    return Decision(
        action=Action.DEAD_LETTER,
        reason=_first(list(map(str, line.violations))),
        key=line.key,
        outcome=outcome,
        fault=Fault.ORDER,
    )


def _judged(outcome: Outcome, times: int, most: int) -> Decision:
    """Return what to do with a message whose order has this *outcome*."""
    action, fault, reason = Action.RETRY, Fault.NONE, f"the order is {outcome.verdict}"
    if told := _first([*map(_why, _wrong(outcome)), *map(str, outcome.violations)]):
        reason = f"{reason}: {told}"
    match outcome.verdict:
        case Verdict.LOADED | Verdict.ALREADY | Verdict.UPDATED:
            return Decision(action=Action.ACK, key=outcome.key, outcome=outcome)
        case Verdict.KEPT | Verdict.CONFLICT | Verdict.INVALID:
            action, fault = Action.DEAD_LETTER, Fault.ORDER
        case Verdict.PARTIAL | Verdict.FAILED | Verdict.UNKNOWN:
            fault = _fault(outcome)
            if fault is Fault.ORDER and times >= most:
                action = Action.DEAD_LETTER
        case Verdict.BUSY | Verdict.NOT_TRIED:
            pass
    return Decision(action=action, reason=reason, key=outcome.key, outcome=outcome, fault=fault)


def _wrong(outcome: Outcome) -> list[PartOutcome]:
    """Return the parts that need a word; the parts with a cause of their own come first."""
    parts = [part for part in outcome.parts if part.failure or part.reason or part.differs]
    return sorted(parts, key=lambda part: part.failure is None)


def _why(part: PartOutcome) -> str:
    """Return in words why a part is not on the server as the message says."""
    if part.failure is not None:
        return f"{part.name}: {part.failure.message}"
    return f"{part.name}: {part.reason or 'differs in ' + ', '.join(part.differs)}"


def _fault(outcome: Outcome) -> Fault:
    """Return what an order that is not complete has to wait for."""
    failures = [part.failure for part in outcome.parts if part.failure is not None]
    statuses = {failure.status for failure in failures if failure.status is not None}
    if any(400 <= status < 500 for status in statuses - PASSING - ON_THE_WAY):  # noqa: PLR2004 they blame the request
        return Fault.ORDER
    return Fault.NONE if statuses & PASSING else Fault.SERVER


def _first(reasons: Sequence[str]) -> str | None:
    """Return the first of *reasons*, and how many others there are."""
    if not reasons:
        return None
    more = len(reasons) - 1
    return f"{reasons[0]} (and {more} more)" if more else reasons[0]
