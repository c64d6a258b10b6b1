"""How answers are read: bounded, decompressed, and never followed elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import TraceConfig
from msgspec.structs import astuple

from cdp_orders_async.errors import BadRequest, Delivery, OutcomeUnknown, Refused, ServerError, Unreadable
from cdp_orders_async.session import Timings
from cdp_orders_async.settings import Settings
from tests.servers import Cut, Reply, serving
from tests.session.calling import ask, calling, failure

pytestmark = pytest.mark.usefixtures("way")

SMALL = Settings(retries=0, trust_env=False, max_answer=1000)


def chunked(body: bytes, status: int = 200, encoding: str = "") -> Reply:
    """Return an answer without a length, in two chunks."""
    parts = (body[: len(body) // 2], body[len(body) // 2 :])
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"
    headers = {"Content-Length": "", "Transfer-Encoding": "chunked", "Content-Encoding": encoding}
    return Reply(status, framed, headers)


def zipped(body: bytes, status: int = 200) -> Reply:
    """Return a compressed answer."""
    return Reply(status, gzip.compress(body), {"Content-Encoding": "gzip"})


@pytest.fixture(params=[(), (TraceConfig(),)], ids=["", "traced"])
def traces(request: pytest.FixtureRequest) -> Sequence[TraceConfig]:
    """Return what traces the calls: nothing, or something, for which an answer is read in another way."""
    found: Sequence[TraceConfig] = request.param
    return found


@pytest.mark.parametrize("reply", [Reply(body=b"x" * 1000), chunked(b"x" * 1000), zipped(b"x" * 1000)])
async def test_largest_answer_is_read(reply: Reply, traces: Sequence[TraceConfig]) -> None:
    """An answer as large as the settings allow is read, whatever its form, and its connection kept."""
    async with serving(reply) as server, calling(server.url, SMALL, trace_configs=traces) as session:
        for _ in range(2):
            assert await session.send(ask()) == b"x" * 1000
        assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"x" * 1001),
        chunked(b"x" * 1001),
        zipped(b"x" * 1001),
        zipped(b"x" * 50_000_000),
        chunked(gzip.compress(b"x" * 1001), encoding="gzip"),
        Reply(body=zlib.compress(b"x" * 1001), headers={"Content-Encoding": "deflate"}),
    ],
    ids=["length", "chunked", "gzip", "bomb", "chunked gzip", "deflate"],
)
async def test_larger_answer_is_unreadable(reply: Reply, traces: Sequence[TraceConfig]) -> None:
    """A larger one is not read to its end: it was done, and that is not doubted; the session goes on."""
    async with serving(reply, Reply()) as server, calling(server.url, SMALL, trace_configs=traces) as session:
        error = await failure(session, ask("POST"))
        assert isinstance(error, Unreadable)
        assert (error.delivery, error.cut, error.start) == (Delivery.DONE_UNREADABLE, False, b"x" * 100)
        assert error.problems == ("it is larger than 1,000 bytes",)
        assert await session.send(ask()) == b"{}"


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequest), (503, ServerError), (302, Refused)])
async def test_large_refusal_is_a_refusal(status: int, kind: type[Refused]) -> None:
    """The size of its page does not make an error a success; a server error leaves open whether a create was done."""
    async with serving(chunked(b"<html>" * 1000, status)) as server, calling(server.url, SMALL) as session:
        error = await failure(session, ask("POST"))
    refusal = error.__cause__ if isinstance(error, OutcomeUnknown) else error
    assert isinstance(error, OutcomeUnknown) == (kind is ServerError)
    assert isinstance(refusal, Refused)
    assert type(refusal) is kind
    assert refusal.status == status


async def test_broken_compression_is_a_cut_answer() -> None:
    """A body that cannot be decompressed was lost on the way."""
    reply = Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"})
    async with serving(reply) as server, calling(server.url, SMALL) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, Unreadable)
    assert error.cut


async def test_cut_chunks_are_noticed() -> None:
    """An answer in chunks that lacks its end is not taken for whole."""
    async with serving(Cut("in the body", reply=chunked(b'{"a": 1}'))) as server, calling(server.url, SMALL) as session:
        error = await failure(session, ask("POST"))
    assert isinstance(error, Unreadable)
    assert error.cut


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirection is a refusal: the credentials go to nobody else."""
    async with serving() as other, serving(Reply(status, headers={"Location": other.url})) as server:
        async with calling(server.url, SMALL) as session:
            error = await failure(session, ask())
        assert other.connections == 0
    assert isinstance(error, Refused)
    assert error.status == status


async def test_cookies_are_not_kept() -> None:
    """A cookie that an answer sets comes back with no request."""
    async with serving(Reply(headers={"Set-Cookie": "a=b; Path=/"})) as server, calling(server.url, SMALL) as session:
        await session.send(ask())
        await session.send(ask())
    assert "cookie" not in server.requests[1].headers


async def test_time_is_accounted_for() -> None:
    """What a call spends is counted by what it was spent on, on the clock that was given."""
    now = itertools.count()
    one = Settings(retries=0, trust_env=False, deadline=None, connections=1)
    async with serving(Reply(body=b"{}")) as server, calling(server.url, one, clock=lambda: next(now)) as session:
        assert await session.send(ask("POST")) == b"{}"
        spent = session.stats.times
        assert min(spent.connect, spent.server, spent.body, spent.decode) >= 1
        assert spent.connection == spent.rate == spent.lane == spent.backoff == 0
        session.limiter.pause_until(next(now) + 6)
        async with asyncio.TaskGroup() as group:
            group.create_task(session.send(ask("POST")))
            group.create_task(session.send(ask("POST")))
        assert min(spent.connection, spent.rate) >= 1
        assert spent.total == sum(astuple(spent))
        twice = Timings()
        twice.add(spent)
        twice.add(spent)
        assert twice.total == 2 * spent.total


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
async def test_the_skew_of_the_clock_is_that_of_the_last_date(ahead: int) -> None:
    """The ``Date`` of an answer tells it; an answer without one, or with another text, tells nothing new."""
    now = datetime.now(UTC)
    dates = [
        None,
        "yesterday",
        "Mon, 99 Jan 2024 00:00:00 GMT",
        format_datetime(now + timedelta(seconds=ahead), usegmt=True),
    ]
    replies = [Reply(headers={} if date is None else {"Date": date}) for date in dates]
    async with serving(*replies, Reply()) as server, calling(server.url, SMALL) as session:
        for _ in dates[1:]:
            await session.send(ask())
            assert session.clock_skew == 0
        for _ in range(2):
            await session.send(ask())
            assert abs(session.clock_skew - ahead) < 60
