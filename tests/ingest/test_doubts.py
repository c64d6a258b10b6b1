"""The doubts about an order, from any records of any earlier version of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import attrs
from hypothesis import given
from hypothesis import strategies as st

from cdp_orders_async import GraphItem, OrderGraph
from cdp_orders_async.ingest.doubts import Doubts, doubts_of
from cdp_orders_async.ingest.knowledge import Knowledge
from cdp_orders_async.ingest.parts import (
    EXTENSIONS,
    LISTED,
    UNDOING,
    Part,
    digest_of_parts,
    kind_of,
    left_key,
    parts_of,
)
from cdp_orders_async.journal import GraphRecord, PartRecord
from tests.ingest.orders import consumer, item, order, whole

KINDS = (*LISTED, *EXTENSIONS)
ITEMS = st.builds(item, st.sampled_from([None, None, "i1", "i2"]), name=st.sampled_from(["Bag", "Cap"]))
EXTENSION = st.sampled_from([None, {"a": 1}, {"a": 2}])


def extended(entry: GraphItem, extension: Mapping[str, int] | None) -> GraphItem:
    """Return an item with an *extension*."""
    return attrs.evolve(entry, extension=extension)


def graph_of(items: Sequence[GraphItem], people: Sequence[str], extension: Mapping[str, int] | None) -> OrderGraph:
    """Return an order of *items* and *people*; no reference id comes twice."""
    own = {entry.item.reference_id or str(n): entry for n, entry in enumerate(items)}
    return OrderGraph(
        order=order(), items=tuple(own.values()), consumers=tuple(map(consumer, people)), extension=extension
    )


GRAPHS = st.builds(
    graph_of,
    st.lists(st.builds(extended, ITEMS, EXTENSION), max_size=4),
    st.lists(st.sampled_from(["Ann", "Bob"]), max_size=2),
    EXTENSION,
)


@attrs.frozen
class Case:
    """An order, and the knowledge of an earlier version of it."""

    parts: Sequence[Part]
    digest: bytes
    knowledge: Knowledge
    asks: bool

    @property
    def record(self) -> GraphRecord:
        """The record of the order."""
        record = self.knowledge.record
        assert record is not None
        return record

    def doubts(self) -> Doubts:
        """Return the doubts about the order."""
        return doubts_of(self.parts, self.knowledge, self.digest, asks=self.asks, kinds=KINDS)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw an order, and records of some of the parts of an earlier version, or of what that one left."""
    now = draw(GRAPHS)
    parts = parts_of(now)
    before = parts_of(draw(st.one_of(st.just(now), GRAPHS)))
    older = [part for part in parts_of(draw(GRAPHS)) if part.key not in {known.key for known in before}]
    records: dict[str, PartRecord] = {}
    drawn = {part.key: draw(st.sampled_from([None, *(UUID(int=n) for n in range(1, 8))])) for part in [*before, *older]}
    for part in draw(st.permutations([*before, *older])):
        ref = drawn[part.key]
        if part.kind == "item_extensions" and part.owner and ref is not None:
            ref = drawn[part.owner.key]  # an item has one extension, and it has the number of its item here
        digest = draw(st.sampled_from([part.digest, part.digest, b"", UNDOING + part.digest]))
        if draw(st.integers(0, 3)):
            records[part.key] = PartRecord(digest, ref)
    for key in [key for key in records if key.startswith("item") and key.removesuffix("/ext") not in records]:
        del records[key]  # an item has its record before its extension has one
    for n, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), max_size=2))):
        ref = UUID(int=100 + n)
        records[left_key(kind, ref)] = PartRecord(b"", ref)
    whole = all(part.key in records for part in before)
    complete = whole and draw(st.booleans())
    record = GraphRecord(
        digest_of_parts(before),
        complete=complete,
        ended=complete or draw(st.booleans()),
        parts=records,
        gaps=draw(st.booleans()),
    )
    cut_off = not record.ended and draw(st.booleans())
    knowledge = Knowledge(record, [], [], cut_off=cut_off, order_created=draw(st.booleans()))
    return Case(parts, digest_of_parts(parts), knowledge, draw(st.booleans()))


def refs(records: Mapping[str, PartRecord]) -> set[tuple[str, UUID]]:
    """Return the kinds and references of *records*."""
    return {(kind_of(key), record.ref) for key, record in records.items() if record.ref is not None}


def parts_without_ref(parts: Sequence[Part], doubts: Doubts) -> Sequence[Part]:
    """Return the parts of which no reference is known."""
    return [part for part in parts if part.key not in doubts.known or doubts.known[part.key].ref is None]


@given(cases())
def test_each_known_reference_is_of_a_part_or_left(case: Case) -> None:
    """Nothing that is known to be on the server is forgotten, and nothing is two things."""
    doubts = case.doubts()
    claimed = refs({part.key: doubts.known[part.key] for part in case.parts if part.key in doubts.known})
    assert claimed | set(doubts.left) == refs(case.record.parts)
    assert not claimed & set(doubts.left)
    assert not {part.key for part in case.parts} & {*doubts.left.values(), *doubts.left_open}


@given(cases())
def test_a_part_that_may_be_there_is_in_doubt(case: Case) -> None:
    """A part with a reference is not in doubt; one that was sent, or may have been, is."""
    doubts = case.doubts()
    assert doubts.in_doubt <= {part.key for part in case.parts}
    for part in case.parts:
        record = doubts.known.get(part.key)
        if record is not None:
            assert (part.key in doubts.in_doubt) is (record.ref is None)
        elif case.asks or not case.record.ended or doubts.gaps:
            assert part.key in doubts.in_doubt
    if doubts.in_doubt and parts_without_ref(case.parts[:1], doubts):
        assert case.parts[0].key in doubts.in_doubt


@given(cases())
def test_parts_that_can_be_confused_are_in_doubt_together(case: Case) -> None:
    """A part in doubt is looked up among those it can be confused with, so each of these is looked up too."""
    doubts = case.doubts()
    left = {kind for kind, _ in doubts.left} | {kind_of(key) for key in doubts.left_open}
    groups = {part.group for part in case.parts if part.key in doubts.in_doubt} - {""}
    for part in parts_without_ref(case.parts, doubts):
        hangs_on_doubt = part.kind == "item_extensions" and part.owner and part.owner.key in doubts.in_doubt
        if part.group in groups or hangs_on_doubt or (part.kind in left and part.kind not in EXTENSIONS):
            assert part.key in doubts.in_doubt


@given(cases())
def test_an_order_that_is_complete_leaves_nothing_to_do(case: Case) -> None:
    """Only an order that ended whole, with this content, is complete: each part is known, and nothing is read."""
    doubts = case.doubts()
    assert doubts.complete is (case.record.complete and case.record.digest == case.digest)
    if doubts.complete:
        assert all(part.key in doubts.known for part in case.parts)
        assert not doubts.unread
        assert not doubts.new_keys


def is_undone(thing: tuple[str, UUID], records: Mapping[str, PartRecord]) -> bool:
    """Tell whether all *records* of a thing, a kind and a reference, say that it is being deleted."""
    its = [record for key, record in records.items() if (kind_of(key), record.ref) == thing]
    return all(record.digest.startswith(UNDOING) for record in its)


@given(cases())
def test_after_a_cut_off_run_of_another_content_all_is_read_and_compared(case: Case) -> None:
    """Such a run may have changed each part, and may have made parts that nothing names."""
    doubts = case.doubts()
    other = not case.record.ended and case.record.digest != case.digest
    assert doubts.gaps or not (other or case.record.gaps)
    if case.knowledge.cut_off and (other or case.record.gaps):
        assert doubts.must_read
        assert doubts.unread >= {*KINDS}
        known = [record for record in doubts.known.values() if record.ref is not None]
        assert all(record.digest == b"" or record.digest.startswith(UNDOING) for record in known)
        undone = {ref for ref in refs(case.record.parts) if is_undone(ref, case.record.parts)}
        assert all(is_undone(ref, doubts.known) for ref in undone)
    else:
        assert not doubts.uncompared


@given(cases())
def test_what_an_earlier_load_made_is_in_doubt_until_it_is_found(case: Case) -> None:
    """Only in an order that a load with the journal created, and that has no other content: there, nothing is older."""
    doubts = case.doubts()
    of_undo = {
        key for key, record in doubts.known.items() if record.ref is not None and record.digest.startswith(UNDOING)
    }
    undone = set[str]() if case.record.ended else of_undo & {part.key for part in case.parts}  # and maybe made again
    assert {*doubts.made_before} <= doubts.in_doubt | undone
    other = case.record.digest != case.digest
    if not case.knowledge.order_created or doubts.gaps or other:
        assert not doubts.made_before
    elif not case.record.ended:
        assert {*doubts.made_before} == {part.key for part in parts_without_ref(case.parts, doubts)} | undone


def test_a_client_that_sent_something_without_a_record_doubts_all() -> None:
    """Nothing but the memory of a client knows the order, and that no longer knows its parts."""
    parts = parts_of(whole())
    knowledge = Knowledge(None, [], [], last_sent=1.0)
    doubts = doubts_of(parts, knowledge, digest_of_parts(parts), asks=False, kinds=KINDS)
    assert doubts.in_doubt == {part.key for part in parts}
    assert not doubts.needs_no_list


def test_an_order_that_nobody_knows_is_not_in_doubt() -> None:
    """Neither a record nor a question to the server: nothing of it can be there."""
    parts = parts_of(whole())
    doubts = doubts_of(parts, Knowledge(None, [], []), digest_of_parts(parts), asks=False, kinds=KINDS)
    assert not doubts.in_doubt
    assert not doubts.edited
    assert not doubts.complete


def doubts_about(
    graph: OrderGraph, records: Mapping[str, PartRecord], digest: bytes, *, ended: bool = True, complete: bool = False
) -> Doubts:
    """Return the doubts about *graph*, of which a journal has *records* and the hash *digest*."""
    parts = parts_of(graph)
    record = GraphRecord(digest, complete=complete, ended=ended, parts=records)
    return doubts_of(parts, Knowledge(record, [], []), digest_of_parts(parts), asks=False, kinds=KINDS)


def test_a_new_part_may_be_one_that_the_input_no_longer_has() -> None:
    """One item is gone from the input and another one is new: it may be the same, edited."""
    records = {"order": PartRecord(b"", UUID(int=1)), "item:i1": PartRecord(b"", UUID(int=2))}
    doubts = doubts_about(OrderGraph(order=order(), items=(item("i2", {"a": 1}),)), records, b"other")
    assert doubts.left == {("items", UUID(int=2)): "item:i1"}
    assert doubts.in_doubt == {"item:i2", "item:i2/ext"}


def test_a_person_beside_one_in_doubt_is_in_doubt() -> None:
    """Two people of one order look alike to a look-up."""
    graph = OrderGraph(order=order(), consumers=(consumer("Ann"), consumer("Bob")))
    ann, bob = (part.key for part in parts_of(graph)[1:])
    doubts = doubts_about(graph, {"order": PartRecord(b"", UUID(int=1)), ann: PartRecord(b"", None)}, b"other")
    assert doubts.in_doubt == {ann, bob}


def test_the_order_above_a_part_in_doubt_is_in_doubt() -> None:
    """A part can be there only if its order is."""
    graph = OrderGraph(order=order(), items=(item("i1"),))
    assert doubts_about(graph, {"item:i1": PartRecord(b"", None)}, b"other").in_doubt == {"order", "item:i1"}


def test_a_number_of_an_earlier_version_is_not_a_second_item() -> None:
    """A run that was given up had two equal items; the input has one of them now."""
    graph = OrderGraph(order=order(), items=(item(),))
    parts = parts_of(graph)
    key = parts[1].key
    records = {f"{key}~2": PartRecord(parts[1].digest, UUID(int=2))}
    doubts = doubts_about(graph, records, digest_of_parts(parts), ended=False)
    assert doubts.new_keys == {f"{key}~2": key}
    assert doubts.known == {key: records[f"{key}~2"]}
    assert not doubts.left


def test_a_complete_order_is_not_looked_through_again() -> None:
    """The run that completed it has looked for what the input no longer has."""
    graph = OrderGraph(order=order())
    records = {"order": PartRecord(b"", UUID(int=1)), "item:i1": PartRecord(b"", None)}
    doubts = doubts_about(graph, records, digest_of_parts(parts_of(graph)), complete=True)
    assert doubts.complete
    assert doubts.left_open == ["item:i1"]
    assert not doubts.unread


def test_of_two_records_of_one_item_the_reference_of_its_extension_stays() -> None:
    """A run that was given up left the item under two keys: with its extension, and with one that is in doubt."""
    key, other = (parts_of(OrderGraph(order=order(), items=(item(name=name),)))[1].key for name in ("Bag", "Cap"))
    ref, extension = UUID(int=2), PartRecord(b"e", UUID(int=3))
    records = {
        f"{key}/ext": extension,
        key: PartRecord(b"", ref),
        other: PartRecord(b"", ref),
        f"{other}/ext": PartRecord(b"e", None),
    }
    for name in ("Bag", "Cap"):
        graph = OrderGraph(order=order(), items=(item(name=name),))
        doubts = doubts_about(graph, records, b"other", ended=False)
        now = parts_of(graph)[1].key
        assert doubts.known == {now: doubts.known[now], f"{now}/ext": extension}
