"""The rate that the loads of several processes share, in the database of their journal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import Invalid, Violation
from cdp_orders_async.jobs.journal import JournalPlace
from cdp_orders_async.journal import PostgresAddress
from cdp_orders_async.pacing.postgres import PostgresLimiter, check_name
from cdp_orders_async.pacing.shared import check_rate
from cdp_orders_async.session.sharing import NOT_SHARED

__all__ = ["check_shared_rate", "sharing"]


def check_shared_rate(client: CdpOrders | CdpOrdersV2, name: str | None, journal: JournalPlace) -> bool:
    """Return whether a rate is shared; raise `Invalid` if the *client* cannot share it in the database of *journal*."""
    if name is None:
        return False
    check_name(name, "shared_rate")
    if not isinstance(journal, PostgresAddress):
        rule = "needs a journal in Postgres, whose database holds the rate: postgresql://USER@HOST/DATABASE"
        raise Invalid((Violation("shared_rate", rule),))
    rate = client.session.settings.rate
    if isinstance(rate, str):
        raise Invalid((Violation("rate", NOT_SHARED),))
    if rate is not None:
        check_rate(rate)
    return True


@contextlib.asynccontextmanager
async def sharing(
    client: CdpOrders | CdpOrdersV2, name: str | None, journal: JournalPlace
) -> AsyncGenerator[None, None]:
    """Let the *client* share the rate *name* while the block lasts; None: it shares no rate.

    Raises `Invalid` if other processes use another rate, and `NotSent` if the database cannot be used.
    """
    if name is None or not isinstance(journal, PostgresAddress):
        yield
        return
    rate = client.session.settings.rate
    number = None if isinstance(rate, str) else rate
    dsn = journal.given.open()
    async with await PostgresLimiter.open(dsn, name=name, rate=number, change_rate=False) as limiter:
        with client.session.sharing(limiter):
            yield
