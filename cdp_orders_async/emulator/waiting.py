"""What is to be done later, in the time of the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Waiting"]

T = TypeVar("T")


class Waiting:
    """Steps that are due at some time of the loop; its length is how many there are."""

    def __init__(self) -> None:
        self._due: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._due)

    async def after(self, seconds: float, step: Callable[[], T], *, surely: bool = False) -> T:
        """Do *step* after *seconds*, and return its result; without seconds at once, with no turn of the loop between.

        surely: the step is done even if whoever waits here is cancelled; otherwise it is forgotten then.
        """
        if not seconds:
            return step()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def do() -> None:
            del self._due[do]
            try:
                result = step()
            except Exception as error:  # noqa: BLE001 whoever waits is told, and the log where nobody does
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
        """Do *step* after *seconds*, though nobody waits for it."""

        def do() -> None:
            del self._due[do]
            step()

        self._due[do] = asyncio.get_running_loop().call_later(seconds, do)

    def finish(self) -> None:
        """Do now all that is due later, in the order of its times."""
        for do, timer in sorted(self._due.items(), key=lambda due: due[1].when()):
            timer.cancel()
            do()
