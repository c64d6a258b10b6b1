"""The address of a journal in Postgres: the part for the database, our own parameters, and a name without a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from msgspec import Struct

from cdp_orders_async.errors import JournalError
from cdp_orders_async.redact import Opaque

__all__ = ["PostgresAddress"]

SCHEMES: Final = ("postgresql", "postgres")
ADDRESS: Final = re.compile(r"\s*[a-z][\w+.-]+:/|.*(://|password\s*=)", re.IGNORECASE | re.DOTALL)
"""A scheme of two characters or more, since one is a drive of Windows; or what only an address has."""
SCHEMA: Final = "cdp_orders"
MAX_NAME_BYTES: Final = 63
"""The longest name of a schema."""


class PostgresAddress(Struct, frozen=True):
    """The address of a journal: ``postgresql://USER@HOST:PORT/DATABASE``, and ``?schema=NAME`` if it is another one.

    Its texts have no password.
    """

    name: str
    """The address for messages: without a password, and without the parameters of the connection."""
    schema: str
    """The name of the schema that holds the tables."""
    tenant: int | None
    """The number of the tenant, if the address names one."""
    without_password: str
    """The whole address, as it can be given again, without the password."""
    has_password: bool
    """Whether the address itself holds a password."""
    given: Opaque[str]
    """The whole address, as it was given."""
    dsn: Opaque[str]
    """The address for the database, without our own parameters."""

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def matches(text: str) -> bool:
        """Tell whether *text* is meant as the address of a database, and not as the path of a file.

        So are addresses of other libraries, which `parse` refuses: messages show a path, and these may hold a password.
        """
        return ADDRESS.match(text) is not None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address; raises `JournalError`, which shows no part of it that could be a password."""
        try:
            parts = urlsplit(text)
            parameters = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:
            raise JournalError(_NOT_AN_ADDRESS) from None
        user, at, place = parts.netloc.rpartition("@")
        # Behind a password with a / or a #, the host is no longer where it belongs.
        if parts.scheme not in SCHEMES or parts.fragment or (not at and "@" in parts.path):
            raise JournalError(_NOT_AN_ADDRESS)
        user, _, password = user.partition(":")
        own = {key: value for key, value in parameters if key in {"schema", "tenant"}}
        rest = [(key, value) for key, value in parameters if key not in own]
        schema = own.get("schema", SCHEMA)
        tenant = own.get("tenant")
        if tenant is not None and not (tenant.isdecimal() and tenant.isascii()):
            raise JournalError("the tenant in the address of a journal is a number: cdp-orders journal show tells it")
        if not schema or "\0" in schema or len(schema.encode(errors="replace")) > MAX_NAME_BYTES:
            raise JournalError(f"the schema in the address of a journal has from 1 to {MAX_NAME_BYTES} bytes")
        name = f"{parts.scheme}://{user}{at and user and '@'}{place}{parts.path}"
        return cls(
            name=unquote(name) + _query([("schema", schema)] if schema != SCHEMA else []),
            schema=schema,
            tenant=None if tenant is None else int(tenant),
            without_password=name + _query([one for one in parameters if one[0] != "password"]),
            has_password=bool(password) or any(key == "password" for key, _ in rest),
            given=Opaque(text),
            dsn=Opaque(f"{parts.scheme}://{parts.netloc}{parts.path}{_query(rest)}"),
        )


def _query(parameters: Sequence[tuple[str, str]]) -> str:
    return f"?{urlencode(parameters, quote_via=quote)}" if parameters else ""


_NOT_AN_ADDRESS: Final = (
    "the address of the journal cannot be read: write it as postgresql://USER@HOST:PORT/DATABASE, with %2F for a / and"
    " %23 for a # in a name or a password"
)
