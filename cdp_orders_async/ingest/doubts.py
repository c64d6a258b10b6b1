"""The doubts about an order before it is sent: which of its parts may be on the server, and what else may be there.

Pure functions of the parts of the input and the knowledge of the order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from msgspec import Struct

from cdp_orders_async.ingest.duplicates import NUMBERED_KINDS, keys_after_edit, with_new_keys
from cdp_orders_async.ingest.knowledge import NEVER, Knowledge
from cdp_orders_async.ingest.parts import EXTENSIONS, LEFT, UNDOING, Part, kind_of, left_key
from cdp_orders_async.journal import PartRecord

__all__ = ["Doubts", "doubts_of"]

NO_RECORDS: Mapping[str, PartRecord] = MappingProxyType({})
NO_REFS: Mapping[str, UUID] = MappingProxyType({})
NO_KEYS: Mapping[str, str | None] = MappingProxyType({})


class Doubts(Struct, frozen=True):
    """The doubts about one order."""

    known: Mapping[str, PartRecord]
    """The records of its parts, by their current keys."""
    new_keys: Mapping[str, str | None]
    """The new keys of records in the journal, by old key; None for a record that repeats another one."""
    unproven: Mapping[str, UUID]
    """The references, by key, that are recorded of parts but may be those of other parts with the same id."""
    uncompared: Mapping[str, PartRecord]
    """The known records that no longer say anything of values, by their current keys."""
    in_doubt: AbstractSet[str]
    """The keys of the parts that may be on the server under an unknown reference."""
    made_before: Collection[str]
    """The keys of the parts that an earlier load with the journal made, if the server has them."""
    sent_since: datetime | None
    """The start of that load, if it is not known whether the order came: an older order is not its own."""
    left: Mapping[tuple[str, UUID], str]
    """The keys of known parts that the input no longer has, by kind and reference."""
    left_open: Sequence[str]
    """The keys of parts that the input no longer has, and of which it is unknown whether they are there."""
    unread: frozenset[str]
    """The kinds of parts that are to be looked for at the end, because the input no longer has some of them."""
    needs_no_list: bool
    """Whether the references of the whole order are known, so that no list needs to be read."""
    complete: bool
    """Whether an earlier run brought the whole order to the server, as the input says now."""
    gaps: bool
    """Whether the server may have parts of this order that neither a record nor a part of the input names."""
    must_read: bool
    """Whether an earlier run may have left parts that nothing names."""
    is_open: bool
    """Whether an earlier run was cut off, so that the last records may be missing."""

    @property
    def edited(self) -> bool:
        """Whether what is on the server without a record may be an older state of a part."""
        return bool(self.left or self.left_open or self.in_doubt)


def doubts_of(
    parts: Sequence[Part], knowledge: Knowledge, digest: bytes, *, asks: bool, kinds: Collection[str]
) -> Doubts:
    """Return the doubts about the order of *parts*, whose hash is *digest*, from the *knowledge* of it.

    *asks* says whether the server is asked about the order in any case. *kinds* are the kinds of parts that an order
    may have.
    """
    record = knowledge.record
    is_open = record is not None and not record.ended
    has_other_content = record is not None and record.digest != digest
    # A run that was given up may have left keys of an earlier version of the input.
    edited = is_open or has_other_content
    gaps = record is not None and (record.gaps or (is_open and has_other_content))
    known = NO_RECORDS if record is None else record.parts
    new_keys = NO_KEYS
    if edited and (new_keys := keys_after_edit(parts, known)):
        known = with_new_keys(known, new_keys)
    # A run of another content that was cut off may have changed each part.
    was_changing = knowledge.cut_off and gaps
    unproven = _unproven(parts, known, any_kind=was_changing) if edited else NO_REFS
    if unproven:
        known, new_keys = _as_leftovers(unproven, known, new_keys)
    uncompared = _without_digests(known) if was_changing else NO_RECORDS
    if uncompared:
        known = {**known, **uncompared}
    own = known.get(parts[0].key)
    complete = record is not None and record.complete
    by_batch = complete and own is not None and own.ref is None  # the Batch API tells no references
    must_read = was_changing or (by_batch and edited)
    gaps = gaps or (by_batch and edited)
    unsure = asks or by_batch or knowledge.last_sent > NEVER or is_open or gaps
    left, left_open = _left(parts, known)
    made_before: Collection[str] = ()
    if knowledge.order_created and not gaps and not has_other_content:  # the order was new: nothing in it is older
        in_known = {part.key for part in parts if part.key in known and _ref(part, known) is None}
        made_before = {part.key for part in parts if _may_be_new(part, known)} if is_open else in_known
    in_doubt = {part.key for part in parts if (unsure or part.key in known) and _ref(part, known) is None}
    if left or left_open or in_doubt:
        left_kinds = {*(kind for kind, _ in left), *map(kind_of, left_open)} - EXTENSIONS
        in_doubt |= _confusable(parts, known, in_doubt, left_kinds)
    if in_doubt and _ref(parts[0], known) is None:
        in_doubt.add(parts[0].key)
    unread = {*map(kind_of, left_open), *(kinds if must_read else ())}
    return Doubts(
        known=known,
        new_keys=new_keys,
        unproven=unproven,
        uncompared=uncompared,
        in_doubt=in_doubt,
        made_before=made_before,
        sent_since=knowledge.sent_since,
        left=left,
        left_open=left_open,
        unread=frozenset() if complete and not edited else frozenset(unread),  # the run that made it so has looked
        needs_no_list=not unsure and all(part.ref is not None for part in known.values()),
        complete=complete and not edited,
        gaps=gaps,
        must_read=must_read,
        is_open=is_open,
    )


def _ref(part: Part, known: Mapping[str, PartRecord]) -> UUID | None:
    record = known.get(part.key)
    return None if record is None else record.ref


def _may_be_new(part: Part, known: Mapping[str, PartRecord]) -> bool:
    """Tell whether a load may have made *part* without a record of it; also in place of one that an undo deleted."""
    record = known.get(part.key)
    return record is None or record.ref is None or record.digest.startswith(UNDOING)


def _unproven(parts: Sequence[Part], known: Mapping[str, PartRecord], *, any_kind: bool) -> Mapping[str, UUID]:
    """Return the references, by key, that may be those of other parts than the input has under these keys now.

    Two parts of one order can have one id. If the record of one of them is missing, and the other one has lost its id
    in an edit, the key of the two stands for the resource of the wrong one. So a record of other content proves
    nothing where the server may have parts without a record: of *any_kind*, or of the kinds of known leftovers.
    """
    kinds = {kind_of(key) for key in known if key.startswith(LEFT)}
    return {
        part.key: record.ref
        for part in parts
        if part.kind in NUMBERED_KINDS
        and (any_kind or part.kind in kinds)
        and (record := known.get(part.key)) is not None
        and record.ref is not None
        and record.digest != part.digest
        and not record.digest.startswith(UNDOING)
    }


def _as_leftovers(
    unproven: Mapping[str, UUID], known: Mapping[str, PartRecord], new_keys: Mapping[str, str | None]
) -> tuple[Mapping[str, PartRecord], Mapping[str, str | None]]:
    """Return the *known* records and the *new_keys*, with the *unproven* parts as leftovers: no part has them yet."""
    keys: dict[str, str | None] = {key: left_key(kind_of(key), ref) for key, ref in unproven.items()}
    for extension in known.keys() & {f"{key}/ext" for key in unproven}:
        ref = known[extension].ref
        keys[extension] = None if ref is None else left_key(kind_of(extension), ref)
    moved = {old: None if new is None else keys.get(new, new) for old, new in new_keys.items()}
    return with_new_keys(known, keys), {**{key: new for key, new in keys.items() if key not in moved}, **moved}


def _without_digests(records: Mapping[str, PartRecord]) -> Mapping[str, PartRecord]:
    """Return those of *records* that have a reference, with a hash that fits no input, so that they are compared.

    A part that is being deleted keeps its hash, which says so.
    """
    return {
        key: PartRecord(b"", record.ref)
        for key, record in records.items()
        if record.ref is not None and not record.digest.startswith(UNDOING)
    }


def _left(
    parts: Sequence[Part], known: Mapping[str, PartRecord]
) -> tuple[Mapping[tuple[str, UUID], str], Sequence[str]]:
    """Return the records of parts that the input no longer has: those with a reference, and the keys of the others."""
    keys = {part.key for part in parts}
    if known.keys() <= keys:
        return {}, ()
    claimed = {(part.kind, _ref(part, known)) for part in parts}
    left: dict[tuple[str, UUID], str] = {}
    left_open: list[str] = []
    for key, record in known.items():
        if key in keys:
            continue
        if record.ref is None:
            left_open.append(key)
        elif (kind_of(key), record.ref) not in claimed:
            left[kind_of(key), record.ref] = key
    return left, left_open


def _confusable(
    parts: Sequence[Part], known: Mapping[str, PartRecord], in_doubt: Collection[str], left_kinds: Collection[str]
) -> set[str]:
    """Return the keys of the parts that a look-up can confuse with a part in doubt, or with a part that is left.

    What the input has as a new part may be a part that is left: somebody edited it.
    """
    groups = {part.group for part in parts if part.key in in_doubt and part.group}
    confusable: set[str] = set()
    for part in parts:
        if _ref(part, known) is None and (
            part.group in groups or part.kind in left_kinds or (part.owner is not None and part.owner.key in confusable)
        ):
            confusable.add(part.key)
    return confusable
