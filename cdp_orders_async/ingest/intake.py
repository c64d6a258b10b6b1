"""The input of a load: one order after the other, to whoever asks for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import TypeAlias

from cdp_orders_async.graph import Line, OrderGraph

__all__ = ["Intake", "Source"]

Source: TypeAlias = Iterable[OrderGraph | Line] | AsyncIterable[OrderGraph | Line]


class Intake:
    """Draws from *source* only when somebody asks, and never twice at once."""

    def __init__(self, source: Source) -> None:
        self.stopped = False
        """Whether it gives no more."""
        self.error: Exception | None = None
        """What broke the source off."""
        self._lines = _iterator(source)
        self._position = 0
        self._drawing = asyncio.Lock()
        self._drawer: asyncio.Task[object] | None = None

    async def draw(self) -> tuple[int, OrderGraph | Line] | None:
        """Return the next order with its position, from 1; None if there is no more."""
        async with self._drawing:
            line = None if self.stopped else await self._next()
            if line is None or self.stopped:
                self.stopped = True
                return None
            self._position += 1
            return self._position, line

    def stop(self) -> None:
        """Give no more, also to whoever waits for a source that has nothing to give yet."""
        self.stopped = True
        if self._drawer is not None:
            self._drawer.cancel()

    async def aclose(self) -> None:
        """Close the source."""
        if isinstance(self._lines, AsyncGenerator):
            await self._lines.aclose()  # pyright: ignore[reportUnknownMemberType] nothing is sent to it

    async def _next(self) -> OrderGraph | Line | None:
        self._drawer = drawer = asyncio.current_task()
        try:
            line = await anext(self._lines, None)
            if self.stopped:  # by the source itself: who is cancelled while running is so when it next waits
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not self.stopped or drawer is None:
                raise
            drawer.uncancel()
            return None
        except Exception as error:  # noqa: BLE001 what was drawn before is loaded all the same
            self.error = error
            return None
        finally:
            self._drawer = None
        return line


def _iterator(source: Source) -> AsyncIterator[OrderGraph | Line]:
    async def walk(plain: Iterable[OrderGraph | Line]) -> AsyncGenerator[OrderGraph | Line, None]:
        for line in plain:
            yield line

    return aiter(source) if isinstance(source, AsyncIterable) else walk(source)
