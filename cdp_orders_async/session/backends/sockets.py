"""The sockets of one client: how many there are, and when one has gone."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, TypeAlias

__all__ = ["Address", "Sockets"]

Address: TypeAlias = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
"""As `socket.getaddrinfo` gives it."""
READ_BYTES = 65_536  # bytes


class _Socket(socket.socket):
    """A socket that tells when it is closed, and that is read in pieces of the size of an answer.

    asyncio asks for 256 KiB at a time, and making and giving back such a buffer is the dearest part of a request.
    """

    among: Sockets

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        return super().recv(min(bufsize, READ_BYTES), flags)

    def close(self) -> None:
        super().close()
        self.among.lose(self)

    def detach(self) -> int:  # uvloop does, and closes the number itself
        number = super().detach()
        self.among.lose(self)
        return number


class Sockets:
    """The open sockets of one client, *most* at most where each connection has one.

    An event loop closes a socket only in the turn after the one in which its connection was ended: until then it
    counts. While a host with several addresses is connected to, one connection may try several sockets.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: set[_Socket] = set()
        self._changed: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def make(self, address: Address) -> socket.socket:
        """Open a socket for *address*."""
        one = _Socket(*address[:3])
        one.among = self
        self._open.add(one)
        return one

    def lose(self, one: _Socket) -> None:
        """Forget a socket that was closed, and wake whoever waits for that."""
        self._open.discard(one)
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def room(self) -> None:
        """Return when another one may be opened, which must then be done at once."""
        await self._fewer_than(self.most)

    async def gone(self) -> None:
        """Return when all are closed."""
        await self._fewer_than(1)

    async def _fewer_than(self, number: int) -> None:
        while len(self._open) >= number:
            if self._changed is None or self._changed.done():
                self._changed = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._changed})
