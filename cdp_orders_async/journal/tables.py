"""The tables of a journal in an SQLite file, and all operations on them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias
from uuid import UUID

from cdp_orders_async.journal.records import (
    SAME_ORDER,
    Claimed,
    CreatedPart,
    OrderId,
    PartRecord,
    RecordedOrder,
    SameReference,
    current_key,
    is_same_order,
    key_of_record,
)
from cdp_orders_async.journal.states import (
    COMPLETE,
    UNDER_WAY,
    is_order_created,
    record_of,
    run_of_claim,
    state_of_claim,
    state_of_first_claim,
)

__all__ = [
    "APPLICATION_ID",
    "FORMAT",
    "FORMATS",
    "TO_FORMAT_2",
    "Tables",
    "make",
    "migrate",
    "schema",
    "schema_of",
]

APPLICATION_ID: Final = 0x4344506A
"""``CDPj`` in the header of the file marks the database of a journal."""

FORMAT: Final = 2
"""The version of the tables, as the file's ``user_version``."""

_FORMAT_1: Final = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE graphs (
        id INTEGER PRIMARY KEY, graph TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, state INTEGER NOT NULL)""",
    # The number of its graph, which is shorter than the key: a graph has dozens of parts.
    """CREATE TABLE parts (
        graph INTEGER NOT NULL, part TEXT NOT NULL, digest BLOB NOT NULL, ref BLOB,
        PRIMARY KEY (graph, part)) WITHOUT ROWID""",
    "CREATE INDEX orders ON parts (ref) WHERE part = 'order'",
)

TO_FORMAT_2: Final = (
    "ALTER TABLE graphs ADD COLUMN run BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE graphs ADD COLUMN number INTEGER NOT NULL DEFAULT 0",
    # 0: not created with this journal; otherwise its place among the created parts. Negative: it is unknown now whether
    # the part is there, and `ref` is the reference of the created part.
    "ALTER TABLE parts ADD COLUMN created INTEGER NOT NULL DEFAULT 0",
    # In the file itself, 1 while only the log beside it has some of the changes.
    "CREATE TABLE log (needed INTEGER NOT NULL)",
    "INSERT INTO log (needed) VALUES (0)",
    "PRAGMA user_version = 2",
)

_Schema: TypeAlias = "set[tuple[str, str, str]]"

_Cursor: TypeAlias = "tuple[int, int, str]"


def make(db: sqlite3.Connection, identity: Mapping[str, str]) -> None:
    """Make the tables in an empty file."""
    for statement in _FORMAT_1:
        db.execute(statement)
    migrate(db, identity)


def migrate(db: sqlite3.Connection, identity: Mapping[str, str]) -> None:
    """Bring the tables of the first format up to date, and add the missing entries of its identity."""
    for statement in TO_FORMAT_2:
        db.execute(statement)
    db.executemany("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", identity.items())


def schema(db: sqlite3.Connection) -> _Schema:
    """Return all definitions of a database, with normalised spaces."""
    found = db.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {(kind, name, " ".join((sql or "").split())) for kind, name, sql in found}


def schema_of(statements: Sequence[str]) -> _Schema:
    """Return all definitions that *statements* make."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        for statement in statements:
            db.execute(statement)
        return schema(db)


FORMATS: Final[Mapping[int, Callable[[], _Schema]]] = MappingProxyType(
    {1: partial(schema_of, _FORMAT_1), FORMAT: partial(schema_of, (*_FORMAT_1, *TO_FORMAT_2))}
)
"""The formats that can be read, with functions that return their definitions."""

_COMMITS: Final = 250
_CHANGES: Final = 10_000
"""After so many commits or changes, when it has some megabytes, the log is copied into the file."""

_RECORD: Final = """INSERT INTO parts (graph, part, digest, ref, created) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (graph, part) DO UPDATE SET
        digest = excluded.digest,
        ref = CASE WHEN excluded.ref IS NULL AND parts.created THEN parts.ref ELSE excluded.ref END,
        created = CASE
            WHEN excluded.created THEN excluded.created
            WHEN excluded.ref IS NULL THEN -abs(parts.created)
            WHEN excluded.ref = parts.ref THEN abs(parts.created)
            ELSE 0 END"""

_FORGET: Final = "DELETE FROM parts WHERE graph = ? AND part = ?"

_SAME_REFERENCE: Final = """SELECT graphs.graph, parts.ref, parts.created, graphs.run, graphs.number
    FROM graphs LEFT JOIN parts ON parts.graph = graphs.id AND parts.part = 'order'
    WHERE graphs.graph >= ? AND graphs.graph <= ?
        AND (parts.graph IS NOT NULL OR graphs.state & 3 = ?)
    ORDER BY +graphs.id"""

_OWNER: Final = """SELECT graphs.graph FROM parts JOIN graphs ON graphs.id = parts.graph
    WHERE parts.part = 'order' AND parts.ref = ? AND parts.created >= 0 ORDER BY parts.graph LIMIT 1"""

_KNOWN: Final = """SELECT graphs.graph, parts.ref
    FROM graphs CROSS JOIN parts ON parts.graph = graphs.id AND parts.part = 'order'
    WHERE graphs.state & 3 = ? AND parts.ref IS NOT NULL AND parts.created >= 0
    ORDER BY graphs.id DESC LIMIT ?"""

_WITHOUT_REF: Final = """SELECT count(*) FROM graphs JOIN parts ON parts.graph = graphs.id AND parts.part = 'order'
    WHERE graphs.state & 3 = ? AND parts.ref IS NULL"""

_CREATED: Final = """SELECT graphs.graph, parts.ref, parts.digest, parts.graph, parts.created, parts.part
    FROM parts CROSS JOIN graphs ON graphs.id = parts.graph
    WHERE parts.created > 0 AND parts.graph <= ? AND (parts.graph, parts.created, parts.part) < (?, ?, ?)
    ORDER BY parts.graph DESC, parts.created DESC, parts.part DESC LIMIT ?"""

_RECORD_OF: Final = "SELECT id, digest, state, run, number FROM graphs WHERE graph = ?"

_ORDERS: Final = """SELECT id, graph, digest, state, run, number FROM graphs WHERE id > ? ORDER BY id LIMIT ?"""

_PARTS: Final = "SELECT part, digest, ref, created FROM parts WHERE graph = ?"

_FREE: Final = ""
"""The key of no graph."""

_NEAR: Final = SAME_ORDER + timedelta(milliseconds=1)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


class Tables:
    """The tables of an open file, for one thread."""

    NEWEST: Final[_Cursor] = (2**63 - 1, 0, "")
    """The place before the newest created part."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._numbers: dict[str, int] = {}
        """The numbers of the claimed graphs, by key."""
        self._last_created = 0
        self._commits = 0
        self._changes = 0
        """The number of changes that were already copied from the log into the file."""

    def close(self) -> None:
        """Close the file; uncommitted changes are undone."""
        self._db.close()

    def begin(self) -> None:
        """Begin a transaction."""
        if self._commits >= _COMMITS or self._db.total_changes - self._changes >= _CHANGES:
            self.checkpoint()
        self._db.execute("BEGIN")

    def commit(self) -> None:
        """Write everything that was done since `begin` to disk."""
        self._db.execute("COMMIT")
        self._commits += 1

    def checkpoint(self) -> None:
        """Copy the log into the file, so that the log can begin again, and mark the file as one that needs its log.

        The first entry of the new log removes that mark. So if the log is copied into the file at the end, by this
        process or by SQLite after a crash, the file is complete and has no mark; a file with the mark has lost its log.
        """
        self._db.execute("UPDATE log SET needed = 1")
        try:
            self._db.execute("PRAGMA wal_checkpoint(FULL)")
        finally:
            self._db.execute("UPDATE log SET needed = 0")
        self._commits, self._changes = 0, self._db.total_changes

    def identity(self) -> dict[str, str]:
        """Return what the journal belongs to."""
        return dict(self._db.execute("SELECT key, value FROM meta").fetchall())

    def nothing(self) -> None:
        """Do nothing: the caller only waits until the file is open."""

    def look(self, order: OrderId) -> Claimed:
        """Return the records of *order*, and change nothing."""
        key, same_reference = self._same_reference(order)
        known = self._db.execute(_RECORD_OF, (key,)).fetchone()
        return Claimed(None, same_reference) if known is None else self._claimed(known, same_reference)

    def without_ref(self) -> int:
        """Return how many complete orders have a reference that is not known."""
        return int(self._db.execute(_WITHOUT_REF, (COMPLETE,)).fetchone()[0])

    def claim(self, order: OrderId, digest: bytes, run: bytes, number: int, sends: bool) -> Claimed:  # noqa: FBT001
        """Note that *order* is under way, and return its records."""
        db = self._db
        key, same_reference = self._same_reference(order)
        sends = sends and not same_reference
        if key != order.key:
            self._exchange(key, order.key)
        known = db.execute(_RECORD_OF, (order.key,)).fetchone()
        if known is None:
            state = state_of_first_claim(sends=sends)
            new = "INSERT INTO graphs (graph, digest, state, run, number) VALUES (?, ?, ?, ?, ?)"
            self._numbers[order.key] = db.execute(new, (order.key, digest, state, run, number)).lastrowid or 0
            return Claimed(None, same_reference)
        graph, known_digest, state, before, _ = known
        self._numbers[order.key] = graph
        claimed = self._claimed(known, same_reference)
        has_order = claimed.record is not None and "order" in claimed.record.parts
        run = run_of_claim(state, before, run, has_order=has_order)
        state = state_of_claim(state, known_digest, digest, sends=sends, has_order=has_order)
        now = digest or known_digest, state, run, number
        if now != known[1:]:
            db.execute("UPDATE graphs SET digest = ?, state = ?, run = ?, number = ? WHERE id = ?", (*now, graph))
        return claimed

    def _claimed(self, known: tuple[int, bytes, int, bytes, int], same_reference: tuple[SameReference, ...]) -> Claimed:
        """Return the records of the graph with this row."""
        graph, digest, state, run, number = known
        parts: dict[str, PartRecord] = {}
        created_order = False
        for part, sent, ref, created in self._db.execute(_PARTS, (graph,)):
            parts[part] = PartRecord(sent, _ref(ref, created))
            self._last_created = max(self._last_created, abs(created))
            created_order = created_order or (part == "order" and created > 0)
        order_created = is_order_created(state, parts.get("order"), created=created_order)
        return Claimed(record_of(digest, state, parts, run, number), same_reference, order_created)

    def release(self, graph: str) -> None:
        """Forget that *graph* is claimed."""
        self._numbers.pop(graph, None)

    def record(self, graph: str, part: str, digest: bytes, ref: UUID | None, created: bool) -> None:  # noqa: FBT001
        """Record a part."""
        if (number := self._number(graph)) is None:
            return
        when = 0
        if created and ref is not None:
            self._last_created = when = self._last_created + 1
        self._db.execute(_RECORD, (number, part, digest, None if ref is None else ref.bytes, when))

    def forget(self, graph: str, part: str) -> None:
        """Delete the record of a part."""
        self._db.execute(_FORGET, (self._number(graph), part))

    def rename(self, graph: str, parts: Mapping[str, str | None]) -> None:
        """Rename records; None deletes a record."""
        number, db = self._number(graph), self._db
        known = "SELECT graph, digest, ref, created FROM parts WHERE graph = ? AND part = ?"
        found = [(new, *row) for old, new in parts.items() for row in db.execute(known, (number, old))]
        db.executemany(_FORGET, [(number, old) for old in parts])
        put = "INSERT OR REPLACE INTO parts (part, graph, digest, ref, created) VALUES (?, ?, ?, ?, ?)"
        db.executemany(put, [row for row in found if row[0] is not None])

    def end(self, graph: str, state: int, stay: int) -> None:
        """Note how a claimed graph ended; the flags of *stay* stay as they are."""
        if (number := self._numbers.pop(graph, None)) is not None:
            self._db.execute("UPDATE graphs SET state = ? | (state & ?) WHERE id = ?", (state, stay, number))

    def owner(self, ref: UUID) -> str | None:
        """Return the first graph whose order has this reference."""
        found = self._db.execute(_OWNER, (ref.bytes,)).fetchone()
        return None if found is None else current_key(str(found[0]))

    def known(self, limit: int) -> list[tuple[str, UUID]]:
        """Return the newest complete orders."""
        found = self._db.execute(_KNOWN, (COMPLETE, max(limit, 0))).fetchall()
        return [(current_key(graph), UUID(bytes=ref)) for graph, ref in found]

    def created(self, before: _Cursor, limit: int) -> tuple[list[CreatedPart], _Cursor]:
        """Return the newest created parts after the place *before*, and the place after them."""
        found = self._db.execute(_CREATED, (before[0], *before, limit)).fetchall()
        page = [CreatedPart(current_key(key), part, UUID(bytes=ref), digest) for key, ref, digest, _, _, part in found]
        return page, found[-1][3:] if found else before

    def orders(self, after: int, limit: int) -> tuple[list[RecordedOrder], int]:
        """Return the oldest orders after a place, and the place behind them."""
        found = self._db.execute(_ORDERS, (after, limit)).fetchall()
        page: list[RecordedOrder] = []
        for graph, key, digest, state, run, number in found:
            rows = self._db.execute(_PARTS, (graph,)).fetchall()
            parts = {part: PartRecord(sent, _ref(ref, created)) for part, sent, ref, created in rows}
            record = record_of(digest, state, parts, run, number)
            made = frozenset(part for part, _, _, created in rows if created > 0)
            page.append(RecordedOrder(current_key(key), record, made))
        return page, found[-1][0] if found else after

    def _number(self, graph: str) -> int | None:
        if (number := self._numbers.get(graph)) is not None:
            return number
        found = self._db.execute("SELECT id FROM graphs WHERE graph = ?", (graph,)).fetchone()
        return None if found is None else int(found[0])

    def _exchange(self, one: str, other: str) -> None:
        """Give the graph *one* the key *other*, and a graph that has that key the key *one*."""
        for old, new in ((other, _FREE), (one, other), (_FREE, one)):
            self._db.execute("UPDATE graphs SET graph = ? WHERE graph = ?", (new, old))

    def _same_reference(self, order: OrderId) -> tuple[str, tuple[SameReference, ...]]:
        """Return the key under which *order* is recorded, and the other orders that the server would take for it."""
        at = order.ordered_at.astimezone(UTC)
        # These times are sorted like their texts. Some more rows than needed are read.
        first = OrderId.of(order.reference_id, max(at, _FIRST + _NEAR) - _NEAR).key
        last = OrderId.of(order.reference_id, min(at, _LAST - _NEAR) + _NEAR).key
        own, others = dict[str, UUID | None](), list[SameReference]()
        for graph, ref, created, run, number in self._db.execute(_SAME_REFERENCE, (first, last, UNDER_WAY)).fetchall():
            other = OrderId.parse(graph)
            # A reference id may contain an @ too.
            if other is None or other.reference_id != order.reference_id:
                continue
            if other.key == order.key:
                own[graph] = _ref(ref, created)
            elif is_same_order(other.ordered_at, order.ordered_at):
                others.append(SameReference(other.key, _ref(ref, created), run, number))
        return key_of_record(order, own), tuple(others)


def _ref(ref: bytes | None, created: int | None) -> UUID | None:
    return None if ref is None or (created or 0) < 0 else UUID(bytes=ref)
