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
from cdp_orders_async.errors import CdpError, DeadlineExceeded, Invalid, Violation
from cdp_orders_async.graph import OrderGraph
from cdp_orders_async.ingest.before import KeepBefore
from cdp_orders_async.ingest.context import OnExisting
from cdp_orders_async.ingest.load import Load
from cdp_orders_async.ingest.outcomes import Outcome, Verdict
from cdp_orders_async.ingest.source import Orders
from cdp_orders_async.journal import Journal
from cdp_orders_async.redact import sealed
from cdp_orders_async.session import Session
from cdp_orders_async.sources import opened

__all__ = ["SETTLE", "Priority", "Source", "check_ends", "check_options", "ingest", "ingest_one"]

Source: TypeAlias = Orders | str | Path
"""The input of a load: orders or lines of a file, from any iterable or async iterable; or the path of a file, which
holds JSON lines or a table."""

Priority: TypeAlias = Literal["interactive", "bulk"]
"""Whether an order goes before the loads of the same client, or with them."""

SETTLE = 10.0
"""The default time, 10 seconds, after which a list shows every write. The vendor says that orders are available "within
seconds". Too short a time would create an order twice; a long time only delays the few orders with a lost answer."""
WIDTH = 8
"""The most parts of a single order that are under way at once."""
_THERE = frozenset({Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED, Verdict.KEPT})


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

    Parameters: *client*, a `CdpOrders` or a `CdpOrdersV2`, or resources over your own transport. *source*, any iterable
    or async iterable of `OrderGraph` or `InputLine`, or the path of a file, JSON lines or a table; made for the version
    of the *client*. *journal*, the record of finished and open work; without it, only *look_first* makes a second run
    safe. *look_first* asks the server about each order before it is sent; an absent order waits until the load is
    *settle* seconds old. *on_existing* says what to do with an object on the server that differs from the input:
    ``keep`` it and report it, ``update`` it, or ``fail``, which sends nothing of that order. *open_orders*, the most
    orders under way at once. *settle*, seconds that lists may lag behind writes; the vendor says that orders are
    available "within seconds". *drain*, seconds that calls in flight get to finish when the block is left early.
    *keep_before*, a function that gets the values that an ``update`` is about to replace, as a `Before`; if it raises,
    that ends the load.

    Iterate the load for its outcomes, or ``await load.run()``: a block that does neither ends the load when it is left.
    Every order taken from the source ends in one `Outcome`; orders that fail raise nothing. If the block is left early,
    also by a cancellation of asyncio or anyio, every call in flight is recorded in the journal.

    Raises `TypeError` for an argument of another type, `Invalid` for an option with an impossible value, and
    `JournalError` for a journal of another tenant. The iteration, and ``load.run()``, raise the error that ends a load:
    `Unauthorized`, `JournalError`, `InputError` for an input that breaks off, `NotSent` for a server that was never
    reached.

    Source: https://doc.sitecore.com/cdp/en/developers/api/sending-orders.html

        async with await SqliteJournal.open("load.journal", identity=cdp.identity) as journal:
            async with ingest(cdp, "orders.jsonl", journal=journal) as load:
                async for outcome in load:
                    print(outcome.key, outcome.verdict)
    """
    check_ends(client, journal)
    if keep_before is not None:
        need_method(keep_before, "__call__", "keep_before", "a function, or None")
    check_options(look_first=look_first, on_existing=on_existing, open_orders=open_orders, settle=settle, drain=drain)
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

    Parameters: *graph*, the order. *client*, *journal*, *look_first*, *on_existing* and *settle* (seconds) are those of
    `ingest`. *deadline*, seconds after which it is given up; by default the deadline of the client's settings. *drain*,
    seconds that calls in flight get to finish if it is cancelled. *priority*, whether it goes before the loads of the
    same client, or with them.

    ``look_first=True`` protects an order that another process may have sent: then the server itself is the journal. An
    absent order waits for the settling time, so use it only if an order may come again.

    Returns the outcome of the order. Raises the errors that would end a load, with the outcome in `CdpError.outcome`:
    `Unauthorized`, `JournalError`, `NotSent` if the server was not reached; and `DeadlineExceeded`. A `CancelledError`
    has the outcome too. Raises `TypeError` for an argument of another type, `Invalid` for an option with an impossible
    value.

        outcome = await ingest_one(cdp, graph, look_first=redelivered)
    """
    check_ends(client, journal)
    _check_graph(graph)
    check_options(
        look_first=look_first, on_existing=on_existing, settle=settle, drain=drain, deadline=deadline, priority=priority
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
    timer = None
    if deadline is not None:
        loop = asyncio.get_running_loop()
        due = loop.time() + deadline
        timer = loop.call_at(due, load.expire, due)
    try:
        load.start_with(graph)
        await load.wait()
    except asyncio.CancelledError as error:
        with contextlib.suppress(asyncio.CancelledError):  # a second one: the first is raised, after all is recorded
            await load.aclose()
        vars(error)["outcome"] = load.outcome
        raise
    finally:
        if timer is not None:
            timer.cancel()
        await load.aclose()
    outcome = load.outcome
    if isinstance(load.error, DeadlineExceeded) and outcome is not None and outcome.verdict in _THERE:
        return outcome  # its last answers were read after the deadline: they came while the loop was blocked
    if isinstance(load.error, CdpError):
        load.error.outcome = outcome
    if load.error is not None:
        raise load.error
    assert outcome is not None  # noqa: S101 every order has one
    return outcome


def _check_graph(graph: object) -> None:
    if not isinstance(graph, OrderGraph):
        raise TypeError(f"graph: ingest_one takes an OrderGraph, not {called(graph)}: OrderGraph(order=NewOrder(...))")


def _orders(client: Resources | ResourcesV2, source: object) -> Orders:
    """Return the orders of a *source*; raises `TypeError` for an object that is not a source."""
    kind = called(source)
    if isinstance(source, (str, Path)):
        return opened(str(source), client.api)
    if isinstance(source, OrderGraph):
        raise TypeError("source: ingest takes orders, not one OrderGraph: put it into a list, or use ingest_one")
    if not isinstance(source, (AsyncIterable, Iterable)) or isinstance(source, (type, bytes, bytearray, Mapping)):
        what = "ingest takes orders (an iterable of OrderGraph or InputLine) or a path"
        raise TypeError(f"source: {what}, not {kind}")
    return cast("Orders", source)


def check_ends(client: object, journal: object) -> None:
    """Raise TypeError for a *client* or a *journal* of another type."""
    need(client, (Resources, ResourcesV2), "client", "a client, such as CdpOrders")
    if journal is not None:
        need_method(journal, "claim", "journal", "an open Journal, such as MemoryJournal(), or None")


def check_options(
    *,
    look_first: object,
    on_existing: object,
    settle: float,
    drain: float,
    open_orders: int = 1,
    deadline: float | None = None,
    priority: object = "bulk",
) -> None:
    """Raise TypeError for an option of another type, and `Invalid` for all options with an impossible value."""
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
