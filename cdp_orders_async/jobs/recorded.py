"""Read the file of outcomes, one order after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec
from msgspec import Struct

from cdp_orders_async.errors import InputError, shown
from cdp_orders_async.ingest import Leftover, PartVerdict, Verdict
from cdp_orders_async.jobs.events import Message, OnEvent, ignore

__all__ = ["Recorded", "RecordedPart", "open_outcomes", "read", "read_at", "read_lines"]

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
    number: int
    """Its line, or its position in the input, from 1."""
    key: str | None = None
    verdict: Verdict
    parts: tuple[RecordedPart, ...] = ()
    leftovers: tuple[Leftover, ...] = ()

    @property
    def ref(self) -> UUID | None:
        """The reference of the order; None where it is not there, or not known."""
        return self.parts[0].ref if self.parts else None


_DECODE = msgspec.json.Decoder(Recorded).decode


def read(path: Path, on_event: OnEvent = ignore) -> Iterator[Recorded]:
    """Yield the outcomes in the file at *path*, one after the other.

    A last line that a crash has cut is told to *on_event* and left out. Raises `InputError` for a file that cannot be
    read, and for a line that is not an outcome; it names the file, the line and the rule.
    """
    return (recorded for _, recorded in read_lines(path, on_event))


def read_lines(path: Path, on_event: OnEvent = ignore) -> Iterator[tuple[int, Recorded]]:
    """Yield the outcomes as `read` does, each with its offset in the file, from which `read_at` reads it again."""
    try:
        with path.open("rb") as file:
            offset = 0
            for number in itertools.count(1):
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    return
                if len(line) > LONGEST_LINE:
                    raise _unreadable(path, number, f"the line is longer than {LONGEST_LINE:,} bytes")
                try:
                    recorded = _DECODE(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    if line.endswith(b"\n") or not line.startswith(b"{"):
                        raise _unreadable(path, number, f"it is not an outcome: {error}") from error
                    told = f"{path}, line {number}: the file ends in the middle of this outcome, which is left out"
                    on_event(Message(told))
                    return
                yield offset, recorded
                offset += len(line)
    except OSError as error:
        raise InputError(f"the outcomes cannot be read from {path}: {error.strerror}") from error


def open_outcomes(path: Path) -> BinaryIO:
    """Open the file of outcomes at *path* for `read_at`."""
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"the outcomes cannot be read from {path}: {error.strerror}") from error


def read_at(file: BinaryIO, offset: int) -> Recorded:
    """Return the outcome that begins at this *offset* of a *file* that `read_lines` has read."""
    file.seek(offset)
    return _DECODE(file.readline(LONGEST_LINE + 1))


def _unreadable(path: Path, number: int, rule: str) -> InputError:
    return InputError(f"the outcomes cannot be read from {path}, line {number}: {shown(rule, LONGEST_RULE)}")
