"""The emulator in a thread with its own event loop, for tests without a loop or with another one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

from cdp_orders_async.emulator.app import running
from cdp_orders_async.emulator.faults import Faults
from cdp_orders_async.emulator.service import Emulator
from cdp_orders_async.emulator.switches import Switches

__all__ = ["Served", "in_thread"]

T = TypeVar("T")

TURNS = 4
"""Steps of the loop until a connection that came right before the end is made, so that it ends with the others."""


class Served:
    """An emulator that `in_thread` serves.

    It can be used from any thread, with or without a loop: each call runs between two requests. It also works after the
    end of the server. A process that was forked from the serving process cannot use it.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.base_url = ""
        """The URL of the server; its credentials are those of the emulator, ``key`` and ``token`` by default."""
        self._emulator = emulator
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Served {self.base_url}>"

    @property
    def switches(self) -> Switches:
        """The switches; set new ones, which are used from the next request on."""
        return self._do(lambda: self._emulator.store.switches)

    @switches.setter
    def switches(self, switches: Switches) -> None:
        self._do(lambda: setattr(self._emulator.store, "switches", switches))

    @property
    def faults(self) -> Faults:
        """The plan of faults; set a new one, which begins with the next request."""
        return self._do(lambda: self._emulator.faults)

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._do(lambda: setattr(self._emulator, "faults", faults))

    def state(self) -> dict[str, object]:
        """Return all orders with their nested parts, as ``GET /__state`` does."""
        return self._do(lambda: self._emulator.state(self.base_url))

    def ledger(self, since: int = 0) -> dict[str, object]:
        """Return the effects after number *since*, and the counts of everything so far, as ``GET /__ledger`` does."""
        return self._do(lambda: self._emulator.ledger(since))

    def reset(self) -> None:
        """Delete everything, and begin the faults and the refs again; the switches stay."""
        self._do(self._emulator.reset)

    def start(self, port: int) -> None:
        """Serve in a new thread; raise its error if it cannot start, for instance if the *port* is in use."""
        began: Future[None] = Future()
        # A daemon: a test that never ends its server must not keep the process alive.
        self._thread = threading.Thread(target=self._run, args=(port, began), name="cdp emulator", daemon=True)
        self._thread.start()
        try:
            began.result()
        except BaseException:
            self.end()
            raise

    def _run(self, port: int, began: Future[None]) -> None:
        async def serve() -> None:
            async with running(self._emulator, port=port) as self.base_url:
                self._loop = asyncio.get_running_loop()
                began.set_result(None)
                await self._stop.wait()
                for _ in range(TURNS):
                    await asyncio.sleep(0)

        try:
            with asyncio.Runner() as runner:
                runner.run(serve())
        except BaseException as error:
            if began.done():
                raise  # threading shows it
            began.set_exception(error)

    def end(self) -> None:
        """Stop the server, and wait for the end of its thread."""
        if self._thread is None or os.getpid() != self._process:  # a fork has no such thread
            return
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop = self._thread = None

    def _do(self, step: Callable[[], T]) -> T:
        """Do *step* between two requests, and return its result."""
        if os.getpid() != self._process:
            raise RuntimeError("this emulator is served by the parent process: serve another one here")
        if self._loop is None:
            return step()
        done: Future[T] = Future()

        def do() -> None:
            try:
                done.set_result(step())
            except Exception as error:  # noqa: BLE001 the caller gets it
                done.set_exception(error)

        self._loop.call_soon_threadsafe(do)
        return done.result()


@contextmanager
def in_thread(emulator: Emulator | None = None, *, port: int = 0) -> Generator[Served, None, None]:
    """Serve *emulator* (a new one by default) on 127.0.0.1 from a thread while the context lasts.

    It has its own event loop, so synchronous tests can use it, and tests that each have another loop. *port*: 0 takes a
    free port. Raises OSError if the port is in use. When the context ends, the sockets, the loop and the thread have
    ended; the emulator does not change, and its owner closes it.

        with emulator.in_thread() as served:
            served.switches = Switches(list_lag=2)
            asyncio.run(load(served.base_url))
            assert served.ledger()["requests"] == {"orders.create": 1}
    """
    served = Served(Emulator() if emulator is None else emulator)
    served.start(port)
    try:
        yield served
    finally:
        served.end()
