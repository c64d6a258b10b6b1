"""Delayed work, in the time of the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting:
    """The steps that are due later; its length is the number of steps."""

    def __init__(self) -> None:
        self._due: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._due)

    async def after(self, seconds: float, step: Callable[[], T], *, surely: bool = False) -> T:
        """Do *step* after *seconds*, and return its result; with 0 seconds at once, in the same step of the loop.

        surely: the step is done even if this call is cancelled; otherwise it is dropped then.
        """
        if not seconds:
            return step()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def do() -> None:
            del self._due[do]
            try:
                result = step()
            except Exception as error:  # noqa: BLE001 the caller gets it, or the log if there is no caller
                if done.cancelled():
                    loop.call_exception_handler({"message": "A late step of the emulator failed", "exception": error})
                else:
                    done.set_exception(error)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self._due[do] = loop.call_later(seconds, do)
        try:
            return await done
        except asyncio.CancelledError:
            if not surely and do in self._due:
                self._due.pop(do).cancel()
            raise

    def later(self, seconds: float, step: Callable[[], object]) -> None:
        """Do *step* after *seconds*; nothing waits for it."""

        def do() -> None:
            del self._due[do]
            step()

        self._due[do] = asyncio.get_running_loop().call_later(seconds, do)

    def finish(self) -> None:
        """Do all steps now, in the order of their times."""
        for do, timer in sorted(self._due.items(), key=lambda due: due[1].when()):
            timer.cancel()
            do()
