"""Many calls over one session, each of which ends in a way that a seed chose."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import attrs

from cdp_orders_async.errors import CdpError, Delivery
from cdp_orders_async.session import BulkTransport, Session, Timings
from tests.session.calling import METHODS, ask
from tests.session.endings import (
    FATES,
    NOTHING,
    PATIENCE,
    SEVERAL,
    Connected,
    Fate,
    Loop,
    Server,
    Trust,
    connected,
    left,
    meeting,
    opened,
    turns,
)

CALLS = 20
"""Calls that are under way at the same time."""
LATE = 30
"""Turns of the loop in which they begin."""
TIMERS = 3
"""Timers of a session without calls: for what took too long, and for connections that rest too long."""


class Slow:
    """A limiter of one's own that takes its time."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice

    async def acquire(self) -> None:
        """Wait for a turn."""
        await asyncio.sleep(self._dice.choice((0, 0, 0.1, 5)))


@attrs.define(eq=False)
class Batch:
    """Calls over one session, in *waves* of some at the same time; it is closed after the last, or under some more.

    Some are cancelled, some wait too long or are refused or lost, and now and then the loop stands still.
    """

    seed: int
    trust: Trust
    waves: int = 1
    ends: Counter[str] = attrs.field(factory=Counter[str])
    """How many ended in each way."""
    fates: Counter[Fate] = attrs.field(factory=Counter[Fate])
    """What the server did."""
    most: int = 0
    """Sockets at the same time."""
    left: dict[str, int] = attrs.field(factory=dict[str, int])
    """What was there when the session was closed."""
    wrong: list[str] = attrs.field(factory=list[str])
    """What was not as it must be."""
    _loop: Loop = attrs.field(init=False)
    _dice: random.Random = attrs.field(init=False)
    _server: Server = attrs.field(init=False)
    _session: Session = attrs.field(init=False)
    _begun: set[asyncio.Task[Any] | None] = attrs.field(factory=set[asyncio.Task[Any] | None], init=False)
    _cancelled: set[asyncio.Task[Any]] = attrs.field(factory=set[asyncio.Task[Any]], init=False)

    async def run(self, loop: Loop) -> None:
        """Make the calls."""
        self._loop, self._dice = loop, random.Random(self.seed)  # noqa: S311 no secret
        choose = self._dice.choice
        loop.slowness = choose((0.0, 0.3))
        fates = (*FATES, *FATES[:1] * choose((0, 10, 50)))  # the first is the answer
        settings = {
            "rate": choose((None, None, 2.0)),
            "deadline": choose((None, 20.0, 120.0)),
            "pool_timeout": choose((None, 5.0)),
            "read_timeout": choose((None, 7.0)),
            "keepalive": choose((0.05, 15.0)),
        }
        limiter = choose((None, None, Slow(self._dice)))
        with connected() as counted:
            async with meeting(lambda: choose(fates), self.trust.server) as self._server:
                self._session = opened(loop, self._server, self.trust, limiter, **settings)
                for _ in range(self.waves):
                    await self._until_end(self._begin())
                under_way = self._begin() if self._dice.randrange(2) else []
                await self._until_close(under_way)
                await self._close(under_way, counted)
                self.fates, self.most = self._server.fates, counted.most
        if self.left != NOTHING:
            self.wrong.append(f"after it was closed there were {self.left}")
        if self.most > SEVERAL:
            self.wrong.append(f"{self.most} sockets for {SEVERAL} connections")

    def _begin(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._call()) for _ in range(CALLS)]

    async def _until_end(self, calls: list[asyncio.Task[None]]) -> None:
        while running := [call for call in calls if not call.done()]:
            await self._go_on(running)
        self._judge(calls)
        if len(self._loop.timers()) > TIMERS:
            self.wrong.append(f"{len(self._loop.timers())} timers without a call")

    async def _until_close(self, calls: list[asyncio.Task[None]]) -> None:
        while (running := [call for call in calls if not call.done()]) and self._dice.randrange(12):
            await self._go_on(running)

    async def _go_on(self, running: list[asyncio.Task[None]]) -> None:
        """Let something happen to the calls that are *running*."""
        match self._dice.choice("cccsppttttt"):
            case "c":
                call = self._dice.choice(running)
                self._cancelled.add(call)
                call.cancel()
            case "s":
                self._loop.selector.now += 100
            case "p":
                await asyncio.sleep(self._dice.choice((0.05, 2, 40)))
            case _:
                await turns(self._dice.randrange(15))

    async def _close(self, calls: list[asyncio.Task[None]], counted: Connected) -> None:
        began = self._loop.time()
        await self._session.aclose()
        sockets = counted.now
        if self._loop.time() > began:
            self.wrong.append(f"closing took {self._loop.time() - began} s")
        await turns(PATIENCE)
        if going_on := [call for call in calls if call in self._begun and not call.done()]:
            self.wrong.append(f"{len(going_on)} calls go on after the close: {going_on[0].get_stack()[-1]}")
        await asyncio.gather(*calls, return_exceptions=True)
        self._judge(calls)
        self.left = {**left(self._loop, counted), "sockets": sockets}

    def _judge(self, calls: list[asyncio.Task[None]]) -> None:
        for call in calls:
            if call.cancelled():
                self.ends["cancelled"] += 1
                if call not in self._cancelled:
                    self.wrong.append("a call was cancelled by nobody")
            elif error := call.exception():
                self.wrong.append(f"a call ended with {error!r}")

    async def _call(self) -> None:
        request = ask(self._dice.choice(METHODS))
        await turns(self._dice.randrange(LATE))
        self._begun.add(asyncio.current_task())
        sender = self._session if self._dice.randrange(3) else BulkTransport(self._session, Timings())
        try:
            await sender.send(request)
        except CdpError as error:
            closed = ", closed" if "the client is closed" in str(error) else ""
            self.ends[f"{type(error).__name__}, {error.delivery}{closed}"] += 1
            if error.delivery is Delivery.NOT_SENT and error.request_id in self._server.requests:
                self.wrong.append(f"a request arrived, and {error!r}")
        except RuntimeError as error:
            if str(error) != "the client is closed":
                raise
            self.ends["begun after the close"] += 1
        else:
            self.ends["answered"] += 1
