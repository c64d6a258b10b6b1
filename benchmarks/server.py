"""The server to measure against, which answers all alike: ``python benchmarks/server.py [DELAY [CERTIFICATE]]``.

*DELAY* is in seconds. With *CERTIFICATE*, a file that has the key too, the server speaks TLS 1.3. It prints its port.
``GET /stats`` tells how many requests came since it was last asked.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

FIELDS: dict[str, str | float] = json.loads("""
    {"type": "MOBILE", "name": "Mobile AZ10", "description": "Mobile AZ10, 256 GB, blue", "productId": "1233-44",
     "price": 105.5, "currencyCode": "EUR", "referenceId": "AAAAA-134", "vendor": "Vendor XYZ", "status": "CONFIRMED",
     "language": "EN", "quantity": 1, "channel": "WEB"}
""")
"""The item that every client creates."""
KEPT = {
    "ref": "2d7de9df-45a2-45ea-872c-30e45139007d",
    "href": "https://api-engage-eu.sitecorecloud.io/v2.1/orderItems/2d7de9df-45a2-45ea-872c-30e45139007d",
    "createdAt": "2024-01-01T16:17:16Z",
    "modifiedAt": "2024-01-01T16:17:16Z",
    **FIELDS,
}
BODY = json.dumps(KEPT, separators=(",", ":")).encode()
HEAD = (
    "HTTP/1.1 201 Created\r\nDate: Sat, 21 Nov 2026 16:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\n"
    f"Content-Length: {len(BODY)}\r\nConnection: keep-alive\r\nX-Request-Id: 3c1d9d1e-9f2b-4a7e-8a4c\r\n\r\n"
)
UNTIL_REF, _, AFTER_REF = (HEAD.encode() + BODY).partition(b"30e45139007d")
"""The answer around the end of its reference, which counts the answers: no two things have one reference."""


class Server(asyncio.Protocol):
    """One connection: each request whose body came whole is answered, after *delay* seconds."""

    requests = 0  # of all connections, since they were asked for
    answers = 0
    transport: asyncio.Transport
    received = b""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 it is TCP
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what came whole."""
        received = self.received + data
        while (end := received.find(b"\r\n\r\n")) >= 0:
            head = received[:end].lower()
            _, _, length = head.partition(b"content-length:")
            whole = end + 4 + int(length.partition(b"\r\n")[0] or 0)
            if len(received) < whole:
                break
            received = received[whole:]
            if head.startswith(b"get /stats"):
                self.transport.write(b'{"requests": %d}' % Server.requests)
                self.transport.close()
                Server.requests = 0
                return
            Server.requests += 1
            Server.answers += 1
            answer = b"%b%012x%b" % (UNTIL_REF, Server.answers, AFTER_REF)
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
            else:
                self.transport.write(answer)
        self.received = received


async def main(delay: str = "0", certificate: str | None = None) -> None:
    """Serve until killed."""
    tls: ssl.SSLContext | None = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(float(delay)), "127.0.0.1", backlog=4096, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
