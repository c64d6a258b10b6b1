"""The session manager: pool, authentication, TLS, times, rate limit and the one retry loop."""

from __future__ import annotations

from aiohttp import ClientSession, TraceConfig

from cdp_orders_async.session.session import Patient, RateLimiter, Session, Stats
from cdp_orders_async.session.times import Times

__all__ = ["ClientSession", "Patient", "RateLimiter", "Session", "Stats", "Times", "TraceConfig"]
