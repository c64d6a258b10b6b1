"""The outcome of one order, as data: it is never an exception and has no personal value."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import asdict

from cdp_orders_async.errors import CdpError, Delivery, NotSent, OutcomeUnknown, Refused, Violation
from cdp_orders_async.session import Timings

__all__ = ["NOTHING_MADE", "Failure", "Leftover", "Outcome", "PartOutcome", "PartVerdict", "Verdict", "in_truth"]


class Verdict(enum.StrEnum):
    """The result of an order with all its parts."""

    LOADED = "loaded"
    """All parts are on the server as the input says, and this run created some of them."""
    ALREADY = "already"
    """All parts were on the server before, as the input says."""
    UPDATED = "updated"
    """All parts are on the server as the input says, and this run changed some of them."""
    KEPT = "kept"
    """All parts are on the server, some with other values than in the input; the load was told to keep those."""
    PARTIAL = "partial"
    """Some parts are on the server, some are not."""
    FAILED = "failed"
    """No part was created."""
    UNKNOWN = "unknown"
    """It is unknown whether some part was created; the next run looks again."""
    CONFLICT = "conflict"
    """The server takes it and another order for one order, or a part could be any of several things on the server, or
    something differs where it must not. A person must decide."""
    INVALID = "invalid"
    """The order breaks a documented rule; nothing was sent."""
    BUSY = "busy"
    """Another process is loading the order, or may load it because this one lost its claim."""
    NOT_TRIED = "not_tried"
    """The load ended before anything of the order was sent."""


NOTHING_MADE = frozenset({Verdict.FAILED, Verdict.INVALID, Verdict.NOT_TRIED})
"""The verdicts of orders without any created part."""


class PartVerdict(enum.StrEnum):
    """The result of one part."""

    CREATED = "created"
    FOUND = "found"
    """It was on the server before: the journal or the server knew it."""
    KEPT = "kept"
    """It was on the server before, differs from the input, and was not changed."""
    UPDATED = "updated"
    """It was on the server before, differed from the input, and was changed to it."""
    FAILED = "failed"
    BLOCKED = "blocked"
    """It was not tried, because a part that it needs is missing, or because the load was stopped."""
    UNKNOWN = "unknown"
    CONFLICT = "conflict"

    @property
    def there(self) -> bool:
        """Whether the part is on the server."""
        return self in PRESENT_VERDICTS


PRESENT_VERDICTS = frozenset({PartVerdict.CREATED, PartVerdict.FOUND, PartVerdict.UPDATED, PartVerdict.KEPT})


class Failure(Struct, frozen=True):
    """Why a part is not on the server, without personal values."""

    kind: str
    """The class of the error."""
    message: str
    status: int | None = None
    delivery: str | None = None
    attempts: int = 0
    request_id: str | None = None

    @classmethod
    def of(cls, error: CdpError) -> Failure:
        """Return the description of *error*, whose text has no personal value."""
        status = error.status if isinstance(error, Refused) else None
        return cls(type(error).__name__, str(error), status, error.delivery, error.attempts, error.request_id)


class PartOutcome(Struct):
    """The outcome of one part."""

    name: str
    """``order``, ``contact``, ``items/3``, ``items/3/ext``, ``consumers/0``, ``ext``."""
    verdict: PartVerdict
    ref: UUID | None = None
    differs: tuple[str, ...] = ()
    """The fields that differ from the input on the server and were not changed, or the keys of an extension; ``***``
    for a key that may be a personal value."""
    failure: Failure | None = None
    reason: str | None = None
    """Why it is not on the server as the input says, in a sentence; None if the failure says it."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        ref = None if self.ref is None else str(self.ref)
        failure = None if self.failure is None else _not_empty(**asdict(self.failure))
        verdict = str(self.verdict)
        return _not_empty(
            name=self.name, verdict=verdict, ref=ref, differs=self.differs, failure=failure, reason=self.reason
        )


class Leftover(Struct, frozen=True):
    """A part on the server that the input no longer has; it stays there."""

    kind: str
    """The name of its resource, as in ``cdp.items``."""
    ref: UUID

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        return {"kind": self.kind, "ref": str(self.ref)}


class Outcome(Struct, frozen=True, kw_only=True):
    """The outcome of one order, which `ingest` yields and `ingest_one` returns.

    Its *verdict* says what to do, for instance with a message of a queue:

    - ``loaded``, ``already``, ``updated``: all parts are on the server as the input says; acknowledge it.
    - ``failed``, ``not_tried``: no part was created; load it again later.
    - ``busy``: another process loads it, or may load it now because this one lost its claim; give the message back to
      its queue, and load it again after *retry_after* seconds, with the same journal.
    - ``partial``, ``unknown``: some parts are, or may be, on the server; load it again with the same journal, or with
      ``look_first=True``.
    - ``kept``, ``conflict``, ``invalid``: loading it again changes nothing; put it aside for a person.

    *parts* has one entry for the order and for each of its parts, with its reference, its failure, and the fields that
    differ. *violations* has the broken rules of an ``invalid`` order, *leftovers* the parts that only the server has.
    *seconds* and *times* say how long it took. The outcome has no personal value.

        outcome = await ingest_one(cdp, graph)
        if outcome.verdict is Verdict.LOADED:
            print(outcome.ref)
    """

    file: str | None
    """The file of the order; None for an order from Python."""
    number: int
    """Its line, or its position in the input, from 1."""
    key: str | None
    """Identifies the order; None if it could not be read."""
    verdict: Verdict
    parts: tuple[PartOutcome, ...] = ()
    violations: tuple[Violation, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    """The known parts on the server that the input no longer has. Where a part is ``unknown``, one of them may be that
    part."""
    seconds: float = 0.0
    """The seconds from taking the order from the input to its end."""
    times: Timings = field(default_factory=Timings)
    """How that time was spent; the times of parallel calls add up."""
    retry_after: float | None = None
    """For a ``busy`` order, the seconds until the claim of the other process ends, unless that process renews it; None
    if they are unknown."""

    @classmethod
    def of(cls, error: BaseException) -> Outcome | None:
        """Return the outcome of the order that *error* ended; None if the error is not from the load of one order."""
        outcome = getattr(error, "outcome", None)
        return outcome if isinstance(outcome, Outcome) else None

    @property
    def ref(self) -> UUID | None:
        """The reference of the order; None if the order is not on the server, or its reference is not known."""
        return self.parts[0].ref if self.parts else None

    @property
    def is_untouched(self) -> bool:
        """Whether no part of the order is or may be on the server."""
        return not any(part.ref is not None or part.verdict is PartVerdict.UNKNOWN for part in self.parts)

    def to_json(self) -> dict[str, object]:
        """Return the outcome as JSON data, one line of a file of outcomes."""
        return {
            **_not_empty(file=self.file, number=self.number, key=self.key, verdict=str(self.verdict)),
            **_not_empty(parts=[part.to_json() for part in self.parts]),
            **_not_empty(leftovers=[leftover.to_json() for leftover in self.leftovers]),
            "seconds": round(self.seconds, 3),
            **_not_empty(retry_after=None if self.retry_after is None else round(self.retry_after, 3)),
            **_not_empty(times=self.times.to_json(), violations=[violation._asdict() for violation in self.violations]),
        }


def _not_empty(**values: object) -> dict[str, object]:
    """Return the *values* without empty ones."""
    return {name: value for name, value in values.items() if value not in (None, (), [], {})}


def in_truth(error: Exception | None, counts: Mapping[Verdict, int]) -> Exception | None:
    """Return the *error* that ended a load; where something may be on the server, it does not say that nothing is."""
    if not isinstance(error, CdpError) or not counts.keys() - NOTHING_MADE:
        return error
    if isinstance(error, NotSent):
        unknown = OutcomeUnknown(str(error))
        unknown.__cause__, unknown.attempts, unknown.request_id = error, error.attempts, error.request_id
        return unknown
    if error.delivery is Delivery.NOT_SENT:
        error.delivery = Delivery.UNKNOWN
    return error
