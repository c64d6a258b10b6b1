"""Wait for the end of our own work, even if the wait is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import anyio

__all__ = ["outlast"]


async def outlast(pending: Callable[[], Collection[asyncio.Future[Any]]], cancelled: Callable[[], None]) -> None:
    """Wait until *pending* returns no futures, and raise a cancellation only after that.

    *cancelled* is called at each cancellation. Asyncio cancels once; an anyio scope cancels again at each wait, so the
    wait is shielded from it.
    """
    last: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while waited := pending():
            try:
                await asyncio.wait(waited)
            except asyncio.CancelledError as error:
                last = error
                cancelled()
    if last is not None:
        raise last
