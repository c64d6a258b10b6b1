"""The file of outcomes: one line for each order of a run; it never takes the place of anything else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeAlias

from cdp_orders_async.errors import InputError
from cdp_orders_async.ingest import Outcome, Verdict
from cdp_orders_async.jobs.owned_file import create, holds, json_line, put_aside, unwritable, write_all
from cdp_orders_async.jobs.recorded import Recorded, read
from cdp_orders_async.jobs.run_file import ENDING, check_run, run_path, write_run

__all__ = ["Recorded", "read", "written"]

VERDICTS = frozenset(map(str, Verdict))
WHAT = "outcomes"


Record: TypeAlias = Callable[[], dict[str, object]]
"""Gives the record of a run as it is now."""


@contextlib.contextmanager
def written(
    path: Path | None, run: str | None = None, record: Record | None = None
) -> Generator[Callable[[Outcome], None], None, None]:
    """Give a function that writes outcomes to *path*, readable by its owner only; without a path it does nothing.

    Each line has the id of the *run*. The *record* of the run is written to ``PATH.run.json`` beside it, with the
    first outcome and again at the end. Both files are opened with the first outcome. Those of an earlier run are put
    aside then, as ``PATH.1`` and ``PATH.1.run.json`` or with the first number that is free. Raises `InputError` where
    a file cannot be written, or holds something else.
    """
    if path is None:
        yield _ignore
        return
    _holds_outcomes(path)
    beside = None if record is None or path.is_char_device() else run_path(path)
    if beside is not None:
        check_run(beside)
    file = _OutcomesFile(path, {} if run is None else {"run": run}, beside, record)
    try:
        yield file.write
    except BaseException:
        with contextlib.suppress(InputError):  # the first error is the one to tell
            file.close()
        raise
    file.close()


def _ignore(_: Outcome) -> None:
    """Write nothing."""


class _OutcomesFile:
    """The file at *path*, each line of which has what *named* says; the *record* of the run goes *beside* it."""

    def __init__(self, path: Path, named: dict[str, str], beside: Path | None, record: Record | None) -> None:
        self._path = path
        self._named = named
        self._beside = beside
        self._record = record
        self._number: int | None = None

    def write(self, outcome: Outcome) -> None:
        """Write one *outcome*."""
        line = json_line({**outcome.to_json(), **self._named})
        try:
            if self._number is None:
                self._number = _opened(self._path)
                self._write_record()
            write_all(self._number, line)
        except OSError as error:
            raise unwritable(self._path, WHAT, error.strerror) from error

    def close(self) -> None:
        """Close the file, if it was opened, and write the record of the run as it is now."""
        if self._number is not None:
            os.close(self._number)
            self._write_record()

    def _write_record(self) -> None:
        if self._beside is not None and self._record is not None:
            write_run(self._beside, self._record())


def _holds_outcomes(path: Path) -> bool:
    """Tell whether *path* holds outcomes; raise `InputError` for a file of something else."""
    return holds(path, WHAT, lambda line: isinstance(line.get("number"), int) and str(line.get("verdict")) in VERDICTS)


def _opened(path: Path) -> int:
    """Open *path* for the outcomes of this run alone."""
    if _holds_outcomes(path) or os.path.lexists(run_path(path)):
        put_aside(path, ("", ENDING))
    return create(path, WHAT)
