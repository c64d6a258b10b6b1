"""What a command does at a signal that asks it to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from types import FrameType
from typing import Any, TypeAlias

import anyio

__all__ = ["on_stop"]

Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None

STOPS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@contextlib.asynccontextmanager
async def on_stop(do: Callable[[int], None]) -> AsyncGenerator[None, None]:
    """Call *do* with the number of each signal that asks the process to stop, while the block lasts.

    After it, the handlers of before are back. A SIGHUP that is ignored, as under ``nohup``, stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone has signals
        yield
        return
    numbers = [number for name in STOPS if (number := _wanted(name)) is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    with contextlib.ExitStack() as stack:
        stack.callback(_restore, before)
        try:
            received = stack.enter_context(anyio.open_signal_receiver(*numbers))
        except NotImplementedError:  # the event loop has no handlers, as on Windows
            _handle(numbers, do)
        else:
            task = asyncio.get_running_loop().create_task(_pass_on(received, do))
            stack.callback(task.cancel)
        yield


def _wanted(name: str) -> signal.Signals | None:
    number: signal.Signals | None = getattr(signal.Signals, name, None)
    ignored = name == "SIGHUP" and number is not None and signal.getsignal(number) is signal.SIG_IGN
    return None if ignored else number


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
