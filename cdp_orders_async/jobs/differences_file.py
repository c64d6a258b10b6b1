"""The file of differences that a verification found: one line for each; it never takes the place of anything else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path

import orjson

from cdp_orders_async.jobs.comparison import Difference
from cdp_orders_async.jobs.owned_file import check, create, escaped, put_aside, unwritable, write_all

__all__ = ["DifferencesFile", "written"]

WHAT = "differences"
LONGEST_LINE = 2**20
"""The bytes of the first line, which must be whole."""


class DifferencesFile:
    """The file of differences; without a file it takes nothing."""

    def __init__(self, path: Path | None, number: int | None, length: int) -> None:
        self._path = path
        self._number = number
        self.length = length

    def write(self, key: str, found: Sequence[Difference]) -> None:
        """Write the differences of the order with this *key*."""
        if self._path is None or self._number is None:
            return
        data = b"".join(escaped(orjson.dumps(one.to_json(key)).decode()) + b"\n" for one in found)
        try:
            write_all(self._number, data)
        except OSError as error:
            raise unwritable(self._path, WHAT, error.strerror) from error
        self.length += len(data)


@contextlib.contextmanager
def written(path: Path | None, length: int) -> Generator[DifferencesFile, None, None]:
    """Open the file of differences at *path* for its owner only, to go on after its first *length* bytes.

    An earlier file of differences is put aside, as ``PATH.1`` or the first such name that is free. Raises `InputError`
    for a file of something else.
    """
    if path is None:
        yield DifferencesFile(None, None, length)
        return
    holds = check(path, WHAT)
    try:
        if holds and not _is_of_differences(path):
            raise unwritable(path, WHAT, "it holds something else than differences, name another file")
        if length and (not holds or path.stat().st_size < length):
            raise unwritable(path, WHAT, "it is not the one of the verification that was stopped, name another file")
        if holds and not length:
            put_aside(path)
        number = create(path, WHAT)
        try:
            os.truncate(path, length)  # what was written after the progress was kept comes again
            os.lseek(number, length, os.SEEK_SET)
            yield DifferencesFile(path, number, length)
        finally:
            os.close(number)
    except OSError as error:
        raise unwritable(path, WHAT, error.strerror) from error


def _is_of_differences(path: Path) -> bool:
    with path.open("rb") as file, contextlib.suppress(orjson.JSONDecodeError):
        match orjson.loads(file.readline(LONGEST_LINE)):
            case {"key": _, "part": _, "problem": _}:
                return True
            case _:
                pass
    return False
