"""How an answer leaves on its connection: by aiohttp, as bytes, or not at all."""

from __future__ import annotations

import socket
import struct
import sys
from http import HTTPStatus

from aiohttp import web

from cdp_orders_async.emulator.operations import Reply

__all__ = ["HUNG_UP", "hang_up", "phrase", "respond", "send", "written"]

HUNG_UP = web.RequestKey("hung up", bool)
"""Marks a request whose connection was ended instead of an answer."""
RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""``struct linger`` of this system with a time of 0: the socket ends with RST."""


def respond(reply: Reply) -> web.Response:
    """Return aiohttp's response for *reply*."""
    if not reply.content:
        return web.Response(status=reply.status, headers=reply.headers)
    return web.Response(status=reply.status, body=reply.content, content_type=reply.content_type, headers=reply.headers)


def written(reply: Reply) -> tuple[bytes, bytes]:
    """Return the bytes of the head and of the body of an answer."""
    body = reply.content
    lines = [
        f"HTTP/1.1 {reply.status} {phrase(reply.status)}",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
    ]
    if body:
        lines += [f"Content-Type: {reply.content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode(), body


def phrase(status: int) -> str:
    """Return the reason phrase of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def send(request: web.BaseRequest, data: bytes) -> None:
    """Write to the connection, without aiohttp, if it is still open."""
    if request.transport is not None and not request.transport.is_closing():
        request.transport.write(data)


def hang_up(request: web.BaseRequest, *, reset: bool) -> web.StreamResponse:
    """End the connection with FIN, or with RST; the returned response is not sent."""
    request[HUNG_UP] = True
    transport = request.transport
    if transport is not None and reset:
        linger: socket.socket = transport.get_extra_info("socket")
        linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()
    elif transport is not None:
        transport.close()
    return web.Response()
