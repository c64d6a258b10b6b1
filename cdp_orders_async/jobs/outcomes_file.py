"""The file of outcomes: one line for each order of a run; it never takes the place of anything else."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec
import orjson
from msgspec import Struct

from cdp_orders_async.errors import InputError, shown
from cdp_orders_async.ingest import Leftover, Outcome, PartVerdict, Verdict
from cdp_orders_async.jobs.events import Message, OnEvent, ignore

__all__ = ["Recorded", "RecordedPart", "read", "read_at", "read_lines", "written"]

LONGEST_LINE = 2**24  # bytes of an outcome, of which the first must be whole
FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # Windows has the latter
VERDICTS = frozenset(map(str, Verdict))
LONGEST_RULE = 200  # characters of the rule that a line breaks


@contextlib.contextmanager
def written(path: Path | None) -> Generator[Callable[[Outcome], None], None, None]:
    """Give a function that writes outcomes to *path*, readable by its owner only; without a path it does nothing.

    The file is opened with the first outcome. The outcomes of an earlier run are put aside then, as ``PATH.1`` or the
    first such name that is free. Raises `InputError` where the file cannot be written, or is not one of outcomes.
    """
    number: int | None = None
    if path is not None:
        _check(path)

    def write(outcome: Outcome) -> None:
        nonlocal number
        if path is None:
            return
        line = _escaped(orjson.dumps(outcome.to_json()).decode()) + b"\n"
        try:
            number = _opened(path) if number is None else number
            while line:  # a disk that is nearly full takes a part
                line = line[os.write(number, line) :]
        except OSError as error:
            raise _unwritable(path, error.strerror) from error

    try:
        yield write
    finally:
        if number is not None:
            os.close(number)


def _check(path: Path) -> bool:
    """Refuse what is there unless it is a file of outcomes or of nothing; tell whether it holds any."""
    try:
        path.parent.stat()  # raises where there is no such folder
        found = path.lstat() if os.path.lexists(path) else None
        kind = stat.S_IFREG if found is None else found.st_mode
        if stat.S_ISCHR(kind):
            return False
        if stat.S_ISLNK(kind) or not stat.S_ISREG(kind):  # a pipe would wait for its reader
            what = "a symbolic link, name the file itself" if stat.S_ISLNK(kind) else "no regular file"
            raise _unwritable(path, f"it is {what}")
        if found is not None:
            _check_owner(path, found)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise _unwritable(path, os.strerror(errno.EACCES))
        first = b""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            first = file.readline(LONGEST_LINE)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    if first and not _is_outcome(first):
        raise _unwritable(path, "it holds something else than outcomes, name another file")
    return bool(first)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_nlink > 1:
        raise _unwritable(path, "it has several names (hard links), name a file that has one")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():  # Windows has no such number
        raise _unwritable(path, "it belongs to another user, name a file of your own")


def _is_outcome(line: bytes) -> bool:
    with contextlib.suppress(orjson.JSONDecodeError):
        match orjson.loads(line):
            case {"number": int(), "verdict": str(verdict)}:
                return verdict in VERDICTS
            case _:
                pass
    return False


def _opened(path: Path) -> int:
    """Open *path* for the outcomes of this run alone."""
    if _check(path):
        names = (path.with_name(f"{path.name}.{n}") for n in itertools.count(1))
        path.chmod(0o600)  # whoever could read it
        path.rename(next(name for name in names if not os.path.lexists(name)))
    number = os.open(path, FLAGS, 0o600)
    found = os.fstat(number)
    if stat.S_ISREG(found.st_mode):
        try:
            _check_owner(path, found)  # of what is open, whatever stood there before
        except InputError:
            os.close(number)
            raise
        if hasattr(os, "fchmod"):  # which Windows lacks
            os.fchmod(number, 0o600)  # whatever the umask, and whoever could read an empty one
    return number


def _escaped(text: str) -> bytes:
    """Return JSON without what a terminal may obey although JSON lets it stand, such as marks of direction."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    return text.encode()


def _unwritable(path: Path, reason: str | None) -> InputError:
    return InputError(f"the outcomes cannot be written to {path}: {reason}")


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


def read_at(file: BinaryIO, offset: int) -> Recorded:
    """Return the outcome that begins at this *offset* of a *file* that `read_lines` has read."""
    file.seek(offset)
    return _DECODE(file.readline(LONGEST_LINE + 1))


def _unreadable(path: Path, number: int, rule: str) -> InputError:
    return InputError(f"the outcomes cannot be read from {path}, line {number}: {shown(rule, LONGEST_RULE)}")
