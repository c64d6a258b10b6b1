"""What is sent again, when, how often, and what the error says in the end."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import attrs
import pytest
from msgspec.structs import replace

from cdp_orders_async.errors import (
    CdpError,
    DeadlineExceeded,
    Delivery,
    NotFound,
    NotSent,
    OutcomeUnknown,
    PoolTimeout,
    RateLimited,
    Refused,
    ServerError,
)
from cdp_orders_async.session import BulkTransport, GivenUp, Timings
from cdp_orders_async.settings import Settings
from tests.servers import Cut, Reply, serving
from tests.session.calling import (
    METHODS,
    ONCE,
    Gate,
    ask,
    bulk_of,
    calling,
    closed_port,
    deaf_port,
    failure,
    resolving,
    until,
)
from tests.session.endings import Loop
from tests.virtual import run_in
from tests.ways import WAYS, Way

AGAIN = Settings(trust_env=False)
NOT_CREATES = tuple(method for method in METHODS if method != "POST")
LOST = (Cut("done"), Cut("done", "reset"), Cut("in the head"), *map(Reply, (500, 501, 502, 503, 504, 521, 599)))
DONE = Reply(body=b'"done"')


@pytest.mark.parametrize("step", LOST, ids=str)
async def test_create_whose_outcome_is_unknown_is_not_sent_again(step: Reply | Cut) -> None:
    """A create that may have been done is sent once, whatever the number of retries."""
    async with serving(step) as server, calling(server.url, AGAIN) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, OutcomeUnknown)
    assert (error.delivery, error.attempts, len(server.requests)) == (Delivery.UNKNOWN, 1, 1)


async def test_create_whose_answer_is_cut_is_not_sent_again() -> None:
    """A create that the server did is not done again to read its answer."""
    async with serving(Cut("in the body")) as server, calling(server.url, AGAIN) as session:
        error = await failure(session, ask("POST"))
    assert (error.delivery, len(server.requests)) == (Delivery.DONE_UNREADABLE, 1)


@pytest.mark.parametrize(
    ("method", "status"), [*((method, 429) for method in METHODS), *((method, 503) for method in NOT_CREATES)]
)
async def test_postponed_calls_are_sent_again(method: str, status: int) -> None:
    """429 asks to come again, so a create does too; after 503 only what can be repeated does."""
    async with serving(Reply(status), Reply(status), DONE) as server, calling(server.url, AGAIN) as session:
        assert await session.send(ask(method)) == b'"done"'
        assert (session.stats.requests, session.stats.retries, session.stats.in_flight) == (3, 2, 0)
    assert len(server.requests) == 3


@pytest.mark.parametrize("method", METHODS)
async def test_what_was_not_sent_is_sent_again(method: str) -> None:
    """A call that reached nobody is sent again, a create too."""
    async with serving(DONE) as server, resolving("nowhere", "nowhere", "here") as http:
        url = server.url.replace("127.0.0.1", "api.test")
        async with calling(url, AGAIN, http=http) as session:
            assert await session.send(ask(method)) == b'"done"'
    assert len(server.requests) == 1


@pytest.mark.parametrize("step", [*LOST, Cut("in the body"), Reply(408)], ids=str)
@pytest.mark.parametrize("method", NOT_CREATES)
async def test_what_can_be_repeated_is_sent_again(method: str, step: Reply | Cut) -> None:
    """What only reads, sets values or deletes is sent again when its answer is lost."""
    async with serving(step, DONE) as server, calling(server.url, AGAIN) as session:
        assert await session.send(ask(method)) == b'"done"'
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422])
@pytest.mark.parametrize("method", METHODS)
async def test_refusals_are_final(method: str, status: int) -> None:
    """What the server refuses for good is sent once, also where a gateway refused and the API may have done it."""
    async with serving(Reply(status)) as server, calling(server.url, AGAIN) as session:
        error = await failure(session, ask(method))
    assert isinstance(error, Refused)
    delivery = Delivery.UNKNOWN if method == "POST" and status in {301, 404, 409} else Delivery.REFUSED
    assert (error.status, error.delivery, len(server.requests)) == (status, delivery, 1)


async def test_error_counts_the_attempts() -> None:
    """After the last retry the error says how many attempts there were, all under one request id."""
    async with serving(Reply(429)) as server, calling(server.url, AGAIN) as session:
        error = await failure(session, ask("POST"))
        other = await failure(session, ask("POST"))
    assert (error.attempts, len(server.requests)) == (4, 8)
    assert {asked.headers["x-request-id"] for asked in server.requests} == {error.request_id, other.request_id}
    assert error.request_id != other.request_id


async def test_jitter_is_full() -> None:
    """The waits are drawn between nothing and twice as much each time."""
    drawn: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    async with serving(Reply(503)) as server, calling(server.url, AGAIN, uniform=draw) as session:
        await failure(session, ask())
    assert drawn[:3] == [(0.0, 0.5), (0.0, 1.0), (0.0, 2.0)]


async def test_retries_have_a_budget() -> None:
    """While everything fails, retries end at the budget, which successes fill again; those after a 429 are free."""
    steps = (*[Reply(500)] * 140, Reply(429), *[DONE] * 5, Reply(500), DONE)
    async with serving(*steps) as server, calling(server.url, AGAIN) as session:
        errors = [await failure(session, ask()) for _ in range(40)]
        assert sum(error.attempts for error in errors) == len(server.requests) == 140
        for _ in range(6):
            assert await session.send(ask()) == b'"done"'
    assert len(server.requests) == 148


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0.5), ("-5", 0.5), ("1000000000", 300), ("9" * 400, 0), ("soon", 0), ("", 0)],
)
async def test_retry_after_pauses_everybody(value: str, seconds: float) -> None:
    """One 429 holds up all calls as long as it asks, within reason; with no usable time, only the call that met it."""
    reply = Reply(429, headers={"Retry-After": value})
    async with (
        serving(reply) as server,
        calling(server.url, ONCE, clock=lambda: 1000.0, uniform=lambda _, high: high) as session,
    ):
        assert isinstance(await failure(session, ask()), RateLimited)
        assert session.limiter.paused_for == seconds
        refused = await failure(session, ask("POST")) if seconds > 120 else None
        assert refused is None or isinstance(refused, DeadlineExceeded)
    assert len(server.requests) == 1


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_as_a_date_is_measured_on_the_clock_of_the_server(ahead: int, status: int) -> None:
    """A date means the seconds after the date of the same answer, whatever our clock says."""
    now = datetime.now(UTC) + timedelta(seconds=ahead)
    headers = {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(now + timedelta(seconds=7), usegmt=True),
    }
    async with serving(Reply(status, headers=headers)) as server, calling(server.url, ONCE) as session:
        error = await failure(session, ask())
    assert isinstance(error, (RateLimited, ServerError))
    assert error.retry_after == 7


@pytest.mark.parametrize(("value", "seconds"), [("9", 9), ("-5", 0), ("soon", None), ("", None)])
@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", "no date", ""])
async def test_retry_after_in_seconds_needs_no_date(value: str, seconds: float | None, date: str) -> None:
    """Seconds are seconds, and what is neither says nothing, whatever the date of the answer is."""
    reply = Reply(429, headers={"Date": date, "Retry-After": value})
    async with serving(reply) as server, calling(server.url, ONCE) as session:
        error = await failure(session, ask())
    assert isinstance(error, RateLimited)
    assert error.retry_after == seconds


async def test_retry_after_can_be_a_date() -> None:
    """A date is measured against the time."""
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    async with (
        serving(Reply(503, headers={"Retry-After": when})) as server,
        calling(server.url, ONCE, clock=lambda: 0.0) as session,
    ):
        await failure(session, ask())
        assert 50 < session.limiter.paused_for <= 100


async def test_pause_ends() -> None:
    """A call that came during the pause is sent after it, and so is the one that caused it, with no rate set."""
    reply = Reply(429, headers={"Retry-After": "0.2"})
    async with serving(reply, DONE) as server, calling(server.url, AGAIN) as session:
        caused = asyncio.create_task(session.send(ask("PUT")))
        await until(lambda: session.limiter.paused_for)
        assert await session.send(ask("GET")) == await caused == b'"done"'
        assert (session.limiter.rate, session.limiter.paused_for) == (None, 0)
    assert server.requests[0].method == "PUT"
    assert len(server.requests) == 3


async def test_unknown_create_obeys_retry_after() -> None:
    """After a 503 nobody knows whether a create was done, and it holds up everybody all the same."""
    async with (
        serving(Reply(503, headers={"Retry-After": "9"})) as server,
        calling(server.url, AGAIN, clock=lambda: 0.0) as session,
    ):
        error = await failure(session, ask("POST"))
        assert isinstance(error, OutcomeUnknown)
        assert session.limiter.paused_for == 9
    assert len(server.requests) == 1


async def test_other_refusals_pause_nobody() -> None:
    """Retry-After means something on 429 and 5xx only."""
    async with (
        serving(Reply(404, headers={"Retry-After": "9"})) as server,
        calling(server.url, ONCE, clock=lambda: 0.0) as session,
    ):
        await failure(session, ask())
        assert session.limiter.paused_for == 0


async def test_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    """A wait beyond the deadline is not begun; the error says why, and how far the last attempt got."""
    settings = Settings(trust_env=False, deadline=50)
    async with (
        serving(Reply(429, headers={"Retry-After": "60"})) as server,
        calling(server.url, settings, clock=lambda: 0.0) as session,
    ):
        error = await failure(session, ask("POST"))
        assert isinstance(error, DeadlineExceeded)
        assert isinstance(error.__cause__, RateLimited)
        assert (error.delivery, error.attempts) == (Delivery.REFUSED, 1)
        assert error.request_id == server.requests[0].headers["x-request-id"]
        behind = await failure(session, ask("POST"))
        assert isinstance(behind, DeadlineExceeded)
        assert (behind.delivery, len(server.requests)) == (Delivery.NOT_SENT, 1)


async def test_rate_that_cannot_meet_the_deadline_is_refused_at_once() -> None:
    """A call that would wait for its turn beyond its deadline does not begin to wait."""
    settings = Settings(trust_env=False, rate=0.01, deadline=50)
    async with serving(DONE) as server, calling(server.url, settings, clock=lambda: 0.0) as session:
        await session.send(ask())
        error = await failure(session, ask())
    assert isinstance(error, DeadlineExceeded)
    assert (error.delivery, len(server.requests)) == (Delivery.NOT_SENT, 1)


async def test_deadline_holds_behind_a_limiter_of_your_own() -> None:
    """A limiter that does not say how long it takes is waited for until the deadline."""
    gate = Gate()
    settings = Settings(trust_env=False, deadline=0.05)
    async with calling(closed_port(), settings, limiter=gate) as session:
        error = await failure(session, ask())
    assert gate.reached.is_set()
    assert isinstance(error, DeadlineExceeded)
    assert (error.delivery, session.stats.requests) == (Delivery.NOT_SENT, 0)


async def test_deadline_carries_the_doubt_of_the_last_attempt() -> None:
    """A call that may have been done and cannot be sent again in time is not called unsent."""
    async with (
        serving(Cut("done")) as server,
        calling(server.url, Settings(trust_env=False, deadline=50), uniform=lambda _low, _high: 60.0) as session,
    ):
        error = await failure(session, ask("PUT"))
    assert isinstance(error, DeadlineExceeded)
    assert (error.delivery, error.attempts) == (Delivery.UNKNOWN, 1)


@pytest.mark.parametrize("method", NOT_CREATES)
async def test_retry_that_reaches_nobody_does_not_undo_the_doubt(method: str) -> None:
    """Done by the first attempt, then no connection: the call as a whole is not called unsent."""
    async with serving(Cut("done")) as server, resolving("here", "nowhere") as http:
        url = server.url.replace("127.0.0.1", "api.test")
        async with calling(url, AGAIN, http=http) as session:
            error = await failure(session, ask(method))
    assert isinstance(error, OutcomeUnknown)
    assert isinstance(error.__cause__, NotSent)
    assert (error.delivery, error.attempts, len(server.ledger)) == (Delivery.UNKNOWN, 4, 1)


async def test_retry_that_finds_nothing_does_not_undo_the_doubt() -> None:
    """A deletion whose retry finds nothing left may have been done by its first attempt."""
    async with serving(Cut("done"), Reply(404)) as server, calling(server.url, AGAIN) as session:
        error = await failure(session, ask("DELETE"))
    assert isinstance(error, NotFound)
    assert (error.delivery, error.attempts) == (Delivery.UNKNOWN, 2)


async def test_cut_answer_stays_done() -> None:
    """A replacement that was done, and whose retries were refused, was done."""
    async with serving(Cut("in the body"), Reply(401)) as server, calling(server.url, AGAIN) as session:
        error = await failure(session, ask("PUT"))
    assert isinstance(error, Refused)
    assert (error.status, error.delivery) == (401, Delivery.DONE_UNREADABLE)


def test_deadline_of_a_retry_keeps_the_doubt() -> None:
    """A retry that is not sent in time leaves what the first attempt may have done."""
    settings = Settings(trust_env=False, deadline=3, retries=1)

    async def main(loop: Loop) -> None:
        async with serving(Cut("done")) as server, calling(server.url, settings, clock=loop.time) as session:
            first = asyncio.create_task(failure(session, ask("PUT")))
            await until(lambda: server.ledger)
            session.limiter.pause_until(math.inf)
            error = await first
        assert isinstance(error, DeadlineExceeded)
        assert (error.delivery, error.attempts) == (Delivery.UNKNOWN, 2)

    run_in(Loop, main)


@pytest.mark.parametrize("step", [*LOST, Cut("in the body"), Reply(408), Reply(429)], ids=str)
@pytest.mark.parametrize("method", METHODS)
async def test_a_load_decides_itself_what_is_sent_again(method: str, step: Reply | Cut) -> None:
    """A call of a load is one attempt, whatever comes of it."""
    async with serving(step, DONE) as server, calling(server.url, AGAIN) as session:
        error = await failure(bulk_of(session), ask(method))
        assert (error.attempts, session.stats.requests, session.stats.retries) == (1, 1, 0)
    assert [asked.headers["x-request-id"] for asked in server.requests] == [error.request_id]


async def test_calls_of_a_load_wait_for_their_turn() -> None:
    """The deadline of a call of a load does not run while it waits for its turn."""
    now = [0.0]

    class Slow:
        async def acquire(self) -> None:
            now[0] += 1000

    async with (
        serving(DONE) as server,
        calling(server.url, AGAIN, limiter=Slow(), clock=lambda: now[0]) as session,
    ):
        assert await bulk_of(session).send(ask("POST")) == b'"done"'
        assert now == [1000]


def test_calls_of_a_load_wait_out_a_pause() -> None:
    """A pause longer than its deadline does not fail a call of a load; everybody waits for it."""
    reply = Reply(429, headers={"Retry-After": "60"})

    async def main(loop: Loop) -> None:
        async with (
            serving(reply, DONE) as server,
            calling(server.url, Settings(trust_env=False, deadline=50), clock=loop.time) as session,
        ):
            bulk = bulk_of(session)
            assert session.hold(await failure(bulk, ask("POST")), 1) == (60, True)
            assert session.limiter.paused_for == 60
            assert await bulk.send(ask("POST")) == b'"done"'

    run_in(Loop, main)


async def test_a_call_that_is_refused_alone_holds_up_nobody() -> None:
    """Where a 429 concerns one call only, that call waits as long as it asks, and no other."""
    async with (
        serving(Reply(429, headers={"Retry-After": "9"})) as server,
        calling(server.url, AGAIN, clock=lambda: 0.0) as session,
    ):
        alone = replace(bulk_of(session), alone=True)
        assert session.hold(await failure(alone, ask("POST")), 1, alone=True) == (9, False)
        assert session.limiter.paused_for == 0


def test_calls_of_a_load_have_a_deadline_once_sent() -> None:
    """A call of a load that is sent does not wait for its answer beyond the deadline."""
    settings = Settings(trust_env=False, deadline=3)

    async def main(loop: Loop) -> None:
        async with serving(Cut("done", "stall")) as server, calling(server.url, settings, clock=loop.time) as session:
            error = await failure(bulk_of(session), ask("POST"))
        assert isinstance(error, DeadlineExceeded)
        assert error.delivery is Delivery.UNKNOWN

    run_in(Loop, main)


async def test_a_cancelled_call_of_a_load_tells_whether_it_left() -> None:
    """A call that is cancelled before its turn has not left; of one that waits for its answer nothing is said."""
    gate = Gate()
    settings = Settings(trust_env=False, connections=1)
    async with serving(Cut("done", "stall")) as server, calling(server.url, settings, limiter=gate) as session:
        calls = [asyncio.create_task(bulk_of(session).send(ask("POST"))) for _ in range(2)]
        await gate.reached.wait()
        gate.opened.set()
        await until(lambda: server.ledger)
        told: list[object] = []
        for call in reversed(calls):
            call.cancel()
            try:
                await call
            except asyncio.CancelledError as error:
                told.append(vars(error).get("delivery"))
    assert told == [Delivery.NOT_SENT, None]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("looks", [1, 2], ids=["before its permit", "before it leaves"])
async def test_a_halted_load_writes_nothing(method: str, looks: int, way: Way) -> None:
    """A load that is halted, also while a connection is made, sends no write; what only reads is sent."""
    async with serving(DONE) as server, calling(server.url, attrs.evolve(AGAIN, http=way)) as session:
        answers = [False, True][-looks:]
        halted = BulkTransport(session, Timings(), lambda: answers.pop(0))
        error = await failure(halted, ask(method))
        assert (type(error), error.delivery, answers) == (GivenUp, Delivery.NOT_SENT, [])
        assert await halted.send(ask()) == b'"done"'
    assert [asked.method for asked in server.requests] == ["GET"]


async def test_no_deadline() -> None:
    """Without a deadline a call ends with its retries."""
    async with (
        serving(Reply(503)) as server,
        calling(server.url, Settings(trust_env=False, deadline=None, retries=1)) as session,
    ):
        for transport in (session, bulk_of(session)):
            assert isinstance(await failure(transport, ask()), ServerError)


async def test_full_pool_is_not_waited_for_again() -> None:
    """A pool timeout is not answered by queueing again."""
    gate = Gate()
    settings = Settings(trust_env=False, connections=1, pool_timeout=0.05)
    async with calling(closed_port(), settings, limiter=gate) as session:
        busy = asyncio.create_task(session.send(ask()))
        await gate.reached.wait()
        error: CdpError = await failure(session, ask())
        busy.cancel()
    assert isinstance(error, PoolTimeout)
    assert error.attempts == 1


async def test_connect_timeouts_are_retried_as_not_sent() -> None:
    """A create that never got a connection is tried as often as the settings say."""
    settings = Settings(trust_env=False, retries=2, connect_timeout=0.03)
    with deaf_port() as url:
        async with calling(url, settings) as session:
            error = await failure(session, ask("POST"))
    assert isinstance(error, NotSent)
    assert error.attempts == 3
