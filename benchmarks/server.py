"""The server to measure against, one answer to everything: ``python benchmarks/server.py [DELAY]``, in seconds.

It prints its port. ``GET /stats`` tells what came since the last time it was asked.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import attrs

ITEM = {
    "ref": "2d7de9df-45a2-45ea-872c-30e45139007d",
    "href": "https://api-engage-eu.sitecorecloud.io/v2.1/orderItems/2d7de9df-45a2-45ea-872c-30e45139007d",
    "createdAt": "2024-01-01T16:17:16Z",
    "modifiedAt": "2024-01-01T16:17:16Z",
    "type": "MOBILE",
    "name": "Mobile AZ10",
    "description": "Mobile AZ10, 256 GB, midnight blue",
    "productId": "1233-44",
    "price": 105.5,
    "currencyCode": "EUR",
    "referenceId": "AAAAA-134",
    "vendor": "Vendor XYZ",
    "status": "CONFIRMED",
    "language": "EN",
    "quantity": 1,
    "channel": "WEB",
}
BODY = json.dumps(ITEM, separators=(",", ":")).encode()
HEAD = (
    "HTTP/1.1 201 Created\r\n"
    "Date: Sat, 21 Nov 2026 16:00:00 GMT\r\n"
    "Content-Type: application/json; charset=utf-8\r\n"
    f"Content-Length: {len(BODY)}\r\n"
    "Connection: keep-alive\r\n"
    "X-Request-Id: 3c1d9d1e-9f2b-4a7e-8a4c-0a1b2c3d4e5f\r\n\r\n"
)
ANSWER = HEAD.encode() + BODY


@attrs.define
class Stats:
    """What came since the last time somebody asked."""

    requests: int = 0
    connections: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    cpu: float = attrs.field(factory=time.process_time)
    """Seconds of CPU when this began."""

    def tell(self) -> bytes:
        """Return them as an HTTP answer, and begin anew."""
        told = {**attrs.asdict(self), "cpu": time.process_time() - self.cpu}
        body = json.dumps(told).encode()
        self.requests = self.connections = self.most_in_flight = 0
        self.cpu = time.process_time()
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Server(asyncio.Protocol):
    """One connection: each request whose body came whole is answered, after *delay* seconds."""

    transport: asyncio.Transport

    def __init__(self, stats: Stats, delay: float) -> None:
        self._stats = stats
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 it is TCP
        self.transport = transport
        self._stats.connections += 1

    def data_received(self, data: bytes) -> None:
        """Answer what came whole."""
        received = self._received + data
        while (end := received.find(b"\r\n\r\n")) >= 0:
            head = received[:end].lower()
            at = head.find(b"content-length:")
            whole = end + 4 + (int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0)
            if len(received) < whole:
                break
            received = received[whole:]
            if head.startswith(b"get /stats"):
                self.transport.write(self._stats.tell())
                self.transport.close()
                return
            stats = self._stats
            stats.requests += 1
            stats.in_flight += 1
            stats.most_in_flight = max(stats.most_in_flight, stats.in_flight)
            if self._delay:
                self._loop.call_later(self._delay, self._answer)
            else:
                self._answer()
        self._received = received

    def _answer(self) -> None:
        self._stats.in_flight -= 1
        self.transport.write(ANSWER)


async def main(delay: float) -> None:
    """Serve until killed."""
    stats = Stats()
    server = await asyncio.get_running_loop().create_server(lambda: Server(stats, delay), "127.0.0.1", backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
