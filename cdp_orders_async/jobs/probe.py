"""Whether a journal and a server know the same orders: a few requests before a load sends anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, Forbidden, JournalError, NotFound, Unauthorized
from cdp_orders_async.graph import InputLine, OrderGraph
from cdp_orders_async.journal import Journal, OrderId, is_same_order

__all__ = ["checked", "found_on_server", "lost_on_server", "peeked", "probed"]

T = TypeVar("T")

SMALL = 100  # lines of an input for which nobody looks at the server first
FIRST = 3  # orders at the beginning of a larger one that are looked for
SPREAD = 3  # further ones among the lines that are read first: an export may begin with new orders
KNOWN = 3  # orders of a journal that are looked for
IDLE = 2.0  # seconds in which an input that is not at its end gives nothing


async def checked(
    lines: AsyncGenerator[InputLine, None],
    client: Resources | ResourcesV2,
    records: Journal,
    journal: object,
    *,
    look: bool,
) -> AsyncGenerator[InputLine, None]:
    """Yield the *lines* of an input, unless the *journal* does not fit what is on the server.

    *look* for some orders at the beginning of a larger input, which must not be there if the journal is new. Raises
    `JournalError`, and what `lost_on_server` and the requests raise.
    """

    async def compare(lines: Sequence[InputLine]) -> None:
        if len(lines) <= SMALL:
            return
        orders = [line.graph for line in lines if line.graph is not None and not line.violations]
        found = await found_on_server(client, probed(orders))
        if found is not None:
            raise JournalError(
                f"the order {found.order.reference_id} is on the server already, but the journal {journal} is new:"
                " name the journal of the load that made it, or add look_first=True, which looks for each order;"
                f" without it at most {FIRST + SPREAD} orders of the first {len(lines)} lines are looked for"
            )

    if await lost_on_server(client, records):
        raise JournalError(
            f"the server no longer has the orders that the journal {journal} says are loaded:"
            " name another journal to load them again"
        )
    if look:
        lines = peeked(lines, SMALL + 1, compare)
    async with contextlib.aclosing(lines):
        async for line in lines:
            yield line


def probed(orders: Sequence[T]) -> Sequence[T]:
    """Return those of *orders* that are looked for: the first ones, and some spread over the others, up to the last."""
    others = orders[FIRST:]
    count = min(SPREAD, len(others))
    return [*orders[:FIRST], *(others[n * len(others) // count - 1] for n in range(1, count + 1))]


async def found_on_server(client: Resources | ResourcesV2, graphs: Iterable[OrderGraph]) -> OrderGraph | None:
    """Return the first of *graphs* that is on the server; it takes one request for each that is not.

    An order is there if one has its reference id and was ordered within two days of it: the server takes both for one.
    """
    for graph in graphs:
        wanted = graph.order
        async for got in client.orders.list(reference_id=wanted.reference_id):
            if got.ordered_at is None or is_same_order(got.ordered_at, wanted.ordered_at):
                return graph
    return None


async def lost_on_server(client: Resources | ResourcesV2, journal: Journal) -> bool:
    """Tell whether the server has none of a few orders that *journal* knows as loaded.

    It takes one request if the first is there, and none for a journal that knows nothing. Only the word of the API
    itself counts: a server that is not well has lost nothing. Raises `Unauthorized` or `Forbidden` where the API
    refuses the credentials, and `JournalError`.
    """
    known = await journal.known(KNOWN)
    for key, ref in known:
        try:
            got = await client.orders.get(ref)
        except NotFound as error:
            if not error.from_api:
                return False
        except (Unauthorized, Forbidden) as error:
            if error.from_api:
                raise
            return False
        except CdpError:
            return False
        else:
            order = OrderId.parse(key)
            if order is None or got.reference_id in {None, order.reference_id}:
                return False  # else that reference is now another order's
    return bool(known)


async def peeked(
    lines: AsyncGenerator[InputLine, None], most: int, look: Callable[[Sequence[InputLine]], Awaitable[None]]
) -> AsyncGenerator[InputLine, None]:
    """Yield *lines* after *look* saw the first of them: *most*, or as many as come before a pause or an error.

    What *look* raises ends it before the first line.
    """
    first: list[InputLine] = []
    coming: asyncio.Future[InputLine | None] | None = None
    try:
        while len(first) < most:
            coming = asyncio.ensure_future(anext(lines, None))
            await asyncio.wait({coming}, timeout=IDLE if first else None)
            if not coming.done() or coming.exception() is not None or (line := coming.result()) is None:
                break
            first.append(line)
            coming = None
        await look(first)
        for line in first:
            yield line
        if coming is not None and (line := await coming) is not None:
            yield line
        async for line in lines:
            yield line
    finally:
        if coming is not None and not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
        await lines.aclose()
