"""The file of outcomes: one line for each order of a run; it never takes the place of anything else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

import orjson

from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.jobs.owned_file import check, create, escaped, put_aside, unwritable, write_all

__all__ = ["written"]

LONGEST_LINE = 2**24  # bytes of an outcome, of which the first must be whole
VERDICTS = frozenset(map(str, Verdict))
WHAT = "outcomes"


@contextlib.contextmanager
def written(path: Path | None) -> Generator[Callable[[Outcome], None], None, None]:
    """Give a function that writes outcomes to *path*, readable by its owner only; without a path it does nothing.

    The file is opened with the first outcome. The outcomes of an earlier run are put aside then, as ``PATH.1`` or the
    first such name that is free. Raises `InputError` where the file cannot be written, or is not one of outcomes.
    """
    number: int | None = None
    if path is not None:
        _holds_outcomes(path)

    def write(outcome: Outcome) -> None:
        nonlocal number
        if path is None:
            return
        line = escaped(orjson.dumps(outcome.to_json()).decode()) + b"\n"
        try:
            number = _opened(path) if number is None else number
            write_all(number, line)
        except OSError as error:
            raise unwritable(path, WHAT, error.strerror) from error

    try:
        yield write
    finally:
        if number is not None:
            os.close(number)


def _holds_outcomes(path: Path) -> bool:
    """Refuse what is there unless it is a file of outcomes or of nothing; tell whether it holds any."""
    if not check(path, WHAT):
        return False
    try:
        with path.open("rb") as file:
            first = file.readline(LONGEST_LINE)
    except OSError as error:
        raise unwritable(path, WHAT, error.strerror) from error
    if first and not _is_outcome(first):
        raise unwritable(path, WHAT, "it holds something else than outcomes, name another file")
    return bool(first)


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
    if _holds_outcomes(path):
        put_aside(path)
    return create(path, WHAT)
