"""The tables of a journal in Postgres: made by the first worker that needs them, in a schema of their own."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson
from asyncpg import Connection

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.identity import DEFAULTS
from cdp_orders_async.journal.postgres.address import PostgresAddress

__all__ = ["FORMAT", "Tenant", "lock_number", "make_schema", "open_tables", "quoted"]

FORMAT: Final = 1
"""The version of the tables."""

_MAKE: Final = (
    "CREATE TABLE {schema}.format (version integer NOT NULL)",
    """CREATE TABLE {schema}.tenants (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, identity text NOT NULL UNIQUE)""",
    # The indexes begin with the reference id: with the tenant first, a plan may read all rows of the tenant.
    # Keys and names are bytes, because the encoding of a database may lack some of their characters.
    """CREATE TABLE {schema}.graphs (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant integer NOT NULL,
        reference bytea NOT NULL, moment bytea NOT NULL,
        digest bytea NOT NULL, state smallint NOT NULL, run bytea NOT NULL, number bigint NOT NULL,
        UNIQUE (reference, moment, tenant))""",
    # `created` is 0 for a part that was not created with this journal, and otherwise its place among the created parts.
    # Negative: it is unknown now whether the part is there, and `ref` is the reference of the created part.
    """CREATE TABLE {schema}.parts (
        graph bigint NOT NULL, part bytea NOT NULL, digest bytea NOT NULL, ref uuid, created bigint NOT NULL,
        PRIMARY KEY (graph, part))""",
    r"CREATE INDEX orders ON {schema}.parts (ref) WHERE part = '\x6f72646572'",
    # One claim for each reference id, because the server may take all orders with it for one.
    """CREATE TABLE {schema}.leases (
        tenant integer NOT NULL, reference bytea NOT NULL, moment bytea NOT NULL, token uuid NOT NULL,
        until timestamptz NOT NULL, PRIMARY KEY (reference, tenant))""",
)


class Tenant(NamedTuple):
    """The owner of some of the records."""

    number: int
    identity: Mapping[str, str]


async def open_tables(connection: Connection, address: PostgresAddress, identity: Mapping[str, str] | None) -> Tenant:
    """Make the tables if they are missing, and return the tenant with this *identity*.

    Without an *identity*, return the tenant that the address names, or the only one. Raises `JournalError` for tables
    of another version, and for a tenant that is unknown.
    """
    schema = quoted(address.schema)
    # Two first workers must not make the tables at once.
    await connection.execute("SELECT pg_advisory_xact_lock($1)", lock_number(address.schema.encode()))
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", f"{schema}.format"):
        if identity is None:
            raise JournalError(f"there is no journal at {address}: name the journal of a load")
        await make_schema(connection, address.schema)
        for statement in _MAKE:
            await connection.execute(statement.format(schema=schema))
        add = f"INSERT INTO {schema}.format (version) VALUES ($1)"  # noqa: S608 it is quoted
        await connection.execute(add, FORMAT)
    version = await connection.fetchval(f"SELECT version FROM {schema}.format")  # noqa: S608 it is quoted
    if version != FORMAT:
        raise JournalError(
            f"the journal {address} has format {version}, and this version of cdp-orders-async reads format {FORMAT}:"
            " use one version for all workers, or name another schema (?schema=NAME)"
        )
    if identity is None:
        return await _known_tenant(connection, address, schema)
    text = orjson.dumps({**DEFAULTS, **identity} if identity else {}, option=orjson.OPT_SORT_KEYS).decode()
    find = f"SELECT id FROM {schema}.tenants WHERE identity = $1"  # noqa: S608 it is quoted
    number = await connection.fetchval(find, text)
    if number is None:
        add = f"INSERT INTO {schema}.tenants (identity) VALUES ($1) RETURNING id"  # noqa: S608 it is quoted
        number = await connection.fetchval(add, text)
    return Tenant(number, MappingProxyType(dict(identity)))


async def _known_tenant(connection: Connection, address: PostgresAddress, schema: str) -> Tenant:
    rows = await connection.fetch(f"SELECT id, identity FROM {schema}.tenants ORDER BY id")  # noqa: S608 it is quoted
    tenants = {number: Tenant(number, MappingProxyType(orjson.loads(text))) for number, text in rows}
    chosen = address.tenant if address.tenant is not None or len(tenants) != 1 else next(iter(tenants))
    if chosen in tenants:
        return tenants[chosen]
    known = "; ".join(f"{number} is {_describe(tenant.identity)}" for number, tenant in tenants.items())
    if chosen is not None:
        raise JournalError(f"the journal {address} has no tenant {chosen}: {known or 'it has none'}")
    if not tenants:
        raise JournalError(f"the journal {address} is empty: name the journal of a load")
    raise JournalError(f"the journal {address} has several tenants, add ?tenant=NUMBER to its address: {known}")


def _describe(identity: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in identity.items())


async def make_schema(connection: Connection, name: str) -> None:
    """Make the schema *name* if it is missing; one that is there needs no right to make schemas."""
    if await connection.fetchval("SELECT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", name):
        await connection.execute(f"CREATE SCHEMA {quoted(name)}")


def quoted(name: str) -> str:
    """Return the *name* of a schema as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def lock_number(*names: bytes) -> int:
    """Return the number of the advisory lock for *names*: 64 bits, so that two names hardly ever share one."""
    hashed = blake2b(digest_size=8, person=b"cdp_orders")
    for name in names:
        hashed.update(len(name).to_bytes(8, "big") + name)
    return int.from_bytes(hashed.digest(), "big", signed=True)
