"""OpenTelemetry: spans of calls, orders and loads, metrics, and the trace context in each request.

It needs the extra ``otel``, which is the API of OpenTelemetry alone; your program chooses the SDK and the exporter.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextvars import Token
from typing import Any

from cdp_orders_async.routes import V2, V2_1
from cdp_orders_async.telemetry.events import (
    REFUSED_FOR_LOAD,
    AttemptEnded,
    AttemptStarted,
    Call,
    CallEnded,
    CallStarted,
    Event,
    LoadEnded,
    LoadStarted,
    OrderEnded,
    OrderStarted,
    PartAdopted,
    RateChanged,
)
from cdp_orders_async.telemetry.observers import SwitchedObserver
from cdp_orders_async.version import VERSION

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    raise ImportError("OtelObserver needs an extra: pip install 'cdp-orders-async[otel]'") from None

__all__ = ["OtelObserver"]

SCOPE = "cdp_orders_async"
"""The name of the instrumentation scope."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: the buckets that the conventions of OpenTelemetry advise for durations of requests."""
SUPPRESS_HTTP: str | None = getattr(contexts, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)
"""The key by which other instrumentations, as aiohttp's, know that a request has its span; it has no public name."""
TEMPLATES = frozenset(route.path for table in (V2_1, V2) for route in table.routes())
"""The templates of the API's paths. The path of a request of your own may hold references."""
SUCCESSES = frozenset(("loaded", "already", "updated", "kept"))
"""The verdicts of orders that are on the server."""
LOOK_SECONDS = 0.1
"""How often it is asked whether the program has set an SDK by now: the API takes microseconds to tell."""


class OtelObserver(SwitchedObserver):
    """Report the work of a client to OpenTelemetry: pass it to the client as one of its *observers*.

    Parameters: *tracer_provider* and *meter_provider*, by default the global ones, which may be set later;
    *propagator*, which writes the trace context into the headers of each request. By default it writes ``traceparent``
    and ``tracestate`` and no baggage, because baggage may hold personal values, and the requests go to another company.
    One observer can serve several clients. Without an SDK it is off. Errors of OpenTelemetry reach no call; the first
    one is logged.

        CdpOrders(region="eu", observers=[OtelObserver()])
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
    ) -> None:
        self._on = _is_real(tracer_provider) or _is_real(meter_provider)
        self._look_at = 0.0
        self._failed = False
        self._propagator = TraceContextTextMapPropagator() if propagator is None else propagator
        self._tracer = trace.get_tracer(SCOPE, VERSION, tracer_provider)
        self._spans: dict[str, trace.Span] = {}
        """The spans of the calls under way, by the id of the call, and of the loads, by theirs."""
        self._orders: dict[tuple[str | None, str | None, int], trace.Span] = {}
        """The spans of the orders under way, by their load and their place in its input."""
        self._sent: dict[str, Token[Context] | None] = {}
        """The attempts under way, by the id of the call, with the token that restores the context."""
        meter = metrics.get_meter(SCOPE, VERSION, meter_provider)
        counter, histogram, gauge = meter.create_counter, meter.create_histogram, meter.create_gauge
        self._durations = histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._waits = histogram(
            "cdp_orders.limiter.wait",
            "s",
            "Time that a request waited for the rate limit.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._requests = counter("cdp_orders.requests", "{request}", "Requests that were sent, retries included.")
        self._refusals = counter("cdp_orders.refusals", "{request}", "Requests that the server refused for its load.")
        self._retries = counter("cdp_orders.retries", "{request}", "Requests that were sent again.")
        self._adoptions = counter("cdp_orders.adoptions", "{part}", "Parts that a look-up found on the server.")
        self._verdicts = counter("cdp_orders.orders", "{order}", "Orders that came to their end, by verdict.")
        self._rate = gauge("cdp_orders.rate", "{request}/s", "Rate at which the client sends now, where it is limited.")
        self._slots = gauge("cdp_orders.slots", "{request}", "Requests that may be in flight now.")
        self._handlers: Mapping[type[Event], Callable[[Any], None]] = {
            CallStarted: self._call_started,
            AttemptStarted: self._attempt_started,
            AttemptEnded: self._attempt_ended,
            CallEnded: self._call_ended,
            LoadStarted: self._load_started,
            LoadEnded: self._load_ended,
            OrderStarted: self._order_started,
            OrderEnded: self._order_ended,
            PartAdopted: self._part_adopted,
            RateChanged: self._rate_changed,
        }

    def is_on(self) -> bool:
        """Tell whether there is an SDK, or a trace of the caller that goes on at the server."""
        if self._on:
            return True
        if (now := time.monotonic()) >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._on = _is_real(trace.get_tracer_provider()) or _is_real(metrics.get_meter_provider())
        return self._on or trace.get_current_span() is not trace.INVALID_SPAN

    def __call__(self, event: Event, /) -> None:
        """Take note of *event*; raises the first error of OpenTelemetry, which the client logs, and no other."""
        handler = self._handlers.get(type(event))
        if handler is None:
            return
        try:
            handler(event)
        except Exception:  # of an exporter or a propagator: no call may fail because of it, so it is told once
            if not self._failed:
                self._failed = True
                raise

    def _call_started(self, event: CallStarted) -> None:
        call = event.call
        parent = None if call.line is None else self._orders.get((call.load, call.file, call.line))
        attributes = {"cdp_orders.operation": call.operation, **_server(call)}
        if call.route in TEMPLATES:
            attributes["url.template"] = call.route
        self._spans[call.id] = self._tracer.start_span(
            call.operation, _within(parent), trace.SpanKind.CLIENT, attributes
        )

    def _attempt_started(self, event: AttemptStarted) -> None:
        call = event.call
        self._sent[call.id] = None
        span = self._spans.get(call.id)
        if span is not None and span.get_span_context().is_valid:
            within = trace.set_span_in_context(span)
            self._propagator.inject(event.headers, within)  # pyright: ignore[reportArgumentType] its default is loose
            if SUPPRESS_HTTP is not None:
                within = contexts.set_value(SUPPRESS_HTTP, True, within)  # noqa: FBT003 the value of the key
            self._sent[call.id] = contexts.attach(within)
        self._waits.record(event.waited, {"cdp_orders.operation": call.operation})

    def _attempt_ended(self, event: AttemptEnded) -> None:
        call = event.call
        if call.id not in self._sent:  # it ended before it was sent
            return
        _restore(self._sent.pop(call.id))
        attributes = _server(call)
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        if event.error is not None:
            attributes["error.type"] = event.error
        self._durations.record(event.seconds, attributes)
        operation = {"cdp_orders.operation": call.operation}
        self._requests.add(1, operation)
        if event.number > 1:
            self._retries.add(1, operation)
        if event.status in REFUSED_FOR_LOAD:
            self._refusals.add(1, {**operation, "http.response.status_code": event.status})

    def _call_ended(self, event: CallEnded) -> None:
        call = event.call
        _restore(self._sent.pop(call.id, None))
        span = self._spans.pop(call.id, None)
        if span is None:
            return
        attributes: dict[str, str | int] = {
            "cdp_orders.delivery": event.delivery,
            "cdp_orders.request_id": event.request_id,
        }
        if event.attempts > 1:
            attributes["http.request.resend_count"] = event.attempts - 1
        if event.status is not None:
            attributes["http.response.status_code"] = event.status
        _end(span, attributes, event.error)

    def _load_started(self, event: LoadStarted) -> None:
        self._spans[event.load] = self._tracer.start_span("cdp_orders.load")

    def _load_ended(self, event: LoadEnded) -> None:
        span = self._spans.pop(event.load, None)
        if span is not None:
            _end(span, {}, event.error)

    def _order_started(self, event: OrderStarted) -> None:
        place = event.load, event.file, event.line
        if place in self._orders:  # an input of your own may repeat a place
            return
        attributes: dict[str, str | int] = {"cdp_orders.line": event.line}
        if event.order is not None:
            attributes["cdp_orders.order"] = event.order
        if event.file is not None:
            attributes["cdp_orders.file"] = event.file
        parent = _within(self._spans.get(event.load))
        self._orders[place] = self._tracer.start_span("cdp_orders.order", parent, attributes=attributes)

    def _order_ended(self, event: OrderEnded) -> None:
        self._verdicts.add(1, {"cdp_orders.verdict": event.verdict})
        span = self._orders.pop((event.load, event.file, event.line), None)
        if span is not None:
            error = None if event.verdict in SUCCESSES else event.verdict
            _end(span, {"cdp_orders.verdict": event.verdict}, error)

    def _part_adopted(self, event: PartAdopted) -> None:
        self._adoptions.add(1, {"cdp_orders.kind": event.kind})

    def _rate_changed(self, event: RateChanged) -> None:
        attributes = {"cdp_orders.of": event.of or "all"}
        if event.per_second is not None:
            self._rate.set(event.per_second, attributes)
        self._slots.set(event.slots, attributes)


def _is_real(provider: object) -> bool:
    """Tell whether a provider does anything: those of the API do not."""
    return provider is not None and not type(provider).__module__.startswith(
        ("opentelemetry.trace", "opentelemetry.metrics")
    )


def _within(parent: trace.Span | None) -> Context | None:
    """Return the context in which *parent* is current; None is the context of the caller."""
    return None if parent is None else trace.set_span_in_context(parent)


def _server(call: Call) -> dict[str, str | int]:
    """Return the attributes that a span and the durations of its requests have in common."""
    attributes: dict[str, str | int] = {"http.request.method": call.method, "server.address": call.host}
    if call.port is not None:
        attributes["server.port"] = call.port
    return attributes


def _end(span: trace.Span, attributes: dict[str, str | int], error: str | None) -> None:
    """End *span*, also if it cannot take its last attributes."""
    try:
        if error is not None:
            attributes["error.type"] = error
            span.set_status(trace.StatusCode.ERROR)
        span.set_attributes(attributes)
    finally:
        span.end()


def _restore(token: Token[Context] | None) -> None:
    """Make the context of before current again; a call that another task ends has no context to restore there."""
    if token is not None:
        with contextlib.suppress(ValueError):
            token.var.reset(token)
