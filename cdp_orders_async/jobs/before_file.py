"""The file of the values that a load changed: what each field was before, for the owner alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from msgspec import Struct

from cdp_orders_async.errors import InputError
from cdp_orders_async.ingest import Before
from cdp_orders_async.jobs.events import Message, OnEvent, ignore
from cdp_orders_async.jobs.lines_file import lines_written
from cdp_orders_async.jobs.owned_file import LONGEST_LINE
from cdp_orders_async.jobs.regular_file import open_regular
from cdp_orders_async.wire import is_object

__all__ = ["Changed", "kept_before", "read_before"]

WHAT = "values before the changes"


class Changed(Struct, frozen=True):
    """A part that a load changed, and the names of the fields, without their values."""

    key: str
    part: str
    ref: UUID | None
    fields: tuple[str, ...]


@contextlib.contextmanager
def kept_before(path: Path | None) -> Generator[Callable[[Before], None] | None, None, None]:
    """Give a function that keeps values in *path*, which its owner alone can read; None without a path.

    The values of an earlier load are put aside first. Raises `InputError` where the file cannot be written, or holds
    something else.
    """
    with lines_written(path, WHAT, lambda line: _changed(line) is not None) as write:

        def keep(before: Before) -> None:
            write(before.to_json())

        yield None if path is None else keep


def read_before(path: Path, on_event: OnEvent = ignore) -> Iterator[Changed]:
    """Yield what a load changed.

    A last line that a crash has cut is told to *on_event* and left out. Raises `InputError` for a file that cannot be
    read or that is another one.
    """
    try:
        with open_regular(path) as file:
            number = 0
            while raw := file.readline(LONGEST_LINE):
                number += 1
                line: object = None
                with contextlib.suppress(orjson.JSONDecodeError):
                    line = orjson.loads(raw)
                changed = _changed(line) if is_object(line) else None
                if line is None and number > 1 and not raw.endswith(b"\n"):
                    cut = "the file ends in the middle of this line, which is left out"
                    on_event(Message(f"{path}, line {number}: {cut}"))
                    return
                if changed is None:
                    raise InputError(f"{path}:{number}: must be a line of the values before a change, as load keeps it")
                yield changed
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _changed(line: Mapping[str, Any]) -> Changed | None:
    match line:
        case {"key": str(key), "part": str(part), "ref": str() | None as ref, "fields": fields} if is_object(fields):
            with contextlib.suppress(ValueError):
                return Changed(key, part, None if ref is None else UUID(ref), tuple(fields))
        case _:
            pass
    return None
