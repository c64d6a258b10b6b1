"""A file of JSON lines that a job writes for its owner alone; that of an earlier run is put aside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from cdp_orders_async.jobs.owned_file import check, create, escaped, put_aside, unwritable, write_all
from cdp_orders_async.wire import is_object

__all__ = ["LinesWriter", "lines_written"]

LONGEST_LINE = 2**24  # bytes of a line, of which the first must be whole

LinesWriter: TypeAlias = Callable[[Mapping[str, object]], None]


@contextlib.contextmanager
def lines_written(
    path: Path | None, what: str, is_ours: Callable[[Mapping[str, Any]], bool]
) -> Generator[LinesWriter, None, None]:
    """Give a function that writes JSON objects to *path*, one a line; without a path it does nothing.

    The file is opened with the first line. An earlier one is put aside then, as ``PATH.1`` or the first such name that
    is free. Raises `InputError`, in which *what* names the lines, where the file cannot be written, or where *is_ours*
    tells that the first line of what is there is something else.
    """
    number: int | None = None
    if path is not None:
        _holds_lines(path, what, is_ours)

    def write(line: Mapping[str, object]) -> None:
        nonlocal number
        if path is None:
            return
        try:
            if number is None:
                if _holds_lines(path, what, is_ours):
                    put_aside(path)
                number = create(path, what)
            write_all(number, escaped(orjson.dumps(line).decode()) + b"\n")
        except OSError as error:
            raise unwritable(path, what, error.strerror) from error

    try:
        yield write
    finally:
        if number is not None:
            os.close(number)


def _holds_lines(path: Path, what: str, is_ours: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Refuse what is there unless it has such lines or nothing; tell whether it has any."""
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
