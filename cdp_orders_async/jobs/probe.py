"""Whether a journal and a server know the same orders: a few requests before a load sends anything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, Forbidden, JournalError, NotFound, Unauthorized, counted
from cdp_orders_async.graph import InputLine, OrderGraph
from cdp_orders_async.journal import Journal, OrderId, is_same_order

__all__ = ["checked", "found_on_server", "lost_on_server", "peeked", "probed"]

T = TypeVar("T")

SMALL = 100  # lines of an input for which nobody looks at the server first, if it comes without a pause
FIRST = 3  # orders at the beginning of another one that are looked for
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

    async def compare(lines: Sequence[InputLine], seen: int) -> None:
        found = await found_on_server(client, probed([line.graph for line in lines if line.graph is not None]))
        if found is not None:
            raise JournalError(
                f"the order {found.order.reference_id} is on the server already, but the journal {journal} is new:"
                " name the journal of the load that made it, or add look_first=True, which looks for each order;"
                f" without it at most {FIRST + SPREAD} orders of the first {counted(seen, 'line')} are looked for"
            )

    if await lost_on_server(client, records):
        raise JournalError(
            f"the server no longer has the orders that the journal {journal} says are loaded:"
            " name another journal to load them again"
        )
    if look:
        lines = peeked(lines, compare)
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
    lines: AsyncGenerator[InputLine, None], look: Callable[[Sequence[InputLine], int], Awaitable[None]]
) -> AsyncGenerator[InputLine, None]:
    """Yield *lines* after *look* saw the first orders among them, unless they are few and end without a pause.

    *look* gets these orders with the lines between them, and the number of lines so far. What it raises ends all
    before the first order.
    """
    held: list[InputLine] = []
    seen = orders = 0
    paused = False
    coming: asyncio.Future[InputLine | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(lines, None))
            await asyncio.wait({coming}, timeout=IDLE if held or (seen and not paused) else None)
            came = coming.done() and coming.exception() is None
            paused = paused or not came
            line = coming.result() if came else None
            if line is not None:
                coming, seen, orders = None, seen + 1, orders + (line.graph is not None)
                held.append(line)
                bad, held = _apart(held) if seen > SMALL and line.graph is None else ([], held)
                for other in bad:  # there may be any number of them
                    yield other
                if seen <= SMALL or orders < FIRST:
                    continue
            if orders and (seen > SMALL or paused):
                await look(held, seen)
            for first in held:
                yield first
            held.clear()
            if orders or coming is None or coming.done():
                break
        if coming is not None and (line := await coming) is not None:
            yield line
        async for line in lines:
            yield line
    finally:
        await _close(lines, coming)


def _apart(lines: Sequence[InputLine]) -> tuple[list[InputLine], list[InputLine]]:
    """Return those of *lines* that break rules, and the others."""
    return [line for line in lines if line.graph is None], [line for line in lines if line.graph is not None]


async def _close(lines: AsyncGenerator[InputLine, None], coming: asyncio.Future[InputLine | None] | None) -> None:
    """Close *lines*, of which the next one may be *coming*."""
    if coming is not None and not coming.done():
        coming.cancel()
        await asyncio.wait({coming})
    await lines.aclose()
