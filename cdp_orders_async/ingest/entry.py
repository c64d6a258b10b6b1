"""The ways to load: many orders, or one."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Literal, TypeAlias, cast

from cdp_orders_async.arguments import called, need, need_method
from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, Invalid, Violation
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.before import KeepBefore
from cdp_orders_async.ingest.context import OnExisting
from cdp_orders_async.ingest.load import Load
from cdp_orders_async.ingest.outcomes import Outcome
from cdp_orders_async.ingest.source import Orders
from cdp_orders_async.journal import Journal
from cdp_orders_async.redact import sealed
from cdp_orders_async.session import Session
from cdp_orders_async.sources import GraphFile

__all__ = ["SETTLE", "Priority", "Source", "ingest", "ingest_one"]

Source: TypeAlias = Orders | str | Path
"""What is loaded: orders or lines of a file, from any iterable or async iterable; or the path of a file."""

Priority: TypeAlias = Literal["interactive", "bulk"]
"""Whether an order goes before the loads of the same client, or with them."""

SETTLE = 10.0
"""Seconds, 10, after which a list is trusted to show a write. The vendor says that orders are available "within
seconds"; waiting too short would double an order, waiting long only delays the few whose answer was lost."""
WIDTH = 8
"""Parts of a single order that are under way at once."""


@sealed
def ingest(
    client: Resources | ResourcesV2,
    source: Source,
    *,
    journal: Journal | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    open_orders: int = 200,
    settle: float = SETTLE,
    drain: float = 5.0,
    keep_before: KeepBefore | None = None,
) -> AbstractAsyncContextManager[Load]:
    """Load whole orders, exactly once in effect: ``async with`` gives the `Load`.

    Parameters: *client*, a `CdpOrders` or a `CdpOrdersV2`, or resources over a transport of your own. *source*, any
    iterable or async iterable of `OrderGraph` or `InputLine`, or the path of a file; made for the version of the
    *client*.
    *journal*, what was done already and what is under way; without it, only *look_first* makes a second run safe.
    *look_first* asks the server about each order before it is sent; one that is absent waits until the load is
    *settle* seconds old. *on_existing* says what to do where something is there but differs from the input: ``keep``
    it and say so, ``update`` it, or ``fail``, which sends nothing of that order. *open_orders*, how many orders are
    under way at once. *settle*, seconds that lists may lag behind writes; the vendor says that orders are available
    "within seconds". *drain*, seconds that calls in flight get to finish when the block is left early. *keep_before*,
    which gets the values that an ``update`` is about to replace, as a `Before`; if it raises, that ends the load.

    Iterate the load for its outcomes, or ``await load.run()``: a block that does neither ends the load when it is left.
    Every order taken from the source ends in one `Outcome`; orders that fail raise nothing. Leaving the block early,
    also by a cancellation of asyncio or anyio, leaves nothing in flight that is not recorded in the journal.

    Raises `TypeError` for an argument of another type, `Invalid` for an option that cannot be, and `JournalError` for
    a journal of another tenant. What ends a load is raised by its iteration, and by ``load.run()``: `Unauthorized`,
    `JournalError`, `InputError` for an input that breaks off, `NotSent` for a server that was never reached.

    Source: https://doc.sitecore.com/cdp/en/developers/api/sending-orders.html

        async with await SqliteJournal.open("load.journal", identity=cdp.identity) as journal:
            async with ingest(cdp, "orders.jsonl", journal=journal) as load:
                async for outcome in load:
                    print(outcome.key, outcome.verdict)
    """
    _check_ends(client, journal)
    if keep_before is not None:
        need_method(keep_before, "__call__", "keep_before", "a function, or None")
    _check(look_first=look_first, on_existing=on_existing, open_orders=open_orders, settle=settle, drain=drain)
    if journal is not None:
        journal.check(client.identity)
    make = partial(
        Load,
        client,
        _orders(client, source),
        journal=journal,
        look_first=look_first,
        on_existing=on_existing,
        open_orders=open_orders,
        settle=settle,
        drain=drain,
        keep_before=keep_before,
    )
    return _running(make)


@contextlib.asynccontextmanager
async def _running(make: Callable[[], Load]) -> AsyncGenerator[Load, None]:
    load = make()
    load.start()
    try:
        yield load
    finally:
        await load.aclose()


@sealed
async def ingest_one(
    client: Resources | ResourcesV2,
    graph: OrderGraph,
    *,
    journal: Journal | None = None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
    deadline: float | None = None,
    drain: float = 0.0,
    priority: Priority = "interactive",
) -> Outcome:
    """Load one order, for a web backend, or for a worker that gets orders one at a time and maybe twice.

    Parameters: *graph*, the order. *client*, *journal*, *look_first*, *on_existing* and *settle* (seconds), as those
    of `ingest`. *deadline*, seconds after which it is given up; by default that of the client's settings. *drain*,
    seconds that calls in flight get to finish when it is cancelled. *priority*, whether it goes before the loads of
    the same client, or with them.

    ``look_first=True`` makes an order safe that another process may have sent: then the server itself is the journal.
    An order that is absent then waits for the settling time, so set it only where an order comes again.

    Returns what came of the order. Raises, with it in `CdpError.outcome`, what would end a load: `Unauthorized`,
    `JournalError`, `NotSent` if the server was not reached; and `DeadlineExceeded`. A `CancelledError` has it too.
    Raises `TypeError` for an argument of another type, `Invalid` for an option that cannot be.

        outcome = await ingest_one(cdp, graph, look_first=redelivered)
    """
    _check_ends(client, journal)
    _check_graph(graph)
    _check(
        look_first=look_first,
        on_existing=on_existing,
        settle=settle,
        drain=drain,
        deadline=deadline,
        priority=priority,
    )
    if journal is not None:
        journal.check(client.identity)
    transport = client.transport
    if deadline is None and isinstance(transport, Session):
        deadline = transport.settings.deadline
    load = Load(
        client,
        (),
        journal=journal,
        look_first=look_first,
        on_existing=on_existing,
        open_orders=1,
        settle=settle,
        drain=drain,
        width=WIDTH,
        bulk=priority == "bulk",
        patient=False,
    )
    timer = None if deadline is None else asyncio.get_running_loop().call_later(deadline, load.expire)
    try:
        load.start_with(graph)
        await load.wait()
    except asyncio.CancelledError as error:
        with contextlib.suppress(asyncio.CancelledError):  # another one: the first is raised, once all is recorded
            await load.aclose()
        vars(error)["outcome"] = load.outcome
        raise
    finally:
        if timer is not None:
            timer.cancel()
        await load.aclose()
    outcome = load.outcome
    if load.error is not None:
        raise _with_outcome(load.error, outcome)
    assert outcome is not None  # noqa: S101 every order has one
    return outcome


def _check_graph(graph: object) -> None:
    if not isinstance(graph, OrderGraph):
        raise TypeError(f"graph: ingest_one takes an OrderGraph, not {called(graph)}: OrderGraph(order=NewOrder(...))")


def _with_outcome(error: Exception, outcome: Outcome | None) -> Exception:
    """Return *error* with what it left of the order."""
    if isinstance(error, CdpError):
        error.outcome = outcome
    return error


def _orders(client: Resources | ResourcesV2, source: object) -> Orders:
    """Return what a *source* gives; raises `TypeError` for what is none."""
    kind = called(source)
    if isinstance(source, (str, Path)):
        return GraphFile(source, client.api)
    if isinstance(source, OrderGraph):
        raise TypeError("source: ingest takes orders, not one OrderGraph: put it into a list, or use ingest_one")
    if not isinstance(source, (AsyncIterable, Iterable)) or isinstance(source, (type, bytes, bytearray, Mapping)):
        what = "ingest takes orders (an iterable of OrderGraph or InputLine) or a path"
        raise TypeError(f"source: {what}, not {kind}")
    return cast("Orders", source)


def _check_ends(client: object, journal: object) -> None:
    """Raise TypeError for a *client* or a *journal* of another type."""
    need(client, (Resources, ResourcesV2), "client", "a client, such as CdpOrders")
    if journal is not None:
        need_method(journal, "claim", "journal", "an open Journal, such as MemoryJournal(), or None")


def _check(
    *,
    look_first: object,
    on_existing: object,
    settle: float,
    drain: float,
    open_orders: int = 1,
    deadline: float | None = None,
    priority: object = "bulk",
) -> None:
    """Raise TypeError for an option of another type, and `Invalid` for all that have a value that cannot be."""
    need(look_first, bool, "look_first", "True or False")
    need(on_existing, str, "on_existing", "keep, update or fail")
    need(priority, str, "priority", "interactive or bulk")
    need(open_orders, int, "open_orders")
    need(deadline, (float, NoneType), "deadline", "seconds, a number, or None")
    need(settle, float, "settle", "seconds, a number")
    need(drain, float, "drain", "seconds, a number")
    found: list[Violation] = []
    if on_existing not in {"keep", "update", "fail"}:
        found.append(Violation("on_existing", "must be keep, update or fail"))
    if priority not in {"interactive", "bulk"}:
        found.append(Violation("priority", "must be interactive or bulk"))
    if not open_orders >= 1:
        found.append(Violation("open_orders", "must be above 0"))
    if deadline is not None and not 0 < deadline < math.inf:
        found.append(Violation("deadline", "must be a finite number above 0"))
    for name, value in (("settle", settle), ("drain", drain)):
        if not 0 <= value < math.inf:
            found.append(Violation(name, "must be a finite number of at least 0"))
    if found:
        raise Invalid(tuple(found))
