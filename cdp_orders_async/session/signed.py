"""Requests to signed URLs of a file storage: no credentials of the API leave, and no text shows the URL."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from cdp_orders_async.addresses import has_host, is_encoded, is_loopback
from cdp_orders_async.errors import CdpError, Invalid, NotSent, OutcomeUnknown, Violation
from cdp_orders_async.redact import Opaque
from cdp_orders_async.session.attempt import describe
from cdp_orders_async.session.backends.aiohttp import NEVER_CONNECTED, Dropped, no_hidden_resend
from cdp_orders_async.session.backends.handler import Handler
from cdp_orders_async.settings import Settings, proxy_of, tls_of

__all__ = ["SignedUrls"]

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
RULE = "must be a valid https URL of a file storage, or an http URL of this machine"


class _Connector(aiohttp.TCPConnector):
    """Connects for one transfer; when it is closed, no connection waits for a goodbye of the server."""

    def __init__(self, *, tls: ssl.SSLContext | bool) -> None:
        super().__init__(ssl=tls, force_close=True)  # pyright: ignore[reportUnknownMemberType] aiohttp's
        self._handlers: list[Handler] = []
        self._factory = partial(self._handler)

    async def close(self, *, abort_ssl: bool = False) -> None:
        for handler in self._handlers:
            handler.abort()
        await super().close(abort_ssl=abort_ssl)

    def _handler(self) -> ResponseHandler:
        self._handlers.append(Handler(self._loop))
        return self._handlers[-1]


class SignedUrls:
    """Sends to signed URLs and reads from them, with the TLS and the proxies of *settings*.

    *seconds* is the longest time of one transfer.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._settings = settings
        self._seconds = seconds

    async def put(self, url: Opaque[str], file: Path, headers: Mapping[str, str]) -> int:
        """Send the *file* with these *headers*; return the status of the answer.

        Raises `NotSent` if nothing was sent, `OutcomeUnknown` if the answer was lost, `Invalid` for a *url* that must
        not be used, and OSError for a file that cannot be read.
        """
        with file.open("rb") as body:
            async with self._response("PUT", url, headers, body) as response:
                return response.status

    async def get(self, url: Opaque[str], most: int) -> tuple[int, bytes]:
        """Return the status and the body of the answer; raises as `put` does, also for more than *most* bytes."""
        async with self._response("GET", url, NO_HEADERS, None) as response:
            body = bytearray()
            while chunk := await response.content.readany():
                body += chunk
                if len(body) > most:
                    raise OutcomeUnknown(f"{_named(url)} answered with more than {most:,} bytes")
            return response.status, bytes(body)

    @contextlib.asynccontextmanager
    async def _response(
        self, method: str, url: Opaque[str], headers: Mapping[str, str], body: object
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        name, secure = _named(url), _is_secure(url)
        tls = await tls_of(self._settings) if secure else True
        proxy = proxy_of(self._settings, url.open())
        connecting = self._settings.connect_timeout
        timeout = aiohttp.ClientTimeout(total=self._seconds, sock_connect=connecting)
        failure: CdpError
        try:
            async with (
                aiohttp.ClientSession(
                    connector=_Connector(tls=tls),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    timeout=timeout,
                ) as session,
                session.request(
                    method,
                    URL(url.open(), encoded=True),
                    data=body,
                    headers={"Content-Type": "application/octet-stream", **headers} if body is not None else headers,
                    proxy=proxy,
                    allow_redirects=False,
                    middlewares=(no_hidden_resend,),
                ) as response,
            ):
                yield response
                return
        except (Dropped, TimeoutError, aiohttp.ClientError) as error:
            cause = (isinstance(error, Dropped) and error.__cause__) or error
            why = describe(cause, getattr(cause.__cause__, "strerror", None))
            if isinstance(cause, NEVER_CONNECTED):
                failure = NotSent(f"{method} to {name} was not sent ({why})")
            else:
                failure = OutcomeUnknown(f"{method} to {name} was sent, but its answer was lost ({why})")
        raise failure


def _is_secure(url: Opaque[str]) -> bool:
    """Tell whether a *url* is of https; raise `Invalid` for one that must not be used."""
    try:
        parts = urlsplit(url.open())
        good = is_encoded(url.open()) and has_host(url.open()) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        good = False
    else:
        if good and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))):
            return parts.scheme == "https"
    raise Invalid((Violation("location.href", RULE),))


def _named(url: Opaque[str]) -> str:
    """Return the host of a *url*, which alone is no secret."""
    try:
        host = urlsplit(url.open()).hostname or ""
    except ValueError:
        host = ""
    return f"the file storage {host}" if host.isascii() and host.isprintable() and host else "the file storage"
