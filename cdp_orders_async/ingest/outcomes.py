"""What came of one order, as data: never an exception, and never a personal value."""

from __future__ import annotations

import enum
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import asdict

from cdp_orders_async.errors import CdpError, Refused, Violation
from cdp_orders_async.session import Times

__all__ = ["Failure", "Leftover", "Outcome", "PartOutcome", "PartVerdict", "Verdict"]


class Verdict(enum.StrEnum):
    """What came of an order with all its parts."""

    LOADED = "loaded"
    """Everything is there as the input says, and this run made some of it."""
    ALREADY = "already"
    """Everything was there before, as the input says."""
    UPDATED = "updated"
    """Everything is there as the input says, and this run changed some of it."""
    KEPT = "kept"
    """Everything is there, some of it with other values than the input has; it was left as told."""
    PARTIAL = "partial"
    """Some parts are there, some are not."""
    FAILED = "failed"
    """Nothing of it was made."""
    UNKNOWN = "unknown"
    """For some part it could not be found out whether it was made; the next run looks again."""
    CONFLICT = "conflict"
    """It is one order with another one for the server, or a part could be any of several things that are there, or
    something differs where it must not. A person must decide."""
    INVALID = "invalid"
    """It breaks a documented rule; nothing was sent."""
    BUSY = "busy"
    """Another process is loading it."""
    NOT_TRIED = "not_tried"
    """The load ended before anything of it was sent."""


class PartVerdict(enum.StrEnum):
    """What came of one part."""

    CREATED = "created"
    FOUND = "found"
    """It was there: this journal or the server knew it."""
    KEPT = "kept"
    """It was there, differs from the input, and was left as it is."""
    UPDATED = "updated"
    """It was there, differed, and was brought up to the input."""
    FAILED = "failed"
    BLOCKED = "blocked"
    """It was not tried, since something that it needs is missing or the load was stopped."""
    UNKNOWN = "unknown"
    CONFLICT = "conflict"

    @property
    def there(self) -> bool:
        """Whether the part is on the server."""
        return self in THERE


THERE = frozenset({PartVerdict.CREATED, PartVerdict.FOUND, PartVerdict.UPDATED, PartVerdict.KEPT})


class Failure(Struct, frozen=True):
    """Why a part is not there, without any personal value."""

    kind: str
    """The class of the error."""
    message: str
    status: int | None = None
    delivery: str | None = None
    attempts: int = 0
    request_id: str | None = None

    @classmethod
    def of(cls, error: CdpError) -> Failure:
        """Describe *error*, whose text repeats nothing of a person."""
        status = error.status if isinstance(error, Refused) else None
        return cls(type(error).__name__, str(error), status, error.delivery, error.attempts, error.request_id)


class PartOutcome(Struct):
    """What came of one part."""

    name: str
    """``order``, ``contact``, ``items/3``, ``items/3/ext``, ``consumers/0``, ``ext``."""
    verdict: PartVerdict
    ref: UUID | None = None
    differs: tuple[str, ...] = ()
    """The fields in which what is there differs from the input and was left as it is."""
    failure: Failure | None = None
    reason: str | None = None
    """Why it is not there as the input says, in a sentence, where no failure says it."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        ref = None if self.ref is None else str(self.ref)
        failure = None if self.failure is None else _filled(**asdict(self.failure))
        verdict = str(self.verdict)
        return _filled(
            name=self.name, verdict=verdict, ref=ref, differs=self.differs, failure=failure, reason=self.reason
        )


class Leftover(Struct, frozen=True):
    """A part on the server that the input no longer has; it stays there."""

    kind: str
    """The resource that it is of, as in ``cdp.items``."""
    ref: UUID

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        return {"kind": self.kind, "ref": str(self.ref)}


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of one order, which `ingest` yields and `ingest_one` returns.

    Its *verdict* says what to do, for instance with a message of a queue:

    - ``loaded``, ``already``, ``updated``: all is there as the input says; acknowledge it.
    - ``failed``, ``not_tried``, ``busy``: nothing of it was made, or another process makes it; load it again later.
    - ``partial``, ``unknown``: some of it is there, or may be; load it again with the same journal, or with
      ``look_first=True``.
    - ``kept``, ``conflict``, ``invalid``: loading it again changes nothing; put it aside for a person.

    *parts* has one entry for the order and for each of its parts, with its reference, what failed, and in which fields
    it differs. *violations* has the broken rules of an ``invalid`` order, *leftovers* what the server has and the input
    no longer has. *seconds* and *times* say how long it took. Nothing in it is a personal value.

        outcome = await ingest_one(cdp, graph)
        if outcome.verdict is Verdict.LOADED:
            print(outcome.ref)
    """

    file: str | None
    """Where the order came from; None where it came from Python."""
    number: int
    """Its line, or its position in the input, from 1."""
    key: str | None
    """What tells the order from others; None where it could not be read."""
    verdict: Verdict
    parts: tuple[PartOutcome, ...] = ()
    violations: tuple[Violation, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    """The parts on the server that the input no longer has."""
    seconds: float = 0.0
    """From the first look at it to its end."""
    times: Times = field(default_factory=Times)
    """What that time was spent on; that of calls in parallel adds up."""

    @classmethod
    def of(cls, error: BaseException) -> Outcome | None:
        """Return what an order came to before *error* ended it; None where the error is of no load of one order."""
        outcome = getattr(error, "outcome", None)
        return outcome if isinstance(outcome, Outcome) else None

    @property
    def ref(self) -> UUID | None:
        """The reference of the order; None where it is not there, or not known."""
        return self.parts[0].ref if self.parts else None

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of the order is on the server, or may be."""
        return not any(part.ref is not None or part.verdict is PartVerdict.UNKNOWN for part in self.parts)

    def to_json(self) -> dict[str, object]:
        """Return the outcome as JSON data, one line of a file of outcomes."""
        return {
            **_filled(file=self.file, number=self.number, key=self.key, verdict=str(self.verdict)),
            **_filled(parts=[part.to_json() for part in self.parts]),
            **_filled(leftovers=[leftover.to_json() for leftover in self.leftovers]),
            "seconds": round(self.seconds, 3),
            **_filled(times=self.times.to_json(), violations=[violation._asdict() for violation in self.violations]),
        }


def _filled(**values: object) -> dict[str, object]:
    """Return the *values* that say something."""
    return {name: value for name, value in values.items() if value not in (None, (), [], {})}
