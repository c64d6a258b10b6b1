"""The emulator serves programs on its own machine, takes no more than it must, and says nothing in its logs."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hmac
import logging
import tracemalloc
from collections.abc import Callable, Sequence
from email.message import Message
from email.parser import BytesParser
from urllib.parse import urlsplit

import aiohttp
import pytest

from cdp_orders_async.emulator import Emulator, Faults, app, running
from tests.emulator.talking import Json, talking
from tests.security.canaries import TOKEN, leaks, logged

BASIC = aiohttp.encode_basic_auth("key", "token")
MANY = 1_000


def port_of(url: str) -> int:
    """Return the port of a base URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


async def exchange(url: str, request: bytes) -> tuple[int, Message, bytes]:
    """Send *request* as it is; return status, headers and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    first, _, lines = head.partition(b"\r\n")
    headers = BytesParser().parsebytes(lines, headersonly=True)
    body = await reader.readexactly(int(headers.get("Content-Length", 0))) if not request.startswith(b"HEAD ") else b""
    writer.close()
    return int(first.split()[1]), headers, body


def request(method: str, path: str, *lines: str, host: str = "localhost", body: bytes = b"") -> bytes:
    """Write a request with the right credentials."""
    own = [f"Host: {host}"] if host else []
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {path} HTTP/1.1", *own, f"Authorization: {BASIC}", *length, *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


@pytest.mark.parametrize("path", ["/v2.1/orders?referenceId=a", "/v2/orders?referenceId=a", "/__state", "/__ledger"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1", 200), ("localhost", 200), ("LOCALHOST", 200), ("[::1]", 200)),
        *(("127.0.0.1:{}", 200), ("localhost:{}", 200), ("[::1]:{}", 200)),
        *(("evil.test", 403), ("evil.test:{}", 403), ("127.0.0.1.evil.test", 403), ("localhost.evil.test:{}", 403)),
        *(
            ("127.0.0.1:1", 403),
            ("127.0.0.2", 403),
            ("::1", 403),
            ("localhost:{}.evil.test", 403),
            ("a@localhost", 403),
        ),
    ],
)
async def test_host_must_be_this_machine(host: str, status: int, path: str) -> None:
    """A name that leads to this machine only since its owner wants so (DNS rebinding) is refused on every route."""
    async with running() as url:
        got, _, _ = await exchange(url, request("GET", path, host=host.format(port_of(url))))
    assert got == status


@pytest.mark.parametrize(("method", "path"), [("GET", "/__state"), ("POST", "/__reset"), ("POST", "/v2.1/orders")])
@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.test", "null", "", "https://localhost:{}", "http://localhost:1", "file://"),
        *("http://localhost", "http://127.0.0.1", "http://[::1]", "localhost:{}", "http://localhost:{}.evil.test"),
    ],
)
async def test_origin_must_be_this_server(origin: str, method: str, path: str) -> None:
    """A page of another site gets nothing done, although the browser sends its requests here, and no leave to read."""
    emulator = Emulator()
    async with running(emulator) as url:
        foreign = f"Origin: {origin.format(port_of(url))}"
        status, headers, _ = await exchange(url, request(method, path, foreign, "Content-Type: application/json"))
        assert (status, emulator.requests.total()) == (403, 0)
        assert "Access-Control-Allow-Origin" not in headers
        own = f"Origin: http://localhost:{port_of(url)}"
        status, _, _ = await exchange(url, request(method, path, own, "Content-Type: application/json"))
        assert status in {200, 204, 400}


async def test_faults_do_not_come_before_the_guard() -> None:
    """A request of another site has no part in a plan of faults."""
    emulator = Emulator(faults=Faults.of({"faults": [{"operation": "*", "action": "close", "phase": "before"}]}))
    async with running(emulator) as url:
        status, _, _ = await exchange(url, request("GET", "/v2.1/orders?referenceId=a", host="evil.test"))
    assert (status, emulator.faults.done.total()) == (403, 0)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "anything"])
async def test_no_page_of_another_site_spends_anything(site: str) -> None:
    """An image of a page has no origin, but the browser says whose it is: it draws no fault, and does not count."""
    emulator = Emulator(faults=Faults.of({"faults": [{"operation": "*", "script": [{"action": "status"}]}]}))
    path = "/v2.1/orders?referenceId=a"
    async with running(emulator) as url:
        status, _, _ = await exchange(url, request("GET", path, f"Sec-Fetch-Site: {site}"))
        assert (status, emulator.faults.done.total(), emulator.requests.total()) == (403, 0, 0)
        for own in ("none", "same-origin"):
            status, _, _ = await exchange(url, request("GET", path, f"Sec-Fetch-Site: {own}"))
            assert status in {503, 200}
    assert emulator.faults.done.total() == 1


@pytest.mark.parametrize("phase", ["before", "accepted", "written", "head", "body"])
async def test_nobody_draws_a_fault(phase: str) -> None:
    """Who has no credentials is told so, whatever is planned, and what is planned is left for others."""
    plan: Json = {"faults": [{"operation": "*", "action": "stall", "phase": phase, "seconds": 3600}]}
    emulator = Emulator(faults=Faults.of(plan))
    async with running(emulator) as url:
        for authorization in ("Basic d3Jvbmc=", "Bearer", ""):
            sent = request("GET", "/v2.1/orders?referenceId=a").replace(BASIC.encode(), authorization.encode())
            status, _, _ = await asyncio.wait_for(exchange(url, sent), 60)
            assert (status, emulator.faults.done.total()) == (401, 0)


async def test_no_body_of_nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has no credentials has an answer before any body came, and then the end of the connection."""
    monkeypatch.setattr(app, "LINGERING_SECONDS", 0.1)
    sent = b"POST /v2.1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{"
    async with running() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("sent", [b"", b"GET /__state HTT", request("POST", "/v2.1/orders", "Content-Length: 9")])
async def test_half_a_request_is_not_waited_for_without_end(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection ends on which no head, half a head or half a body comes."""
    monkeypatch.setattr(app, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(app, "BODY_SECONDS", 0.1)
    async with running() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(sent)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many connections the last ones end at once, and the first ones are served."""
    monkeypatch.setattr(app, "MOST_CONNECTIONS", 3)
    async with running() as url:
        pairs = [await asyncio.open_connection("127.0.0.1", port_of(url)) for _ in range(4)]
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(pairs[3][0].read(), 60) == b""
        pairs[0][1].write(request("GET", "/__state"))
        assert (await pairs[0][0].readline()).startswith(b"HTTP/1.1 200 ")
        for _, writer in pairs:
            writer.close()


async def test_only_this_machine_is_served() -> None:
    """The emulator listens on 127.0.0.1 alone: on another address of this machine there is nobody."""
    async with running() as url:
        assert urlsplit(url).hostname == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", port_of(url))


@pytest.mark.parametrize(
    ("status", "lines", "body"),
    [
        (200, ["X-One: 1"] * 50, b""),
        (400, ["X-One: 1"] * 100, b""),
        (400, [f"X-Long: {'a' * 10_000}"], b""),
        (413, ["Content-Type: application/json"], b" " * (2**20 + 1)),
    ],
)
async def test_size_of_requests_is_bounded(status: int, lines: Sequence[str], body: bytes) -> None:
    """Many headers, a long one and a large body are refused."""
    method, path = ("POST", "/v2.1/orders") if body else ("GET", "/__state")
    async with running() as url:
        got, _, _ = await exchange(url, request(method, path, *lines, body=body))
    assert got == status


async def test_long_path_is_refused() -> None:
    """So is a long path."""
    async with running() as url:
        status, _, _ = await exchange(url, request("GET", f"/{'a' * 10_000}"))
    assert status == 400


async def test_packed_bodies_are_not_unpacked() -> None:
    """A small body that would become a large one stays small, and is no JSON."""
    body = gzip.compress(b" " * 2**28)
    async with running() as url:
        tracemalloc.start()
        try:
            sent = request(
                "POST", "/v2.1/orders", "Content-Type: application/json", "Content-Encoding: gzip", body=body
            )
            status, _, said = await exchange(url, sent)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (status, b"The body is not valid JSON." in said) == (400, True)
    assert peak < 2**24


async def test_credentials_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are compared by the function that takes as long for a nearly right token as for a wrong one."""
    compared: list[tuple[object, object]] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def watched(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return compare(given, wanted)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    async with running(Emulator(bearer="jwt")) as url:
        for given in (BASIC, f"{BASIC[:-2]}==", "Bearer jwt", "Bearer jw\u00e9", "Basic "):
            await exchange(url, request("GET", "/__state").replace(BASIC.encode(), given.encode()))
    wanted = BASIC.removeprefix("Basic ").encode()
    assert list(dict.fromkeys(right for _, right in compared)) == [wanted, b"jwt"]
    assert len({given for given, _ in compared}) == 5
    assert all(isinstance(given, bytes) for given, _ in compared)


@pytest.mark.parametrize("start", ["/__state", "/__ledger", "/v2.1/orders", "/v2/orders", "", "/__state/%2e"])
@pytest.mark.parametrize(
    "up", ["/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "/..\\etc"]
)
async def test_no_path_leads_to_a_file(start: str, up: str) -> None:
    """No route takes the name of a file: a way up in a path is a path, and nothing is there."""
    async with running() as url:
        status, _, body = await exchange(url, request("GET", start + up))
    assert status == 404
    assert b"root:" not in body


MALFORMED = {
    "header": f"GET /__state HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {TOKEN}\0\r\n\r\n",
    "line": f"GET /{TOKEN}\x1b[31m HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "method": f"{TOKEN}{{}} / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no colon": f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization {TOKEN}\r\n\r\n",
    "long": f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {TOKEN * MANY}\r\n\r\n",
    "chunks": f"POST /v2.1/orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{TOKEN}\r\n",
    "target": f"GET http://{TOKEN}:x/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_what_cannot_be_read_is_not_logged(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A malformed request is answered with 400, and no log repeats it, which may be a token: nor is there noise."""
    caplog.set_level(logging.DEBUG)
    async with running() as url:
        status, _, _ = await exchange(url, MALFORMED[kind].encode())
    assert status == 400
    assert leaks(logged(caplog.records)) == []
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_what_breaks_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of the emulator itself is a 500, and is logged."""

    def broken(*_: object) -> object:
        raise LookupError("broken")

    emulator = Emulator()
    monkeypatch.setattr(emulator, "answer", broken)
    async with running(emulator) as url:
        status, _, _ = await exchange(url, request("GET", "/__state"))
    assert status == 500
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


@pytest.mark.parametrize("reset", [False, True])
async def test_drip_ends_with_its_reader(reset: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001 a parameter
    """A slow answer ends when its reader has left, and the log has no word of it."""
    caplog.set_level(logging.INFO, "asyncio")
    slowly: Json = {"faults": [{"operation": "*", "action": "drip", "seconds": 3600}]}
    async with running(Emulator(faults=Faults.of(slowly))) as url:
        before = asyncio.all_tasks()
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(request("GET", "/v2.1/orders?referenceId=a"))
        assert await reader.readexactly(5) == b"HTTP/"
        answering = asyncio.all_tasks() - before
        assert answering
        writer.transport.abort() if reset else writer.close()
        await asyncio.wait(answering, timeout=60)
        assert [task for task in answering if not task.done()] == []
    assert caplog.records == []


ALLOWED: dict[str, set[str]] = {"/__state": {"GET"}, "/__ledger": {"GET"}, "/__reset": {"POST"}}


@pytest.mark.parametrize("path", [*ALLOWED, "/v2.1/orders", "/v2.1/orderItems/x", "/v2/orders/x/contacts"])
async def test_wrong_methods_name_the_right_ones(path: str) -> None:
    """A 405 says in Allow which methods there are, and each of them is no 405."""
    async with talking() as talk:
        answer = await talk("TRACE", path)
        assert answer.status == 405
        allowed = set(answer.headers["Allow"].split(", "))
        assert allowed == ALLOWED.get(path, allowed)
        statuses = {method: (await talk(method, path)).status for method in ("GET", "POST", "PUT", "PATCH", "DELETE")}
    assert {method for method, status in statuses.items() if status != 405} == allowed
