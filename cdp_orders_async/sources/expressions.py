"""SQL that writes a row of a table as the JSON text of an order.

The text is made of the values as they stand: a DECIMAL keeps each digit, as no float is between. Nulls are left out.
Each part of an expression stands in it once, since duckdb computes it as often as it stands there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cdp_orders_async.errors import InputError
from cdp_orders_async.models.constraints import SIGNIFICANT_DIGITS
from cdp_orders_async.sources.columns import Branch, Key

__all__ = ["UNUSABLE", "Column", "identifier", "is_simple", "leaves", "literal", "object_of", "short_name"]

UNUSABLE = "$unusable"
"""The key of an object that stands for a value which JSON cannot say; its own value says why."""
WHOLE = frozenset(
    {"tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"}
    | {"bignum", "varint"}
)
SHORT_WHOLE = WHOLE - {"hugeint", "uhugeint", "bignum", "varint"}
DOUBTFUL = ("null", "NaN", "Infinity")
"""Words in the JSON text of duckdb that may be a null or a number which JSON does not have."""
FLOATS = frozenset({"float", "double"})
TIMES = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
NESTED = frozenset({"struct", "map", "list", "array"})
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
    values = {name: _branch(branch, columns) for name, branch in branches.items()}
    slow = _joined(values)
    sources = {name: _source(branches[name], columns) for name in values}
    fields = {name: value for name, value in values.items() if value != "NULL"}
    first = next(iter(fields), None)
    if first is None or (source := sources[first]) is None:
        return slow
    # With the first value there, each other one has a comma before it, which takes half of the time.
    parts = [literal(f"{{{_quoted(first)}:"), fields.pop(first)]
    for name, value in fields.items():
        begin = literal(f",{_quoted(name)}:")
        if (other := sources[name]) is None:
            parts.append(f"{begin} || {value}")
        else:
            parts += [f"CASE WHEN {other} IS NOT NULL THEN {begin} END", value]
    return f"CASE WHEN {source} IS NULL THEN {slow} ELSE concat({', '.join(parts)}, '}}') END"


def _source(branch: Branch, columns: Sequence[Column]) -> str | None:
    """Return the column that is null wherever the value of a branch is, and nowhere else; None if there is none."""
    if branch.column is None:
        return None
    column = columns[branch.column]
    is_nested = column.type.id in NESTED or (branch.key is not None and branch.key.kind in {"object", "pairs"})
    return None if is_nested or str(column.type) == "JSON" else identifier(column.name)


def _branch(branch: Branch, columns: Sequence[Column]) -> str:
    if branch.column is not None:
        column = columns[branch.column]
        try:
            value = _value(identifier(column.name), column.type, branch.key)
        except UnsupportedError as error:
            raise InputError(
                f"the column {column.name} has the type {error}, which JSON does not have: leave it out, or cast it to"
                " another type, by SQL"
            ) from None
        if not is_simple(column, branch.key):
            return value
        short = identifier(short_name(column.name))
        doubt = " OR ".join(f"contains({short}, {literal(word)})" for word in DOUBTFUL)
        return f"CASE WHEN {doubt} THEN {value} ELSE {short} END"
    inner = object_of(branch.inner, columns)
    if inner != "NULL":
        nothing = [f"{identifier(columns[number].name)} IS NULL" for number, _ in leaves(branch)]
        inner = f"CASE WHEN {' AND '.join(nothing)} THEN NULL ELSE {inner} END"
    return f"'[' || {inner} || ']'" if branch.key is not None and branch.key.many else inner


def short_name(column: str) -> str:
    """Return the name of a column with the JSON text of another *column*, as duckdb writes it."""
    return f"$json {column}"


def is_simple(column: Column, key: Key | None) -> bool:
    """Tell whether duckdb itself writes the nested values of a column as they are meant, if none is null or no number.

    It does so in half of the time.
    """
    return column.type.id in {"struct", "list"} and _is_simple(column.type, key)


def _is_simple(kind: Any, key: Key | None) -> bool:  # noqa: ANN401 a type of duckdb
    match kind.id:
        case "struct":
            keys: Mapping[str, Key] = {} if key is None else key.keys
            in_place = key is None or key.kind != "pairs" or not key.many
            return in_place and all(_is_simple(child, keys.get(name)) for name, child in kind.children)
        case "list":
            return _is_simple(kind.children[0][1], None if key is None else Key(key.kind, keys=key.keys))
        case "varchar":
            return str(kind) == "VARCHAR" and (key is None or (key.kind in {"text", "other"} and not key.many))
        case "decimal":
            return kind.children[0][1] <= SIGNIFICANT_DIGITS and not _is_text(key)
        case "double" | "boolean":
            return True
        case other:
            return other in SHORT_WHOLE and not _is_text(key)


def leaves(branch: Branch) -> Iterator[tuple[int, Key | None]]:
    """Yield the number of each column of a branch, and the key of its place."""
    if branch.column is not None:
        yield branch.column, branch.key
    for inner in branch.inner.values():
        yield from leaves(inner)


def _joined(values: Mapping[str, str]) -> str:
    fields = [f"{literal(_quoted(name) + ':')} || {value}" for name, value in values.items() if value != "NULL"]
    return f"'{{' || concat_ws(',', {', '.join(fields)}) || '}}'" if fields else "NULL"


def _quoted(name: str) -> str:
    import json  # noqa: PLC0415 only tables need it

    return json.dumps(name, ensure_ascii=False)


def _value(x: str, kind: Any, key: Key | None, depth: int = 0) -> str:  # noqa: ANN401 a type of duckdb
    """Return the SQL of the JSON text of *x*, which is SQL of this type, for the place of *key*."""
    match kind.id:
        case "struct":
            keys: Mapping[str, Key] = {} if key is None else key.keys
            fields = {name: f"struct_extract({x}, {literal(name)})" for name, _ in kind.children}
            inner = {name: _value(fields[name], child, keys.get(name), depth) for name, child in kind.children}
            nothing = " AND ".join(f"{field} IS NULL" for field in fields.values())
            return _in_list(f"CASE WHEN {nothing} THEN NULL ELSE {_joined(inner)} END", key)
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
    return f"'{{' || {pairs} || '}}'"


def _listed(x: str, change: str) -> str:
    return f"'[' || {_entries(x, change)} || ']'"


def _entries(x: str, change: str) -> str:
    return f"array_to_string(list_transform({x}, {change}), ',')"


def _in_list(value: str, key: Key | None) -> str:
    """Return an extension in the list that an order has for it."""
    return f"'[' || {value} || ']'" if key is not None and key.kind == "pairs" and key.many else value


def _scalar(x: str, kind: Any, key: Key | None) -> str:  # noqa: ANN401 a type of duckdb
    if kind.id == "varchar":
        return _of_text(x, key, is_json=str(kind) == "JSON")
    if kind.id == "null":
        return "NULL"
    made = _of_number(x, kind, key) or _of_moment(x, kind)
    if made is None and kind.id not in PLAIN:
        raise UnsupportedError(str(kind))
    made = made or f"to_json({x}::VARCHAR)::VARCHAR"
    return f"'[' || {made} || ']'" if key is not None and key.many and key.kind not in {"object", "pairs"} else made


def _of_number(x: str, kind: Any, key: Key | None) -> str | None:  # noqa: ANN401 a type of duckdb
    """Return the SQL of a number or a boolean; a whole number is a text where the key holds texts, as an id does."""
    plain = f"{x}::VARCHAR"
    if kind.id in FLOATS:
        return f"CASE WHEN isfinite({x}) THEN {plain} ELSE {unusable(plain)} END"
    is_decimal = kind.id == "decimal"
    precision, scale = (number for _, number in kind.children) if is_decimal else (0, 0)
    if is_decimal and precision == scale:  # there is no zero before its point
        return rf"regexp_replace({plain}, '^(-?)[.]', '\10.')"
    if kind.id in WHOLE or (is_decimal and not scale):
        return f"to_json({plain})::VARCHAR" if _is_text(key) else plain
    return plain if is_decimal or kind.id == "boolean" else None


def _of_moment(x: str, kind: Any) -> str | None:  # noqa: ANN401 a type of duckdb
    """Return the SQL of a date, or of a time: in UTC with a Z, or as it stands where it has no zone."""
    text = f"{x}::VARCHAR"
    if kind.id in TIMES:
        made = f"replace({text}, ' ', 'T')"
    elif kind.id == "date":
        made = text
    elif str(kind) == "TIMESTAMP WITH TIME ZONE":
        made = f"replace(({x} AT TIME ZONE 'UTC')::VARCHAR, ' ', 'T') || 'Z'"
    else:
        return None
    return f"CASE WHEN isfinite({x}) THEN '\"' || {made} || '\"' ELSE {unusable(text)} END"


def _is_text(key: Key | None) -> bool:
    return key is not None and key.kind == "text"


def _begins(x: str, what: str) -> str:
    """Return the SQL that tells whether JSON begins with *what*, a pattern."""
    return rf"regexp_matches({x}, '^[ \t\r\n]*{what}')"


def _of_text(x: str, key: Key | None, *, is_json: bool) -> str:
    """Return the SQL of the JSON text of a text, which is JSON already where its place holds more than one value."""
    text = f"to_json({x})::VARCHAR"
    plain = f"{x}::VARCHAR"
    is_long = f"contains({plain}, chr(10)) OR contains({plain}, chr(13))"
    in_one_line = f"CASE WHEN {is_long} THEN replace(replace({plain}, chr(10), ' '), chr(13), ' ') ELSE {plain} END"
    as_it_is = f"CASE WHEN NOT {_begins(plain, 'null')} THEN {in_one_line} END"
    if is_json:
        text = as_it_is
    if key is None:
        return text
    if key.kind in {"object", "pairs"}:
        wrong = f"CASE WHEN {x} IS NULL THEN NULL ELSE {unusable(literal('text'))} END"
        if key.kind == "pairs" and key.many:
            as_it_is = f"CASE WHEN {_begins(plain, '[{]')} THEN '[' || {in_one_line} || ']' ELSE {as_it_is} END"
        return f"CASE WHEN json_valid({x}) THEN {as_it_is} ELSE {wrong} END"
    if key.kind == "number" and not is_json:
        text = f"CASE WHEN regexp_full_match({x}, '{NUMBER}') THEN {x} ELSE {text} END"
    if not key.many:
        return text
    return f"CASE WHEN {_begins(plain, '[[]')} AND json_valid({x}) THEN {in_one_line} ELSE '[' || {text} || ']' END"
