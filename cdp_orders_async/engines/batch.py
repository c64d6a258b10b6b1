"""The vendor's Batch API as an engine: the same input, outcomes and journal, in files in place of requests.

Source: https://doc.sitecore.com/cdp/en/developers/api/walkthrough--uploading-a-batch-file.html
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from uuid import UUID

import attrs

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.engines.batch_cutting import BatchOptions
from cdp_orders_async.engines.batch_load import BatchLoad
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.graph import InputLine
from cdp_orders_async.jobs.events import Message, OnEvent, ignore
from cdp_orders_async.jobs.journal import JournalPlace
from cdp_orders_async.journal import PostgresJournal, SqliteJournal
from cdp_orders_async.journal.batches import BatchBook

__all__ = ["BatchEngine"]

LARGEST = 50_000_000
"""The bytes of a batch file: the vendor takes at most 50 MB."""


@attrs.frozen(kw_only=True)
class BatchEngine:
    """Load over the Batch API: ``jobs.load(client, source, journal=path, engine=BatchEngine())``.

    The input is cut into gzip files, in a folder beside the journal. Each is uploaded, and once the server has
    processed it, its error log says which orders were refused. The same load again goes on with the files that have no
    result.

    Parameters: *most_bytes* and *most_orders*, the largest file; *open_files*, how many files may be without a result
    at once; *first_poll* and *longest_poll*, the seconds between two looks at the status of a batch, which grow;
    *settle*, the seconds after an upload with a lost answer in which the status may lag; *on_event*, which is told what
    happens; *new_ref*, which makes the UUID of a batch; *clock*, in seconds.
    """

    name: str = attrs.field(default="batch", init=False)
    takes: frozenset[str] = attrs.field(default=frozenset[str](), init=False)
    most_bytes: int = LARGEST
    most_orders: int = 50_000
    open_files: int = 4
    first_poll: float = 1.0
    longest_poll: float = 30.0
    settle: float = 60.0
    on_event: OnEvent = ignore
    new_ref: Callable[[], UUID] = uuid.uuid4
    clock: Callable[[], float] = time.monotonic

    @contextlib.asynccontextmanager
    async def __call__(
        self,
        client: CdpOrders | CdpOrdersV2,
        lines: AsyncGenerator[InputLine, None],
        records: SqliteJournal | PostgresJournal,
        journal: JournalPlace,
        drain: float,
        **_: object,
    ) -> AsyncGenerator[BatchLoad, None]:
        """Load the *lines* over *client*; ``async with`` gives the load.

        Parameters: *records*, the open journal, whose file is *journal*; *drain*, the seconds that uploads and results
        get when the block is left early. Raises `JournalError` for batch files that cannot be kept, and `Invalid` for a
        journal that is not a file.
        """
        if not isinstance(records, SqliteJournal) or not isinstance(journal, Path):
            rule = "must be a file with engine=batch, which keeps its batch files beside it"
            raise Invalid((Violation("journal", rule),))
        options = BatchOptions(
            most_bytes=self.most_bytes,
            most_orders=self.most_orders,
            open_files=self.open_files,
            first_poll=self.first_poll,
            longest_poll=self.longest_poll,
            settle=self.settle,
            tell=lambda text: self.on_event(Message(text)),
            new_ref=self.new_ref,
            clock=self.clock,
        )
        with BatchBook.opened(journal) as book:
            load = BatchLoad(client, lines, records, book, options, drain)
            load.start()
            try:
                yield load
            finally:
                await load.aclose()
