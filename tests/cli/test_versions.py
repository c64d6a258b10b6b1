"""``cdp-orders load --api v2``, and files that are made for the other version."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from cdp_orders_async import V2, V2_1
from tests.cli.support import PARTS, Json, Ran, cdp_orders, lines_of, orders, orders_v2, watched, write

OLD_PARTS = PARTS - 1
"""Version 2 has no extensions of items."""


async def test_load_over_version_2(tmp_path: Path) -> None:
    """Over version 2 each order is there once, for one request a part; again, one order is looked for."""
    lines = orders_v2(5)
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--api", "v2", "--outcomes", "out.jsonl", "--json")
    async with watched() as server:
        first = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        outcomes = lines_of(tmp_path / "out.jsonl")
        again = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert server.holds(lines, V2)
        assert server.received == 5 * OLD_PARTS + 1
        assert {effect["path"].split("/")[1] for effect in server.store.effects} == {"v2"}
    assert (first.status, first.told, again.status, again.err) == (0, "", 0, "")
    assert [orjson.loads(ran.out)["requests"] for ran in (first, again)] == [5 * OLD_PARTS, 1]
    assert [one["verdict"] for one in outcomes] == ["loaded"] * 5
    names = {"order", "contact", "items/0", "consumers/0", "ext"}
    assert {part["name"] for part in outcomes[0]["parts"]} == names


async def test_lost_answers_over_version_2(tmp_path: Path) -> None:
    """Where answers are lost after the write, what was made is found, with the journal and also without it."""
    lines = orders_v2(5)
    lost = {"operation": "*.create", "chance": 0.3, "phase": "written", "action": "close"}
    arguments = ("load", write(tmp_path / "o.jsonl", lines), "--api", "v2", "--settle", "0.1")
    async with watched({"seed": 3, "faults": [lost]}) as server:
        ran = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert server.holds(lines, V2)
        assert server.faults.done.total() > 3
        effects = len(server.store.effects)
        anew = await cdp_orders(
            *arguments, "--journal", "other.sqlite", "--look-first", "--json", cwd=tmp_path, env=server.environment
        )
        assert len(server.store.effects) == effects == 5 * OLD_PARTS
    assert (ran.status, ran.told) == (0, "")
    assert (anew.status, orjson.loads(anew.out)["already"]) == (0, 5)


@pytest.mark.parametrize(("first", "second"), [("v2", "v2.1"), ("v2.1", "v2")])
async def test_journal_belongs_to_a_version(tmp_path: Path, first: str, second: str) -> None:
    """A load does not go on with the journal of a load over the other version; both are named, and nothing is sent."""
    made, ran = {"v2": orders_v2(1), "v2.1": orders(1)}, dict[str, Ran]()
    async with watched() as server:
        for version in (first, second):
            source = write(tmp_path / f"{version}.jsonl", made[version])
            arguments = ("load", source, "--api", version, "--journal", "j.sqlite")
            ran[version] = await cdp_orders(*arguments, cwd=tmp_path, env=server.environment)
        assert server.holds(made[first], V2 if first == "v2" else V2_1)
    assert ran[first].status == 0
    assert ran[second].refused("j.sqlite", "API version", "name another file")


async def test_file_of_version_2_over_version_2_1(tmp_path: Path) -> None:
    """Each line says what version 2.1 refuses of it and what to send in its place, and nothing of it is sent."""
    named = {**orders_v2(1)[0]["orderItems"][0], "name": "Dublin to London"}
    lines: list[Json] = [
        {**orders_v2(1)[0], "orderItems": [named]},
        orders(1)[0],
        {**orders(1)[0], "contact": {"firstName": "Jane", "guest": {"href": "/v2/guests/17"}}},
    ]
    source = write(tmp_path / "o.jsonl", lines)
    async with watched() as server:
        ran = await cdp_orders(
            "load", source, "--outcomes", "out.jsonl", "--json", cwd=tmp_path, env=server.environment
        )
        assert server.holds(lines[1:2])
    told: Json = orjson.loads(ran.out)
    assert (ran.status, told["loaded"], told["invalid"], told["requests"]) == (1, 1, 2, PARTS)
    way = "into the item's extension"
    assert ran.told == (
        f"{source}:1: invalid: $.orderItems[0].flightSegments: is no key of version 2.1; put its values {way}; "
        "$.orderItems[0].type: must not be FLIGHT in version 2.1: use another word, such as 'Flight', "
        f"and put the flight details {way}\n"
        f"{source}:3: invalid: $.contact.guest: is no key of version 2.1; name identifiers\n"
    )
    outcomes = {one["number"]: one for one in lines_of(tmp_path / "out.jsonl")}
    fields = [violation["field"] for violation in outcomes[1]["violations"]]
    assert fields == ["$.orderItems[0].flightSegments", "$.orderItems[0].type"]


async def test_file_of_version_2_1_over_version_2(tmp_path: Path) -> None:
    """Each line says what version 2 needs beyond what it has, and nothing of it is sent."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with watched() as server:
        ran = await cdp_orders("load", source, "--api", "v2", cwd=tmp_path, env=server.environment)
        assert server.received == 0
    assert ran.status == 1
    for words in (
        "$.pointOfSale: is required in version 2: send where the order was sold, such as ",
        "orders without it may be of version 2.1, which is read without --api v2",
        "$.orderItems[0].productId: is required",
        "$.contact.lastName: is required",
    ):
        assert words in ran.err


async def test_there_are_two_versions(tmp_path: Path) -> None:
    """Any other word is bad usage, with those that there are."""
    source = write(tmp_path / "o.jsonl", orders(1))
    ran = await cdp_orders("load", source, "--api", "v3", cwd=tmp_path)
    assert ran.refused("--api", "v2", "v2.1", "see cdp-orders load --help")
