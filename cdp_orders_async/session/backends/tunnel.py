"""HTTP proxies: their credentials, and tunnels through them."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from collections.abc import Mapping

from yarl import URL

from cdp_orders_async.session.attempt import LONGEST_HEAD
from cdp_orders_async.session.timeouts import Broken

__all__ = ["head_of", "open_tunnel", "proxy_headers", "tunnel_request"]

STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


def proxy_headers(proxy: URL) -> dict[str, str]:
    """Return the header with the credentials in the URL of *proxy*; none if it has none."""
    if proxy.user is None:
        return {}
    pair = f"{proxy.user}:{proxy.password or ''}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def tunnel_request(proxy: URL, server: URL) -> bytes:
    """Return the request that asks *proxy* for a tunnel to *server*."""
    there = f"{server.host_subcomponent}:{server.port}"
    return f"{head_of(f'CONNECT {there} HTTP/1.1', {'Host': there, **proxy_headers(proxy)})}\r\n\r\n".encode()


def head_of(first: str, headers: Mapping[str, str]) -> str:
    """Return the *first* line of a request and its *headers*, without the last line end."""
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items())])


async def open_tunnel(plain: socket.socket, asked: bytes) -> None:
    """Ask the proxy at the other end of *plain* for a tunnel; raises `Broken` and OSError."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(plain, asked)
    head = bytearray()
    while (end := head.find(b"\r\n\r\n")) < 0:
        part = await loop.sock_recv(plain, LONGEST_HEAD)
        if not part:
            raise Broken("the proxy closed the connection")
        head += part
        if len(head) > LONGEST_HEAD:
            raise Broken("the head of the answer of the proxy is too large")
    status = STATUS.match(head)
    if status is None:
        raise Broken("the proxy gave an answer that is not HTTP")
    if not status[1].startswith(b"2"):
        raise Broken(f"the proxy refused a tunnel: status {status[1].decode()}")
    if len(head) > end + 4:
        raise Broken("the proxy sent data before the tunnel was used")
