"""The batch file that is being written, and the options of a load that writes such files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import IO
from uuid import UUID

import attrs
from msgspec import Struct

from cdp_orders_async.engines.batch_packing import Packer, record_ref
from cdp_orders_async.graph import OrderGraph, import_record
from cdp_orders_async.journal import OrderId
from cdp_orders_async.journal.batches import BatchBook, BatchFile, BatchOrder
from cdp_orders_async.redact import Opaque

__all__ = ["BatchOptions", "Cutting", "Ready"]


@attrs.frozen(kw_only=True)
class BatchOptions:
    """How a load over the Batch API cuts its files, and how long it waits; `BatchEngine` says what each means."""

    most_bytes: int
    most_orders: int
    open_files: int
    first_poll: float
    longest_poll: float
    settle: float
    tell: Callable[[str], None]
    new_ref: Callable[[], UUID]
    clock: Callable[[], float]


class Ready(Struct, frozen=True):
    """A line that may be sent."""

    file: str | None
    number: int
    graph: Opaque[OrderGraph]
    order: OrderId
    digest: bytes


class Cutting:
    """The batch file that is being written."""

    def __init__(self, book: BatchBook, options: BatchOptions) -> None:
        self.id = book.next_id()
        self.orders: list[BatchOrder] = []
        self._book = book
        self._options = options
        self._packer = Packer(options.most_bytes, options.most_orders)
        self._path = book.path(self.id).with_suffix(".gz.new")
        self._file: IO[bytes] = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")

    def add(self, ready: Ready) -> bool:
        """Add an order; return False if it does not fit."""
        n = len(self.orders)
        record = import_record(ready.graph.open(), str(record_ref(self._book.id, self.id, n)))
        if not self._packer.has_room(record):
            return False
        self._file.write(self._packer.add(record))
        self.orders.append(BatchOrder(n, ready.file, ready.number, ready.order.key, ready.digest))
        return True

    def finish(self) -> BatchFile:
        """Complete the file on disk, and note it in the book."""
        self._file.write(self._packer.finish())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.replace(self._book.path(self.id))
        ref, packer = str(self._options.new_ref()), self._packer
        file = BatchFile(self.id, ref, "cut", packer.checksum, packer.size, packer.records)
        self._book.add(file, self.orders)
        return file

    def discard(self) -> None:
        """Delete the file; if it cannot be deleted, the next load does it."""
        with contextlib.suppress(OSError):  # such as a full disk, for bytes that nobody needs
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
