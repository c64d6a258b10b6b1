"""SQL that writes a row of a table as the JSON text of an order.

The text is made of the values as they stand: a DECIMAL keeps each digit, as no float is between. Nulls are left out, and
so are objects and lists in which nothing is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cdp_orders_async.errors import InputError
from cdp_orders_async.sources.columns import Branch, Key

__all__ = ["UNUSABLE", "Column", "identifier", "literal", "object_of"]

UNUSABLE = "$unusable"
"""The key of an object that stands for a value which JSON cannot say; its own value says why."""
WHOLE = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
    | {"bignum", "varint"}
)
FLOATS = frozenset({"float", "double"})
TIMES = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
PLAIN = frozenset({"uuid", "enum", "time", "time_ns"})
NUMBER = "-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?"


def literal(text: str) -> str:
    """Return *text* as SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return the *name* of a column or a table as SQL."""
    return '"' + name.replace('"', '""') + '"'


def unusable(why: str) -> str:
    """Return the SQL of a mark in place of a value; *why* is SQL."""
    return f"""'{{"{UNUSABLE}":"' || {why} || '"}}'"""


class Column(NamedTuple):
    """A column of a table."""

    name: str
    type: Any
    """A type of duckdb."""


class UnsupportedError(Exception):
    """A type that JSON does not have."""


def object_of(branches: Mapping[str, Branch], columns: Sequence[Column]) -> str:
    """Return the SQL of an object with the keys of *branches*, or of NULL where all is null.

    Raises `InputError` for a column of a type that JSON does not have.
    """
    return _joined({name: _branch(branch, columns) for name, branch in branches.items()})


def _branch(branch: Branch, columns: Sequence[Column]) -> str:
    if branch.column is not None:
        column = columns[branch.column]
        try:
            return _value(identifier(column.name), column.type, branch.key)
        except UnsupportedError as error:
            raise InputError(
                f"the column {column.name} has the type {error}, which JSON does not have: leave it out, or cast it to"
                " another type, by SQL"
            ) from None
    inner = object_of(branch.inner, columns)
    return f"'[' || {inner} || ']'" if branch.key is not None and branch.key.many else inner


def _joined(values: Mapping[str, str]) -> str:
    fields = [f"{literal(_quoted(name) + ':')} || {value}" for name, value in values.items() if value != "NULL"]
    return f"nullif('{{' || concat_ws(',', {', '.join(fields)}) || '}}', '{{}}')" if fields else "NULL"


def _quoted(name: str) -> str:
    import json  # noqa: PLC0415 only tables need it

    return json.dumps(name, ensure_ascii=False)


def _value(x: str, kind: Any, key: Key | None, depth: int = 0) -> str:  # noqa: ANN401 a type of duckdb
    """Return the SQL of the JSON text of *x*, which is SQL of this type, for the place of *key*."""
    match kind.id:
        case "struct":
            keys = key.keys if key is not None else {}
            inner = {
                name: _value(f"struct_extract({x}, {literal(name)})", child, keys.get(name), depth)
                for name, child in kind.children
            }
            return _in_list(_joined(inner), key)
        case "map":
            return _in_list(_map(x, kind, depth), key)
        case "list" | "array":
            item = f"v{depth}"
            child = dict(kind.children)["child"]
            entry = None if key is None else Key(key.kind, keys=key.keys)
            inner_value = _value(item, child, entry, depth + 1)
            return _listed(x, f"lambda {item}: {inner_value}")
        case _:
            return _scalar(x, kind, key)


def _map(x: str, kind: Any, depth: int) -> str:  # noqa: ANN401 a type of duckdb
    """Return the SQL of an object of the pairs of a map."""
    children = dict(kind.children)
    item = f"v{depth}"
    value = _value(f"{item}.value", children["value"], None, depth + 1)
    pairs = _entries(f"map_entries({x})", f"lambda {item}: to_json({item}.key::VARCHAR)::VARCHAR || ':' || {value}")
    return f"nullif('{{' || {pairs} || '}}', '{{}}')"


def _listed(x: str, change: str) -> str:
    return f"nullif('[' || {_entries(x, change)} || ']', '[]')"


def _entries(x: str, change: str) -> str:
    return f"array_to_string(list_transform({x}, {change}), ',')"


def _in_list(value: str, key: Key | None) -> str:
    """Return an extension in the list that an order has for it."""
    return f"'[' || {value} || ']'" if key is not None and key.kind == "pairs" and key.many else value


def _scalar(x: str, kind: Any, key: Key | None) -> str:  # noqa: ANN401 a type of duckdb
    text = f"to_json({x}::VARCHAR)::VARCHAR"
    plain = f"{x}::VARCHAR"
    many = key is not None and key.many and key.kind in {"text", "number", "other"}
    match kind.id:
        case "null":
            return "NULL"
        case "varchar":
            return _of_text(x, key, is_json=str(kind) == "JSON")
        case "boolean":
            made = plain
        case "decimal":
            precision, scale = (number for _, number in kind.children)
            made = plain
            if precision == scale:  # there is no zero before its point
                made = rf"regexp_replace({plain}, '^(-?)[.]', '\10.')"
            elif not scale and _is_text(key):
                made = text
        case number if number in WHOLE:
            made = text if _is_text(key) else plain
        case number if number in FLOATS:
            made = f"CASE WHEN isfinite({x}) THEN {plain} ELSE {unusable(plain)} END"
        case time if time in TIMES:
            made = f"CASE WHEN isfinite({x}) THEN '\"' || replace({plain}, ' ', 'T') || '\"' ELSE {unusable(plain)} END"
        case "date":
            made = f"CASE WHEN isfinite({x}) THEN '\"' || {plain} || '\"' ELSE {unusable(plain)} END"
        case _ if str(kind) == "TIMESTAMP WITH TIME ZONE":
            utc = f"({x} AT TIME ZONE 'UTC')::VARCHAR"
            made = f"CASE WHEN isfinite({x}) THEN '\"' || replace({utc}, ' ', 'T') || 'Z\"' ELSE {unusable(plain)} END"
        case other if other in PLAIN:
            made = text
        case _:
            raise UnsupportedError(str(kind))
    return f"'[' || {made} || ']'" if many else made


def _is_text(key: Key | None) -> bool:
    return key is not None and key.kind == "text"


def _of_text(x: str, key: Key | None, *, is_json: bool) -> str:
    """Return the SQL of the JSON text of a text, which is JSON already where its place holds more than one value."""
    text = f"to_json({x})::VARCHAR"
    in_one_line = f"translate({x}::VARCHAR, chr(10) || chr(13), '  ')"
    if is_json:
        text = f"nullif(trim({in_one_line}), 'null')"
    if key is None:
        return text
    begins = f"left(ltrim({in_one_line}), 1)"
    if key.kind in {"object", "pairs"}:
        wrong = f"CASE WHEN {x} IS NULL THEN NULL ELSE {unusable(literal('text'))} END"
        made = f"CASE WHEN json_valid({x}) THEN nullif(trim({in_one_line}), 'null') ELSE {wrong} END"
        if key.kind == "pairs" and key.many:
            made = f"CASE WHEN {begins} = '{{' AND json_valid({x}) THEN '[' || {in_one_line} || ']' ELSE {made} END"
        return made
    if key.kind == "number" and not is_json:
        text = f"CASE WHEN regexp_full_match({x}, '{NUMBER}') THEN {x} ELSE {text} END"
    if not key.many:
        return text
    return f"CASE WHEN {begins} = '[' AND json_valid({x}) THEN {in_one_line} ELSE '[' || {text} || ']' END"
