"""The bad lines of an input, kept as they stood, so that they can be mended and loaded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

from cdp_orders_async.graph import InputLine
from cdp_orders_async.jobs.owned_file import check, create, holds, json_line, put_aside, unwritable, write_all
from cdp_orders_async.sources.jsonlines import LONGEST_LINE

__all__ = ["reasons_of", "rejected"]

REASONS = ".reasons.jsonl"
"""The ending of the name of the file with the reasons, beside the file of the bad lines."""
WHAT = "rejected lines"


@contextlib.contextmanager
def rejected(path: Path | None) -> Generator[Callable[[InputLine], None], None, None]:
    """Give a function that keeps a bad line in *path*, and its reasons beside it; without a path it does nothing.

    *path* holds the lines byte for byte, each ended by LF. ``PATH.reasons.jsonl`` has a JSON line for each: ``line``,
    its line in *path* (null for one that is too long to be kept), ``file``, ``number``, ``key`` and ``violations``.
    Both are readable by their owner only. They are opened with the first bad line; those of an earlier run are put
    aside then, as ``PATH.1`` and ``PATH.1.reasons.jsonl``. Raises `InputError` where a file cannot be written, or
    holds something else.
    """
    files: list[int] = []
    kept = 0
    if path is not None:
        _holds_rejects(path)

    def write(line: InputLine) -> None:
        nonlocal kept
        if path is None:
            return
        raw = None if line.raw is None else line.raw.open()
        if raw is not None and len(raw) > LONGEST_LINE:  # it was cut there
            raw = None
        reason = {
            "line": None if raw is None else kept + 1,
            "file": line.file,
            "number": line.number,
            "key": line.key,
            "violations": [{"field": wrong.field, "rule": wrong.rule} for wrong in line.violations],
        }
        try:
            if not files:
                _open(path, files)
            if raw is not None:
                write_all(files[0], raw + b"\n")
                kept += 1
            write_all(files[1], json_line(reason))
        except OSError as error:
            raise unwritable(path, WHAT, error.strerror) from error

    try:
        yield write
    finally:
        for number in files:
            os.close(number)


def reasons_of(path: Path) -> Path:
    """Return the file beside *path* that says what is wrong with each line."""
    return Path(f"{path}{REASONS}")


def _holds_rejects(path: Path) -> bool:
    """Tell whether *path* and the file of reasons hold rejected lines; raise `InputError` for something else."""
    if path.is_char_device():
        raise unwritable(path, WHAT, "it is not a regular file")
    has_lines = check(path, WHAT)
    has_reasons = holds(reasons_of(path), WHAT, lambda line: {"line", "number", "violations"} <= line.keys())
    if has_lines and not has_reasons:
        raise unwritable(path, WHAT, "it holds something else, name another file")
    return has_reasons


def _open(path: Path, files: list[int]) -> None:
    if _holds_rejects(path):
        put_aside(path, ("", REASONS))
    files.append(create(path, WHAT))
    files.append(create(reasons_of(path), WHAT))
