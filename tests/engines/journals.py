"""A journal that several processes share: the test serves it, and workers reach it over a socket."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias
from uuid import UUID

from cdp_orders_async.journal import Busy, Claimed, CreatedPart, OrderId, RecordedOrder
from tests.journal.shared import SharedDatabase

__all__ = ["RemoteJournal", "shared_journal"]

Call: TypeAlias = tuple[str, tuple[object, ...], dict[str, object]]
"""A method and its arguments."""
LENGTH = 8


async def _receive(reader: asyncio.StreamReader) -> Any:  # noqa: ANN401 what was sent
    size = int.from_bytes(await reader.readexactly(LENGTH))
    return pickle.loads(await reader.readexactly(size))  # noqa: S301 from this test's own processes


def _send(writer: asyncio.StreamWriter, value: object) -> None:
    data = pickle.dumps(value)
    writer.write(len(data).to_bytes(LENGTH) + data)


@asynccontextmanager
async def shared_journal(database: SharedDatabase) -> AsyncIterator[int]:
    """Serve the journals of *database*, and give the port; a worker whose connection ends is taken for killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        journal = database.connect()
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                result: object = None
                for method, given, named in await _receive(reader):
                    result = getattr(journal, method)(*given, **named)
                    if asyncio.iscoroutine(result):
                        result = await result
                _send(writer, result)
                await writer.drain()
        journal.kill()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class RemoteJournal:
    """The journal of one worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._queue: list[Call] = []
        self._lock = asyncio.Lock()
        self.lease: float | None = None

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: int) -> AsyncIterator[RemoteJournal]:
        """Connect to the journal at *port*."""
        journal = cls(*await asyncio.open_connection("127.0.0.1", port))
        journal.lease = await journal._call("__getattribute__", "lease")
        try:
            yield journal
        finally:
            await journal.aclose()

    async def _call(self, method: str, *given: object, **named: object) -> Any:  # noqa: ANN401 what it returns
        call = asyncio.ensure_future(self._exchange((method, given, named)))
        return await asyncio.shield(call)  # who is cancelled must not leave an answer behind

    async def _exchange(self, call: Call) -> Any:  # noqa: ANN401 what it returns
        async with self._lock:
            queue, self._queue = [*self._queue, call], []
            _send(self._writer, queue)
            return await _receive(self._reader)

    def _put(self, method: str, *given: object, **named: object) -> None:
        self._queue.append((method, given, named))

    def check(self, identity: Mapping[str, str]) -> None:
        """Accept every tenant."""

    async def claim(self, order: OrderId, digest: bytes, *, run: bytes = b"", number: int = 0) -> Claimed | Busy:
        """Claim an order."""
        result: Claimed | Busy = await self._call("claim", order, digest, run=run, number=number)
        return result

    async def renew(self, keys: Sequence[str]) -> set[str]:
        """Renew claims."""
        lost: set[str] = await self._call("renew", [*keys])
        return lost

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, *, created: bool = False) -> None:
        """Queue a record."""
        self._put("record", graph, part, digest, ref, created=created)

    def forget(self, graph: str, part: str) -> None:
        """Queue the end of a record."""
        self._put("forget", graph, part)

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Queue other names."""
        self._put("rename", graph, dict(parts))

    async def end(self, graph: str, *, complete: bool) -> None:
        """End an order."""
        await self._call("end", graph, complete=complete)

    def release(self, graph: str) -> None:
        """Queue the end of a claim."""
        self._put("release", graph)

    async def owner(self, ref: UUID) -> str | None:
        """Return the order of a reference."""
        key: str | None = await self._call("owner", ref)
        return key

    def created(self) -> AsyncIterator[CreatedPart]:
        """No load asks for it."""
        raise NotImplementedError

    def orders(self) -> AsyncIterator[RecordedOrder]:
        """No load asks for it."""
        raise NotImplementedError

    async def known(self, limit: int) -> Sequence[tuple[str, UUID]]:
        """Return the newest orders."""
        known: Sequence[tuple[str, UUID]] = await self._call("known", limit)
        return known

    async def aclose(self) -> None:
        """Close the connection."""
        await self._call("aclose")
        self._writer.close()
