"""P8: what OpenTelemetry adds to a call: with no observer, with its API alone, and with an SDK that drops what it gets.

The call has no network, so that microseconds are seen: the connections answer at once. The figures are differences to a
client without an observer, in each round; the control is a second client without one.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from harness import Call, Point, Result, arguments, benchmark, hammer, interleaved, result
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from cdp_orders_async import Credentials, Observer, Request, Session, Settings
from cdp_orders_async.session.attempt import NO_HEADERS, Answer, GivenUpCheck, HttpBackend
from cdp_orders_async.telemetry.otel import OtelObserver
from cdp_orders_async.timings import Timings

URL = "http://127.0.0.1:1"
BASE = "no observer"
ASKED = {"no observer, the control": None, "API alone": 2.0, "SDK": None}
"""Microseconds that each variant may add."""


class Nowhere(HttpBackend):
    """Answers at once."""

    async def send_once(
        self,
        request: Request[Any],
        request_id: str,
        left: float | None,
        times: Timings,
        headers: Mapping[str, str] = NO_HEADERS,
        given_up: GivenUpCheck | None = None,
    ) -> Answer:
        """Answer."""
        del request, request_id, left, times, headers, given_up
        return 200, b"{}", None

    async def _open(self) -> None:
        """Need nothing."""

    async def _close(self) -> None:
        """Need nothing."""


async def call(observers: tuple[Observer, ...]) -> Call:
    """Return a call of a client with *observers*."""
    given = Credentials("key", "token"), Settings(trust_env=False)
    session = Session(URL, *given, observers=observers)
    session._http = nowhere = Nowhere(URL, *given, time.monotonic)  # noqa: SLF001 no setting is for this  # pyright: ignore[reportPrivateUsage]
    await nowhere.open()

    request = Request("orders.get", "GET", "/v2.1/orders/7f1a", bytes)
    return lambda: session.send(request)


async def measure(options: Namespace) -> tuple[list[Result], list[Point]]:
    """Measure everything."""
    sdk = OtelObserver(tracer_provider=TracerProvider(), meter_provider=MeterProvider([InMemoryMetricReader()]))
    observers: dict[str, tuple[Observer, ...]] = {BASE: (), **dict.fromkeys(ASKED, ())}
    observers |= {"API alone": (OtelObserver(),), "SDK": (sdk,)}
    batches = {name: hammer(await call(given), 1, 2000) for name, given in observers.items()}
    cpu, _ = await interleaved(batches, 12 if options.quick else 60)
    results = [result("", f"CPU of a call with no network: {BASE}", cpu[BASE], "us")]
    for name, most in ASKED.items():
        added = [one - other for one, other in zip(cpu[name], cpu[BASE], strict=True)]
        results.append(result("P8" if most else "", f"CPU that it adds to a call: {name}", added, "us", most=most))
    return results, []


if __name__ == "__main__":
    benchmark(measure, arguments(__doc__))
