"""What errors say of a table: its file, its line and the rule, and none of its values."""

# ruff: noqa: S608 the SQL is that of the tests

from __future__ import annotations

from pathlib import Path

import pytest

from cdp_orders_async import InputError, TableSource
from cdp_orders_async.sources.expressions import literal
from tests.tables.making import lines, parquet, text

NAME = "Zqx O'Zqx"
QUOTED = 'Zqx" zqx'
UNKNOWN = "its SQL cannot be computed for a value (InvalidInputException of duckdb)"


async def refused(data: Path, sql: str) -> str:
    """Return the error of the *sql* of a table."""
    with pytest.raises(InputError) as caught:
        await lines(TableSource([data], sql=text(data.parent / "o.sql", sql)))
    message = str(caught.value)
    assert "zqx" not in message.lower()
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("value", "expression", "rule"),
    [
        ("12.3.1980 Zqx", "strptime(v, '%Y-%m-%d')", "a text is not of the format that strptime is given"),
        (NAME, "v::INT", "a value cannot be converted to INT32, line 2"),
        (NAME, "v::UUID", "a value cannot be converted to UUID, line 2"),
        (NAME, "v::BOOLEAN::VARCHAR", "a value cannot be converted to BOOL, line 2"),
        (NAME, "v::ENUM ('a')", "a value cannot be converted to ENUM, line 2"),
        (NAME, "v::STRUCT(a INT)::VARCHAR", "a value cannot be converted to STRUCT, line 2"),
        (NAME, "v::DECIMAL(4, 2)", "a value cannot be converted to DECIMAL, line 2"),
        (QUOTED, "v::DECIMAL(4, 2)", "a value cannot be converted to DECIMAL, line 2"),
        (QUOTED, "v::DATE", "a text is no date of the form YYYY-MM-DD, line 2"),
        (QUOTED, "v::TIMESTAMP", "a text is no time of the form YYYY-MM-DD HH:MM:SS, line 2"),
        (NAME, "TIMESTAMPTZ '2024-01-01' AT TIME ZONE v", "a text is no name of a time zone"),
        (NAME, "json_extract('{}'::JSON, '$.' || v || '[')", "a path into JSON is wrong"),
        (NAME, "json_extract(v, '$.a')::VARCHAR", "a text is not well-formed JSON"),
        ('"Zqx"', "v::JSON::INT", "its SQL cannot be computed for a value (ConversionException of duckdb), line 2"),
        (NAME, "regexp_extract('a', '(' || v)", UNKNOWN),
        (NAME, "regexp_replace('a', '[' || v, '')", UNKNOWN),
        ("Zqx to Zqx", "error(v)::VARCHAR", UNKNOWN),
        ("Zqx to Zqx", "error(v || chr(10) || chr(10) || 'LINE 1: ' || v)::VARCHAR", UNKNOWN),
    ],
)
async def test_a_value_that_sql_does_not_take(tmp_path: Path, value: str, expression: str, rule: str) -> None:
    """The error does not have the value, whatever quotes are in it or around it."""
    data = parquet(tmp_path / "o.parquet", f"SELECT {literal(value)} AS v FROM range(2)")
    message = await refused(data, f'SELECT\n  {expression} AS "referenceId" FROM input')
    assert message.startswith(f"{tmp_path / 'o.sql'} cannot be read: {rule}")


async def test_numbers_that_overflow(tmp_path: Path) -> None:
    """Stand without quotes in the texts of duckdb."""
    data = parquet(tmp_path / "o.parquet", "SELECT 2000000077 AS v FROM range(2)")
    message = await refused(data, 'SELECT v * v AS "referenceId" FROM input')
    assert message.endswith("a number or a time is out of range")
    message = await refused(data, 'SELECT v::TINYINT AS "referenceId" FROM input')
    assert message == f"{tmp_path / 'o.sql'} cannot be read: a value cannot be converted to INT8, line 1"


@pytest.mark.parametrize(
    ("head", "sql", "rule"),
    [
        (
            "zqx@example.com,1",
            "SELECT foo FROM input",
            'Referenced column "foo" not found in FROM clause, line 1, column 8',
        ),
        ("zqx@example.com,1", "SELECT *, count(*) FROM input", 'column "***.com" must appear in the GROUP BY clause'),
        (
            "Zqx,1",
            "SELECT name FROM input",
            'Referenced column "name" not found in FROM clause, line 1, column 8',
        ),
        ("bought,1", "SELECT bougth FROM input", 'FROM clause! Candidate bindings: "bought", line 1, column 8'),
    ],
)
async def test_a_csv_file_without_names(tmp_path: Path, head: str, sql: str, rule: str) -> None:
    """Its first row holds values, which duckdb takes for names of columns."""
    message = await refused(text(tmp_path / "o.csv", f"{head}\n{head}\n"), sql)
    assert rule in message
    assert "zqx" not in message.lower()


async def test_other_files_of_sql(tmp_path: Path) -> None:
    """Are told by their name and their line; a line of a CSV file may look like the words after it."""
    data = text(tmp_path / "o.csv", 'v,w\n"Zqx\n  file = Zqx\n",1\n')
    message = await refused(data, 'SELECT v::INT AS "referenceId" FROM input')
    assert message == f"{data} cannot be read, line 2: a value is not of the type that its column has"
    text(tmp_path / "o.json", '{"referenceId": "1"}\n{"referenceId": "Zqx\'s"}\n')
    sql = text(tmp_path / "o.sql", "FROM read_json('o.json', columns = {\"referenceId\": 'INT'})")
    with pytest.raises(
        InputError, match=r"o\.json cannot be read, line 2: a value is not of the type that its"
    ) as caught:
        await lines(TableSource([], sql=sql))
    assert "Zqx" not in str(caught.value)


async def test_lines_of_a_csv_file_that_sql_reads(tmp_path: Path) -> None:
    """Are told too, where their ends differ; of a line that is too long, duckdb does not tell the file."""
    data = text(tmp_path / "o.csv", "v\n1\nZqx\r\n2\n")
    message = await refused(data, 'SELECT v AS "referenceId" FROM input')
    assert message.startswith(f"{data} cannot be read, line 3: it ends in another way than the first line")
    text(data, "v\n1\n" + "Zqx" * 2**22 + "\n2\n")
    message = await refused(data, 'SELECT v AS "referenceId" FROM input')
    assert message == f"{tmp_path / 'o.sql'} cannot be read: a line of a CSV file is too long"
