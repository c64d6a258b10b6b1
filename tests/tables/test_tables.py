"""Files of tables as the input of jobs: their rows, their order, and what is wrong with them."""

# ruff: noqa: S608 the SQL is that of the tests

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import lzma
import os
import sys
import tempfile
from pathlib import Path

import orjson
import pytest

from cdp_orders_async import GraphFiles, InputError, TableSource, jobs
from cdp_orders_async.kinds import V2_1
from cdp_orders_async.sources import duck, table_file
from cdp_orders_async.sources import rows as merging
from cdp_orders_async.sources.table_file import TableFile
from tests.laws.pages import ROOT, blocks
from tests.tables.making import KEY, ORDER, lines, parquet, raw, text, told

HEAD = "referenceId,orderedAt,price,currencyCode,orderItems.referenceId,orderItems.name,orderItems.price\n"
ROW = "{},2024-01-01T16:17:16Z,5,EUR,{},AZ10,5\n"
PAGE = ROOT / "cdp_orders_async" / "sources" / "README.md"
ORDERS_SQL, LINES_SQL, LAKE_SQL = (
    block for language, block in blocks(PAGE.read_text(encoding="utf-8")) if language == "sql"
)
CSV = f"referenceId,orderedAt,price,currencyCode\n{'A-1,2024-01-01T16:17:16Z,5,EUR' + chr(10)}"

NEEDS_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")


async def keys(source: GraphFiles) -> list[tuple[str, int, str]]:
    """Return the file, the number and the reference id of each line."""
    return [(Path(line.file).name, line.number, (line.key or "").partition("@")[0]) for line in await lines(source)]


async def test_formats_are_mixed(tmp_path: Path) -> None:
    """Parquet is told by its first bytes, CSV by its name, also packed and in a folder; the rest is JSON lines."""
    order = {"referenceId": "B", "orderedAt": "2024-01-01T16:17:16Z", "price": 5, "currencyCode": "EUR"}
    text(tmp_path / "b.jsonl", orjson.dumps(order).decode())
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    text(tmp_path / "d.csv", "\ufeff" + CSV.replace(",", ";").replace("\n", "\r\n"))
    text(tmp_path / "e[1].tsv", CSV.replace(",", "\t"))
    parquet(tmp_path / "a.parquet", f"SELECT {ORDER}")
    text(tmp_path / "notes.txt", "no orders")
    text(tmp_path / "f.tsv.CSV", CSV)
    files = TableSource([tmp_path])
    assert await keys(files) == [
        ("a.parquet", 1, "A-1"), ("b.jsonl", 1, "B"), ("c.csv.gz", 1, "A-1"),
        ("d.csv", 1, "A-1"), ("e[1].tsv", 1, "A-1"), ("f.tsv.CSV", 1, "A-1"),
    ]  # fmt: skip
    assert (files.fraction, await files.fingerprint()) == (1.0, files.digest)
    (tmp_path / "a.parquet").rename(tmp_path / "plain")
    assert await keys(GraphFiles([tmp_path / "plain"])) == [("plain", 1, "A-1")]


async def test_rows_of_one_order(tmp_path: Path) -> None:
    """They stand anywhere; the number is that of the first, and `only` names it."""
    rows = "".join(ROW.format(*row.split("/")) for row in ("B/1", "A/1", "B/2", "A/2", "C/", "B/3"))
    path = text(
        tmp_path / "o.csv",
        HEAD
        + rows.replace(",AZ10,5\n", ",AZ10,5\n").replace(
            "C,2024-01-01T16:17:16Z,5,EUR,,AZ10,5", "C,2024-01-01T16:17:16Z,5,EUR,,,"
        ),
    )
    source = TableSource([path])
    assert await keys(source) == [("o.csv", 2, "A"), ("o.csv", 1, "B"), ("o.csv", 5, "C")]
    items = [len(orjson.loads(line.raw.open()).get("orderItems", ())) for line in await lines(source) if line.raw]
    assert items == [2, 3]
    assert await keys(source.with_only({str(path): {1, 5}})) == [("o.csv", 1, "B"), ("o.csv", 5, "C")]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("A/1 A/2 B/1", [(1, "A", 2), (3, "B", 1)]),
        ("A/1 B/1 C/1 A/2", [(1, "A", 2), (2, "B", 1), (3, "C", 1)]),
        ("A/1 /x A/2", [(1, "A", 2), (2, "", 0)]),
        ("/x B/1 A/1", [(3, "A", 1), (2, "B", 1), (1, "", 0)]),
    ],
)
async def test_rows_that_are_sorted_are_not_sorted_again(
    tmp_path: Path, given: str, expected: list[tuple[int, str, int]]
) -> None:
    """One row that is not in its place, or that has no key, is enough for a sort: the result is the same."""
    rows = "".join(ROW.format(*row.split("/")) for row in given.split())
    found = await lines(TableSource([text(tmp_path / "o.csv", HEAD + rows)]))
    orders = [(line.number, orjson.loads(line.raw.open())) for line in found if line.raw is not None]
    assert [
        (number, order.get("referenceId", ""), len(order["orderItems"]) if "referenceId" in order else 0)
        for number, order in orders
    ] == expected


async def test_a_column_without_a_name(tmp_path: Path) -> None:
    """As the index of a data frame has: it is named by its number, and SQL can leave it out."""
    data = text(tmp_path / "o.csv", "".join(f",{line}\n" for line in CSV.splitlines()))
    sql = text(tmp_path / "o.sql", "SELECT * EXCLUDE column1 FROM input")
    assert await keys(TableSource([data], sql=sql)) == [("o.sql", 1, "A-1")]


async def test_a_csv_file_that_is_larger_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are sorted outside of the memory."""
    monkeypatch.setitem(duck.SETTINGS, "memory_limit", "90MB")
    rows = [ROW.format(f"A-{n % 500}", n).replace("AZ10", "AZ10" * 100) for n in range(130_000)]
    path = text(tmp_path / "o.csv", HEAD + "".join(rows))
    assert sum(map(len, TableFile(str(path), V2_1).batches([]))) == 500


@pytest.mark.parametrize("column", ["price", "orderItems.price"])
async def test_rows_that_differ_once(tmp_path: Path, column: str) -> None:
    """A row that is as the row before it costs nothing, and one that differs in the order is found among them."""
    prices = ["5", "5", "6", "6", "5"]
    of_order = [price if column == "price" else "5" for price in prices]
    rows = [
        f"A,2024-01-01T16:17:16Z,{price},EUR,{n},AZ10,{item}\n"
        for n, (price, item) in enumerate(zip(of_order, prices, strict=True))
    ]
    (line,) = await lines(TableSource([text(tmp_path / "o.csv", HEAD + "".join(rows))]))
    kept = raw(line)
    assert [item["referenceId"] for item in kept["orderItems"]] == list("01234")
    assert ("$.price: must be the same in each row of the order" in told(line)) == (column == "price")


async def test_rows_of_one_order_that_differ(tmp_path: Path) -> None:
    """In a value of the order: it is not known which one is right."""
    rows = ROW.format("A", "1") + ROW.format("A", "2").replace("Z,5", "Z,6")
    (line,) = await lines(TableSource([text(tmp_path / "o.csv", HEAD + rows)]))
    assert "$.price: must be the same in each row of the order" in told(line)
    rows = ",,,,1,n,5\n" * 2
    assert [line.number for line in await lines(TableSource([text(tmp_path / "o.csv", HEAD + rows)]))] == [1, 2]


async def test_one_moment_in_several_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose order has one key are one order; other orders with its reference id stay apart."""
    monkeypatch.setattr(merging, "MOST_ALIKE", 5)
    z, plus, local, later = "2024-01-01T16:17:16Z", "2024-01-01T17:17:16+01:00", "2024-01-01T17:17:16", "2024-01-02T00Z"
    times = [plus, later, "x", z, "y", z.replace("Z", ".0009Z"), local, plus]
    rows = [ROW.format("A", n).replace(z, time) for n, time in enumerate(times)]
    rows.append(ROW.format("B", 1).replace(z, plus))
    path = text(tmp_path / "o.csv", HEAD + "".join(rows))
    found = await lines(TableSource([path], timezone="Europe/Madrid"))
    items = [(line.number, line.key, [item["referenceId"] for item in raw(line)["orderItems"]]) for line in found]
    assert items == [
        (1, "A@2024-01-01T16:17:16+00:00", ["5", "3", "6", "0", "7"]),
        (2, "A@2024-01-02T00:00:00+00:00", ["1"]),
        (3, "A", ["2"]),
        (5, "A", ["4"]),
        (9, "B@2024-01-01T16:17:16+00:00", ["1"]),
    ]
    assert not any("orderedAt: must be the same" in rule for line in found for rule in told(line))
    monkeypatch.setattr(merging, "MOST_ALIKE", 2)  # few are held in memory
    assert len(await lines(TableSource([path], timezone="Europe/Madrid"))) >= len(found)
    path = text(tmp_path / "o.csv", HEAD + rows[0] + rows[3].replace("Z,5", "Z,6"))
    (line,) = await lines(TableSource([path]))
    assert "$.price: must be the same in each row of the order" in told(line)


@pytest.mark.parametrize("number", ["1e999", "9" * 400, "NaN"])
async def test_numbers_that_are_too_large_where_rows_differ(tmp_path: Path, number: str) -> None:
    """Such an order is refused, and the next one is read."""
    head = "referenceId,orderedAt,price,currencyCode,contact,orderItems.name\n"
    rows = [f'A,2024-01-01T16:17:16Z,{price},EUR,"{{""x"": {number}}}",n\n' for price in (5, 6)]
    rows.append("B,2024-01-01T16:17:16Z,5,EUR,,n\n")
    first, second = await lines(TableSource([text(tmp_path / "o.csv", head + "".join(rows))]))
    assert "$.price: must be the same in each row of the order" in told(first)
    assert second.key == "B@2024-01-01T16:17:16+00:00"


@pytest.mark.parametrize("ordered", ["", "ORDER BY n DESC"])
async def test_numbers_of_sql_are_the_same_each_time(tmp_path: Path, ordered: str) -> None:
    """A query that groups has no order of its own: then the rows are sorted."""
    data = parquet(tmp_path / "o.parquet", "SELECT (i * 7919) % 5003 AS n, i FROM range(20000) AS t(i)")
    query = f"""SELECT n AS "referenceId", '2024-01-01T16:17:16Z' AS "orderedAt", count(*) AS price,
        'EUR' AS "currencyCode" FROM input GROUP BY n {ordered}"""
    found = await keys(TableSource([data], sql=text(tmp_path / "o.sql", query)))
    numbers = [int(key) for _, _, key in found]
    assert numbers == (sorted(numbers, reverse=True) if ordered else sorted(numbers))
    assert [number for _, number, _ in found] == list(range(1, 5004))


async def test_sql_beside_json_lines_and_alone(tmp_path: Path) -> None:
    """The SQL takes the tables, each by its name; alone it finds its files in its own folder."""
    text(tmp_path / "b.jsonl", '{"referenceId": "B"}\n')
    text(tmp_path / "old.csv", CSV)
    text(tmp_path / "new-1.csv", CSV.replace("A-1", "N-1"))
    sql = text(tmp_path / "o.sql", "SELECT * FROM old UNION ALL SELECT * FROM new ;\n")
    files = [tmp_path / name for name in ("old.csv", "b.jsonl", "new-1.csv")]
    source = TableSource(files, sql=sql)
    assert await keys(source) == [("o.sql", 1, "A-1"), ("o.sql", 2, "N-1"), ("b.jsonl", 1, "B")]
    assert source.names == (str(sql), str(files[1]))
    assert await keys(source.with_only({str(sql): {2}})) == [("o.sql", 2, "N-1")]
    text(sql, "FROM 'old.csv' -- beside it")
    assert await keys(GraphFiles([sql])) == [("o.sql", 1, "A-1")]
    text(sql, "FROM 'old.csv' -- ä; one\n; -- two;\n/* ; */ ;;\n")
    assert await keys(GraphFiles([sql])) == [("o.sql", 1, "A-1")]
    text(sql, "FROM 'old.csv'")
    with pytest.raises(InputError, match="the SQL reads a file that is not named beside it"):
        await lines(TableSource([tmp_path / "new-1.csv"], sql=sql))


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT 1,\n  2 FROM WHERE", 'syntax error at or near "WHERE", line 2, column 10'),
        ("SELECT\n  foo FROM input", 'Referenced column "foo" not found .*, line 2, column 3'),
        ("SELECT * FROM nope", "there is no table nope: the tables are those that are named beside the SQL"),
        ("SELECT 1 AS price", "has no column referenceId; its columns are price"),
        ("COPY input TO 'x.csv'", "must hold one SELECT, which only reads, and holds a statement of the kind COPY"),
        ("ATTACH 'x.db'", "a statement of the kind ATTACH"),
        ("INSTALL httpfs", "a statement of the kind LOAD"),
        ("PIVOT input ON price USING count(*)", "must name the values of its PIVOT"),
        ("SELECT 1; SELECT 2", "holds 2 statements"),
        ("", "holds 0 statements"),
        ("SELECT canary", 'Referenced column "canary"'),
        ("FROM read_csv('/etc/passwd')", "the SQL reads a file that is not named beside it"),
        ('SELECT "referenceId"::INT AS "referenceId" FROM input', "a value is not of the type that its column has"),
        ("SELECT list(a) AS \"referenceId\" FROM (SELECT repeat('x', 90000) a FROM range(9000))", "more memory"),
        ("\udcff", "its text is not UTF-8"),
        ("FROM input ORDER BY random()", "must select the same rows each time, .* leave out random\\(\\)"),
        ('SELECT "UUID" () AS "referenceId" FROM input', "leave out uuid\\(\\)"),
        ('SELECT now() - to_days(3) AS "orderedAt" FROM input', "leave out now\\(\\)"),
        ('SELECT "Today"() FROM input', "leave out today\\(\\)"),
        ("SELECT main.get_current_timestamp /* */ ()", "leave out get_current_timestamp\\(\\)"),
        ("SELECT current_localtime(), 1", "leave out current_localtime\\(\\)"),
        ("SELECT transaction_timestamp(), 1", "leave out transaction_timestamp\\(\\)"),
        ("SELECT txid_current(), 1", "leave out txid_current\\(\\)"),
        ("SELECT current_date()", "leave out current_date\\(\\)"),
        ("FROM input WHERE price::DATE < CURRENT_DATE", "leave out current_date"),
        ("FROM input WHERE price < current_timestamp::VARCHAR", "leave out current_timestamp"),
        ("SELECT localtimestamp", "leave out localtimestamp"),
        ("SELECT ago('1 day')", "leave out ago\\(\\)"),
        ("SELECT age(coalesce(x, y)::TIMESTAMP), 1", "leave out age\\(\\) with one argument"),
        ("FROM query('SELECT random()')", "leave out query\\(\\)"),
        ("FROM input USING SAMPLE 1", "leave out a sample without REPEATABLE"),
        ("FROM input TABLESAMPLE 10%", "leave out a sample without REPEATABLE"),
        ("FROM (FROM input TABLESAMPLE (9%) REPEATABLE (1)) USING SAMPLE 3", "leave out a sample without REPEATABLE"),
        ("FROM (SELECT *, 1 AS repeatable FROM input) USING SAMPLE reservoir(3)", "leave out a sample without"),
        ('SELECT current_setting(\'temp_directory\') AS "referenceId" FROM input', "leave out current_setting\\(\\)"),
        ("FROM duckdb_settings()", "leave out duckdb_settings\\(\\)"),
        ("FROM main.duckdb_temporary_files ()", "leave out duckdb_temporary_files\\(\\)"),
        ("FROM pragma_database_size()", "leave out pragma_database_size\\(\\)"),
        ('FROM pg_catalog."pg_settings"', "leave out pg_settings"),
    ],
)  # fmt: skip
async def test_sql_that_is_refused(tmp_path: Path, sql: str, rule: str) -> None:
    """In one sentence, which has no value of the table."""
    data = text(tmp_path / "o.csv", CSV)
    (tmp_path / "o.sql").write_bytes(sql.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=rule) as caught:
        await lines(TableSource([data], sql=tmp_path / "o.sql"))
    assert "\n" not in str(caught.value)
    assert "A-1" not in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM input WHERE price::VARCHAR <> 'random()' -- random()",
        "FROM input USING SAMPLE reservoir(5 ROWS) REPEATABLE (1)",
        "FROM (FROM input TABLESAMPLE (100 ROWS) REPEATABLE (1)) USING SAMPLE reservoir(5 ROWS) REPEATABLE (2)",
        "SELECT * EXCLUDE (duckdb_id, settings) FROM (SELECT *, 1 AS duckdb_id, 2 AS settings FROM input)",
        "FROM input WHERE current_schema() = 'main' AND age(DATE '2024-01-02', DATE '2024-01-01') IS NOT NULL",
        "WITH today(one) AS (SELECT 1) SELECT * EXCLUDE (one) FROM input, today",
        """SELECT * EXCLUDE ("current_date", now) FROM (SELECT *, 1 AS current_date, 'now()' AS now FROM input) AS t
            WHERE t.current_date = 1 AND now = 'now()'""",
        "SELECT * EXCLUDE (sample) FROM (SELECT *, 1 AS sample FROM input) WHERE sample = 1 OR error('none') IS NULL",
    ],
)
async def test_sql_that_selects_the_same_rows_each_time(tmp_path: Path, sql: str) -> None:
    """Words in texts and comments, samples of a seed and names of columns are no reason to refuse it."""
    data, query = text(tmp_path / "o.csv", CSV), text(tmp_path / "o.sql", sql)
    assert [line.number for line in await lines(TableSource([data], sql=query))] == [1]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "its first line must name the columns, and is empty"),
        (b",referenceId,column4,\n1,2,3,4\n", "line 1: column 4 has the name of an earlier column"),
        (b",referenceId\n1,2\n", "column1: no name is close to it"),
        (CSV.encode() + b"1,2,3,4,canary\n", "line 3: it has 5 fields, and must have 4"),
        (CSV.encode() + b"canary\n", "line 3: it has 1 fields, and must have 4"),
        (CSV.encode() + b'"canary"x,2,3,4\n', "line 3: a quote does not end where its field ends"),
        (CSV.encode() + b'"canary,2,3,4\n', "line 3: a quote does not end where its field ends"),
        (CSV.encode() + b"canary\xe9,2,3,4\n", "line 3: its text is not UTF-8"),
        (CSV.encode("utf-16"), "line 1: its text is not UTF-8"),
        (b"price,PRICE\n", "line 1: column 2 has the name of an earlier column"),
        (gzip.compress(CSV.encode(), mtime=0)[:-9], "it is cut off or damaged"),
        (b"\n" + CSV.encode(), "and is blank: remove the blank lines above the names"),
        (b"\xef\xbb\xbfsep=;\r\n" + CSV.encode(), "and is a mark for Excel: remove this line"),
        (b"a" * 2**20 + CSV.encode(), "line 1: the names of the columns must have at most 1,048,576 bytes"),
        (b'"' + b"a" * 2**18 + CSV.encode(), "line 1: a quote does not end, or a name is too long"),
        (CSV.encode() + b"canary" * 2**20 + b",2,3,4\n1,2,3,4\n", "line 3: a line must have at most 4,194,304 bytes"),
        (CSV.encode() + b"canary" * 2**22 + b",2,3,4\n1,2,3,4\n", "line 3: a line must have at most 4,194,304 bytes"),
        (CSV.encode() + b"canary" * 2**22 + b",2,3,4\r\n", "its last line must have at most 4,194,304 bytes"),
        (
            gzip.compress(CSV.encode() + b"canary" * 2**22 + b",2,3,4"),
            "its last line must have at most 4,194,304 bytes",
        ),
        (CSV.encode() + b"1,2,3,canary\r\n1,2,3,4\n", "line 3: it ends in another way than the first line"),
        (CSV.replace("\n", "\r\n").encode() + b'"\n",2,3,4\r\n1,2,3,4\n', "line 5: it ends in another way"),
        (gzip.compress(CSV.encode() + b"1,2,3,4\r\n1,2,3,4\n"), "line 3: it ends in another way than the first line"),
        (CSV.encode() + b"1,2\r3,3,4\n", "its quotes or its line ends differ from line to line"),
        (b"PK\x03\x04canary", "it is a zip archive; give CSV, plain, gzip or zstd"),
        (lzma.compress(CSV.encode()), "it is packed by xz; give CSV, plain, gzip or zstd"),
        (bz2.compress(CSV.encode()), "it is packed by bzip2; give CSV, plain, gzip or zstd"),
        (b"PK,ORCID\n1,2\n", "has 2 columns that are no keys"),
    ],
    ids=range(27),
)
async def test_csv_that_is_refused(tmp_path: Path, content: bytes, rule: str) -> None:
    """With its file, its line and the rule, and without its values."""
    path = tmp_path / "o.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rule) as caught:
        await lines(TableSource([path]))
    assert str(path) in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_parquet_that_is_refused(tmp_path: Path) -> None:
    """Cut at its end, damaged, or empty."""
    whole = parquet(tmp_path / "o.parquet", f"SELECT {ORDER} FROM range(1000)").read_bytes()
    for content in (whole[:-100], whole[:4], b"", whole[:4] + b"x" * 60 + whole[64:]):
        (tmp_path / "o.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"o\.parquet cannot be read: "):
            await lines(TableSource([tmp_path / "o.parquet"]))


async def test_a_table_without_rows(tmp_path: Path) -> None:
    """Has no orders, and that is not an error."""
    assert await lines(TableSource([parquet(tmp_path / "o.parquet", f"SELECT {ORDER} LIMIT 0")])) == []
    assert await lines(TableSource([text(tmp_path / "o.csv", CSV.splitlines()[0])])) == []


async def test_a_table_that_changes(tmp_path: Path) -> None:
    """While it is read, it is refused; between a plan and a load, its hash differs."""
    path = parquet(tmp_path / "o.parquet", f"SELECT {ORDER} FROM range(2000)")
    source = TableSource([path])
    before = await source.fingerprint()
    rows = aiter(source)
    await anext(rows)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="changed while it was read"):
        [line async for line in rows]
    parquet(path, f"SELECT {ORDER} FROM range(2001)")
    assert await source.fingerprint() != before


async def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says what to install."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(InputError, match=r"needs an extra: pip install 'cdp-orders-async\[tables\]'"):
        TableSource([text(tmp_path / "o.csv", CSV)])
    with pytest.raises(InputError, match=r"pip install 'cdp-orders-async\[tables\]'"):
        jobs.write_invented(1, 0, "parquet", tmp_path / "o.parquet")


async def test_a_query_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its reader is cancelled; nothing is left among the temporary files, which others cannot read."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sql = text(tmp_path / "o.sql", 'SELECT count(*) AS "referenceId" FROM range(1000000000) AS a, range(1000000) AS b')
    task = asyncio.ensure_future(lines(GraphFiles([sql])))
    while not (folders := list(tmp_path.glob("cdp-orders-*"))):  # noqa: ASYNC110, ASYNC240 duckdb tells nobody
        await asyncio.sleep(0.01)
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.glob("cdp-orders-*")) == []  # noqa: ASYNC240 a few names


async def test_a_table_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its first order: its query has ended with the reader."""
    path = parquet(tmp_path / "o.parquet", f"SELECT {ORDER} FROM range(2000)")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with contextlib.aclosing(aiter(GraphFiles([path]))) as rows:
        await anext(rows)
        assert len(list(tmp_path.glob("cdp-orders-*"))) == 1  # noqa: ASYNC240 a few names
    assert list(tmp_path.glob("cdp-orders-*")) == []  # noqa: ASYNC240 a few names


@NEEDS_PIPES
@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.parquet", "o.sql", "in.csv"])
async def test_a_pipe_is_no_table(tmp_path: Path, name: str) -> None:
    """It would wait for its writer, and could not be read twice."""
    os.mkfifo(tmp_path / name)
    source = GraphFiles([tmp_path / name])
    if name == "in.csv":
        source = TableSource([tmp_path / name], sql=text(tmp_path / "o.sql", "FROM input"))
    for read in (lines(source), source.fingerprint()):
        with pytest.raises(InputError, match=f"{name} must be a regular file"):
            await read


async def test_a_device_is_no_table(tmp_path: Path) -> None:
    """Under whatever name."""
    (tmp_path / "o.csv").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"o\.csv must be a regular file"):
        await lines(GraphFiles([tmp_path / "o.csv"]))


@NEEDS_PIPES
async def test_sql_that_names_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query waits for a writer, but a caller that is cancelled does not wait for the query."""
    monkeypatch.setattr(table_file, "LONGEST_END", 1.0)  # long enough for a thread to begin
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    query = """SELECT content AS "referenceId" FROM read_text('pipe')"""
    task = asyncio.ensure_future(lines(GraphFiles([text(tmp_path / "o.sql", query)])))
    writer = None
    while writer is None:
        await asyncio.sleep(0.01)
        with contextlib.suppress(OSError):  # nobody reads it yet
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    os.close(writer)


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the temporary files of a sort."""
    monkeypatch.setitem(duck.SETTINGS, "memory_limit", "40MB")
    monkeypatch.setitem(duck.SETTINGS, "max_temp_directory_size", "1MB")
    query = "SELECT md5(i::VARCHAR) || repeat('x', 300) AS \"referenceId\" FROM range(400000) AS t(i) ORDER BY 1"
    with pytest.raises(InputError, match=r"the disk of the folder of temporary files \(TMPDIR\) is full"):
        await lines(GraphFiles([text(tmp_path / "o.sql", query)]))


async def test_another_machine_is_not_reached(tmp_path: Path) -> None:
    """It would need an extension, which is neither installed nor loaded."""
    for name in ("s3://bucket/orders.parquet", "https://example.com/orders.csv"):
        with pytest.raises(InputError, match="only files on this machine can be, and no extension is loaded"):
            await lines(GraphFiles([text(tmp_path / "o.sql", f"FROM '{name}'")]))


async def test_first_example(tmp_path: Path) -> None:
    """One row an order."""
    head = "id,bought,total,email,customer,store\n"
    data = text(tmp_path / "orders.csv", head + 'A,2024-01-01 17:17:16,"50,10",ann@example.com,007,London\n')
    (line,) = await lines(TableSource([data], sql=text(tmp_path / "o.sql", ORDERS_SQL)))
    assert line.graph is not None, told(line)
    assert line.key == "A@2024-01-01T16:17:16+00:00"
    assert line.graph.extension == {"store": "London"}
    assert line.graph.contact is not None


async def test_second_example(tmp_path: Path) -> None:
    """One row an item."""
    head = "order_id,bought,order_total,currency,line,sku,product,price,quantity\n"
    rows = "".join(f"A,2024-01-01 16:17:16Z,10,EUR,{n},S{n},Cup,5.00,1\n" for n in (1, 2))
    (line,) = await lines(TableSource([text(tmp_path / "l.csv", head + rows)], sql=text(tmp_path / "o.sql", LINES_SQL)))
    assert line.graph is not None, told(line)
    assert [part.item.reference_id for part in line.graph.items] == ["A-1", "A-2"]


async def test_third_example(tmp_path: Path) -> None:
    """The data lake, as an input and read back."""
    (tmp_path / "orders").mkdir()
    (tmp_path / "order_items").mkdir()
    order = """i AS meta_ref, 'O-' || i AS core_reference_id, TIMESTAMPTZ '2024-01-01 16:17:16Z' AS core_ordered_at,
        10.5::DOUBLE AS core_price, 'EUR' AS core_currency_code, 'PURCHASED' AS core_status,
        MAP {'channel': 'WEB'} AS bxt, MAP {'store': 'London'} AS ext"""
    item = """i % 3 AS meta_order_ref, 'I-' || i AS core_reference_id, 'P' AS type, 'S' AS core_product_id,
        'Cup' AS core_name, 5.25::DOUBLE AS core_price, 'EUR' AS core_currency_code, 1 AS core_quantity,
        'PURCHASED' AS core_status, MAP {}::MAP(VARCHAR, VARCHAR) AS ext"""
    parquet(tmp_path / "orders" / "1.parquet", f"SELECT {order} FROM range(4) AS t(i)")
    parquet(tmp_path / "order_items" / "1.parquet", f"SELECT {item} FROM range(6) AS t(i)")
    source = TableSource([tmp_path / "orders", tmp_path / "order_items"], sql=text(tmp_path / "o.sql", LAKE_SQL))
    found = await lines(source)
    assert [(line.number, line.key, told(line)) for line in found] == [
        (1 + 2 * n, f"O-{n}@{KEY.partition('@')[2]}", []) for n in range(4)
    ]
    sizes = [len(line.graph.items) for line in found if line.graph is not None]
    assert sizes == [2, 2, 2, 0]
