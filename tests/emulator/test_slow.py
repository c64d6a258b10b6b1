"""A server that is slow: answers that come late, and writes that take effect when their client may be gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import attrs
import orjson
import pytest

from cdp_orders_async.emulator import Emulator, Switches, running
from cdp_orders_async.emulator.operations import Reply
from cdp_orders_async.emulator.service import Asked
from cdp_orders_async.emulator.switches import seconds
from tests.emulator.talking import ABSENT, ITEM, ORDER, PAIRS, PERSON, Answer, Clock, Json, Talk, talking, until
from tests.virtual import LoopbackLoop, VirtualLoop

AGES = 3600
AUTHORIZATION = aiohttp.encode_basic_auth("key", "token")
START = datetime(2025, 6, 1, tzinfo=UTC)
LATE, SLOW = Switches(latency={"*.create": AGES}), Switches(slow_writes={"*.create": AGES})
BOTH = pytest.mark.parametrize("switches", [LATE, SLOW], ids=["latency", "slow writes"])
Methods = tuple[str, str, Json | None]


def run(main: Callable[[VirtualLoop], Coroutine[object, object, None]], loop: type[VirtualLoop] = VirtualLoop) -> None:
    """Run *main* on a loop of virtual time."""
    with asyncio.Runner(loop_factory=loop) as runner:
        here = runner.get_loop()
        assert isinstance(here, VirtualLoop)
        runner.run(main(here))


def posted(order: Json) -> bytes:
    """Return the bytes of a request that creates an order."""
    body = orjson.dumps(order)
    head = (
        "POST /v2.1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: {AUTHORIZATION}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def asked(order: Json) -> Asked:
    """Return the request that creates an order, as it is read."""
    return Asked(
        method="POST",
        path="/v2.1/orders",
        query={},
        base="http://localhost",
        authorization=AUTHORIZATION,
        content_type="application/json",
        request_id=None,
        body=orjson.dumps(order),
    )


def plan(**fault: object) -> Json:
    """Return a plan whose one fault hits every order that is created."""
    return {"faults": [{"operation": "orders.create", **fault}]}


@asynccontextmanager
async def asking(talk: Talk, method: str, path: str, body: object = None) -> AsyncGenerator[asyncio.Task[Answer]]:
    """Give a request that the server holds back."""
    before = len(talk.emulator.waiting)
    request = asyncio.create_task(talk(method, path, body))
    await until(lambda: len(talk.emulator.waiting) == before + 1)
    yield request
    await asyncio.wait([request])


async def leave(request: asyncio.Task[Answer], others: set[asyncio.Task[Any]]) -> None:
    """Let the client of a request go, and wait until the server has seen it: all tasks are *others* then."""
    request.cancel()
    await until(lambda: asyncio.all_tasks() <= others)


@BOTH
async def test_nothing_is_done_before_its_time(switches: Switches) -> None:
    """Lists and the ledger show a write that is held back once it takes effect, and its answer follows."""
    clock = Clock()
    async with talking(switches, clock=clock) as talk, asking(talk, "POST", "/v2.1/orders", ORDER) as request:
        assert (await talk("GET", "/v2.1/orders", referenceId=ORDER["referenceId"])).json["items"] == []
        ledger = (await talk("GET", "/__ledger")).json
        assert (ledger["effects"], ledger["requests"]["orders.create"]) == ([], 1)
        assert not request.done()
        clock.advance(5)
        talk.emulator.waiting.finish()
        (effect,) = (await talk("GET", "/__ledger")).json["effects"]
        assert effect["time"] == "2025-06-01T12:00:05Z"
        answer = await request
        assert (answer.status, answer.ref, answer.json["createdAt"]) == (201, effect["ref"], effect["time"])
        assert len((await talk("GET", "/v2.1/orders", referenceId=ORDER["referenceId"])).json["items"]) == 1


@pytest.mark.parametrize(
    ("switches", "effects"), [(LATE, 0), (SLOW, 1), (attrs.evolve(SLOW, latency=AGES), 1)], ids=["late", "slow", "both"]
)
async def test_client_that_goes(switches: Switches, effects: int) -> None:
    """What waits for its latency is forgotten with its client; a slow write takes effect all the same, whole."""
    async with talking(switches) as talk:
        others = asyncio.all_tasks()
        async with asking(talk, "POST", "/v2.1/orders", ORDER) as request:
            await leave(request, others)
        assert (len(talk.emulator.waiting), talk.emulator.store.effects) == (effects, [])
        talk.emulator.waiting.finish()
        assert [order.data["referenceId"] for order in talk.emulator.store.all("orders")] == ["B94TXY-1"] * effects
        assert len(talk.emulator.store.effects) == effects


@pytest.mark.parametrize("reset", [False, True])
async def test_late_writes_come_of_themselves(*, reset: bool) -> None:
    """Two equal slow POSTs whose clients hang up, or reset the connection, are two writes."""
    emulator = Emulator(switches=Switches(slow_writes=0.05, upsert=False))
    async with running(emulator) as base_url:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port)
            writer.write(posted(ORDER))
            await until(lambda: emulator.requests.total() == 1)
            emulator.requests.clear()
            if reset:
                writer.transport.abort()
            writer.close()
        await until(lambda: len(emulator.store.effects) == 2)
    assert len([*emulator.store.all("orders")]) == 2


WRITES: Mapping[str, Methods] = {
    "orders.create": ("POST", "/v2.1/orders", {**ORDER, "referenceId": "other"}),
    "contacts.create": ("POST", "/v2.1/orders/{orders}/contacts", PERSON),
    "order_extensions.create": ("POST", "/v2.1/orders/{orders}/extensions/ext", PAIRS),
    "items.replace": ("PUT", "/v2.1/orderItems/{items}", ITEM),
    "orders.update": ("PATCH", "/v2.1/orders/{orders}", {"price": 1}),
    "items.update": ("POST", "/v2/orderItems/{items}", {**ITEM, "type": "BAG", "productId": "P", "referenceId": "R"}),
    "order_extensions.delete_fields": ("DELETE", "/v2.1/orders/{orders}/extensions/ext/fields", None),
    "orders.delete": ("DELETE", "/v2.1/orders/{orders}", None),
}


@pytest.mark.parametrize("operation", WRITES)
async def test_any_write_can_be_slow(operation: str) -> None:
    """One number for all makes every write slow, of both versions, and no GET."""
    method, path, body = WRITES[operation]
    async with talking() as talk:
        refs = await talk.graph()
        made = len(talk.emulator.store.effects)
        talk.emulator.store.switches = Switches(slow_writes=AGES)
        async with asking(talk, method, path.format(**refs), body):
            assert (await talk("GET", f"/v2.1/orders/{refs['orders']}")).json["price"] == 50
            assert len(talk.emulator.store.effects) == made
            talk.emulator.waiting.finish()
        assert [effect["operation"] for effect in talk.emulator.store.effects[made:]] == [operation]


async def test_refusals_and_reads_are_late_too() -> None:
    """Latency holds back every answer of the API, whatever it is, and none that is not of the API."""
    async with talking(Switches(latency=AGES)) as talk:
        async with asking(talk, "GET", f"/v2.1/orders/{ABSENT}") as request:
            talk.emulator.waiting.finish()
            assert (await request).status == 404
        async with asking(talk, "GET", f"/v2/guests/{ABSENT}"):
            talk.emulator.waiting.finish()
        assert [(await talk("GET", path)).status for path in ("/__state", "/nowhere")] == [200, 404]


@pytest.mark.parametrize(
    ("given", "operation", "wanted"),
    [
        (0, "orders.create", 0),
        (0.5, "orders.create", 0.5),
        (0.5, "", 0),
        ({"orders.create": 3, "*": 0.1}, "orders.create", 3),
        ({"*": 0.1, "orders.create": 3}, "orders.create", 3),
        ({"*": 0.1, "*.create": 2, "orders.create": 3}, "items.create", 2),
        ({"*": 0.1, "*.create": 2}, "items.get", 0.1),
        ({"*": 0.1, "orders.create": 0}, "orders.create", 0),
        ({"*": 0.1}, "", 0),
        ({"*.create": 2}, "items.get", 0),
        ({}, "items.get", 0),
    ],
)
def test_the_narrowest_name_decides(given: float | dict[str, float], operation: str, wanted: float) -> None:
    """Of the names that fit an operation, the one that names the fewest operations decides, in whatever order."""
    assert seconds(Switches(latency=given).latency, operation) == wanted


@pytest.mark.parametrize(("phase", "effects"), [("written", 1), ("head", 1), ("body", 1)])
async def test_fault_comes_after_a_slow_write(phase: str, effects: int) -> None:
    """A fault of a later phase comes when the slow write has taken effect."""
    faults = plan(phase=phase, action="reset")
    async with (
        talking(SLOW, faults=faults) as talk,
        asking(talk, "POST", "/v2.1/orders", ORDER) as request,
    ):
        assert (talk.emulator.store.effects, request.done()) == ([], False)
        talk.emulator.waiting.finish()
        with pytest.raises(aiohttp.ClientError):
            await request
        assert len(talk.emulator.store.effects) == effects


async def test_fault_in_place_of_a_write() -> None:
    """A fault that comes before anything is written waits for no slow write; only where it is read, for its latency."""
    script = [{"action": "status", "phase": phase} for phase in ("before", "accepted", "before", "accepted")]
    async with talking(SLOW, faults={"faults": [{"operation": "*", "script": script}]}) as talk:
        assert [(await talk("POST", "/v2.1/orders", ORDER)).status for _ in range(2)] == [503, 503]
        talk.emulator.store.switches = LATE
        assert (await talk("POST", "/v2.1/orders", ORDER)).status == 503
        async with asking(talk, "POST", "/v2.1/orders", ORDER) as request:
            talk.emulator.waiting.finish()
            assert (await request).status == 503
        assert talk.emulator.store.effects == []


@BOTH
async def test_what_waits_is_done_when_the_server_stops(switches: Switches, tmp_path: Path) -> None:
    """A server that stops does at once what it has taken, and the answer still leaves."""
    emulator = Emulator(switches=switches, storage=tmp_path / "s.sqlite")
    headers = {"Authorization": AUTHORIZATION}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with running(emulator) as base_url:
            request = asyncio.create_task(Talk(emulator, base_url, session)("POST", "/v2.1/orders", ORDER))
            await until(lambda: len(emulator.waiting) == 1)
        assert (len(emulator.waiting), len(emulator.store.effects)) == (0, 1)
        assert (await request).status == 201
    emulator.close()
    reopened = Emulator(storage=tmp_path / "s.sqlite")
    assert [order.data["price"] for order in reopened.store.all("orders")] == [50]
    reopened.close()


async def test_what_begins_to_wait_while_the_server_stops() -> None:
    """A write that is held back only when the server stops already takes effect too."""
    emulator = Emulator(switches=attrs.evolve(SLOW, upsert=False))

    async def one_after_the_other() -> list[int]:
        order = emulator.find("POST", "/v2.1/orders")
        return [(await emulator.answer_slowly(*order, asked(ORDER))).status for _ in range(2)]

    async with running(emulator):
        answers = asyncio.create_task(one_after_the_other())
        await until(lambda: len(emulator.waiting) == 1)
    assert (len(emulator.waiting), len(emulator.store.effects)) == (0, 2)
    assert await answers == [201, 201]


async def test_closing_does_what_waits(tmp_path: Path) -> None:
    """An emulator that is closed writes what still waits into its storage before."""
    emulator = Emulator(switches=SLOW, storage=tmp_path / "s.sqlite")
    late = asyncio.create_task(emulator.answer_slowly(*emulator.find("POST", "/v2.1/orders"), asked(ORDER)))
    await until(lambda: len(emulator.waiting) == 1)
    emulator.close()
    assert (await late).status == 201


async def test_reset_leaves_nothing_waiting() -> None:
    """A write that waits when everything is forgotten is forgotten too, and its client has an answer."""
    async with talking(SLOW) as talk, asking(talk, "POST", "/v2.1/orders", ORDER) as request:
        assert (await talk("POST", "/__reset")).status == 204
        assert (await request).status == 201
        assert len(talk.emulator.waiting) == 0
        assert (await talk("GET", "/__state")).json == {"orders": []}
        assert (await talk("GET", "/__ledger")).json["effects"] == []


@pytest.mark.parametrize("stays", [True, False])
async def test_late_failure_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, stays: bool
) -> None:
    """A slow write that fails is a 500 and a line in the log, or only the line, where the client has gone."""

    def broken(*_: object) -> Reply:
        raise RuntimeError("no answer")

    async with talking(SLOW) as talk:
        monkeypatch.setattr(talk.emulator, "answer", broken)
        others = asyncio.all_tasks()
        async with asking(talk, "POST", "/v2.1/orders", ORDER) as request:
            if not stays:
                await leave(request, others)
            talk.emulator.waiting.finish()
            if stays:
                assert (await request).status == 500
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no answer"


def on_the_clock_of(loop: VirtualLoop, switches: Switches) -> Emulator:
    """Return an emulator whose time is that of a loop."""
    return Emulator(switches=switches, clock=lambda: START + timedelta(seconds=loop.time()))


def times(emulator: Emulator) -> list[float]:
    """Return when the effects came, in seconds from the start."""
    return [(datetime.fromisoformat(effect["time"]) - START).total_seconds() for effect in emulator.store.effects]


def test_late_writes_in_virtual_time() -> None:
    """Without sockets, writes that their clients gave up come in their time, in the time of the loop."""

    async def main(loop: VirtualLoop) -> None:
        emulator = on_the_clock_of(loop, Switches(slow_writes={"orders.create": 5}, latency=0.5, upsert=False))
        order = emulator.find("POST", "/v2.1/orders")
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await emulator.answer_slowly(*order, asked(ORDER))
        assert (loop.time(), times(emulator), len(emulator.waiting)) == (2, [], 2)
        await asyncio.sleep(5)
        assert times(emulator) == [5.5, 6.5]
        assert (await emulator.answer_slowly(*order, asked(ORDER))).status == 201
        assert (loop.time(), times(emulator)) == (12.5, [5.5, 6.5, 12.5])
        assert emulator.answer(*order, asked(ORDER)).status == 201
        assert loop.time() == 12.5

    run(main)


def test_what_waits_comes_once() -> None:
    """What is done ahead is done in the order of its times, and neither it nor what was forgotten comes again."""

    async def main(loop: VirtualLoop) -> None:
        wrong: list[object] = []
        loop.set_exception_handler(lambda _, context: wrong.append(context))
        emulator = on_the_clock_of(loop, Switches(upsert=False))
        order = emulator.find("POST", "/v2.1/orders")
        for switches in (*(Switches(slow_writes=slow) for slow in (10, 5, 7)), Switches(latency=3)):
            emulator.store.switches = attrs.evolve(switches, upsert=False)
            name = str(switches.slow_writes)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await emulator.answer_slowly(*order, asked({**ORDER, "referenceId": name}))
        assert (len(emulator.waiting), times(emulator)) == (3, [])
        emulator.waiting.finish()
        await asyncio.sleep(20)
        assert [one.data["referenceId"] for one in emulator.store.all("orders")] == ["5", "7", "10"]
        assert (times(emulator), wrong) == ([4, 4, 4], [])

    run(main)


def test_server_in_virtual_time() -> None:
    """The server itself lives in the time of its loop: minutes pass in no time."""

    async def main(loop: VirtualLoop) -> None:
        emulator = on_the_clock_of(loop, Switches(latency={"orders.create": 40, "*": 1}, slow_writes=200))
        async with talking(emulator=emulator) as talk:
            answer = await talk("POST", "/v2.1/orders", ORDER)
            assert (answer.status, times(emulator), loop.time()) == (201, [240], 240)
            assert (await talk("GET", f"/v2.1/orders/{answer.ref}")).json["createdAt"] == "2025-06-01T00:04:00Z"
            assert loop.time() == 241

    run(main, LoopbackLoop)
