"""Who observes, and what becomes of an observer that fails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cdp_orders_async import CallStarted, Event
from cdp_orders_async.telemetry import AttemptEnded, AttemptStarted, CallEnded, Observer
from tests.security.canaries import leaks, logged
from tests.security.sinks import by_rich, by_sentry, by_traceback
from tests.servers import Reply, serving
from tests.session.calling import ONCE, ask, calling, failure
from tests.telemetry.watching import Kept

TROUBLES: dict[type[Event], None] = {}


class Failing:
    """An observer that fails, with *error*."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def __call__(self, event: Event) -> None:
        """Fail, twice."""
        try:
            TROUBLES[type(event)]
        except LookupError:
            raise self._error("the second trouble")  # noqa: B904 the context is looked at


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
async def test_a_failing_observer_harms_nothing(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged, once each time, and the call and the other observers go on."""
    kept = Kept()
    async with (
        serving(Reply(body=b'"done"')) as server,
        calling(server.url, ONCE, observers=[Failing(kind), kept]) as session,
    ):
        assert await session.send(ask("POST")) == b'"done"'
    assert [type(event) for event in kept.events] == [CallStarted, AttemptStarted, AttemptEnded, CallEnded]
    assert [record.getMessage() for record in caplog.records] == [
        f"an observer failed: Failing, told of {name}"
        for name in ("CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded")
    ]
    for record in caplog.records:
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert isinstance(record.exc_info[1], kind)
        assert "KeyError" in logging.Formatter().format(record)


async def test_its_error_shows_nothing_of_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """What it raises while a call fails does not lead to the frames of the call, which hold what was sent."""
    request = ask("POST", query={"guestRef": "canary-guest"}, body=b'{"email": "canary-mail"}')
    async with (
        serving(Reply(400, b'{"message": "canary-answer"}')) as server,
        calling(server.url, ONCE, observers=[Failing(ValueError)]) as session,
    ):
        await failure(session, request)
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert len(errors) == 4
    for error in errors:
        assert error is not None
        assert leaks(by_traceback(error), by_rich(error), by_sentry(error)) == []
        assert error.__context__ is not None
        assert error.__context__.__context__ is None
    assert leaks(logged(caplog.records)) == []


async def test_what_ends_the_process_is_no_failure() -> None:
    """An observer can end the process, as anything else can."""
    async with (
        serving() as server,
        calling(server.url, ONCE, observers=[Failing(SystemExit)]) as session,
    ):
        with pytest.raises(SystemExit):
            await session.send(ask())
        assert session.stats.in_flight == 0


async def waiting(event: Event) -> None:
    """Observe what would have to be awaited."""


class Waiting:
    """The same as an object."""

    async def __call__(self, event: Event) -> None:
        """Observe what would have to be awaited."""


@pytest.mark.parametrize(
    ("observer", "words"), [(waiting, "not async"), (Waiting(), "not async"), ("events", "not str"), (None, "NoneType")]
)
async def test_what_cannot_observe_is_refused(observer: Observer, words: str) -> None:
    """What cannot be called, or would have to be awaited, is refused where it is given."""
    with pytest.raises(TypeError, match=words):
        async with calling("http://127.0.0.1", ONCE, observers=[observer]):
            pass
