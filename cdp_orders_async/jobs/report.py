"""What became of a load, as data, and the sentence that says what ended it."""

from __future__ import annotations

import collections

import attrs

from cdp_orders_async.errors import CdpError, Forbidden, InputError, Invalid, JournalError, NotSent, Unauthorized
from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.timings import Timings

__all__ = ["NOT_AS_WANTED", "Report", "describe", "is_damaged", "place"]

NOT_AS_WANTED = tuple(one for one in Verdict if one not in {Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED})
"""The verdicts of an order that is not on the server as the input says."""
THERE = (Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED, Verdict.KEPT, Verdict.PARTIAL, Verdict.UNKNOWN)
NO_USE = (Verdict.INVALID, Verdict.KEPT)
"""The verdicts to which an order comes again if the same load runs again."""


@attrs.define
class Report:
    """What became of a load."""

    counts: collections.Counter[Verdict] = attrs.field(factory=collections.Counter[Verdict])
    """How many orders came to each verdict."""
    requests: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds that this process computed, in all its threads."""
    times: Timings = attrs.field(factory=Timings)
    """Where the time of the orders went."""
    error: CdpError | None = None
    """What ended the load before its input did."""
    reason: str | None = None
    """The sentence that says so."""
    stopped_by: int | None = None
    """The number of the signal that stopped the load."""

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON data."""
        return {
            "graphs": self.counts.total(),
            **{str(verdict): self.counts[verdict] for verdict in Verdict},
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "cpu": round(self.cpu, 3),
            "times": self.times.to_json(),
            "error": self.reason,
        }

    @property
    def anything(self) -> bool:
        """Whether anything is on the server, or may be."""
        return any(self.counts[verdict] for verdict in THERE)

    @property
    def status(self) -> int:
        """The exit status of a command whose work this was."""
        if self.error is not None:
            return 2
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        return int(any(self.counts[verdict] for verdict in NOT_AS_WANTED))

    @property
    def resumable(self) -> bool:
        """Whether the same load has something to do if it runs again."""
        if self.error is not None:
            return self.anything
        left = (verdict for verdict in NOT_AS_WANTED if verdict not in NO_USE)
        return self.stopped_by is not None or any(self.counts[verdict] for verdict in left)


def is_damaged(error: CdpError | None) -> bool:
    """Tell whether *error* says that a journal is damaged: then a load with a new one must look for each order."""
    return isinstance(error, JournalError) and " is damaged" in str(error)


def place(outcome: Outcome) -> str:
    """Say from where an order came."""
    return outcome.key or "an order" if outcome.file is None else f"{outcome.file}:{outcome.number}"


def describe(error: CdpError, base_url: str, where: str | None = None) -> str:
    """Say in one sentence what ended a load; *where* says from where the order came whose request met it."""
    asked = "" if where is None else f" to {where}"
    match error:
        case Unauthorized() | Forbidden() if error.from_api:
            what = f"{base_url} refused the credentials ({error.status}): check the client key and the API token"
            return f"{what}; this was its answer{asked}, {error.method} {error.path}"
        case NotSent():
            return f"{base_url} cannot be reached: {error}"
        case InputError() | JournalError() | Invalid():
            return str(error)
        case _:
            return f"{base_url} does not answer as the API does, the last time{asked}: {error}"
