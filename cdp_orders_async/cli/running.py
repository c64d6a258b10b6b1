"""Run a job of a command, and show its report on standard output."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from json import dumps
from typing import Protocol, TypeVar

from cdp_orders_async.cli.display import Screen
from cdp_orders_async.cli.options import refuse, unwritten
from cdp_orders_async.client import CdpOrders, CdpOrdersV2

__all__ = ["run", "show"]

T = TypeVar("T")
R = TypeVar("R", bound="_Report")


class _Report(Protocol):
    """What every report of a job has."""

    reason: str | None

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data."""
        ...

    @property
    def status(self) -> int:
        """The exit status."""
        ...


def run(client: CdpOrders | CdpOrdersV2, job: Callable[[], Awaitable[T]]) -> T:
    """Run a *job* while its *client* is open, and return its result."""

    async def over() -> T:
        async with client:
            return await job()

    return asyncio.run(over())


def show(report: R, table: Callable[[Screen, R], None], *, json: bool) -> int:
    """Show a *report* as JSON or as the *table*, and the sentence that says what ended it; return the exit status."""
    status = report.status
    try:
        if json:
            Screen().say(dumps(report.to_json()))  # in ASCII, which each output can show
        else:
            table(Screen(), report)
    except OSError as unheard:  # such as a full disk
        status = status or unwritten(unheard)
    if report.reason is not None:
        refuse(report.reason)
    return status
