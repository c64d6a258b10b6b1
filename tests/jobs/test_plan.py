"""A plan: what a load would send, and what is wrong or doubtful in its input."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdp_orders_async import CdpOrders, CdpOrdersV2, GraphFile, InputError, Invalid, NotSent, Settings, Verdict, jobs
from cdp_orders_async.graph import parse_graph
from cdp_orders_async.ingest.parts import digest_of_order
from cdp_orders_async.jobs.sample import Sample
from cdp_orders_async.kinds import V2, V2_1, Api
from cdp_orders_async.sources import GraphFiles
from tests.cli.support import PARTS, TOKEN, Json, Watched, names, orders, orders_v2, watched, write

REAL = files("cdp_orders_async") / "data" / "orders-50.jsonl.gz"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODULE: Any = importlib.import_module("cdp_orders_async.jobs.plan")  # the package has its function under this name


def now() -> datetime:
    """Return the time of these tests."""
    return NOW


def changed(order: Json, **fields: Any) -> Json:  # noqa: ANN401 JSON data
    """Return *order* with other *fields*."""
    return {**order, **fields}


def with_item(order: Json, **fields: Any) -> Json:  # noqa: ANN401 JSON data
    """Return *order* with other *fields* in its item."""
    return {**order, "orderItems": [{**order["orderItems"][0], **fields}]}


def upserted(order: Json) -> Json:
    """Return *order* as a record of the Batch API that is to be brought up to date."""
    return {"ref": "1", "schema": "order", "mode": "upsert", "value": order}


@asynccontextmanager
async def connected(api: Api = V2_1) -> AsyncGenerator[tuple[Watched, CdpOrders | CdpOrdersV2], None]:
    """Give an emulator and a client of it."""
    version = CdpOrdersV2 if api is V2 else CdpOrders
    settings = Settings(rate=None)
    async with (
        watched() as server,
        version(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=settings) as cdp,
    ):
        yield server, cdp


async def planned(folder: Path, lines: Sequence[object], api: Api = V2_1, **options: Any) -> jobs.Plan:  # noqa: ANN401 those of a plan
    """Return the plan of *lines*."""
    return await jobs.plan(GraphFiles([write(folder / "o.jsonl", lines)], api), now=now, **options)


def mixed(lines: Sequence[Json]) -> list[object]:
    """Return *lines* among others that take more requests, fewer or none."""
    first, second, third, *rest = lines
    late = changed(second, orderedAt="2024-01-03T16:17:16Z")
    return [
        {"referenceId": "bad"},
        first,
        second,
        first,  # a copy
        changed(first, orderedAt="2024-01-01T16:17:16.000999Z"),  # a copy, as it is sent
        {**dict(reversed(list(first.items())))},  # a copy, written in another way
        changed(first, price=51),  # another order with the same key
        late,  # within two days of the second
        changed(second, orderedAt="2024-01-03T16:17:16.001Z"),  # not within two days of an order that is loaded
        changed(second, orderedAt="2024-01-09T16:17:16Z"),
        late,
        upserted(third),
        upserted(third),
        upserted(changed(third, orderedAt="2024-01-01T20:00:00Z")),
        changed(rest[0], price=50.0),
        rest[0],  # 50 and 50.0 are one number
        {"referenceId": "bare", **{key: rest[1][key] for key in ("orderedAt", "price", "currencyCode")}}
        | ({"pointOfSale": rest[1]["pointOfSale"]} if "pointOfSale" in rest[1] else {}),
        *rest[1:],
    ]


@pytest.mark.parametrize("count", [6, 120])
@pytest.mark.parametrize("api", [V2_1, V2], ids=["v2.1", "v2"])
async def test_requests_are_those_of_a_load(tmp_path: Path, api: Api, count: int) -> None:
    """A clean load of a mixed input sends just so many requests of each kind, small or large, in both versions."""
    source = write(tmp_path / "o.jsonl", mixed(orders_v2(count) if api is V2 else orders(count)))
    plan = await jobs.plan(GraphFiles([source], api), rate=20, now=now)
    async with connected(api) as (server, cdp):
        report = await jobs.load(cdp, GraphFile(source, api), journal=tmp_path / "j", settle=0)
        sent = {kind: sent for kind in MODULE.KINDS if (sent := server.requests[kind])}
    assert report.requests == plan.requests.total()
    assert sent == +plan.requests
    assert report.counts[Verdict.INVALID] == plan.invalid == 1
    assert report.counts[Verdict.ALREADY] == plan.copies == 5
    assert report.counts[Verdict.CONFLICT] == plan.conflicts == 4
    assert plan.orders == report.counts.total()
    assert plan.seconds == plan.requests.total() / 20
    assert plan.requests["orders.list"] == 1 + (6 if count > 100 else 0)


async def test_requests_of_real_orders(tmp_path: Path) -> None:
    """The sample of real orders too, and the plan has its hash."""
    source = tmp_path / "o.jsonl.gz"
    source.write_bytes(REAL.read_bytes())
    plan = await jobs.plan(GraphFiles([source]), now=now)
    async with connected() as (_, cdp):
        report = await jobs.load(cdp, GraphFile(source), journal=tmp_path / "j")
    assert report.requests == plan.requests.total() > 50 * PARTS
    assert (plan.orders, plan.status, plan.seconds, len(plan.warnings)) == (50, 0, None, 0)
    assert plan.hash == await GraphFiles([source]).fingerprint()


async def test_faults_are_grouped(tmp_path: Path) -> None:
    """Equal faults are told once, wherever in the order they are, with how many orders have them and the first."""
    long = {"name": "x" * 129}
    items = [{**order["orderItems"][0], **long} for order in orders(3)]
    lines = [
        *orders(2),
        with_item(orders(3)[2], **long),
        changed(orders(4)[3], orderItems=items),
        *[{"referenceId": "A-1", "key-of-mine": 1}] * 3,
    ]
    source = write(tmp_path / "o.jsonl", lines)
    source.write_bytes(source.read_bytes() + b'{"a": 1,}\n{"abc": 1,}\n')
    plan = await jobs.plan(GraphFiles([source]), now=now)
    told = [str(group) for group in plan.faults]
    assert (
        told[0]
        == f"3 x $.key-of-mine is no key of version 2.1; put its values into the order's extension, first at {source}:5"
    )
    assert f"2 x $.orderItems[].name must be at most 128 characters, first at {source}:3" in told
    assert (len([text for text in told if "$ must be JSON" in text]), plan.invalid, plan.status) == (1, 7, 1)
    assert plan.to_json()["faults"] == [
        {"rule": group.rule, "count": group.count, "first": group.first} for group in plan.faults
    ]


async def test_many_faults_take_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line with more than 100 broken rules is in one group more; of too many rules the rest is one group."""
    groups = importlib.import_module("cdp_orders_async.jobs.groups")
    monkeypatch.setattr(groups, "MOST", 200)
    lines = [{f"k{n}-{i}": 1 for i in range(120)} for n in range(3)]
    plan = await planned(tmp_path, lines)
    told = {group.rule: group.count for group in plan.faults}
    assert len(told) == 201
    assert told["other rules"] > 1
    assert told["$ breaks more rules"] == 3


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        (changed(orders(1)[0], price=51), "$.price is not the sum of the prices of the items, with or without"),
        (with_item(orders(1)[0], quantity=2), None),
        (with_item(orders(1)[0], quantity=2, price=25), None),
        (with_item(orders(1)[0], quantity=0), None),
        (with_item(orders(1)[0], quantity=3, price=25), "$.price is not the sum of the prices of the items"),
        (changed(orders(1)[0], orderItems=[], consumers=[], price=7), None),
        (with_item(orders(1)[0], currencyCode="USD"), "$.orderItems have another currency than their order"),
        (with_item(orders(1)[0], price=60, currencyCode="USD"), "$.orderItems have another currency than their order"),
        (changed(orders(1)[0], orderedAt="2026-01-01T00:05:01Z"), "$.orderedAt is in the future"),
        (changed(orders(1)[0], orderedAt="2026-01-01T00:05:00Z"), None),
        (changed(orders(1)[0], orderedAt="1999-12-31T23:59:59Z"), "$.orderedAt is before 2000"),
        (changed(orders(1)[0], orderedAt="2000-01-01T00:00:00Z"), None),
        (
            with_item(orders(1)[0], status="Confirmed"),
            "$.orderItems[].status is none of the words that the vendor names",
        ),
        (with_item(orders(1)[0], channel="SHOP"), "$.orderItems[].channel is none of the words that the vendor names"),
        (changed(orders(1)[0], paymentType="Gold"), "$.paymentType is none of the words that the vendor names"),
        (changed(orders(1)[0], paymentType="Card", cardType="VISA"), "$.cardType is none of the words that the vendor"),
        (changed(orders(1)[0], status="PURCHASED", channel="WEB", paymentType="Card", cardType="Visa"), None),
        (changed(orders(1)[0], referenceId=" "), "$.referenceId is blank"),
        (changed(with_item(orders(1)[0], referenceId="\t"), consumers=[]), "$.orderItems[].referenceId is blank"),
        (with_item(orders(1)[0], productId=""), "$.orderItems[].productId is blank"),
        (
            changed(orders(1)[0], contact={"identifiers": [{"provider": "CRM", "id": " "}]}),
            "$.contact.identifiers[].id is blank",
        ),
        (
            changed(orders(1)[0], contact={"identifiers": [{"provider": " ", "id": "1"}]}),
            "$.contact.identifiers[].provider is blank",
        ),
    ],
)
async def test_warnings(tmp_path: Path, order: Json, rule: str | None) -> None:
    """What keeps the rules and is doubtful is told, by rule and first place, and fails nothing."""
    plan = await planned(tmp_path, [order])
    told = [group.rule for group in plan.warnings]
    assert (told == []) if rule is None else (len(told) == 1 and told[0].startswith(rule))
    assert (plan.status, plan.invalid) == (0, 0)


async def test_warnings_of_version_2(tmp_path: Path) -> None:
    """Items of version 2 may have a time of their own, and a quantity that is not whole."""
    lines = [
        with_item(orders_v2(1)[0], channel="SHOP", orderedAt="1990-01-01T00:00:00Z"),
        with_item(orders_v2(2)[1], quantity=2.5, price=20),
    ]
    plan = await planned(tmp_path, lines, V2)
    assert {group.rule for group in plan.warnings} == {
        "$.orderItems[].channel is none of the words that the vendor names",
        "$.orderItems[].orderedAt is before 2000",
    }
    assert {group.first for group in plan.warnings} == {f"{tmp_path / 'o.jsonl'}:1"}


async def test_same_reference(tmp_path: Path) -> None:
    """The orders that the server takes for one are told with their places and the verdicts that a load gives them."""
    ann, other, *_ = orders(2)
    bob = changed(ann, orderedAt="2024-01-02T16:17:16Z", price=7)
    first = write(tmp_path / "1.jsonl", [ann, other, bob])
    second = write(tmp_path / "2.jsonl", [ann, changed(ann, price=7), changed(ann, orderedAt="2024-01-05T00:00:00Z")])
    plan = await jobs.plan(GraphFiles([first, second]), now=now)
    key = "B-0@2024-01-01T16:17:16+00:00"
    assert plan.to_json()["same_reference"] == [
        {
            "reference_id": "B-0",
            "orders": [
                {"file": str(first), "number": 1, "key": key, "verdict": "loaded"},
                {"file": str(first), "number": 3, "key": key.replace("01-01", "01-02"), "verdict": "conflict"},
                {"file": str(second), "number": 1, "key": key, "verdict": "already"},
                {"file": str(second), "number": 2, "key": key, "verdict": "conflict"},
            ],
        }
    ]
    assert (plan.copies, plan.conflicts, plan.status) == (1, 2, 1)
    assert (await jobs.plan(GraphFiles([first, first.with_name("1.jsonl")]), now=now)).copies == 0  # one file
    copies = await planned(tmp_path, [ann, ann, ann])
    assert (copies.copies, copies.conflicts, copies.status) == (2, 0, 0)


async def test_groups_of_one_reference_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted; so many groups are told, and so many orders of each."""
    monkeypatch.setattr(MODULE, "TOLD", 2)
    plan = await planned(tmp_path, [order for order in orders(4) for _ in range(3)])
    assert plan.copies == 8
    assert [(clash.reference_id, len(clash.orders)) for clash in plan.same_reference] == [("B-0", 2), ("B-1", 2)]


WHOLE = orders(1)[0]
IDENTIFIERS = [{"provider": "CRM", "id": "1"}, {"provider": "CRM", "id": "2"}]
VARIANTS = [
    (WHOLE, changed(WHOLE, price=50.0), True),
    (WHOLE, changed(WHOLE, contact={**WHOLE["contact"], "lastName": "canary"}), False),
    (WHOLE, changed(WHOLE, extensions=[{"storeLocation": "canary-Paris"}]), False),
    (WHOLE, changed(WHOLE, extensions=[{"storeLocation": "canary-London", "b": 1}]), False),
    (changed(WHOLE, extensions=[{"a": 1, "b": 2}]), changed(WHOLE, extensions=[{"b": 2, "a": 1}]), True),
    (changed(WHOLE, extensions=[{"a": 1}]), changed(WHOLE, extensions=[{"a": 1.0}]), True),
    (changed(WHOLE, extensions=[{"a": 1}]), changed(WHOLE, extensions=[{"a": 1, "b": ""}]), True),
    (WHOLE, changed(WHOLE, contact={**WHOLE["contact"], "phoneNumbers": []}), True),
    (with_item(WHOLE, vendor=""), WHOLE, True),
    (
        changed(WHOLE, contact={**WHOLE["contact"], "identifiers": IDENTIFIERS}),
        changed(WHOLE, contact={**WHOLE["contact"], "identifiers": [*IDENTIFIERS[::-1], IDENTIFIERS[0]]}),
        True,
    ),
    (
        changed(WHOLE, contact={**WHOLE["contact"], "identifiers": IDENTIFIERS}),
        changed(WHOLE, contact={**WHOLE["contact"], "identifiers": IDENTIFIERS[:1]}),
        False,
    ),
    (changed(WHOLE, extensions=[{"a": 1}]), changed(WHOLE, extensions=[{"a": True}]), False),
    (WHOLE, with_item(WHOLE, extensions=[]), False),
    (WHOLE, with_item(WHOLE, quantity=1), False),
    (WHOLE, changed(WHOLE, consumers=[{"firstName": "canary-Jane"}]), False),
    (
        changed(WHOLE, consumers=[{"firstName": "A"}, *WHOLE["consumers"]]),
        changed(WHOLE, consumers=[*WHOLE["consumers"], {"firstName": "A"}]),
        True,
    ),
    (WHOLE, upserted(WHOLE), True),
    (WHOLE, changed(WHOLE, orderedAt="2024-01-01T16:17:16.000999Z"), True),  # which is not sent
    (WHOLE, changed(WHOLE, orderedAt="2024-01-01T16:17:16.001Z"), False),
    (
        changed(WHOLE, orderedAt="2024-01-01T16:17:16.123456Z"),
        changed(WHOLE, orderedAt="2024-01-01T16:17:16.123Z"),
        True,
    ),
]


@pytest.mark.parametrize(("one", "other", "is_copy"), VARIANTS)
async def test_a_copy_differs_in_nothing(tmp_path: Path, one: Json, other: Json, is_copy: bool) -> None:  # noqa: FBT001 a column of the table
    """A plan counts a line as a copy just where a load does: where the two have one digest."""
    plan = await planned(tmp_path, [one, other])
    assert (plan.copies, plan.conflicts) == ((1, 0) if is_copy else (0, 1))
    graphs = map(parse_graph, (one, other))
    assert len(set(map(digest_of_order, graphs))) == (1 if is_copy else 2)


async def test_empty_input_is_told(tmp_path: Path) -> None:
    """An input without an order is no error, and is told."""
    told: list[jobs.Event] = []
    source = write(tmp_path / "o.jsonl", [])
    plan = await jobs.plan(GraphFiles([source]), on_event=told.append)
    assert told == [jobs.Message(f"The input, {source}, holds no order.")]
    assert (plan.orders, plan.requests.total(), plan.status) == (0, 0, 0)


async def test_progress_is_told(tmp_path: Path) -> None:
    """Now and then it is told how much was read."""
    told: list[jobs.Event] = []
    ticks = iter(range(1000))
    await planned(tmp_path, [*orders(200), {}], on_event=told.append, clock=lambda: next(ticks))
    readings = [event for event in told if isinstance(event, jobs.Reading)]
    assert [reading.orders for reading in readings] == [64, 128, 192]
    assert readings[-1].seconds == 3
    assert readings[-1].fraction is not None


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signal_ends_the_reading(tmp_path: Path, number: signal.Signals, status: int) -> None:
    """A signal ends it, and the plan says so; another one, or a second signal, changes nothing."""
    ticks = iter(range(1000))

    def observe(_: jobs.Event) -> None:
        os.kill(os.getpid(), number)

    plan = await planned(tmp_path, orders(20_000), on_event=observe, clock=lambda: next(ticks))
    assert (plan.stopped_by, plan.status) == (number, status)
    assert 0 < plan.orders < 20_000


async def test_cancellation_is_raised(tmp_path: Path) -> None:
    """Who cancels the task sees it cancelled."""
    ticks = iter(range(1000))
    task = asyncio.current_task()
    assert task is not None

    def cancel(_: jobs.Event) -> None:
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await planned(tmp_path, orders(2_000), on_event=cancel, clock=lambda: next(ticks))
    task.uncancel()


async def test_index_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is on disk while it is needed, in no folder by name, and it is told where there is no space."""
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    await planned(tmp_path, orders(2_000))
    assert names(tmp_path / "tmp") == []

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(InputError, match=r"in the folder of temporary files \(TMPDIR\): database or disk is full"):
        await planned(tmp_path, orders(1))


@pytest.mark.parametrize("options", [{"rate": 0}, {"rate": float("inf")}, {"rate": -1}, {"sample": 0}])
async def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """What cannot be is refused before anything is read."""
    with pytest.raises(Invalid, match="must be"):
        await planned(tmp_path, [], **options)


async def test_rejects_must_be_another_file(tmp_path: Path) -> None:
    """The input is never written."""
    source = write(tmp_path / "o.jsonl", [{}])
    with pytest.raises(InputError, match="must be different files"):
        await jobs.plan(GraphFiles([source]), rejects=tmp_path / "x" / ".." / "o.jsonl")
    assert source.read_bytes() == b"{}\n"


async def test_rejects_are_kept(tmp_path: Path) -> None:
    """The bad lines are in a file as they stood, which can be mended and planned."""
    plan = await planned(tmp_path, [*orders(1), {"a": 1}], rejects=tmp_path / "bad")
    assert (plan.invalid, (tmp_path / "bad").read_bytes()) == (1, b'{"a":1}\n')


@pytest.mark.parametrize("api", [V2_1, V2], ids=["v2.1", "v2"])
async def test_server_is_asked(tmp_path: Path, api: Api) -> None:
    """A sample is looked for: it is there, in part or not at all; nothing is written."""
    lines = orders_v2(9) if api is V2 else orders(9)
    whole = write(tmp_path / "whole", lines[:3])
    part = write(tmp_path / "part", [changed(line, consumers=[]) for line in lines[3:5]])
    async with connected(api) as (server, cdp):
        for source in (whole, part):
            await jobs.load(cdp, GraphFile(source, api), journal=source.with_suffix(".j"))
        sent = server.received
        plan = await planned(tmp_path, lines, api, client=cdp)
        assert plan.server == jobs.Presence(sample=9, whole=3, part=2)
        assert plan.to_json()["server"] == {"sample": 9, "whole": 3, "part": 2, "absent": 4}
        few = await planned(tmp_path, lines, api, client=cdp, sample=4, seed=7)
        again = await planned(tmp_path, lines, api, client=cdp, sample=4, seed=7)
        assert few.server is not None
        assert few.server.sample == 4
        assert few.server == again.server
        reads = {kind for kind in server.requests if kind.endswith((".get", ".list", ".items"))}
        assert sum(count for kind, count in server.requests.items() if kind not in reads) == sent < server.received


async def test_sample_is_drawn_evenly() -> None:
    """Each order of an input is drawn as often as any other."""
    graphs = [parse_graph(order) for order in orders(10)]
    drawn: dict[str, int] = {}
    for seed in range(600):
        sample = Sample(3, Random(seed))  # noqa: S311 nothing secret
        for graph in graphs:
            sample.offer(graph)
        for cell in sample._drawn:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] what it would look for
            key = cell.cell_contents.order.reference_id
            drawn[key] = drawn.get(key, 0) + 1
    assert sum(drawn.values()) == 1800
    assert all(130 < count < 230 for count in drawn.values())


async def test_server_that_cannot_be_asked_is_told(tmp_path: Path) -> None:
    """What the requests raise is raised, alone."""
    settings = Settings(retries=0)
    async with CdpOrders(base_url="http://127.0.0.1:9", client_key="k", api_token=TOKEN, settings=settings) as cdp:
        with pytest.raises(NotSent):
            await planned(tmp_path, orders(20), client=cdp)
