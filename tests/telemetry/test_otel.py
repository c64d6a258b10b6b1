"""What the SDK of OpenTelemetry gets from a client, over real sockets."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import logging
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode

from cdp_orders_async import (
    AttemptStarted,
    CdpOrders,
    Event,
    Observer,
    OrderGraph,
    Request,
    Resources,
    Settings,
    Verdict,
    ingest,
    ingest_one,
    parse_graph,
)
from cdp_orders_async.emulator import Emulator, Faults
from cdp_orders_async.telemetry import CallEnded, CallStarted
from cdp_orders_async.telemetry import otel as module
from cdp_orders_async.telemetry.otel import OtelObserver
from tests import ways
from tests.ingest.holding import Json
from tests.ingest.network import collected
from tests.ingest.orders import order
from tests.ingest.serving import served
from tests.security.canaries import WHOLE, leaks
from tests.servers import Cut, Reply, serving
from tests.session.calling import ONCE, Gate, ask, calling, failure, until
from tests.telemetry.test_loads import FAULTS, LOST, begun, one
from tests.telemetry.watching import Kept, script, status, watched
from tests.virtual import LoopbackLoop, run_in

TWICE = Settings(retries=1, trust_env=False)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
Attributes: TypeAlias = Mapping[str, object]


class Sdk:
    """An SDK that keeps all spans and metrics in memory."""

    def __init__(self, *processors: SpanProcessor) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        for processor in (*processors, SimpleSpanProcessor(self._exporter)):
            self.tracers.add_span_processor(processor)
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)

    def observer(self) -> OtelObserver:
        """Return an observer that reports here."""
        return OtelObserver(tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self, name: str | None = None) -> Sequence[ReadableSpan]:
        """Return the ended spans, of that *name*."""
        return [span for span in self._exporter.get_finished_spans() if name in {None, span.name}]

    def metrics(self) -> Mapping[str, list[tuple[Attributes, float]]]:
        """Return the points of each metric: attributes, and the value, for a histogram its count."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[tuple[Attributes, float]]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                        value = point.count if isinstance(point, HistogramDataPoint) else point.value
                        found.setdefault(metric.name, []).append((dict(point.attributes or {}), value))
        return found


def attributes(span: ReadableSpan) -> Attributes:
    """Return the attributes of *span*."""
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan, spans: Iterable[ReadableSpan]) -> ReadableSpan | None:
    """Return the one of *spans* that is the parent of *span*."""
    parents = {one.context.span_id: one for one in spans if one.context is not None}
    return None if span.parent is None else parents.get(span.parent.span_id)


@pytest.fixture(autouse=True)
def no_leaks(caplog: pytest.LogCaptureFixture) -> Generator[None, None, None]:
    """See that OpenTelemetry finds nothing wrong, such as a context that is restored in another task."""
    yield
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


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


class Currents:
    """An observer, told after the one of OpenTelemetry, that keeps the current span at each event."""

    def __init__(self) -> None:
        self.names: dict[str, set[str | None]] = {}

    def __call__(self, event: Event) -> None:
        """Keep the name of the current span."""
        span = trace.get_current_span()
        name = span.name if isinstance(span, ReadableSpan) else None
        self.names.setdefault(type(event).__name__, set()).add(name)


def loaded(
    sdk: Sdk, graphs: Sequence[OrderGraph], faults: Faults, observers: Sequence[Observer] = ()
) -> Mapping[Verdict, int]:
    """Load *graphs*; return how many orders have which verdict."""
    told = (sdk.observer(), *observers)

    async def main(loop: LoopbackLoop) -> Mapping[Verdict, int]:
        async with watched(
            Emulator(faults=faults), loop, lambda event: [tell(event) for tell in told], rate="auto"
        ) as cdp:
            with sdk.tracers.get_tracer("mine").start_as_current_span("mine"):
                load = begun(cdp, loop, graphs)
            await collected(load)
            await load.aclose()
            return load.counts

    return run_in(LoopbackLoop, main)


def test_a_load() -> None:
    """Calls are below their order, orders below the load, and the load below the span of the caller."""
    sdk, faults = Sdk(), script(("items.create", [LOST]), ("orders.create", [status(429, 1)]))
    graphs = [one(f"A-{n}") for n in range(3)]
    currents = Currents()
    assert loaded(sdk, graphs, faults, [currents]) == {Verdict.LOADED: 3}
    assert currents.names["AttemptStarted"] == {"orders.create", "items.create", "items.list"}
    assert {name for kind in ("CallStarted", "AttemptEnded", "CallEnded") for name in currents.names[kind]} <= {
        "mine",
        None,
    }
    spans = sdk.spans()
    [load], [mine] = sdk.spans("cdp_orders.load"), sdk.spans("mine")
    orders = sdk.spans("cdp_orders.order")
    calls = [span for span in spans if span not in (load, mine, *orders)]
    assert parent_of(load, spans) is mine
    assert {parent_of(span, spans) for span in orders} == {load}
    assert {parent_of(span, spans) for span in calls} == set(orders)
    assert [attributes(span) for span in sorted(orders, key=lambda span: str(attributes(span)))] == [
        {
            "cdp_orders.line": n + 1,
            "cdp_orders.order": f"A-{n}@2024-01-01T16:17:16+00:00",
            "cdp_orders.verdict": "loaded",
        }
        for n in range(3)
    ]
    metrics = sdk.metrics()
    assert metrics["cdp_orders.orders"] == [({"cdp_orders.verdict": "loaded"}, 3)]
    assert metrics["cdp_orders.adoptions"] == [({"cdp_orders.kind": "items"}, 1)]
    assert {of["cdp_orders.of"] for of, _ in metrics["cdp_orders.rate"]} == {"all"}
    assert metrics["cdp_orders.rate"][0][1] > 0
    assert "cdp_orders.slots" in metrics


def test_no_span_shows_a_person() -> None:
    """No span and no metric of a load of people, in which much goes wrong, has a secret or a personal value."""
    sdk = Sdk()
    graphs = [parse_graph({**WHOLE, "referenceId": f"A-{n}"}) for n in range(5)]
    plan: Json = {"seed": 1, "faults": FAULTS}
    counts = loaded(sdk, graphs, Faults.of(plan))
    assert sum(counts.values()) == 5
    assert leaks(*(span.to_json() for span in sdk.spans()), str(sdk.metrics())) == []
    assert len(sdk.spans("cdp_orders.order")) == 5


async def test_orders_that_end_otherwise() -> None:
    """An order that breaks a rule has a span, a load that fails has the class of its error, one order has no load."""
    sdk = Sdk()
    good, bad = OrderGraph(order=order("A")), OrderGraph(order=order("B", currency_code="no"))
    async with served(Emulator()) as options:
        async with CdpOrders(**options, observers=[sdk.observer()]) as cdp:
            assert (await ingest_one(cdp, good)).verdict == "loaded"
            assert sdk.spans("cdp_orders.load") == []
            [alone] = sdk.spans("cdp_orders.order")
            assert {parent_of(span, sdk.spans()) for span in sdk.spans("orders.create")} == {alone}
            assert alone.parent is None
            async with ingest(cdp, [bad]) as load:
                assert await load.run() == {Verdict.INVALID: 1}
        options["api_token"] = "wrong"  # noqa: S105 it is
        async with CdpOrders(**options, observers=[sdk.observer()]) as cdp:
            with pytest.raises(Exception, match="401"):
                async with ingest(cdp, [good]) as load:
                    await load.run()
    assert [attributes(span).get("error.type") for span in sdk.spans("cdp_orders.order")] == [None, "invalid", "failed"]
    assert [attributes(span).get("error.type") for span in sdk.spans("cdp_orders.load")] == [None, "Unauthorized"]


class Broken(SpanProcessor):
    """A part of an SDK that fails at each step."""

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:  # noqa: ARG002 as it is called
        """Fail."""
        raise OSError("no disk")

    def on_end(self, span: ReadableSpan) -> None:  # noqa: ARG002 as it is called
        """Fail."""
        raise OSError("no disk")


class BrokenEnd(Broken):
    """It fails at the ends alone."""

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        """Do nothing."""


@pytest.mark.parametrize("kind", [Broken, BrokenEnd])
def test_a_broken_sdk_harms_nothing(kind: Callable[[], SpanProcessor], caplog: pytest.LogCaptureFixture) -> None:
    """Its errors reach no call and no load; the first one is logged, and no other."""
    sdk = Sdk(kind())
    with pytest.raises(OSError, match="no disk"):
        sdk.tracers.get_tracer("mine").start_span("mine").end()
    observer = sdk.observer()

    async def main(loop: LoopbackLoop) -> None:
        async with watched(Emulator(), loop, observer) as cdp:
            load = begun(cdp, loop, [OrderGraph(order=order(f"A-{n}")) for n in range(3)])
            await collected(load)
            await load.aclose()
            assert load.counts == {Verdict.LOADED: 3}
            assert isinstance(cdp, Resources)

    run_in(LoopbackLoop, main)
    [record] = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert record.getMessage().startswith("an observer failed: OtelObserver, told of ")
    assert sdk.metrics()["cdp_orders.orders"] == [({"cdp_orders.verdict": "loaded"}, 3)]


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
