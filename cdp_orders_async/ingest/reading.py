"""Read single things that may be gone."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar
from uuid import UUID

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import NotFound
from cdp_orders_async.models import Consumer
from cdp_orders_async.resources import Listing

__all__ = ["all_entries", "found", "items_of"]

T = TypeVar("T")


async def found(answer: Awaitable[T]) -> T | None:
    """Return what is asked for, None if the API says that it is not there; the page of a gateway does not say so."""
    try:
        return await answer
    except NotFound as error:
        if not error.from_api:
            raise
        return None


async def all_entries(listing: Listing[T]) -> list[T]:
    """Return the entries of a list as they arrive; the list of something that is gone is empty."""
    entries: list[T] = []

    async def read() -> None:
        async for page in listing.pages():
            entries.extend(page.items)

    await found(read())
    return entries


async def items_of(cdp: Resources | ResourcesV2, consumer: Consumer) -> tuple[UUID, ...]:
    """Return the references of the items of a *consumer*: version 2.1 may show them in a list of their own only."""
    if consumer.order_items is None and isinstance(cdp, Resources):
        return tuple([item.ref for item in await all_entries(cdp.consumers.items(consumer.ref))])
    return tuple(consumer.order_items or ())
