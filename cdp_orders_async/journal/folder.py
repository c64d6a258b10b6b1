"""The folder of the batch files beside a journal, for those who do not open it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["NAME", "batch_folder", "unfinished"]

ENDING: Final = ".batches"
NAME: Final = "batches.sqlite"
"""The file that says how far each batch file is."""


def batch_folder(journal: Path) -> Path:
    """Return the folder of the batch files of loads with this *journal*."""
    return journal.with_name(journal.name + ENDING)


def unfinished(journal: Path) -> int:
    """Return how many batch files of loads with this *journal* have no result yet; raise `JournalError`."""
    if not (batch_folder(journal) / NAME).exists():
        return 0
    from cdp_orders_async.journal.batches import BatchBook  # noqa: PLC0415 it loads sqlite3, which few programs need

    with BatchBook.opened(journal) as book:
        return len(book.open_files())
