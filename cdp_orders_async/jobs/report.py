"""The result of a load as data, and the sentence that says what ended it."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs

from cdp_orders_async.errors import (
    CdpError,
    DeadlineExceeded,
    Forbidden,
    InputError,
    Invalid,
    JournalError,
    NotSent,
    OutcomeUnknown,
    Unauthorized,
)
from cdp_orders_async.ingest import Outcome, PartVerdict, Verdict
from cdp_orders_async.jobs.series import Course
from cdp_orders_async.sources import GraphFile, GraphFiles
from cdp_orders_async.timings import Timings

__all__ = ["NOT_AS_WANTED", "Report", "Run", "describe", "exit_status", "is_damaged", "new_run", "place"]

NOT_AS_WANTED = tuple(one for one in Verdict if one not in {Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED})
"""The verdicts of an order that is not on the server as the input says."""
THERE = (Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED, Verdict.KEPT, Verdict.PARTIAL, Verdict.UNKNOWN)
NO_USE = (Verdict.INVALID, Verdict.KEPT)
"""The verdicts to which an order comes again if the same load runs again."""


def _utc() -> datetime:
    return datetime.now(UTC)


@attrs.frozen
class Run:
    """One run of a load: its name, its beginning, and the clock that tells its end."""

    id: str
    """The UTC time of the start and 8 hexadecimal digits: ``20261129T123605Z-1f0c9a2b``. It sorts by time."""
    started: datetime
    now: Callable[[], datetime] = attrs.field(default=_utc, repr=False)


def new_run(now: Callable[[], datetime] = _utc, random: Callable[[int], bytes] = os.urandom) -> Run:
    """Return a run that starts *now*, a clock of UTC; *random* gives bytes that tell it from others of its second."""
    started = now()
    return Run(f"{started:%Y%m%dT%H%M%SZ}-{random(4).hex()}", started, now)


def files_of(source: GraphFile | GraphFiles) -> list[tuple[str, int | None]]:
    """Return the names of the files of *source*, each with its bytes; None where it has no size."""
    names = (source.name,) if isinstance(source, GraphFile) else source.names
    return [(name, _size(Path(name))) for name in names]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:  # it went away meanwhile
        return None


def exit_status(error: Exception | None, stopped_by: int | None, *, as_wanted: bool) -> int:
    """Return the exit status of a command that *error* or a signal ended, or whose result is as wanted or not."""
    if error is not None:
        return 2
    return int(not as_wanted) if stopped_by is None else 128 + stopped_by


@attrs.define
class Report:
    """The result of a load."""

    counts: collections.Counter[Verdict] = attrs.field(factory=collections.Counter[Verdict])
    """How many orders came to each verdict."""
    requests: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds that this process computed, in all its threads."""
    times: Timings = attrs.field(factory=Timings)
    """Where the time of the orders went."""
    error: CdpError | None = None
    """The error that ended the load before its input did."""
    reason: str | None = None
    """The sentence that says why the load ended before its input did."""
    stopped_by: int | None = None
    """The number of the signal that stopped the load."""
    run: Run | None = None
    ended: datetime | None = None
    """When the load ended; None while it runs."""
    files: list[tuple[str, int | None]] = attrs.field(factory=list[tuple[str, int | None]])
    """The names of the files of the input, each with its bytes; None for a pipe."""
    hash: str | None = None
    """The hash of the input; None where it was not read to its end."""
    parts_created: int = 0
    """Parts that this run created on the server."""
    course: Course = attrs.field(factory=Course)
    """How orders, requests, refusals and answer times went over time."""
    limits: tuple[str, ...] = ()
    """What was known of the limits of the server at the end, in words."""
    record: dict[str, object] = attrs.field(factory=dict[str, object], repr=False)
    """The record of the run at its end, which is in the file beside its outcomes."""

    def hear(self, outcome: Outcome) -> None:
        """Count one *outcome*."""
        self.counts[outcome.verdict] += 1
        self.parts_created += sum(part.verdict is PartVerdict.CREATED for part in outcome.parts)

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON data."""
        return {
            "graphs": self.counts.total(),
            **self._counts(),
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "cpu": round(self.cpu, 3),
            "times": self.times.to_json(),
            "error": self.reason,
            **self._identity(),
            "parts_created": self.parts_created,
        }

    def to_run_json(self, options: dict[str, object]) -> dict[str, object]:
        """Return the record of the run, for the file beside the outcomes; *options* are those of the load."""
        return {
            **self._identity(),
            "options": options,
            "counts": self._counts(),
            "parts_created": self.parts_created,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "stopped_by": self.stopped_by,
            "error": self.reason,
            "limits": list(self.limits),
            "course": self.course.to_json(),
        }

    def _counts(self) -> dict[str, int]:
        return {str(verdict): self.counts[verdict] for verdict in Verdict}

    def _identity(self) -> dict[str, object]:
        return {
            "run": None if self.run is None else self.run.id,
            "started": None if self.run is None else _iso(self.run.started),
            "ended": None if self.ended is None else _iso(self.ended),
            "files": [{"name": name, "bytes": size} for name, size in self.files],
            "hash": self.hash,
        }

    @property
    def anything(self) -> bool:
        """Whether anything is on the server, or may be."""
        return any(self.counts[verdict] for verdict in THERE)

    @property
    def status(self) -> int:
        """The exit status of a command whose work this was."""
        return exit_status(
            self.error, self.stopped_by, as_wanted=not any(self.counts[verdict] for verdict in NOT_AS_WANTED)
        )

    @property
    def resumable(self) -> bool:
        """Whether the same load has something to do if it runs again."""
        if self.error is not None:
            return self.anything
        left = (verdict for verdict in NOT_AS_WANTED if verdict not in NO_USE)
        early = self.stopped_by is not None or self.reason is not None
        return early or any(self.counts[verdict] for verdict in left)


def _iso(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


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
        case NotSent() | OutcomeUnknown(__cause__=NotSent()):
            return f"{base_url} cannot be reached: {error}"
        case InputError() | JournalError() | Invalid() | DeadlineExceeded():
            return str(error)
        case _:
            return f"{base_url} does not answer as the API does, the last time{asked}: {error}"
