"""One attempt over aiohttp.

aiohttp's own resend after a dropped connection is switched off, because it hides a second send.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, ClientSession, TraceConfig
from aiohttp.abc import AbstractStreamWriter
from aiohttp.tracing import Trace

from cdp_orders_async.errors import Delivery
from cdp_orders_async.session.attempt import HEADERS, Answer, Http, cut, in_words, late, lost, too_large, unusable
from cdp_orders_async.session.times import Times
from cdp_orders_async.session.watch import Limit
from cdp_orders_async.settings import Credentials, Settings, tls_of
from cdp_orders_async.wire import Request

__all__ = ["OverAiohttp"]

SENT_ONCE = frozenset({"POST", "PATCH"})
"""What aiohttp does not send again after a dropped connection, as HTTP forbids it."""
PIECE = 65_536  # bytes


class _Dropped(Exception):
    """A lost connection, in a form that aiohttp does not answer by sending again."""


async def _no_hidden_resend(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped from error


class _Body(aiohttp.BytesPayload):
    """The bytes of a body that know when they have begun to leave."""

    began: float | None = None
    clock: Callable[[], float]

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.began = self.clock()
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self.began = self.clock()
        await super().write_with_length(writer, content_length)


class _Socket(socket.socket):
    """A socket that is read in pieces of the size of an answer.

    asyncio asks for 256 KiB at a time, and making and giving back such a buffer is the dearest part of a request.
    """

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        return super().recv(min(bufsize, PIECE), flags)


def _socket_of(address: aiohttp.AddrInfoType) -> socket.socket:  # pyright: ignore[reportUnknownParameterType] aiohttp's
    return _Socket(*address[:3])


class _Connector(aiohttp.TCPConnector):
    """A pool that gives no connection on which the server spoke unasked, such as a 408 to a resting connection.

    aiohttp would take that for the answer to the next request.
    """

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 aiohttp's own
    ) -> aiohttp.connector.Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or not protocol.should_close:
                return connection
            connection.close()


class OverAiohttp(Http):
    """Sends over aiohttp: through proxies too, traced, and with a session of your own.

    *session* is such a one, which is used as it is, without its client middlewares, and never closed.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        settings: Settings,
        session: ClientSession | None,
        trace_configs: Sequence[TraceConfig],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(base_url, credentials, settings, clock)
        self._is_mine = session is None
        self._session: ClientSession
        if session is not None:
            self._session = session
        self._trace_configs = list(trace_configs)
        self._headers, self._once = HEADERS, tuple[ClientMiddlewareType, ...]()
        if self._is_mine:  # as a header of the session itself, aiohttp would show it to a proxy
            self._headers = {"Authorization": self._authorization}
        else:  # aiohttp refuses the header beside credentials that such a session has, or finds in netrc
            self._once = (self._authorize,)
        self._again = (*self._once, _no_hidden_resend)
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout, sock_read=settings.read_timeout
        )

    async def _open(self) -> None:
        if self._is_mine:
            tls = await tls_of(self._settings) if self.base_url.scheme == "https" else True
            self._session = ClientSession(
                connector=_Connector(
                    limit=self._settings.connections,
                    keepalive_timeout=self._settings.keepalive,
                    ssl=tls,
                    socket_factory=_socket_of,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=self._trace_configs,
                headers=HEADERS,
            )

    async def _close(self) -> None:
        if self._is_mine:
            await self._session.close()

    async def send_once(self, request: Request[Any], request_id: str, left: float | None, times: Times) -> Answer:
        """Send once, with *left* seconds until the deadline, and return the answer; see `Http`."""
        body = None
        if request.body is not None:
            body = _Body(request.body, content_type="application/json")
            body.clock = self._clock
        url = self.base_url.with_path(self._prefix + request.path, encoded=True)
        if request.query:
            url = url.with_query(request.query)
        watch = self._until(left)
        response = None
        start = self._clock()
        try:
            with Limit(watch):
                response = await self._session.request(
                    request.method,
                    url,
                    data=body,
                    headers={**self._headers, "X-Request-Id": request_id},
                    timeout=self._timeout,
                    proxy=self._proxy,
                    allow_redirects=False,
                    raise_for_status=False,
                    middlewares=self._once if request.method in SENT_ONCE else self._again,
                )
                head = self._clock()
                sent = start if body is None or body.began is None else body.began
                times.connect += sent - start
                times.server += head - sent
                content = await self._read(request, response)
                times.body += self._clock() - head
            return response.status, content, response.headers.get("Retry-After")
        except (_Dropped, aiohttp.ClientError, OSError) as error:
            # From None: the text of the cause may hold the query, or the URL of the proxy with its password.
            cause = (isinstance(error, _Dropped) and error.__cause__) or error
            if response is not None:
                response.close()
                return cut(request, response.status, response.headers.get("Retry-After"), _in_words(cause))
            times.server += self._clock() - start
            began = body.began is not None if body is not None else not _never_connected(cause)
            # Of the timeouts only the total one is none of aiohttp's own errors.
            ended = isinstance(cause, TimeoutError) and not isinstance(cause, aiohttp.ClientError)
            if ended and watch is not self._watch:
                raise late(Delivery.UNKNOWN if began else Delivery.NOT_SENT) from None
            raise lost(request, _in_words(cause), began=began) from None
        except BaseException:
            if response is not None:
                response.close()
            raise

    async def _authorize(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        request.headers["Authorization"] = self._authorization
        return await handler(request)

    async def _read(self, request: Request[Any], response: ClientResponse) -> bytes:
        content, most = response.content, self._settings.max_answer
        length = response.content_length if self._trace_configs or not self._is_mine else None
        if length is not None and length <= most and "Content-Encoding" not in response.headers:
            return await response.read()  # which tells the tracers of it
        # Nearly always all of it came with its head, and there is nothing to wait for.
        body: bytes | bytearray = content.read_nowait() if content.is_eof() else bytearray()
        while len(body) <= most and not content.at_eof():
            body += await content.readany()
        if len(body) <= most:
            return bytes(body)
        response.close()
        return unusable(request, response.status, too_large(most), body)


def _never_connected(error: BaseException) -> bool:
    refused = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
    return isinstance(error, refused)


def _in_words(error: BaseException) -> str:
    reason: str | None = None
    if isinstance(error, aiohttp.ClientHttpProxyError):
        reason = f"status {error.status}"
    elif isinstance(error, aiohttp.ClientConnectorError):
        reason = getattr(error.__cause__, "strerror", None)
    return in_words(error, reason)
