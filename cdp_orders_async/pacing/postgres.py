"""A rate that all processes with one Postgres database share."""

from __future__ import annotations

import asyncio
import math
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Self

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import Invalid, JournalError, NotSent, Violation
from cdp_orders_async.journal.postgres.address import PostgresAddress
from cdp_orders_async.pacing.shared import Lease, SharedLimiter, SlotStore, check_rate

if TYPE_CHECKING:
    from asyncpg import Connection, Record

__all__ = ["PostgresLimiter", "PostgresSlots", "check_name"]

RETRY_FOR: Final = 5.0
FIRST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0
FORMAT: Final = 1
"""The version of the table, which its comment holds."""
COMMENT: Final = "cdp-orders-async shared rates, format "
WHAT: Final = "shared rate"
MAX_NAME: Final = 200
"""Characters of the name of a rate."""

# Not by to_regclass: within a transaction it may remember that there was no such table.
_FORMAT: Final = """
    SELECT coalesce(obj_description(c.oid, 'pg_class'), 'no format') FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'limits'"""
_MAKE: Final = (
    """CREATE TABLE {table} (
        name text PRIMARY KEY, rate double precision NOT NULL,
        due timestamptz NOT NULL, paused_until timestamptz NOT NULL, seen timestamptz NOT NULL,
        changes bigint NOT NULL) WITH (fillfactor = 10)""",
    f"COMMENT ON TABLE {{table}} IS '{COMMENT}{FORMAT}'",
)
_ADD: Final = """
    INSERT INTO {table} (name, rate, due, paused_until, seen, changes)
    VALUES ($1, $2, clock_timestamp(), clock_timestamp(), clock_timestamp(), 0) ON CONFLICT (name) DO NOTHING"""
# The generic cell rate algorithm, on the clock of the database. `due` is the time from which the next slot is free. A
# clock that was set back takes `due` with it: otherwise everybody would wait until it is as late as before.
_LEASE: Final = """
    UPDATE {table} SET seen = clock_timestamp(), due = make_interval(secs => $2 / rate) + greatest(
        clock_timestamp(),
        due - CASE WHEN clock_timestamp() < seen - interval '1 s' THEN seen - clock_timestamp() ELSE interval '0' END)
    WHERE name = $1 RETURNING
        extract(epoch FROM due - make_interval(secs => $2 / rate))::double precision AS start,
        extract(epoch FROM clock_timestamp())::double precision AS now, rate, changes"""
_LOOK: Final = """
    SELECT 0::double precision AS start, extract(epoch FROM clock_timestamp())::double precision AS now, rate, changes
    FROM {table} WHERE name = $1"""
_PAUSE: Final = """
    UPDATE {table} SET changes = changes + 1,
        paused_until = greatest(paused_until, clock_timestamp() + make_interval(secs => $2)),
        due = greatest(due, clock_timestamp() + make_interval(secs => $2))
    WHERE name = $1 RETURNING changes"""
# A lower rate may have put the next slot far off; a pause stays. A rate that is in use is changed only on purpose.
_SET_RATE: Final = """
    UPDATE {table} SET changes = changes + 1, rate = $2,
        due = greatest(paused_until, least(due, clock_timestamp() + make_interval(secs => 1 / $2)))
    WHERE name = $1 AND rate <> $2 AND ($3 OR seen < clock_timestamp() - interval '1 min') RETURNING changes"""


class PostgresLimiter(SharedLimiter):
    """Hold back the calls of all processes that share a database, so that together they keep one rate.

    Pass it to each client as its *shared_limiter*. A process takes leases of time slots, of a fortieth of a second's
    calls at most. The clock of the database counts; the clocks of the processes may differ. The slots of a process that
    is killed pass unused. Each process lets its interactive calls go before its loads. A ``Retry-After`` of the server
    pauses all processes, and a rate that is changed in one of them counts for all. The rate ``auto`` cannot be shared.

    If the database is away for *retry_for* seconds, the calls that wait raise `NotSent`, and a load waits as it does
    for a server that is down.

        async with (
            await PostgresLimiter.open("postgresql://app@db/app", name="eu", rate=200) as limiter,
            CdpOrders(region="eu", shared_limiter=limiter) as cdp,
        ):
            await cdp.ping()
    """

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        name: str,
        rate: float | None = None,
        change_rate: bool = True,
        bulk_share: float = 0.1,
        retry_for: float = RETRY_FOR,
    ) -> Self:
        """Connect to the database of *dsn*, and make the table if it is missing.

        *dsn* is ``postgresql://USER@HOST:PORT/DATABASE``; ``?schema=NAME`` names the schema of the table, by default
        ``cdp_orders``. Leave the password to ``PGPASSWORD`` or ``~/.pgpass``. *name* is the tenant whose rate it is:
        all processes with one client key use the same name. *rate*, requests a second of all of them together; it
        counts for the processes that run already, too. None is the rate that another process gave. *change_rate*,
        whether *rate* may change the rate that others used in the last minute. *bulk_share*, the share of the grants
        that loads keep while interactive calls wait. *retry_for*, seconds for which a database that is away is tried.

        Raises `NotSent` with one sentence if the database cannot be used, `Invalid` for an impossible value and for a
        rate that must not be changed, and TypeError for an argument of another type.
        """
        need(dsn, str, "dsn")
        need(change_rate, bool, "change_rate", "True or False")
        check_name(name, "name")
        for argument, number in (("retry_for", retry_for), ("bulk_share", bulk_share)):
            need(number, float, argument)
        if not 0 <= bulk_share <= 1:
            raise Invalid((Violation("bulk_share", "must be from 0 to 1"),))
        if not 0 <= retry_for < math.inf:
            raise Invalid((Violation("retry_for", "must be a finite number of at least 0"),))
        try:
            address = PostgresAddress.parse(dsn)
        except JournalError as error:
            raise Invalid((Violation("dsn", str(error).replace("the journal", f"the {WHAT}")),)) from None
        if rate is not None:
            check_rate(rate)
        if find_spec("asyncpg") is None:
            raise NotSent("a PostgresLimiter needs asyncpg: pip install 'cdp-orders-async[postgres]'")
        store = PostgresSlots(address, name, retry_for)
        try:
            return cls(store, await store.begin(rate, change=change_rate), bulk_share=bulk_share)
        except BaseException:
            await store.aclose()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<PostgresLimiter {self._store.name!r}: {self.rate:g} a second, {self.waiting} waiting>"


class PostgresSlots(SlotStore):
    """The slots of the rate *name* in a table; a lost connection is made again for *retry_for* seconds."""

    def __init__(self, address: PostgresAddress, name: str, retry_for: float) -> None:
        self._address = address
        self._table = '"{}".limits'.format(address.schema.replace('"', '""'))
        self.name = name
        self._retry_for = retry_for
        self._connection: Connection | None = None

    async def begin(self, rate: float | None, *, change: bool = True) -> float:
        """Make the table and the row, set the *rate* if it is given, and return the rate.

        *change*: also if others used another rate in the last minute; without it, that raises `Invalid`.
        """
        if rate is not None:
            await self._do(_ADD, self.name, rate)
            await self._do(_SET_RATE, self.name, rate, change)
        found = (await self.lease(0)).rate
        if not change and rate not in {None, found}:
            rule = f"must be {found:g}: other processes used the {WHAT} {self.name!r} at that rate in the last minute"
            raise Invalid((Violation("rate", rule),))
        return found

    async def lease(self, count: int) -> Lease:
        """Move the time from which slots are free by *count* slots."""
        row = await (self._do(_LEASE, self.name, float(count)) if count else self._do(_LOOK, self.name))
        if row is None:
            absent = NotSent(f"the {WHAT} {self._address} has no rate {self.name!r}: give the rate, requests a second")
            absent.lasting = True
            raise absent
        return Lease(*row)

    async def pause(self, seconds: float) -> None:
        """Move it to at least *seconds* from now."""
        await self._do(_PAUSE, self.name, seconds)

    async def set_rate(self, rate: float) -> None:
        """Change the rate in the row."""
        await self._do(_SET_RATE, self.name, rate, True)  # noqa: FBT003 a value of the statement

    async def aclose(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            from cdp_orders_async.journal.postgres.connection import disconnect  # noqa: PLC0415 it needs the extra

            await disconnect(connection)

    async def _do(self, statement: str, *values: object) -> Record | None:
        """Run one statement and return its row, if there is one; raise `NotSent` if it failed for too long.

        A statement whose answer was lost is run again: the slots of its lease pass unused.
        """
        from cdp_orders_async.journal.postgres.connection import explain, is_passing  # noqa: PLC0415 it needs the extra

        end, wait = time.monotonic() + self._retry_for, FIRST_WAIT
        while True:
            try:
                connection = self._connection or await self._connected()
                query = statement.format(table=self._table)
                return await connection.fetchrow(query, *values, timeout=max(self._retry_for, LONGEST_WAIT))
            except Exception as error:
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                if isinstance(error, NotSent):
                    raise
                passes = is_passing(error)
                if not passes or time.monotonic() + wait > end:
                    failure = NotSent(explain(self._address, error, WHAT))
                    failure.lasting = not passes
                    raise failure from None
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _connected(self) -> Connection:
        """Connect, and make the table if it is missing; raise `NotSent` for a table of another version."""
        from cdp_orders_async.journal.postgres.connection import connect  # noqa: PLC0415 it needs the extra
        from cdp_orders_async.journal.postgres.schema import lock_number, make_schema  # noqa: PLC0415 the same

        self._connection = connection = await connect(self._address)
        # A crash of the database takes longer than the slots that it forgets.
        await connection.execute("SET synchronous_commit = off")
        found: str | None = await connection.fetchval(_FORMAT, self._address.schema)
        if found is None:
            async with connection.transaction():
                # Two first processes must not make the table at once, nor one of them and a journal the schema.
                lock = lock_number(self._address.schema.encode())
                await connection.execute("SELECT pg_advisory_xact_lock($1)", lock)
                found = await connection.fetchval(_FORMAT, self._address.schema)
                if found is None:
                    await make_schema(connection, self._address.schema)
                for statement in () if found is not None else _MAKE:
                    await connection.execute(statement.format(table=self._table))
        if found not in {None, f"{COMMENT}{FORMAT}"}:
            raise NotSent(
                f"the {WHAT} {self._address} has a table of another version ({found}): use one version of"
                " cdp-orders-async for all processes, or name another schema (?schema=NAME)"
            )
        return connection


def check_name(name: str, argument: str) -> None:
    """Raise `Invalid` about *argument* unless *name* can be the name of a rate, TypeError if it is no text."""
    need(name, str, argument)
    if not 0 < len(name) <= MAX_NAME:
        raise Invalid((Violation(argument, f"must have from 1 to {MAX_NAME} characters"),))
    if "\0" in name or name != name.encode(errors="replace").decode():  # half of a character, as of a wrong encoding
        raise Invalid((Violation(argument, "must be text that a database can store"),))
