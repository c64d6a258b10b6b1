"""The way to the server: credentials, proxies and TLS."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
import threading
import traceback
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
import trustme

from cdp_orders_async.errors import CdpError, Invalid, NotSent, Refused
from cdp_orders_async.session import Session
from cdp_orders_async.settings import Credentials, Settings, tls_of
from tests.servers import Cut, Proxy, Reply, serving
from tests.session.calling import METHODS, ONCE, TOKEN, ask, calling, closed_port, failure
from tests.ways import over

pytestmark = pytest.mark.usefixtures("way")

BASIC = f"Basic {base64.b64encode(f'key:{TOKEN}'.encode()).decode()}"
USER = f"Basic {base64.b64encode(b'user:canary-pass').decode()}"
FROM_ENV = Settings(retries=0)
only_aiohttp = pytest.mark.parametrize("way", ["aiohttp"], indirect=True)
"""It speaks TLS with proxies."""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the proxies away that the machine may name."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the path of its certificate."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def trusting(ca_file: str) -> Settings:
    """Return settings that trust it."""
    return Settings(retries=0, ca_file=ca_file)


def tls_server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return the context of a server with *certificate*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    show(certificate, context)
    return context


def show(certificate: trustme.LeafCert, context: ssl.SSLContext) -> None:
    """Let *context* show *certificate*."""
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] it knows pyOpenSSL, which is not here


def trust(authority: trustme.CA, context: ssl.SSLContext) -> None:
    """Let *context* trust what *authority* signed."""
    authority.configure_trust(context)  # pyright: ignore[reportUnknownMemberType] it knows pyOpenSSL, which is not here


@pytest.fixture(scope="module")
def good(authority: trustme.CA) -> ssl.SSLContext:
    """Return the context of a server that may be trusted."""
    return tls_server(authority.issue_cert("127.0.0.1"))


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name other credentials for this machine in a netrc file."""
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login other password wrong\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


async def test_basic_credentials() -> None:
    """Client key and API token go as Basic authentication, with what else every request says."""
    async with serving() as server, calling(server.url) as session:
        await session.send(ask())
        await session.send(ask("POST", body='{"name": "Zoë"}'.encode()))
    got, sent = server.requests
    assert got.headers["authorization"] == sent.headers["authorization"] == BASIC
    assert got.headers["accept"] == "application/json"
    assert got.headers["user-agent"].startswith("cdp-orders-async/")
    assert "content-type" not in got.headers
    assert sent.headers["content-type"] == "application/json"
    assert server.ledger[1].body.decode() == '{"name": "Zoë"}'


async def test_bearer_token() -> None:
    """A bearer token goes as it is."""
    async with serving() as server:
        session = Session(server.url, Credentials(bearer_token=TOKEN), over(ONCE))
        await session.send(ask())
        await session.aclose()
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


async def test_path_and_query() -> None:
    """The path is put behind that of the base URL, and the query is encoded."""
    async with serving() as server, calling(f"{server.url}/api%20x/") as session:
        await session.send(ask(query={"referenceId": "a&b=c d/ü+"}))
    assert server.requests[0].target == "/api%20x/v2.1/orders?referenceId=a%26b%3Dc+d/%C3%BC%2B"


@pytest.mark.usefixtures("netrc")
async def test_netrc_does_not_override() -> None:
    """Credentials of a netrc file are not used, proxies of the environment allowed or not."""
    async with serving() as server, calling(server.url, FROM_ENV) as session:
        await session.send(ask())
    assert server.requests[0].headers["authorization"] == BASIC


@pytest.mark.usefixtures("netrc")
async def test_netrc_does_not_override_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor are they where a proxy of the environment is used."""
    async with serving(kind=Proxy) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with calling(closed_port(), FROM_ENV) as session:
            await session.send(ask())
    assert proxy.requests[0].headers["authorization"] == BASIC


async def test_proxy_of_the_settings() -> None:
    """The proxy of the settings is used, with the credentials in its URL."""
    async with serving(kind=Proxy) as proxy:
        url = proxy.url.replace("//", "//user:canary-pass@")
        async with calling("http://127.0.0.1:1", Settings(retries=0, proxy=url)) as session:
            await session.send(ask("POST"))
    assert proxy.requests[0].target == "http://127.0.0.1:1/v2.1/orders"
    assert proxy.requests[0].headers["proxy-authorization"] == USER


async def test_proxy_without_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy named as host and port only is one, as with other tools."""
    async with serving(kind=Proxy) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removeprefix("http://"))
        async with calling("http://127.0.0.1:1", FROM_ENV) as session:
            await session.send(ask())
    assert len(proxy.requests) == 1


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
async def test_tunnel_of_the_environment(
    name: str, good: ssl.SSLContext, trusting: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS goes through a tunnel: the proxy sees no credentials of the API, the API none of the proxy."""
    async with serving(kind=Proxy) as proxy, serving(tls=good) as server:
        monkeypatch.setenv(name, proxy.url.replace("//", "//user:canary-pass@"))
        async with calling(server.url, trusting) as session:
            await session.send(ask("POST"))
    assert [(asked.method, asked.target) for asked in proxy.requests] == [
        ("CONNECT", server.url.removeprefix("https://"))
    ]
    assert proxy.requests[0].headers["proxy-authorization"] == USER
    assert "authorization" not in proxy.requests[0].headers
    assert "proxy-authorization" not in server.requests[0].headers


@pytest.mark.parametrize("bypass", ["127.0.0.1", "*", "example.com, 127.0.0.1"])
async def test_no_proxy(bypass: str, good: ssl.SSLContext, trusting: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that NO_PROXY names are reached directly."""
    async with serving(kind=Proxy) as proxy, serving(tls=good) as server:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", bypass)
        async with calling(server.url, trusting) as session:
            await session.send(ask())
    assert proxy.connections == 0


async def test_settings_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment counts only where the settings name no proxy, and allow it."""
    async with serving(kind=Proxy) as proxy, serving() as server:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "*")
        async with calling(server.url, Settings(retries=0, proxy=proxy.url)) as session:
            await session.send(ask())
        async with calling(server.url, ONCE) as session:
            await session.send(ask())
    assert (proxy.connections, server.connections) == (1, 1)


async def test_token_does_not_leave_the_machine_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy elsewhere, which the environment names, is not asked for a server on this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    async with serving() as server, calling(server.url, FROM_ENV) as session:
        await session.send(ask())
    assert len(server.requests) == 1


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1080", "http://user:canary#x@host", "http://", "http://a b"])
async def test_bad_proxy_of_the_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be used is refused by the name of its variable, without its value."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(Invalid) as caught:
        async with calling("https://api.test", FROM_ENV):
            pass
    assert str(caught.value) == "HTTPS_PROXY: must be like http://user:password@host:port"
    assert "canary" not in shown(caught.value)


@pytest.mark.parametrize("method", METHODS)
async def test_failing_proxy_is_not_sent(method: str, trusting: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the proxy refuses the tunnel, or is not there, nothing was sent, and no text holds its password."""
    async with serving(Reply(407), kind=Proxy) as proxy:
        for url in (proxy.url, closed_port()):
            monkeypatch.setenv("HTTPS_PROXY", url.replace("//", "//user:canary-pass@"))
            async with calling("https://api.test", trusting) as session:
                error = await failure(session, ask(method, query={"guestRef": "canary-guest"}))
            assert isinstance(error, NotSent)
            assert "canary" not in shown(error)
    assert len(proxy.requests) == 1


async def test_refusing_proxy_without_a_tunnel_is_a_refusal() -> None:
    """Without a tunnel the answer of a proxy is an answer."""
    async with serving(Reply(407), kind=Proxy) as proxy:
        url = proxy.url.replace("//", "//user:canary-pass@")
        async with calling("http://127.0.0.1:1", Settings(retries=0, proxy=url)) as session:
            error = await failure(session, ask("POST"))
    assert isinstance(error, Refused)
    assert error.status == 407
    assert "canary" not in shown(error)


def shown(error: CdpError) -> str:
    """Return all that a log or a traceback shows of an error."""
    return "".join((repr(error), *traceback.format_exception(error)))


async def test_private_authority(good: ssl.SSLContext, trusting: Settings) -> None:
    """A server whose certificate an own authority signed is trusted with its file."""
    async with serving(tls=good) as server, calling(server.url, trusting) as session:
        assert await session.send(ask("POST")) == b"{}"


async def test_certificates_are_read_while_the_threads_are_busy(trusting: Settings) -> None:
    """Whoever keeps the default executor busy, perhaps with waiting for this call, does not hold up a call."""
    release, loop = threading.Event(), asyncio.get_running_loop()
    busy = [loop.run_in_executor(None, release.wait) for _ in range(64)]
    try:
        async with asyncio.timeout(30):
            await tls_of(trusting)
        assert not any(one.done() for one in busy)
    finally:
        release.set()
    await asyncio.gather(*busy)


async def test_unknown_authority(good: ssl.SSLContext) -> None:
    """Without that file it is not, and nothing is sent to it; the error says why, and that it will not pass."""
    async with serving(tls=good) as server, calling(server.url) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, NotSent)
    assert error.lasting
    assert str(error).startswith("POST /v2.1/orders was not sent (the certificate of 127.0.0.1 is not trusted: ")
    assert "self-signed certificate" in str(error) or "local issuer" in str(error)
    assert server.requests == []


async def test_what_may_pass() -> None:
    """A server that is not there may come back."""
    async with calling(closed_port()) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, NotSent)
    assert not error.lasting


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("host", r"IP address mismatch, certificate is not valid for '127\.0\.0\.1'"),
        ("name", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("expired", "certificate has expired"),
        ("not yet", "certificate is not yet valid( or the system clock is incorrect)?"),  # since OpenSSL 3.5
    ],
)
async def test_wrong_certificates(fault: str, words: str, authority: trustme.CA, trusting: Settings) -> None:
    """A certificate for another host, or for another time, is refused, and the error says so."""
    now = datetime.now(UTC)
    certificate = {
        "host": lambda: authority.issue_cert("api.test"),
        "name": lambda: authority.issue_cert("api.test"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_after=now - timedelta(days=1)),
        "not yet": lambda: authority.issue_cert("127.0.0.1", not_before=now + timedelta(days=1)),
    }[fault]()
    host = "localhost" if fault == "name" else "127.0.0.1"
    async with serving(tls=tls_server(certificate)) as server:
        async with calling(server.url.replace("127.0.0.1", host), trusting) as session:
            error = await failure(session, ask())
        assert isinstance(error, NotSent)
        assert error.lasting
        told = rf"GET /v2\.1/orders was not sent \(the certificate of {host} is not trusted: {words}\)"
        assert re.fullmatch(told, str(error))
        assert server.requests == []


@only_aiohttp
async def test_certificate_of_a_proxy(good: ssl.SSLContext) -> None:
    """Where it is a proxy whose certificate is not trusted, the proxy is named, and not its password."""
    async with serving(tls=good, kind=Proxy) as proxy:
        url = proxy.url.replace("//", "//user:canary-pass@")
        async with calling("https://api.test", Settings(retries=0, proxy=url)) as session:
            error = await failure(session, ask())
    assert isinstance(error, NotSent)
    assert "(the certificate of 127.0.0.1 is not trusted: " in str(error)
    assert "canary" not in shown(error)


async def test_old_tls(authority: trustme.CA, trusting: Settings) -> None:
    """A server that speaks TLS 1.1 at most is refused."""
    context = tls_server(authority.issue_cert("127.0.0.1"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with serving(tls=context) as server, calling(server.url, trusting) as session:
        error = await failure(session, ask())
    assert isinstance(error, NotSent)
    assert server.requests == []


@pytest.mark.parametrize("action", ["close", "reset", "stall"])
async def test_broken_handshake(action: Literal["close", "reset", "stall"]) -> None:
    """A connection that ends, or takes too long, before TLS stands was sent nothing."""
    settings = Settings(retries=0, connect_timeout=0.1)
    async with (
        serving(Cut("accepted", action)) as server,
        calling(server.url.replace("http:", "https:"), settings) as session,
    ):
        errors = [await failure(session, ask(method)) for method in METHODS]
    assert [type(error) for error in errors] == [NotSent] * len(METHODS)


async def test_mutual_tls(authority: trustme.CA) -> None:
    """A TLS context of one's own shows its client certificate; without one the server does nothing."""
    demanding = tls_server(authority.issue_cert("127.0.0.1"))
    demanding.verify_mode = ssl.CERT_REQUIRED
    trust(authority, demanding)
    mine = ssl.create_default_context()
    trust(authority, mine)
    async with serving(tls=demanding) as server:
        async with calling(server.url, Settings(retries=0, ssl_context=mine)) as session:
            assert isinstance(await failure(session, ask("POST")), CdpError)
        assert server.requests == []
        show(authority.issue_cert("client@example.com"), mine)
        async with calling(server.url, Settings(retries=0, ssl_context=mine)) as session:
            assert await session.send(ask("POST")) == b"{}"


BLOCK = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "content", [None, "", "no certificate", BLOCK.format("no base64!"), BLOCK.format("bm8gY2VydGlmaWNhdGU="), "\xff"]
)
@pytest.mark.parametrize("url", ["https://api.test", "http://127.0.0.1:1"])
def test_bad_ca_file(content: str | None, url: str, tmp_path: Path) -> None:
    """A file of certificates that is missing or holds none is refused by its name, when the client is made."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(Invalid, match=r"^ca_file: must be a readable file of certificates in PEM form$"):
        Session(url, Credentials("key", TOKEN), over(Settings(ca_file=str(path), trust_env=False)))


@pytest.mark.parametrize("path", [".", os.devnull])
def test_ca_file_that_is_no_file(path: str) -> None:
    """What is no regular file is not read: it may have no end, or nobody who writes it."""
    with pytest.raises(Invalid, match=r"^ca_file: "):
        Session("https://api.test", Credentials("key", TOKEN), over(Settings(ca_file=path)))


async def test_ca_file_with_more_than_certificates(authority: trustme.CA, good: ssl.SSLContext, tmp_path: Path) -> None:
    """What stands around the certificates in the file is no hindrance, in whatever encoding."""
    path = tmp_path / "ca.pem"
    path.write_bytes("# Zertifizierungsstelle für Tests\n".encode("latin-1") + authority.cert_pem.bytes())
    async with serving(tls=good) as server, calling(server.url, Settings(retries=0, ca_file=str(path))) as session:
        assert await session.send(ask("POST")) == b"{}"


def test_own_context_comes_before_the_ca_file() -> None:
    """A file that is not used is not looked at."""
    settings = Settings(ca_file="/nowhere", ssl_context=ssl.create_default_context())
    Session("https://api.test", Credentials("key", TOKEN), over(settings))
