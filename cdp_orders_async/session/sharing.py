"""The second limiter of a session, which other processes may share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs

from cdp_orders_async.errors import CdpError, Invalid, Violation
from cdp_orders_async.pacing.shared import SharedLimiter
from cdp_orders_async.redact import strip_frames
from cdp_orders_async.session.attempt import connection_error
from cdp_orders_async.settings import Settings
from cdp_orders_async.wire import Request

__all__ = ["RateLimiter", "SecondLimiter"]

NOT_SHARED = "must be a number where processes share it: each process would find another rate for auto"


class RateLimiter(Protocol):
    """Your own limiter, for instance one that several processes share.

    It may also have a method ``pause(seconds)``, not async, which is called when an answer asks all calls to wait.
    """

    async def acquire(self) -> None:
        """Return when one request may leave; an exception counts as a request that was not sent, and is its cause."""
        ...


class SecondLimiter:
    """The limiter that a user gives to a session; a `SharedLimiter` has lanes too, and its rate can be changed."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter
        self._shared = limiter if isinstance(limiter, SharedLimiter) else None
        pause: object = getattr(limiter, "pause", None)
        self._pause: Callable[[float], object] | None = pause if callable(pause) else None

    def check(self, settings: Settings) -> Settings:
        """Return *settings* with the rate of the limiter if they have none; raises `Invalid` if it cannot be shared."""
        if self._shared is None:
            return settings
        if settings.rate == "auto":
            raise Invalid((Violation("rate", NOT_SHARED),))
        return attrs.evolve(settings, rate=self._shared.rate) if settings.rate is None else settings

    def on_rate(self, changed: Callable[[float, float], None]) -> None:
        """Let *changed* get the old and the new rate when another process has changed it."""
        if self._shared is not None:
            self._shared.on_rate = changed

    def set_rate(self, rate: float | Literal["auto"] | None) -> bool:
        """Change the rate of all processes; tell whether it is shared. Raises `Invalid` if *rate* cannot be shared."""
        if self._shared is None:
            return False
        if rate is None or isinstance(rate, str):
            raise Invalid((Violation("rate", NOT_SHARED),))
        self._shared.set_rate(rate)
        return True

    async def acquire(self, request: Request[Any], *, bulk: bool) -> None:
        """Wait for the permit of *request*, if possible in the *bulk* lane or the interactive one.

        Raises `NotSent` for an exception of the user's own limiter.
        """
        if self._shared is not None:
            await self._shared.acquire(bulk=bulk)
            return
        try:
            await self._limiter.acquire()
        except CdpError:
            raise
        except Exception as error:  # noqa: BLE001 it is the cause of what is raised
            cause = f"the shared limiter raised {type(error).__name__}"
            raise connection_error(request, cause, began=False) from strip_frames(error)

    def pause(self, seconds: float) -> None:
        """Let no call go for *seconds*, if the limiter can be paused."""
        if self._pause is not None:
            self._pause(seconds)
