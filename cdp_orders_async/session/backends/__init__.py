"""The HTTP backends: aiohttp, and our own connections, whose answers httptools parses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import ClientSession, TraceConfig

from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.session.attempt import HttpBackend
from cdp_orders_async.session.backends.aiohttp import AiohttpBackend
from cdp_orders_async.settings import Credentials, Settings

__all__ = ["backend"]


def backend(
    base_url: str,
    credentials: Credentials,
    settings: Settings,
    session: ClientSession | None,
    trace_configs: Sequence[TraceConfig],
    clock: Callable[[], float],
) -> HttpBackend:
    """Return the backend that *settings* ask for; raises `Invalid` if it cannot be used."""
    if settings.http == "aiohttp":
        return AiohttpBackend(base_url, credentials, settings, session, trace_configs, clock)
    if session is not None or trace_configs:
        raise Invalid((Violation("http", "must be aiohttp where an http_session or trace_configs are given"),))
    try:
        # It is an extra, so it may be missing.
        from cdp_orders_async.session.backends.httptools import HttptoolsBackend  # noqa: PLC0415
    except ImportError:
        rule = "needs an extra: pip install 'cdp-orders-async[httptools]'"
        raise Invalid((Violation("http", rule),)) from None
    return HttptoolsBackend(base_url, credentials, settings, clock)
