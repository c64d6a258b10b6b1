"""``cdp-orders load``: files of whole orders, exactly once in effect."""

from __future__ import annotations

import contextlib
import os
from typing import Annotated, Literal

from cyclopts import Parameter

from cdp_orders_async import jobs
from cdp_orders_async.cli.display import Display, kept_for_results
from cdp_orders_async.cli.loading import Begin, Client, Job, LoadFlags, run_load
from cdp_orders_async.cli.options import Connection, Flag, refuse
from cdp_orders_async.cli.running import journal_place
from cdp_orders_async.errors import InputError, Invalid, Violation
from cdp_orders_async.sources import GraphFiles, TableSource

__all__ = ["load"]


def load(  # noqa: D417 the options of a connection and of a load say themselves what they are
    *files: Annotated[str, Parameter(name="FILE", allow_leading_hyphen=True, required=True)],
    connection: Connection | None = None,
    journal: str | None = None,
    plan: str | None = None,
    timezone: str | None = None,
    assign_references: Flag = False,
    engine: Literal["rest", "batch", "ray"] = "rest",
    address: str | None = None,
    sql: str | None = None,
    flags: LoadFlags | None = None,
) -> int:
    """Load the orders of FILE...: each order, then its contact, consumers and items, then their extensions.

    FILE holds JSON lines, plain, gzip or zstd, or is - for standard input: orders with their parts nested, or the
    import records of the Batch API. Or it is a table: a Parquet or a CSV file, or a SQL file that selects orders.
    Several files, a glob in quotes, and a folder (its .jsonl, .ndjson, .csv, .tsv and .parquet files, also with .gz or
    .zst) are read one file after the other. The same command again resumes: what is loaded is skipped, what
    is unknown is looked up, what failed is tried again. The first Ctrl-C finishes what is in flight, the second stops
    at once. SIGUSR1 lowers the rate by a quarter, SIGUSR2 raises it. Exit status: 0 all is there as the input says, 1
    some order is not, 2 bad usage, input or server, 129, 130 or 143 stopped.

    Example: cdp-orders load orders.jsonl.gz --region eu --rate 50 --journal orders.sqlite --outcomes outcomes.jsonl

    Parameters
    ----------
    files
        The files of orders, or - for standard input.
    journal
        The SQLite file that remembers what is done; made where it is missing. By default FILE.journal.sqlite beside
        the one file or the one folder; several files need it. Or postgresql://USER@HOST/DATABASE, a database that
        several processes share: it needs cdp-orders-async[postgres]. The password belongs into PGPASSWORD or ~/.pgpass.
    plan
        The hash that cdp-orders plan gave; another input is refused before anything is sent.
    timezone
        The zone of times that do not say theirs, for instance Europe/Dublin; without it their orders are refused.
    assign_references
        Give each item without a referenceId one made from its place: ORDER#1, ORDER#2 and so on.
    sql
        A SQL file that selects whole orders from the tables among FILE: Parquet and CSV files. Each is a table, named
        by the beginning of its name, and all of them are the table input. It needs the extra tables.
    engine
        How to send: rest makes a request for each part; batch uploads files to the vendor's Batch API, for many orders;
        ray sends the requests from the processes of a Ray cluster, with one rate and one journal for all. It needs the
        extra ray and --rate.
    address
        With --engine ray, the address of the cluster, whose machines have the credentials in CDP_CLIENT_KEY and
        CDP_API_TOKEN; auto is the cluster of this machine. Without it, one is started on this machine.

    """
    if unknown := [name for name in files if name.startswith("--")]:
        return refuse(f"Unknown option: {unknown[0]}; see cdp-orders load --help", unsent=True)

    connection = connection or Connection()

    def prepare(client: Client, flags: LoadFlags) -> tuple[GraphFiles, Begin]:
        if address is not None and engine != "ray":
            raise Invalid((Violation("address", "can only be given with --engine ray"),))
        if engine == "ray" and address is None:  # the processes on this machine inherit them
            os.environ.update(connection.variables)
        source = TableSource(files, client.api, timezone=timezone, assign_references=assign_references, sql=sql)

        def begin(display: Display) -> tuple[jobs.JournalPlace, Job]:
            place = None if journal is None else journal_place(journal, display)
            path = jobs.journal_path(files, source.names, place, display, flags.files, source.paths)

            async def job(client: Client, options: jobs.LoadOptions) -> jobs.Report:
                with kept_for_results() if engine == "ray" else contextlib.nullcontext():
                    return await jobs.load(
                        client,
                        source,
                        journal=path,
                        outcomes=flags.outcomes,
                        plan=plan,
                        engine=_engine(engine, address, display),
                        **options,
                    )

            return path, job

        return source, begin

    return run_load(connection, flags, prepare)


def _engine(name: str, address: str | None, display: Display) -> jobs.Engine | None:
    """Return the engine with this name; None for the requests of this process. Raise `InputError` for no extra."""
    # Few loads need them, and they load much.
    if name == "batch":
        from cdp_orders_async.engines.batch import BatchEngine  # noqa: PLC0415

        return BatchEngine(on_event=display)
    if name == "ray":
        try:
            from cdp_orders_async.engines.ray_load import RayEngine  # noqa: PLC0415
        except ImportError as error:
            raise InputError(str(error)) from None
        return RayEngine(address=address)
    return None
