"""One attempt over aiohttp.

aiohttp's own resend after a dropped connection is switched off, because it hides a second send.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Any, NoReturn, Protocol

import aiohttp
from aiohttp import (
    ClientHandlerType,
    ClientMiddlewareType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    TraceConfig,
    hdrs,
)
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.tracing import Trace
from msgspec import Struct
from yarl import URL

from cdp_orders_async.addresses import is_loopback
from cdp_orders_async.errors import Delivery, Invalid, Violation
from cdp_orders_async.redact import Opaque
from cdp_orders_async.session.attempt import (
    HEAD_TOO_LARGE,
    HEADERS,
    LONGEST_HEAD,
    NO_HEADERS,
    Answer,
    GivenUp,
    GivenUpCheck,
    HttpBackend,
    connection_error,
    cut_answer,
    deadline_error,
    describe,
    describe_certificate,
    describe_too_large,
    unusable_answer,
    wait_asked,
)
from cdp_orders_async.session.backends.handler import BrokenConnection, Handler
from cdp_orders_async.session.backends.sockets import Sockets
from cdp_orders_async.session.timeouts import Broken, Timeout
from cdp_orders_async.settings import Credentials, Settings, tls_of
from cdp_orders_async.timings import Timings
from cdp_orders_async.wire import Request

__all__ = ["NEVER_CONNECTED", "AiohttpBackend", "Dropped", "no_hidden_resend"]

NAME = type(hdrs.ACCEPT)
"""The type of the names of headers that aiohttp takes as they are; any other text it converts, again and again."""
NAMED: Mapping[str, str] = {NAME(name): value for name, value in HEADERS.items()}
REQUEST_ID = NAME("X-Request-Id")
SENT_ONCE = frozenset({"POST", "PATCH"})
"""The methods that aiohttp never sends again after a dropped connection, because HTTP forbids it."""
TO_PROXY = (
    "must have no proxy elsewhere for an http base_url, of its own or of the environment (trust_env): the API token"
    " would travel in the clear"
)
NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
LONGEST_LINE = 8 * LONGEST_HEAD  # larger than a head may be, so that the error comes from us and gives the reason
MOST_LINES = 1_024  # of a head over a session of somebody else, whose bytes nobody counts while they come
TOO_MANY = "Too many "  # so begins what aiohttp says of more lines


SET_LATER: Mapping[type[object], Sequence[str]] = {
    ClientRequest: ("response", "_upload_tracker", "_ClientRequest__writer"),
    ClientResponse: (
        "version", "status", "reason", "content", "_headers", "_raw_headers", "_connection", "_protocol", "_closed",
        "_output_size", "_history",
    ),
}  # fmt: skip
"""The attributes that aiohttp sets after it has made an object. A wrong name costs nothing but speed."""


def _announce_attributes() -> None:
    """Let all objects of `SET_LATER` share the names of their attributes.

    Python learns the names from the first objects of a class. If many requests begin at once, it has seen too many
    objects before the first answer comes, and from then on gives each object a dictionary of its own. Then a request
    takes 7 % more instructions.
    """
    for made, names in SET_LATER.items():
        first = object.__new__(made)
        for name in names:
            with contextlib.suppress(AttributeError):
                setattr(first, name, None)


_announce_attributes()


class Dropped(Exception):
    """A lost connection, as an error after which aiohttp does not send again."""


async def no_hidden_resend(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send *request* once: a middleware that keeps aiohttp from sending it again after a dropped connection."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Dropped from error


class _Body(aiohttp.BytesPayload):
    """The bytes of a body; *began* is the time when they began to leave."""

    began: float | None = None
    clock: Callable[[], float]
    given_up: GivenUpCheck | None = None
    refused = False
    """Whether it did not leave, because it was given up."""

    def _begin(self) -> None:
        if self.given_up is not None and self.given_up():
            self.refused = True
            raise ConnectionAbortedError
        self.began = self.clock()

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._begin()
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._begin()
        await super().write_with_length(writer, content_length)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as `Request` does."""
        raise TypeError("a body cannot be pickled: it holds personal data")


class _Attempt(Struct):
    """The connections of one attempt."""

    creates: bool
    connection: Handler | None = None
    kept: bool = False
    """Whether its connection had an earlier request."""
    made: tuple[Handler, ...] = ()
    """The connections that were opened for it."""


ATTEMPT: ContextVar[_Attempt] = ContextVar("ATTEMPT")


class _MayUse(Protocol):
    def __call__(self, used_at: float, *, creates: bool) -> bool: ...


class _Connector(aiohttp.TCPConnector):
    """A pool that drops a connection if the server sent data without a request, such as a 408 after a time of rest.

    aiohttp would take the data for the answer to the next request. *may_use* decides about each kept connection, and
    *opening* gives the timeout of a new one.
    """

    def __init__(
        self,
        may_use: _MayUse,
        opening: Callable[[], Timeout],
        limit: int,
        keepalive: float,
        tls: ssl.SSLContext | bool,  # noqa: FBT001 aiohttp's own
    ) -> None:
        self._may_use, self._opening = may_use, opening
        self._sockets = Sockets(limit)
        super().__init__(  # pyright: ignore[reportUnknownMemberType] aiohttp's
            limit=limit, keepalive_timeout=keepalive, ssl=tls, socket_factory=self._sockets.make
        )
        self._factory = partial(self._handler)

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        await self._sockets.gone()

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 aiohttp's own
    ) -> aiohttp.connector.Connection:
        attempt = ATTEMPT.get()
        while True:
            connection = await super().connect(req, traces, timeout)
            handler = connection.protocol
            if not isinstance(handler, Handler):
                raise TypeError("aiohttp made a connection of another kind")
            used_at = handler.used_at
            if not handler.should_close and (
                used_at is None or (self._may_use(used_at, creates=attempt.creates) and not handler.has_spoken())
            ):
                handler.begin(self._loop.time())
                attempt.connection, attempt.kept = handler, used_at is not None
                return connection
            connection.close()
            if used_at is None:  # every new connection would probably end like this
                raise BrokenConnection("the server ended the new connection, or spoke on it unasked")

    async def _create_connection(self, *args: Any, **given: Any) -> ResponseHandler:  # noqa: ANN401 aiohttp's
        try:
            with self._opening():
                return await super()._create_connection(*args, **given)
        except BaseException:
            # If it is given up just when TLS is ready, asyncio ends TLS with a handshake, which takes time.
            for handler in ATTEMPT.get().made:
                handler.abort()
            raise

    async def _wrap_create_connection(self, *args: Any, **given: Any) -> tuple[asyncio.Transport, ResponseHandler]:  # noqa: ANN401 aiohttp's
        await self._sockets.room()
        return await super()._wrap_create_connection(*args, **given)  # pyright: ignore[reportUnknownMemberType] the same

    def _handler(self) -> ResponseHandler:
        attempt = ATTEMPT.get()
        handler = Handler(self._loop)
        attempt.made = (*attempt.made, handler)
        return handler


class AiohttpBackend(HttpBackend):
    """Sends over aiohttp: with proxies, tracing, or your own *session*.

    The client middlewares of that session are not used, and it is never closed.
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
        self._request: Callable[..., Awaitable[ClientResponse]]
        """Sends a request over the session."""
        self._trace_configs = list(trace_configs)
        self._headers, self._once = Opaque(NAMED), tuple[ClientMiddlewareType, ...]()
        if self._is_mine:  # as a header of the aiohttp session, it would be sent to a proxy too
            self._headers = Opaque[Mapping[str, str]]({hdrs.AUTHORIZATION: self._authorization.open()})
        else:  # aiohttp refuses this header if your session has credentials of its own, or finds them in netrc
            self._once = (self._authorize,)
        self._again = (*self._once, no_hidden_resend)
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=None if self._is_mine else settings.connect_timeout,
            sock_read=settings.read_timeout,
        )
        self._options: Mapping[str, Any] = {
            "timeout": timeout,
            "proxy": self._proxy,
            "raise_for_status": False,
            "max_line_size": LONGEST_LINE,
            "max_field_size": LONGEST_LINE,
            "max_headers": LONGEST_HEAD,
        }
        """The options of each request; a session of ours has them itself, which is quicker."""
        if session is not None:
            # What such a head may hold is in memory before it can be refused: these bounds make it 64 MiB at most.
            bounds = {"max_line_size": LONGEST_HEAD, "max_field_size": LONGEST_HEAD, "max_headers": MOST_LINES}
            self._session, self._request = session, partial(session.request, **{**self._options, **bounds})

    async def _open(self) -> None:
        if self._is_mine:
            settings = self._settings
            tls = await tls_of(settings) if self.base_url.scheme == "https" else True
            self._session = ClientSession(
                connector=_Connector(
                    self._may_use,
                    lambda: Timeout(self.waits, settings.connect_timeout),
                    settings.connections,
                    settings.keepalive,
                    tls,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=self._trace_configs,
                headers=NAMED,
                **self._options,
            )
            self._request = self._session.request

    async def _close(self) -> None:
        if self._is_mine:
            await self._session.close()

    async def send_once(
        self,
        request: Request[Any],
        request_id: str,
        left: float | None,
        times: Timings,
        headers: Mapping[str, str] = NO_HEADERS,
        given_up: GivenUpCheck | None = None,
    ) -> Answer:
        """Send once, with *left* seconds until the deadline, and return the answer; see `HttpBackend`."""
        body = None
        if request.body is not None:
            body = _Body(request.body, content_type="application/json")
            body.clock, body.given_up = self._clock, given_up
        attempt = _Attempt(request.creates)
        token = ATTEMPT.set(attempt)
        limit = Timeout(self._timeouts, left)
        response = None
        start = self._clock()
        try:
            with limit:
                response = _checked(await self._ask(request, request_id, body, headers), attempt.connection)
                self._came(response.headers.get("Date"))
                head = self._clock()
                sent = start if body is None or body.began is None else body.began
                times.connect += sent - start
                times.server += head - sent
                content = await self._read(request, response)
                times.body += self._clock() - head
            return response.status, content, _wait_asked(response)
        except (Dropped, Broken, aiohttp.ClientError, OSError) as error:
            if body is not None and body.refused:
                raise GivenUp("it was given up before it left") from None
            # From None: the text of the cause may hold the query, or the URL of the proxy with its password.
            cause = (isinstance(error, Dropped) and error.__cause__) or error
            if response is not None:
                response.close()
                return cut_answer(request, response.status, _wait_asked(response), _describe(cause))
            times.server += self._clock() - start
            if body is not None:
                began = body.began is not None
            else:
                began = attempt.connection is not None or not (self._is_mine or isinstance(cause, NEVER_CONNECTED))
            if began and attempt.kept:
                self._suspect()
            # The other timeouts are errors of aiohttp.
            ended = isinstance(cause, TimeoutError) and not isinstance(cause, aiohttp.ClientError)
            if ended and limit.shortened:
                raise deadline_error(Delivery.UNKNOWN if began else Delivery.NOT_SENT) from None
            lasting = isinstance(cause, aiohttp.ClientConnectorCertificateError)
            raise connection_error(request, _describe(cause), began=began, lasting=lasting) from None
        except BaseException:
            if response is not None:
                response.close()
            raise
        finally:
            ATTEMPT.reset(token)

    def _ask(
        self, request: Request[Any], request_id: str, body: _Body | None, headers: Mapping[str, str]
    ) -> Awaitable[ClientResponse]:
        """Send *request*; the result is the answer once its head has come."""
        url = self.base_url.with_path(self._prefix + request.path, encoded=True)
        if request.query:
            url = url.with_query(request.query)
        elif request.raw_query:
            url = URL(f"{url}?{request.raw_query}", encoded=True)
        named: dict[str, str] = {**self._headers.open(), REQUEST_ID: request_id}
        if headers:
            named.update(headers)
        return self._request(
            request.method,
            url,
            data=body,
            headers=named,
            allow_redirects=False,
            middlewares=self._once if request.method in SENT_ONCE else self._again,
        )

    async def _authorize(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if request.proxy is not None and request.url.scheme == "http" and not is_loopback(request.proxy.host):
            raise Invalid((Violation("http_session", TO_PROXY),))
        request.headers["Authorization"] = self._authorization.open()
        return await handler(request)

    async def _read(self, request: Request[Any], response: ClientResponse) -> bytes:
        if response.status == HTTPStatus.SWITCHING_PROTOCOLS:
            response.close()  # aiohttp leaves it open, and warns of it later with all its headers
            return b""
        content, most = response.content, self._settings.max_answer
        length = response.content_length if self._trace_configs or not self._is_mine else None
        if length is not None and length <= most and "Content-Encoding" not in response.headers:
            return await response.read()  # it calls the tracers
        # The body nearly always came with the head: then nothing has to be awaited.
        body: bytes | bytearray = content.read_nowait() if content.is_eof() else bytearray()
        while len(body) <= most and not content.at_eof():
            body += await content.readany()
        if len(body) <= most:
            return bytes(body)
        response.close()
        return unusable_answer(request, response.status, describe_too_large(most), body, self.secrets)


def _checked(response: ClientResponse, connection: Handler | None) -> ClientResponse:
    """Return *response*, which came over *connection*; close it and raise `Broken` if its head is too large."""
    if connection is not None and connection.received <= LONGEST_HEAD:
        return response  # nearly always, so that the rest is not counted
    if sum(map(len, chain.from_iterable(response.raw_headers))) > LONGEST_HEAD:
        response.close()
        raise BrokenConnection(HEAD_TOO_LARGE)
    return response


def _wait_asked(response: ClientResponse) -> str | None:
    asked = response.headers.get("Retry-After")
    return None if asked is None else wait_asked(asked, response.headers.get("Date"))


def _describe(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LineTooLong):
            return HEAD_TOO_LARGE
        if isinstance(cause, BadHttpMessage) and cause.message.startswith(TOO_MANY):
            return f"the head of the answer has more than {MOST_LINES:,} lines"
        cause = cause.__cause__
    reason: str | None = None
    if isinstance(error, aiohttp.ClientHttpProxyError):
        reason = f"status {error.status}"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        return describe_certificate(error.certificate_error, error.host) or describe(error)
    elif isinstance(error, aiohttp.ClientConnectorError):
        reason = getattr(error.__cause__, "strerror", None)
    return describe(error, reason)
