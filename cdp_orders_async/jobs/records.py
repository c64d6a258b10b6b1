"""What a journal knows, for a person: a summary, its orders, and how to forget one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import attrs

from cdp_orders_async.errors import InputError
from cdp_orders_async.jobs.given import GivenJournal, journal_given
from cdp_orders_async.jobs.journal import JournalPlace, check_batches, open_journal
from cdp_orders_async.journal import Busy, OrderId, PostgresJournal, RecordedOrder, SqliteJournal
from cdp_orders_async.redact import sealed

__all__ = ["JournalReport", "forget_order", "journal_orders", "journal_report"]

RUN = 8  # bytes that tell one load from others; what follows tells the files of one load
SUFFIXES = ("", "-wal", "-shm")


@attrs.define
class JournalReport:
    """A summary of a journal."""

    identity: Mapping[str, str]
    """What it belongs to."""
    size: int
    """Bytes on disk."""
    orders: int = 0
    """Orders of which anything is recorded."""
    complete: int = 0
    """Orders that are on the server with every part."""
    incomplete: int = 0
    """Orders that ended without some part."""
    empty: int = 0
    """Orders of which nothing is on the server: they were undone or forgotten, or no part of them was ever created."""
    under_way: int = 0
    """Orders whose load stopped in the middle, or still runs."""
    parts: int = 0
    """Parts that are on the server."""
    created: int = 0
    """Those that loads with this journal created: an undo deletes them."""
    in_doubt: int = 0
    """Parts that may be on the server."""
    without_ref: int = 0
    """Complete orders whose references are not known, because the Batch API loaded them: an undo keeps them."""
    runs: int = 0
    """Loads that were the last ones to claim some order."""

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON data."""
        return {**attrs.asdict(self), "identity": dict(self.identity)}


@sealed
async def journal_report(place: GivenJournal) -> JournalReport:
    """Return a summary of the journal at *place*; raises `JournalError` for one that cannot be read or is in use."""
    place = journal_given(place)
    runs: set[bytes] = set()
    async with await open_journal(place, None) as journal:
        report = JournalReport(journal.identity, await _size(place, journal))
        async for order in journal.orders():
            if not _is_known(order):
                report.empty += 1
                continue
            record = order.record
            report.orders += 1
            report.complete += record.complete
            report.under_way += not record.ended
            report.incomplete += record.ended and not record.complete
            report.parts += sum(part.ref is not None for part in record.parts.values())
            without_ref = sum(part.ref is None for part in record.parts.values())
            if record.complete:  # the Batch API loaded it
                report.without_ref += bool(without_ref)
            else:
                report.in_doubt += without_ref
            report.created += len(order.created)
            runs.add(record.run[:RUN])
    report.runs = len(runs - {b""})
    return report


@sealed
async def journal_orders(place: GivenJournal) -> AsyncGenerator[Mapping[str, object], None]:
    """Yield each order of the journal at *place* as JSON data: ``key``, ``complete``, and ``refs`` by part.

    A part whose reference is null may be on the server. Raises `JournalError` for a journal that cannot be read.
    """
    async with await open_journal(journal_given(place), None) as journal:
        async for order in journal.orders():
            if _is_known(order):
                parts = order.record.parts.items()
                refs = {name: None if part.ref is None else str(part.ref) for name, part in parts}
                yield {"key": order.key, "complete": order.record.complete, "refs": refs}


@sealed
async def forget_order(place: GivenJournal, key: str) -> int:
    """Drop all that the journal at *place* knows of the order *key*; return the number of its parts.

    The next load with that journal must look first, or it creates the order again. Raises `InputError` for an order
    that the journal does not know, and `JournalError` for a journal that cannot be written or is in use.
    """
    place = journal_given(place)
    check_batches(place)
    async with await open_journal(place, None) as journal:
        record, known = None, OrderId.parse(key)
        async for order in journal.orders():
            if known is not None and order.key == known.key and _is_known(order):
                record = order.record
        if record is None or known is None:
            raise InputError(f"the journal {place} knows no order {key}: journal export lists its orders")
        if isinstance(await journal.claim(known, b""), Busy):
            raise InputError(f"the order {key} is being loaded: try again when the load has ended")
        journal.rename(known.key, dict.fromkeys(record.parts))
        await journal.end(known.key, complete=False)
        return len(record.parts)


def _is_known(order: RecordedOrder) -> bool:
    """Tell whether anything is known of an order: nothing is, once it was undone or forgotten."""
    return bool(order.record.parts) or not order.record.ended


async def _size(place: JournalPlace, journal: SqliteJournal | PostgresJournal) -> int:
    if isinstance(journal, PostgresJournal):
        return await journal.size()
    path = Path(str(place))
    files = [Path(f"{path}{suffix}") for suffix in SUFFIXES]
    return sum(file.stat().st_size for file in files if file.exists())
