"""What the SDK of OpenTelemetry gets from the calls of a client, over real sockets."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import subprocess
import sys
from collections.abc import Generator, Mapping
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from cdp_orders_async import (
    AttemptStarted,
    Event,
    Request,
    Settings,
)
from cdp_orders_async.telemetry import CallEnded, CallStarted
from cdp_orders_async.telemetry import otel as module
from cdp_orders_async.telemetry.otel import OtelObserver
from tests import ways
from tests.security.canaries import leaks
from tests.servers import Cut, Reply, serving
from tests.session.calling import ONCE, Gate, ask, calling, failure, until
from tests.telemetry.collecting import Sdk, attributes, parent_of
from tests.telemetry.watching import Kept

TWICE = Settings(retries=1, trust_env=False)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.usefixtures("way")
async def test_a_call() -> None:
    """A call that is sent twice has one span; both attempts carry its trace context, and both are counted."""
    sdk, kept = Sdk(), Kept()
    tracer = sdk.tracers.get_tracer("mine")
    async with (
        serving(Reply(503), Reply()) as server,
        calling(server.url, TWICE, observers=[sdk.observer(), kept]) as session,
    ):
        with tracer.start_as_current_span("mine") as mine:
            await session.send(ask(query={"guestRef": "canary-guest"}))
            assert trace.get_current_span() is mine
        port = int(server.url.rpartition(":")[2])
    [span] = sdk.spans("orders.some")
    assert span.kind is SpanKind.CLIENT
    assert span.parent == mine.get_span_context()
    server_is = {"http.request.method": "GET", "server.address": "127.0.0.1", "server.port": port}
    assert attributes(span) == {
        **server_is,
        "cdp_orders.operation": "orders.some",
        "cdp_orders.delivery": "done",
        "cdp_orders.request_id": server.requests[1].headers["x-request-id"],
        "http.request.resend_count": 1,
        "http.response.status_code": 200,
        "url.template": "/v2.1/orders",
    }
    assert span.status.status_code is StatusCode.UNSET
    ids = span.get_span_context()
    assert ids is not None
    sent = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}"
    assert [one.headers["traceparent"] for one in server.requests] == [sent, sent]
    assert [one.headers["traceparent"] for one in kept.of(AttemptStarted)] == [sent, sent]
    metrics = sdk.metrics()
    assert sorted(metrics["http.client.request.duration"], key=str) == sorted(
        [
            ({**server_is, "http.response.status_code": 200}, 1),
            ({**server_is, "http.response.status_code": 503, "error.type": "ServerError"}, 1),
        ],
        key=str,
    )
    operation = {"cdp_orders.operation": "orders.some"}
    assert metrics["cdp_orders.limiter.wait"] == [(operation, 2)]
    assert metrics["cdp_orders.requests"] == [(operation, 2)]
    assert metrics["cdp_orders.retries"] == [(operation, 1)]
    assert metrics["cdp_orders.refusals"] == [({**operation, "http.response.status_code": 503}, 1)]


@pytest.mark.usefixtures("way")
async def test_a_call_that_fails() -> None:
    """The span has the class of the error and the delivery, and is marked as an error."""
    sdk = Sdk()
    async with serving(Cut("done")) as server, calling(server.url, ONCE, observers=[sdk.observer()]) as session:
        await failure(session, ask("POST"))
    [span] = sdk.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "OutcomeUnknown"
    assert attributes(span)["cdp_orders.delivery"] == "unknown"
    assert not {"http.response.status_code", "http.request.resend_count"} & attributes(span).keys()


async def test_a_request_of_your_own() -> None:
    """Its path, which may hold anything, is in no span."""
    sdk = Sdk()
    async with serving() as server, calling(server.url, ONCE, observers=[sdk.observer()]) as session:
        await session.send(Request("mine.get", "GET", "/v2.1/mine/canary-guest", bytes))
    [span] = sdk.spans("mine.get")
    assert leaks(span.to_json()) == []
    assert "url.template" not in attributes(span)


@pytest.mark.usefixtures("way")
async def test_calls_that_are_cancelled() -> None:
    """A call that waits and one that was sent end their spans; only the one that was sent is counted."""
    sdk, gate = Sdk(), Gate()
    settings = Settings(trust_env=False, connections=1, retries=0)
    async with (
        serving(Cut("done", "stall")) as server,
        calling(server.url, settings, limiter=gate, observers=[sdk.observer()]) as session,
    ):
        calls = [asyncio.create_task(session.send(ask("POST"))) for _ in range(2)]
        await gate.reached.wait()
        gate.opened.set()
        await until(lambda: server.ledger)
        for call in reversed(calls):
            call.cancel()
        await asyncio.wait(calls)
    assert [attributes(span)["cdp_orders.delivery"] for span in sdk.spans()] == ["not_sent", "unknown"]
    assert {attributes(span)["error.type"] for span in sdk.spans()} == {"CancelledError"}
    assert sdk.metrics()["cdp_orders.requests"] == [({"cdp_orders.operation": "orders.some"}, 1)]


@pytest.mark.usefixtures("way")
async def test_calls_at_once() -> None:
    """Calls of many tasks have the parents of their tasks, and a task has its own context again after each call."""
    sdk = Sdk()
    tracer = sdk.tracers.get_tracer("mine")

    async def work(number: int) -> None:
        with tracer.start_as_current_span(f"mine {number}") as mine:
            for _ in range(3):
                await session.send(ask())
                assert trace.get_current_span() is mine

    async with (
        serving(Reply(503), Reply()) as server,
        calling(server.url, TWICE, observers=[sdk.observer()]) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(5):
            group.create_task(work(number))
    calls = sdk.spans("orders.some")
    parents = [parent_of(span, sdk.spans()) for span in calls]
    assert sorted(parent.name for parent in parents if parent is not None) == [
        f"mine {number}" for number in range(5) for _ in range(3)
    ]


@pytest.fixture
def instrumented(monkeypatch: pytest.MonkeyPatch) -> Generator[Sdk, None, None]:
    """Switch on the instrumentation of aiohttp, with the stable names; it reports to the same SDK."""
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    semconv = importlib.import_module("opentelemetry.instrumentation._semconv")
    monkeypatch.setattr(semconv._OpenTelemetrySemanticConventionStability, "_initialized", False)  # noqa: SLF001 read once
    monkeypatch.setattr(ways, "chosen", "aiohttp")
    sdk = Sdk()
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=sdk.tracers, meter_provider=sdk.meters)
    yield sdk
    instrumentor.uninstrument()


async def test_aiohttp_is_not_counted_twice(instrumented: Sdk) -> None:
    """Beside the instrumentation of aiohttp a call has one span and one duration; without the observer it has its."""
    async with serving() as server:
        for observers, names in (([instrumented.observer()], ["orders.some"]), ([], ["orders.some", "GET"])):
            async with calling(server.url, ONCE, observers=observers) as session:
                await session.send(ask())
            assert [span.name for span in instrumented.spans()] == names
            counts = [count for _, count in instrumented.metrics()["http.client.request.duration"]]
            assert sum(counts) == len(names)
    assert all("traceparent" in one.headers for one in server.requests)


@pytest.mark.usefixtures("way")
async def test_a_trace_without_an_sdk_goes_on() -> None:
    """Where only the API is there, the trace of the caller is sent on; where there is none, nothing is done."""
    observer = OtelObserver(tracer_provider=NoOpTracerProvider())
    async with serving() as server, calling(server.url, ONCE, observers=[observer]) as session:
        await session.send(ask())
        assert not observer.is_on()
        token = context.attach(propagate.extract({"traceparent": PARENT}))
        await session.send(ask())
        context.detach(token)
    assert [one.headers.get("traceparent") for one in server.requests] == [None, PARENT]


async def test_what_is_not_sampled_is_sent_on_as_such() -> None:
    """The server is told of a trace that is not recorded; no span is exported."""
    sdk = Sdk()
    sdk.tracers = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    async with serving() as server, calling(server.url, ONCE, observers=[sdk.observer()]) as session:
        await session.send(ask())
    assert not int(server.requests[0].headers["traceparent"][-2:], 16) & trace.TraceFlags.SAMPLED
    assert sdk.spans() == []
    assert "cdp_orders.requests" in sdk.metrics()


async def test_baggage_stays_here() -> None:
    """Baggage, which may be personal, is sent only where it is asked for."""
    sdk = Sdk()
    token = context.attach(baggage.set_baggage("guest", "canary-guest"))
    wide = OtelObserver(tracer_provider=sdk.tracers, propagator=propagate.get_global_textmap())
    async with serving() as server:
        for observer in (sdk.observer(), wide):
            async with calling(server.url, ONCE, observers=[observer]) as session:
                await session.send(ask())
    context.detach(token)
    assert [one.headers.get("baggage") for one in server.requests] == [None, "guest=canary-guest"]


async def test_an_end_in_another_task_restores_nothing() -> None:
    """A call that a collector ends elsewhere, as that of a loop that was closed, leaves the other context alone."""
    sdk, kept = Sdk(), Kept()
    async with serving() as server, calling(server.url, ONCE, observers=[kept]) as session:
        await session.send(ask())
    observer = sdk.observer()

    async def begin() -> None:
        for event in kept.events:
            if isinstance(event, CallStarted | AttemptStarted):
                observer(event)

    await asyncio.create_task(begin())
    here = context.get_current()
    for event in kept.of(CallEnded):
        observer(event)
    assert context.get_current() is here
    assert len(sdk.spans()) == 1


class Adding:
    """An observer that adds headers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, event: Event) -> None:
        """Add them."""
        if isinstance(event, AttemptStarted):
            event.headers.update(self._headers)


@pytest.mark.usefixtures("way")
async def test_only_headers_are_added() -> None:
    """An observer can neither replace a header of the client nor begin another one by a line break."""
    own = {
        "authorization": "x",
        "Host": "x",
        "X-REQUEST-ID": "x",
        "Content-Length": "7",
        "Transfer-Encoding": "chunked",
    }
    bad = {"a\r\nb": "x", "a b": "x", "": "x", "c": "x\r\nd: y", "e": "x\0", "f": "\N{SNOWMAN}", "g": "x\n"}
    adding = Adding({**own, **bad, "X-Mine": "some value"})
    async with serving() as server, calling(server.url, ONCE, observers=[adding]) as session:
        await session.send(ask("POST"))
        await session.send(ask("POST"))
    async with serving() as plain, calling(plain.url, ONCE) as session:
        await session.send(ask("POST"))
    for sent in server.requests:
        assert dict(sent.headers).pop("x-mine") == "some value"
        assert sent.headers.keys() - plain.requests[0].headers.keys() == {"x-mine"}
        assert sent.headers["authorization"] == plain.requests[0].headers["authorization"]
        assert sent.body == plain.requests[0].body


def test_an_sdk_that_is_set_later_is_seen() -> None:
    """An observer that was made before the SDK was set, and asked before, reports to it soon after."""
    program = """
from opentelemetry import trace
from cdp_orders_async.telemetry import otel
now = 1.0
otel.time.monotonic = lambda: now
observer = otel.OtelObserver()
print(observer.is_on())
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
print(observer.is_on())
now += 0.2
print(observer.is_on())
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "False", "True"]


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the import says which command brings it."""
    real = builtins.__import__

    def lacking(name: str, *rest: Any) -> object:  # noqa: ANN401 those of the import
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ImportError, match=r"pip install 'cdp-orders-async\[otel\]'$"):
        importlib.reload(module)
