"""The orders of tables, by SQL that selects whole orders."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from types import NoneType

from cdp_orders_async.errors import InputError
from cdp_orders_async.graph import Timezone, need
from cdp_orders_async.kinds import V2_1, Api
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources.files import GraphFiles, Options, each_of, expanded
from cdp_orders_async.sources.jsonlines import GraphFile
from cdp_orders_async.sources.scans import SQL_SUFFIX, table_format, view_name
from cdp_orders_async.sources.table_file import TableFile

__all__ = ["TableSource"]


@sealed
class TableSource(GraphFiles):
    """The orders of several files, as `GraphFiles`, of which SQL selects the orders in tables.

    A job takes it wherever it takes `GraphFiles`. It needs the extra ``tables``.

    Parameters: *files*, as in `GraphFiles`; *sql*, the name of a SQL file with one SELECT, whose result is one order a
    row, or one item a row. It reads the Parquet and CSV files among *files*: each of *files* is a table, named by the
    letters, digits and ``_`` that the name of the file or folder begins with, and all of them together are the table
    ``input``. Of JSON lines nothing is selected: they are read beside it. Without tables among *files*, the SQL names
    its files itself. *api*, *timezone*, *assign_references* and *only*, as in `GraphFiles`; the orders of the SQL have
    the name of its file, and the numbers of the rows of its result. Raises what `GraphFiles` raises.

        source = TableSource(["orders.csv"], sql="orders.sql")
        report = await jobs.load(client, source, journal=Path("orders.sqlite"))
    """

    def __init__(
        self,
        files: Iterable[str | os.PathLike[str]] = (),
        api: Api = V2_1,
        *,
        sql: str | os.PathLike[str] | None = None,
        timezone: Timezone = None,
        assign_references: bool = False,
        only: Mapping[str, Container[int]] | None = None,
    ) -> None:
        need(sql, (str, os.PathLike, NoneType), "sql")
        self._sql = None if sql is None else os.fspath(sql)
        self._inputs: list[str] = []
        """The tables of the SQL, as they were named."""
        self._tables: dict[str, list[str]] = {}
        """Their files, by the names that the SQL has for them."""
        if self._sql is not None:
            if not self._sql.lower().endswith(SQL_SUFFIX):
                raise InputError(f"{self._sql} must be a SQL file, whose name ends in {SQL_SUFFIX}")
            files = self._sort_out(files)
        super().__init__(files, api, timezone=timezone, assign_references=assign_references, only=only)

    @property
    def options(self) -> dict[str, object]:
        """How the lines are read, as JSON data: as in `GraphFiles`, and ``sql`` and ``tables``."""
        with_sql = {} if self._sql is None else {"sql": self._sql, "tables": list(self._inputs)}
        return {**super().options, **with_sql}

    @property
    def paths(self) -> tuple[str, ...]:
        """The names of all files that are read, as far as they are named here: also of the tables."""
        return (*self.names, *(name for names in self._tables.values() for name in names))

    def with_only(self, only: Mapping[str, Container[int]]) -> TableSource:
        """Return the same files, of which *only* the lines with these numbers are read, by the name of the file."""
        api, timezone, assign_references = self._given
        files = [name for name in self.names if name != self._sql]
        return TableSource(
            [*files, *self._inputs],
            api,
            sql=self._sql,
            timezone=timezone,
            assign_references=assign_references,
            only=only,
        )

    def _sort_out(self, files: Iterable[str | os.PathLike[str]]) -> list[str]:
        """Return the *files* with the SQL file in the place of the tables, which go to the SQL."""
        names: list[str] = []
        for file in each_of(files):
            found = list(expanded(file))
            tables = [name for name in found if table_format(name) in {"parquet", "csv"}]
            names += [name for name in found if name not in tables]
            if tables:
                self._inputs.append(os.fspath(file))
                self._tables.setdefault(view_name(os.fspath(file)), []).extend(tables)
                names.append(str(self._sql))
        return names if self._tables else [*names, str(self._sql)]

    def _opened(self, name: str, api: Api, options: Options) -> GraphFile | TableFile:
        if name == self._sql:
            return TableFile(name, api, tables=self._tables, **options)
        return super()._opened(name, api, options)
