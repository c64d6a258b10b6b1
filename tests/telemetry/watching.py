"""An observer that keeps what it is told, and clients that it watches."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from cdp_orders_async import (
    AttemptEnded,
    CallEnded,
    CallStarted,
    Credentials,
    Event,
    Observer,
    Resources,
    ResourcesV2,
    Session,
    Settings,
)
from cdp_orders_async.emulator import Emulator, Faults, running
from tests.ingest.holding import Json
from tests.ingest.serving import KEY, TOKEN
from tests.ingest.versions import NEW, Version
from tests.virtual import VirtualLoop
from tests.ways import over

E = TypeVar("E")


class Kept:
    """Keeps the events that it is told of; *enough* says of which number on `reached` is set, by kind."""

    def __init__(self, enough: Mapping[type[Event], int] | None = None) -> None:
        self.events: list[Event] = []
        self.reached = asyncio.Event()
        self._enough = enough or {}

    def __call__(self, event: Event, /) -> None:
        """Keep *event*."""
        self.events.append(event)
        if any(len(self.of(kind)) >= number for kind, number in self._enough.items()):
            self.reached.set()

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of that *kind*."""
        return [event for event in self.events if isinstance(event, kind)]

    def attempts(self) -> list[tuple[int, int | None, str | None, str, bool | None]]:
        """Return what the attempts came to: number, status, error, delivery, and whether another one follows."""
        return [(one.number, one.status, one.error, one.delivery, one.again) for one in self.of(AttemptEnded)]

    def ends(self) -> list[tuple[int, int | None, str | None, str]]:
        """Return what the calls came to: attempts, status, error and delivery."""
        return [(one.attempts, one.status, one.error, one.delivery) for one in self.of(CallEnded)]

    def check(self) -> None:
        """See that each call began once and ended once, after all its attempts, which are numbered."""
        begun = [one.call.id for one in self.of(CallStarted)]
        assert len(set(begun)) == len(begun)
        assert Counter(begun) == Counter(one.call.id for one in self.of(CallEnded))
        told: dict[str, list[Event]] = {}
        for event in self.events:
            if isinstance(event, CallStarted | AttemptEnded | CallEnded):
                told.setdefault(event.call.id, []).append(event)
        for first, *attempts, last in told.values():
            assert isinstance(first, CallStarted)
            assert isinstance(last, CallEnded)
            numbers = [one.number for one in attempts if isinstance(one, AttemptEnded)]
            assert numbers == list(range(1, last.attempts + 1))
            assert all(one.again is not False for one in attempts[:-1] if isinstance(one, AttemptEnded))


def script(*entries: tuple[str, Sequence[Json | str]]) -> Faults:
    """Return faults by operation."""
    return Faults.of({"faults": [{"operation": name, "script": list(steps)} for name, steps in entries]})


def status(code: int, retry_after: int | None = None) -> Json:
    """Return the fault that answers *code*."""
    asked = {} if retry_after is None else {"retry_after": retry_after}
    return {"action": "status", "phase": "before", "status": code, **asked}


@asynccontextmanager
async def watched(
    emulator: Emulator, loop: VirtualLoop, kept: Observer, version: Version = NEW, **settings: object
) -> AsyncGenerator[Resources | ResourcesV2, None]:
    """Give the resources of *emulator* over real sockets in virtual time, watched by *kept*."""
    # Without a context of its own, a session makes one in a thread, for which no virtual loop waits.
    values: Json = {"trust_env": False, "deadline": None, "ssl_context": ssl.create_default_context(), **settings}
    async with running(emulator) as url:
        session = Session(
            url, Credentials(KEY, TOKEN), over(Settings(**values)), observers=[kept], clock=loop.time, uniform=max
        )
        try:
            yield version.resources(session, url)
        finally:
            await session.aclose()
