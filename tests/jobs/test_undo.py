"""What an undo deletes, and what it leaves alone."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import attrs
import pytest

from cdp_orders_async import (
    CdpError,
    CdpOrders,
    CdpOrdersV2,
    Delivery,
    GraphFile,
    InputError,
    OutcomeUnknown,
    Resources,
    Verdict,
    jobs,
)
from cdp_orders_async.emulator import Emulator, Faults, Switches
from cdp_orders_async.emulator.records import Record, utc_now
from cdp_orders_async.graph import parse_graph
from cdp_orders_async.jobs.undo_calls import UndoCalls
from cdp_orders_async.session import GivenUp
from tests.cli.support import PARTS, Json, lines_of, orders, write
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import ELSEWHERE
from tests.ingest.serving import serving

T = TypeVar("T")

KINDS = ("orders", "items", "contacts", "consumers", "order_extensions", "item_extensions")
NOTHING = {"deleted": 0, "kept": 0, "failed": 0}
LOST: Json = {
    "faults": [{"operation": "orders.create", "script": [{"action": "reset", "phase": "written"}] * 2}],
}
CASCADES = pytest.mark.parametrize("cascade", [True, False], ids=["cascade", "parts stay"])


@attrs.define
class Tenant:
    """An emulator, a client of it, and the files of a load."""

    emulator: Emulator
    cdp: CdpOrders
    folder: Path
    lines: list[Json]
    messages: list[str] = attrs.Factory(list[str])

    async def load(self, **options: Any) -> jobs.Report:  # noqa: ANN401
        """Load the lines."""
        source = GraphFile(write(self.folder / "o.jsonl", self.lines))
        return await jobs.load(self.cdp, source, journal=self.folder / "j", settle=0.0, **options)

    async def undo(self, **options: Any) -> jobs.UndoReport:  # noqa: ANN401
        """Undo the loads, and keep what was said."""

        def hear(event: jobs.Event) -> None:
            assert isinstance(event, jobs.Message)
            self.messages.append(event.text)

        return await jobs.undo(self.cdp, self.folder / "j", on_event=hear, **options)

    @property
    def is_loaded(self) -> bool:
        """Whether the server has the orders, each once, and nothing else."""
        return stored(self.emulator) == wanted(parse_graph(line) for line in self.lines)

    def all(self) -> list[Record]:
        """Return all that is on the server, also below orders that are gone."""
        return [record for kind in KINDS for record in self.emulator.store.all(kind)]

    def change(self, kind: str, number: int = 0, **fields: object) -> None:
        """Let somebody else change something."""
        record = list(self.emulator.store.all(kind))[number]
        changes: Json = dict(fields)
        self.emulator.store.update(record, changes, ELSEWHERE)


@asynccontextmanager
async def tenant(
    folder: Path,
    count: int = 2,
    faults: Json | None = None,
    clock: Callable[[], datetime] = utc_now,
    **switches: Any,  # noqa: ANN401
) -> AsyncGenerator[Tenant, None]:
    """Give a tenant with nothing in it."""
    plan = None if faults is None else Faults.of(faults)
    emulator = Emulator(switches=Switches(**switches), faults=plan, clock=clock)
    async with serving(emulator, connections=4) as cdp:
        yield Tenant(emulator, cdp, folder, orders(count))
    emulator.close()


@CASCADES
async def test_all_that_a_load_created_is_deleted_and_loads_again(tmp_path: Path, cascade: bool) -> None:  # noqa: FBT001
    """Nothing is left, twice does nothing, and the same load makes everything once more, exactly once."""
    async with tenant(tmp_path, 3, cascade=cascade) as its:
        await its.load()
        report = await its.undo(outcomes=tmp_path / "out")
        assert report.to_json() == {"deleted": 3 * PARTS, "kept": 0, "failed": 0}
        assert (report.status, its.all()) == (0, [])
        sent = its.cdp.session.stats.requests
        assert (await its.undo()).to_json() == NOTHING
        assert its.cdp.session.stats.requests == sent
        again = await its.load()
        assert (again.counts, again.requests) == ({Verdict.LOADED: 3}, 3 * PARTS)
        assert its.is_loaded
        assert (await its.undo()).deleted == 3 * PARTS
        assert its.all() == []
    lines = lines_of(tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert [line["verdict"] for line in lines] == ["deleted"] * 3
    for line in lines:  # what needs others goes before them
        names = [part["name"] for part in line["parts"]]
        assert names[-1] == "order"
        assert names.index(f"item:A-{line['key'][2]}") > names.index(f"item:A-{line['key'][2]}/ext")
        assert {part["verdict"] for part in line["parts"]} == {"deleted"}


async def test_newest_orders_go_first(tmp_path: Path) -> None:
    """Orders are deleted in the reverse order of their creation."""
    async with tenant(tmp_path, 5) as its:
        for count in range(1, 6):
            its.lines = orders(5)[:count]
            await its.load()
        its.cdp.session.settings = attrs.evolve(its.cdp.session.settings, connections=1)
        await its.undo(outcomes=tmp_path / "out")
    assert [line["key"][:3] for line in lines_of(tmp_path / "out")] == ["B-4", "B-3", "B-2", "B-1", "B-0"]


@CASCADES
@pytest.mark.parametrize(
    ("kind", "fields", "stays"),
    [
        ("orders", {"status": "CANCELLED"}, {"order"}),
        ("orders", {"price": 51}, {"order"}),
        ("items", {"name": "other"}, {"item:A-1", "order"}),
        ("items", {"description": "added"}, {"item:A-1", "order"}),
        ("contacts", {"firstName": "Other"}, {"contact", "order"}),
        ("consumers", {"lastName": "Added"}, {"consumer", "item:A-1", "order"}),
        ("order_extensions", {"storeLocation": "Paris"}, {"order/ext", "order"}),
        ("order_extensions", {"added": 1}, {"order/ext", "order"}),
        ("item_extensions", {"note": "other"}, {"item:A-1/ext", "item:A-1", "order"}),
    ],
)
async def test_what_was_changed_stays_with_what_it_needs(
    tmp_path: Path, kind: str, fields: Json, stays: set[str], *, cascade: bool
) -> None:
    """A change in the same second is seen; all else goes; a load fills the gap, and says what differs."""
    async with tenant(tmp_path, 2, cascade=cascade) as its:
        await its.load()
        its.change(kind, 1, **fields)
        changed = next(
            record.ref for record in its.all() if record.kind == kind and fields.items() <= record.data.items()
        )
        report = await its.undo(outcomes=tmp_path / "out")
        assert (report.deleted, report.kept, report.failed, report.status) == (2 * PARTS - len(stays), len(stays), 0, 1)
        left = {line["key"]: line for line in lines_of(tmp_path / "out") if line["verdict"] == "kept"}
        (parts,) = (line["parts"] for line in left.values())
        kept = {part["name"].partition("#")[0].partition(":c")[0] for part in parts if part["verdict"] == "kept"}
        assert {name if name.startswith(("item", "order", "contact")) else "consumer" for name in kept} == stays
        assert changed in {record.ref for record in its.all()}
        assert len(its.all()) == len(stays)
        if kind != "orders":
            before = {record.ref for record in its.all()}
            again = await its.load()
            is_left_out = "added" in str(fields).lower()  # a field that the input leaves out may have any value
            assert again.counts == ({Verdict.LOADED: 2} if is_left_out else {Verdict.LOADED: 1, Verdict.KEPT: 1})
            assert len(its.all()) == 2 * PARTS
            assert before <= {record.ref for record in its.all()}
        assert (await its.undo(force=True)).status == 0
        assert its.all() == []


@CASCADES
async def test_nothing_is_deleted_that_a_load_only_found(tmp_path: Path, cascade: bool) -> None:  # noqa: FBT001
    """An order that was there stays with its parts; of it only goes what the load added."""
    async with tenant(tmp_path, 2, cascade=cascade) as its:
        lines = its.lines
        its.lines = [{key: value for key, value in lines[0].items() if key not in {"consumers", "extensions"}}]
        await its.load()
        (tmp_path / "j").unlink()
        before = {record.ref for record in its.all()}
        its.lines = lines
        await its.load(look_first=True)
        assert its.is_loaded
        report = await its.undo()
        assert report.to_json() == {"deleted": PARTS + 2, "kept": 0, "failed": 0}
        assert {record.ref for record in its.all()} == before
        assert its.messages == [
            (
                "1 order stays, which a load found on the server: only what loads added is deleted."
                " A load that was cut off may have made it."
            )
        ]
        assert (await its.load()).counts == {Verdict.LOADED: 2}
        assert its.is_loaded


@CASCADES
@pytest.mark.parametrize("plan", [None, LOST], ids=["answered", "answer lost"])
@pytest.mark.parametrize("ahead", [0, 3600, -3600])
async def test_an_order_that_a_create_only_found_stays(
    tmp_path: Path,
    plan: Json | None,
    ahead: int,
    *,
    cascade: bool,
) -> None:
    """A server that answers a create with the order that it has shows its age, whatever the clock of the server is."""
    skew = timedelta(seconds=ahead)
    before = timedelta(seconds=5)
    async with tenant(tmp_path, 2, cascade=cascade, clock=lambda: datetime.now(UTC) + skew - before) as its:
        lines = its.lines
        its.lines = [{key: value for key, value in lines[0].items() if key not in {"consumers", "extensions"}}]
        await its.load()
        (tmp_path / "j").unlink()
        before = timedelta(0)
        there = {record.ref for record in its.emulator.store.all("orders")}
        its.lines = lines
        its.emulator.faults = Faults() if plan is None else Faults.of(plan)
        async with serving(its.emulator, connections=4) as its.cdp:  # another program, which remembers nothing
            assert (await its.load()).counts == {Verdict.LOADED: 2}
            report = await its.undo()
        assert {record.ref for record in its.emulator.store.all("orders")} == there
        assert (report.failed, its.messages[-1][:14]) == (0, "1 order stays,")


@CASCADES
@pytest.mark.parametrize("kind", ["items", "contacts", "consumers", "order_extensions", "item_extensions"])
async def test_an_order_with_parts_of_others_stays(tmp_path: Path, kind: str, cascade: bool) -> None:  # noqa: FBT001
    """What others put under an order is not deleted with it, nor the item that it needs, unless by force."""
    async with tenant(tmp_path, 1, cascade=cascade) as its:
        extended = kind.endswith("extensions")
        if extended:
            its.lines = [{k: v for k, v in its.lines[0].items() if k != "extensions"}]
            del its.lines[0]["orderItems"][0]["extensions"]
        await its.load()
        store = its.emulator.store
        order, item = (next(iter(store.all(each))) for each in ("orders", "items"))
        uses: Json = {"consumers": {"orderItems": [item.ref]}}.get(kind, {})
        if extended:
            owner = order if kind == "order_extensions" else item
            record = store.extend(kind, owner.ref, {"a": 1}, ELSEWHERE)
        else:
            record = store.create(kind, {"firstName": "Other", **uses}, ELSEWHERE, order.ref)
        report = await its.undo()
        needed: set[str] = {order.ref, record.ref}
        if kind in {"consumers", "item_extensions"}:
            needed.add(item.ref)
        assert {one.ref for one in its.all()} == needed
        assert (report.kept, report.status) == (len(needed) - 1, 1)
        assert (await its.undo(force=True)).status == 0
        assert {one.ref for one in its.all()} == (set() if cascade else {record.ref})


async def test_a_part_that_lists_do_not_show_yet_is_deleted(tmp_path: Path) -> None:
    """Lists may lag: what they do not show is read by its reference."""
    async with tenant(tmp_path, 2, list_lag=60) as its:
        await its.load()
        assert (await its.undo()).to_json() == {"deleted": 2 * PARTS, "kept": 0, "failed": 0}
        assert its.all() == []


@CASCADES
@pytest.mark.parametrize("force", [False, True])
async def test_what_others_deleted_counts_as_deleted(tmp_path: Path, *, force: bool, cascade: bool) -> None:
    """What is gone already is gone, also a whole order, with its parts or without them."""
    async with tenant(tmp_path, 2, cascade=cascade) as its:
        await its.load()
        store = its.emulator.store
        store.delete(next(iter(store.all("orders"))), ELSEWHERE)
        store.delete(list(store.all("contacts"))[-1], ELSEWHERE)
        assert (await its.undo(force=force)).to_json() == {"deleted": 2 * PARTS, "kept": 0, "failed": 0}
        left = {record.kind for record in its.all()}  # the path of an extension goes over its owner
        assert left == (set() if cascade else {"order_extensions"})
        await its.load()
        assert its.is_loaded


async def test_the_last_contact_may_go_with_the_order_only(tmp_path: Path) -> None:
    """A server that refuses to delete the last contact deletes it with the order."""
    async with tenant(tmp_path, 1, delete_last_contact="refuse") as its:
        await its.load()
        assert (await its.undo()).to_json() == {"deleted": PARTS, "kept": 0, "failed": 0}
        assert its.all() == []


async def test_a_last_contact_that_stays_has_failed(tmp_path: Path) -> None:
    """Where the contact stays without its order, it has failed, and the next undo tries it again."""
    async with tenant(tmp_path, 1, delete_last_contact="refuse", cascade=False) as its:
        await its.load()
        report = await its.undo()
        assert (report.to_json(), report.status) == ({"deleted": PARTS - 1, "kept": 0, "failed": 1}, 1)
        assert "the last contact of an order may not be deleted" in its.messages[-1]
        its.emulator.store.switches = Switches(cascade=False)
        assert (await its.undo()).to_json() == {"deleted": 1, "kept": 0, "failed": 0}
        assert its.all() == []


@pytest.mark.parametrize("operation", ["items.delete", "orders.delete", "contacts.list", "items.list", "orders.get"])
async def test_what_fails_stays_with_what_it_needs_and_is_tried_again(tmp_path: Path, operation: str) -> None:
    """A failure is told with its reason, exit status 1; the next undo does the rest."""
    fault = {"operation": operation, "script": [{"action": "status", "status": 403}]}
    async with tenant(tmp_path, 2, {"faults": [fault]}) as its:
        await its.load()
        report = await its.undo()
        assert (report.failed > 0, report.status, report.deleted + report.kept + report.failed) == (True, 1, 2 * PARTS)
        assert any("403" in message for message in its.messages)
        rest = await its.undo()
        assert (rest.status, rest.deleted) == (0, report.kept + report.failed)
        assert its.all() == []
        await its.load()
        assert its.is_loaded


async def test_a_page_of_a_gateway_is_not_gone(tmp_path: Path) -> None:
    """A 404 that is not the API's says nothing: what met it has failed and is still recorded."""
    page = {"operation": "contacts.delete", "action": "html", "status": 404}
    async with tenant(tmp_path, 1, {"faults": [page]}) as its:
        await its.load()
        report = await its.undo()
        assert (report.failed, report.kept) == (1, 1)
        assert len(its.all()) == 2


async def test_a_lost_answer_is_repaired(tmp_path: Path) -> None:
    """What was deleted although the answer was lost or 5xx counts as deleted."""
    lost = {
        "operation": "*.delete",
        "script": [{"action": "close", "phase": "written"}, {"action": "status", "status": 503}],
    }
    async with tenant(tmp_path, 1, {"faults": [lost]}) as its:
        async with serving(its.emulator, retries=3) as its.cdp:
            await its.load()
            report = await its.undo()
        assert (report.status, its.all()) == (0, [])


async def test_version_2_cannot_be_undone(tmp_path: Path) -> None:
    """Version 2 deletes neither orders nor consumers: that is said before anything is sent."""
    async with CdpOrdersV2(base_url="http://127.0.0.1:1", client_key="k", api_token="t") as cdp:  # noqa: S106
        with pytest.raises(InputError, match="version 2 of the API cannot delete orders"):
            await jobs.undo(cdp, tmp_path / "j")


async def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A wrong name is told, and leaves nothing behind."""
    async with tenant(tmp_path) as its:
        with pytest.raises(InputError, match="there is no journal at"):
            await its.undo()
    assert not (tmp_path / "j").exists()


async def test_wrong_credentials_end_the_undo(tmp_path: Path) -> None:
    """A refusal of the credentials ends it with a sentence, exit status 2; nothing is recorded as deleted."""
    async with tenant(tmp_path, 3) as its:
        await its.load()
        its.emulator.faults = Faults.of({"faults": [{"operation": "*", "action": "status", "status": 401}]})
        report = await its.undo()
        assert report.status == 2
        assert "refused the credentials (401)" in str(report.to_json()["error"])
        its.emulator.faults = Faults.of({"faults": []})
        assert (await its.undo()).deleted == 3 * PARTS


async def test_what_update_changed_is_listed(tmp_path: Path) -> None:
    """The values before are in their file, for the owner alone; an undo names the fields of what stays."""
    async with tenant(tmp_path, 2) as its:
        await its.load()
        (tmp_path / "j").unlink()
        lines = its.lines
        its.lines = [
            {**lines[0], "price": 60, "contact": {**lines[0]["contact"], "firstName": "canary-New", "city": "Cork"}},
            {**lines[1], "extensions": [{"name": "ext", "storeLocation": "canary-Paris", "more": 1}]},
        ]
        before = tmp_path / "before"
        report = await its.load(look_first=True, on_existing="update", before=before)
        assert report.counts == {Verdict.UPDATED: 2}
        assert stat.S_IMODE(before.stat().st_mode) == 0o600
        fields = {(line["key"][:3], line["part"]): line["fields"] for line in lines_of(before)}
        assert fields == {
            ("B-0", "order"): {"price": 50},
            ("B-0", "contact"): {"firstName": "canary-John", "city": None},
            ("B-1", "ext"): {"storeLocation": "canary-London", "more": None},
        }
        undone = await its.undo(before=before)
        assert undone.to_json() == NOTHING
        assert [change.fields for change in undone.changes] == [tuple(line["fields"]) for line in lines_of(before)]
        assert any(": firstName, city" in message or ": city, firstName" in message for message in its.messages)
        assert "canary" not in " ".join(its.messages)


async def test_changes_of_deleted_parts_are_not_listed_again(tmp_path: Path) -> None:
    """The second undo knows from the journal that the parts are gone; a last line that a crash cut is left out."""
    async with tenant(tmp_path, 2) as its:
        before = tmp_path / "before"
        await its.load()
        its.lines = [{**its.lines[0], "price": 60}, its.lines[1]]
        assert (await its.load(on_existing="update", before=before)).counts[Verdict.UPDATED] == 1
        with before.open("ab") as file:
            file.write(before.read_bytes()[:-9])
        for deleted in (2 * PARTS, 0):
            its.messages.clear()
            report = await its.undo(before=before)
            assert (report.deleted, report.kept, report.changed, report.changes) == (deleted, 0, 0, ())
            assert its.messages == [f"{before}, line 2: the file ends in the middle of this line, which is left out"]


async def test_values_that_cannot_be_kept_end_the_load(tmp_path: Path) -> None:
    """Where the values before cannot be written, the change is not sent."""
    async with tenant(tmp_path, 1) as its:
        await its.load()
        (tmp_path / "j").unlink()
        its.lines = [{**its.lines[0], "price": 60}]
        report = await its.load(look_first=True, on_existing="update", before=Path("/dev/full"))
        assert report.status == 2
        assert next(iter(its.emulator.store.all("orders"))).data["price"] == 50


async def test_outcomes_that_cannot_be_written_end_the_undo(tmp_path: Path) -> None:
    """What was deleted until then is counted, and the next undo deletes the rest."""
    async with tenant(tmp_path, 9) as its:
        await its.load()
        report = await its.undo(outcomes=Path("/dev/full"))
        assert report.status == 2
        assert report.reason == "the outcomes cannot be written to /dev/full: No space left on device"
        assert report.deleted == 9 * PARTS - len(its.all())
        assert report.deleted > 0
        assert (await its.undo()).status == 0
        assert its.all() == []


async def test_a_server_that_only_fails_ends_the_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why it waits, and ends with the cause, though it deleted something before; the next undo goes on."""
    for name, seconds in (("WAITS", 0.2), ("TOLD", 0.3), ("LASTING", 1.5)):
        monkeypatch.setattr(sys.modules["cdp_orders_async.jobs.undo"], name, seconds)
    async with tenant(tmp_path, 40) as its, serving(its.emulator, connections=2, retries=3) as its.cdp:
        await its.load()
        works, fails = {"operation": "*", "script": ["ok"] * 60}, {"operation": "*", "action": "status", "status": 503}
        plan: Json = {"faults": [works, fails]}
        its.emulator.faults = Faults.of(plan)
        report = await its.undo()
        assert report.status == 2
        assert 0 < report.deleted == 40 * PARTS - len(its.all())
        base = its.cdp.base_url
        assert (report.reason or "").startswith(f"{base}: nothing has succeeded for 1.5 s, and the undo gave up: ")
        assert "503" in (report.reason or "")
        waits = [message for message in its.messages if message.startswith("Nothing has succeeded for ")]
        assert waits
        assert all("503" in message for message in waits)
        its.emulator.faults = Faults()
        assert (await its.undo()).status == 0
        assert its.all() == []


@pytest.mark.parametrize(("halted", "error"), [(False, GivenUp), (True, OutcomeUnknown)])
async def test_what_is_given_up_may_be_done_if_it_was_sent(
    tmp_path: Path,
    error: type[CdpError],
    *,
    halted: bool,
) -> None:
    """A delete that waits for its second attempt is in doubt; one that was never sent is not."""
    lost = {"operation": "orders.delete", "script": [{"action": "close", "phase": "written"}]}
    async with tenant(tmp_path, 1, {"faults": [lost]}) as its:
        await its.load()
        order = next(iter(its.emulator.store.all("orders")))
        async with serving(its.emulator, retries=3) as cdp:
            calls = UndoCalls(cdp.session)
            if not halted:
                calls.halt()
            sending = asyncio.create_task(Resources(calls, cdp.base_url).orders.delete(UUID(str(order.ref))))
            while halted and not calls.health.trouble:  # noqa: ASYNC110 it lasts a moment
                await asyncio.sleep(0)
            calls.halt()
            with pytest.raises(error) as caught:
                await sending
        assert caught.value.delivery is (Delivery.UNKNOWN if halted else Delivery.NOT_SENT)
