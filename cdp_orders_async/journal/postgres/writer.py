"""The queue of a journal in Postgres: its operations are written in batches, and again if the connection breaks."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from asyncpg import Connection

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.postgres.address import PostgresAddress
from cdp_orders_async.journal.postgres.connection import (
    connect,
    disconnect,
    explain,
    is_passing,
    warn_of_settings,
)
from cdp_orders_async.journal.postgres.operations import Claim, Operation, Owner, Read, Renew
from cdp_orders_async.journal.postgres.schema import open_tables
from cdp_orders_async.journal.postgres.tables import Batch, Tables

__all__ = ["Writer"]

MOST_LOCKS: Final = 50
"""The most orders of one transaction: each needs a lock, and a database has room for some thousand locks."""
MOST_OPERATIONS: Final = 2_000
"""The most operations of one transaction."""
FIRST_PAUSE: Final = 0.05
LAST_PAUSE: Final = 2.0
"""Seconds between two attempts to reach the database; the pauses double."""
CLOSE_SECONDS: Final = 5.0
"""The most seconds that a journal tries to write when it is closed."""


class Writer:
    """Writes the operations of one worker, over one connection at a time; `open` connects it."""

    def __init__(self, address: PostgresAddress, tables: Tables, connection: Connection, retry_for: float) -> None:
        """Start with nothing to write."""
        self.tables = tables
        self.queue: deque[Operation] = deque()
        self.commits = 0
        self.on_claim: Callable[[Claim], None] = lambda _: None
        """Gets each claim that is granted to a caller who still waits for it."""
        self._address = address
        self._connection: Connection | None = connection
        self._retry_for = retry_for
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._stop_at = math.inf
        """The time of the loop after which nothing is tried again."""
        self._attempt: asyncio.Timeout | None = None
        self._failure: JournalError | None = None
        """The last failure, if nothing was written since."""
        self._failure_told = False

    @classmethod
    async def open(
        cls, address: PostgresAddress, identity: Mapping[str, str] | None, lease: float, retry_for: float
    ) -> tuple[Self, Mapping[str, str], bool]:
        """Connect, and make the tables if they are missing; return also the identity, and whether there are no records.

        *lease*, seconds that a claim lasts; *retry_for*, seconds for which a lost connection is made again. Raises
        `JournalError`.
        """
        connection: Connection | None = None
        try:
            connection = await connect(address)
            async with connection.transaction():
                tenant = await open_tables(connection, address, identity)
            await warn_of_settings(connection, address)
            tables = Tables(address.schema, tenant.number, lease)
            is_empty = await tables.is_empty(connection)
        except BaseException as error:
            if connection is not None:
                connection.terminate()
            if isinstance(error, Exception):
                raise JournalError(explain(address, error)) from None
            raise
        return cls(address, tables, connection, retry_for), tenant.identity, is_empty

    def put(self, operation: Operation, *, urgent: bool = False) -> None:
        """Queue an *operation*; one that is *urgent* is written now, with all others before it."""
        self.queue.append(operation)
        if urgent:
            self._wake()

    async def ask(self, operation: Operation) -> Any:  # noqa: ANN401 the result of any operation
        """Do an *operation*, and all others before it; return its result. Raises `JournalError` if that fails."""
        operation.answer = self._loop.create_future()
        self.put(operation, urgent=True)
        result = await operation.answer
        if isinstance(result, JournalError):
            raise JournalError(*result.args)  # a new one for each caller
        return result

    def close(self) -> asyncio.Task[None]:
        """Write everything and disconnect; return the task that does it. The second call returns the same task."""
        if self._closer is None:
            self._stop_at = self._loop.time() + min(CLOSE_SECONDS, self._retry_for)
            if self._attempt is not None:
                with contextlib.suppress(RuntimeError):  # it has just ended
                    self._attempt.reschedule(self._stop_at)
            self._closer = self._loop.create_task(self._close())
        return self._closer

    def untold(self) -> JournalError | None:
        """Return the failure because of which something is not written, once, if no caller was told."""
        failure = None if self._failure_told else self._failure
        self._failure_told = True
        return failure

    async def _close(self) -> None:
        if self.queue:
            self._wake()
        while self._task is not None and not self._task.done():
            await asyncio.wait({self._task})
        if self._connection is not None:
            await disconnect(self._connection)
            self._connection = None

    def _wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._write())

    async def _write(self) -> None:
        """Write until the queue is empty, or until the database fails."""
        while self.queue:
            batch = Batch(self._take())
            try:
                await self._do(batch)
            except JournalError as error:
                self._fail(batch, error)
                return
            self.commits += 1
            self._failure, self._failure_told = None, False
            for operation in batch.operations:
                if operation.answer is not None and not operation.answer.done():  # its caller may have been cancelled
                    if isinstance(operation, Claim):
                        self.on_claim(operation)
                    operation.answer.set_result(operation.result)

    def _take(self) -> list[Operation]:
        """Take the operations of the next batch from the queue."""
        taken: list[Operation] = []
        names: set[bytes] = set()
        while self.queue and len(taken) < MOST_OPERATIONS:
            names.update(self.queue[0].references)
            if taken and len(names) > MOST_LOCKS:
                break
            taken.append(self.queue.popleft())
        return taken

    async def _do(self, batch: Batch) -> None:
        """Do a *batch*; raise `JournalError` if the database fails, or cannot be reached for too long."""
        give_up, pause = self._loop.time() + self._retry_for, FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout_at(self._stop_at if self._stop_at < math.inf else None) as self._attempt:
                    return await self._try(batch)
            except Exception as error:  # noqa: BLE001 the callers that wait must get it
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                now = self._loop.time()
                if not is_passing(error) or now + pause > min(give_up, self._stop_at):
                    raise JournalError(explain(self._address, error)) from None
            finally:
                self._attempt = None
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 it keeps workers apart
            pause = min(2 * pause, LAST_PAUSE)

    async def _try(self, batch: Batch) -> None:
        if self._connection is None:
            self._connection = await connect(self._address)
        if batch.transaction is not None:  # its end was asked for, and the answer was lost
            if (is_done := await self.tables.is_done(self._connection, batch)) is None:
                raise TimeoutError
            if is_done:
                return
        for operation in batch.operations:
            if isinstance(operation, Claim):
                operation.maybe_done = True
        await self.tables.do(self._connection, batch)

    def _fail(self, batch: Batch, error: JournalError) -> None:
        """Tell all callers that wait about an *error*. Keep what they noted: it is written with the next call."""
        operations = [*batch.operations, *self.queue]
        self.queue.clear()
        self._failure, self._failure_told = error, False
        for operation in operations:
            if operation.answer is not None and not operation.answer.done():
                operation.answer.set_result(error)
                self._failure_told = True
            operation.answer = None
            if not isinstance(operation, (Claim, Renew, Owner, Read)):
                self.queue.append(operation)
