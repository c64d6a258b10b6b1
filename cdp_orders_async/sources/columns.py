"""The columns of a table that make an order: their keys, the kind of value of each, and the names that were meant."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, TypeAlias, get_type_hints

from msgspec import Struct

from cdp_orders_async.errors import InputError, shown_key
from cdp_orders_async.graph import SERVER_SET, known_key
from cdp_orders_async.kinds import Api
from cdp_orders_async.models import FlightSegment, Identifier
from cdp_orders_async.models.common import camel, once_a_model

__all__ = ["ITEMS", "Branch", "Key", "branches", "keys_of"]

Kind: TypeAlias = Literal["text", "number", "other", "object", "pairs"]

ITEMS = "orderItems"
"""The key of a list whose entries may have a row each."""
RECORD = ("schema", "value")
"""The columns of an import record of the Batch API."""
USUAL = {
    "referenceId": ("orderref", "orderreference", "orderid", "ordernumber", "orderno", "ordernr", "bookingref", "id"),
    "orderedAt": ("orderdate", "ordertime", "ordertimestamp", "purchasedate", "purchasedat", "date", "timestamp"),
    "currencyCode": ("currency", "ordercurrency"),
    "price": ("total", "amount", "orderprice", "ordertotal", "totalprice"),
}
"""Usual names of the required columns, in letters and digits only."""
MOST_TOLD = 5
FEW_NAMES = 2
"""Columns with names like those of an order, from which on it is no chance, such as a person named Price."""


class Key(Struct, frozen=True):
    """What belongs under a key of an order."""

    kind: Kind
    many: bool = False
    """Whether it is a list of such values."""
    keys: Mapping[str, Key] = {}
    """The keys of an object."""


class Branch(Struct):
    """A column, or the columns whose names begin alike: ``contact.firstName`` and ``contact.lastName``."""

    key: Key | None
    column: int | None = None
    """The number of the column; None where *inner* has the columns."""
    inner: dict[str, Branch] = {}


@functools.cache
def keys_of(api: Api, *, as_record: bool) -> Mapping[str, Key]:
    """Return the keys of an order, or of its import record in the Batch API."""
    extensions = Key("pairs", many=True)
    text, email = Key("text"), Key("text")
    uses = Key("object", many=True, keys={"referenceId": text})
    items = {**_of_model(api.models["items"]), "extensions": extensions}
    if "item_extensions" not in api.models:
        del items["extensions"]
    order = {
        **_of_model(api.models["orders"]),
        "contact": Key("object", keys={**_of_model(api.models["contacts"]), "email": email}),
        ITEMS: Key("object", many=True, keys=items),
        "consumers": Key("object", many=True, keys={**_of_model(api.models["consumers"]), "email": email, ITEMS: uses}),
        "extensions": extensions,
    }
    if not as_record:
        return order
    return {"ref": text, "schema": text, "mode": text, "value": Key("object", keys=order)}


@once_a_model
def _of_model(model: type[Any]) -> Mapping[str, Key]:
    """Return the keys of a *model*, also those that the server sets, which a load ignores."""
    return {
        **dict.fromkeys(SERVER_SET, Key("text")),
        **{camel(name): _of_hint(str(hint)) for name, hint in get_type_hints(model).items()},
    }


def _of_hint(hint: str) -> Key:
    many = "tuple[" in hint
    for model in (Identifier, FlightSegment):
        if model.__name__ in hint:
            return Key("object", many=many, keys=_of_model(model))
    if "Decimal" in hint or "int" in hint:
        return Key("number", many=many)
    return Key("other" if "datetime" in hint else "text", many=many)


def branches(columns: Sequence[str], api: Api, name: str) -> dict[str, Branch]:
    """Return the *columns* of the table *name* as the keys of an order, nested where their names have dots.

    Raises `InputError` for a column that is no key of an order, with the name that may be meant, and where the columns
    say no reference id or one key twice.
    """
    heads = {column.partition(".")[0] for column in columns}
    keys = keys_of(api, as_record=heads.issuperset(RECORD))
    found: dict[str, Branch] = {}
    unknown: list[str] = []
    for number, column in enumerate(columns):
        if not _place(found, keys, column.split("."), number, name, column):
            unknown.append(column)
    if unknown:
        raise InputError(_unknown(unknown, columns, keys, api, name))
    if not {"referenceId", "value"} & found.keys():
        raise InputError(f"{name} has no column referenceId; its columns are {_listed(columns)}")
    return found


def _place(
    found: dict[str, Branch], keys: Mapping[str, Key], path: Sequence[str], number: int, name: str, column: str
) -> bool:
    """Put the column with this *number* into its place; return False where no key has such a *path*."""
    head, *rest = path
    key = keys.get(head)
    if key is None or (rest and key.kind not in {"object", "pairs"}):
        return False
    branch = found.get(head)
    if branch is not None and (not rest or branch.column is not None):
        raise InputError(f"{name} gives {shown_key(head)} twice: one of its columns is too many")
    if not rest:
        found[head] = Branch(key, number)
        return True
    inner = {} if branch is None else branch.inner
    if key.kind == "object":
        placed = _place(inner, key.keys, rest, number, name, column)
    else:
        placed = True
        inner[".".join(rest)] = Branch(None, number)
    if placed and branch is None:
        found[head] = Branch(key, inner=inner)
    return placed


def _unknown(unknown: Sequence[str], columns: Sequence[str], keys: Mapping[str, Key], api: Api, name: str) -> str:
    """Return the sentence about columns that are no key of an order."""
    given = set(columns)
    known = [path for path in _paths(keys) if path not in given]
    meanings = [_meant(column, given, known) for column in unknown[:MOST_TOLD]]
    named = len(unknown) < len(columns) or len(list(filter(None, meanings))) >= FEW_NAMES
    told = [
        f"{_shown(column, columns, named=named)}: {f'did you mean {meant}?' if meant else 'no name is close to it'}"
        for column, meant in zip(unknown, meanings, strict=False)
    ]
    if more := len(unknown) - len(told):
        told.append(f"and {more} more")
    are = "a column that is no key" if len(unknown) == 1 else f"{len(unknown)} columns that are no keys"
    heads = "" if named else "its first line must name the columns; "
    return (
        f"{name} has {are} of an order in version {api.version} ({'; '.join(told)}); {heads}name or leave out each"
        " column by SQL: --sql FILE.sql, in Python TableSource(..., sql=FILE)"
    )


def _meant(column: str, given: AbstractSet[str], known: list[str]) -> str | None:
    """Return the key that the name of a *column* probably means, if there is one that is not *given*."""
    letters = "".join(filter(str.isalnum, column)).lower()
    usual = (key for key, names in USUAL.items() if letters in names and key not in given)
    return next(usual, None) or known_key(column, known)


def _paths(keys: Mapping[str, Key], before: str = "") -> list[str]:
    """Return the names of all columns that an order can have."""
    found: list[str] = []
    for name, key in keys.items():
        if name not in SERVER_SET:
            found += [before + name, *_paths(key.keys, f"{before}{name}.")]
    return found


def _shown(column: str, columns: Sequence[str], *, named: bool) -> str:
    """Return the name of a column, or its place: the first row of a file without names holds values, maybe personal.

    *named* tells whether some of the *columns* have names that an order knows, as in no row of values.
    """
    parts = list(map(shown_key, column.split(".")))
    return ".".join(parts) if named and ".".join(parts) == column else f"column {columns.index(column) + 1}"


def _listed(columns: Sequence[str]) -> str:
    told = ", ".join(_shown(column, columns, named=True) for column in columns[:MOST_TOLD])
    return f"{told} and {len(columns) - MOST_TOLD} more" if len(columns) > MOST_TOLD else told
