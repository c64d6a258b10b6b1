"""What is done with one message of any broker."""

from __future__ import annotations

import asyncio
import itertools
import math
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdp_orders_async import (
    CdpOrders,
    CdpOrdersV2,
    DeadlineExceeded,
    Failure,
    GraphFile,
    Invalid,
    JournalError,
    MemoryJournal,
    NotSent,
    Outcome,
    PartOutcome,
    PartVerdict,
    Request,
    Resources,
    ResourcesV2,
    Unauthorized,
    Verdict,
)
from cdp_orders_async.emulator import Emulator, Faults, Switches
from cdp_orders_async.engines import delivery
from cdp_orders_async.engines.delivery import Action, Decision, Fault, deliver, warm_up
from cdp_orders_async.errors import CdpError, Delivery
from cdp_orders_async.ingest.parts import Part
from cdp_orders_async.ingest.requests import Requests
from tests.cli.support import orders, orders_v2
from tests.ingest.serving import served, serving
from tests.journal.shared import SharedDatabase

ORDER, OTHER = orders(2)
BODY = orjson.dumps(ORDER)


def failed(verdict: Verdict, *failures: Failure | None) -> Outcome:
    """Return an outcome in which parts failed like this."""
    parts = tuple(PartOutcome(f"items/{n}", PartVerdict.FAILED, failure=failure) for n, failure in enumerate(failures))
    return Outcome(file=None, number=1, key="A", verdict=verdict, parts=parts)


def refused(status: int) -> Failure:
    """Return the failure of a part that the server refused."""
    return Failure("Refused", f"POST /v2.1/orders: {status} no", status, Delivery.REFUSED, 1)


LOST = Failure("OutcomeUnknown", "the answer was lost", None, Delivery.UNKNOWN, 1)
BROKEN = Failure("OutcomeUnknown", "POST /v2.1/orders: 500 no", 500, Delivery.UNKNOWN, 1)
UNSENT = Failure("NotSent", "the connection failed", None, Delivery.NOT_SENT, 1)

JUDGED = [
    (failed(Verdict.LOADED), Action.ACK, Action.ACK, Fault.NONE),
    (failed(Verdict.ALREADY), Action.ACK, Action.ACK, Fault.NONE),
    (failed(Verdict.UPDATED), Action.ACK, Action.ACK, Fault.NONE),
    (failed(Verdict.KEPT), Action.DEAD_LETTER, Action.DEAD_LETTER, Fault.ORDER),
    (failed(Verdict.CONFLICT), Action.DEAD_LETTER, Action.DEAD_LETTER, Fault.ORDER),
    (failed(Verdict.INVALID), Action.DEAD_LETTER, Action.DEAD_LETTER, Fault.ORDER),
    (failed(Verdict.BUSY), Action.RETRY, Action.RETRY, Fault.NONE),
    (failed(Verdict.NOT_TRIED), Action.RETRY, Action.RETRY, Fault.NONE),
    *(
        (failed(verdict, *failures), Action.RETRY, last, fault)
        for verdict in (Verdict.PARTIAL, Verdict.FAILED, Verdict.UNKNOWN)
        for failures, last, fault in (
            ((refused(400),), Action.DEAD_LETTER, Fault.ORDER),
            ((refused(404), LOST), Action.DEAD_LETTER, Fault.ORDER),
            ((refused(429), LOST), Action.RETRY, Fault.NONE),
            *(((refused(status), None), Action.RETRY, Fault.SERVER) for status in (401, 403, 407, 411, 415, 417, 451)),
            ((refused(403), refused(429)), Action.RETRY, Fault.NONE),
            ((refused(403), refused(400)), Action.DEAD_LETTER, Fault.ORDER),
            ((UNSENT, None), Action.RETRY, Fault.SERVER),
            ((UNSENT, LOST), Action.RETRY, Fault.SERVER),
            ((BROKEN,), Action.RETRY, Fault.SERVER),
        )
    ),
]


@pytest.mark.parametrize(("outcome", "first", "last", "fault"), JUDGED)
async def test_verdict_says_what_to_do(
    outcome: Outcome, first: Action, last: Action, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each verdict has one action; a failure that is the order's own is a dead letter at the last delivery."""

    async def ends(*_: object, **__: object) -> Outcome:
        return outcome

    monkeypatch.setattr(delivery, "ingest_one", ends)
    async with CdpOrders(base_url="http://127.0.0.1:9", client_key="key", api_token="token") as cdp:  # noqa: S106 of an emulator
        for times, action in ((1, first), (4, first), (5, last)):
            decision = await deliver(cdp, BODY, times=times)
            assert (decision.action, decision.fault, decision.outcome) == (action, fault, outcome)
            assert (decision.reason is None) == (action is Action.ACK)


def test_every_verdict_is_judged() -> None:
    """No verdict is left out of the test above."""
    assert {outcome.verdict for outcome, *_ in JUDGED} == {*Verdict}


@pytest.mark.parametrize(
    "error", [NotSent("x"), JournalError("x"), DeadlineExceeded("x"), Unauthorized("GET", "/", 401)]
)
async def test_error_is_never_a_dead_letter(error: CdpError, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not the order's own is a retry, also at the last delivery; the outcome comes along."""
    outcome = error.outcome = failed(Verdict.UNKNOWN)

    async def ends(*_: object, **__: object) -> Outcome:
        raise error

    monkeypatch.setattr(delivery, "ingest_one", ends)
    async with CdpOrders(base_url="http://127.0.0.1:9", client_key="key", api_token="token") as cdp:  # noqa: S106 of an emulator
        decision = await deliver(cdp, BODY, times=5)
    assert (decision.action, decision.fault, decision.outcome) == (Action.RETRY, Fault.NONE, outcome)
    assert str(decision.reason).startswith(type(error).__name__)


BAD = [
    b"no JSON",
    b"\xff\xfe{",
    b"[]",
    b"null",
    b"{}",
    orjson.dumps({**ORDER, "colour": "red"}),
    orjson.dumps(orders_v2(1)[0]),
    orjson.dumps({**ORDER, "note": "x" * 5_000_000}),
    b"5" * 5_000_000,
    b'{"referenceId":"A",' + BODY[1:],
    BODY.replace(b'"price":50', b'"price":50.12345678901234567890'),
    BODY.replace(b"T16:17:16Z", b"T16:17:16"),
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
async def test_message_breaks_the_rules_of_a_line(body: bytes, tmp_path: Path) -> None:
    """A message is refused with the words with which the same line of a file is, and nothing is sent."""
    file = tmp_path / "orders.jsonl"
    file.write_bytes(BODY + b"\n" + body)
    _, line = [line async for line in GraphFile(file)]
    emulator = Emulator()
    async with serving(emulator) as cdp:
        decision = await deliver(cdp, body)
    assert decision.action is Action.DEAD_LETTER
    assert decision.outcome is not None
    assert (decision.outcome.verdict, decision.outcome.violations) == (Verdict.INVALID, line.violations)
    assert str(decision.reason).startswith(str(line.violations[0]))
    assert len(str(decision.reason)) < 500
    assert not emulator.requests


@pytest.mark.parametrize("body", [b"", b" \n", b"\xef\xbb\xbf"])
async def test_empty_message(body: bytes) -> None:
    """A message of nothing is a dead letter, though an empty line of a file is not."""
    async with serving(Emulator()) as cdp:
        decision = await deliver(cdp, body)
    assert (decision.action, decision.reason) == (Action.DEAD_LETTER, "$: must be JSON: the message is empty")


async def test_good_messages_are_read_as_lines() -> None:
    """A mark of byte order, spaces, and JSON over several lines are taken; each client takes its own version."""
    emulator = Emulator()
    async with served(emulator) as options:
        async with CdpOrders(**options) as cdp:
            for body in (b"\xef\xbb\xbf" + BODY, b" " + orjson.dumps(OTHER, option=orjson.OPT_INDENT_2) + b"\n"):
                assert (await deliver(cdp, body)).action is Action.ACK
        async with CdpOrdersV2(**options) as old:
            assert (await deliver(old, orjson.dumps(orders_v2(1)[0]))).action is Action.ACK
            assert (await deliver(old, BODY)).action is Action.DEAD_LETTER


@pytest.mark.parametrize(
    ("journal", "times", "look_first", "looks"),
    [
        (False, 1, None, False),
        (False, 2, None, True),
        (False, 1, True, True),
        (False, 2, False, False),
        (True, 1, None, False),
        (True, 2, None, False),
        (True, 1, True, True),
    ],
)
async def test_looks_only_where_it_must(journal: bool, times: int, look_first: bool | None, looks: bool) -> None:  # noqa: FBT001 a case
    """A new order is looked up only if it was delivered before and no journal knows better, or on request."""
    emulator = Emulator()
    async with serving(emulator) as cdp:
        store = MemoryJournal() if journal else None
        decision = await deliver(cdp, BODY, times=times, journal=store, look_first=look_first, settle=0)
    assert decision.action is Action.ACK
    assert (emulator.requests["orders.list"] > 0) is looks
    assert emulator.requests["orders.create"] == 1


@pytest.mark.parametrize("resources", [Resources, ResourcesV2])
async def test_warming_up_sends_nothing(
    resources: type[Resources | ResourcesV2], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example is an order for both versions; its requests are made, and none is sent."""
    made: list[str] = []
    create = Requests.to_create

    def noted(self: Requests, part: Part) -> Request[Any]:
        made.append(part.kind)
        return create(self, part)

    class Silent:
        async def send(self, request: Request[Any], /) -> Any:  # noqa: ANN401 the protocol
            raise AssertionError(request.path)

    monkeypatch.setattr(Requests, "to_create", noted)
    await warm_up(resources(Silent(), "http://127.0.0.1"))
    assert sorted(made) == ["consumers", "contacts", "items", "order_extensions", "orders"]


async def test_busy_order() -> None:
    """An order that another worker loads is tried again, and nothing of it is sent."""
    emulator, time = Emulator(), itertools.count()
    database = SharedDatabase(lambda: float(next(time)), 1000)
    gate = Faults.of({"faults": [{"operation": "orders.create", "script": [{"action": "stall", "seconds": 60}]}]})
    async with served(emulator) as options, CdpOrders(**options) as one, CdpOrders(**options) as other:
        emulator.faults = gate
        first = asyncio.create_task(deliver(one, BODY, journal=database.connect(), drain=0))
        while not emulator.requests["orders.create"]:  # noqa: ASYNC110 the emulator has no event for it
            await asyncio.sleep(0)
        decision = await deliver(other, BODY, journal=database.connect(), times=5)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert (decision.action, decision.fault) == (Action.RETRY, Fault.NONE)
    assert decision.reason == "the order is busy"
    assert emulator.requests["orders.create"] == 1


async def test_refused_order_is_put_aside_in_the_end() -> None:
    """An order that the server refuses each time is a dead letter at its last delivery, with the refusal."""
    emulator = Emulator(
        faults=Faults.of({"faults": [{"operation": "items.create", "chance": 1, "action": "status", "status": 400}]})
    )
    async with serving(emulator) as cdp:
        decisions = [await deliver(cdp, BODY, times=times, most=3, settle=0) for times in (1, 2, 3)]
    assert [decision.action for decision in decisions] == [Action.RETRY, Action.RETRY, Action.DEAD_LETTER]
    assert "400" in str(decisions[-1].reason)
    assert emulator.requests["orders.create"] == 1


@pytest.mark.parametrize("status", [401, 403, 407, 451])
@pytest.mark.parametrize("operation", ["items.create", "*"])
async def test_gateway_that_refuses(operation: str, status: int) -> None:
    """The page of a gateway blames neither the order nor the credentials, whether it refuses one order or all."""
    items = [{**ORDER["orderItems"][0], "referenceId": f"I{n}"} for n in range(8)]
    many = {**ORDER, "referenceId": "many", "orderItems": items, "consumers": []}
    page = Faults.of({"faults": [{"operation": operation, "chance": 1, "action": "html", "status": status}]})
    async with serving(Emulator(faults=page)) as cdp:
        for body in (BODY, orjson.dumps(many)):
            decision = await deliver(cdp, body, times=5, settle=0)
            assert (decision.action, decision.fault) == (Action.RETRY, Fault.SERVER), decision.reason


@pytest.mark.parametrize("operation", ["items.create", "*"])
async def test_credentials_that_the_api_refuses(operation: str) -> None:
    """The API's own refusal of the credentials is never counted."""
    own = Faults.of({"faults": [{"operation": operation, "chance": 1, "action": "status", "status": 403}]})
    async with serving(Emulator(faults=own)) as cdp:
        decision = await deliver(cdp, BODY, times=5, settle=0)
    assert (decision.action, decision.fault) == (Action.RETRY, Fault.NONE), decision.reason


async def test_message_that_ends_workers() -> None:
    """A message that comes again after its last delivery is put aside unread."""
    emulator = Emulator()
    async with serving(emulator) as cdp:
        decision = await deliver(cdp, BODY, times=6)
    reason = "it was delivered 6 times, and no delivery before this one ended"
    assert decision == Decision(action=Action.DEAD_LETTER, reason=reason, fault=Fault.ORDER)
    assert not emulator.requests


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"body": "text"}, TypeError),
        ({"times": "1"}, TypeError),
        ({"times": 0}, Invalid),
        ({"times": -1}, Invalid),
        ({"most": 0}, Invalid),
        ({"most": 1.5}, TypeError),
        ({"look_first": 1}, TypeError),
        ({"deadline": None}, TypeError),
        ({"deadline": math.inf}, Invalid),
        ({"drain": -1}, Invalid),
        ({"settle": math.nan}, Invalid),
        ({"on_existing": "replace"}, Invalid),
        ({"priority": "high"}, Invalid),
        ({"timezone": "Nowhere"}, Invalid),
        ({"journal": "a file"}, TypeError),
    ],
)
async def test_mistakes_are_raised(options: dict[str, Any], error: type[Exception]) -> None:
    """A mistake in the program is raised; it is not a decision on the message."""
    async with serving(Emulator()) as cdp:
        given: dict[str, Any] = {"body": BODY, **options}
        with pytest.raises(error):
            await deliver(cdp, **given)


async def test_delivered_again() -> None:
    """An order that was loaded before its message came again is acknowledged, on a server that would double it."""
    emulator = Emulator(switches=Switches(upsert=False))
    async with serving(emulator) as cdp:
        assert (await deliver(cdp, BODY)).action is Action.ACK
    async with serving(emulator) as cdp:
        decision = await deliver(cdp, BODY, times=2)
    assert decision.outcome is not None
    assert (decision.action, decision.outcome.verdict) == (Action.ACK, Verdict.ALREADY)
    assert emulator.requests["orders.create"] == 1
