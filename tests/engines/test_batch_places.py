"""Loads over the Batch API whose server names a place that cannot be reached, or asked for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cdp_orders_async import CdpOrders, Settings
from cdp_orders_async.engines.batch_api import BatchApi, BatchStatus
from cdp_orders_async.journal.batches import BatchFile
from cdp_orders_async.redact import Opaque
from tests.cli.support import names, orders
from tests.engines.support import Json, counted, importable, load, served
from tests.servers import serving
from tests.session.calling import closed_port
from tests.ways import over

SIX = [importable(order) for order in orders(6)]
REFUSED: Json = {"faults": [{"operation": "batches.process", "script": [{"action": "reject", "status": 403}]}]}
"""One record is refused, so there is an error log."""


def located(patch: pytest.MonkeyPatch, url: str) -> None:
    """Let the server name *url* as the location of each upload."""
    announce = BatchApi.announce

    async def announced(api: BatchApi, file: BatchFile) -> BatchStatus:
        return msgspec.structs.replace(await announce(api, file), location=Opaque(url))

    patch.setattr(BatchApi, "announce", announced)


async def test_storage_that_is_never_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, so the load ends with the cause, and the journal stays free for any other load."""
    async with served() as (server, cdp):
        with monkeypatch.context() as patch:
            located(patch, f"{closed_port()}/up?sig=canary")
            report = await load(cdp, tmp_path, SIX, give_up=20, drain=0)
        assert (counted(report), report.status) == ({"not_tried": 6}, 2)
        assert "PUT to the file storage 127.0.0.1 was not sent (ClientConnectorError" in str(report.reason)
        assert names(tmp_path / "j.batches") == ["batches.sqlite"]
        assert server.requests["batches.upload"] == 0
        assert counted(await load(cdp, tmp_path, SIX, None)) == {"loaded": 6}


@pytest.mark.parametrize("url", ["https://a..test/?sig=canary", "http://127.0.0.1/my file", "ftp://storage.test/x"])
async def test_location_that_no_upload_can_go_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """It is a bad answer of the server: the load ends with a sentence, and nothing was sent."""
    async with served() as (server, cdp):
        with monkeypatch.context() as patch:
            located(patch, url)
            report = await load(cdp, tmp_path, SIX)
        assert (counted(report), report.status) == ({"not_tried": 6}, 2)
        assert "location.href: must be a valid https URL of a file storage" in str(report.reason)
        assert server.requests["batches.upload"] == 0
        assert counted(await load(cdp, tmp_path, SIX, None)) == {"loaded": 6}


BAD_LOGS = ["/v2/batches/x/my log", "/v2/batches/x/lög", "/v2/x\r\nX-Other: 1", "//[::1/log", "https://a..test/log"]


@pytest.mark.parametrize("url", BAD_LOGS)
async def test_error_log_that_cannot_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The orders of its file are unknown, as for any log that cannot be read."""
    status = BatchApi.status

    async def told(api: BatchApi, ref: str) -> BatchStatus | None:
        found = await status(api, ref)
        return found and msgspec.structs.replace(found, log=found.log and Opaque(url))

    monkeypatch.setattr(BatchApi, "status", told)
    async with served(None, REFUSED) as (_, cdp):
        report = await load(cdp, tmp_path, SIX)
        assert (counted(report), report.reason) == ({"unknown": 3, "loaded": 3}, None)


@pytest.mark.usefixtures("way")
async def test_nothing_that_is_not_encoded_is_asked_for() -> None:
    """The request would leave damaged, and a server may take it for another one."""
    async with serving() as server:
        client = CdpOrders(base_url=server.url, client_key="key", api_token="token", settings=over(Settings(retries=0)))  # noqa: S106 it guards nothing
        async with client as cdp:
            for url in BAD_LOGS[:3]:
                assert await BatchApi(cdp).log(Opaque(url)) is None
        assert server.connections == 0
