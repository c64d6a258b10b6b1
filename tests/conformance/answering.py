"""One call to a server that answers with bytes of a test's choice, and what the call ends in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias
from uuid import UUID

from cdp_orders_async import CdpError, CdpOrders, Settings
from tests.calls import CONTACT, ITEM, ORDER, PAIRS, walked
from tests.servers import Cut, Reply, serving
from tests.ways import over

Call: TypeAlias = Callable[[CdpOrders], Awaitable[object]]

REF = UUID("2d7de9df-45a2-45ea-872c-30e45139007d")
HANG = 20
"""Seconds after which a call that should have ended long ago counts as one that never ends."""
ONCE = Settings(retries=0, trust_env=False, timeout=10, max_answer=2**20)

CALLS: Mapping[str, Call] = {
    "create": lambda cdp: cdp.orders.create(ORDER),
    "create a part": lambda cdp: cdp.items.create(REF, ITEM),
    "extend": lambda cdp: cdp.order_extensions.create(REF, PAIRS),
    "get": lambda cdp: cdp.orders.get(REF),
    "replace": lambda cdp: cdp.contacts.replace(REF, CONTACT),
    "update": lambda cdp: cdp.items.update(REF, {"quantity": 2}),
    "delete": lambda cdp: cdp.consumers.delete(REF),
    "delete fields": lambda cdp: cdp.item_extensions.delete_fields(REF, ["a"]),
    "list": lambda cdp: walked(cdp.items.list(REF)),
}
"""One call of each form."""
CREATES = frozenset(("create", "create a part", "extend"))


@asynccontextmanager
async def answering(raw: bytes, *, settings: Settings = ONCE, closes: bool = True) -> AsyncGenerator[CdpOrders, None]:
    """Give a client of a server that answers everything with *raw*, and then by default closes the connection."""
    reply = Reply(raw=raw)
    step = Cut("in the body", "close", reply) if closes else reply
    async with serving(step) as server, connected(server.url, settings) as cdp:
        yield cdp


@asynccontextmanager
async def listening(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[str, None]:
    """Give the base URL of a server that does *talk* with every connection."""
    streams: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams[asyncio.current_task()] = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for writer in streams.values():
            writer.transport.abort()
        if tasks := [task for task in streams if task is not None]:
            await asyncio.wait(tasks)


def connected(base_url: str, settings: Settings = ONCE) -> CdpOrders:
    """Return a client of a server."""
    return CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=over(settings))  # noqa: S106 it guards nothing


async def ended(call: Awaitable[object]) -> object:
    """Return what *call* ends in, which is its result or a `CdpError`; it must end."""
    async with asyncio.timeout(HANG):
        try:
            return await call
        except CdpError as error:
            return error


async def result(name: str, raw: bytes, *, settings: Settings = ONCE, closes: bool = True) -> object:
    """Return what a call to a server that answers with *raw* ends in."""
    async with answering(raw, settings=settings, closes=closes) as cdp:
        return await ended(CALLS[name](cdp))


def http(body: bytes, status: int = 200, *headers: str) -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} Some", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
