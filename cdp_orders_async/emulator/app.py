"""The sockets of the emulator: aiohttp, on 127.0.0.1 by default, and the faults of connections."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, TypeAlias

import attrs
from aiohttp import HttpVersion11, web
from aiohttp.http import HttpProcessingError

from cdp_orders_async.emulator.access import HOST, Access, address, in_url
from cdp_orders_async.emulator.faults import Fault
from cdp_orders_async.emulator.limits import Fate
from cdp_orders_async.emulator.operations import Reply
from cdp_orders_async.emulator.pages import Pages
from cdp_orders_async.emulator.responses import HUNG_UP, hang_up, phrase, respond, send, written
from cdp_orders_async.emulator.service import Asked, Emulator, Endpoint, refusal

__all__ = ["running", "serve", "stop_listening"]

BACKLOG = 1024
HEADERS_MAX = 64
LINE_MAX = 8190
"""Bytes of the first line, and of each header."""
MOST_CONNECTIONS = 2_000
OTHER_FILES = 24
"""Open files that are not connections, such as the storage and the event loop."""
HEAD_SECONDS = 75
"""The longest time of a connection without the head of a request."""
BODY_SECONDS = 30
LINGERING_SECONDS = 2.0
"""Seconds in which the unneeded rest of a body is read, so that its sender reads the answer."""
DRIP_STEPS = 20
LOST_SECONDS = 3600.0
"""The longest wait for an answer that never comes."""
TOO_MANY = 429
STOP_SECONDS = 0.1
"""Seconds that requests in flight get to end when the server stops; an answer is one step, so none needs them."""
LOCAL = {"0.0.0.0": HOST, "::": "::1"}  # noqa: S104 names of all addresses
"""The address of this machine in the base URL of a server that listens on all addresses."""
UNREADABLE = f"400: the request is not HTTP, or its first line or a header is longer than {LINE_MAX:,} bytes.\n"
NOTE = web.RequestKey("note", str)
"""The reason of an answer that the operation did not make."""
SENT = web.RequestKey("sent", int)
"""The status of a whole answer that was written without aiohttp."""
Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
logger = logging.getLogger("cdp_orders_async.emulator")
PROXY_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr></body></html>"


@asynccontextmanager
async def running(
    emulator: Emulator | None = None, *, host: str = HOST, port: int = 0, pages_token: str | None = None
) -> AsyncGenerator[str, None]:
    """Serve *emulator* (a new one by default) on 127.0.0.1 while the context lasts, and return the base URL.

    Its pages for people are at the base URL and ``/__pages``. port: 0 takes a free port. host: another address to
    listen on, such as 0.0.0.0 for all addresses of this machine. pages_token: a person who opens the pages needs it
    once, as in ``/__pages?token=...``; raises ValueError if other machines reach the host and there is no token.

    When it stops, delayed work (latency, slow writes) is done at once. The emulator does not change afterwards, so that
    a test can look into it; its owner closes it.
    """
    access = Access(host, pages_token)
    own = Emulator() if emulator is None else emulator
    # In one step the event loop accepts the whole backlog, before it can end the surplus connections.
    spare = max(2, most_files() - OTHER_FILES)
    most, backlog = min(MOST_CONNECTIONS, spare * 2 // 3), min(BACKLOG, spare // 3)
    closing = asyncio.Event()
    logger.addFilter(sound)
    patience = Patience()
    server = BoundedServer(
        Front(own, access, closing, patience).handle,
        patience=patience,
        most=most,
        lingering_time=LINGERING_SECONDS,
        access_log=None,
        logger=logger,
        max_headers=HEADERS_MAX,
        max_line_size=LINE_MAX,
        max_field_size=LINE_MAX,
        auto_decompress=False,  # so that no small body becomes a large one
    )
    runner = web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        listener = await asyncio.get_running_loop().create_server(server, host, port, backlog=backlog)
        try:
            yield f"http://{in_url(LOCAL.get(host, host), listener.sockets[0].getsockname()[1])}"
        finally:
            closing.set()
            own.waiting.finish()  # now, so that the answers still leave
            await stop_listening(listener)
    finally:
        await runner.cleanup()
        own.waiting.finish()  # work that came meanwhile
        if emulator is None:
            own.close()


async def stop_listening(listener: asyncio.Server) -> None:
    """Accept no further connections, and close *listener*.

    A connection that it accepted just now begins first: CPython 3.11 would neither begin nor close it afterwards.
    """
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # on Windows
        for sock in listener.sockets:
            loop.remove_reader(sock.fileno())
    for _ in range(2):  # for its transport, and for its protocol
        await asyncio.sleep(0)
    listener.close()


async def serve(
    emulator: Emulator,
    port: int,
    ready: Callable[[str], None],
    stop: asyncio.Event,
    *,
    host: str = HOST,
    pages_token: str | None = None,
) -> None:
    """Serve as `running` until *stop* is set; *ready* is called with the base URL once requests are accepted."""
    async with running(emulator, host=host, port=port, pages_token=pages_token) as base_url:
        ready(base_url)
        await stop.wait()


def most_files() -> int:
    """Return the most files that this process may open; on macOS it is 256 by default."""
    try:
        import resource  # noqa: PLC0415 Windows has none
    except ImportError:
        return sys.maxsize
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else most


class Patience:
    """Ends a connection if the head of a request does not come in time."""

    def __init__(self) -> None:
        self._timers: dict[object, asyncio.TimerHandle] = {}

    def begin(self, connection: object, transport: asyncio.BaseTransport | None) -> None:
        """Wait for the next request on *connection*."""
        self.stop(connection)
        if isinstance(transport, asyncio.Transport) and not transport.is_closing():
            loop = asyncio.get_running_loop()
            self._timers[connection] = loop.call_later(HEAD_SECONDS, transport.abort)

    def stop(self, connection: object) -> None:
        """Stop waiting."""
        if (timer := self._timers.pop(connection, None)) is not None:
            timer.cancel()


class Connection(web.RequestHandler):
    """A connection. It repeats no part of a request that cannot be read, since that may be a secret or markup."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be read, or that failed."""
        response = super().handle_error(request, status, exc, message)
        if status == HTTPStatus.BAD_REQUEST and isinstance(response, web.Response):
            response.text = UNREADABLE
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


class BoundedServer(web.Server):
    """A server with a limited number of connections, and a limited wait for a request on each."""

    def __init__(self, handler: Handler, *, patience: Patience, most: int, **options: Any) -> None:  # noqa: ANN401 aiohttp's
        # Cancelling ends a stall or a latency when the client goes. An effect and its answer are one step, which is
        # never split.
        super().__init__(handler, handler_cancellation=True, **options)
        self._patience = patience
        self._most = most
        self._options = options

    def __call__(self) -> web.RequestHandler:
        """Return the handler of a new connection."""
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Accept a connection, or end it."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._most:
            transport.abort()
        else:
            self._patience.begin(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        self._patience.stop(handler)
        super().connection_lost(handler, exc)


class Front:
    """Reads requests, writes answers and carries out faults; *closing* ends all waits.

    *patience* limits the time between two requests of a connection.
    """

    def __init__(self, emulator: Emulator, access: Access, closing: asyncio.Event, patience: Patience) -> None:
        self._emulator = emulator
        self._access = access
        self._pages = Pages(emulator, access, closing)
        self._closing = closing
        self._patience = patience

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or fail to."""
        self._patience.stop(request.protocol)
        try:
            if self._pages.owns(request):
                return await self._pages.answer(request)
            reason = self._access.foreign(request)
            return await self._watch(request) if reason is None else respond(refusal(403, reason))
        finally:
            self._patience.begin(request.protocol, request.transport)

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, and keep its result for the pages."""
        emulator = self._emulator
        endpoint, open_segments = emulator.find(request.method, request.path)
        status: int | None = None
        try:
            response = await self._judge(request, endpoint, open_segments)
            if not response.prepared:  # the server would set the time of this machine
                response.headers["Date"] = format_datetime(emulator.store.clock().astimezone(UTC), usegmt=True)
            status = None if HUNG_UP in request else response.status
            return response
        finally:
            status = request.get(SENT, status)
            note = request.get(NOTE, "" if status else "no answer")
            emulator.traffic.add(
                emulator.store.clock(), request.method, request.path_qs, endpoint.operation, status, note
            )

    async def _judge(
        self, request: web.BaseRequest, endpoint: Endpoint, open_segments: list[str]
    ) -> web.StreamResponse:
        emulator = self._emulator
        asked = read_head(request)
        if endpoint.is_signed or emulator.knows(asked.authorization):
            return await self._serve(request, endpoint, open_segments, asked)
        # A request with wrong credentials gets no fault, and its body is not read.
        emulator.requests.update([endpoint.operation] if endpoint.operation else [])
        return respond(emulator.answer(endpoint, open_segments, asked))

    async def _serve(
        self, request: web.BaseRequest, endpoint: Endpoint, open_segments: list[str], asked: Asked
    ) -> web.StreamResponse:
        emulator, operation = self._emulator, endpoint.operation
        fault = emulator.faults.draw(operation) if operation else None
        if fault is not None:
            request[NOTE] = f"fault: {fault.action}, {fault.phase}"
        if fault is not None and fault.phase == "before":
            emulator.dropped[operation] += 1
            return await self._fail(request, fault)
        if operation:
            emulator.requests[operation] += 1
        try:
            async with asyncio.timeout(BODY_SECONDS):
                asked = attrs.evolve(asked, body=await read_body(request, endpoint.largest))
        except (web.HTTPRequestEntityTooLarge, TimeoutError) as error:
            late = isinstance(error, TimeoutError)
            return hang_up(request, reset=False) if late else respond(refusal(413, "The body is too large."))
        if fault is not None and fault.phase == "accepted":
            await emulator.delay(operation)
            return await self._fail(request, fault)
        fate, leave = emulator.enter("" if endpoint.is_signed else operation, asked.method)
        try:
            if fate.refusal is not None:
                return await self._refuse(request, fate, endpoint, open_segments, asked)
            reply = await emulator.answer_slowly(endpoint, open_segments, asked, fate.wait)
        finally:
            leave()
        return await self._reply(request, fault, reply)

    async def _reply(self, request: web.BaseRequest, fault: Fault | None, reply: Reply) -> web.StreamResponse:
        """Answer with *reply*, unless there is a *fault*."""
        if fault is None:
            return respond(reply)
        if fault.phase == "written":
            return await self._fail(request, fault)
        return await self._cut(request, fault, reply)

    async def _refuse(
        self, request: web.BaseRequest, fate: Fate, endpoint: Endpoint, open_segments: list[str], asked: Asked
    ) -> web.StreamResponse:
        """Refuse a request above a limit."""
        emulator = self._emulator
        request[NOTE] = "limit"
        if fate.is_done:
            emulator.answer_later(endpoint, open_segments, asked, fate.work)
        if fate.refusal == "lost":
            await self._wait(LOST_SECONDS)
        elif fate.wait:
            await self._wait(fate.wait)
        else:
            await emulator.delay(endpoint.operation)
        if isinstance(fate.refusal, str):
            return hang_up(request, reset=fate.refusal == "reset")
        message = "Too many requests." if fate.refusal == TOO_MANY else phrase(fate.refusal or 0)
        return respond(emulator.envelope(refusal(fate.refusal or 0, message, retry_after=fate.retry_after), asked))

    async def _fail(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        """Answer something else, or drop the connection."""
        if fault.action == "status":
            return respond(refusal(fault.status, phrase(fault.status), retry_after=fault.retry_after))
        if fault.action == "html":
            page = PROXY_PAGE.format(f"{fault.status} {phrase(fault.status)}")
            headers = Reply(fault.status, retry_after=fault.retry_after).headers
            return web.Response(status=fault.status, text=page, content_type="text/html", headers=headers)
        if fault.action == "stall":
            await self._wait(fault.seconds)
        return hang_up(request, reset=fault.action == "reset")

    async def _cut(self, request: web.BaseRequest, fault: Fault, reply: Reply) -> web.StreamResponse:
        """Write the answer without aiohttp: only a part of it, or slowly."""
        head, body = written(reply)
        whole = head + body
        if fault.action == "drip":
            step = -(-len(whole) // DRIP_STEPS)
            for start in range(0, len(whole), step):
                is_open = request.transport is not None and not request.transport.is_closing()
                send(request, whole[start : start + step])
                if is_open and start + step >= len(whole):  # now the client may close the connection
                    request[SENT] = reply.status
                await self._wait(fault.seconds / DRIP_STEPS)
            return hang_up(request, reset=False)
        # Without a body, the cut is before the empty line at the end of the head.
        end = len(head) // 2 if fault.phase == "head" else len(head) + len(body) // 2 if body else len(head) - 2
        send(request, whole[:end])
        return await self._fail(request, fault)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


def read_head(request: web.BaseRequest) -> Asked:
    """Return a request from its head, without the body."""
    headers = request.headers
    request_id = headers.get("X-Request-Id")  # it is stored, and JSON needs UTF-8
    return Asked(
        method=request.method,
        path=request.path,
        query=request.query,
        base=f"http://{headers.get('Host') or address(request)}",
        authorization=headers.get("Authorization", ""),
        content_type=headers.get("Content-Type", "").partition(";")[0].strip().lower(),
        request_id=None if request_id is None else request_id.encode(errors="surrogateescape").decode(errors="replace"),
        body=b"",
        headers=headers,
    )


async def read_body(request: web.BaseRequest, largest: int) -> bytes:
    """Read a request to its end; raise HTTPRequestEntityTooLarge for a body of more than *largest* bytes."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        send(request, b"HTTP/1.1 100 Continue\r\n\r\n")  # the client sends the body only after this
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > largest:
            raise web.HTTPRequestEntityTooLarge(largest, len(body))
    return bytes(body)


def sound(record: logging.LogRecord) -> bool:
    """Drop aiohttp's log records of malformed requests, because they quote the request."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))
