"""The rows of a table as orders: the SQL that gives them an order and a number, and the rows of one order together."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Literal

import orjson

from cdp_orders_async.graph import key_in
from cdp_orders_async.journal.records import OrderId
from cdp_orders_async.redact import Opaque
from cdp_orders_async.sources.columns import ITEMS, Branch
from cdp_orders_async.sources.expressions import (
    UNUSABLE,
    Column,
    identifier,
    is_simple,
    leaves,
    object_of,
    short_name,
)
from cdp_orders_async.sources.parser import LONGEST_LINE

if TYPE_CHECKING:
    import duckdb

__all__ = ["DIFFERS", "FIRST", "merged", "repaired", "select_orders"]

ROW, HEAD, SAME = map(identifier, ("$row", "$head", "$same"))
KEY = ("referenceId", "orderedAt")
MOMENT = ',"orderedAt":'
"""What parts the two in the text of a key."""
MOST_ALIKE = 1000
"""Orders with one reference id that are held in memory, since a later row may be of one of them."""
DIFFERS = "differs"
"""Marks a value that is not the same in all rows of an order."""
FIRST = "first"
"""The key of the value in the first row, in such a mark."""
VALUE_OF_ORDER = 2  # the level of a value of the order
DEEPEST_TEXT = 200
"""The levels of JSON in a text: nobody needs so many, and the reader and the writer of JSON end at some more."""
LOOSE = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?(?:nan|inf(?:inity)?)|,(?=[ \t\r\n]*([\]}]))|[\[{]|[\]}]', re.IGNORECASE | re.DOTALL
)
"""What only duckdb takes for JSON, and the texts and brackets around it."""
SORTS = ("ORDER_BY", "TOP_N")
KEEP_SORT = ("PROJECTION", "LIMIT", "STREAMING_LIMIT", "STREAMING_WINDOW")
KEEP_ORDER = (*KEEP_SORT, "FILTER", "UNION", "UNNEST", "INOUT_FUNCTION")


def select_orders(
    connection: duckdb.DuckDBPyConnection, query: str, columns: Sequence[Column], branches: Mapping[str, Branch]
) -> tuple[str, bool]:
    """Return the SELECT of the rows of *query* as JSON text in UTF-8, and whether each row is one item.

    Its rows are the number of the row, and the order; or else the number, the key, the order without its items, and one
    item: then the rows of one order follow each other. A row that has the same order as the row before it has neither
    the key nor the order, since their text costs more than the comparison.

    The rows have the same numbers each time: the query ends in ORDER BY, or only reads, filters and renames, or else
    its rows are sorted here by all columns.
    """
    order = dict(branches)
    items = order.pop(ITEMS) if ITEMS in order and order[ITEMS].column is None else None
    names = [columns[number].name for name in KEY if name in order and (number := order[name].column) is not None]
    key = list(map(identifier, names))
    kept = _order_kept(connection, query)
    if kept is None:
        others = [identifier(column.name) for column in columns if column.name not in names]
        query = f"{_select('*', query)} ORDER BY {', '.join([*key, *others])}"
    in_place = items is None or kept is None or (kept == "scan" and _is_sorted(connection, query, key))
    query = _select(f"row_number() OVER () AS {ROW}, *", query)
    if items is None:
        text = f"encode(coalesce({object_of(order, columns)}, '{{}}'))"
        return _select(f"{ROW}, {text}", _with_short(query, columns, branches.values())), False
    if not in_place:
        query = f"{_select('*', query)} ORDER BY {', '.join([*key, ROW])}"
    of_key = object_of({name: order[name] for name in KEY if name in order}, columns)
    of_order, of_item = object_of(order, columns), object_of(items.inner, columns)
    same = "false"
    if key:
        of_key = f"CASE WHEN {SAME} OR {key[0]} IS NULL THEN NULL ELSE {of_key} END"
        inside = {number for number, _ in leaves(items)}
        head = [identifier(column.name) for number, column in enumerate(columns) if number not in inside]
        query = _select(f"*, row({', '.join(head)}) AS {HEAD}", query)
        same = f"{key[0]} IS NOT NULL AND {HEAD} IS NOT DISTINCT FROM lag({HEAD}) OVER ()"
    query = _select(f"*, {same} AS {SAME}", query)
    of_order = f"CASE WHEN {SAME} THEN NULL ELSE coalesce({of_order}, '{{}}') END"
    texts = f"{ROW}, {of_key}, encode({of_order}), encode({of_item})"
    return _select(texts, _with_short(query, columns, branches.values())), True


def _select(what: str, query: str) -> str:
    return f"SELECT {what} FROM ({query}\n)"  # noqa: S608 the names are quoted


def _with_short(query: str, columns: Sequence[Column], branches: Iterable[Branch]) -> str:
    """Add the JSON text of the columns of which duckdb writes it as it is meant; after a sort, which it would slow."""
    short = [
        f"to_json({identifier(column.name)})::VARCHAR AS {identifier(short_name(column.name))}"
        for branch in branches
        for number, key in leaves(branch)
        if is_simple(column := columns[number], key)
    ]
    return _select(", ".join(["*", *short]), query) if short else query


def _order_kept(connection: duckdb.DuckDBPyConnection, query: str) -> Literal["scan", "sort"] | None:
    """Tell what gives the rows of *query* the same order each time, as duckdb plans them; None if nothing does."""
    found = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    (root,) = json.loads(found[0][1])
    step = root
    while _name(step) in KEEP_SORT:
        (step,) = step["children"]
    if _name(step) in SORTS:
        return "sort"
    return "scan" if _keeps_order(root) else None


def _is_sorted(connection: duckdb.DuckDBPyConnection, query: str, key: Sequence[str]) -> bool:
    """Tell whether the rows of *query* are sorted by *key* as they stand.

    To read these columns alone takes less time than to sort all, and ends at the first row that is not in its place.
    """
    if not key:
        return False
    fields = ", ".join(key)
    rows = _select(f"row({fields}) AS {HEAD}, lag({HEAD}) OVER () AS {SAME}, {fields}", query)
    wrong = " OR ".join([f"{HEAD} < {SAME}", *(f"{name} IS NULL" for name in key)])
    return connection.execute(f"{_select('1', rows)} WHERE {wrong} LIMIT 1").fetchone() is None


def _keeps_order(step: Mapping[str, Any]) -> bool:
    children = step["children"]
    return not children or (_name(step) in KEEP_ORDER and all(map(_keeps_order, children)))


def _name(step: Mapping[str, Any]) -> str:
    return str(step["name"]).strip()


def repaired(text: bytes) -> bytes:
    """Return an order with a mark in place of each part that duckdb took for JSON and that is none.

    These are numbers that are not finite, commas at the end, and values that are nested too deep.
    """
    made: list[bytes] = []
    at = depth = first = 0
    is_deep = False
    for found in LOOSE.finditer(text):
        part, before = found[0], text[at : found.start()]
        if part in b"[{":
            depth += 1
            is_deep = is_deep or depth > DEEPEST_TEXT
            if depth == VALUE_OF_ORDER:
                made.append(before)
                at, first = found.start(), len(made)
        elif part in b"]}":
            depth -= 1
            if is_deep and depth < VALUE_OF_ORDER:
                made[first:] = [_mark("deep")]
                at, is_deep = found.end(), False
        elif part == b",":
            made += [before, b",", b'"%s":"text"' % UNUSABLE.encode() if found[1] == b"}" else _mark("text")]
            at = found.end()
        elif not part.startswith(b'"'):
            made += [before, _mark("nan" if part[-1:] in b"nN" else "inf")]
            at = found.end()
    return b"".join([*made, text[at:]])


def _mark(why: str) -> bytes:
    return orjson.dumps({UNUSABLE: why})


def _loaded(head: bytes) -> dict[str, Any]:
    """Return an order without its items; a number that is too large for a float becomes a mark."""
    text = repaired(head)
    try:
        order: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        order = json.loads(text, parse_float=_number, parse_int=_number)
    return order


def _number(text: str) -> Any:  # noqa: ANN401 a number or a mark
    return number if math.isfinite(number := float(text)) else {UNUSABLE: "inf"}


def merged(
    rows: Iterable[tuple[int, str | None, bytes | None, bytes | None]], zone: tzinfo | None
) -> Iterator[tuple[int, bytes]]:
    """Yield the number of the first row, and the text, of each order of *rows*, which have one item each.

    A row without an order belongs to the order before it; another row without a key is an order of its own. Where rows
    of an order differ in more than their items, the text has a mark for each value that differs. Rows may write the
    moment of their order in several ways; *zone* is that of moments without one.
    """
    last: _Order | None = None
    alike: dict[str, _Order] = {}  # the orders with the reference id of the last one, if it is not the only one
    for number, key, head, item in rows:
        if last is not None and (head is None or (key is not None and key == last.key)):
            last.add(head, item)
            continue
        assert head is not None  # noqa: S101 no row is before the first one
        order = _Order(number, key, head, item)
        if last is not None and order.is_like(last) and len(alike) < MOST_ALIKE:
            if not alike:
                alike[last.moment(zone)] = last
            last = alike.setdefault(order.moment(zone), order)
            if last is not order:
                last.key, last.number = key, min(number, last.number)
                last.add(head, item)
            continue
        yield from _texts(last, alike)
        alike.clear()
        last = order
    yield from _texts(last, alike)


def _texts(last: _Order | None, alike: Mapping[str, _Order]) -> Iterator[tuple[int, bytes]]:
    orders = alike.values() or ([] if last is None else [last])
    return ((order.number, order.text()) for order in orders)


class _Order:
    """The rows of one order."""

    def __init__(self, number: int, key: str | None, head: bytes, item: bytes | None) -> None:
        self.number, self.key, self._head = number, key, Opaque(head)
        self._items: Opaque[list[bytes]] = Opaque([] if item is None else [item])
        self._length = len(head) + len(item or b"")
        self._differing: dict[str, None] = {}

    def is_like(self, other: _Order) -> bool:
        """Tell whether both orders have the same reference id, and perhaps the same moment."""
        if self.key is None or other.key is None:
            return False
        return self.key.partition(MOMENT)[0] == other.key.partition(MOMENT)[0]

    def moment(self, zone: tzinfo | None) -> str:
        """Return the reference id and the moment as all orders have them; the key as it stands if it has no moment."""
        key = "" if self.key is None else self.key
        named = key_in(key.encode(), zone)
        return key if named is None or OrderId.parse(named) is None else named

    def add(self, head: bytes | None, item: bytes | None) -> None:
        """Add a row; *head* is None where it is that of the row before."""
        if head is not None and head != (first := self._head.open()):
            ours, theirs = _loaded(first), _loaded(head)
            names = [name for name in {**ours, **theirs} if name not in KEY]
            self._differing.update({name: None for name in names if ours.get(name) != theirs.get(name)})
        if item is not None and self._length <= LONGEST_LINE:  # a longer one is refused, whatever it holds
            self._items.open().append(item)
            self._length += len(item)

    def text(self) -> bytes:
        """Return the order as JSON text."""
        head, items = self._head.open(), self._items.open()
        if self._differing:
            ours = _loaded(head)
            marks = {name: {UNUSABLE: DIFFERS, FIRST: ours.get(name)} for name in self._differing}
            head = orjson.dumps({**ours, **marks})
        if not items:
            return head
        comma = b"," if len(head) > len(b"{}") else b""
        return b'%s%s"%s":[%s]}' % (head[:-1], comma, ITEMS.encode(), b",".join(items))
