"""Waiting for the end of our own work, whatever cancels the wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import anyio

__all__ = ["outlast"]


async def outlast(pending: Callable[[], Collection[asyncio.Future[Any]]], cancelled: Callable[[], None]) -> None:
    """Wait until *pending* returns nothing more, and raise a cancellation only after that.

    *cancelled* is called at each cancellation, which may be asyncio's or that of an anyio scope, which cancels again at
    each wait.
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
