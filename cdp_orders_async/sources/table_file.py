"""The orders of one table: a Parquet or a CSV file, or the result of a SQL file."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import re
import stat
import threading
from collections.abc import AsyncGenerator, Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import orjson

from cdp_orders_async.errors import InputError, shown_key
from cdp_orders_async.graph import Findings, InputLine, Timezone, read_json, zone_of
from cdp_orders_async.kinds import Api
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources.columns import branches
from cdp_orders_async.sources.duck import bound, check_query, connected, interrupt, needs_extra
from cdp_orders_async.sources.expressions import UNUSABLE, Column, identifier
from cdp_orders_async.sources.jsonlines import start_hash
from cdp_orders_async.sources.parser import LineParser
from cdp_orders_async.sources.rows import DIFFERS, FIRST, merged, repaired, select_orders
from cdp_orders_async.sources.scans import escaped, read_sql, scan, spellings, table_format
from cdp_orders_async.threads import in_thread
from cdp_orders_async.wire import is_list, is_object

if TYPE_CHECKING:
    import duckdb

__all__ = ["ALL_TABLES", "TableFile"]

T = TypeVar("T")
Running: TypeAlias = "list[duckdb.DuckDBPyConnection]"

ROWS = 256
"""Rows that are fetched at once."""
ALL_TABLES = "input"
"""The name that SQL has for the rows of all tables."""
PATIENCE = 0.02  # seconds between two interruptions of a query
LONGEST_END = 5.0  # seconds that the end of a query is waited for
EMPTY = (b"{}", b"[]")
DEEPEST = 8
"""The number of levels that are checked for what is left out: an order is not nested deeper."""
MARK = f'"{UNUSABLE}"'.encode()
RULES = {
    "nan": "must be a finite number, and is NaN",
    "inf": "must be a finite number, and is infinite",
    "-inf": "must be a finite number, and is infinite",
    "infinity": "must be a date or time, and is infinite",
    "-infinity": "must be a date or time, and is infinite",
    "text": "must be JSON in a text, or a column of a nested type",
    "deep": "must not be nested so deep",
    DIFFERS: "must be the same in each row of the order",
}


class _TableParser(LineParser):
    """Parses the orders of a table."""

    def value(self, text: bytes, lost: Findings) -> Any:  # noqa: ANN401 JSON can be anything
        """Return the JSON data in *text*, and add its losses and its marks to *lost*."""
        try:
            value = read_json(text, lost)
        except orjson.JSONDecodeError:
            text = repaired(text)
            value = read_json(text, lost)
        if MARK in text:
            _replace_marks(value, lost)
        if any(empty in text for empty in EMPTY):
            _drop_empty(value, DEEPEST)
        return value


def _replace_marks(value: Any, lost: Findings) -> None:  # noqa: ANN401 JSON can be anything
    """Replace each mark in *value* with what it stands for, and note the rule that is broken."""
    ahead: list[tuple[str, Any]] = [("$", value)]
    while ahead:
        at, holder = ahead.pop()
        for key, entry in list(_entries(holder)):
            held = entry
            place = f"{at}[{key}]" if isinstance(key, int) else f"{at}.{shown_key(key)}"
            while is_object(held) and UNUSABLE in held:
                lost.add(place, RULES.get(str(held[UNUSABLE]), "must be a value"))
                held = holder[key] = held.get(FIRST, 0)
            if is_object(held) or is_list(held):
                ahead.append((place, held))


def _entries(value: Any) -> Iterator[tuple[int | str, Any]]:  # noqa: ANN401 JSON can be anything
    """Yield what is in an object, by its key, or in a list, by its place."""
    if is_object(value):
        yield from value.items()
    elif is_list(value):
        yield from enumerate(value)


def _drop_empty(value: Any, depth: int) -> bool:  # noqa: ANN401 JSON can be anything
    """Remove objects and lists in which nothing is from *value*; tell whether nothing is left of it."""
    if depth and is_object(value):
        for key in [key for key, held in value.items() if _drop_empty(held, depth - 1)]:
            del value[key]
        return not value
    if depth and is_list(value):
        value[:] = [entry for entry in value if not _drop_empty(entry, depth - 1)]
        return not value
    return value is None


class _Walk(Generic[T]):
    """Goes through steps in threads, one step after the other; a query that runs is interrupted at the end.

    *make* makes the steps. It is given a list, into which they put the connection that they use.
    """

    def __init__(self, make: Callable[[Running], Generator[T, None, None]]) -> None:
        self._running: Running = []
        self._steps = make(self._running)
        self._lock = threading.Lock()

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        try:
            while (step := await in_thread(self._next)) is not None:
                yield step
        finally:
            with contextlib.suppress(TimeoutError):  # SQL can name a pipe, and a thread that opens it never returns
                await asyncio.wait_for(in_thread(self._end), LONGEST_END)

    def _next(self) -> T | None:
        with self._lock:
            return next(self._steps, None)

    def _end(self) -> None:
        while not self._lock.acquire(timeout=PATIENCE):  # an interruption before the query begins is lost
            for connection in self._running:
                interrupt(connection)
        try:
            self._steps.close()
        finally:
            self._lock.release()


@sealed
class TableFile:
    """The orders of one table, as `TableSource` describes; the orders are read as those of `GraphFile`.

    Parameters: *path*, a Parquet file, a CSV file or a SQL file; *tables*, the files that the SQL reads, by the names
    that it has for them; the others as in `GraphFile`.
    """

    def __init__(
        self,
        path: str,
        api: Api,
        *,
        tables: Mapping[str, Sequence[str]] | None = None,
        timezone: Timezone = None,
        assign_references: bool = False,
        only: Container[int] | None = None,
    ) -> None:
        if importlib.util.find_spec("duckdb") is None:
            raise needs_extra(path)
        self.name = path
        """The name of the file in messages."""
        self.fraction: float | None = None
        """The share of it that was read, from 0 to 1; None while the number of its rows is not known."""
        self.expected_lines: float | None = None
        """The number of its orders; None where nothing tells."""
        self.lines_hash = start_hash()
        """The hash of the orders that were read."""
        self._tables = tables or {}
        self._api = api
        self._parser = _TableParser(path, api, zone_of(timezone), assign_references, only)

    @property
    def options(self) -> dict[str, object]:
        """How the lines are read, as JSON data."""
        return self._parser.options

    async def __aiter__(self) -> AsyncGenerator[InputLine, None]:
        async with contextlib.aclosing(aiter(_Walk(self._parsed))) as batches:
            async for batch in batches:
                for line in batch:
                    yield line

    async def read_through(self) -> None:
        """Read all rows without a look at them, for the hash."""
        async for _ in _Walk(self.batches):
            pass

    def _parsed(self, running: Running) -> Generator[list[InputLine], None, None]:
        for batch in self.batches(running):
            yield [line for number, raw in batch if (line := self._parser.line(number, raw)) is not None]

    def batches(self, running: Running) -> Generator[list[tuple[int, bytes]], None, None]:
        """Yield the numbers of the rows and the orders as JSON text; the connection is put into *running*."""
        names = [name for names in self._tables.values() for name in names] if self._tables else [self.name]
        before = _states({self.name, *names})
        is_sql = table_format(self.name) == "sql"
        paths = None if is_sql and not self._tables else spellings(names)
        folders = [str(Path(self.name).absolute().parent)] if is_sql else []
        with connected(self.name, paths=paths, folders=folders) as connection:
            running.append(connection)
            query = self._of_sql(connection) if is_sql else scan([self.name])
            relation = bound(connection, query)
            found = branches(relation.columns, self._api, self.name)
            columns = [Column(*pair) for pair in zip(relation.columns, relation.types, strict=True)]
            self.expected_lines = None if is_sql else _count_rows(connection, self.name)
            try:
                select, by_item = select_orders(connection, query, columns, found)
            except InputError as error:  # a column of a type that no order has
                raise InputError(f"{self.name} cannot be read: {error}") from None
            connection.execute(select)
            fetched = self._fetched(connection)
            rows = itertools.chain.from_iterable(fetched)
            batches = _batched(merged(rows, self._parser.zone)) if by_item else fetched
            for batch in batches:
                self.lines_hash.update(b"".join([text + b"\n" for _, text in batch]))
                yield batch
            if by_item:
                self.expected_lines = None
        if _states(before) != before:
            raise InputError(f"{self.name} changed while it was read: read it again")
        self.fraction = 1.0

    def _fetched(self, connection: duckdb.DuckDBPyConnection) -> Iterator[list[Any]]:
        """Yield the rows of a query, and keep the *fraction* up to date."""
        count, total = 0, self.expected_lines
        while rows := connection.fetchmany(ROWS):
            yield rows
            count += len(rows)
            self.fraction = min(1.0, count / total) if total else None

    def _of_sql(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return the SELECT in the SQL file; the tables that it names become views."""
        query = check_query(connection, read_sql(self.name), self.name)
        tables = {**self._tables, ALL_TABLES: [name for names in self._tables.values() for name in names]}
        words = {word.lower() for word in re.findall(r"\w+", query)}
        for name, files in tables.items():
            if files and name.lower() in words:
                connection.execute(f"CREATE VIEW {identifier(name)} AS {scan(files)}")
        return query


def _batched(orders: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    return iter(lambda: list(itertools.islice(orders, ROWS)), [])


def _count_rows(connection: duckdb.DuckDBPyConnection, name: str) -> float | None:
    """Return the number of rows of a Parquet file; None for a CSV file, which does not tell it."""
    if table_format(name) != "parquet":
        return None
    found = connection.execute(f"SELECT sum(num_rows)::DOUBLE FROM parquet_file_metadata({escaped(name)})").fetchone()  # noqa: S608
    return None if found is None else found[0]


def _states(names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """Return what tells whether the files *names* change; raise `InputError` for one that is no file to read."""
    states: dict[str, tuple[int, int, int]] = {}
    for name in names:
        try:
            status = Path(name).stat()
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):  # a pipe would wait for its writer, and a device never end
            raise InputError(f"{name} must be a regular file")
        states[name] = status.st_ino, status.st_size, status.st_mtime_ns
    return states
