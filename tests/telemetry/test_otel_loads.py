"""What the SDK of OpenTelemetry gets from loads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from cdp_orders_async import (
    CdpOrders,
    Event,
    Observer,
    OrderGraph,
    Resources,
    Verdict,
    ingest,
    ingest_one,
    parse_graph,
)
from cdp_orders_async.emulator import Emulator, Faults
from tests.ingest.holding import Json
from tests.ingest.network import collected
from tests.ingest.orders import order
from tests.ingest.serving import served
from tests.security.canaries import WHOLE, leaks
from tests.telemetry.collecting import Sdk, attributes, parent_of
from tests.telemetry.test_loads import FAULTS, LOST, begun, one
from tests.telemetry.watching import script, status, watched
from tests.virtual import LoopbackLoop, run_in


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
