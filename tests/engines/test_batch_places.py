"""Loads over the Batch API whose server names a place that cannot be reached."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cdp_orders_async.engines.batch_api import BatchApi, BatchStatus
from cdp_orders_async.journal.batches import BatchFile
from cdp_orders_async.redact import Opaque
from tests.cli.support import names, orders
from tests.engines.support import counted, importable, load, served
from tests.session.calling import closed_port

SIX = [importable(order) for order in orders(6)]


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
