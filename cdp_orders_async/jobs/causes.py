"""Why orders are not on the server as the input says: causes without values, and what to do about each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from cdp_orders_async.errors import Violation, shown
from cdp_orders_async.ingest import PartVerdict, Verdict
from cdp_orders_async.ingest.outcomes import Failure
from cdp_orders_async.jobs.groups import rule_of
from cdp_orders_async.jobs.recorded import WholePart, WholeRecord

__all__ = ["Cause", "Causes", "kind_of"]

MOST_CAUSES = 200
"""The most causes that are kept; all further ones are one cause."""
MOST_PLACES = 5
LONGEST_TEXT = 300
LONGEST_PLACE = 200
REST = "other causes"
INDEX = re.compile(r"/\d+")
VALUE = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\S*\d\S*")
"""A reference, a time or a number in a sentence, which differs from order to order although the cause is the same."""
KINDS = {
    "order": "the order",
    "contact": "the contact",
    "items": "an item",
    "items/ext": "the extension of an item",
    "consumers": "a consumer",
    "ext": "the extension of the order",
}
"""What to call a part, by its place in the input."""
FAILURES = {
    "BadRequest": (
        "the server refuses it as wrong",
        "Read the words of the server, mend these orders in the input, and retry them.",
    ),
    "Unauthorized": ("the server refuses the credentials", "Check the client key and the API token, and retry."),
    "Forbidden": (
        "these credentials may not do this",
        "Let the administrator of Sitecore CDP allow it for this client key, and retry.",
    ),
    "NotFound": ("the thing that it belongs to is not on the server", "Retry: the next run looks for it again."),
    "Conflict": (
        "the server has something that contradicts it",
        "Compare the order with the server: cdp-orders orders list --reference-id finds it.",
    ),
    "RateLimited": ("too many requests", "Retry with a lower --rate, or with --rate auto."),
    "ServerError": ("the server failed", "Retry later: the server was not well."),
    "OutcomeUnknown": ("its answer was lost", "Retry: the next run looks whether it is there, and doubles nothing."),
    "Unreadable": (
        "the server did it, but its answer cannot be read",
        "Retry: the next run looks whether it is there. If it happens again, see whether a gateway changes answers.",
    ),
    "NotSent": ("it was not sent", "Check the network and the address of the API, and retry."),
    "PoolTimeout": ("no connection became free in time", "Retry with a longer --timeout, or with a lower --rate."),
    "DeadlineExceeded": ("its time limit passed", "Retry with a longer --deadline."),
}
"""What an error says of a part, and what to do, by the class of the error."""
BY_VERDICT = {
    Verdict.KEPT: "To bring it up to the input, retry with --on-existing update.",
    Verdict.PARTIAL: "Retry: the journal knows the parts that are there.",
    Verdict.FAILED: "Retry once the cause is gone.",
    Verdict.UNKNOWN: "Retry: the next run looks whether it is there, and doubles nothing.",
    Verdict.CONFLICT: "Compare the orders with the server, and decide which is right. A retry alone changes nothing.",
    Verdict.INVALID: "Mend these lines in the input, and load it again: what is loaded is skipped.",
    Verdict.BUSY: "Wait until the other process has ended, and retry with --only busy.",
    Verdict.NOT_TRIED: "Run the same load again: it goes on where this one ended.",
}
"""What to do where the verdict decides."""
WITHOUT_REASON = {
    Verdict.BUSY: "another process was loading the order",
    Verdict.NOT_TRIED: "the load ended before anything of the order was sent",
    Verdict.UNKNOWN: "some part may be on the server or not",
    Verdict.CONFLICT: "a part could be any of several things on the server",
    Verdict.INVALID: "it breaks a rule",
}
"""What to say of an order whose outcome gives no reason."""


class Found(NamedTuple):
    """The cause of one part, or of a whole order."""

    text: str
    """The cause, without values."""
    failure: Failure | None = None
    why: str | None = None
    """The words of the cause, with their values."""


class Cause(Struct):
    """One cause, and the orders that have it."""

    verdict: Verdict
    text: str
    """The cause, without values."""
    advice: str
    """What to do about it."""
    count: int = 0
    """How many orders have it."""
    times: int = 0
    """How often they have it: an order may have it in several parts."""
    places: list[str] = []
    """Where the first of them are in the input, each place once."""
    more_places: int = 0
    example: str | None = None
    """The words of the first failure, with its references, and with its request id if it has one."""


class Causes:
    """The causes of the orders that are not as wanted, grouped; their number is bounded."""

    def __init__(self) -> None:
        self._causes: dict[tuple[Verdict, str], Cause] = {}

    def add(self, record: WholeRecord, place: str) -> None:
        """Note the causes of one order at that *place*; equal causes in several of its parts are one."""
        noted: set[int] = set()
        for found in _causes_of(record):
            cause = self._find(record.verdict, found)
            cause.times += 1
            if id(cause) not in noted:
                noted.add(id(cause))
                _note(cause, found, place)

    def merge(self, other: Causes) -> None:
        """Add the causes of *other*."""
        for cause in other:
            mine = self._keep(cause.verdict, cause.text, cause.advice)
            mine.count += cause.count
            mine.times += cause.times
            places = list(dict.fromkeys([*mine.places, *cause.places]))
            mine.places = places[:MOST_PLACES]
            mine.more_places += cause.more_places + len(places[MOST_PLACES:])
            mine.example = mine.example or cause.example

    def __iter__(self) -> Iterator[Cause]:
        """Yield the causes, the most frequent first."""
        return iter(sorted(self._causes.values(), key=lambda cause: -cause.count))

    def _find(self, verdict: Verdict, found: Found) -> Cause:
        _, advice = ("", BY_VERDICT.get(verdict, "")) if found.failure is None else _told(found.failure, verdict)
        return self._keep(verdict, found.text, advice)

    def _keep(self, verdict: Verdict, text: str, advice: str) -> Cause:
        if (verdict, text) not in self._causes and len(self._causes) >= MOST_CAUSES:
            text, advice = REST, BY_VERDICT.get(verdict, "")
        return self._causes.setdefault((verdict, text), Cause(verdict, text, advice))


def _note(cause: Cause, found: Found, place: str) -> None:
    """Count one order at that *place* with this *cause*."""
    cause.count += 1
    if len(cause.places) < MOST_PLACES:
        cause.places.append(shown(place, LONGEST_PLACE))
    else:
        cause.more_places += 1
    if cause.example is None and found.why is not None and found.why != found.text:
        request = found.failure and found.failure.request_id
        words = found.why if request is None else f"{found.why} (request {request})"
        cause.example = shown(words, LONGEST_TEXT)


def kind_of(name: str) -> str:
    """Return what to call the part with this *name*, such as ``items/3/ext``."""
    kind = INDEX.sub("", name)
    return KINDS.get(kind, shown(kind, LONGEST_TEXT))


def _causes_of(record: WholeRecord) -> Iterator[Found]:
    """Yield the cause of each part or broken rule, or else the cause of the whole order."""
    if record.violations:
        for broken in record.violations:
            yield Found(shown(rule_of(Violation(broken.field, broken.rule)), LONGEST_TEXT))
        return
    found = False
    for part in record.parts:
        if (cause := _cause_of(part)) is not None:
            found = True
            yield cause
    if not found:
        yield Found(WITHOUT_REASON.get(record.verdict, "no reason is given"))


def _cause_of(part: WholePart) -> Found | None:
    """Return the cause of one part; None if it has no reason of its own, because it waited for another part."""
    what = kind_of(part.name)
    if part.failure is not None:
        words, _ = _told(part.failure, Verdict.FAILED)
        status = "" if part.failure.status is None else f" ({part.failure.status})"
        return Found(f"{what}: {words}{status}", part.failure, part.reason or part.failure.message)
    if part.reason is not None:
        return Found(shown(f"{what}: {VALUE.sub('…', part.reason)}", LONGEST_TEXT), why=part.reason)
    if part.differs and part.verdict is not PartVerdict.KEPT:
        return Found(shown(f"{what} differs in {', '.join(part.differs)}", LONGEST_TEXT))
    return None


def _told(failure: Failure, verdict: Verdict) -> tuple[str, str]:
    """Return what a *failure* says, and what to do."""
    return FAILURES.get(failure.kind, (shown(failure.kind, LONGEST_TEXT), BY_VERDICT.get(verdict, "")))
