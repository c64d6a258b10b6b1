"""The log as an observer: what a record says, on its own and in its fields."""

from __future__ import annotations

import logging

import pytest

from cdp_orders_async import (
    Call,
    CallStarted,
    Event,
    OrderEnded,
    PartAdopted,
    PauseBegan,
    PauseEnded,
    RateChanged,
    Settings,
    ingest_one,
    parse_graph,
)
from cdp_orders_async.emulator import Emulator, Faults
from cdp_orders_async.telemetry.logs import log
from tests.ingest.holding import Json
from tests.ingest.serving import serving as served
from tests.security.canaries import WHOLE, leaks, logged
from tests.servers import Cut, Reply, serving
from tests.session.calling import ask, calling

LOGGER = "cdp_orders_async"


def fields(record: logging.LogRecord) -> Json:
    """Return the fields of ours."""
    return {name: value for name, value in vars(record).items() if name.startswith("cdp_")}


async def test_a_record_of_an_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """Each attempt is one record, with its values as fields."""
    caplog.set_level(logging.DEBUG, LOGGER)
    async with (
        serving(Reply(503), Cut("done"), Reply(body=b'"done"')) as server,
        calling(server.url, Settings(trust_env=False), clock=lambda: 7.0) as session,
    ):
        await session.send(ask("PUT"))
    assert [record.getMessage() for record in caplog.records] == [
        "PUT /v2.1/orders, attempt 1: ServerError, unknown",
        "PUT /v2.1/orders, attempt 2: OutcomeUnknown, unknown",
        "PUT /v2.1/orders, attempt 3: done",
    ]
    common = {
        "cdp_operation": "orders.some",
        "cdp_method": "PUT",
        "cdp_path": "/v2.1/orders",
        "cdp_request_id": server.requests[0].headers["x-request-id"],
        "cdp_seconds": 0.0,
        "cdp_order": None,
        "cdp_line": None,
    }
    assert [fields(record) for record in caplog.records] == [
        {**common, "cdp_attempt": 1, "cdp_status": 503, "cdp_delivery": "unknown"},
        {**common, "cdp_attempt": 2, "cdp_status": None, "cdp_delivery": "unknown"},
        {**common, "cdp_attempt": 3, "cdp_status": 200, "cdp_delivery": "done"},
    ]


async def test_records_of_a_load(caplog: pytest.LogCaptureFixture) -> None:
    """In a load each record names the order and its line, also on its own, and shows nothing of a person."""
    plan: Json = {
        "faults": [{"operation": "contacts.create", "script": [{"action": "close", "phase": "written"}]}],
    }
    caplog.set_level(logging.DEBUG, LOGGER)
    async with served(Emulator(faults=Faults.of(plan))) as cdp:
        await ingest_one(cdp, parse_graph(WHOLE), settle=0.0)
    key = "A-1@2024-01-01T16:17:16+00:00"
    records = [record for record in caplog.records if record.name == LOGGER]
    assert {(fields(record)["cdp_order"], fields(record)["cdp_line"]) for record in records} == {(key, "line 1")}
    messages = [record.getMessage() for record in records]
    assert f"POST /v2.1/orders, attempt 1: done (order {key}, line 1)" in messages
    assert f"{key}: contact was found on the server, and is not created again" in messages
    assert messages[-1] == f"{key}: loaded"
    assert leaks(logged(records)) == []


RATE: Json = {"slots": 4, "limit": 30.0, "found_for": 0.0, "cut_for": "429"}
TEXTS: dict[str, tuple[Event, str | None]] = {
    "cut": (
        RateChanged(per_second=27.6, cut=True, of="", **RATE),
        "rate: cut for 429 to 27.6 calls a second, 4 in flight",
    ),
    "cut of slots": (
        RateChanged(per_second=None, cut=True, of="reads", **RATE),
        "rate (reads): cut for 429 to no limit, 4 in flight",
    ),
    "climb": (RateChanged(per_second=27.6, cut=False, of="", **RATE), None),
    "start": (
        CallStarted(Call(id="1", operation="o", method="GET", path="/", route="/", host="h", port=1, began=0.0)),
        None,
    ),
    "pause": (PauseBegan("it is\nunwell", 5.0), "pause: for 5.0 s, 'it is\\nunwell'"),
    "end of a pause": (PauseEnded("it is unwell", 7.0), "pause: ended after 7.0 s"),
    "order": (
        OrderEnded(order=None, file="o\n.jsonl", line=2, verdict="invalid", seconds=0.0),
        "'o\\n.jsonl:2': invalid",
    ),
    "part": (
        PartAdopted(order="A\x1b[2J@1", file="o", line=2, part="items/0", kind="items", ref=None),
        "'A\\x1b[2J@1': items/0 was found on the server, and is not created again",
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each event that is logged is one line, whatever an input says; what happens all the time is not logged."""
    event, text = TEXTS[case]
    log(event)
    assert caplog.records == []  # DEBUG is off
    caplog.set_level(logging.DEBUG, LOGGER)
    log(event)
    assert [record.getMessage() for record in caplog.records] == ([] if text is None else [text])
    assert "\n" not in str([fields(record) for record in caplog.records])
