"""``cdp-orders retry``: load again only what an earlier load left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Display
from cdp_orders_async.cli.loading import Begin, Client, Job, LoadFlags, run_load
from cdp_orders_async.cli.options import Connection, Flag
from cdp_orders_async.cli.running import input_of, journal_place
from cdp_orders_async.sources import GraphFiles

__all__ = ["retry"]


def retry(  # noqa: D417 the options of a connection and of a load say themselves what they are
    file: Annotated[Path, Parameter(name="OUTCOMES")],
    /,
    *files: str,
    journal: str,
    connection: Connection | None = None,
    only: str = ",".join(jobs.RETRIED),
    timezone: str | None = None,
    assign_references: Flag = False,
    sql: str | None = None,
    flags: LoadFlags | None = None,
) -> int:
    """Load the orders again that OUTCOMES names as failed, unknown, conflict, partial or kept, and no others.

    Each is taken from its line in the input, or from the line that has its key if the input was edited. The
    journal knows what is loaded: the same command again does nothing. Signals and exit status as for load; 0 if no
    order is named.

    Example: cdp-orders retry outcomes.jsonl --region eu --journal orders.sqlite --outcomes retried.jsonl

    Parameters
    ----------
    file
        The file of outcomes that the load wrote.
    files
        The files of the orders, globs or folders; by default the files that OUTCOMES names.
    journal
        The journal of the load, an SQLite file.
    only
        The verdicts of the orders to load again, with commas; also not_tried, busy and invalid can be named.
    timezone
        The zone of times that do not say theirs; by default as the load was told.
    assign_references
        Give each item without a referenceId one made from its place; by default as the load was told.
    sql
        The SQL file that selects the orders in tables; by default as the load was told.

    """

    def prepare(client: Client, flags: LoadFlags) -> tuple[GraphFiles | None, Begin]:
        source = input_of(file, files, client, timezone, assign_references=assign_references, sql=sql)

        def begin(display: Display) -> tuple[jobs.JournalPlace, Job]:
            names, paths = ((), ()) if source is None else (source.names, source.paths)
            others = {**flags.files, "outcomes to load again": file}
            place = jobs.journal_path(files, names, journal_place(journal, display), display, others, paths)
            return place, lambda client, options: jobs.retry(
                client,
                file,
                source,
                journal=place,
                only=only.split(","),
                outcomes_to=flags.outcomes,
                timezone=timezone,
                assign_references=assign_references,
                **options,
            )

        return source, begin

    return run_load(connection, flags, prepare)
