"""Transfers to signed URLs that end before they begin: nothing was sent, and the error says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from cdp_orders_async.errors import Invalid, NotSent
from cdp_orders_async.redact import Opaque
from cdp_orders_async.session import SignedUrls
from cdp_orders_async.settings import Settings
from tests.servers import serving
from tests.session.calling import closed_port
from tests.session.test_network import tls_server

SETTINGS = Settings(trust_env=False)


async def failures(url: str, folder: Path) -> list[str]:
    """Return what `put` and `get` say of a storage that is not reached."""
    file = folder / "file"
    file.write_bytes(b"{}")
    signed, storage = SignedUrls(SETTINGS, 60.0), Opaque(f"{url}/up?sig=canary")
    told: list[str] = []
    for transfer in (signed.put(storage, file, {}), signed.get(storage, 1_000)):
        with pytest.raises(NotSent) as raised:
            await transfer
        told.append(str(raised.value))
    return told


async def test_refused_port(tmp_path: Path) -> None:
    """Nobody listens: nothing reached the storage."""
    for text in await failures(closed_port(), tmp_path):
        assert " to the file storage 127.0.0.1 was not sent (ClientConnectorError: " in text


async def test_unknown_host(tmp_path: Path) -> None:
    """No such host: nothing reached the storage."""
    for text in await failures("https://storage.invalid", tmp_path):
        assert " to the file storage storage.invalid was not sent (ClientConnectorDNSError" in text


async def test_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    """The transfer ends before the storage has seen its request."""
    async with serving(tls=tls_server(trustme.CA().issue_cert("127.0.0.1"))) as server:
        for text in await failures(server.url, tmp_path):
            assert " was not sent (ClientConnectorCertificateError" in text
        assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "https://a..test/up?sig=canary",
        f"https://{'a' * 64}.test/up?sig=canary",
        "https://.test/up?sig=canary",
        "https://ü.test/up?sig=canary",
        "http://127.0.0.1/my file?sig=canary",
        "http://127.0.0.1/füle?sig=canary",
        "http://127.0.0.1/up?sig=canary\r\nX-Other: 1",
        "http://127.0.0.1/up?sig=canary\tx",
        "//127.0.0.1/up?sig=canary",
        "/up?sig=canary",
    ],
)
async def test_url_that_cannot_be_asked_for_as_it_is(url: str) -> None:
    """A name that no connection takes, and what is not encoded, are refused in our own words."""
    with pytest.raises(Invalid) as raised:
        await SignedUrls(SETTINGS, 60.0).get(Opaque(url), 1_000)
    assert str(raised.value) == (
        "location.href: must be a valid https URL of a file storage, or an http URL of this machine"
    )
