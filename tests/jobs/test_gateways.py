"""A gateway that answers in place of the API for some time: the jobs that may send each call again wait it out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdp_orders_async import CdpOrders, Settings, jobs
from cdp_orders_async.emulator import Faults
from cdp_orders_async.jobs import undo_calls, verifier
from tests.cli.support import PARTS, TOKEN, Json, Watched, orders, watched, write
from tests.ingest.expectations import stored

ANSWERS: dict[str, Json] = {
    "page 200": {"action": "html", "status": 200},
    "page 400": {"action": "html", "status": 400},
    "page 404": {"action": "html", "status": 404},
    "page 405": {"action": "html", "status": 405},
    "redirect": {"action": "status", "status": 302},
}
COUNT = 6
GATEWAY = pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the jobs wait for a shorter time."""
    monkeypatch.setattr(undo_calls, "WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(verifier, "WAITS", (0.01, 0.01, 0.01))


@asynccontextmanager
async def loaded(tmp_path: Path) -> AsyncGenerator[tuple[Watched, CdpOrders], None]:
    """Give an emulator that has orders, and a client of it."""
    settings = Settings(rate=None, connections=2, retries=0)
    async with (
        watched() as server,
        CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        source = write(tmp_path / "o.jsonl", orders(COUNT))
        await jobs.load(cdp, source, journal=tmp_path / "j", outcomes=tmp_path / "out")
        yield server, cdp


def scripted(*script: str | Json) -> Faults:
    """Return what comes of the next requests, one after the other."""
    plan: Json = {"faults": [{"operation": "*", "script": [*script]}]}
    return Faults.of(plan)


@GATEWAY
async def test_verify_waits_for_a_gateway(tmp_path: Path, answer: Json) -> None:
    """What it could not read it reads again."""
    async with loaded(tmp_path) as (server, cdp):
        server.faults = scripted(*["ok"] * 4, *[answer] * 6)
        report = await jobs.verify(cdp, tmp_path / "out", settle=0)
    assert (report.same, report.unread, report.status) == (COUNT * PARTS, 0, 0)


@GATEWAY
async def test_undo_waits_for_a_gateway(tmp_path: Path, answer: Json) -> None:
    """What was answered by the gateway is asked again, also where the API has done it."""
    async with loaded(tmp_path) as (server, cdp):
        server.faults = scripted(*["ok"] * 4, *[answer, {**answer, "phase": "written"}] * 2)
        report = await jobs.undo(cdp, tmp_path / "j")
        assert (report.deleted, report.kept, report.failed, report.status) == (COUNT * PARTS, 0, 0, 0)
        assert stored(server) == []


@GATEWAY
async def test_a_gateway_that_stays_ends_both(tmp_path: Path, answer: Json) -> None:
    """They say that the answers are not those of the API, and nothing counts as gone."""
    async with loaded(tmp_path) as (server, cdp):
        server.faults = Faults.of({"faults": [{"operation": "*", **answer}]})
        verified = await jobs.verify(cdp, tmp_path / "out", settle=0)
        undone = await jobs.undo(cdp, tmp_path / "j")
        assert (verified.unread, verified.missing, undone.deleted) == (COUNT, 0, 0)
        assert len(stored(server)) == COUNT
