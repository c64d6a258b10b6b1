"""An SDK of OpenTelemetry that keeps what a client reports, and what its spans say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cdp_orders_async.telemetry.otel import OtelObserver

__all__ = ["Attributes", "Sdk", "attributes", "parent_of"]

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
