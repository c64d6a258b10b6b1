"""The file of outcomes: one line for each order of a run; it never takes the place of anything else."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import stat
from collections.abc import Callable, Generator
from pathlib import Path

import orjson

from cdp_orders_async.errors import InputError
from cdp_orders_async.ingest import Outcome, Verdict

__all__ = ["written"]

LONGEST_LINE = 2**24  # bytes of an outcome, of which the first must be whole
FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # Windows has the latter
VERDICTS = frozenset(map(str, Verdict))


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
