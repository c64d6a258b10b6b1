"""The Batch API as an engine: the same state as by requests, each fault told and none of it doubled."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from cdp_orders_async import CdpOrders, GraphFiles, InputError, Invalid, JournalError, jobs
from cdp_orders_async.emulator import Switches
from cdp_orders_async.jobs import ticking
from cdp_orders_async.journal import OrderId, SqliteJournal, batch_folder
from tests.cli.support import lines_of, names, orders
from tests.engines.support import ENGINE, Json, counted, importable, interrupting, load, real, served, state, twice

SIX = [importable(order) for order in orders(6)]


def scripted(operation: str, *faults: object) -> Json:
    """Return a plan of faults of one operation."""
    return {"faults": [{"operation": operation, "script": list(faults)}]}


async def test_real_orders_make_the_same_state_by_both_engines(tmp_path: Path) -> None:
    """The orders, parts, links and extensions are equal, and a verification by requests finds no difference."""
    records = real(52)
    async with served() as (by_batch, cdp):
        report = await load(cdp, tmp_path, records, attrs.evolve(ENGINE, most_orders=25))
        assert (counted(report), report.status) == ({"loaded": 52}, 0)
        assert report.parts_created == sum(len(parts["parts"]) for parts in lines_of(tmp_path / "out"))
        verified = await jobs.verify(cdp, tmp_path / "out", sample=3, settle=0)
        assert (verified.status, verified.same) == (0, verified.parts)
        again = await load(cdp, tmp_path, records)
        assert (counted(again), by_batch.requests["batches.create"]) == ({"already": 52}, 3)
        assert names(batch_folder(tmp_path / "j")) == ["batches.sqlite"]
    (tmp_path / "rest").mkdir()
    async with served() as (by_rest, cdp):
        report = await load(cdp, tmp_path / "rest", records, None)
        assert counted(report) == {"loaded": 52}
    assert state(by_batch) == state(by_rest)


FAULTS: dict[str, tuple[Json, Switches, dict[str, int]]] = {
    "the answer to a new batch is lost": (
        scripted("batches.create", {"phase": "written", "action": "reset"}),
        Switches(),
        {"loaded": 6},
    ),
    "it is lost, and a batch is made only once": (
        scripted("batches.create", {"phase": "written", "action": "reset"}),
        Switches(batch_again="refuse"),
        {"loaded": 6},
    ),
    "the answer to an upload that counted is lost": (
        scripted("batches.upload", {"phase": "written", "action": "reset"}),
        Switches(),
        {"loaded": 6},
    ),
    "it is lost, and a second upload would count": (
        scripted("batches.upload", {"phase": "written", "action": "reset"}),
        Switches(batch_second_upload="process"),
        {"loaded": 6},
    ),
    "an upload does not arrive": (
        scripted("batches.upload", {"action": "reset"}, {"action": "status", "status": 500}),
        Switches(batch_again="refuse"),
        {"loaded": 6},
    ),
    "a gateway answers an upload with a page": (
        scripted("batches.upload", {"action": "html", "status": 200}, {"action": "html", "status": 201}),
        Switches(),
        {"loaded": 6},
    ),
    "it does, and a batch is made only once": (
        scripted("batches.upload", {"action": "html", "status": 200}),
        Switches(batch_again="refuse"),
        {"loaded": 6},
    ),
    "it does, though the upload arrived": (
        scripted("batches.upload", {"action": "html", "status": 200, "phase": "written"}),
        Switches(batch_second_upload="process"),
        {"loaded": 6},
    ),
    "a location has expired": (
        scripted("batches.upload", {"action": "status", "status": 403}),
        Switches(),
        {"loaded": 6},
    ),
    "a file arrives damaged": (scripted("batches.process", {"action": "corrupt"}), Switches(), {"loaded": 6}),
    "it arrives so, and a batch is made only once": (
        scripted("batches.process", {"action": "corrupt"}),
        Switches(batch_again="refuse"),
        {"loaded": 6},
    ),
    "the processing is slow": (scripted("batches.get", "ok"), Switches(batch_seconds=0.02), {"loaded": 6}),
    "the processing fails": (
        scripted("batches.process", {"action": "fail"}),
        Switches(),
        {"loaded": 3, "unknown": 3},
    ),
    "the server fails at some records": (
        scripted("batches.process", {"action": "reject"}),
        Switches(),
        {"loaded": 5, "unknown": 1},
    ),
    "some records are refused": (
        scripted("batches.process", {"action": "reject", "status": 403}),
        Switches(),
        {"loaded": 5, "failed": 1},
    ),
    "the log is cut": (
        {
            "faults": [
                {"operation": "batches.process", "script": [{"action": "reject", "status": 403}]},
                {"operation": "batches.log", "script": [{"phase": "body", "action": "close"}] * 2},
            ]
        },
        Switches(),
        {"loaded": 5, "failed": 1},
    ),
    "no log can be read": (
        {
            "faults": [
                {"operation": "batches.process", "script": [{"action": "reject", "status": 403}]},
                {"operation": "batches.log", "action": "status", "status": 403},
            ]
        },
        Switches(),
        {"loaded": 3, "unknown": 3},
    ),
    "the status is not told at first": (
        scripted("batches.get", {"action": "html"}, {"action": "status", "status": 429}, {"action": "reset"}),
        Switches(),
        {"loaded": 6},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_told_and_nothing_is_doubled(tmp_path: Path, name: str) -> None:
    """No record counts twice, and what is not certainly refused is unknown, until requests look for it."""
    faults, switches, expected = FAULTS[name]
    async with served(switches, faults) as (server, cdp):
        report = await load(cdp, tmp_path, SIX)
        assert (counted(report), report.reason) == (expected, None)
        assert twice(server) == {}
        there = {str(order.data["referenceId"]) for order in server.store.all("orders")}
        told = {line["key"].partition("@")[0]: line["verdict"] for line in lines_of(tmp_path / "out")}
        assert {key for key, verdict in told.items() if verdict == "loaded"} <= there
        assert there.isdisjoint(key for key, verdict in told.items() if verdict == "failed")
        report = await jobs.retry(
            cdp,
            tmp_path / "out",
            journal=tmp_path / "j",
            only=["failed", "unknown"],
            settle=0,
            outcomes_to=tmp_path / "2",
        )
        assert report.status == 0
        assert len(list(server.store.all("orders"))) == 6
        assert len(list(server.store.all("items"))) == 6
        assert twice(server) == {}


async def test_location_that_expires_is_renewed(tmp_path: Path) -> None:
    """A location that is never valid ends the load with a sentence; nothing was sent, and all can be loaded later."""
    async with served(Switches(batch_location_seconds=-1)) as (server, cdp):
        report = await load(cdp, tmp_path, SIX)
        assert (counted(report)["not_tried"], report.status) == (6, 2)
        assert "the file storage refused the file 5 times" in str(report.reason)
        server.store.switches = Switches()
        assert counted(await load(cdp, tmp_path, SIX)) == {"loaded": 6}


async def test_refused_records_have_their_line_field_and_rule(tmp_path: Path) -> None:
    """What the Batch API alone refuses is told before anything is sent, and what the server says, from its log."""
    long = {f"k{n}": n for n in range(51)}
    bad = [{**SIX[0], "extensions": [long], "channel": None}, {**SIX[1], "contact": None}, SIX[2], {"price": 1}]
    async with served(Switches(batch_identity=True)) as (server, cdp):
        report = await load(cdp, tmp_path, bad)
        assert (counted(report), report.status) == ({"invalid": 3, "loaded": 1}, 1)
        found = {
            line["number"]: [(wrong["field"], wrong["rule"]) for wrong in line.get("violations", ())]
            for line in lines_of(tmp_path / "out")
        }
        assert found[1] == [
            ("$.channel", "is required by the Batch API"),
            ("$.extensions[0]", "must have at most 50 pairs in the Batch API"),
        ]
        assert found[2] == [("$", "Identity information missing")]
        assert len(list(server.store.all("orders"))) == 1


async def test_copies_and_recycled_ids(tmp_path: Path) -> None:
    """A copy is already there; other content, or another time within two days, is a conflict; a later order is new."""
    first, later = SIX[0], {**SIX[0], "orderedAt": "2024-01-09T00:00:00Z"}
    near = {**SIX[0], "orderedAt": "2024-01-02T00:00:00Z"}
    async with served() as (server, cdp):
        report = await load(cdp, tmp_path, [first, first, {**first, "price": 7}, near, later])
        assert counted(report) == {"loaded": 2, "already": 1, "conflict": 2}
        told = {line["number"]: line["parts"][0].get("reason", "") for line in lines_of(tmp_path / "out")}
        assert "line 1 is the same order, with other content" in told[3]
        assert "has the same reference id" in told[4]
        assert len(list(server.store.all("orders"))) == 2
        assert twice(server) == {}


async def test_both_engines_share_a_journal(tmp_path: Path) -> None:
    """Requests know what files loaded, and look for it where the input was edited; files leave such orders to them."""
    edited = [{**SIX[0], "price": 7}, *SIX[1:]]
    async with served() as (server, cdp):
        await load(cdp, tmp_path, SIX)
        report = await load(cdp, tmp_path, edited)
        assert counted(report) == {"conflict": 1, "already": 5}
        report = await load(cdp, tmp_path, edited, None, on_existing="update", settle=0)
        assert counted(report) == {"updated": 1, "already": 5}
        found = await jobs.undoable(cdp, tmp_path / "j")
        assert (found.parts, found.without_ref) == (0, 5)
        events: list[jobs.Event] = []
        undone = await jobs.undo(cdp, tmp_path / "j", on_event=events.append)
        assert (undone.deleted, undone.without_ref, undone.status) == (0, 5, 1)
        assert "5 orders stay: the Batch API loaded them" in str(events)
        assert len(list(server.store.all("orders"))) == 6
        shown = await jobs.journal_report(tmp_path / "j")
        assert (shown.complete, shown.without_ref, shown.in_doubt) == (6, 5, 0)


async def test_order_that_requests_left_open_is_left_to_them(tmp_path: Path) -> None:
    """After a load by requests that was killed, a file could double the order."""
    async with served() as (server, cdp):
        async with await SqliteJournal.open(tmp_path / "j", identity=cdp.identity) as journal:
            await journal.claim(OrderId.of("B-0", datetime(2024, 1, 1, 16, 17, 16, tzinfo=UTC)), b"", run=b"requests")
        report = await load(cdp, tmp_path, SIX[:1])
        assert counted(report) == {"unknown": 1}
        assert server.requests["batches.create"] == 0
        assert counted(await load(cdp, tmp_path, SIX[:1], None, settle=0)) == {"loaded": 1}
        assert len(list(server.store.all("orders"))) == 1


async def test_signal_leaves_files_that_the_next_load_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that is stopped while the server works says so; requests are refused then, and the same load ends it."""
    monkeypatch.setattr(ticking, "EVERY", 0.005)
    async with served(Switches(batch_seconds=3600)) as (server, cdp):
        report = await load(cdp, tmp_path, SIX, on_event=interrupting(server, "batches.get", 2), drain=0)
        assert (counted(report)["unknown"], report.status, report.resumable) == (3, 130, True)
        with pytest.raises(JournalError, match="1 batch file has no result yet"):
            await load(cdp, tmp_path, SIX, None)
        server.waiting.finish()
        server.store.switches = Switches()
        report = await load(cdp, tmp_path, SIX)
        assert counted(report) == {"loaded": 6}
        assert twice(server) == {}
        assert len(list(server.store.all("orders"))) == 6


async def test_nothing_is_sent_where_the_credentials_are_wrong(tmp_path: Path) -> None:
    """The load ends with the sentence of a load by requests, and status 2; the folder holds no file."""
    async with (
        served() as (_, cdp),
        CdpOrders(base_url=cdp.base_url, client_key="key", api_token="revoked") as revoked,  # noqa: S106 of an emulator
    ):
        report = await load(revoked, tmp_path, SIX)
        assert (counted(report), report.status) == ({"not_tried": 6}, 2)
        assert "refused the credentials (401)" in str(report.reason)
        assert not (tmp_path / "j").exists()
        assert names(batch_folder(tmp_path / "j")) == ["batches.sqlite"]


def files_in(folder: Path) -> list[Path]:
    """Return all files under *folder*."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_signature_of_a_location_is_told_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither messages, outcomes, logs nor the folder hold it, whatever happens to the upload."""
    caplog.set_level(logging.DEBUG)
    events: list[jobs.Event] = []
    faults = scripted(
        "batches.upload", {"action": "reset"}, {"action": "status", "status": 500}, {"action": "status", "status": 403}
    )
    async with served(None, faults) as (_, cdp):
        engine = attrs.evolve(ENGINE, on_event=events.append)
        report = await load(cdp, tmp_path, SIX, engine, on_event=events.append)
        assert counted(report) == {"loaded": 6}
    kept = b"".join(path.read_bytes() for path in files_in(tmp_path))
    told = f"{events} {caplog.text} {report} {report.error!r}".encode()
    assert b"its status will say" in told
    assert b"Signature" not in kept + told


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"look_first": True}, "look_first"),
        ({"on_existing": "update"}, "on_existing"),
        ({"control": Path("c")}, "control"),
    ],
)
async def test_options_of_requests_are_refused(tmp_path: Path, option: Json, name: str) -> None:
    """What needs an answer of the server for each order is no option of files."""
    async with served() as (_, cdp):
        with pytest.raises(Invalid, match=f"{name}: cannot be given with engine=batch"):
            await load(cdp, tmp_path, SIX, **option)


async def test_batch_file_of_another_folder_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder is lost, orders that it began may have been sent, so requests look for them."""
    monkeypatch.setattr(ticking, "EVERY", 0.005)
    async with served(Switches(batch_seconds=3600)) as (server, cdp):
        await load(cdp, tmp_path, SIX, on_event=interrupting(server, "batches.get"), drain=0)
        batch_folder(tmp_path / "j").rename(tmp_path / "lost")
        server.waiting.finish()
        server.store.switches = Switches()
        report = await load(cdp, tmp_path, SIX)
        assert counted(report)["unknown"] == 3
        report = await load(cdp, tmp_path, SIX, None, settle=0)
        assert report.status == 0
        assert len(list(server.store.all("orders"))) == 6


async def test_changed_input_is_refused_with_its_plan(tmp_path: Path) -> None:
    """The hash of a plan holds for files too."""
    async with served() as (server, cdp):
        with pytest.raises(InputError, match="not the one that was planned"):
            await load(cdp, tmp_path, SIX, plan="0" * 32)
        assert server.requests == {}


async def test_plan_recommends_an_engine(tmp_path: Path) -> None:
    """Files for very many orders, requests for few; orders that the Batch API cannot take are told line by line."""
    path = tmp_path / "o.jsonl"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in [*real(50), *orders(2)]))
    plan = await jobs.plan(GraphFiles([path]), rate=0.2)
    told: Any = plan.to_json()["engines"]
    assert (told["recommended"], told["batch"]["orders"], told["batch"]["refused"]) == ("batch", 50, 2)
    assert (told["batch"]["files"], told["rest"]["requests"]) == (1, plan.requests.total())
    assert 0.005 < told["batch"]["megabytes"] < 0.05
    assert {rule["first"] for rule in told["batch"]["rules"]} == {f"{path}:51"}
    assert "load the 2 orders that it cannot take by requests afterwards" in told["reason"]
    assert (await jobs.plan(GraphFiles([path]), rate=100)).engines.engine == "rest"
