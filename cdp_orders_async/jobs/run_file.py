"""The record of a run beside its file of outcomes: what was loaded, with which options, and the counts."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from cdp_orders_async.jobs.owned_file import create, holds, json_line, unwritable, write_all

__all__ = ["ENDING", "check_run", "run_path", "write_run"]

ENDING = ".run.json"
"""The ending of the name, after that of the file of outcomes."""
WHAT = "record of the run"
NEW = ".new"


def run_path(outcomes: Path) -> Path:
    """Return where the record is, beside the file *outcomes*."""
    return outcomes.with_name(outcomes.name + ENDING)


def check_run(path: Path) -> None:
    """Raise `InputError` unless a record can be written to *path*, where only an earlier record may be."""
    holds(path, WHAT, lambda record: isinstance(record.get("run"), str) and "counts" in record)


def write_run(path: Path, record: dict[str, object]) -> None:
    """Write the *record* to *path*, readable by its owner only; whoever reads meanwhile finds the old one or the new.

    Raises `InputError` where it cannot be written.
    """
    new = path.with_name(path.name + NEW)
    try:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()  # a crash left it
        number = create(new, WHAT)
        try:
            write_all(number, json_line(record))
        finally:
            os.close(number)
        new.replace(path)
    except OSError as error:
        raise unwritable(path, WHAT, error.strerror) from error
