"""The record of a run beside its file of outcomes: what was loaded, with which options, and the counts."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Struct

from cdp_orders_async.errors import shown
from cdp_orders_async.jobs.owned_file import create, holds, json_line, unwritable, write_all
from cdp_orders_async.jobs.regular_file import open_regular
from cdp_orders_async.jobs.series import Count, Course, Number

__all__ = ["ENDING", "RunFile", "RunOptions", "RunRecord", "check_run", "read_run", "run_path", "write_run"]

ENDING = ".run.json"
"""The ending of the name, after that of the file of outcomes."""
WHAT = "record of the run"
NEW = ".new"
LARGEST = 2**24
"""The bytes of the largest record that is read."""
LONGEST_RULE = 200
"""The characters that are told of the rule that a record breaks."""


def run_path(outcomes: Path) -> Path:
    """Return where the record is, beside the file *outcomes*."""
    return Path(f"{outcomes}{ENDING}")


def check_run(path: Path) -> None:
    """Raise `InputError` unless a record can be written to *path*, where only an earlier record may be."""
    holds(path, WHAT, lambda record: isinstance(record.get("run"), str) and "counts" in record)


def write_run(path: Path, record: dict[str, object]) -> None:
    """Write the *record* to *path*, readable by its owner only; whoever reads meanwhile finds the old one or the new.

    Raises `InputError` where it cannot be written.
    """
    new = Path(f"{path}{NEW}")
    try:
        new.unlink(missing_ok=True)  # a crash left it
        number = create(new, WHAT)
        try:
            write_all(number, json_line(record))
        finally:
            os.close(number)
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)  # a part of it, which a full disk left
        raise unwritable(path, WHAT, error.strerror) from error


class RunFile(Struct, frozen=True):
    """One file of the input of a run."""

    name: str
    bytes: Annotated[int, msgspec.Meta(ge=0, le=10**18)] | None = None


class RunOptions(Struct, frozen=True, kw_only=True):
    """The options of a load that its record keeps."""

    base_url: str | None = None
    api: str | None = None
    journal: str | None = None
    timezone: str | None = None
    assign_references: bool = False
    sql: str | None = None
    tables: tuple[str, ...] = ()
    look_first: bool = False
    on_existing: str | None = None
    settle: float | None = None


class RunRecord(Struct, frozen=True, kw_only=True):
    """The record of a run, as far as a report needs it."""

    run: str = ""
    started: str | None = None
    ended: str | None = None
    files: tuple[RunFile, ...] = ()
    hash: str | None = None
    options: RunOptions = RunOptions()
    counts: dict[str, Count] = {}
    parts_created: Count = 0
    requests: Count = 0
    seconds: Number | None = None
    stopped_by: Count | None = None
    error: str | None = None
    folder: str | None = None
    """The folder in which the command ran, from which the names of files count."""
    identity: dict[str, str] = {}
    """The server and the tenant."""
    rate: float | str | None = None
    """Requests a second that were asked for, ``auto`` or ``none``; None: not known."""
    limits: tuple[str, ...] = ()
    """What was known of the limits of the server at the end."""
    course: Course = Course()

    @property
    def server(self) -> tuple[tuple[str, str], ...]:
        """The server and the tenant, to be compared."""
        known = self.identity or {"base URL": str(self.options.base_url)}
        return tuple(sorted(known.items()))

    @property
    def server_words(self) -> str:
        """The server and the tenant, for a person."""
        return ", ".join(value if name == "base URL" else f"{name} {value}" for name, value in self.server)


_DECODE = msgspec.json.Decoder(RunRecord).decode


def read_run(path: Path) -> RunRecord | str:
    """Return the record of a run at *path*; where there is none, the sentence that says why."""
    try:
        with open_regular(path) as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        return f"the {WHAT} cannot be read from {path}: {error.strerror}"
    if len(data) > LARGEST:
        return f"{path} is not the {WHAT}: it is larger than {LARGEST:,} bytes"
    try:
        return _DECODE(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"{path} is not the {WHAT}: {shown(str(error), LONGEST_RULE)}"
