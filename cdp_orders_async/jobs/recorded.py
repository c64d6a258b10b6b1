"""Read the file of outcomes, one order after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from cdp_orders_async.errors import InputError, shown
from cdp_orders_async.ingest import Leftover, PartVerdict, Verdict
from cdp_orders_async.ingest.outcomes import Failure
from cdp_orders_async.jobs.events import Message, OnEvent, ignore
from cdp_orders_async.jobs.regular_file import open_regular
from cdp_orders_async.jobs.series import MOST, Count, Number
from cdp_orders_async.journal import current_key
from cdp_orders_async.timings import Timings

__all__ = [
    "Recorded",
    "RecordedPart",
    "RecordedRule",
    "WholePart",
    "WholeRecord",
    "open_outcomes",
    "read",
    "read_at",
    "read_lines",
    "read_whole",
]

LONGEST_LINE = 2**24
"""The bytes of the longest line."""
LONGEST_RULE = 200
"""The characters that are told of the rule that a line breaks."""


class RecordedPart(Struct, frozen=True):
    """What a file of outcomes says of one part."""

    name: str
    """Its place in the input: ``order``, ``items/3``, ``items/3/ext``."""
    verdict: PartVerdict
    ref: UUID | None = None


class Recorded(Struct, frozen=True, kw_only=True):
    """What a file of outcomes says of one order."""

    file: str | None = None
    number: Count
    """Its line, or its position in the input, from 1."""
    key: str | None = None
    verdict: Verdict
    parts: tuple[RecordedPart, ...] = ()
    leftovers: tuple[Leftover, ...] = ()

    @property
    def ref(self) -> UUID | None:
        """The reference of the order; None where it is not there, or not known."""
        return self.parts[0].ref if self.parts else None


class RecordedRule(Struct, frozen=True):
    """A rule that an order breaks."""

    field: str
    rule: str


class WholePart(RecordedPart, frozen=True):
    """Everything that a file of outcomes says of one part."""

    differs: tuple[str, ...] = ()
    failure: Failure | None = None
    reason: str | None = None


class WholeRecord(Recorded, frozen=True, kw_only=True):
    """Everything that a file of outcomes says of one order."""

    parts: tuple[WholePart, ...] = ()
    violations: tuple[RecordedRule, ...] = ()
    seconds: Number = 0.0
    times: Timings = msgspec.field(default_factory=Timings)
    run: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for times whose sum would have no bound."""
        seconds: tuple[float, ...] = msgspec.structs.astuple(self.times)
        if max(map(abs, seconds)) > MOST:
            raise ValueError(f"a time of more than {MOST:g} seconds")


R = TypeVar("R", bound=Recorded)
_DECODE = msgspec.json.Decoder(Recorded).decode
_DECODE_WHOLE = msgspec.json.Decoder(WholeRecord).decode


def read(path: Path, on_event: OnEvent = ignore) -> Iterator[Recorded]:
    """Yield the outcomes in the file at *path*, one after the other.

    A last line that a crash has cut is told to *on_event* and left out. Raises `InputError` for a file that cannot be
    read, and for a line that is not an outcome; it names the file, the line and the rule.
    """
    return (recorded for _, recorded in read_lines(path, on_event))


def read_lines(path: Path, on_event: OnEvent = ignore) -> Iterator[tuple[int, Recorded]]:
    """Yield the outcomes as `read` does, each with its offset in the file, from which `read_at` reads it again."""
    return _read(path, on_event, _DECODE)


def read_whole(path: Path, on_event: OnEvent = ignore) -> Iterator[WholeRecord]:
    """Yield the outcomes as `read` does, with all that the file says of them."""
    return (recorded for _, recorded in _read(path, on_event, _DECODE_WHOLE))


def _read(path: Path, on_event: OnEvent, decode: Callable[[bytes], R]) -> Iterator[tuple[int, R]]:
    try:
        with open_regular(path) as file:
            offset = 0
            for number in itertools.count(1):
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    return
                if len(line) > LONGEST_LINE:
                    raise _unreadable(path, number, f"the line is longer than {LONGEST_LINE:,} bytes")
                try:
                    recorded = decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    is_whole = isinstance(error, msgspec.ValidationError)  # it is JSON, and not an outcome
                    if is_whole or line.endswith(b"\n") or not line.startswith(b"{"):
                        raise _unreadable(path, number, f"it is not an outcome: {error}") from error
                    told = f"{path}, line {number}: the file ends in the middle of this outcome, which is left out"
                    on_event(Message(told))
                    return
                yield offset, _with_current_key(recorded)
                offset += len(line)
    except OSError as error:
        raise InputError(f"the outcomes cannot be read from {path}: {error.strerror}") from error


def open_outcomes(path: Path) -> BinaryIO:
    """Open the file of outcomes at *path* for `read_at`."""
    try:
        return open_regular(path)
    except OSError as error:
        raise InputError(f"the outcomes cannot be read from {path}: {error.strerror}") from error


def read_at(file: BinaryIO, offset: int) -> Recorded:
    """Return the outcome that begins at this *offset* of a *file* that `read_lines` has read."""
    file.seek(offset)
    return _with_current_key(_DECODE(file.readline(LONGEST_LINE + 1)))


def _with_current_key(recorded: R) -> R:
    """Return an outcome with the key that its order has today."""
    if recorded.key is None or (key := current_key(recorded.key)) == recorded.key:
        return recorded
    return msgspec.structs.replace(recorded, key=key)


def _unreadable(path: Path, number: int, rule: str) -> InputError:
    what = "name the file that cdp-orders load --outcomes wrote" if number == 1 else "mend this line, or remove it"
    return InputError(f"the outcomes cannot be read from {path}, line {number}: {shown(rule, LONGEST_RULE)}; {what}")
