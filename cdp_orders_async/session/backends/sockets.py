"""The open sockets of one client."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, TypeAlias

__all__ = ["Address", "Sockets"]

Address: TypeAlias = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
"""An entry of the result of `socket.getaddrinfo`."""
READ_BYTES = 65_536  # bytes that are read at a time


class _Socket(socket.socket):
    """A socket that tells when it is closed, and that is read in smaller pieces.

    asyncio asks for 256 KiB at a time: to allocate and free such a buffer is the most expensive step of a request.
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
    """The open sockets of one client: at most *most*, if each connection has one.

    An event loop closes a socket one step after its connection ended; until then it counts. A connection to a host
    with several addresses may try several sockets.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: set[_Socket] = set()
        self._changed: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def make(self, address: Address) -> socket.socket:
        """Open a socket for *address*."""
        made = _Socket(*address[:3])
        made.among = self
        self._open.add(made)
        return made

    def lose(self, closed: _Socket) -> None:
        """Forget a socket that was closed, and wake the tasks that wait for that."""
        self._open.discard(closed)
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def room(self) -> None:
        """Wait until a further socket may be opened; the caller opens it at once."""
        await self._fewer_than(self.most)

    async def gone(self) -> None:
        """Wait until all sockets are closed."""
        await self._fewer_than(1)

    async def _fewer_than(self, number: int) -> None:
        while len(self._open) >= number:
            if self._changed is None or self._changed.done():
                self._changed = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._changed})
