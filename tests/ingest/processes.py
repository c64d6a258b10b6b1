"""Processes that load orders, without sockets: their way to the server, their journal, and how they die."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import orjson

from cdp_orders_async import CdpError, NotSent, OutcomeUnknown, Request
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.wire import parse_response
from tests.ingest.network import asked
from tests.journal.shared import SharedDatabase, SharedJournal

T = TypeVar("T")

TIMEOUT = 1.0
"""Seconds after which a client gives an answer up."""
PAGE = b"<html><body>gateway</body></html>"
REFUSAL = b'{"status": 0, "code": 0, "message": "no"}'


class Wire:
    """The way from one process to the server: what becomes of each request is the next of *fates*."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.fates: Iterator[str] = iter(())
        self.delays: Iterator[float] = itertools.repeat(0.05)
        self.changing = 0
        """How many requests came that may change something."""
        self.in_flight = 0
        self.looks: set[Callable[[], None]] = set()
        """Called at each request and each answer."""
        self.awake = asyncio.Event()
        """Not set while its process sleeps."""
        self.awake.set()
        self._on_the_way: dict[object, Request[Any]] = {}

    async def send(self, request: Request[T], /) -> T:
        """Do with *request* what its fate is; whoever sleeps gets the answer when he wakes up."""
        self.in_flight += 1
        self.changing += request.method != "GET"
        self._look()
        try:
            result = await self._send(request)
        except CdpError:
            await self.awake.wait()
            raise
        else:
            await self.awake.wait()
            return result
        finally:
            self.in_flight -= 1
            self._look()

    def _look(self) -> None:
        for look in self.looks:
            look()

    async def _send(self, request: Request[T]) -> T:
        fate, mark = next(self.fates, "ok"), object()
        self._on_the_way[mark] = request
        try:
            await asyncio.sleep(next(self.delays))
        finally:
            arrived = self._on_the_way.pop(mark, None) is None
        if arrived:  # without its process, at this very moment
            await asyncio.get_running_loop().create_future()
        if fate == "not sent":
            raise NotSent("the wire is cut")
        if fate == "lost, not done":
            raise OutcomeUnknown("the answer is lost")
        if fate.isdigit():
            return parse_response(request, int(fate), REFUSAL)
        if fate.startswith("html"):
            return parse_response(request, int(fate.removeprefix("html ")), PAGE)
        try:
            async with asyncio.timeout(0.01 if fate == "gone" else TIMEOUT):
                reply = await self._ask(request)
        except TimeoutError:
            raise OutcomeUnknown("no answer came in time") from None
        if fate in {"lost", "gone"}:
            raise OutcomeUnknown("the answer is lost")
        return parse_response(request, reply.status, PAGE if fate == "unreadable" else orjson.dumps(reply.body))

    def _ask(self, request: Request[Any]) -> Coroutine[Any, Any, Any]:
        endpoint, segments = self.emulator.find(request.method, request.path)
        return self.emulator.answer_slowly(endpoint, segments, asked(request))

    async def deliver(self) -> None:
        """Let what is on the way arrive, though nobody waits for an answer any more."""
        while self._on_the_way:
            _, request = self._on_the_way.popitem()
            with suppress(TimeoutError):  # a slow write takes effect later
                async with asyncio.timeout(0):
                    await self._ask(request)


class DrowsyJournal(SharedJournal):
    """A journal that answers nothing while its process sleeps."""

    def __init__(self, database: SharedDatabase, awake: asyncio.Event) -> None:
        super().__init__(database)
        self._awake = awake

    async def _write(self) -> None:
        await self._awake.wait()
        await super()._write()


class Process:
    """A process: its way to the server, its journal, and the tasks that run in it."""

    def __init__(self, emulator: Emulator, database: SharedDatabase | None) -> None:
        self.known: dict[str, float] = {}
        """Whatever it was told to be there, by reference, and the time of the loop when it was."""
        self.wire = Wire(emulator)
        self.journal = None if database is None else DrowsyJournal(database, self.wire.awake)
        self.tasks: set[asyncio.Future[Any]] = set()
        self.alive = True

    async def crash(self, *, done: bool, kept: int) -> None:
        """Die as a process does that is killed: see `Crash`."""
        self.alive = False
        if self.journal is not None:
            self.journal.kill(kept)
        if done:
            await self.wire.deliver()
        while tasks := {task for task in self.tasks if not task.done()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """End as a process does that has nothing left to do."""
        self.alive = False
        if self.journal is not None:
            await self.journal.aclose()
