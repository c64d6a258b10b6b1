"""Tiny servers on raw loopback sockets: they count what arrives, and fail at the phase they are told to."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Literal, TypeAlias

import attrs

from cdp_orders_async.emulator.app import stop_listening

Phase: TypeAlias = Literal["accepted", "head read", "body read", "done", "in the head", "in the body"]
PHASES: tuple[Phase, ...] = ("accepted", "head read", "body read", "done", "in the head", "in the body")
EFFECTIVE: frozenset[Phase] = frozenset(("done", "in the head", "in the body"))
"""The phases at which the request has had its effect already."""


@attrs.frozen
class Asked:
    """A request that arrived, at least its head."""

    method: str
    target: str
    headers: Mapping[str, str]
    """With names in lower case."""
    connection: int
    """Which connection it came on, from 1."""
    body: bytes = b""


@attrs.frozen
class Reply:
    """An answer, sent as it is."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    raw: bytes | None = None
    """All bytes of the answer, in place of the above."""

    @property
    def written(self) -> tuple[bytes, bytes]:
        """The head and the body as they go over the wire."""
        if self.raw is not None:
            return self.raw, b""
        fields = {"Content-Length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Some", *(f"{name}: {value}" for name, value in fields.items() if value)]
        return "\r\n".join([*lines, "", ""]).encode(), self.body


@attrs.frozen
class Cut:
    """A failure: which phase the connection reaches, and how it ends there."""

    phase: Phase
    action: Literal["close", "reset", "stall"] = "close"
    reply: Reply = Reply(body=b'{"some": "answer"}')
    """What is begun to be sent, for the phases inside of it."""


class Server:
    """Follows a plan, one step for each request, the last one for ever."""

    def __init__(self, plan: Iterable[Reply | Cut]) -> None:
        self._plan = list(plan) or [Reply()]
        self.url = ""
        self.connections = 0
        self.requests: list[Asked] = []
        """The requests whose head arrived."""
        self.ledger: list[Asked] = []
        """The requests that had an effect."""
        self.arrived = asyncio.Event()
        """Set when a stall begins, for a test that does something meanwhile."""
        self.streams: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Talk over one connection until it ends."""
        self.streams[asyncio.current_task()] = writer
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._talk(reader, writer, self.connections)
        writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            step = self._plan[0]
            if isinstance(step, Cut) and step.phase == "accepted":
                self._next()
                return await self._end(step, reader, writer)
            asked = await read_head(reader, connection)
            step = self._next()
            self.requests.append(asked)
            if isinstance(step, Cut) and step.phase == "head read":
                return await self._end(step, reader, writer)
            asked = attrs.evolve(asked, body=await read_body(reader, asked))
            if isinstance(step, Cut) and step.phase == "body read":
                return await self._end(step, reader, writer)
            self.ledger.append(asked)
            if isinstance(step, Cut):
                head, body = step.reply.written
                if step.phase != "done":
                    writer.write(head[:-4] if step.phase == "in the head" else head + body[:-1])
                    await writer.drain()
                return await self._end(step, reader, writer)
            writer.writelines(step.written)
            await writer.drain()

    def _next(self) -> Reply | Cut:
        return self._plan.pop(0) if len(self._plan) > 1 else self._plan[0]

    async def _end(self, cut: Cut, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if cut.action == "stall":
            self.arrived.set()
            await reader.read()
        elif cut.action == "reset":
            linger: socket.socket = writer.get_extra_info("socket")
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            writer.close()
            await writer.wait_closed()


class Proxy(Server):
    """An HTTP proxy: it tunnels on CONNECT, and answers other requests by itself."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            asked = await read_head(reader, connection)
            self.requests.append(attrs.evolve(asked, body=await read_body(reader, asked)))
            step = self._next()
            if asked.method == "CONNECT" and step == Reply():
                return await tunnel(asked.target, reader, writer)
            assert isinstance(step, Reply)
            writer.writelines(step.written)
            await writer.drain()


async def tunnel(target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Join a connection to *target*."""
    host, _, port = target.rpartition(":")
    far_reader, far_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
    async with asyncio.TaskGroup() as group:
        group.create_task(pump(reader, far_writer))
        group.create_task(pump(far_reader, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what arrives until it ends."""
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()


async def read_head(reader: asyncio.StreamReader, connection: int) -> Asked:
    """Read a request as far as the empty line."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    method, target, _ = first.split(" ")
    fields = (line.partition(":") for line in lines)
    return Asked(method, target, {name.lower(): value.strip() for name, _, value in fields}, connection)


async def read_body(reader: asyncio.StreamReader, asked: Asked) -> bytes:
    """Read the body that a head announces."""
    return await reader.readexactly(int(asked.headers.get("content-length", 0)))


@asynccontextmanager
async def serving(
    *plan: Reply | Cut, tls: ssl.SSLContext | None = None, kind: type[Server] = Server
) -> AsyncGenerator[Server, None]:
    """Run a server that follows *plan* while the context lasts."""
    server = kind(plan)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port: int = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        await stop_listening(listener)
        for writer in server.streams.values():
            writer.transport.abort()
        if tasks := [task for task in server.streams if task is not None]:
            await asyncio.wait(tasks)
