"""The address of a journal in Postgres: the part for the database, our own parameters, and a name without a secret."""

from __future__ import annotations

from typing import Final, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from cdp_orders_async.errors import JournalError

__all__ = ["PostgresAddress"]

SCHEMES: Final = ("postgresql", "postgres")
SCHEMA: Final = "cdp_orders"
MAX_NAME_BYTES: Final = 63
"""The longest name of a schema."""


class PostgresAddress(Struct, frozen=True):
    """The address of a journal: ``postgresql://USER@HOST:PORT/DATABASE``, and ``?schema=NAME`` if it is another one.

    Its texts, `name` and repr, have no password.
    """

    name: str
    """The address for messages: without a password, and without the parameters of the connection."""
    schema: str
    """The name of the schema that holds the tables."""
    tenant: int | None
    """The number of the tenant, if the address names one."""
    has_password: bool
    """Whether the address itself holds a password."""
    secret: tuple[str]
    """The address for the database, which may hold a password."""

    def __repr__(self) -> str:
        return f"PostgresAddress({self.name!r})"

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def matches(text: str) -> bool:
        """Tell whether *text* is the address of a database, and not the path of a file."""
        return text.partition("://")[0].lower() in SCHEMES and "://" in text

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
        shown = {"schema": schema} if schema != SCHEMA else {}
        name = f"{parts.scheme}://{user}{at and user and '@'}{place}{parts.path}"
        return cls(
            name=unquote(name) + (f"?{urlencode(shown)}" if shown else ""),
            schema=schema,
            tenant=None if tenant is None else int(tenant),
            has_password=bool(password) or any(key == "password" for key, _ in rest),
            secret=(urlunsplit(parts._replace(query=urlencode(rest, quote_via=quote))),),
        )


_NOT_AN_ADDRESS: Final = (
    "the address of the journal cannot be read: write it as postgresql://USER@HOST:PORT/DATABASE, with %2F for a / and"
    " %23 for a # in a name or a password"
)
