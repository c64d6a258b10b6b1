"""The decisions about sending again."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdp_orders_async.errors import (
    BadRequest,
    CdpError,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InputError,
    Invalid,
    JournalError,
    NotFound,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    ServerError,
    Unauthorized,
    Unreadable,
    Violation,
)
from cdp_orders_async.pacing.retry import Retries, RetryBudget, backoff, may_resend, parse_retry_after

NOW = datetime(1994, 11, 6, 8, 48, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("+3", 3.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("-0.1", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 60.0),
        ("Sun Nov  6 08:49:37 1994", 60.0),
        ("Sun, 06 Nov 1994 09:49:37 +0100", 60.0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e3", None),
        ("1_000", None),
        ("0x10", None),
        ("٣", None),
        ("12 seconds", None),
        ("9" * 400, None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 +99999999999999", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Seconds and all three forms of a date are read; what has passed is 0; anything else says nothing."""
    assert parse_retry_after(value, NOW) == seconds


@given(st.text() | st.text('0123456789-+:.,/ ()\\"GMTSunNovJaFeb'))
@example("Mon, 1 Jan 1 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
def test_retry_after_never_raises(value: str) -> None:
    """Whatever the header says, the answer is a time to wait, or none."""
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds < math.inf


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2068, 1, 1)),  # noqa: DTZ001 - hypothesis takes naive bounds
    st.integers(-720, 720),
    st.integers(-(10**6), 10**6),
)
def test_retry_after_dates_are_measured_against_now(now: datetime, offset: int, seconds: int) -> None:
    """A date that lies some seconds ahead says just that, in whatever zone the present time is given."""
    now = now.replace(microsecond=0, tzinfo=UTC)
    value = format_datetime(now + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(value, now.astimezone(timezone(timedelta(minutes=offset)))) == max(0, seconds)


def refused(kind: type[Refused], status: int) -> Refused:
    """Make the error of an answer with this status."""
    return kind("POST", "/v2.1/orders", status)


ALWAYS: list[CdpError] = [NotSent(), refused(RateLimited, 429)]
UNLESS_IT_CREATES: list[CdpError] = [
    OutcomeUnknown(),
    refused(Refused, 408),
    *(refused(ServerError, status) for status in (500, 501, 502, 503, 504, 505, 521, 599)),
    Unreadable("POST", "/v2.1/orders", 201, ("cut off",), cut=True),
]
NEVER: list[CdpError] = [
    PoolTimeout(),
    Invalid((Violation("$.price", "is missing"),)),
    refused(BadRequest, 400),
    refused(Unauthorized, 401),
    refused(Forbidden, 403),
    refused(NotFound, 404),
    refused(Conflict, 409),
    refused(Refused, 418),
    Unreadable("POST", "/v2.1/orders", 201, ("no ref",)),
    DeadlineExceeded(),
    InputError(),
    JournalError(),
]


@pytest.mark.parametrize("creates", [True, False])
def test_only_what_is_safe_is_sent_again(creates: bool) -> None:  # noqa: FBT001 - parametrized
    """A create is sent again only when nothing can have happened; what sets or reads, also when it can have."""
    for error in ALWAYS:
        assert may_resend(error, creates=creates), error
    for error in UNLESS_IT_CREATES:
        assert may_resend(error, creates=creates) is not creates, error
    for error in NEVER:
        assert not may_resend(error, creates=creates), error


@given(st.integers(1, 10**400), st.floats(0, 1e308), st.floats(0, 1e308), st.floats(0, 1))
def test_backoff_stays_within_its_bounds(attempt: int, base: float, cap: float, draw: float) -> None:
    """However often a call was sent, the wait is a number from 0 to the cap."""
    wait = backoff(attempt, Retries(base=base, cap=cap), lambda low, high: low + draw * (high - low))
    assert 0 <= wait <= cap


def test_backoff_doubles_up_to_the_cap() -> None:
    """The longest wait doubles with each send until it reaches the cap, and any shorter one is as likely."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    waits = [backoff(attempt, Retries(base=0.5, cap=5), uniform) for attempt in range(1, 7)]
    assert waits == [0.5, 1, 2, 4, 5, 5]
    assert drawn == [(0, wait) for wait in waits]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Retries(limit=-1), "limit"),
        (lambda: Retries(base=-0.1), "base"),
        (lambda: Retries(cap=math.nan), "cap"),
        (lambda: RetryBudget(capacity=-1), "capacity"),
        (lambda: RetryBudget(cost=0), "cost"),
    ],
)
def test_wrong_values_are_refused(make: Callable[[], object], name: str) -> None:
    """A negative bound, or one that is not a number, is an error that names it."""
    with pytest.raises(ValueError, match=name):
        make()


def test_the_budget_of_an_outage_is_bounded() -> None:
    """While everything fails, a hundred retries are let through and no more."""
    budget = RetryBudget()
    assert sum(budget.spend() for _ in range(1000)) == 100
    assert budget.tokens == 0


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 30), st.integers(1, 7))
def test_retries_are_a_bounded_share_of_the_traffic(traffic: list[bool], capacity: int, cost: int) -> None:
    """Whatever the order of successes and retries, they cost no more than was there and was earned."""
    budget = RetryBudget(capacity, cost)
    spent = earned = 0
    for success in traffic:
        if success:
            budget.earn()
            earned += 1
        else:
            before = budget.tokens
            paid = budget.spend()
            assert paid is (before >= cost)
            spent += paid
        assert 0 <= budget.tokens <= capacity
    assert spent * cost <= capacity + earned
