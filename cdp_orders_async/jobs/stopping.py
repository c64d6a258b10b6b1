"""What a job does at a signal that asks the process to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, TypeAlias

import anyio

from cdp_orders_async.jobs.events import Message, OnEvent
from cdp_orders_async.jobs.loading import Loading

__all__ = ["Stopper", "on_free_signals", "on_signals", "on_stop"]

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
SAME_SIGNAL = 1.0  # seconds in which a second signal is the first one again: `timeout` sends it twice


@contextlib.asynccontextmanager
async def on_stop(do: Callable[[int], None]) -> AsyncGenerator[None, None]:
    """Call *do* with the number of each signal that asks the process to stop, while the block lasts.

    After it, the handlers of before are back. A SIGHUP that is ignored, as under ``nohup``, stays so.
    """
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    ignored = hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN
    async with on_signals([name for name in STOPS if not (ignored and name == "SIGHUP")], do):
        yield


@contextlib.asynccontextmanager
async def on_free_signals(names: Iterable[str], do: Callable[[int], None]) -> AsyncGenerator[None, None]:
    """Do as `on_signals`, but only for signals that the program around has no use for: they would end the process."""
    numbers = {name: getattr(signal, name, None) for name in names}
    free = [name for name, number in numbers.items() if number and signal.getsignal(number) is signal.SIG_DFL]
    async with on_signals(free, do):
        yield


@contextlib.asynccontextmanager
async def on_signals(names: Iterable[str], do: Callable[[int], None]) -> AsyncGenerator[None, None]:
    """Call *do* with the number of each of the signals *names* while the block lasts; then the old handlers are back.

    A signal that the system does not have is left out; outside of the main thread all are.
    """
    found: list[signal.Signals | None] = [getattr(signal, name, None) for name in names]
    numbers = [number for number in found if number is not None]
    if not numbers or threading.current_thread() is not threading.main_thread():  # which alone has signals
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(_restore, before)
        try:
            received = stack.enter_context(anyio.open_signal_receiver(*numbers))
        except NotImplementedError:  # the event loop has no handlers, as on Windows
            _handle(numbers, do)
        else:
            stack.push_async_callback(_end, asyncio.get_running_loop().create_task(_pass_on(received, do)))
        yield


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel *task*, and wait for its end also where the caller is cancelled."""
    task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.wait({task})


async def _pass_on(received: AsyncIterator[signal.Signals], do: Callable[[int], None]) -> None:
    async for number in received:
        do(number)


def _handle(numbers: Sequence[signal.Signals], do: Callable[[int], None]) -> None:
    """Handle signals where the event loop does not: between two instructions, which is no place to *do* anything."""
    loop = asyncio.get_running_loop()

    def handler(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(do, number)

    for number in numbers:
        signal.signal(number, handler)


def _restore(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        if handler is not None:  # else it is not Python's
            signal.signal(number, handler)


class Stopper:
    """Stops a load at a signal: the first lets it finish what is in flight, a later one does not."""

    def __init__(self, drain: float, on_event: OnEvent, clock: Callable[[], float]) -> None:
        self.number: int | None = None
        """The number of the first signal."""
        self._drain = drain
        self._on_event = on_event
        self._clock = clock
        self._since = 0.0
        self._load: Loading | None = None

    def watch(self, load: Loading) -> None:
        """Stop *load* at the next signal, or now if there was one."""
        self._load = load
        if self.number is not None:
            load.stop(self._drain)

    def __call__(self, number: int) -> None:
        """Stop, and only then say so, since nobody may hear it."""
        now, load = self._clock(), self._load
        if self.number is None:
            self.number, self._since = number, now
            if load is not None:
                load.stop(self._drain)
            what = f"Stopping: what is in flight has {self._drain:g} s to finish. Once more stops at once."
            self._on_event(Message(what))
        elif now - self._since >= SAME_SIGNAL and load is not None:
            load.stop()
