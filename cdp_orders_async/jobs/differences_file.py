"""The file of differences that a verification found: one line for each; it never takes the place of anything else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path

from cdp_orders_async.jobs.comparison import Difference
from cdp_orders_async.jobs.owned_file import create, holds, json_line, put_aside, unwritable, write_all

__all__ = ["DifferencesFile", "written"]

WHAT = "differences"


class DifferencesFile:
    """The file of differences at *path*, which goes on after its first *length* bytes; without a path it takes nothing.

    It is opened, for its owner only, with the first order that is checked. An earlier file of differences is put aside
    then, as ``PATH.1`` or the first such name that is free.
    """

    def __init__(self, path: Path | None, length: int) -> None:
        self.length = length
        """The bytes that were written."""
        self._path = path
        self._number: int | None = None

    def write(self, key: str, found: Sequence[Difference]) -> None:
        """Write the differences of the order with this *key*, which may have none; raise `InputError` if it fails."""
        if self._path is None:
            return
        data = b"".join(json_line(difference.to_json(key)) for difference in found)
        try:
            if self._number is None:
                self._number = _opened(self._path, self.length)
            write_all(self._number, data)
        except OSError as error:
            raise unwritable(self._path, WHAT, error.strerror) from error
        self.length += len(data)

    def close(self) -> None:
        """Close the file."""
        if self._number is not None:
            os.close(self._number)
            self._number = None


@contextlib.contextmanager
def written(path: Path | None, length: int) -> Generator[DifferencesFile, None, None]:
    """Give the file of differences at *path* while the block lasts, to go on after its first *length* bytes.

    Raises `InputError` for a file of something else, and for one that is shorter.
    """
    if path is not None:
        _check(path, length)
    file = DifferencesFile(path, length)
    with contextlib.closing(file):
        yield file


def _check(path: Path, length: int) -> bool:
    """Raise `InputError` unless differences can be written to *path*; tell whether it holds any."""
    has_any = holds(path, WHAT, lambda line: {"key", "part", "problem"} <= line.keys())
    try:
        if length and not path.is_char_device() and (not has_any or path.stat().st_size < length):
            raise unwritable(path, WHAT, "the differences that were found so far are gone, name another file")
    except OSError as error:
        raise unwritable(path, WHAT, error.strerror) from error
    return has_any


def _opened(path: Path, length: int) -> int:
    """Open *path*; what was written after the progress was kept is cut off, since it comes again."""
    if _check(path, length) and not length:
        put_aside(path)
    number = create(path, WHAT)
    if length and path.is_file():
        os.ftruncate(number, length)
        os.lseek(number, length, os.SEEK_SET)
    return number
