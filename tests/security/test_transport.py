"""The credentials go to the server that was named, over TLS, and to nobody else."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path

import aiohttp
import orjson
import pytest
import trustme

from cdp_orders_async import CdpOrders, CdpOrdersV2, Invalid, NotSent, Settings
from cdp_orders_async.addresses import base_url_of
from cdp_orders_async.settings import proxy_of
from tests.servers import Proxy, Reply, serving
from tests.session.calling import ask, calling, failure
from tests.session.test_network import BASIC, bare_environment, show, trust

__all__ = ["bare_environment"]


def lax(context: ssl.SSLContext) -> ssl.SSLContext:
    """Let *context* speak the versions of TLS that are broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_tls_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS 1.1 is refused even where Python and OpenSSL would speak it, as some builds do and a lax client shows."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    old = lax(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    show(authority.issue_cert("127.0.0.1"), old)
    mine = lax(ssl.create_default_context())
    trust(authority, mine)
    strict = ssl.create_default_context

    def as_some_builds(*, cafile: str | None) -> ssl.SSLContext:
        return lax(strict(cafile=cafile))

    monkeypatch.setattr(ssl, "create_default_context", as_some_builds)
    async with serving(tls=old) as server:
        async with calling(server.url, Settings(retries=0, ssl_context=mine)) as session:
            assert await session.send(ask()) == b"{}"
        async with calling(server.url, Settings(retries=0, ca_file=str(tmp_path / "ca.pem"))) as session:
            assert isinstance(await failure(session, ask()), NotSent)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "host",
    [
        *("api.test", "127.0.0.1.api.test", "localhost.api.test", "0", "10.0.0.1", "[::]", "[::ffff:10.0.0.1]"),
        *("0x7f.1", "127.1", "2130706433", "localhost.", "api.test:80", "127.0.0.1@api.test", "api.test\\@127.0.0.1"),
    ],
)
def test_no_credentials_in_the_clear(host: str) -> None:
    """Only this machine is spoken to without TLS: by its name, or an address that is certainly its own."""
    with pytest.raises(Invalid, match=r"^base_url: "):
        base_url_of(None, f"http://{host}")


@pytest.mark.parametrize("host", ["127.0.0.1:1", "127.9.9.9", "localhost:80", "LOCALHOST", "[::1]:8642"])
def test_this_machine_needs_no_tls(host: str) -> None:
    """Without TLS this machine can be spoken to."""
    assert base_url_of(None, f"http://{host}") == f"http://{host.lower().removesuffix(':80')}"


def test_no_credentials_in_the_clear_to_a_proxy() -> None:
    """Nor do they go in the clear to a proxy elsewhere that would bring them back to this machine."""
    with pytest.raises(Invalid, match=r"^proxy: must be on this machine for an http base_url"):
        proxy_of(Settings(proxy="http://user:canary@proxy.test:3128"), "http://127.0.0.1:8642")
    assert proxy_of(Settings(proxy="http://localhost:3128"), "http://127.0.0.1:8642") == "http://localhost:3128"
    assert proxy_of(Settings(proxy="http://proxy.test:3128"), "https://api.test") == "http://proxy.test:3128"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_redirections_lead_nowhere(method: str, status: int) -> None:
    """A redirection is not followed, whatever was asked, so another host gets nothing."""
    async with serving() as other, serving(Reply(status, headers={"Location": f"{other.url}/v2.1/orders"})) as server:
        async with calling(server.url) as session:
            await failure(session, ask(method))
        assert (len(server.requests), other.connections) == (1, 0)


@pytest.mark.parametrize("version", [CdpOrders, CdpOrdersV2])
async def test_links_lead_nowhere(version: type[CdpOrders | CdpOrdersV2]) -> None:
    """The next page and what a list only links to are asked of the server that was named, wherever the links lead."""
    ref = "9d94ee11-7043-4b71-980c-a777d00a7b46"
    async with serving() as other:
        link = {"href": f"{other.url}/v2.1/orders/{ref}"}
        page = orjson.dumps({"items": [link], "offset": 0, "limit": 1, "next": {"href": f"{other.url}/v2.1/orders"}})
        order = orjson.dumps({"ref": ref, "referenceId": "B-1"})
        async with (
            serving(Reply(body=page), Reply(body=order), Reply(body=b'{"items": [], "offset": 1}')) as server,
            version(base_url=server.url, client_key="key", api_token="token") as cdp,  # noqa: S106 it guards nothing
        ):
            found = [order.ref async for order in cdp.orders.list(reference_id="B-1", limit=1)]
        assert (list(map(str, found)), other.connections) == ([ref], 0)
    paths = [asked.target.partition("?")[0] for asked in server.requests]
    prefix = cdp.api.prefix
    assert paths == [f"{prefix}/orders", f"{prefix}/orders/{ref}", f"{prefix}/orders"]


@pytest.mark.filterwarnings("ignore:BasicAuth is deprecated", "ignore:The 'auth' parameter is deprecated")
@pytest.mark.parametrize("line", ["machine 127.0.0.1 login other password wrong", "default login other password wrong"])
async def test_netrc_does_not_override_in_a_session_of_ones_own(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an aiohttp session of one's own, the client's credentials come before those of netrc and of the session."""
    (tmp_path / "netrc").write_text(f"{line}\n", encoding="utf-8")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    other = aiohttp.BasicAuth("other", "wrong")
    async with (
        serving() as server,
        aiohttp.ClientSession(trust_env=True) as reading,
        aiohttp.ClientSession(auth=other) as having,
        aiohttp.ClientSession(headers={"Authorization": "Bearer wrong"}) as saying,
    ):
        for http in (reading, having, saying):
            for method in ("GET", "POST"):
                async with calling(server.url, http=http) as session:
                    await session.send(ask(method))
    assert [asked.headers["authorization"] for asked in server.requests] == [BASIC] * 6


@pytest.mark.parametrize("name", ["api.test", ".test", "*"])
async def test_no_proxy_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that NO_PROXY names is not reached by the proxy of the environment, with its credentials or without."""
    async with serving(kind=Proxy) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:canary@"))
        monkeypatch.setenv("NO_PROXY", name)
        assert proxy_of(Settings(), "https://api.test") is None
        monkeypatch.setenv("NO_PROXY", "other.example")
        async with calling("https://api.test", Settings(retries=0)) as session:
            await failure(session, ask())
    assert [asked.method for asked in proxy.requests] == ["CONNECT"]
