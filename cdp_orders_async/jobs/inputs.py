"""Find the input of a load again from its file of outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from cdp_orders_async.errors import InputError
from cdp_orders_async.jobs.run_file import RunOptions, RunRecord, read_run, run_path
from cdp_orders_async.kinds import Api
from cdp_orders_async.sources import GraphFiles, TableSource

__all__ = ["STANDARD_INPUT", "InputOptions", "options_of"]

STANDARD_INPUT = "standard input"
"""The file of an order from standard input, in its outcome."""


class InputOptions(Struct, frozen=True):
    """How the lines of an input are read."""

    api: Api
    timezone: str | None = None
    assign_references: bool = False
    sql: str | None = None
    """The SQL file that selects the orders in tables."""
    tables: tuple[str, ...] = ()
    """The tables that it reads, as they were named."""
    folder: str | None = None
    """The folder in which the load ran, if it is another one than this."""

    def files(self, names: Iterable[str]) -> GraphFiles:
        """Return the files with these *names*; raises `InputError` as `TableSource` does."""
        return TableSource(
            [name for name in names if name != self.sql],
            self.api,
            sql=self.sql,
            timezone=self.timezone,
            assign_references=self.assign_references,
        )

    def files_in(self, outcomes: Path, names: Iterable[str | None]) -> GraphFiles:
        """Return the files with the *names* in *outcomes*; raises `InputError` if they cannot be read again."""
        found = list(names)
        if not found:
            raise InputError(f"{outcomes} holds no orders: name the outcomes of a load")
        if None in found or STANDARD_INPUT in found:
            what = "from standard input" if STANDARD_INPUT in found else "from no file"
            raise InputError(f"an order in {outcomes} came {what}: name the file of the orders after the outcomes")
        try:
            return self.files([*(name for name in found if name is not None), *self.tables])
        except InputError as error:
            where = "" if self.folder is None else f"the load ran in the folder {self.folder}; "
            raise InputError(
                f"{error}: {where}if it was moved, name the file of the orders after the outcomes"
            ) from error


def options_of(
    outcomes: Path,
    api: Api,
    timezone: str | None,
    assign_references: bool,  # noqa: FBT001 as the load has them
    sql: str | None = None,
) -> InputOptions:
    """Return how the input of *outcomes* is read: as told, or else as the load read it that wrote them.

    The load says so in the record of its run, beside the outcomes.
    """
    run = read_run(run_path(outcomes))
    options = run.options if isinstance(run, RunRecord) else RunOptions()
    zone = options.timezone if timezone is None else timezone
    tables = () if options.sql is None else options.tables
    assign = assign_references or options.assign_references
    folder = run.folder if isinstance(run, RunRecord) and run.folder != str(Path.cwd()) else None
    return InputOptions(api, zone, assign, sql or options.sql, tables, folder)
