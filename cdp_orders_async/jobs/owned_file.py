"""A file that a job writes for its owner alone; it never takes the place of anything else."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from cdp_orders_async.errors import InputError
from cdp_orders_async.wire import is_object

__all__ = ["check", "create", "escaped", "holds", "json_line", "put_aside", "unwritable", "write_all"]

FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # Windows has the latter

LONGEST_LINE = 2**24  # bytes of the first line, which must be whole


def check(path: Path, what: str) -> bool:
    """Raise `InputError` unless *what* can be written to *path*; tell whether a file with content is there."""
    try:
        path.parent.stat()  # raises where there is no such folder
        found = path.lstat() if os.path.lexists(path) else None
        kind = stat.S_IFREG if found is None else found.st_mode
        if stat.S_ISCHR(kind):
            return False
        if stat.S_ISLNK(kind) or not stat.S_ISREG(kind):  # a pipe would wait for its reader
            is_what = "a symbolic link, name the file itself" if stat.S_ISLNK(kind) else "not a regular file"
            raise unwritable(path, what, f"it is {is_what}")
        if found is not None:
            _check_owner(path, what, found)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise unwritable(path, what, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(path, what, error.strerror) from error
    return found is not None and found.st_size > 0


def holds(path: Path, what: str, is_ours: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Tell whether a file with content is at *path*, whose first line is an object that *is_ours* accepts.

    Raises `InputError` for a file with another first line, and where *what* cannot be written.
    """
    if not check(path, what):
        return False
    try:
        with path.open("rb") as file:
            first = file.readline(LONGEST_LINE)
    except OSError as error:
        raise unwritable(path, what, error.strerror) from error
    line: object = None
    with contextlib.suppress(orjson.JSONDecodeError):
        line = orjson.loads(first)
    if not is_object(line) or not is_ours(line):
        raise unwritable(path, what, "it holds something else, name another file")
    return True


def _check_owner(path: Path, what: str, found: os.stat_result) -> None:
    if found.st_nlink > 1:
        raise unwritable(path, what, "it has several names (hard links), name a file that has one")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():  # Windows has no such number
        raise unwritable(path, what, "it belongs to another user, name a file of your own")


def put_aside(path: Path, endings: Sequence[str] = ("",)) -> None:
    """Rename *path*, and the files beside it with these *endings*, to ``PATH.1`` or the first number that is free."""
    pairs = ([(Path(f"{path}{end}"), Path(f"{path}.{n}{end}")) for end in endings] for n in itertools.count(1))
    for old, new in next(names for names in pairs if not any(os.path.lexists(new) for _, new in names)):
        if os.path.lexists(old):
            old.chmod(0o600)  # whoever could read it
            old.rename(new)


def create(path: Path, what: str) -> int:
    """Open *path* to write *what*, readable by its owner only; return the number of the open file."""
    number = os.open(path, FLAGS, 0o600)
    found = os.fstat(number)
    if stat.S_ISREG(found.st_mode):
        try:
            _check_owner(path, what, found)  # of what is open, whatever stood there before
        except InputError:
            os.close(number)
            raise
        if hasattr(os, "fchmod"):  # which Windows lacks
            os.fchmod(number, 0o600)  # whatever the umask, and whoever could read an empty one
    return number


def write_all(number: int, data: bytes) -> None:
    """Write all of *data*."""
    while data:  # a disk that is nearly full takes a part
        data = data[os.write(number, data) :]


def json_line(value: object) -> bytes:
    """Return *value* as a line of JSON."""
    return escaped(orjson.dumps(value).decode()) + b"\n"


def escaped(text: str) -> bytes:
    """Return JSON without what a terminal may obey although JSON lets it stand, such as marks of direction."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    return text.encode()


def unwritable(path: Path, what: str, reason: str | None) -> InputError:
    """Return the error that says why *what* cannot be written to *path*."""
    return InputError(f"the {what} cannot be written to {path}: {reason}")
