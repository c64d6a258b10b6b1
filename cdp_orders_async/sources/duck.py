"""A connection to duckdb, which has files and no network, and what it says of a table in one sentence."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import re
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cdp_orders_async.errors import InputError, shown_key
from cdp_orders_async.redact import printable
from cdp_orders_async.sources.expressions import literal
from cdp_orders_async.sources.scans import CSV_BUFFER, SQL_SUFFIX, long_line, other_end

if TYPE_CHECKING:
    import duckdb

__all__ = ["MEMORY", "bound", "check_query", "connected", "copied_to_parquet", "described", "interrupt", "needs_extra"]

MEMORY = 256
"""The megabytes that duckdb may take; what needs more goes to its folder of temporary files."""
LONGEST_RULE = 300
ROW_GROUP = 10_000  # rows of a Parquet file that are held in memory at once
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,  # rows keep the order of the file
    "memory_limit": f"{MEMORY}MB",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",  # else a FROM could name a variable of this program
}
FULL = ("No space left", "max_temp_directory_size", "failed to offload", "not enough space")
CUT = ("No magic bytes found", "too small to be a Parquet file", "Invalid Parquet", "metadata is corrupt")
CSV_LINE = re.compile(r"CSV Error on Line: (\d+)\n(.*)", re.DOTALL)
STATE_MACHINE = "Invalid Input Error: The CSV Parser state machine"
FULL_READ = "Not implemented Error: The Parallel CSV Reader"
LONG = f"a line must have at most {CSV_BUFFER:,} bytes"
UNEVEN = "it is not well-formed CSV: its quotes or its line ends differ from line to line"
FIELDS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
AT = re.compile(r"^LINE (\d+): (.*)\n( *)\^", re.MULTILINE)
NO_TABLE = re.compile(r"Table with name (.*?) does not exist")
WORD = re.compile(rb'"?\w+')
CHANGING = """SELECT DISTINCT function_name FROM duckdb_functions()
    WHERE stability = 'VOLATILE' OR contains(macro_definition, 'current_timestamp')
        OR (stability = 'CONSISTENT_WITHIN_QUERY' AND len(parameter_types) = 0)
        OR (function_type = 'table' AND regexp_matches(function_name, '^(duckdb|pragma)_'))
        OR function_name IN ('current_setting', 'pg_timezone_names')"""
"""The functions whose value differs from one query to the next: random(), now(), and the state of duckdb itself."""
STATE = "SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"
"""The views of the state of duckdb, such as pg_settings, which has the name of a new folder each time."""
HARMLESS = {"current_database", "current_schema", "error", "sleep_ms", "stats", "vector_type", "write_log"}
"""Functions among them that do not change the rows."""
SQL_IN_TEXT = {"json_execute_serialized_sql", "query"}
"""Functions that run SQL which is not looked through."""
CLOCK = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
"""Words that are a function without brackets."""
SAMPLES = {("using", "sample"), ("tablesample",)}
CSV_FILE = re.compile(r"^  file = (.*)$", re.MULTILINE)
IN_FILE = re.compile(
    r'\A[\w ]+ Error: (?:Malformed JSON in|JSON transform error in|Error when sniffing) file "([^"\n]+)"'
    r"(?:,(?: at byte \d+)? in line (\d+))?"
)
NAME = re.compile(r'"([^"]*)"')
CANDIDATES = re.compile(r'\s+Candidate bindings: ((?:"[A-Z_][\w.]*"(?:, )?)+)', re.ASCII | re.IGNORECASE)
TARGET = re.compile(
    r"\b(?:to|as|type) '?(U?INT(?:8|16|32|64|128)|U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL|BOOL|UUID"
    r"|DATE|TIME|TIMESTAMP|INTERVAL|ENUM|STRUCT|MAP|UNION|BIT|BLOB|BIGNUM)\b"
)
RULES = (
    ("Malformed JSON in file", "it is not well-formed JSON"),
    ("JSON transform error", "a value is not of the type that its column has"),
    ("Error when sniffing", "it is not well-formed CSV, or its form cannot be told: name its columns in read_csv"),
    ("Could not parse string", "a text is not of the format that strptime is given"),
    ("format specifier", "a format of strftime or strptime is wrong"),
    ("date field", "a text is no date of the form YYYY-MM-DD"),
    ("timestamp field", "a text is no time of the form YYYY-MM-DD HH:MM:SS"),
    ("Unknown TimeZone", "a text is no name of a time zone"),
    ("Malformed JSON", "a text is not well-formed JSON"),
    ("JSON path error", "a path into JSON is wrong"),
    ("More than one row returned by a subquery", "a subquery in an expression gives more than one row"),
)


def needs_extra(name: str) -> InputError:
    """Return the error of a table where the extra is missing."""
    return InputError(f"{name} is a table, which needs an extra: pip install 'cdp-orders-async[tables]'")


@contextlib.contextmanager
def connected(
    name: str, *, paths: Sequence[str] | None = None, folders: Sequence[str] = (), doing: str = "read"
) -> Generator[duckdb.DuckDBPyConnection, None, None]:
    """Give a connection to an empty database in memory, for the table *name*, whose settings cannot be changed.

    It reads no other files than *paths*, if they are given; names of files are looked for in the current folder and in
    *folders*. Its temporary files are in a folder of its own, which only the owner can read, and which is removed at
    the end. Raises `InputError` for whatever duckdb raises.
    """
    import duckdb  # noqa: PLC0415 an extra

    with (
        tempfile.TemporaryDirectory(prefix="cdp-orders-", ignore_cleanup_errors=True) as folder,
        contextlib.closing(duckdb.connect(":memory:", config=SETTINGS)) as connection,
    ):
        settings = {
            "TimeZone": literal("UTC"),
            "enable_progress_bar": "false",
            "temp_directory": literal(folder),
            "file_search_path": literal(",".join(folders)),
        }
        if paths is not None:
            settings["allowed_paths"] = f"[{', '.join(map(literal, paths))}]"
            settings["enable_external_access"] = "false"
        settings["lock_configuration"] = "true"
        try:
            for setting, value in settings.items():
                connection.execute(f"SET {setting} = {value}")
            yield connection
        except duckdb.Error as error:
            raise described(error, name, doing) from None


def check_query(connection: duckdb.DuckDBPyConnection, text: str, name: str) -> str:
    """Return the one SELECT in the SQL *text* of the file *name*; raise `InputError` for any other SQL."""
    statements = connection.extract_statements(text)
    kinds = [statement.type.name for statement in statements]
    if kinds == ["MULTI"]:
        raise InputError(f"{name} must name the values of its PIVOT, as in PIVOT t ON c IN ('a', 'b') USING first(v)")
    if kinds != ["SELECT"]:
        found = f"{len(kinds)} statements" if len(kinds) != 1 else f"a statement of the kind {kinds[0]}"
        raise InputError(f"{name} must hold one SELECT, which only reads, and holds {found}")
    if part := _random_in(connection, text):
        advice = f"leave out {part}"
        raise InputError(
            f"{name} must select the same rows each time, or the next load takes them for other orders: {advice}"
        )
    return _without_end(statements[0].query)


def _random_in(connection: duckdb.DuckDBPyConnection, query: str) -> str | None:
    """Return what makes the rows of *query* differ from run to run: a function such as now(), or a sample.

    Views and functions that show the state of duckdb itself are among it.
    """
    import duckdb  # noqa: PLC0415 an extra

    text = query.encode()
    tokens = [
        (found[0] if (found := WORD.match(text, at)) else text[at : at + 1]).decode(errors="replace").lower()
        for at, kind in duckdb.tokenize(query)
        if kind not in {duckdb.token_type.comment, duckdb.token_type.string_const}
    ]
    functions = {function for (function,) in connection.execute(CHANGING).fetchall()} - HARMLESS | SQL_IN_TEXT
    views = {view for (view,) in connection.execute(STATE).fetchall()}
    for at, (before, token, after) in enumerate(zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False), 1):
        word = token.removeprefix('"')
        calls = after == "(" and before not in {"as", "with", "recursive"}  # else it names a table and its columns
        if calls and word in functions:
            return f"{word}()"
        if calls and word == "age" and _has_one_argument(tokens[at:]):
            return "age() with one argument"
        if word in views or (token in CLOCK and before not in {".", "as"}):  # else it is the name of a column
            return word
        if {(token,), (before, token)} & SAMPLES and not _has_seed(tokens[at:]):
            return "a sample without REPEATABLE"
    return None


def _depths(tokens: Sequence[str]) -> Iterator[int]:
    """Return the number of brackets that are open after each of *tokens*."""
    return itertools.accumulate((part in {"(", "[", "{"}) - (part in {")", "]", "}"}) for part in tokens)


def _has_one_argument(tokens: Sequence[str]) -> bool:
    """Tell whether no comma separates arguments in the brackets with which *tokens* begin."""
    for part, depth in zip(tokens, _depths(tokens), strict=True):
        if depth == 0 or (depth == 1 and part == ","):
            return depth == 0
    return True


def _has_seed(tokens: Sequence[str]) -> bool:
    """Tell whether REPEATABLE follows the size of the sample with which *tokens* begin.

    It follows brackets only, which may have the name of a method before them.
    """
    size = tokens[tokens[:1] != ["("] :]
    end = next((at for at, depth in enumerate(_depths(size), 1) if depth == 0), 0)
    return size[end : end + 1] == ["repeatable"]


def _without_end(query: str) -> str:
    """Return a statement without the semicolons at its end, also those among comments."""
    import duckdb  # noqa: PLC0415 an extra

    text = query.encode()
    end = len(text)
    for at, kind in reversed(duckdb.tokenize(query)):
        if text[at : at + 1] == b";":
            end = at
        elif kind is not duckdb.token_type.comment:
            break
    return text[:end].decode()


def bound(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyRelation:
    """Return *query* as a relation, which knows its columns and was not run."""
    import duckdb  # noqa: PLC0415 an extra

    try:
        return connection.sql(query)
    except duckdb.Error:
        connection.execute(query)  # its error says where in the SQL it is
        raise


def interrupt(connection: duckdb.DuckDBPyConnection) -> None:
    """End the query that runs."""
    import duckdb  # noqa: PLC0415 an extra

    with contextlib.suppress(duckdb.ConnectionException):  # it was closed meanwhile
        connection.interrupt()


def described(error: Any, name: str, doing: str = "read") -> InputError:  # noqa: ANN401 an error of duckdb
    """Return what *error* says of the table or SQL file *name*, in one sentence without values of the table."""
    text = str(error)
    is_sql = name.lower().endswith(SQL_SUFFIX)
    cannot = f"{name} cannot be {doing}"
    if any(word in text for word in FULL):
        return InputError(f"{cannot}: the disk of the folder of temporary files (TMPDIR) is full")
    if type(error).__name__ == "OutOfMemoryException":
        return InputError(
            f"{cannot}: it needs more memory than {MEMORY} MB; SQL that collects the items of an order by list() does:"
            " select one row an item instead, with columns such as orderItems.name"
        )
    if "requires the extension" in text:
        return InputError(f"{cannot}: only files on this machine can be, and no extension is loaded")
    if "disabled by configuration" in text:
        return InputError(f"{cannot}: the SQL reads a file that is not named beside it")
    if (wrong := _of_csv(text, name, doing, is_sql=is_sql)) is not None:
        return wrong
    if found := IN_FILE.match(text):
        cannot = f"{printable(found[1])} cannot be {doing}" + (f", line {found[2]}" if found[2] else "")
    return InputError(f"{cannot}: {_rule(error, text, is_sql=is_sql and not found)}")


def _of_csv(text: str, name: str, doing: str, *, is_sql: bool) -> InputError | None:
    """Return what *text* says of a line of a CSV file, which is looked for here where duckdb does not tell it."""
    *_, file = CSV_FILE.findall(text) or [name]  # the last one: the line that stands before it may hold anything
    file = file if is_sql else name
    if found := CSV_LINE.search(text):
        line, rule = found[1], _csv_rule(found[2], is_sql=is_sql)
    elif text.startswith(STATE_MACHINE):
        line = other_end(file)
        rule = "it ends in another way than the first line: end all in LF, or all in CR LF" if line else UNEVEN
    elif text.startswith(FULL_READ):
        line, rule = long_line(file), "a line of a CSV file is too long" if is_sql else LONG
    else:
        return None
    where = f", line {line}" if line else ""
    return InputError(f"{file} cannot be {doing}{where}: {rule}")


def _csv_rule(text: str, *, is_sql: bool) -> str:
    """Return the rule that a line of a CSV file breaks; the text holds the line too."""
    if fields := FIELDS.search(text):
        return f"it has {fields[2]} fields, and must have {fields[1]}, as the first line has"
    for words, rule in (
        ("unterminated quote", "a quote does not end where its field ends, or the field is too long"),
        ("utf-8", "its text is not UTF-8"),
        ("Invalid unicode", "its text is not UTF-8"),
        ("Maximum line size", "it is too long" if is_sql else LONG),
        ("Could not convert", "a value is not of the type that its column has"),
    ):
        if words in text:
            return rule
    return "it is not well-formed CSV"


def _rule(error: Any, text: str, *, is_sql: bool) -> str:  # noqa: ANN401 an error of duckdb
    where = ""
    if is_sql and (at := AT.search(text)):  # else the place is one in SQL of this package
        column = len(at[3]) - len(f"LINE {at[1]}: ") + 1
        where = f", line {at[1]}" + ("" if at[2].startswith("...") else f", column {column}")
    if any(words in text for words in CUT):
        return "a Parquet file is cut off or damaged"
    kind = type(error).__name__
    if kind not in {"ParserException", "BinderException", "CatalogException", "IOException"}:
        return _value_rule(kind, text, is_sql=is_sql) + where
    rule = text.partition(" Error: ")[2].partition("\n\nLINE ")[0]
    if kind in {"BinderException", "CatalogException"}:
        candidates = CANDIDATES.search(rule)
        first, *_ = rule.split("\n")
        rule = NAME.sub(_shown_name, first) + ("" if candidates is None else _meant(first, candidates[1]))
    first = " ".join(rule.partition("\n\n")[0].split())
    if table := NO_TABLE.match(first):
        first = f"there is no table {table[1]}: the tables are those that are named beside the SQL, and the files in it"
    return printable(first[:LONGEST_RULE]).rstrip(".!") + where


def _meant(rule: str, candidates: str) -> str:
    """Return the names among the *candidates* that are close to the one that the *rule* misses.

    The others stay away: the first row of a CSV file without names holds values, maybe personal.
    """
    import difflib  # noqa: PLC0415 few programs need it

    names = {name.lower(): name for name in NAME.findall(candidates)}
    missed = NAME.search(rule)
    close = difflib.get_close_matches(missed[1].lower(), names) if missed else []
    listed = ", ".join([f'"{names[name]}"' for name in close])
    return listed and f" Candidate bindings: {listed}"


def _shown_name(found: re.Match[str]) -> str:
    """Return the name of a column in quotes; ``***`` in place of a part that may be a value."""
    return f'"{".".join(map(shown_key, found[1].split(".")))}"'


def _value_rule(kind: str, text: str, *, is_sql: bool) -> str:
    """Return the rule that a value breaks.

    Nothing of the text is in it but the name of a type: values stand anywhere in the text, and not always in quotes.
    """
    if rule := next((rule for words, rule in RULES if words in text), None):
        return rule
    if types := TARGET.findall(text.partition("\n\nLINE ")[0]):
        return f"a value cannot be converted to {types[-1]}"
    if kind == "OutOfRangeException":
        return "a number or a time is out of range"
    what = "its SQL cannot be computed for a value" if is_sql else "it is damaged, or a value in it cannot be read"
    return f"{what} ({kind} of duckdb)"


def copied_to_parquet(lines: str, output: str, columns: Mapping[str, str]) -> None:
    """Write the JSON lines of the file *lines* to *output* as Parquet, with these *columns* of these types in SQL.

    Raises `InputError` without the extra, and for what duckdb raises.
    """
    if importlib.util.find_spec("duckdb") is None:
        raise needs_extra(output)
    types = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
    with connected(output, doing="written") as connection:
        rows = f"read_json({literal(lines)}, columns = {{{types}}}, format = 'newline_delimited', auto_detect = false)"
        how = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, USE_TMP_FILE false"
        connection.execute(f"COPY (FROM {rows}) TO {literal(output)} ({how})")
