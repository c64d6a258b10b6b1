"""The connection to the database of a journal, and sentences for its errors."""

from __future__ import annotations

import asyncio
import logging
from types import MappingProxyType
from typing import Final

import asyncpg

from cdp_orders_async.errors import JournalError
from cdp_orders_async.journal.postgres.address import PostgresAddress

__all__ = ["connect", "disconnect", "explain", "is_passing", "warn_of_settings"]

logger = logging.getLogger("cdp_orders_async")

CONNECT_SECONDS: Final = 10.0
MAX_WAIT: Final = 20
"""Seconds after which an operation of the database is given up."""
CLOSE_SECONDS: Final = 2.0

_SETTINGS: Final = (
    # A claim must survive a crash of the database before anything is sent, whatever the database does by default.
    """SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')""",
    # A transaction must see what others wrote before it got its locks, whatever the database does by default.
    "SET default_transaction_isolation = 'read committed'",
    # Otherwise a plan that was made for small tables would read them as a whole after they have grown.
    *(f"SET enable_{way} = off" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "material")),
    "SET jit = off",  # the statements are small, and compiling one takes longer than running it
    # A connection that was lost must not keep its locks.
    f"SET idle_in_transaction_session_timeout = '{MAX_WAIT}s'",
    f"SET statement_timeout = '{MAX_WAIT}s'",
)

_PASSING: Final = (
    "08",  # the connection
    "40",  # a deadlock, or a transaction that must be tried again
    "53300",  # too many connections
    "53200",  # out of memory, also of the memory for locks
    "55P03",  # a lock is not available
    "57",  # the database shuts down or starts, or the operation took too long
    "25P03",  # the transaction was idle for too long
)
"""Beginnings of the codes of errors that may pass without help."""


async def connect(address: PostgresAddress) -> asyncpg.Connection:
    """Connect to the database; raises the errors that `explain` and `is_passing` know."""
    connection = await asyncpg.connect(address.dsn.open(), timeout=CONNECT_SECONDS, command_timeout=2 * MAX_WAIT)
    try:
        for setting in _SETTINGS:
            await connection.execute(setting)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def warn_of_settings(connection: asyncpg.Connection, address: PostgresAddress) -> None:
    """Warn of a database that loses its newest records if its machine loses power."""
    if await connection.fetchval("SHOW fsync") == "off":
        logger.warning(
            "the database of the journal %s runs with fsync=off: after a loss of power an order may be created twice",
            address,
        )


async def disconnect(connection: asyncpg.Connection) -> None:
    """Close a connection, also one that is broken."""
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def is_passing(error: BaseException) -> bool:
    """Tell whether the same operation may succeed a little later, on a new connection."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "08").startswith(_PASSING)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return False
    # A connection that its server ended between two operations may fail as an internal error of asyncpg.
    broken = (asyncpg.InterfaceError, asyncpg.InternalClientError)
    return isinstance(error, (OSError, TimeoutError, asyncio.IncompleteReadError, *broken))


_SENTENCES: Final = MappingProxyType(
    {
        "26": "the database of {name} forgets the state of a connection, as behind a pooler that shares connections:"
        " connect to Postgres itself, or let the pooler keep a connection for each session",
        "28": "the database of {name} refuses the login: see to the user and to the password",
        "3D000": "{name} names a database that does not exist: create it, or name another",
        "42501": "the user of {name} has too few rights ({details}): grant them, or name another user",
        "42P07": "the schema of {name} holds tables of another program: name another schema (?schema=NAME)",
        "42703": "the schema of {name} holds tables of another program: name another schema (?schema=NAME)",
        "42P01": "the tables of {name} are damaged: name another schema (?schema=NAME), and resume with --look-first",
        "25006": "the database of {name} is read-only: name the primary server",
        "53100": "the disk of the database of {name} is full: free some space and resume",
        "53300": "the database of {name} has no free connection: each worker needs one",
        "57P03": "the database of {name} is starting or shutting down: resume when it runs",
        "57014": "the database of {name} takes too long: see to its load and to its locks",
    }
)
"""Sentences by the beginning of an error's code."""
_MAYBE_BROKEN: Final = (
    "the connection to the database of {name} broke: see whether its server runs, and whether it is a Postgres"
)
_UNEXPECTED: Final = "{name} failed ({details}): please report this"


def explain(address: PostgresAddress, error: BaseException, what: str = "journal") -> str:
    """Return a sentence for a person: the problem with the journal, or *what* else it is, and what to do.

    It has no password in it.
    """
    if isinstance(error, JournalError):
        return str(error)
    sentence, details = _MAYBE_BROKEN if is_passing(error) else _UNEXPECTED, type(error).__name__
    match error:
        case asyncpg.PostgresError(sqlstate=str(code)) if not code.startswith("08"):
            starts = (start for start in _SENTENCES if code.startswith(start))
            sentence = _SENTENCES.get(next(starts, ""), "the database of {name} failed ({details}): see its log")
            details = str(error).partition("\n")[0]
        case asyncpg.ClientConfigurationError() | ValueError() | OverflowError():  # its text may have a password in it
            sentence = "the address of {name} cannot be used: see to its host, its port and its options"
        case ConnectionRefusedError():
            sentence = "the database of {name} is not there (connection refused): start it and resume"
        case TimeoutError():
            sentence = "the database of {name} does not answer: see whether its server runs"
        case OSError(strerror=str(details)):
            sentence = "the database of {name} cannot be reached ({details}): see to its host and its port"
        case _:
            pass
    return sentence.format(name=f"the {what} {address}", details=details)
