"""The client under any answer."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import attrs
from hypothesis import strategies as st

from cdp_orders_async import CdpError, CdpOrders, CdpOrdersV2, Settings
from tests.calls import CALLS, Refs, walked
from tests.conformance.answering import listening
from tests.fuzz.corpus import REF, TOKENS, dumped
from tests.fuzz.engine import Target, looped
from tests.fuzz.reading import STATUSES, bodies
from tests.v2.samples import FLIGHT, PAIRS
from tests.ways import WAYS

TIMEOUT = 0.3
"""Seconds that a client waits for an answer."""
MOST = 5
"""Seconds within which a call must end."""
SETTINGS = Settings(retries=0, trust_env=False, timeout=TIMEOUT, max_answer=2**16)
REFERENCE = UUID(REF)
REFS = Refs(REFERENCE, REFERENCE, REFERENCE, REFERENCE)


def of_v2_1(name: str, base_url: str, settings: Settings) -> tuple[CdpOrders, Awaitable[object]]:
    """Return a client of version 2.1, and a call of it."""
    cdp = CdpOrders(base_url=base_url, client_key="key", api_token="token", settings=settings)  # noqa: S106
    return cdp, CALLS[name](cdp, REFS)


V2_CALLS: Mapping[str, Callable[[CdpOrdersV2], Awaitable[object]]] = {
    "orders.get": lambda cdp: cdp.orders.get(REFERENCE, expand_items=True),
    "orders.list": lambda cdp: walked(cdp.orders.list(guest_ref=REFERENCE)),
    "items.list": lambda cdp: walked(cdp.items.list(REFERENCE)),
    "items.update": lambda cdp: cdp.items.update(REFERENCE, FLIGHT),
    "order_extensions.create": lambda cdp: cdp.order_extensions.create(REFERENCE, PAIRS),
    "order_extensions.get": lambda cdp: cdp.order_extensions.get(REFERENCE),
}


def of_v2(name: str, base_url: str, settings: Settings) -> tuple[CdpOrdersV2, Awaitable[object]]:
    """Return a client of version 2, and a call of it."""
    cdp = CdpOrdersV2(base_url=base_url, client_key="key", api_token="token", settings=settings)  # noqa: S106
    return cdp, V2_CALLS[name](cdp)


OPERATIONS: Mapping[str, Callable[[str, Settings], tuple[CdpOrders | CdpOrdersV2, Awaitable[object]]]] = {
    **{f"v2.1 {name}": partial(of_v2_1, name) for name in CALLS},
    **{f"v2 {name}": partial(of_v2, name) for name in V2_CALLS},
}
HEADERS = (
    *(b"Content-Type: text/html", b"Content-Type: application/json; charset=utf-16", b"Content-Type: \xff"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Content-Length: 5", b"Content-Length: -1"),
    *(b"Content-Length: 99999999999999999999", b"Content-Encoding: gzip", b"Content-Encoding: deflate"),
    *(b"Content-Encoding: br", b"Content-Encoding: zstd", b"Content-Encoding: x", b"Connection: close"),
    *(b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: h2c", b"Location: http://[", b"Location: /else"),
    *(b"Retry-After: 2", b"Retry-After: \xff", b"Retry-After: " + b"9" * 5000, b"Retry-After: Mon, 99 Jan 2024"),
    *(b"Set-Cookie: a=\xff; Max-Age=x", b"Link: <", b"Trailer: a", b"WWW-Authenticate: Basic", b": none", b"no colon"),
    *(b" folded", b"a: " + b"b" * 9000, b"Content-Disposition: attachment; filename*=x"),
)
LINES = (b"HTTP/1.0 ", b"HTTP/2 ", b"HTTP/1.1  ", b"ICY ", b"")


def reply(line: bytes, status: str, headers: list[bytes], body: bytes, coding: str, *, told: bool) -> bytes:
    """Write an answer; its length is *told* in a header, or it ends with the connection."""
    match coding:
        case "gzip":
            body, headers = gzip.compress(body, mtime=0), [*headers, b"Content-Encoding: gzip"]
        case "deflate":
            body, headers = zlib.compress(body), [*headers, b"Content-Encoding: deflate"]
        case "chunked":
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            headers = [*headers, b"Transfer-Encoding: chunked"]
        case "large":
            body, headers = gzip.compress(bytes(2**22), mtime=0), [*headers, b"Content-Encoding: gzip"]
        case _:
            pass
    length = [b"Content-Length: %d" % len(body)] if told else []
    return b"\r\n".join([line + status.encode() + b" Some", *headers, *length, b"", body])


usual = st.builds(
    reply,
    st.just(b"HTTP/1.1 "),
    st.just("200") | st.sampled_from(STATUSES),
    st.just(list[bytes]()),
    bodies.map(dumped),
    st.sampled_from(("", "", "gzip", "deflate", "chunked")),
    told=st.booleans(),
)
odd = st.builds(
    reply,
    st.just(b"HTTP/1.1 ") | st.sampled_from(LINES),
    st.just("200") | st.sampled_from((*STATUSES, "100", "101", "1000", "-1", "")),
    st.lists(st.sampled_from(HEADERS), max_size=2),
    bodies.map(dumped) | st.binary(max_size=20),
    st.sampled_from(("", "gzip", "chunked", "large")),
    told=st.booleans(),
)
replies = usual | usual | odd | st.lists(usual | odd, max_size=3).map(b"".join)
inputs = st.tuples(st.sampled_from(sorted(OPERATIONS)).map(str.encode), replies).map(b"\n".join)
HTTP = (
    *TOKENS,
    *HEADERS,
    b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"5\r\n",
    b"0\r\n\r\n",
)


@asynccontextmanager
async def clients() -> AsyncGenerator[Callable[[bytes], Awaitable[None]], None]:
    """Answer every request with the same bytes, and then end the connection; ask over each way with a new client."""
    raw = b""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with listening(talk) as base_url:

        async def check(data: bytes) -> None:
            nonlocal raw
            name, _, raw = data.partition(b"\n")
            if (operation := OPERATIONS.get(name.decode("latin-1"))) is None:
                return
            for http in WAYS:
                cdp, call = operation(base_url, attrs.evolve(SETTINGS, http=http))
                async with cdp:
                    try:
                        async with asyncio.timeout(MOST):
                            await call
                    except CdpError as error:
                        assert str(error)  # noqa: PT017 any error must be told
                    size = SETTINGS.connections
                    assert f"0 in flight, ConnectionSlots({size}, free={size}, waiting=0)" in repr(cdp.session)

        yield check


TARGETS = (Target("client", inputs, looped(clients), HTTP, 2),)
