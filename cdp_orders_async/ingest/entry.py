"""The ways to load: many orders, or one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.control import OnExisting
from cdp_orders_async.ingest.intake import Source
from cdp_orders_async.ingest.load import Load
from cdp_orders_async.ingest.outcomes import Outcome
from cdp_orders_async.journal import Journal

__all__ = ["SETTLE", "ingest", "ingest_one"]

SETTLE = 10.0
"""Seconds after which a list is trusted to show a write. The vendor says that orders are available "within
seconds"; waiting too short would double an order, waiting long only delays the few whose answer was lost."""


@contextlib.asynccontextmanager
async def ingest(
    client: Resources | ResourcesV2,
    source: Source,
    *,
    journal: Journal | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    open_orders: int = 200,
    settle: float = SETTLE,
    drain: float = 5.0,
) -> AsyncGenerator[Load, None]:
    """Load whole orders, exactly once in effect: ``async with`` gives the `Load`.

    Parameters: *source*, any iterable or async iterable of `OrderGraph`, or a `GraphFile`; made for the version
    of the *client*. *journal*, what was done already and what is under way; without it, only *look_first* makes a
    second run safe. *look_first* asks the server about each order before it is sent. *on_existing* says what to do
    where something is there but differs from the input: ``keep`` it and say so, ``update`` it, or ``fail``.
    *open_orders*, how many orders are under way at once. *settle*, seconds that lists may lag behind writes.
    *drain*, seconds that calls in flight get to finish when the block is left early.

    Every order taken from the source ends in one `Outcome`; orders that fail raise nothing. Leaving the block
    early, in whatever way, leaves nothing in flight that is not recorded in the journal.
    """
    _check(on_existing=on_existing, open_orders=open_orders, settle=settle, drain=drain)
    load = Load(
        client,
        source,
        journal=journal,
        look_first=look_first,
        on_existing=on_existing,
        open_orders=open_orders,
        settle=settle,
        drain=drain,
    )
    try:
        yield load
    finally:
        await load.aclose()


async def ingest_one(
    client: Resources | ResourcesV2,
    graph: OrderGraph,
    *,
    journal: Journal | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
) -> Outcome:
    """Load one order, for a worker that gets them one at a time and maybe twice; return what came of it.

    The parameters are those of `ingest`. Without a journal, ``look_first=True`` makes a redelivered order safe:
    then the server itself is the journal, at the price of look-ups and, for an order that is absent, of the
    settling time. Raises what ends a load: `Unauthorized`, `JournalError`, `NotSent` if the server was not reached.
    While a server that was reached is down it waits: bound it with `asyncio.timeout`, which leaves nothing unrecorded.
    """
    async with ingest(
        client,
        [graph],
        journal=journal,
        look_first=look_first,
        on_existing=on_existing,
        open_orders=1,
        settle=settle,
    ) as load:
        outcomes = [outcome async for outcome in load]
    return outcomes[0]


def _check(*, on_existing: str, open_orders: int, settle: float, drain: float) -> None:
    found: list[Violation] = []
    if on_existing not in {"keep", "update", "fail"}:
        found.append(Violation("on_existing", "must be keep, update or fail"))
    if open_orders < 1:
        found.append(Violation("open_orders", "must be above 0"))
    for name, value in (("settle", settle), ("drain", drain)):
        if not 0 <= value < float("inf"):
            found.append(Violation(name, "must not be negative"))
    if found:
        raise Invalid(tuple(found))
