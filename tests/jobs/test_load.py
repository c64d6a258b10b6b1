"""A load as a Python program runs it: what it tells meanwhile, and what it returns."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from cdp_orders_async import CdpOrders, GraphFile, InputError, JournalError, Settings, Verdict, jobs
from cdp_orders_async.jobs import ticking
from tests.cli.support import PARTS, TOKEN, Json, Watched, lines_of, names, orders, watched, write


class Seen(Exception):
    """What was waited for has come; an observer that raises it ends the load."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let progress be told often."""
    monkeypatch.setattr(ticking, "EVERY", 0.01)


@asynccontextmanager
async def connected(
    faults: Json | None = None, connections: int = 2
) -> AsyncGenerator[tuple[Watched, CdpOrders], None]:
    """Give an emulator with *faults* and a client of it."""
    settings = Settings(rate=200, connections=connections)
    async with (
        watched(faults) as server,
        CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        yield server, cdp


def until(wanted: Callable[[jobs.Progress], bool]) -> jobs.OnEvent:
    """Return an observer that ends the load once its progress is as *wanted*."""

    def observe(event: jobs.Event) -> None:
        if isinstance(event, jobs.Progress) and wanted(event):
            raise Seen

    return observe


async def test_load_tells_what_happens_and_returns_a_report(tmp_path: Path) -> None:
    """Progress, problems and sentences come as values; the counts and the file of outcomes are those of the load."""
    source = write(tmp_path / "o.jsonl", [*orders(12), {}])
    events: list[jobs.Event] = []
    async with connected() as (server, cdp):
        report = await jobs.load(
            cdp, GraphFile(source), journal=tmp_path / "j", outcomes=tmp_path / "out", on_event=events.append
        )
        again = await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j")
        assert server.holds(orders(12))
    assert (report.counts, report.status, report.resumable) == ({Verdict.LOADED: 12, Verdict.INVALID: 1}, 1, False)
    assert report.requests == 12 * PARTS
    assert orjson.loads(orjson.dumps(report.to_json()))["loaded"] == 12
    assert len(lines_of(tmp_path / "out")) == 13
    assert [event.text for event in events if isinstance(event, jobs.Message)] == [
        f"A new journal remembers what is loaded: {tmp_path / 'j'}"
    ]
    (problem,) = (event.outcome for event in events if isinstance(event, jobs.Problem))
    assert (problem.number, problem.verdict) == (13, Verdict.INVALID)
    progress = [event for event in events if isinstance(event, jobs.Progress)]
    assert not any(event.finishing for event in progress)  # the end of the input is no stop
    done = [event.done for event in progress]
    assert len(done) > 2
    assert done == sorted(done)
    assert (again.counts, again.requests) == ({Verdict.ALREADY: 12, Verdict.INVALID: 1}, 1)


async def test_progress_says_why_nothing_happens(tmp_path: Path) -> None:
    """While the server asks to wait or is not well, and while a stopped load ends, the progress says so."""
    source = write(tmp_path / "o.jsonl", orders(30))

    async def seen(cdp: CdpOrders, journal: str, wanted: Callable[[jobs.Progress], bool]) -> None:
        with pytest.raises(Seen):
            await jobs.load(cdp, GraphFile(source), journal=tmp_path / journal, drain=0, on_event=until(wanted))

    async with connected() as (_, cdp):
        cdp.session.limiter.pause_until(asyncio.get_running_loop().time() + 60)
        await seen(cdp, "waits", lambda now: 59 < now.wait <= 60 and now.paused is None)
    down = {"operation": "orders.create", "action": "html", "status": 521}
    async with connected({"faults": [down]}, 60) as (_, cdp):
        await seen(cdp, "down", lambda now: "POST /v2.1/orders: 521 " in (now.paused or "") and 0 < now.wait <= 5)
    busy = {"operation": "orders.create", "action": "status", "status": 429}
    async with connected({"faults": [busy]}, 60) as (_, cdp):
        await seen(cdp, "busy", lambda now: now.limits == ("no limit known, last cut for 429",))


async def test_progress_says_that_a_load_ends(tmp_path: Path) -> None:
    """After a signal, the progress says that nothing new is begun."""
    source = write(tmp_path / "o.jsonl", orders(30))
    told: list[str] = []

    def observe(event: jobs.Event) -> None:
        if isinstance(event, jobs.Message):
            told.append(event.text)
        elif isinstance(event, jobs.Progress) and event.finishing:
            raise Seen
        elif server.received == 2 and not told:
            os.kill(os.getpid(), signal.SIGTERM)

    stall = {"operation": "orders.create", "action": "stall", "seconds": 999}
    async with connected({"faults": [stall]}) as (server, cdp):
        with pytest.raises(Seen):
            await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j", drain=0.5, on_event=observe)
    assert told[0] == "Stopping: what is in flight has 0.5 s to finish. Once more stops at once."


def assert_all_told(server: Watched, outcomes: Path) -> None:
    """Each order of which the server has a part is in the *outcomes*."""
    lines = lines_of(outcomes) if outcomes.exists() else []  # it is made for the first one
    told = {str(line["key"]).partition("@")[0] for line in lines if line["verdict"] != "invalid"}
    assert {str(order.data["referenceId"]) for order in server.store.all("orders")} <= told


@pytest.mark.parametrize("kind", [jobs.Message, jobs.Problem, jobs.Progress])
async def test_observer_that_raises_ends_the_load(tmp_path: Path, kind: type[jobs.Event]) -> None:
    """What an observer raises is raised, whenever it does; what is in flight finishes, and the journal knows it."""
    source = write(tmp_path / "o.jsonl", [{}, *orders(30)])

    def observe(event: jobs.Event) -> None:
        if isinstance(event, kind):
            raise Seen

    async with connected() as (server, cdp):
        with pytest.raises(Seen):
            await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j", outcomes=tmp_path / "out", on_event=observe)
        assert server.received < 30 * PARTS
        assert_all_told(server, tmp_path / "out")
        report = await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j", settle=0.1)
        assert report.counts[Verdict.UNKNOWN] == 0
        assert server.holds(orders(30))


async def test_observer_that_raises_at_a_signal(tmp_path: Path) -> None:
    """There, nobody but the load could raise it."""
    source = write(tmp_path / "o.jsonl", orders(30))

    def observe(event: jobs.Event) -> None:
        if isinstance(event, jobs.Progress) and event.done:
            os.kill(os.getpid(), signal.SIGTERM)
        if isinstance(event, jobs.Message) and event.text.startswith("Stopping"):
            raise Seen

    async with connected() as (_, cdp):
        with pytest.raises(Seen):
            await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j", on_event=observe)


async def test_observer_that_raises_at_the_end(tmp_path: Path) -> None:
    """Also the last sentence is told while all is written."""
    source = write(tmp_path / "o.jsonl", [])

    def observe(event: jobs.Event) -> None:
        if isinstance(event, jobs.Message):
            raise Seen

    async with connected() as (_, cdp):
        with pytest.raises(Seen):
            await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j", on_event=observe)


async def test_load_that_is_cancelled_tells_all_outcomes(tmp_path: Path) -> None:
    """What was in flight finishes, and its outcomes are written too."""
    source = write(tmp_path / "o.jsonl", orders(30))
    async with connected(connections=8) as (server, cdp):
        load = asyncio.create_task(jobs.load(cdp, GraphFile(source), journal=tmp_path / "j", outcomes=tmp_path / "out"))
        await server.has_received(40)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert 0 < len(list(server.store.all("orders"))) < 30
        assert_all_told(server, tmp_path / "out")


async def test_what_is_wrong_before_a_load_is_raised(tmp_path: Path) -> None:
    """Outcomes and journals that cannot be used are raised; nothing is sent, and nothing is left behind."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with connected() as (server, cdp):
        with pytest.raises(InputError, match=r"outcomes .*: it holds something else"):
            await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j", outcomes=source)
        with pytest.raises(JournalError, match=re.escape("o.jsonl")):
            await jobs.load(cdp, GraphFile(source), journal=source)
        assert server.received == 0
    assert names(tmp_path) == ["o.jsonl"]


async def test_report_says_what_ended_a_load(tmp_path: Path) -> None:
    """An error that ends a load is in its report, with a sentence."""
    source = write(tmp_path / "o.jsonl", orders(3))
    down = {"operation": "orders.create", "action": "status", "status": 401}
    async with connected({"faults": [down]}) as (server, cdp):
        report = await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j")
        assert report.reason is not None
        assert report.reason.startswith(f"{server.base_url} refused the credentials (401)")
    assert (type(report.error).__name__, report.status, report.resumable) == ("Unauthorized", 2, False)
    assert report.to_json()["error"] == report.reason
