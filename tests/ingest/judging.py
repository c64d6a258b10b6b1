"""What must be true of an outcome, of a server and of a journey between the two: pure functions that say what is not.

The oracle knows the input, what the server holds, and nothing of how a load works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs

from cdp_orders_async import PartOutcome, PartVerdict, Verdict
from cdp_orders_async.emulator.records import Record, moment
from cdp_orders_async.models.common import camel
from tests.ingest.holding import Said, Told, differing, key_of, kind_of, refs_of, said_of
from tests.ingest.life import Call, Item, Key, Order, Person
from tests.ingest.versions import NEW, Version

SAME_ORDER = timedelta(days=2)
NOTHING_MADE = {Verdict.BUSY, Verdict.NOT_TRIED}
MADE = {Verdict.LOADED, Verdict.UPDATED}
WHOLE = {Verdict.LOADED, Verdict.ALREADY}
END = {*WHOLE, Verdict.UPDATED, Verdict.KEPT, Verdict.CONFLICT}
"""What a run without failures may say."""
OF_WHOLE = {
    PartVerdict.KEPT: Verdict.KEPT,
    PartVerdict.UPDATED: Verdict.UPDATED,
    PartVerdict.CREATED: Verdict.LOADED,
    PartVerdict.FOUND: Verdict.ALREADY,
}
"""What an order is called all parts of which are there: the first of these that one part has."""
OF_BROKEN = {PartVerdict.CONFLICT: Verdict.CONFLICT, PartVerdict.UNKNOWN: Verdict.UNKNOWN}
SERVED = {"orderItems", "guest"}
"""The fields that hold references: of items, and of the guest, which an update in version 2 repeats."""
SETTLED = {PartVerdict.CREATED, PartVerdict.FOUND, PartVerdict.UPDATED}


@attrs.frozen(kw_only=True)
class Seen:
    """What was seen of several calls at once."""

    version: Version
    versions: Mapping[Key, Sequence[Order]]
    """The versions of each order that were in the input so far."""
    calls: Sequence[tuple[Order, Call]]
    """The calls, once for each order that they load."""
    told: Sequence[tuple[Call, Told]]
    before: Mapping[Key, Mapping[str, Record]]
    """What the server held of each order."""
    after: Mapping[Key, Mapping[str, Record]]
    created: set[str]
    """The references of what the server made meanwhile."""
    crashed: Collection[Key]
    """The orders that a process that died was loading."""
    open: Collection[Key]
    """The orders of which the calls before these left something open."""

    def edited(self, key: Key) -> bool:
        """Tell whether an order had more than one version so far."""
        return any(order != self.versions[key][0] for order in self.versions[key])


def updates(order: Order, call: Call) -> bool:
    """Tell whether a call may change what is there."""
    return order.upsert or call.on_existing == "update"


def fails(order: Order, call: Call) -> bool:
    """Tell whether a call refuses what differs."""
    return call.on_existing == "fail" and not order.upsert


def refs_there(told: Told) -> set[str]:
    """Return the references of the parts that an outcome calls there."""
    refs = refs_of(told.outcome, told.held)
    return {refs[part.name] for part in told.outcome.parts if part.verdict.there and part.name in refs}


def wrong(seen: Seen) -> Iterator[str]:
    """Yield all that is not as it must be."""
    for call, told in seen.told:
        key = told.order.key
        for one in (
            *untrue(told, seen.version, edited=seen.edited(key), stopped=call.end is not None),
            *not_as_told(told, call),
            *wrong_conflict(seen, told, call),
        ):
            yield f"{key}, {call}: {one}: {told.outcome}"
    may_change = {order.key for order, call in seen.calls if updates(order, call)}
    for key, held in seen.after.items():
        yield from doubled(key, seen.versions[key], held, seen.version)
        yield from invented(key, seen.versions[key], held, seen.version)
        if key not in may_change:
            yield from overwritten(key, seen.before.get(key, {}), held)
    yield from too_near(one for held in seen.after.values() for one in held.values() if one.kind == "orders")
    yield from unaccounted(seen)


def wrong_end(seen: Seen) -> Iterator[str]:
    """Yield what a run without failures must not say."""
    for call, told in seen.told:
        key, verdict = told.order.key, told.outcome.verdict
        if verdict not in END or (verdict not in {*WHOLE, Verdict.CONFLICT} and not seen.edited(key)):
            yield f"{key}, {call}: a run without failures says {told.outcome}"


def not_as_told(told: Told, call: Call) -> Iterator[str]:
    """Yield the parts that were kept or updated although the call was to do something else."""
    verdicts = {part.verdict for part in told.outcome.parts}
    if PartVerdict.UPDATED in verdicts and not updates(told.order, call):
        yield "it was updated"
    busy = told.outcome.verdict is Verdict.BUSY  # it lost its claim, and then it changes nothing
    if PartVerdict.KEPT in verdicts and not busy and (updates(told.order, call) or fails(told.order, call)):
        yield "it was kept"


def wrong_conflict(seen: Seen, told: Told, call: Call) -> Iterator[str]:
    """Yield a conflict that is none."""
    key = told.order.key
    if told.outcome.verdict is Verdict.CONFLICT and not refusable(
        told, seen.versions, seen.version, edited=seen.edited(key), fails=fails(told.order, call)
    ):
        yield "it is no conflict"


def overwritten(key: Key, before: Mapping[str, Record], after: Mapping[str, Record]) -> Iterator[str]:
    """Yield what was changed although no call was to change it."""
    for ref, record in before.items():
        if ref in after and after[ref].data != record.data:
            yield f"{key}: {record.kind} {ref} was {dict(record.data)} and is {dict(after[ref].data)}"


def open_after(seen: Seen) -> set[Key]:
    """Return the orders of which something may still come, or be there without a name."""
    told = {
        one.order.key
        for _, one in seen.told
        if one.outcome.verdict is Verdict.CONFLICT
        or any(part.verdict is PartVerdict.UNKNOWN for part in one.outcome.parts)
    }
    settled = {
        one.order.key
        for _, one in seen.told
        if one.outcome.verdict in {*WHOLE, Verdict.UPDATED, Verdict.KEPT, Verdict.PARTIAL, Verdict.FAILED}
    }
    return {*seen.open} - settled | told | {*seen.crashed}


def unaccounted(seen: Seen) -> Iterator[str]:
    """Yield what was made, and nobody says so."""
    named = {str(left.ref) for _, told in seen.told for left in told.outcome.leftovers}
    named |= {ref for _, told in seen.told for ref in refs_of(told.outcome, told.held).values()}
    excused = {*seen.open, *open_after(seen)}
    for key, held in seen.after.items():
        for ref in seen.created & held.keys() - named if key not in excused else ():
            yield f"{key}: {held[ref].kind} {ref} was made, and no outcome names it"


def verdict_of(parts: Sequence[PartOutcome]) -> Verdict:
    """Return the verdict of an order whose parts came to this, unless another process has it."""
    verdicts = {part.verdict for part in parts}
    if all(verdict.there for verdict in verdicts):
        return OF_WHOLE[next(verdict for verdict in OF_WHOLE if verdict in verdicts)]
    if broken := [OF_BROKEN[verdict] for verdict in OF_BROKEN if verdict in verdicts]:
        return broken[0]
    if any(part.ref for part in parts):
        return Verdict.PARTIAL
    return Verdict.FAILED if PartVerdict.FAILED in verdicts else Verdict.NOT_TRIED


def untrue(told: Told, version: Version, *, edited: bool, stopped: bool) -> Iterator[str]:
    """Yield what is not true in an outcome.

    *edited* says whether the order had other versions; *stopped*, whether its call was, so that its end may be unknown.
    """
    outcome, held = told.outcome, told.held
    if outcome.verdict is Verdict.INVALID:
        yield "a valid order is invalid"
        return
    said = said_of(told.order, version)
    if not outcome.parts:
        if outcome.verdict not in NOTHING_MADE:
            yield f"{outcome.verdict} tells nothing of its parts"
        return
    if sorted(part.name for part in outcome.parts) != sorted(said):
        yield f"the parts are {[part.name for part in outcome.parts]}, not {list(said)}"
        return
    # All parts can be there, and what the input no longer has cannot be listed.
    unseen = any(part.name == "order" and part.verdict.there and part.failure for part in outcome.parts)
    allowed = {verdict_of(outcome.parts), Verdict.BUSY, *([Verdict.UNKNOWN] if stopped or unseen else [])}
    if outcome.verdict not in allowed:
        yield f"{outcome.verdict} of parts that are {[str(part.verdict) for part in outcome.parts]}"
    refs = refs_of(outcome, held)
    for part in outcome.parts:
        yield from untrue_part(part, said[part.name], refs, held, edited=edited)
    if len(set(refs.values())) != len(refs):
        yield f"one thing is two parts: {refs}"
    yield from unnamed(told, refs)


def untrue_part(
    part: PartOutcome, said: Said, refs: Mapping[str, str], held: Mapping[str, Record], *, edited: bool
) -> Iterator[str]:
    """Yield what is not true in what is told of a part."""
    ref = refs.get(part.name)
    if ref is None:
        if part.verdict.there:
            yield f"{part.name} is {part.verdict} and has no reference"
        return
    record = held.get(ref)
    if record is None or record.kind != said.kind or record.order != refs.get("order"):
        if part.reason is None:  # a conflict may name what belongs to another order
            yield f"{part.name} is {part.verdict} as {ref}, which is not there"
        return
    wrong = differing(said, record, refs)
    if part.verdict in SETTLED and wrong:
        yield f"{part.name} is {part.verdict}, and differs in {wrong}: {dict(record.data)} for {said.data}"
    if part.verdict in SETTLED and not edited and (more := record.data.keys() - said.data.keys() - SERVED):
        yield f"{part.name} is {part.verdict}, and has {more}, which nobody ever said"
    named = set(part.differs) if said.kind.endswith("extensions") else {camel(name) for name in part.differs}
    if part.verdict is PartVerdict.KEPT and (named != wrong or not wrong):
        yield f"{part.name} is kept and differs in {wrong}, not {named}"


def unnamed(told: Told, refs: Mapping[str, str]) -> Iterator[str]:
    """Yield the things on the server that a call knew, and of which its outcome says nothing."""
    if "order" not in refs:
        return
    left = {str(one.ref) for one in told.outcome.leftovers}
    if both := left & {*refs.values()}:
        yield f"{both} is a part and a leftover"
    if gone := left - {one for ref, record in told.held.items() for one in (ref, record.owner)}:
        yield f"the leftover {gone} is not there"
    for ref, record in told.held.items():
        if ref in told.known and not {ref, record.owner} & left and ref not in refs.values():
            yield f"{record.kind} {ref} is there, which no part and no leftover names"


def apart(one: Item | Person, other: Item | Person) -> bool:
    """Tell whether two versions of a thing are two things: both have ids, which differ; and people another name too."""
    if isinstance(one, Item) and isinstance(other, Item):
        renamed = one.name != other.name  # and the id was given or taken
        return one.reference != other.reference and (renamed or None not in {one.reference, other.reference})
    if isinstance(one, Person) and isinstance(other, Person):
        named = one.name == other.name and one.name is not None
        return bool(one.ids and other.ids) and one.ids != other.ids and not named
    return True


def most_things(versions: Iterable[Item | Person]) -> int:
    """Return how many things on the server the versions of parts may be at most."""
    things: dict[int, list[list[Item | Person]]] = {}
    for version in versions:
        groups = things.setdefault(version.thing, [])
        fitting = [group for group in groups if not any(apart(version, other) for other in group)]
        if fitting:
            fitting[0].append(version)
        else:
            groups.append([version])
    return sum(map(len, things.values()))


def identified(item: Item, version: Version) -> Item:
    """Return *item* as a version of the API has it: in version 2 each has a reference."""
    return item if version is NEW or item.reference else attrs.evolve(item, reference="twin")


def doubled(key: Key, versions: Sequence[Order], held: Mapping[str, Record], api: Version) -> Iterator[str]:
    """Yield what is there more often than all *versions* of an order together have it."""
    most = {
        "orders": 1,
        "contacts": 1,
        "items": most_things(identified(one, api) for version in versions for one in version.items),
        "consumers": most_things(one for version in versions for one in version.consumers),
    }
    counted = Counter(record.kind for record in held.values())
    for kind, limit in most.items():
        if counted[kind] > limit:
            yield f"{key}: {counted[kind]} {kind}, at most {limit} of which were ever in the input"


def invented(key: Key, versions: Sequence[Order], held: Mapping[str, Record], version: Version) -> Iterator[str]:
    """Yield the values on the server that no version of the order ever had."""
    known: dict[tuple[str, str], list[object]] = {}
    for order in versions:
        for said in said_of(order, version).values():
            for name, value in said.data.items():
                known.setdefault((said.kind, name), []).append(value)
                if (said.kind, name) == ("orders", "orderedAt"):  # an update in version 2 repeats it in the items
                    known.setdefault(("items", name), []).append(value)
    for record in held.values():
        for name, value in record.data.items():
            if name not in SERVED and value not in known.get((record.kind, name), ()):
                yield f"{key}: {record.kind} {record.ref} has {name}={value!r}, which the input never said"


def too_near(orders: Iterable[Record]) -> Iterator[str]:
    """Yield the orders on the server that are one order to it."""
    seen: dict[str, list[Record]] = {}
    for order in orders:
        others = seen.setdefault(str(order.data["referenceId"]), [])
        at = moment(str(order.data["orderedAt"]))
        if any(abs(moment(str(other.data["orderedAt"])) - at) <= SAME_ORDER for other in others):
            yield f"{key_of(order)} is there beside an order with its reference id, within two days"
        others.append(order)


def refusable(told: Told, orders: Iterable[Key], version: Version, *, edited: bool, fails: bool) -> bool:
    """Tell whether a conflict is right: it has a rival, something differs that must not, or it would be a guess.

    *orders* are the keys of all orders that ever were in the input; *fails*, whether the call refuses what differs.
    """
    reference, hour = told.order.key
    near = any(
        ref == reference and other != hour and abs(other - hour) <= SAME_ORDER / timedelta(hours=1)
        for ref, other in orders
    )
    if near or not edited:
        return near
    refs, said = refs_of(told.outcome, told.held), said_of(told.order, version)
    refused = [part for part in told.outcome.parts if part.verdict is PartVerdict.CONFLICT]
    if fails and any(
        part.name in refs and differing(said[part.name], told.held[refs[part.name]], refs) for part in refused
    ):
        return True
    contact = refs.get("contact")
    if contact is not None and is_another(said["contact"].data, told.held[contact].data):
        return True
    return any(is_guess(kind_of(part.name), told, refs) for part in refused)


def is_another(said: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Tell whether a contact is another person than the one on the server: by the identifiers and by the name."""
    ours, theirs = ({(one["provider"], one["id"]) for one in data.get("identifiers") or ()} for data in (said, held))
    named = said.get("firstName") not in {None, held.get("firstName")}
    return bool(ours and theirs) and not ours <= theirs and named


def is_guess(kind: str, told: Told, refs: Mapping[str, str]) -> bool:
    """Tell whether more than one pair could be made of the things of a *kind* and the parts that do not fit any.

    What was paired with another part of its kind in the same run was free before.
    """
    free = sum(record.kind == kind and ref not in refs.values() for ref, record in told.held.items())
    parts = [part for part in told.outcome.parts if kind_of(part.name) == kind]
    unplaced = sum(part.name not in refs for part in parts)
    changed = sum(part.verdict in {PartVerdict.UPDATED, PartVerdict.KEPT} for part in parts)
    return free + changed > 0 and free + unplaced + 2 * changed > 2
