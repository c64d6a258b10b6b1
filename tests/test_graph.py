"""Whole orders from JSON lines: what is read, what is refused and where, and how a file may end."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async import (
    GraphConsumer,
    GraphFile,
    GraphItem,
    InputError,
    Invalid,
    Line,
    NewConsumer,
    NewContact,
    NewOrder,
    NewOrderItem,
    OrderGraph,
    parse_graph,
)
from cdp_orders_async.graph import Pairs
from cdp_orders_async.sources.jsonlines import LONGEST_LINE, lines
from cdp_orders_async.wire import to_json
from tests import values

Json = dict[str, object]

ITEM: Json = {
    "type": "MOBILE",
    "name": "AZ10",
    "price": 105,
    "currencyCode": "EUR",
    "status": "CONFIRMED",
    "referenceId": "I-1",
}
ORDER: Json = {"referenceId": "B94TXY-1", "orderedAt": "2024-01-01T16:17:16Z", "price": 50, "currencyCode": "EUR"}
GOOD = orjson.dumps(ORDER)
UNKNOWN = "is no key of version 2.1; put its values into the order's extension"
UNKNOWN_OF_ITEM = "is no key of version 2.1; put its values into the item's extension"
PRIMITIVE = "must be text, a boolean or a number"


def refused(value: object) -> list[str]:
    """Return what is wrong with an order, in words."""
    with pytest.raises(Invalid) as caught:
        parse_graph(value)
    return [str(violation) for violation in caught.value.violations]


def extended(value: Json, pairs: Pairs | None) -> Json:
    """Return *value* with its extension as the vendor nests it."""
    return value if pairs is None else {**value, "extensions": [{"name": "ext", "key": "default", **pairs}]}


def rendered(graph: OrderGraph) -> Json:
    """Return *graph* as the vendor's documents nest it."""
    whole: Json = {**to_json(graph.order)}
    if graph.contact is not None:
        whole["contact"] = to_json(graph.contact)
    whole["orderItems"] = [extended(to_json(part.item), part.extension) for part in graph.items]
    whole["consumers"] = [
        {**to_json(user.consumer), "orderItems": [{"referenceId": reference} for reference in user.uses]}
        for user in graph.consumers
    ]
    return extended(whole, graph.extension)


@given(values.graphs())
def test_graph_is_read_as_it_was_written(graph: OrderGraph) -> None:
    """Any graph comes back equal from an import record, and from the bare order but for its mode."""
    value = rendered(graph)
    record = {"ref": "8e3ee1a2-9c54-4ae5-8a4b-3b8b8b1e2d11", "schema": "order", "mode": graph.mode, "value": value}
    assert parse_graph(orjson.loads(orjson.dumps(record))) == graph
    assert parse_graph(orjson.loads(orjson.dumps(value))).order == graph.order


def test_order_and_its_parts() -> None:
    """Each part is where the vendor nests it."""
    graph = parse_graph(
        {
            **ORDER,
            "contact": {"firstName": "Ada"},
            "orderItems": [{**ITEM, "extensions": [{"color": "obsidian"}]}],
            "consumers": [{"firstName": "Ada", "orderItems": [{"referenceId": "I-1"}]}, {}],
            "extensions": [{"name": "ext", "key": "default", "totalUnits": 8}],
        }
    )
    item = NewOrderItem(
        type="MOBILE", name="AZ10", price=Decimal(105), currency_code="EUR", status="CONFIRMED", reference_id="I-1"
    )
    assert graph == OrderGraph(
        order=NewOrder(reference_id="B94TXY-1", ordered_at=values.NOW, price=Decimal(50), currency_code="EUR"),
        contact=NewContact(first_name="Ada"),
        items=(GraphItem(item, {"color": "obsidian"}),),
        consumers=(GraphConsumer(NewConsumer(first_name="Ada"), ("I-1",)), GraphConsumer(NewConsumer())),
        extension={"totalUnits": 8},
    )
    assert graph.key == "B94TXY-1@2024-01-01T16:17:16+00:00"


def test_what_says_nothing_is_let_through() -> None:
    """Null is as good as absent, and so is what the server sets: refs, times, and the order time of an item."""
    empty = dict.fromkeys(["contact", "orderItems", "consumers", "extensions", "channel", "status"])
    kept = {"ref": "x", "href": "x", "createdAt": "x", "modifiedAt": "x"}
    item = {**ITEM, **kept, "orderedAt": ORDER["orderedAt"], "extensions": None, "vendor": None}
    assert parse_graph({**ORDER, **empty, **kept}) == parse_graph({**ORDER, "extensions": [], "consumers": []})
    assert parse_graph({**ORDER, "orderItems": [item]}) == parse_graph({**ORDER, "orderItems": [ITEM]})


@pytest.mark.parametrize(
    ("person", "emails"),
    [
        ({"email": "a@b"}, ("a@b",)),
        ({"email": "a@b", "emails": ["c@d"]}, ("a@b", "c@d")),
        ({"email": "a@b", "emails": ["c@d", "a@b"]}, ("c@d", "a@b")),
        ({"email": None, "emails": ["c@d"]}, ("c@d",)),
        ({"email": None}, None),
    ],
)
def test_single_email_of_the_batch_api(person: Json, emails: object) -> None:
    """The one ``email`` of the Batch API is among the ``emails``, of a contact and of a consumer."""
    graph = parse_graph({**ORDER, "contact": person, "consumers": [person]})
    assert graph.contact is not None
    assert graph.contact.emails == graph.consumers[0].consumer.emails == emails


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        ({"price": None}, ["$.price: must be a number"]),
        ({"orderedAt": "yesterday"}, ["$.orderedAt: has the wrong form"]),
        ({"orderedAt": 0, "price": "1"}, ["$.orderedAt: must be a date and time", "$.price: must be a number"]),
        ({"currencyCode": "euro"}, ["$.currencyCode: must be an ISO 4217 code of three capital letters"]),
        ({"colour": 1, "Price": 1}, [f"$.colour: {UNKNOWN}", f"$.Price: {UNKNOWN}"]),
        ({"contact": "Ada"}, ["$.contact: must be an object"]),
        ({"contact": {"orderItems": 1}}, [f"$.contact.orderItems: {UNKNOWN}"]),
        ({"contact": {"email": 1}}, ["$.contact.emails[0]: must be text"]),
        ({"contact": {"email": "a", "emails": "b"}}, ["$.contact.emails: must be a list"]),
        ({"contact": {"dateOfBirth": "9999-01-01T00:00Z"}}, ["$.contact.dateOfBirth: must be in the past"]),
        (
            {"contact": {"identifiers": [{"provider": "a", "id": "b", "type": 1}, 2]}},
            [f"$.contact.identifiers[0].type: {UNKNOWN}", "$.contact.identifiers[1]: must be an object"],
        ),
        (
            {"contact": {"identifiers": [{"provider": "a", "expiryDate": 1}]}},
            [
                "$.contact.identifiers[0].id: is required",
                "$.contact.identifiers[0].expiryDate: must be a date and time",
            ],
        ),
        ({"orderItems": "I-1"}, ["$.orderItems: must be a list"]),
        (
            {"orderItems": [ITEM, {"vendor": None}]},
            [f"$.orderItems[1].{key}: is required" for key in ("price", "currencyCode", "type", "name", "status")],
        ),
        (
            {"orderItems": [*[ITEM] * 3, {**ITEM, "name": "x" * 129}]},
            ["$.orderItems[3].name: must be at most 128 characters"],
        ),
        ({"orderItems": [{**ITEM, "flightSegments": "x"}]}, [f"$.orderItems[0].flightSegments: {UNKNOWN_OF_ITEM}"]),
        (
            {"orderItems": [{**ITEM, "orderedAt": "2024-01-02T00:00:00Z"}]},
            [f"$.orderItems[0].orderedAt: {UNKNOWN_OF_ITEM}"],
        ),
        (
            {"orderItems": [{**ITEM, "extensions": [{"a": None, "b": ["x"]}]}]},
            [f"$.orderItems[0].extensions[0].{key}: {PRIMITIVE}" for key in "ab"],
        ),
        ({"extensions": "ext"}, ["$.extensions: must be a list"]),
        ({"extensions": [1]}, ["$.extensions[0]: must be an object"]),
        ({"extensions": [{"a": 1}, {"b": 2}]}, ["$.extensions: must have at most one extension"]),
        (
            {"extensions": [{"name": "mine", "key": None}]},
            ["$.extensions[0].name: must be 'ext'", "$.extensions[0].key: must be 'default'"],
        ),
        ({"extensions": [{"ref": "x"}]}, ["$.extensions[0].ref: is a key that the server sets itself"]),
        ({"consumers": [1]}, ["$.consumers[0]: must be an object"]),
        (
            {"consumers": [{"orderItems": ["I-1", {"referenceId": 1}]}]},
            [f"$.consumers[0].orderItems[{n}].referenceId: must name an item of this order" for n in (0, 1)],
        ),
        ({"consumers": [{"orderItems": "I-1"}]}, ["$.consumers[0].orderItems: must be a list"]),
        (
            {"consumers": [{"city": None}, {"orderItems": [{"referenceId": "I-9"}]}], "orderItems": [ITEM]},
            ["$.consumers[1].orderItems[0].referenceId: must name exactly one item of this order"],
        ),
        (
            {"consumers": [{"orderItems": [{"referenceId": "I-1"}]}], "orderItems": [ITEM, ITEM]},
            ["$.consumers[0].orderItems[0].referenceId: must name exactly one item of this order"],
        ),
    ],
)
def test_bad_orders(change: Json, violations: list[str]) -> None:
    """What is wrong with an order is told with its path, bare or in an import record."""
    assert refused({**ORDER, **change}) == violations
    assert refused({"schema": "order", "mode": "insert", "value": {**ORDER, **change}}) == violations


def test_reserved_type() -> None:
    """An item of a type that version 2.1 reserves is refused by name, and it is said what to send instead."""
    (wrong,) = refused({**ORDER, "orderItems": [{**ITEM, "type": "FLIGHT"}]})
    assert wrong == (
        "$.orderItems[0].type: must not be FLIGHT in version 2.1: use another word, such as 'Flight', "
        "and put the flight details into the item's extension"
    )


SCHEMA, MODE = "$.schema: must be 'order'", "$.mode: must be 'insert' or 'upsert'"


@pytest.mark.parametrize(
    ("record", "violations"),
    [
        ({"schema": "guest", "mode": "upsert"}, [SCHEMA]),
        ({"schema": "order", "mode": "delete"}, [MODE]),
        ({"schema": "order"}, [MODE]),
        ({"schema": ["order"], "mode": ["insert"]}, [SCHEMA, MODE]),
        ({"schema": {}, "mode": {}}, [SCHEMA, MODE]),
        ({"schema": "order", "mode": "insert", "value": [ORDER]}, ["$: must be an object"]),
    ],
)
def test_bad_records(record: Json, violations: list[str]) -> None:
    """An import record that is not of an order, or neither inserts nor upserts, is refused."""
    assert refused({"value": ORDER, **record})[: len(violations)] == violations


@pytest.mark.parametrize("value", [[], "order", 1, None])
def test_what_is_no_object(value: object) -> None:
    """A line has to be an object."""
    assert refused(value)[0] == "$: must be an object"


def test_many_uses_are_counted_once() -> None:
    """An order with very many items and uses is judged in time that grows with it, not with its square."""
    named = [{"referenceId": str(n)} for n in range(20_000)]
    graph = parse_graph(
        {**ORDER, "orderItems": [{**ITEM, **one} for one in named], "consumers": [{"orderItems": named}]}
    )
    assert len(graph.consumers[0].uses) == 20_000


async def read(path: Path) -> list[Line]:
    """Return all lines of a file."""
    return [line async for line in GraphFile(path)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
async def test_lines_are_numbered_as_they_stand(tmp_path: Path, bom: bytes, end: bytes, *, packed: bool) -> None:
    """Empty lines count, bad ones do not end the file, and the last may lack its line break."""
    text = bom + end.join([GOOD, b"", b"{", b" \t", b"[]", b'{"price":NaN}', b"\xff", GOOD])
    path = tmp_path / "orders.jsonl"
    path.write_bytes(gzip.compress(text) if packed else text)
    got = await read(path)
    assert {line.file for line in got} == {str(path)}
    assert [(line.number, line.graph is not None) for line in got] == [
        (1, True),
        (3, False),
        (5, False),
        (6, False),
        (7, False),
        (8, True),
    ]
    told = [str(line.violations[0]) for line in got if line.graph is None]
    assert [(words[:15], words.rpartition(" at ")[2]) for words in told if words != "$: must be an object"] == [
        ("$: must be JSON", "column 2"),
        ("$: must be JSON", "column 10"),
        ("$: must be JSON", "column 1"),
    ]
    assert len(told) == 4


class Chunks(io.BufferedIOBase):
    """A stream that gives just these chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read1(self, size: int = -1, /) -> bytes:
        """Return the next chunk."""
        assert size != 0
        return next(self._chunks, b"")


@given(st.lists(st.binary(max_size=9).map(lambda text: text.translate(b"\nxxx" * 64)), max_size=12), st.integers(1, 6))
def test_chunks_do_not_matter(chunks: list[bytes], longest: int) -> None:
    """However the bytes arrive, the lines are the same; one that is too long stays too long and counts once."""
    expected = b"".join(filter(None, chunks)).split(b"\n")
    if not expected[-1]:
        del expected[-1]
    got = [line for batch in lines(Chunks(filter(None, chunks)), longest) for line in batch]
    assert [line for line in got if len(line) <= longest] == [line for line in expected if len(line) <= longest]
    assert len(got) == len(expected)
    assert all(whole.startswith(line) for line, whole in zip(got, expected, strict=True))


async def test_too_long_line(tmp_path: Path) -> None:
    """A line above the limit is refused without being parsed, and those around it are read."""
    path = tmp_path / "orders.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join([GOOD, b'{"a":"' + b"x" * (17 * 2**20) + b'"}', GOOD]), 1))
    good, bad, after = await read(path)
    assert (good.number, bad.number, after.number, after.graph) == (1, 2, 3, good.graph)
    assert [str(wrong) for wrong in bad.violations] == [f"$: must be at most {LONGEST_LINE:,} bytes long"]


async def test_fraction_tells_how_far(tmp_path: Path) -> None:
    """While a file is read, it is known how much of it was."""
    path = tmp_path / "orders.jsonl"
    path.write_bytes((GOOD + b"\n") * 2000)
    file = GraphFile(path)
    seen = [file.fraction or 0.0 async for _ in file]
    assert seen == sorted(seen)
    assert [seen[0], 0 < seen[-1] < 1, file.fraction] == [0, True, 1]


async def test_empty_file(tmp_path: Path) -> None:
    """A file of no bytes has no lines, and that is no error."""
    path = tmp_path / "orders.jsonl"
    path.touch()
    assert await read(path) == []


@pytest.mark.parametrize(
    ("name", "content", "good", "words"),
    [
        ("absent.jsonl", None, 0, "cannot be read: No such file or directory"),
        ("", None, 0, "cannot be read: Is a directory"),
        ("cut.gz", gzip.compress(GOOD + b"\n" + GOOD)[:-6], 1, "cannot be read after line 1: it is no whole gzip file"),
        ("no.gz", b"\x1f\x8b" + GOOD, 0, "cannot be read: it is no whole gzip file"),
        ("no.Z", b"\x1f\x9d" + GOOD, 0, "cannot be read: it is no whole gzip file"),
        (
            "bad.gz",
            gzip.compress(GOOD + b"\n")[:-8] + b"\0" * 8,
            1,
            "cannot be read after line 1: it is no whole gzip file",
        ),
        ("wild.gz", gzip.compress(GOOD)[:10] + b"\xff" * 40, 0, "cannot be read: it is no whole gzip file"),
    ],
)
async def test_file_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, good: int, words: str
) -> None:
    """A file that cannot be read to its end gives its good lines, and then one sentence."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    stream = aiter(GraphFile(path))
    assert [(await anext(stream)).number for _ in range(good)] == list(range(1, good + 1))
    with pytest.raises(InputError) as caught:
        await anext(stream)
    assert str(caught.value) == f"{path} {words}"


CHILD = """
import asyncio, sys
from cdp_orders_async import GraphFile

async def show(most, enough):
    async for line in GraphFile("-"):
        print(line.file, line.number, line.graph is not None, flush=True)
        if line.number == most:
            enough.set()

async def main(most):
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(show(most, enough))
        if most:
            await enough.wait()
            task.cancel()

asyncio.run(main(int(sys.argv[1])))
"""


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(*, packed: bool) -> None:
    """``-`` is standard input, plain or gzip."""
    text = GOOD + b"\n\n{\n" + GOOD
    given = gzip.compress(text) if packed else text
    done = subprocess.run([sys.executable, "-c", CHILD, "0"], input=given, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [
        "standard input 1 True",
        "standard input 3 False",
        "standard input 4 True",
    ]


def test_standard_input_line_by_line() -> None:
    """Lines are given as they arrive, and waiting for more does not hold up the end of the process."""
    command = [sys.executable, "-c", CHILD, "2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for number in (1, 2):
            child.stdin.write(GOOD + b"\n")
            child.stdin.flush()
            assert child.stdout.readline().decode().split() == ["standard", "input", str(number), "True"]
        assert child.wait(60) == 0
