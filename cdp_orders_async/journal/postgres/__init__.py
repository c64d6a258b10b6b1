"""The journal in a Postgres database, which the workers of many processes share."""

from __future__ import annotations

from cdp_orders_async.journal.postgres.address import PostgresAddress
from cdp_orders_async.journal.postgres.journal import PostgresJournal

__all__ = ["PostgresAddress", "PostgresJournal"]
