"""Whether, when and how often a call is sent again: pure decisions, no waiting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from msgspec import Struct

from cdp_orders_async.errors import (
    CdpError,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    ServerError,
    Unreadable,
)

__all__ = ["Retries", "RetryBudget", "backoff", "may_resend", "parse_retry_after"]

SECONDS = r"[+-]?[0-9]+(?:\.[0-9]*)?"


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait, or None if it says nothing usable.

    *value* is its text: seconds, or a date in any of HTTP's three forms; a date counts from *now*, an aware time. A
    time in the past is 0.
    """
    text = value.strip()
    try:
        if re.fullmatch(SECONDS, text):
            seconds = float(text)
        else:
            when = parsedate_to_datetime(text)
            # HTTP dates are in UTC, also in the form without a zone.
            seconds = ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


class Retries(Struct, frozen=True):
    """How often a call is sent again, and how long it waits before; raises `ValueError` for a number below 0."""

    limit: int = 3
    """The most times that it is sent again."""
    base: float = 0.5
    """The longest first wait in seconds; each further wait may last twice as long."""
    cap: float = 20.0
    """The longest of all waits in seconds."""

    def __post_init__(self) -> None:
        _at_least(0, limit=self.limit, base=self.base, cap=self.cap)


def may_resend(error: CdpError, *, creates: bool) -> bool:
    """Tell whether a call that failed with *error* may be sent again without the risk of a second effect.

    *creates*: each request that arrives makes a new object.
    """
    match error:
        case PoolTimeout():
            return False
        case NotSent():
            return not error.lasting
        case RateLimited():
            return True
        case ServerError() | Refused(status=408) | OutcomeUnknown() | Unreadable(cut=True):
            return not creates
        case _:
            return False


def backoff(attempt: int, retries: Retries, uniform: Callable[[float, float], float]) -> float:
    """Choose the seconds to wait after the send number *attempt*, from 1, with full jitter.

    *uniform* draws a number between two, as `random.uniform` does.
    """
    doublings = min(attempt - 1, 1000)  # a float has no room for more
    return uniform(0.0, min(retries.cap, retries.base * 2.0**doublings))


class RetryBudget:
    """Keep retries a bounded share of the traffic: they spend tokens that only successes earn.

    It starts with *capacity* tokens, which is also the maximum; a retry costs *cost* tokens, and a success earns 1. If
    everything fails, *capacity* / *cost* retries are allowed; in the long run there is one retry for *cost* successes.
    Raises `ValueError` for a capacity below 0 or a cost below 1.
    """

    def __init__(self, capacity: int = 500, cost: int = 5) -> None:
        _at_least(0, capacity=capacity)
        _at_least(1, cost=cost)
        self._capacity, self._cost = capacity, cost
        self.tokens = capacity
        """Tokens left."""

    def spend(self) -> bool:
        """Pay for one retry; False, and nothing is paid, if the tokens are not enough."""
        if self.tokens < self._cost:
            return False
        self.tokens -= self._cost
        return True

    def earn(self) -> None:
        """Count a success."""
        if self.tokens < self._capacity:
            self.tokens += 1


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ValueError(f"{name}: {value} is below {least}")
