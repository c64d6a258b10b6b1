"""Look at a job now and then while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator

__all__ = ["ticking"]

EVERY = 0.25
"""Seconds between two looks."""


@contextlib.contextmanager
def ticking(look: Callable[[], None], failed: Callable[[Exception], None]) -> Generator[None, None, None]:
    """Call *look* a few times a second while the block lasts, until it raises: *failed* gets the error."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def tick() -> None:
        nonlocal timer
        try:
            look()
        except Exception as error:  # noqa: BLE001 the job raises it
            failed(error)
        else:
            timer = loop.call_later(EVERY, tick)

    timer = loop.call_later(EVERY, tick)
    try:
        yield
    finally:
        timer.cancel()
