"""The session: pool, authentication, TLS, times, rate limit and retries."""

from __future__ import annotations

from aiohttp import ClientSession, TraceConfig

from cdp_orders_async.session.calls import as_one_call, attempt_failed
from cdp_orders_async.session.session import BulkTransport, GivenUp, RateLimiter, Session
from cdp_orders_async.session.signed import SignedUrls
from cdp_orders_async.session.stats import Stats
from cdp_orders_async.session.timeouts import TimeoutPool
from cdp_orders_async.timings import Timings

__all__ = [
    "BulkTransport",
    "ClientSession",
    "GivenUp",
    "RateLimiter",
    "Session",
    "SignedUrls",
    "Stats",
    "TimeoutPool",
    "Timings",
    "TraceConfig",
    "as_one_call",
    "attempt_failed",
]
