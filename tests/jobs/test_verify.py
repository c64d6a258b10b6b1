"""A verification reads back what was loaded, and names exactly what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest

from cdp_orders_async import (
    CdpOrders,
    CdpOrdersV2,
    GraphFiles,
    InputError,
    Invalid,
    NewConsumer,
    NewConsumerV2,
    NewOrder,
    NewOrderItem,
    Settings,
    jobs,
)
from cdp_orders_async.emulator import Faults
from cdp_orders_async.emulator.switches import Switches
from cdp_orders_async.graph import InputLine
from cdp_orders_async.jobs import verifier
from cdp_orders_async.jobs.confidence import most_differing
from cdp_orders_async.jobs.verification import Row, Verification
from tests.cli.support import TOKEN, Json, Watched, lines_of, names, orders, orders_v2, watched, write

SET = {"rate": None, "connections": 4, "retries": 0}


@asynccontextmanager
async def loaded(
    tmp_path: Path, lines: list[Json], version: type[CdpOrders | CdpOrdersV2] = CdpOrders
) -> AsyncGenerator[tuple[Watched, Any, Path], None]:
    """Give an emulator that has the orders *lines*, a client of it, and the outcomes of the load."""
    values: Json = SET
    async with (
        watched() as server,
        version(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=Settings(**values)) as cdp,
    ):
        source = GraphFiles([write(tmp_path / "o.jsonl", lines)], cdp.api)
        await jobs.load(cdp, source, journal=tmp_path / "j", outcomes=tmp_path / "out")
        yield server, cdp, tmp_path / "out"


def counts(report: jobs.VerifyReport) -> Json:
    """Return what was counted."""
    return {name: value for name, value in report.to_json().items() if name not in {"requests", "seconds", "error"}}


def clean(orders: int, parts: int) -> Json:
    """Return the counts of a verification that found no difference."""
    return {"orders": orders, "parts": parts, "same": parts, "different": 0, "missing": 0, "extra": 0, "unread": 0}


def refs(outcomes: Path, number: int) -> dict[str, UUID]:
    """Return the references of the parts of one order."""
    return {part["name"]: UUID(part["ref"]) for part in lines_of(outcomes)[number]["parts"] if "ref" in part}


@pytest.mark.parametrize(
    ("version", "lines", "parts", "requests"),
    [(CdpOrders, orders(12), 6, 6), (CdpOrdersV2, orders_v2(12), 5, 14)],
)
async def test_loaded_orders_are_the_same(
    tmp_path: Path, version: type[CdpOrders | CdpOrdersV2], lines: list[Json], parts: int, requests: int
) -> None:
    """After a load all parts are as the input says; the requests are as documented, and nothing is left behind."""
    async with loaded(tmp_path, lines, version) as (server, cdp, outcomes):
        before = names(tmp_path)
        received = server.received
        report = await jobs.verify(cdp, outcomes, settle=0)
        assert (counts(report), report.status) == (clean(12, 12 * parts), 0)
        assert report.requests == server.received - received == 12 * requests
        assert names(tmp_path) == before
        again = await jobs.verify(cdp, outcomes, settle=0)
        assert counts(again) == counts(report)


async def test_exactly_the_damage_is_named(tmp_path: Path) -> None:
    """Seven things are changed on the server, each in another way: they are named, each by its part, and no other."""
    lines = orders(20)
    for line in lines:
        line["orderItems"].append({**line["orderItems"][0], "referenceId": f"{line['referenceId']}-2"})
        del line["orderItems"][1]["extensions"]
    async with loaded(tmp_path, lines) as (_, cdp, outcomes):
        at = [refs(outcomes, number) for number in range(20)]
        await cdp.orders.update(at[0]["order"], {"price": Decimal(51)})
        await cdp.items.delete(at[1]["items/1"])
        await cdp.item_extensions.delete(at[2]["items/0"])
        item = NewOrderItem(
            type="MOBILE", name="New", price=Decimal(1), currency_code="EUR", status="CONFIRMED", reference_id="more"
        )
        added = await cdp.items.create(at[3]["order"], item)
        person = NewConsumer(first_name="canary-Jane", order_items=(at[4]["items/0"],))
        double = await cdp.consumers.create(at[4]["order"], person)
        await cdp.order_extensions.update(at[5]["order"], {"storeLocation": "canary-Cork"})
        await cdp.orders.delete(at[6]["order"])
        found = tmp_path / "d.jsonl"
        report = await jobs.verify(cdp, outcomes, differences=found, settle=0)
    told = sorted(lines_of(found), key=lambda one: (one["key"], one["part"]))
    keys = [line["key"] for line in lines_of(outcomes)]
    expected: list[tuple[Any, str, UUID | None, str, list[str]]] = [
        (keys[0], "order", at[0]["order"], "different", ["price"]),
        (keys[1], "items/1", at[1]["items/1"], "missing", []),
        (keys[2], "items/0/ext", at[2].get("items/0/ext"), "missing", []),
        (keys[3], "items", added.ref, "extra", []),
        (keys[4], "consumers/0", double.ref, "extra", []),
        (keys[5], "ext", None, "different", ["storeLocation"]),
        *((keys[6], name, at[6].get(name), "missing", []) for name in
          ("consumers/0", "contact", "ext", "items/0", "items/0/ext", "items/1", "order")),
    ]  # fmt: skip
    shown = [(one["key"], one["part"], one["problem"], one["fields"]) for one in told]
    assert shown == sorted((key, part, problem, fields) for key, part, _, problem, fields in expected)
    wanted_refs = {(key, part): ref and str(ref) for key, part, ref, _, _ in expected if part != "ext"}
    assert {(one["key"], one["part"]): one["ref"] for one in told if one["part"] != "ext"} == wanted_refs
    assert b"canary" not in found.read_bytes()
    assert found.stat().st_mode & 0o777 == 0o600
    parts = 20 * 7
    assert counts(report) == {
        "orders": 20, "parts": parts, "same": parts - 11, "different": 2, "missing": 9, "extra": 2, "unread": 0,
    }  # fmt: skip
    assert (report.status, report.wrong) == (1, 7)


async def test_consumer_of_a_missing_item_is_not_told_twice(tmp_path: Path) -> None:
    """Where an item is gone, the link to it is gone too: only the item and its extension are missing."""
    async with loaded(tmp_path, orders(1)) as (_, cdp, outcomes):
        await cdp.items.delete(refs(outcomes, 0)["items/0"])
        report = await jobs.verify(cdp, outcomes, differences=tmp_path / "d", settle=0)
    assert {(one["part"], one["problem"]) for one in lines_of(tmp_path / "d")} == {
        ("items/0", "missing"), ("items/0/ext", "missing"),
    }  # fmt: skip
    assert report.missing == 2


async def test_doubles_of_version_2_are_named(tmp_path: Path) -> None:
    """Version 2 shows links in its lists: a double and a change are found there too."""
    async with loaded(tmp_path, orders_v2(3), CdpOrdersV2) as (_, cdp, outcomes):
        at = refs(outcomes, 1)
        person = NewConsumerV2(first_name="canary-Jane", last_name="canary-Doe", order_items=(at["items/0"],))
        double = await cdp.consumers.create(at["order"], person)
        await cdp.contacts.delete(refs(outcomes, 2)["contact"])
        await jobs.verify(cdp, outcomes, differences=tmp_path / "d", settle=0)
    assert [(one["part"], one["problem"], one["ref"]) for one in sorted(lines_of(tmp_path / "d"), key=str)] == [
        ("consumers/0", "extra", str(double.ref)),
        ("contact", "missing", str(refs(outcomes, 2)["contact"])),
    ]


async def test_second_order_is_extra(tmp_path: Path) -> None:
    """An order that the server stored a second time is named by its reference."""
    async with loaded(tmp_path, orders(2)) as (server, cdp, outcomes):
        server.store.switches = type(server.store.switches)(upsert=False)
        first = await cdp.orders.get(refs(outcomes, 0)["order"])
        double = await cdp.orders.create(
            NewOrder(
                reference_id=first.reference_id,
                ordered_at=first.ordered_at,
                price=first.price,
                currency_code=first.currency_code,
            )
        )
        report = await jobs.verify(cdp, outcomes, differences=tmp_path / "d", settle=0)
    (line,) = lines_of(tmp_path / "d")
    assert (line["part"], line["problem"], line["ref"]) == ("order", "extra", str(double.ref))
    assert (report.extra, report.same, report.status) == (1, 12, 1)


async def test_orders_that_were_not_loaded_are_missing(tmp_path: Path) -> None:
    """An order that breaks a rule is missing; what it has of parts is not known. A line without an order is unread."""
    lines = orders(4)
    lines[1]["orderItems"][0]["name"] = "x" * 129
    async with loaded(tmp_path, [*lines, {}]) as (_, cdp, outcomes):
        report = await jobs.verify(cdp, outcomes, differences=tmp_path / "d", settle=0)
        line = lines_of(tmp_path / "d")
        write(tmp_path / "o.jsonl", lines)
        lines[1]["orderItems"][0]["name"] = "AZ10"
        mended = await jobs.verify(cdp, outcomes, GraphFiles([write(tmp_path / "m", lines)]), settle=0)
    assert counts(report) == {**clean(5, 19), "same": 18, "missing": 1, "unread": 1}
    assert [(one["part"], one["problem"], one["ref"]) for one in line] == [("order", "missing", None)]
    assert (mended.missing, mended.same, mended.unread) == (6, 18, 1)
    assert report.status == mended.status == 1


async def test_lines_of_one_order_are_compared_with_it(tmp_path: Path) -> None:
    """A line that repeats an order has the same parts; an order that would overwrite another one is missing."""
    lines = orders(2)
    later = {**lines[1], "orderedAt": "2024-01-02T16:17:16Z", "price": 7}
    async with loaded(tmp_path, [lines[0], lines[0], lines[1], later]) as (_, cdp, outcomes):
        report = await jobs.verify(cdp, outcomes, differences=tmp_path / "d", settle=0)
    assert counts(report) == {**clean(4, 24), "same": 18, "missing": 6}
    assert {one["key"] for one in lines_of(tmp_path / "d")} == {"B-1@2024-01-02T16:17:16+00:00"}


async def test_a_line_that_contradicts_an_earlier_one_is_compared_too(tmp_path: Path) -> None:
    """Of two lines with other values for one order, the second one differs from the server: nothing is missing."""
    lines = orders(1)
    async with loaded(tmp_path, [lines[0], {**lines[0], "price": 7}]) as (_, cdp, outcomes):
        report = await jobs.verify(cdp, outcomes, differences=tmp_path / "d", settle=0)
    assert counts(report) == {**clean(2, 12), "same": 11, "different": 1}
    [line] = lines_of(tmp_path / "d")
    assert (line["part"], line["problem"]) == ("order", "different")


async def test_input_is_read_as_the_load_read_it(tmp_path: Path) -> None:
    """The time zone of the load is in the record of its run, beside the outcomes."""
    lines = orders(1)
    lines[0]["orderedAt"] = "2024-01-01T17:17:16"
    async with loaded(tmp_path, orders(1)) as (_, cdp, outcomes):
        write(tmp_path / "o.jsonl", lines)
        assert (await jobs.verify(cdp, outcomes, settle=0)).unread > 0
        write(tmp_path / "out.run.json", [{"options": {"timezone": "Europe/Paris", "assign_references": False}}])
        assert counts(await jobs.verify(cdp, outcomes, settle=0)) == clean(1, 6)
        other = await jobs.verify(cdp, outcomes, timezone="Europe/Dublin", settle=0)
        assert other.same == 0


async def test_input_and_outcomes_must_have_the_same_orders(tmp_path: Path) -> None:
    """An order that only one of them has cannot be compared; one that moved is found by its key."""
    lines = orders(6)
    async with loaded(tmp_path, lines) as (_, cdp, outcomes):
        moved = GraphFiles([write(tmp_path / "m.jsonl", [*reversed(lines[1:]), orders(7)[6]])])
        told: list[jobs.Event] = []
        report = await jobs.verify(cdp, outcomes, moved, settle=0, on_event=told.append)
    assert counts(report) == {**clean(7, 30), "unread": 2}
    assert [event.text.partition(": ")[2] or event.text for event in told if isinstance(event, jobs.Message)] == [
        "unread: the outcomes do not have this order",
        "1 order is in the outcomes and not in the input.",
    ]


async def test_an_unread_order_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order is read again; one that cannot be read is neither the same nor missing, and the exit status is 1."""
    once = {"operation": "contacts.list", "script": [{"action": "status", "status": 500}]}
    async with loaded(tmp_path, orders(5)) as (server, cdp, outcomes):
        server.faults = faults(once)
        again = await jobs.verify(cdp, outcomes, settle=0)
        monkeypatch.setattr(verifier, "TRIES", 1)
        server.faults = faults(once)
        report = await jobs.verify(cdp, outcomes, settle=0)
        server.faults = faults({"operation": "orders.list", "action": "status", "status": 401})
        refused = await jobs.verify(cdp, outcomes, settle=0)
    assert counts(again) == clean(5, 30)
    assert counts(report) == {**clean(5, 24), "unread": 1}
    assert (again.status, report.status, refused.status) == (0, 1, 2)
    assert refused.reason is not None
    assert refused.reason.startswith(f"{server.base_url} refused the credentials")


def faults(*plans: Json) -> Any:  # noqa: ANN401 of the emulator
    """Return a plan of faults."""
    return Faults.of({"faults": list(plans)})


async def test_time_left_leaves_out_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of orders that take a second each, those that are left take as long, also after a minute in which none came."""
    now, left = 0.0, dict[int, float | None]()
    looks: list[Callable[[], None]] = []

    @contextmanager
    def ticking(look: Callable[[], None], _: object) -> Generator[None, None, None]:
        looks.append(look)
        yield

    def pass_by(seconds: int) -> None:
        nonlocal now
        for _ in range(seconds):
            now += 1
            looks[0]()

    async def read(*_: object) -> None:
        pass_by(60 if len(left) == 50 else 1)

    def note(event: jobs.Event) -> None:
        if isinstance(event, jobs.Progress):
            left[event.done] = event.seconds_left

    async with loaded(tmp_path, orders(100)) as (_, cdp, outcomes):
        monkeypatch.setattr(verifier, "ticking", ticking)
        monkeypatch.setattr(verifier, "read_order", read)
        await jobs.verify(cdp, outcomes, settle=0, on_event=note, clock=lambda: now)
    assert len(left) == 100
    for done in range(20, 100):
        assert left[done] == pytest.approx(100 - done, rel=0.2)


async def test_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    """Some orders are drawn, the same ones for the same seed, and the report says what they tell of all."""
    async with loaded(tmp_path, orders(30)) as (_, cdp, outcomes):
        await cdp.orders.delete(refs(outcomes, 7)["order"])
        found: Counter[int] = Counter()
        for seed in range(8):
            report = await jobs.verify(cdp, outcomes, sample=10, seed=seed, settle=0)
            same = await jobs.verify(cdp, outcomes, sample=10, seed=seed, settle=0)
            assert counts(report) == counts(same)
            assert (report.orders, report.population) == (10, 30)
            assert report.differing == most_differing(30, 10, report.wrong)
            found[report.wrong] += 1
        assert set(found) == {0, 1}
        whole = await jobs.verify(cdp, outcomes, sample=99, settle=0)
    assert (whole.orders, whole.wrong, whole.differing) == (30, 1, 1)


async def test_only_the_lines_of_a_sample_are_parsed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If they moved, the others are parsed too."""
    parsed: list[int] = []
    find = Verification.find

    def counted(verification: Verification, line: InputLine) -> Row | None:
        parsed.append(line.number)
        return find(verification, line)

    monkeypatch.setattr(Verification, "find", counted)
    async with loaded(tmp_path, orders(30)) as (_, cdp, outcomes):
        first = await jobs.verify(cdp, outcomes, sample=5, settle=0)
        assert (first.orders, first.wrong, len(parsed)) == (5, 0, 5)
        write(tmp_path / "o.jsonl", reversed(orders(30)))
        moved = await jobs.verify(cdp, outcomes, sample=5, settle=0)
        assert (moved.orders, moved.wrong, len(parsed)) == (5, 0, 5 + 5 + 30)


async def test_keys_that_may_be_personal_are_masked(tmp_path: Path) -> None:
    """A key of an extension that does not look like a field name is told neither here nor in the outcomes."""
    (line,) = orders(1)
    line["extensions"][0]["a0871234567"] = "canary"
    async with loaded(tmp_path, [line]) as (_, cdp, outcomes):
        await cdp.order_extensions.update(refs(outcomes, 0)["order"], {"a0871234567": "other", "storeLocation": "x"})
        await jobs.verify(cdp, outcomes, settle=0, differences=tmp_path / "found")
        source = GraphFiles([tmp_path / "o.jsonl"])
        await jobs.load(cdp, source, journal=tmp_path / "k", outcomes=tmp_path / "kept", look_first=True, settle=0)
    (found,) = lines_of(tmp_path / "found")
    (kept,) = [part for part in lines_of(tmp_path / "kept")[0]["parts"] if part["name"] == "ext"]
    assert sorted(found["fields"]) == sorted(kept["differs"]) == ["***", "storeLocation"]


def test_bound_of_a_sample() -> None:
    """It is exact where all can be counted, and the rule of three for a large population."""
    assert most_differing(1_000_000, 300, 0) == pytest.approx(10_000, rel=0.01)
    assert most_differing(100, 100, 0) == 0
    assert most_differing(100, 100, 7) == 7
    # Of 10, 5 are drawn and none differs: the chance is C(7,5)/C(10,5) = 1/12 where 3 differ, and 1/42 where 4 do.
    assert most_differing(10, 5, 0) == 3
    assert most_differing(10, 1, 0) == 9
    assert most_differing(10, 1, 1) == 10


async def test_sample_must_be_a_number(tmp_path: Path) -> None:
    """A sample of nothing says nothing."""
    async with loaded(tmp_path, orders(1)) as (_, cdp, outcomes):
        with pytest.raises(Invalid, match="sample"):
            await jobs.verify(cdp, outcomes, sample=0)


async def test_stopped_verification_goes_on(tmp_path: Path) -> None:
    """What was checked is not read again, and the differences come once each."""
    async with loaded(tmp_path, orders(40)) as (server, cdp, outcomes):
        for number in range(40):
            await cdp.orders.update(refs(outcomes, number)["order"], {"price": Decimal(51)})
        found = tmp_path / "d"

        class Stop(Exception):
            pass

        def stop(event: jobs.Event) -> None:
            if isinstance(event, jobs.Message) and event.text.startswith("Further"):
                raise Stop

        with pytest.raises(Stop):
            await jobs.verify(cdp, outcomes, differences=found, settle=0, on_event=stop)
        assert "out.verified" in names(tmp_path)
        assert (tmp_path / "out.verified").stat().st_mode & 0o777 == 0o600
        received = server.received
        report = await jobs.verify(cdp, outcomes, differences=found, settle=0)
        assert server.received - received < 40 * 6
        assert counts(report) == {**clean(40, 240), "same": 200, "different": 40}
        assert sorted(line["key"] for line in lines_of(found)) == sorted(line["key"] for line in lines_of(outcomes))
        assert "out.verified" not in names(tmp_path)


async def test_a_verification_goes_on_only_with_the_same_input(tmp_path: Path) -> None:
    """If the input was edited since it was stopped, the orders that are checked already are checked again."""
    async with loaded(tmp_path, orders(40)) as (_, cdp, outcomes):
        for number in range(40):
            await cdp.orders.update(refs(outcomes, number)["order"], {"price": Decimal(51)})

        def stop(event: jobs.Event) -> None:
            if isinstance(event, jobs.Message) and event.text.startswith("Further"):
                raise LookupError

        with pytest.raises(LookupError):
            await jobs.verify(cdp, outcomes, differences=tmp_path / "d", settle=0, on_event=stop)
        write(tmp_path / "o.jsonl", [{**line, "price": 51} for line in orders(40)])
        told: list[str] = []
        report = await jobs.verify(
            cdp, outcomes, differences=tmp_path / "d", settle=0, on_event=lambda event: told.append(str(event))
        )
        assert "The input was changed since the verification was stopped: all is checked again." in "".join(told)
        assert counts(report) == clean(40, 240)
        assert names(tmp_path).count("out.verified") == 0


async def test_other_files_are_not_taken(tmp_path: Path) -> None:
    """What is no file of outcomes, of differences or of a verification is refused and stays as it is."""
    async with loaded(tmp_path, orders(1)) as (server, cdp, outcomes):
        received = server.received
        source = (tmp_path / "o.jsonl").read_bytes()
        with pytest.raises(InputError, match=r"o\.jsonl, line 1: it is not an outcome"):
            await jobs.verify(cdp, tmp_path / "o.jsonl")
        with pytest.raises(InputError, match=r"differences .*: it holds something else"):
            await jobs.verify(cdp, outcomes, differences=tmp_path / "o.jsonl")
        (tmp_path / "out.verified").write_text("mine")
        with pytest.raises(InputError, match="it is something else"):
            await jobs.verify(cdp, outcomes)
        assert (tmp_path / "out.verified").read_text() == "mine"
        assert (tmp_path / "o.jsonl").read_bytes() == source
        assert server.received == received
        with pytest.raises(InputError, match="No such file"):
            await jobs.verify(cdp, tmp_path / "nothing")


async def test_last_line_that_is_cut_is_left_out(tmp_path: Path) -> None:
    """A crash may cut the last outcome: it is told, and its order cannot be compared."""
    async with loaded(tmp_path, orders(3)) as (_, cdp, outcomes):
        whole = outcomes.read_bytes()
        outcomes.write_bytes(whole[:-20])
        told: list[jobs.Event] = []
        report = await jobs.verify(cdp, outcomes, settle=0, on_event=told.append)
    assert counts(report) == {**clean(3, 12), "unread": 1}
    first = next(event for event in told if isinstance(event, jobs.Message))
    assert first.text == f"{outcomes}, line 3: the file ends in the middle of this outcome, which is left out"
    assert orjson.loads(whole.splitlines()[2])["number"] in {1, 2, 3}


async def test_lists_that_lag_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is looked at again once the settling time has passed."""
    now = 0.0
    slept: list[float] = []

    async def pass_by(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    monkeypatch.setattr(verifier, "sleep", pass_by)
    async with loaded(tmp_path, orders(1)) as (server, cdp, outcomes):
        at = refs(outcomes, 0)
        server.store.clock = lambda: datetime(2125, 1, 1, tzinfo=UTC) + timedelta(seconds=now)
        await cdp.consumers.delete(at["consumers/0"])
        await cdp.consumers.create(at["order"], NewConsumer(first_name="canary-Jane", order_items=(at["items/0"],)))
        write(outcomes, [without_ref(line, "consumers/0") for line in lines_of(outcomes)])
        server.store.switches = Switches(list_lag=4)
        early = await jobs.verify(cdp, outcomes, settle=0, clock=lambda: now)
        assert (counts(early), slept) == ({**clean(1, 6), "same": 5, "missing": 1}, [])
        settled = await jobs.verify(cdp, outcomes, settle=5, clock=lambda: now)
        assert (counts(settled), slept) == (clean(1, 6), [5.0])


def without_ref(line: Json, name: str) -> Json:
    """Return a line of outcomes that does not know the reference of one part."""
    parts = [
        {key: value for key, value in part.items() if (part["name"], key) != (name, "ref")} for part in line["parts"]
    ]
    return {**line, "parts": parts}
