"""What a file holds, told by its first bytes and its name, and the SQL that reads the table in it."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cdp_orders_async.errors import InputError
from cdp_orders_async.sources.expressions import identifier, literal
from cdp_orders_async.sources.formats import GZIP, is_zstd, packed
from cdp_orders_async.sources.jsonlines import reading_errors, unpacker

__all__ = [
    "CSV_BUFFER",
    "SQL_SUFFIX",
    "TABLE_SUFFIXES",
    "TableFormat",
    "escaped",
    "long_line",
    "other_end",
    "read_sql",
    "scan",
    "spellings",
    "table_format",
    "view_name",
]

TableFormat: TypeAlias = Literal["parquet", "csv", "sql"]

PARQUET = (b"PAR1", b"PARE")
PARQUET_SUFFIXES = (".parquet", ".pq")
PACKED = ("", ".gz", ".zst")
TSV_SUFFIXES = tuple(".tsv" + packed for packed in PACKED)
CSV_SUFFIXES = (*(".csv" + packed for packed in PACKED), *TSV_SUFFIXES)
TABLE_SUFFIXES = (*PARQUET_SUFFIXES, *CSV_SUFFIXES)
"""The ends of the names of tables that are read in a folder."""
SQL_SUFFIX = ".sql"
DELIMITERS = ",;\t|"
LONGEST_HEAD = 2**20
CSV_BUFFER = 4 * 2**20
"""Bytes that duckdb reads at once, and so the longest line.

Its default of 32 MB leaves too little memory for the sort of a large file.
"""
NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")
"""A byte that other formats have near their beginning: the first letters alone may be those of a name."""
BEGINNING = 512
OF_EXCEL = re.compile('"?sep=.?"?', re.IGNORECASE)
"""The line that tells Excel the delimiter."""
LONGEST_SQL = 2**20
GLOB = re.compile(r"([*?\[])")


def table_format(name: str) -> TableFormat | None:
    """Return the format of the table in the file *name*; None for JSON lines, and where the file cannot be read."""
    path, lower = Path(name), name.lower()
    if lower.endswith(SQL_SUFFIX):
        return "sql"
    if lower.endswith(CSV_SUFFIXES):
        return "csv"
    if lower.endswith(PARQUET_SUFFIXES):
        return "parquet"
    try:
        if path.is_file():  # the first bytes of a pipe could not be read again
            with path.open("rb") as file:
                return "parquet" if file.read(4) in PARQUET else None
    except OSError:  # told where it is read
        pass
    return None


def view_name(given: str) -> str:
    """Return the name that SQL has for the table in *given*: the letters and digits that its name begins with.

    It is the name of its folder if its own begins with none.
    """
    for part in reversed(Path(given).absolute().parts):
        if name := re.match(r"\w+", part):
            return name[0]
    return "orders"


def read_sql(name: str) -> str:
    """Return the text of the SQL file *name*; raise `InputError` if it cannot be read."""
    try:
        with Path(name).open("rb") as file:
            raw = file.read(LONGEST_SQL + 1)
        if len(raw) > LONGEST_SQL:
            raise InputError(f"{name} cannot be read: SQL must have at most {LONGEST_SQL:,} bytes")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InputError(f"{name} cannot be read: its text is not UTF-8") from None


def scan(names: Sequence[str]) -> str:
    """Return the SELECT of all rows of the tables in the files *names*, whose columns are matched by name.

    Columns of CSV files are text. Raises `InputError` for a CSV file whose first line cannot be read.
    """
    parquet = [name for name in names if table_format(name) == "parquet"]
    scans = [_csv_scan(name) for name in names if name not in parquet]
    if parquet:
        files = ", ".join(map(escaped, parquet))
        scans.insert(0, f"FROM read_parquet([{files}], hive_partitioning = false, union_by_name = true)")
    return " UNION ALL BY NAME ".join(scans)


def escaped(name: str) -> str:
    """Return the name of one file as SQL: in a name, duckdb takes some characters for a pattern of names."""
    return literal(_plain(name))


def _plain(name: str) -> str:
    return GLOB.sub(r"[\1]", str(Path(name).absolute()))


def spellings(names: Sequence[str]) -> list[str]:
    """Return the *names* of files in each form in which SQL may have them."""
    return [spelling for name in names for spelling in (name, str(Path(name).absolute()), _plain(name))]


def _csv_scan(name: str) -> str:
    first, head = _head(name)
    line = next(iter(head.splitlines()), "")
    delimiter = "\t" if name.lower().endswith(TSV_SUFFIXES) else max(DELIMITERS, key=line.count)
    names = _names(name, head, line, delimiter)
    columns = [column or f"column{number}" for number, column in enumerate(names, 1)]  # SQL can leave it out
    seen: set[str] = set()
    for number, column in enumerate(columns, 1):
        if column.lower() in seen:
            raise InputError(f"{name} cannot be read, line 1: column {number} has the name of an earlier column")
        seen.add(column.lower())
    types = ", ".join(f"{identifier(column)}: 'VARCHAR'" for column in columns)
    packing = "gzip" if first.startswith(GZIP) else "zstd" if is_zstd(first) else "none"
    if _ends_long(name):
        raise InputError(f"{name} cannot be read: its last line must have at most {CSV_BUFFER:,} bytes")
    return (
        f"FROM read_csv({escaped(name)}, columns = {{{types}}}, auto_detect = false, header = true,"
        f" delim = {literal(delimiter)}, quote = '\"', escape = '\"', compression = '{packing}',"
        f" buffer_size = {CSV_BUFFER})"
    )


def _names(name: str, head: str, line: str, delimiter: str) -> list[str]:
    """Return the names of the columns, in the first *line* of *head*; raise `InputError` if it has none."""
    try:
        reader = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
        names = [column.strip() for column in next(reader, list[str]())]
    except csv.Error:
        raise InputError(f"{name} cannot be read, line 1: a quote does not end, or a name is too long") from None
    if OF_EXCEL.fullmatch(line):
        wrong = "is a mark for Excel: remove this line"
    elif any(names):
        return names
    else:
        wrong = "is blank: remove the blank lines above the names" if head.strip() else "is empty"
    raise InputError(f"{name} cannot be read: its first line must name the columns, and {wrong}")


@contextlib.contextmanager
def _unpacked(name: str) -> Generator[tuple[bytes, Any], None, None]:
    """Give the first bytes of a file as it is, and the stream of what is in it; what goes wrong is an `InputError`."""
    try:
        with Path(name).open("rb") as file:
            first = file.read(4)
            file.seek(0)
            unpack = unpacker(first, name)
            with file if unpack is None else unpack(file) as stream:
                yield first, stream
    except reading_errors() as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputError(f"{name} cannot be read: {reason or 'it is cut off or damaged'}") from error


def _head(name: str) -> tuple[bytes, str]:
    """Return the first bytes of a CSV file as it is, and its beginning as text."""
    with _unpacked(name) as (first, stream):
        raw: bytes = stream.read(LONGEST_HEAD)
    if NO_TEXT.search(raw, 0, BEGINNING) and (what := packed(raw)):
        raise InputError(f"{name} cannot be read: {what}; give CSV, plain, gzip or zstd")
    if len(raw) == LONGEST_HEAD:
        raw = raw[: max(raw.rfind(b"\n"), raw.rfind(b"\r")) + 1]
        if not raw:
            rule = f"the names of the columns must have at most {LONGEST_HEAD:,} bytes"
            raise InputError(f"{name} cannot be read, line 1: {rule}")
    try:
        return first, raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        line = raw.partition(b"\n")[0]
        try:
            return first, line.decode("utf-8-sig") + "\n"  # duckdb says which later line is not UTF-8
        except UnicodeDecodeError:
            raise InputError(f"{name} cannot be read, line 1: its text is not UTF-8") from None


def _ends_long(name: str) -> bool:
    """Tell whether the last line of a CSV file is too long: duckdb would leave it out without an error."""
    most = CSV_BUFFER + len(b"x\r\n")
    with _unpacked(name) as (first, stream):
        if unpacker(first, name) is None:
            stream.seek(max(0, stream.seek(0, io.SEEK_END) - most))
        last = b""
        for piece in iter(lambda: stream.read(most), b""):  # what is packed can be read only from its beginning
            last = (last + piece)[-most:]
    last = last.rstrip(b"\r\n")
    return len(last) > CSV_BUFFER and b"\n" not in last and b"\r" not in last


def long_line(name: str) -> int | None:
    """Return the number of the first line of a CSV file that is too long; None if it is not found."""
    return next((number for number, line in _lines(name) if len(line) > CSV_BUFFER), None)


def other_end(name: str) -> int | None:
    """Return the number of the first line of a CSV file that ends in another way than its first line."""
    first, is_quoted = b"", False
    for number, line in _lines(name):
        is_quoted ^= line.count(b'"') % 2 == 1
        end = line[len(line.rstrip(b"\r\n")) :]
        if end and not is_quoted:
            first = first or end
            if end != first:
                return number
    return None


def _lines(name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a CSV file, with their numbers, up to one that is too long."""
    with contextlib.suppress(InputError):  # it was told already
        if not Path(name).is_file():  # SQL can name a pipe
            return
        with _unpacked(name) as (_, stream):
            for number, line in enumerate(iter(lambda: stream.readline(CSV_BUFFER + 1), b""), 1):
                yield number, line
                if len(line) > CSV_BUFFER:
                    return
