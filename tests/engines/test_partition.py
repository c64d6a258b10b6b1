"""The load of one partition, and what the processes of a cluster share: no cluster is needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import orjson
import pytest

from cdp_orders_async import Outcome, SqliteJournal, Unauthorized, Verdict, parse_graph
from cdp_orders_async.emulator import Emulator, in_thread
from cdp_orders_async.emulator.threads import Served
from cdp_orders_async.engines import partition
from cdp_orders_async.engines.leases import JournalOwner, RemoteJournal, Step
from cdp_orders_async.engines.partition import (
    Line,
    PartitionLoader,
    PartitionOptions,
    SourceLine,
    load_partition,
    make_client,
)
from cdp_orders_async.engines.rows import row_text
from cdp_orders_async.engines.slots import Slots
from cdp_orders_async.errors import Invalid, JournalError
from cdp_orders_async.journal import Busy, Claimed, OrderId
from cdp_orders_async.pacing.shared import Lease
from tests.cli.support import orders

TEXTS = [orjson.dumps(order) for order in orders(3)]
OPTIONS = PartitionOptions(settle=0.0)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve an emulator, whose credentials are in the environment."""
    monkeypatch.setenv("CDP_CLIENT_KEY", "key")
    monkeypatch.setenv("CDP_API_TOKEN", "token")
    with in_thread() as served:
        yield served


def verdicts(outcomes: list[Outcome]) -> dict[int, str]:
    """Return the verdict of each line."""
    return {outcome.number: str(outcome.verdict) for outcome in outcomes}


def created(served: Served) -> int:
    """Return how many orders were sent."""
    requests = cast("dict[str, int]", served.ledger()["requests"])
    return requests.get("orders.create", 0)


async def test_a_partition_gives_an_outcome_for_each_line(served: Served, tmp_path: Path) -> None:
    """Lines have their place in the partition, or their own; a second load with the journal sends nothing."""
    journal = tmp_path / "j.sqlite"
    lines: list[Line] = [TEXTS[0], TEXTS[1].decode(), b"", b"{}", SourceLine("o.jsonl", 70, TEXTS[2])]
    outcomes = await load_partition(lines, served.base_url, None, journal, options=OPTIONS)
    assert verdicts(outcomes) == {1: "loaded", 2: "loaded", 4: "invalid", 70: "loaded"}
    assert {outcome.number: outcome.file for outcome in outcomes} == dict.fromkeys((1, 2, 4), "partition") | {
        70: "o.jsonl"
    }
    again = await load_partition(lines, served.base_url, 500, journal, options=OPTIONS)
    assert verdicts(again) == {1: "already", 2: "already", 4: "invalid", 70: "already"}
    assert created(served) == 3


async def test_the_error_of_a_load_is_raised_and_told(served: Served) -> None:
    """Wrong credentials end the partition: the loader gives each order its outcome, the function raises the error."""
    with in_thread(Emulator(api_token="another")) as other:  # noqa: S106 it guards an emulator
        with pytest.raises(Unauthorized):
            await load_partition(TEXTS, other.base_url, None, None)
        async with PartitionLoader(other.base_url, None, None, OPTIONS) as loader:
            outcomes, error = await loader.load(TEXTS)
    assert isinstance(error, Unauthorized)
    assert sorted(outcome.number for outcome in outcomes) == [1, 2, 3]
    assert {outcome.verdict for outcome in outcomes} <= {Verdict.FAILED, Verdict.NOT_TRIED}
    assert created(served) == 0


async def test_lines_need_places_of_their_own(served: Served) -> None:
    """Two lines with one place could not be told apart, and another type is no line."""
    same = [SourceLine("f", 1, TEXTS[0]), SourceLine("f", 1, TEXTS[1])]
    with pytest.raises(ValueError, match="two lines have one place: f, line 1"):
        await load_partition(same, served.base_url, None, None)
    with pytest.raises(TypeError, match="a line must be a text or a SourceLine, not int"):
        await load_partition([1], served.base_url, None, None)  # type: ignore[list-item] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"lines": "{}"}, "lines must be several lines: put the one into a list"),
        ({"lines": b"{}"}, "lines must be several lines: put the one into a list"),
        ({"lines": None}, "lines must be several lines, not None"),
        ({"lines": [SourceLine("f", 1, cast("str", 5))]}, "the text of a line must be str or bytes, not int"),
        ({"rate": "auto"}, "rate must be requests a second, a number, or a limiter with a method acquire, or None"),
        ({"rate": True}, "rate must be requests a second, a number, or a limiter with a method acquire, or None"),
        ({"journal": 5}, "journal must be an open Journal, or the place of one, or None, not int"),
        ({"options": {}}, "options must be PartitionOptions, not dict"),
    ],
    ids=str,
)
async def test_arguments_of_another_type(served: Served, given: dict[str, Any], sentence: str) -> None:
    """One sentence names the argument, and nothing was sent: a text alone would be an order for each character."""
    usual: dict[str, Any] = {"lines": TEXTS, "url": served.base_url, "rate": None, "journal": None, "options": OPTIONS}
    arguments = {**usual, **given}
    options = arguments.pop("options")
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}"):
        await load_partition(*arguments.values(), options=options)
    assert created(served) == 0


def test_options_that_cannot_be() -> None:
    """They are refused where they are made, before they are sent to a cluster."""
    with pytest.raises(Invalid, match=r"api: must be v2 or v2\.1; patience: must be a number of at least 0"):
        PartitionOptions(api=cast("Any", "v3"), patience=float("nan"))
    with pytest.raises(TypeError, match="settings must be Settings or None, not dict"):
        PartitionOptions(settings=cast("Any", {}))


async def test_an_order_of_a_dead_process_is_tried_until_its_claim_ends(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim of a process that died ends with its lease; until then the order is busy, then it is loaded."""
    monkeypatch.setattr(partition, "LOOK", 0.01)
    seconds, busy = 0.0, 0

    async def send(user: str, steps: Sequence[Step]) -> Sequence[object]:
        nonlocal seconds, busy
        results = await owner.do(user, steps)
        found = sum(isinstance(result, Busy) for result in results)
        busy, seconds = busy + found, seconds + 25 * found
        return results

    identity = make_client(served.base_url, OPTIONS).identity
    async with await SqliteJournal.open(tmp_path / "j.sqlite", identity=identity) as journal:
        owner = JournalOwner(journal, 60.0, clock=lambda: seconds)
        dead = RemoteJournal(owner.do, "dead", identity=identity)
        order = parse_graph(orders(1)[0]).order
        assert isinstance(await dead.claim(OrderId.of(order.reference_id, order.ordered_at), b"d"), Claimed)
        one = RemoteJournal(send, "one", identity=identity)
        impatient = PartitionOptions(settle=0.0, patience=0.0)
        found = await load_partition(TEXTS, served.base_url, None, one, options=impatient)
        assert verdicts(found) == {1: "busy", 2: "loaded", 3: "loaded"}
        async with PartitionLoader(served.base_url, None, one, OPTIONS) as loader:
            outcomes, error = await loader.load(TEXTS)
        assert busy == 3
        assert (error, verdicts(outcomes)) == (None, {1: "loaded", 2: "already", 3: "already"})
    assert created(served) == 3


async def test_the_claims_of_a_partition_have_ended_with_it(served: Served, tmp_path: Path) -> None:
    """A process that is killed after its outcomes came holds up nobody, though it never closes its journal."""
    identity = make_client(served.base_url, OPTIONS).identity
    order = parse_graph(orders(1)[0]).order
    step: Step = ("claim", (OrderId.of(order.reference_id, order.ordered_at), b"d", b"", 0, False))
    async with await SqliteJournal.open(tmp_path / "j.sqlite", identity=identity) as journal:
        owner = JournalOwner(journal)
        killed = RemoteJournal(owner.do, "killed", identity=identity, linger=3600)
        async with PartitionLoader(served.base_url, None, killed, OPTIONS) as loader:
            for verdict in ("loaded", "already"):
                outcomes, error = await loader.load(TEXTS[:1])
                assert (error, verdicts(outcomes)) == (None, {1: verdict})
        assert [type(result) for result in await owner.do("next", [step])] == [Claimed]
        await killed.aclose()


async def test_a_lost_owner_fails_the_next_call() -> None:
    """What cannot be written is told by the next call that waits, to each of its callers."""

    async def send(_: str, __: object) -> list[object]:
        raise JournalError("gone")

    journal = RemoteJournal(send, "one", identity={})
    journal.record("g", "order", b"d", None)
    answers = await asyncio.gather(journal.known(1), journal.owner(UUID(int=1)), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["gone", "gone"]
    assert len({id(answer) for answer in answers}) == 2


async def test_a_cancelled_claim_is_given_up(tmp_path: Path) -> None:
    """The owner grants it after its caller has gone; nobody is kept from the order."""
    async with await SqliteJournal.open(tmp_path / "j.sqlite", identity={}) as journal:
        owner = JournalOwner(journal)
        one, two = (RemoteJournal(owner.do, name, identity={}) for name in ("one", "two"))
        order = OrderId.of("G", datetime(2024, 1, 1, tzinfo=UTC))
        claim = asyncio.ensure_future(one.claim(order, b"d"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        claim.cancel()
        await asyncio.wait({claim})
        await one.known(0)
        await one.known(0)
        assert isinstance(await two.claim(order, b"d"), Claimed)


def test_slots_are_evenly_spaced_whoever_asks() -> None:
    """Leases follow each other; what was not asked for in time is gone; a pause and another rate void the leases."""
    now = 100.0
    slots = Slots(10, clock=lambda: now)
    assert [slots.lease(2), slots.lease(3), slots.lease(0)] == [
        Lease(100.0, 100.0, 10.0, 0),
        Lease(100.2, 100.0, 10.0, 0),
        Lease(100.5, 100.0, 10.0, 0),
    ]
    now = 200.0
    assert slots.lease(1) == Lease(200.0, 200.0, 10.0, 0)
    slots.pause(5)
    slots.pause(1)
    assert slots.lease(1) == Lease(205.0, 200.0, 10.0, 2)
    slots.set_rate(0.5)
    slots.set_rate(0.5)
    assert slots.lease(1) == Lease(205.0, 200.0, 0.5, 3)
    with pytest.raises(Invalid, match="rate"):
        slots.set_rate(0)


def test_a_row_becomes_the_text_of_an_order() -> None:
    """Nulls are left out at each depth, decimals keep their digits, times their zone; a NaN is no JSON."""
    zone = timezone(timedelta(hours=1))
    row = {
        "price": Decimal("10.50"),
        "orderedAt": datetime(2024, 1, 1, tzinfo=zone),
        "day": date(2024, 1, 2),
        "orderItems": [{"name": "A", "extra": None}],
        "nothing": None,
    }
    assert row_text(row) == (
        b'{"price":10.50,"orderedAt":"2024-01-01T00:00:00+01:00","day":"2024-01-02","orderItems":[{"name":"A"}]}'
    )
    assert row_text({"price": float("nan"), "other": Decimal("NaN")}) == b'{"price":NaN,"other":NaN}'
