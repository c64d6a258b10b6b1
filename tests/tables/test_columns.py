"""The values of columns, as an order has them."""

# ruff: noqa: S608 the SQL is that of the tests

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from cdp_orders_async import InputError, TableSource
from cdp_orders_async.kinds import V2, V2_1
from cdp_orders_async.sources.expressions import literal
from tests.tables.making import KEY, MOMENT, ORDER, lines, one, parquet, raw, text, told


@pytest.mark.parametrize(
    ("column", "price"),
    [
        ("50.10::DECIMAL(15,2)", Decimal("50.1")),
        (".05::DECIMAL(2,2)", Decimal("0.05")),
        ("-.05::DECIMAL(4,4)", Decimal("-0.05")),
        ("50.1::DOUBLE", Decimal("50.1")),
        ("50.1::FLOAT", Decimal("50.1")),
        ("1e-7::DOUBLE", Decimal("1e-7")),
        ("50::HUGEINT", Decimal(50)),
        ("'50.10'", Decimal("50.1")),
        ("'50.10'::JSON", Decimal("50.1")),
    ],
)
async def test_numbers_keep_their_value(tmp_path: Path, column: str, price: Decimal) -> None:
    """Whatever the type of the column is."""
    line = await one(parquet(tmp_path / "o.parquet", f"SELECT {ORDER.replace('50.10', column)}"))
    assert line.graph is not None, told(line)
    assert line.graph.order.price == price
    assert (line.number, line.key) == (1, KEY)


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        ("'NaN'::DOUBLE", "$.price: must be a finite number, and is NaN"),
        ("'-inf'::FLOAT", "$.price: must be a finite number, and is infinite"),
        ("12345678901234567.89::DECIMAL(38,2)", "$.price: must be a number that arrives digit for digit"),
        ("170141183460469231731687303715884105727::HUGEINT", "$.price: must have at most 15 significant digits"),
        ("'5,10'", "$.price: must be a number"),
        ("true", "$.price: must be a number"),
    ],
)
async def test_numbers_that_would_be_lost_are_refused(tmp_path: Path, column: str, rule: str) -> None:
    """With the row and the column."""
    line = await one(parquet(tmp_path / "o.parquet", f"SELECT {ORDER.replace('50.10', column)}"))
    assert line.number == 1
    assert told(line)[0].startswith(rule)


async def test_a_bad_number_in_a_nested_column(tmp_path: Path) -> None:
    """Is told with its path, in an extension too, where any number would do."""
    pairs = "[{'a': 'NaN'::DOUBLE, 'b': 1.5::DOUBLE}]"
    items = f"[{{'referenceId': 'I', 'price': 'inf'::DOUBLE, 'extensions': {pairs}}}]"
    line = await one(parquet(tmp_path / "o.parquet", f'SELECT {ORDER}, {items} AS "orderItems"'))
    assert "$.orderItems[0].price: must be a finite number, and is infinite" in told(line)
    assert "$.orderItems[0].extensions[0].a: must be a finite number, and is NaN" in told(line)


@pytest.mark.parametrize(
    ("column", "timezone", "key"),
    [
        ("TIMESTAMPTZ '2024-01-01 17:17:16+01'", None, KEY),
        ("TIMESTAMP '2024-01-01 16:17:16'", "UTC", KEY),
        ("TIMESTAMP_NS '2024-01-01 16:17:16'", "UTC", KEY),
        ("'2024-01-01 17:17:16'", "Europe/Madrid", KEY),
        ("'2024-01-01T16:17:16Z'", None, KEY),
        ("TIMESTAMPTZ '2024-01-01 16:17:16.25Z'", None, "A-1@2024-01-01T16:17:16.250000+00:00"),
    ],
)
async def test_times_have_their_zone(tmp_path: Path, column: str, timezone: str | None, key: str) -> None:
    """A column with a zone is in UTC; for the others the zone is told, as for JSON lines."""
    select = f"SELECT {ORDER.replace(MOMENT, column)}"
    line = await one(parquet(tmp_path / "o.parquet", select), timezone=timezone)
    assert line.key == key, told(line)
    assert line.graph is not None


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        ("TIMESTAMP '2024-01-01 16:17:16'", "must have a time zone"),
        ("DATE '2024-01-01'", "must be a date and time, since a date alone is a whole day"),
        ("'infinity'::TIMESTAMPTZ", "must be a date or time, and is infinite"),
        ("NULL::TIMESTAMPTZ", "is required"),
        ("TIMESTAMPTZ '10000-01-01 00:00:00Z'", "must be a time, such as 2024-01-01T16:17:16Z"),
    ],
)
async def test_times_without_a_zone_are_refused(tmp_path: Path, column: str, rule: str) -> None:
    """As in JSON lines."""
    select = f"SELECT {ORDER.replace(MOMENT, column)}"
    assert told(await one(parquet(tmp_path / "o.parquet", select)))[0].startswith(f"$.orderedAt: {rule}")


async def test_nulls_are_left_out(tmp_path: Path) -> None:
    """In structs and lists too, and so is what holds nothing else."""
    select = f"""SELECT {ORDER}, NULL::VARCHAR AS status, NULL AS channel,
        {{'firstName': NULL::VARCHAR, 'emails': [NULL::VARCHAR]}} AS contact,
        [{{'referenceId': 'I-1', 'type': 'P', 'name': 'AZ10', 'price': 5, 'currencyCode': 'EUR', 'status': 'X',
           'vendor': NULL::VARCHAR, 'extensions': [{{'a': NULL::INTEGER}}]}}, NULL] AS "orderItems",
        MAP {{'a': NULL::VARCHAR}} AS extensions, []::STRUCT("firstName" VARCHAR)[] AS consumers"""
    line = await one(parquet(tmp_path / "o.parquet", select))
    assert line.graph is not None, told(line)
    assert line.graph.contact is None
    assert line.graph.extension is None
    assert [(part.item.name, part.extension) for part in line.graph.items] == [("AZ10", None)]


@pytest.mark.parametrize(
    ("column", "whole"),
    [
        ("['a@example.com'] AS \"contact.emails\"", "{'emails': ['a@example.com']} AS contact"),
        ("[{'id': '7'}] AS \"contact.identifiers\"", "{'identifiers': [{'id': '7'}]} AS contact"),
        ("{'id': '7'} AS \"contact.identifiers\"", "{'identifiers': {'id': '7'}} AS contact"),
        ("['a@example.com'] AS \"consumers.emails\"", "[{'emails': ['a@example.com']}] AS consumers"),
        ("[{'id': '7'}] AS \"orderItems.flightSegments\"", "[{'flightSegments': [{'id': '7'}]}] AS \"orderItems\""),
        ('[1, 2] AS "extensions.x"', "{'x': [1, 2]} AS extensions"),
    ],
)
async def test_nested_values_in_flat_columns(tmp_path: Path, column: str, whole: str) -> None:
    """They are what they are in a column of the whole object."""
    api = V2 if "flight" in column else V2_1
    flat, nested = [
        await one(parquet(tmp_path / f"{n}.parquet", f"SELECT {ORDER}, {select}"), api=api)
        for n, select in enumerate((column, whole))
    ]
    assert (flat.graph, told(flat)) == (nested.graph, told(nested))
    if flat.graph is None:
        assert raw(flat) == raw(nested)


async def test_nested_and_flat_columns_are_the_same_order(tmp_path: Path) -> None:
    """A struct, flat names, and JSON in a text."""
    nested = f"""SELECT {ORDER}, {{'firstName': 'Ann "A"', 'emails': ['a@example.com'],
        'identifiers': [{{'provider': 'CRM', 'id': '7'}}]}} AS contact,
        MAP {{'store': 'London', 'week': '1'}} AS extensions"""
    flat = f"""SELECT {ORDER}, 'Ann "A"' AS "contact.firstName", 'a@example.com' AS "contact.emails",
        'CRM' AS "contact.identifiers.provider", 7 AS "contact.identifiers.id",
        'London' AS "extensions.store", '1' AS "extensions.week" """
    as_text = f"""SELECT {ORDER}, '{{"firstName": "Ann \\"A\\"",
        "emails": ["a@example.com"], "identifiers": [{{"provider": "CRM", "id": "7"}}]}}' AS contact,
        '[{{"store": "London", "week": "1"}}]' AS extensions"""
    graphs = [
        (await one(parquet(tmp_path / f"{n}.parquet", select))).graph
        for n, select in enumerate((nested, flat, as_text))
    ]
    assert graphs[0] is not None
    assert graphs[0].contact is not None
    assert graphs[0].contact.first_name == 'Ann "A"'
    assert graphs[0].extension == {"store": "London", "week": "1"}
    assert graphs == [graphs[0]] * 3


async def test_a_text_that_is_no_json(tmp_path: Path) -> None:
    """Is told by its column, and kept as it stands."""
    line = await one(parquet(tmp_path / "o.parquet", f"SELECT {ORDER}, '[{{' AS \"orderItems\""))
    assert told(line)[0] == "$.orderItems: must be JSON in a text, or a column of a nested type"
    assert raw(line)["referenceId"] == "A-1"


async def test_ids_may_be_numbers(tmp_path: Path) -> None:
    """As exports of databases have them: each digit is kept."""
    select = f"SELECT {ORDER.replace(repr('A-1'), '9007199254740993::DECIMAL(38,0)')}"
    line = await one(parquet(tmp_path / "o.parquet", select))
    assert (line.key or "").startswith("9007199254740993@")


@pytest.mark.parametrize("column", ["'x'::BLOB", "INTERVAL 1 DAY", "'101'::BIT"])
async def test_types_that_json_does_not_have(tmp_path: Path, column: str) -> None:
    """Are refused in a sentence, also inside a list."""
    for nested in (column, f"[{column}]"):
        path = text(tmp_path / "o.sql", f"SELECT {ORDER}, {nested} AS status")
        with pytest.raises(InputError, match=r"the column status has the type .*, which JSON does not have: leave it"):
            await lines(TableSource([path]))


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("order_ref", "order_ref: did you mean referenceId?"),
        ("reference_id", "reference_id: did you mean referenceId?"),
        ("OrderDate", "OrderDate: did you mean orderedAt?"),
        ("currency", "currency: did you mean currencyCode?"),
        ("contact_first_name", "contact_first_name: did you mean contact.firstName?"),
        ("orderItems.nam", "orderItems.nam: did you mean orderItems.name?"),
        ("zzz", "zzz: no name is close to it"),
        ("ann@example.com", "column 2: no name is close to it"),
    ],
)
async def test_columns_of_other_names(tmp_path: Path, column: str, meant: str) -> None:
    """Are refused before a row is read, with the name that may be meant."""
    path = text(tmp_path / "o.csv", f"price,{column}\n1,2\n")
    with pytest.raises(InputError) as caught:
        await lines(TableSource([path]))
    assert meant in str(caught.value)
    assert "ann@" not in str(caught.value)


@pytest.mark.parametrize(
    "head", ["Zqx,Schmidt", "B94,2024-01-01T10:00:00Z,50,EUR,Zqx,Schmidt,zqx@example.com", "Price,Zqx", "referenceid"]
)
async def test_a_row_in_place_of_names(tmp_path: Path, head: str) -> None:
    """It may hold personal values: the columns are told by their numbers, and what the first line must be."""
    path = text(tmp_path / "o.csv", f"{head}\n{head}\n")
    with pytest.raises(InputError) as caught:
        await lines(TableSource([path]))
    told = str(caught.value)
    assert "column 1: " in told
    assert "its first line must name the columns" in told
    assert not {"Zqx", "Schmidt"} & set(re.findall(r"\w+", told))


async def test_usual_names_alone(tmp_path: Path) -> None:
    """They are no row of values, though none is a key."""
    path = text(tmp_path / "o.csv", "order_id,order_date,total,note\n1,2,3,4\n")
    with pytest.raises(InputError, match=r"order_id: did you mean referenceId\?; .*; note: no name is close to it"):
        await lines(TableSource([path]))


async def test_a_key_that_is_given_twice(tmp_path: Path) -> None:
    """A struct and a flat column of the same object."""
    path = text(tmp_path / "o.csv", "referenceId,contact,contact.firstName\n1,2,3\n")
    with pytest.raises(InputError, match="gives contact twice"):
        await lines(TableSource([path]))


async def test_import_records_of_the_batch_api(tmp_path: Path) -> None:
    """Have the order in a column."""
    select = f"SELECT 'order' AS schema, 'upsert' AS mode, r AS value FROM (SELECT {ORDER}) AS r"
    line = await one(parquet(tmp_path / "o.parquet", select))
    assert line.graph is not None, told(line)
    assert line.graph.mode == "upsert"


@pytest.mark.parametrize("column", ["' null'", "e'null\\t'", "e'\\n null '::JSON", "NULL::VARCHAR", "NULL::JSON"])
@pytest.mark.parametrize("name", ["contact", "orderItems", "consumers", "extensions"])
async def test_a_text_that_is_a_json_null(tmp_path: Path, column: str, name: str) -> None:
    """Is nothing, as a null is, whatever stands around it."""
    line = await one(parquet(tmp_path / "o.parquet", f'SELECT {ORDER}, {column} AS "{name}"'))
    assert line.graph is not None, told(line)


@pytest.mark.parametrize("column", ["'nan'", "'nan'::JSON", "'[NaN]'"])
@pytest.mark.parametrize("name", ["contact", "orderItems", "extensions"])
async def test_a_text_that_is_no_number(tmp_path: Path, column: str, name: str) -> None:
    """Is no null: what duckdb takes for JSON is refused here."""
    line = await one(parquet(tmp_path / "o.parquet", f'SELECT {ORDER}, {column} AS "{name}"'))
    assert told(line)[0].startswith(f"$.{name}")
    assert told(line)[0].endswith(": must be a finite number, and is NaN")


@pytest.mark.parametrize(
    ("column", "given", "rule"),
    [
        ("contact", '{"firstName": NaN}', ".firstName: must be a finite number, and is NaN"),
        (
            "contact",
            r'{"lastName": "a\"nan,}", "firstName": "[,]", "city" :-nAn}',
            ".city: must be a finite number, and is NaN",
        ),
        ("contact", '{"ann@example.com": NaN}', ".***: must be a finite number, and is NaN"),
        ("contact", '{"city": Inf}', ".city: must be a finite number, and is infinite"),
        ("contact", '{"price":-Infinity}', ".price: must be a finite number, and is infinite"),
        ("contact", '{"firstName": "Ann", }', ": must be JSON in a text, or a column of a nested type"),
        ("contact.emails", '["ann@example.com",\n]', "[1]: must be JSON in a text, or a column of a nested type"),
        ("extensions", '[{"a": 1,}]', "[0]: must be JSON in a text, or a column of a nested type"),
        ("contact", f'{{"city": {"[" * 100_000}{"]" * 100_000}}}', ": must not be nested so deep"),
    ],
)
async def test_a_text_that_only_duckdb_takes_for_json(tmp_path: Path, column: str, given: str, rule: str) -> None:
    """Is told by its place, and the order keeps its key; so is that of an order whose rows differ."""
    select = f'SELECT {ORDER}, {literal(given)} AS "{column}"'
    line = await one(parquet(tmp_path / "o.parquet", select))
    assert (told(line)[0], line.key) == (f"$.{column}{rule}", KEY)
    item = '"orderItems.referenceId"'
    rows = f"{select}, 1 AS {item} UNION ALL SELECT {ORDER}, '{{}}', 2 AS {item}"
    line = await one(parquet(tmp_path / "o.parquet", rows))
    assert {f"$.{column}{rule}", f"$.{column.partition('.')[0]}: must be the same in each row of the order"} < {
        *told(line)
    }
    assert line.key == KEY


async def test_a_text_of_several_lines(tmp_path: Path) -> None:
    """Becomes one line, with any space before its first bracket."""
    for number, text_of in enumerate(("e' \\r\\n\\t{\"a\":\\n1}\\n'", "e'\\n[{\"a\":\\r1}]'")):
        line = await one(parquet(tmp_path / f"{number}.parquet", f"SELECT {ORDER}, {text_of} AS extensions"))
        assert line.graph is not None, told(line)
        assert line.graph.extension == {"a": 1}
