"""A fault happens at its phase, in its way, and the ledger tells what was done nevertheless."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from cdp_orders_async.emulator import Emulator, Faults, running
from tests.emulator.talking import ORDER, Clock, Json, talking, until

BODY = orjson.dumps(ORDER)
REQUEST = (
    b"POST /v2.1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Basic "
    + base64.b64encode(b"key:token")
    + b"\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


async def exchange(base_url: str) -> tuple[bytes, str]:
    """Send an order over a bare socket; return every byte that comes back, and how the connection ended."""
    loop = asyncio.get_running_loop()
    received = b""
    with socket.socket() as bare:
        bare.setblocking(False)  # noqa: FBT003 (the name of the parameter is not offered)
        await loop.sock_connect(bare, ("127.0.0.1", urlsplit(base_url).port))
        await loop.sock_sendall(bare, REQUEST)
        try:
            while chunk := await loop.sock_recv(bare, 65536):
                received += chunk
        except ConnectionResetError:
            return received, "reset"
    return received, "end"


def plan(**fault: object) -> Json:
    """Return a plan whose one fault hits every order that is created."""
    return {"faults": [{"operation": "orders.create", **fault}]}


async def hit(**fault: object) -> tuple[bytes, str, Emulator]:
    """Send one order into a fault."""
    emulator = Emulator(faults=Faults.of(plan(**fault)), clock=Clock(), seed=7)
    async with running(emulator) as base_url:
        received, ending = await exchange(base_url)
    return received, ending, emulator


@pytest.mark.parametrize("phase", ["before", "accepted", "written", "head", "body"])
@pytest.mark.parametrize(("action", "ends"), [("close", "end"), ("reset", "reset"), ("stall", "end")])
async def test_connection_is_cut(phase: str, action: str, ends: str) -> None:
    """A cut comes where the phase says: nothing of the answer before it is written, a part of it inside it."""
    received, ending, emulator = await hit(phase=phase, action=action, seconds=0)
    assert ending == ends
    head, separator, body = received.partition(b"\r\n\r\n")
    if phase in {"head", "body"}:
        assert head.startswith(b"HTTP/1.1 201 Created\r\n"[:20])
        length = dict(line.split(b": ") for line in head.split(b"\r\n")[1:] if b": " in line).get(b"Content-Length")
        assert bool(separator) == (phase == "body")
        assert phase == "head" or 0 < len(body) < int(length or 0)
    else:
        assert received == b""
    ledger = emulator.ledger()
    effects = 1 if phase in {"written", "head", "body"} else 0
    assert ledger["counts"] == ({"orders.create": 1} if effects else {})
    assert ledger["requests"] == ({} if phase == "before" else {"orders.create": 1})
    assert ledger["dropped"] == ({"orders.create": 1} if phase == "before" else {})
    assert ledger["faults"] == {f"orders.create {phase} {action}": 1}


@pytest.mark.parametrize(("phase", "effects"), [("before", 0), ("accepted", 0), ("written", 1)])
@pytest.mark.parametrize("retry_after", [None, 3])
@pytest.mark.parametrize("action", ["status", "html"])
async def test_other_answer(phase: str, effects: int, action: str, retry_after: int | None) -> None:
    """Another answer comes from the server or from a proxy, with or without Retry-After, whatever was done."""
    async with talking(faults=plan(phase=phase, action=action, retry_after=retry_after)) as talk:
        answer = await talk("POST", "/v2.1/orders", ORDER)
        assert answer.headers.get("Retry-After") == (None if retry_after is None else "3")
        if action == "html":
            assert (answer.status, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
            assert "<h1>502 Bad Gateway</h1>" in answer.text
        else:
            assert (answer.status, answer.json["status"], answer.json["message"]) == (503, 503, "Service Unavailable")
        assert len(talk.emulator.store.effects) == effects


async def test_status_of_a_fault() -> None:
    """A fault can answer any status, known or not."""
    async with talking(faults=plan(action="status", status=599)) as talk:
        assert (await talk("POST", "/v2.1/orders", ORDER)).json["code"] == 599


async def test_drip_is_the_true_answer() -> None:
    """A slow answer is whole, and the effect is there."""
    received, ending, emulator = await hit(action="drip", seconds=0)
    head, _, body = received.partition(b"\r\n\r\n")
    assert (head.partition(b"\r\n")[0], ending) == (b"HTTP/1.1 201 Created", "end")
    assert orjson.loads(body)["ref"] == emulator.store.effects[0]["ref"]


async def test_answer_without_a_body_is_cut_in_its_head() -> None:
    """Where there is no body to cut, the cut is before the head ends."""
    faults: Json = {"faults": [{"operation": "orders.delete", "phase": "body", "action": "close"}]}
    async with talking(faults=faults) as talk:
        order = (await talk("POST", "/v2.1/orders", ORDER)).ref
        with pytest.raises(aiohttp.ClientError):
            await talk("DELETE", f"/v2.1/orders/{order}")
        assert talk.emulator.store.counts == {"orders.create": 1, "orders.delete": 1}


@pytest.mark.parametrize("phase", ["accepted", "written", "body"])
@pytest.mark.parametrize("client_goes", [True, False])
async def test_stall_ends_with_the_client_or_the_server(phase: str, *, client_goes: bool) -> None:
    """A stalled request holds up neither its client's leaving nor the server's stopping, and leaves no task."""
    before = asyncio.all_tasks()
    emulator = Emulator(faults=Faults.of(plan(action="stall", phase=phase, seconds=3600)))
    async with asyncio.timeout(30):
        async with running(emulator) as base_url:
            stalled = asyncio.create_task(exchange(base_url))
            await until(lambda: bool(emulator.requests))
            if client_goes:
                stalled.cancel()
                await until(lambda: asyncio.all_tasks() == before)
        await asyncio.wait([stalled])
    assert stalled.cancelled() == client_goes
    assert client_goes or stalled.result()[1] == "end"
    assert asyncio.all_tasks() == before


async def test_script_is_consumed_in_order() -> None:
    """A script gives each request its step, and then nothing."""
    script = ["ok", {"action": "status", "status": 500}, {"action": "status", "phase": "written"}]
    async with talking(faults={"faults": [{"operation": "orders.create", "script": script}]}) as talk:
        statuses = [(await talk("POST", "/v2.1/orders", ORDER)).status for _ in range(5)]
        assert statuses == [201, 500, 503, 201, 201]
        assert talk.emulator.store.counts == {"orders.create": 4}
        await talk("POST", "/__reset")
        assert [(await talk("POST", "/v2.1/orders", ORDER)).status for _ in range(2)] == [201, 500]


def draws(faults: Faults, operation: str, times: int) -> list[bool]:
    """Return which requests are hit."""
    return [faults.draw(operation) is not None for _ in range(times)]


def test_chance_follows_from_the_seed() -> None:
    """The same seed hits the same requests of an operation, whatever happens to other operations in between."""
    entry: Json = {"operation": "*.create", "chance": 0.3, "phase": "written", "action": "reset"}
    alone = draws(Faults.of({"seed": 7, "faults": [entry]}), "orders.create", 200)
    mixed = Faults.of({"seed": 7, "faults": [entry]})
    among = [(mixed.draw("items.create"), mixed.draw("orders.create") is not None)[1] for _ in range(200)]
    assert alone == among
    assert alone != draws(Faults.of({"seed": 8, "faults": [entry]}), "orders.create", 200)
    assert 40 <= sum(alone) <= 80
    assert not any(draws(mixed, "orders.get", 50))


def test_entries_are_tried_in_order() -> None:
    """A script that has a step left decides, even if it says ok; then the next entry has its chance."""
    faults = Faults.of(
        {
            "faults": [
                {"operation": "orders.*", "script": ["ok", {"action": "close"}]},
                {"operation": "*", "action": "reset"},
            ]
        }
    )
    drawn = [faults.draw("orders.get") for _ in range(3)]
    assert [fault and fault.action for fault in drawn] == [None, "close", "reset"]
    assert faults.done == {("orders.get", "accepted", "close"): 1, ("orders.get", "accepted", "reset"): 1}


def test_plan_is_read_from_a_file(tmp_path: Path) -> None:
    """A file holds a plan."""
    path = tmp_path / "faults.json"
    path.write_bytes(orjson.dumps({"seed": 7, **plan(action="close")}))
    assert draws(Faults.load(path), "orders.create", 2) == [True, True]
    path.write_text("{")
    with pytest.raises(ValueError, match=r"faults\.json is not JSON"):
        Faults.load(path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (5, "seed is an integer and faults is an array"),
        ([5], r"faults\[0\] must be an object"),
        ([{"action": "close"}], r"faults\[0\]: operation must name operations .* not None"),
        ([{"operation": "order.create", "action": "close"}], r"faults\[0\]: operation must .* not 'order.create'"),
        ([{"operation": "*"}], r"faults\[0\]: action must be one of close, .* not None"),
        (
            [{"operation": "*", "action": "close"}, {"operation": "*", "action": "explode"}],
            r"faults\[1\]: action .*'explode'",
        ),
        ([{"operation": "*", "action": "html", "phase": "body"}], r"faults\[0\]: phase of html must .* not 'body'"),
        (
            [{"operation": "*", "action": "close", "chance": 2}],
            r"faults\[0\]: chance must be a number from 0 to 1, not 2",
        ),
        ([{"operation": "*", "action": "close", "wait": 2}], r"faults\[0\]: wait is not a key of a fault"),
        ([{"operation": "*", "action": "status", "status": 99}], r"faults\[0\]: status must be .* 200 to 599, not 99"),
        ([{"operation": "*", "action": "status", "retry_after": -1}], r"faults\[0\]: retry_after must be .* not -1"),
        ([{"operation": "*", "action": "stall", "seconds": "1"}], r"faults\[0\]: seconds must be a number.* not '1'"),
        ([{"operation": "*", "script": "ok"}], r"faults\[0\]: script must be an array"),
        ([{"operation": "*", "script": ["ok"], "chance": 1}], r"faults\[0\]: script must be an array, and stand alone"),
        ([{"operation": "*", "script": ["ok", "no"]}], r'faults\[0\].script\[1\] must be "ok" or an object'),
        ([{"operation": "*", "script": [{"action": "x"}]}], r"faults\[0\].script\[0\]: action must be one of"),
    ],
)
def test_wrong_plan_is_one_clear_sentence(entries: object, message: str) -> None:
    """What is wrong with a plan names the entry and the key."""
    plan_read: Json = {"faults": entries}
    with pytest.raises(ValueError, match=message):
        Faults.of(plan_read)


@pytest.mark.parametrize("plan_read", [[], {"fault": []}])
def test_plan_has_two_keys(plan_read: Json) -> None:
    """A plan that is no plan at all is refused."""
    with pytest.raises(ValueError, match="object with the keys seed and faults"):
        Faults.of(plan_read)
