"""A retry loads the orders that a file of outcomes names, and no others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cdp_orders_async import CdpOrders, GraphFiles, InputError, Invalid, Settings, Verdict, jobs
from cdp_orders_async.emulator import Faults
from tests.cli.support import PARTS, TOKEN, Json, Watched, lines_of, names, orders, watched, write


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[Watched, CdpOrders], None]:
    """Give an emulator and a client of it."""
    settings = Settings(rate=None, connections=4, retries=0)
    async with (
        watched() as server,
        CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        yield server, cdp


async def half_loaded(server: Watched, cdp: CdpOrders, folder: Path, lines: list[Json]) -> Path:
    """Load *lines*, of which some become partial, and one is invalid; return the outcomes."""
    write(folder / "o.jsonl", [*lines, {}])
    plan: Json = {"faults": [{"operation": "items.create", "script": [{"action": "status", "status": 400}] * 3}]}
    server.faults = Faults.of(plan)
    source = GraphFiles([folder / "o.jsonl"])
    report = await jobs.load(cdp, source, journal=folder / "j", outcomes=folder / "out")
    assert report.counts == {Verdict.LOADED: len(lines) - 3, Verdict.PARTIAL: 3, Verdict.INVALID: 1}
    server.faults = Faults()
    return folder / "out"


async def test_only_what_is_named_is_loaded(tmp_path: Path) -> None:
    """The orders that are not as wanted are loaded again, with their own requests; a second retry sends nothing."""
    async with connected() as (server, cdp):
        outcomes = await half_loaded(server, cdp, tmp_path, orders(12))
        received = server.received
        report = await jobs.retry(cdp, outcomes, journal=tmp_path / "j", outcomes_to=tmp_path / "again", settle=0)
        assert (report.counts, report.status) == ({Verdict.LOADED: 3}, 0)
        assert server.holds(orders(12))
        assert server.received - received < 3 * 2 * PARTS  # what is missing is looked for too
        assert {line["key"] for line in lines_of(tmp_path / "again")} == {
            line["key"] for line in lines_of(outcomes) if line["verdict"] == "partial"
        }
        again = await jobs.retry(cdp, outcomes, journal=tmp_path / "j")
        assert (again.counts, again.status) == ({Verdict.ALREADY: 3}, 0)
        none = await jobs.retry(cdp, tmp_path / "again", journal=tmp_path / "j")
        assert (none.counts, none.status, none.requests) == ({}, 0, 0)
        invalid = await jobs.retry(cdp, outcomes, journal=tmp_path / "j", only=("invalid",))
        assert (invalid.counts, invalid.status) == ({Verdict.INVALID: 1}, 1)
        assert (await jobs.verify(cdp, outcomes, settle=0)).to_json()["same"] == 12 * PARTS


async def test_edited_input_is_searched_by_key(tmp_path: Path) -> None:
    """Where the lines moved, the orders are found by their keys; an order that is gone is told before any request."""
    async with connected() as (server, cdp):
        outcomes = await half_loaded(server, cdp, tmp_path, orders(12))
        partial = [line for line in lines_of(outcomes) if line["verdict"] == "partial"]
        write(tmp_path / "o.jsonl", [*orders(13)[12:], *reversed(orders(12))])
        report = await jobs.retry(cdp, outcomes, journal=tmp_path / "j", settle=0)
        assert (report.counts, server.holds(orders(12))) == ({Verdict.LOADED: 3}, True)
        named = GraphFiles([write(tmp_path / "elsewhere", orders(12))])
        assert (await jobs.retry(cdp, outcomes, named, journal=tmp_path / "j")).counts == {Verdict.ALREADY: 3}
        received = server.received
        lost = partial[0]["number"]
        write(tmp_path / "o.jsonl", [line for n, line in enumerate(orders(12), 1) if n != lost])
        with pytest.raises(
            InputError, match=rf"o\.jsonl:{lost} no longer holds the order B-{lost - 1}@.*nothing was loaded"
        ):
            await jobs.retry(cdp, outcomes, journal=tmp_path / "j")
        assert server.received == received


async def test_outcomes_of_an_earlier_version(tmp_path: Path) -> None:
    """Their keys may have microseconds, which no key has today: the orders are found all the same."""
    lines = [{**line, "orderedAt": "2024-01-01T16:17:16.123456Z"} for line in orders(12)]
    async with connected() as (server, cdp):
        outcomes = await half_loaded(server, cdp, tmp_path, lines)
        told = outcomes.read_text()
        assert told.count(".123000+00:00") == 12
        outcomes.write_text(told.replace(".123000+00:00", ".123456+00:00"))
        report = await jobs.retry(cdp, outcomes, journal=tmp_path / "j", settle=0)
        assert (report.counts, report.status) == ({Verdict.LOADED: 3}, 0)
        assert (await jobs.verify(cdp, outcomes, settle=0)).to_json()["same"] == 12 * PARTS


async def test_what_is_wrong_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    """A new journal would not know what is there: it is refused unless each order is looked for."""
    async with connected() as (server, cdp):
        outcomes = await half_loaded(server, cdp, tmp_path, orders(12))
        received, before = server.received, names(tmp_path)
        with pytest.raises(InputError, match="there is no journal at"):
            await jobs.retry(cdp, outcomes, journal=tmp_path / "other")
        with pytest.raises(Invalid, match="only"):
            await jobs.retry(cdp, outcomes, journal=tmp_path / "j", only=("lost",))
        told: list[jobs.Event] = []
        report = await jobs.retry(cdp, outcomes, journal=tmp_path / "other", only=("busy",), on_event=told.append)
        assert (report.status, told) == (0, [jobs.Message(f"No order in {outcomes} is busy: nothing was loaded.")])
        assert (server.received, names(tmp_path)) == (received, before)
        report = await jobs.retry(cdp, outcomes, journal=tmp_path / "other", look_first=True, settle=0.1)
        assert (report.status, server.holds(orders(12))) == (0, True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "holds no whole outcome"),
        (b'{"file":"o","number":1,"key":"B-0","ver', "holds no whole outcome"),
        (b'{"file":"o","number":1,"verdict":"loaded"}\n{"file":"o","num', "lacks its end"),
        (b'{"a":1}', "it is not an outcome"),
        (b'{"file":"o","number":"x","verdict":"loaded"', "it is not an outcome"),
    ],
)
async def test_outcomes_that_do_not_tell_what_is_left(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that was cut, or holds no outcome, is no proof that all is loaded."""
    (tmp_path / "out").write_bytes(content)
    async with CdpOrders(base_url="http://127.0.0.1:9", client_key="key", api_token=TOKEN) as cdp:
        with pytest.raises(InputError, match=reason):
            await jobs.retry(cdp, tmp_path / "out", journal=tmp_path / "j")


@pytest.mark.parametrize("moved", ["same", "below a new line", "in another file"])
async def test_a_line_that_contradicts_another_stays_a_conflict(tmp_path: Path, moved: str) -> None:
    """A retry loads the line that it contradicts first, and so overwrites nothing, whatever it was told."""
    first, _, other = orders(3)
    second = {**first, "price": 7}
    lines = [first, second, other]
    async with connected() as (server, cdp):
        source = write(tmp_path / "o.jsonl", lines)
        report = await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", outcomes=tmp_path / "out")
        assert report.counts == {Verdict.LOADED: 2, Verdict.CONFLICT: 1}
        if moved == "below a new line":
            write(source, [orders(4)[3], *lines])
        named = write(tmp_path / "moved.jsonl", lines) if moved == "in another file" else None
        received = server.received
        again = await jobs.retry(cdp, tmp_path / "out", named, journal=tmp_path / "j", on_existing="update", settle=0)
        assert (again.counts, again.status) == ({Verdict.ALREADY: 1, Verdict.CONFLICT: 1}, 1)
        assert server.received - received == 1  # which asks whether the tenant still has an order
        assert server.holds([first, other])
        write(source, [second, other])  # a person decided: the first line goes
        decided = await jobs.retry(
            cdp, tmp_path / "out", source, journal=tmp_path / "j", on_existing="update", settle=0
        )
        assert (decided.counts, server.holds([second, other])) == ({Verdict.UPDATED: 1}, True)


async def test_a_load_that_made_nothing_leaves_no_journal(tmp_path: Path) -> None:
    """Its retry needs none, unless an order may be on the server."""
    async with connected() as (server, cdp):
        source = write(tmp_path / "o.jsonl", orders(2))
        plan: Json = {"faults": [{"operation": "orders.create", "script": [{"action": "status", "status": 400}] * 2}]}
        server.faults = Faults.of(plan)
        report = await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", outcomes=tmp_path / "out")
        assert (report.counts, (tmp_path / "j").exists()) == ({Verdict.FAILED: 2}, False)
        server.faults = Faults()
        again = await jobs.retry(
            cdp, tmp_path / "out", journal=tmp_path / "j", outcomes_to=tmp_path / "again", settle=0
        )
        assert (again.counts, server.holds(orders(2))) == ({Verdict.LOADED: 2}, True)
        with pytest.raises(InputError, match="there is no journal at"):
            await jobs.retry(cdp, tmp_path / "again", journal=tmp_path / "other", only=("loaded",))


@pytest.mark.parametrize("reference", ["B94\u00adTXY", "B94TXY\u200b", "B\t1", "B\0", "x" * 257, "Ж" * 250])
async def test_orders_with_odd_reference_ids_are_found(tmp_path: Path, reference: str) -> None:
    """Characters that are not shown, and those after the part that is shown, count in a key as all others do."""
    odd = {**orders(1)[0], "referenceId": reference}
    lines = [*orders(4)[1:], odd, {**odd, "referenceId": reference.replace("\u00ad", "\ufffd") + "y"}]
    async with connected() as (server, cdp):
        source = write(tmp_path / "o.jsonl", lines)
        plan: Json = {"faults": [{"operation": "orders.create", "script": [{"action": "status", "status": 400}] * 2}]}
        server.faults = Faults.of(plan)
        report = await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", outcomes=tmp_path / "out")
        assert report.counts == {Verdict.LOADED: 3, Verdict.FAILED: 2}
        assert {line["key"] for line in lines_of(tmp_path / "out")} == {line.key async for line in GraphFiles([source])}
        write(source, lines[::-1])
        again = await jobs.retry(cdp, tmp_path / "out", journal=tmp_path / "j", settle=0)
        assert (again.counts, server.holds(lines)) == ({Verdict.LOADED: 2}, True)
        await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", outcomes=tmp_path / "all", settle=0)
        verified = (await jobs.verify(cdp, tmp_path / "all", settle=0)).to_json()
        assert (verified["same"], verified["unread"], verified["extra"]) == (5 * PARTS, 0, 0)
