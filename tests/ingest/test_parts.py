"""An order as parts: their keys, what each needs, and who waits for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import attrs

from cdp_orders_async import Identifier, NewConsumer, NewContact, OrderGraph, parse_graph
from cdp_orders_async.ingest.parts import Part, digest_of, parts_of
from cdp_orders_async.wire import to_json
from tests.ingest.orders import consumer, count, item, order, person, sample, whole


def planned(graph: OrderGraph) -> dict[str, Part]:
    """Return the parts by name."""
    return {part.name: part for part in parts_of(graph)}


def needs(parts: Sequence[Part]) -> dict[str, set[str]]:
    """Return what each of *parts* needs, apart from the one before it in its group."""
    return {
        part.name: {one.name for one in parts if n in one.followers and one is not part.after}
        for n, part in enumerate(parts)
    }


def test_parts_need_what_they_hang_on() -> None:
    """Everything needs the order, a consumer the items that it uses, an extension its owner."""
    graph = whole()
    parts = planned(graph)
    assert next(iter(parts)) == "order"
    assert len(parts) == count([graph])
    assert needs(parts_of(graph)) == {
        "order": set(),
        **{name: {"order"} for name in ("contact", "ext", "consumers/1", *(f"items/{n}" for n in range(5)))},
        "items/0/ext": {"items/0"},
        "items/2/ext": {"items/2"},
        "consumers/0": {"order", "items/0", "items/1"},
    }
    followers = Counter(n for part in parts.values() for n in part.followers)
    assert [part.waits for part in parts.values()] == [followers[n] for n in range(len(parts))]


async def test_packaged_orders_have_as_many_parts_as_values() -> None:
    """Every value of the packaged sample is one part, with a key of its own."""
    for graph in await sample():
        parts = parts_of(graph)
        assert len(parts) == count([graph]) == len({part.key for part in parts})


def test_parts_that_look_alike_follow_each_other() -> None:
    """Equal items without a reference id, those that differ only in what may be left out, and consumers are chains."""
    graph = OrderGraph(
        order=order(),
        items=(item(), item("i1"), item(), item(description="window"), item(name="Bag"), item("i1")),
        consumers=(consumer("Ann", uses=[]), consumer("Bob", "1")),
    )
    parts = parts_of(graph)
    after = {part.name: None if part.after is None else part.after.name for part in parts}
    assert {name: before for name, before in after.items() if before} == {
        "items/2": "items/0",
        "items/3": "items/2",
        "items/5": "items/1",
        "consumers/1": "consumers/0",
    }
    assert len({part.key for part in parts}) == len(parts)


def test_free_consumers_go_before_those_that_wait_for_items() -> None:
    """A consumer that uses items does not hold up one that uses none."""
    graph = OrderGraph(order=order(), items=(item("i1"),), consumers=(consumer("Ann", uses=["i1"]), consumer("Bob")))
    parts = planned(graph)
    assert parts["consumers/1"].after is None
    assert parts["consumers/0"].after is not None


def test_equal_numbers_written_differently_are_equal() -> None:
    """2 and 2.0 are one number on the wire, so items that differ only in that are twins."""
    graph = OrderGraph(order=order(), items=(item(price=Decimal(2)), item(price=Decimal("2.0"))))
    first, second = parts_of(graph)[1:]
    assert first.digest == second.digest
    assert first.group == second.group
    assert second.after is first


def test_keys_stay_when_the_input_is_put_in_another_order() -> None:
    """The key of a part tells what it is, not where it stands."""
    graph = whole()
    turned = attrs.evolve(graph, items=graph.items[::-1], consumers=graph.consumers[::-1])
    assert {part.key: part.digest for part in parts_of(graph)} == {part.key: part.digest for part in parts_of(turned)}


def test_digests_tell_changes() -> None:
    """A change of one field changes the digest of that part and of no other; a known identity keeps its key."""
    graph = whole()
    changed = attrs.evolve(
        graph,
        items=(attrs.evolve(graph.items[0], item=attrs.evolve(graph.items[0].item, name="Bag")), *graph.items[1:]),
        contact=NewContact(first_name="Zoe"),
        extension={"visits": 3, "campaign": "spring"},
    )
    before = {part.key: part.digest for part in parts_of(graph)}
    after = {part.key: part.digest for part in parts_of(changed)}
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} == {"item:i1", "contact"}


def test_links_are_part_of_a_consumers_digest() -> None:
    """A consumer who uses other items than before has changed."""
    one, other = (
        OrderGraph(order=order(), items=(item("i1"), item("i2")), consumers=(consumer("Ann", "1", uses=[used]),))
        for used in ("i1", "i2")
    )
    assert parts_of(one)[-1].key == parts_of(other)[-1].key
    assert parts_of(one)[-1].digest != parts_of(other)[-1].digest


def test_keys_hold_no_personal_value() -> None:
    """Whatever a journal holds of people is a hash."""
    someone = NewConsumer(**person("Ada", "secret-id"), emails=("ada@example.com",))
    other = NewConsumer(first_name="Eve", identifiers=(Identifier(provider="CRM", id="secret-id"),))
    graph = OrderGraph(
        order=order(),
        contact=NewContact(first_name="Ada"),
        consumers=tuple(attrs.evolve(consumer(), consumer=one) for one in (someone, other, NewConsumer(city="Cork"))),
    )
    keys = " ".join(part.key for part in parts_of(graph))
    assert all(value not in keys for value in ("Ada", "Eve", "secret", "ada@", "Cork"))


def test_both_forms_of_a_line_are_one_order() -> None:
    """An order and the Batch API's record around it have the same parts."""
    value = {**to_json(order()), "contact": {"firstName": "Ann"}}
    framed = {"ref": "1", "schema": "order", "mode": "insert", "value": value}
    plain, record = parse_graph(value), parse_graph(framed)
    assert [(part.key, part.digest) for part in parts_of(plain)] == [
        (part.key, part.digest) for part in parts_of(record)
    ]


def test_journals_of_earlier_versions_are_understood() -> None:
    """Keys and hashes are what they were when journals in use were written: with others, everything would be new."""
    graph = OrderGraph(
        order=order(),
        contact=NewContact(**person("Ann", "1")),
        items=(item("i1", {"b": 1, "a": 2}), item(), item()),
        consumers=(consumer("Ann", "1", uses=["i1"]), consumer("Bob")),
    )
    assert {part.key: part.digest.hex() for part in parts_of(graph)} == {
        "order": "93e4508a5c3eef549b6f0f39",
        "item:i1": "e520030776a2f4ba9c95449c",
        "item#42d6dc94fc0bc1fedf29beee": "42d6dc94fc0bc1fedf29beee",
        "item#42d6dc94fc0bc1fedf29beee~2": "42d6dc94fc0bc1fedf29beee",
        "contact": "7c842f314c238ca13b6b2e92",
        "item:i1/ext": "d0ebbadf4193925c8af1a9f2",
        "consumer#ea27cf68d2bece1900ce4de1": "ea27cf68d2bece1900ce4de1",
        "consumer:b1a5547b7cc22aa3f059b645": "61341d90bd20fd575bcf4532",
    }
    assert digest_of(b"", b"order", b"item").hex() == "8612272a83f529d908ff8e69"
