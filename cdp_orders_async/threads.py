"""Work in a thread of its own: the threads of the event loop may all be busy, even with waiting for this work."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_thread"]

T = TypeVar("T")


async def in_thread(do: Callable[[], T]) -> T:
    """Return the result of *do*, called in a thread that does not hold up the end of the process while it waits."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[T] = loop.create_future()

    def deliver(call: Callable[[], None]) -> None:
        if not came.cancelled():
            call()

    def work() -> None:
        try:
            result = do()
        except Exception as error:  # noqa: BLE001 it is raised where the result is awaited
            call = functools.partial(came.set_exception, error)
        else:
            call = functools.partial(came.set_result, result)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            loop.call_soon_threadsafe(deliver, call)

    threading.Thread(target=work, daemon=True).start()
    return await came
