"""A file of JSON lines that a job writes for its owner alone; that of an earlier run is put aside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from cdp_orders_async.jobs.owned_file import create, holds, json_line, put_aside, unwritable, write_all

__all__ = ["LinesWriter", "lines_written"]

LinesWriter: TypeAlias = Callable[[Mapping[str, object]], None]


@contextlib.contextmanager
def lines_written(
    path: Path | None, what: str, is_ours: Callable[[Mapping[str, Any]], bool]
) -> Generator[LinesWriter, None, None]:
    """Give a function that writes JSON objects to *path*, one a line; without a path it does nothing.

    The file is opened with the first line. An earlier one is put aside then, as ``PATH.1`` or the first such name that
    is free. Raises `InputError`, in which *what* names the lines, where the file cannot be written, and for a file
    whose first line *is_ours* does not accept.
    """
    number: int | None = None
    if path is not None:
        holds(path, what, is_ours)

    def write(line: Mapping[str, object]) -> None:
        nonlocal number
        if path is None:
            return
        try:
            if number is None:
                if holds(path, what, is_ours):
                    put_aside(path)
                number = create(path, what)
            write_all(number, json_line(line))
        except OSError as error:
            raise unwritable(path, what, error.strerror) from error

    try:
        yield write
    finally:
        if number is not None:
            os.close(number)
