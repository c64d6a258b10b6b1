"""All operations on the tables of a journal in Postgres: a batch of them is one transaction.

A transaction first locks the reference ids that it touches, in one order for all workers, so that no two of them wait
for each other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from asyncpg import Connection, Record

from cdp_orders_async.journal.postgres.operations import (
    Change,
    Claim,
    End,
    Forget,
    Note,
    Operation,
    Owner,
    Place,
    Read,
    Rename,
    Renew,
    stages,
)
from cdp_orders_async.journal.postgres.schema import lock_number, quoted
from cdp_orders_async.journal.records import (
    Busy,
    Claimed,
    CreatedPart,
    GraphRecord,
    OrderId,
    PartRecord,
    RecordedOrder,
    SameReference,
    current_key,
    is_same_order,
    key_of_record,
)
from cdp_orders_async.journal.states import (
    ENDED,
    UNDER_WAY,
    is_order_created,
    record_of,
    run_of_claim,
    state_of_claim,
    state_of_end,
    state_of_first_claim,
)

__all__ = ["Batch", "Tables"]

_Cursor: TypeAlias = "tuple[int, int, bytes]"

_NEWEST: Final[_Cursor] = (2**63 - 1, 2**63 - 1, b"")
"""The place before the newest created part."""

_LOCK: Final = "SELECT pg_advisory_xact_lock(number), txid_current() FROM unnest($1::bigint[]) AS number"

_LEASE: Final = """INSERT INTO {schema}.leases AS l (tenant, reference, moment, token, until)
    SELECT {tenant}, c.reference, c.moment, c.token, clock_timestamp() + make_interval(secs => $4)
    FROM unnest($1::bytea[], $2::bytea[], $3::uuid[]) AS c (reference, moment, token)
    ON CONFLICT (tenant, reference) DO UPDATE
        SET moment = excluded.moment, token = excluded.token, until = excluded.until
        WHERE l.until <= clock_timestamp()
    RETURNING l.token"""

_HOLDERS: Final = """SELECT reference, moment, extract(epoch FROM until - clock_timestamp())::float8
    FROM {schema}.leases WHERE tenant = {tenant} AND reference = ANY ($1::bytea[])"""

_GRAPHS: Final = """SELECT g.id, g.reference, g.moment, g.digest, g.state, g.run, g.number, p.part, p.ref, p.created
    FROM {schema}.graphs AS g LEFT JOIN {schema}.parts AS p ON p.graph = g.id AND p.part = 'order'::bytea
    WHERE g.tenant = {tenant} AND g.reference = ANY ($1::bytea[]) ORDER BY g.id"""

_MOVE: Final = "UPDATE {schema}.graphs SET moment = $2 WHERE id = $1"

_PARTS: Final = "SELECT graph, part, digest, ref, created FROM {schema}.parts WHERE graph = ANY ($1::bigint[])"

_BEGIN: Final = """INSERT INTO {schema}.graphs AS g (tenant, reference, moment, digest, state, run, number)
    SELECT {tenant}, n.* FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::smallint[], $5::bytea[], $6::bigint[])
        AS n (reference, moment, digest, state, run, number)
    ON CONFLICT (tenant, reference, moment) DO UPDATE
        SET digest = excluded.digest, state = excluded.state, run = excluded.run, number = excluded.number"""

# For each note a look-up of its own, because a plan for a small table may read the table as a whole for each note.
_JOINED: Final = """JOIN LATERAL (
        SELECT f.id FROM {schema}.graphs AS f
        WHERE f.tenant = {tenant} AND f.reference = n.reference AND f.moment = n.moment LIMIT 1
    ) AS g ON true
    LEFT JOIN {schema}.leases AS l ON l.tenant = {tenant} AND l.reference = n.reference"""

_NOT_TAKEN: Final = """CASE WHEN n.token IS NULL THEN l.token IS NULL OR l.moment <> n.moment
    ELSE l.token IS NOT NULL AND l.token = n.token END"""
"""Whether no other worker has claimed the order since."""

_NOTE: Final = """INSERT INTO {schema}.parts AS p (graph, part, digest, ref, created)
    SELECT g.id, n.part, n.digest, n.ref, n.created FROM unnest(
        $1::bytea[], $2::bytea[], $3::uuid[], $4::bytea[], $5::bytea[], $6::uuid[], $7::bigint[]
    ) AS n (reference, moment, token, part, digest, ref, created) {joined}
    WHERE n.ref IS NOT NULL OR {not_taken}
    ON CONFLICT (graph, part) DO UPDATE SET
        digest = excluded.digest,
        ref = CASE WHEN excluded.ref IS NULL AND p.created <> 0 THEN p.ref ELSE excluded.ref END,
        created = CASE
            WHEN excluded.created <> 0 THEN excluded.created
            WHEN excluded.ref IS NULL THEN -abs(p.created)
            WHEN excluded.ref = p.ref THEN abs(p.created)
            ELSE 0 END"""

_FORGET: Final = """DELETE FROM {schema}.parts AS p
    USING unnest($1::bytea[], $2::bytea[], $3::uuid[], $4::bytea[]) AS n (reference, moment, token, part) {joined}
    WHERE p.graph = g.id AND p.part = n.part AND {not_taken}"""

_NOT_TAKEN_GRAPH: Final = """SELECT g.id
    FROM (VALUES ($1::bytea, $2::bytea, $3::uuid)) AS n (reference, moment, token) {joined} WHERE {not_taken}"""

_NAMED: Final = "SELECT part, digest, ref, created FROM {schema}.parts WHERE graph = $1 AND part = ANY ($2::bytea[])"

_DROP: Final = "DELETE FROM {schema}.parts WHERE graph = $1 AND part = ANY ($2::bytea[])"

_PUT: Final = """INSERT INTO {schema}.parts (graph, part, digest, ref, created)
    SELECT $1, n.* FROM unnest($2::bytea[], $3::bytea[], $4::uuid[], $5::bigint[]) AS n (part, digest, ref, created)"""

_END: Final = """WITH ended AS (
        DELETE FROM {schema}.leases AS l
        USING unnest($1::bytea[], $2::uuid[], $3::smallint[], $4::smallint[]) AS e (reference, token, state, stay)
        WHERE l.tenant = {tenant} AND l.reference = e.reference AND l.token = e.token
        RETURNING l.reference, l.moment, e.state, e.stay)
    UPDATE {schema}.graphs AS g SET state = e.state | (g.state & e.stay) FROM ended AS e
    WHERE g.tenant = {tenant} AND g.reference = e.reference AND g.moment = e.moment AND e.state IS NOT NULL"""

_RENEW: Final = """UPDATE {schema}.leases AS l SET until = clock_timestamp() + make_interval(secs => $3)
    FROM unnest($1::bytea[], $2::uuid[]) AS e (reference, token)
    WHERE l.tenant = {tenant} AND l.reference = e.reference AND l.token = e.token RETURNING l.token"""

_OWNERS: Final = """SELECT DISTINCT ON (p.ref) p.ref, g.reference, g.moment
    FROM {schema}.parts AS p JOIN {schema}.graphs AS g ON g.id = p.graph
    WHERE g.tenant = {tenant} AND p.part = 'order'::bytea AND p.ref = ANY ($1::uuid[]) AND p.created >= 0
    ORDER BY p.ref, g.id"""

_KNOWN: Final = """SELECT g.reference, g.moment, p.ref
    FROM {schema}.graphs AS g JOIN {schema}.parts AS p ON p.graph = g.id AND p.part = 'order'::bytea
    WHERE g.tenant = {tenant} AND g.state & 3 = 2 AND p.ref IS NOT NULL AND p.created >= 0
    ORDER BY g.id DESC LIMIT $1"""

_CREATED: Final = """SELECT g.reference, g.moment, p.digest, p.ref, g.id, p.created, p.part
    FROM {schema}.graphs AS g JOIN {schema}.parts AS p ON p.graph = g.id
    WHERE g.tenant = {tenant} AND p.created > 0 AND g.id <= $1 AND (g.id, p.created, p.part) < ($1, $2, $3)
    ORDER BY g.id DESC, p.created DESC, p.part DESC LIMIT $4"""

_ORDERS: Final = """SELECT id, reference, moment, digest, state, run, number FROM {schema}.graphs
    WHERE tenant = {tenant} AND id > $1 ORDER BY id LIMIT $2"""

_IS_EMPTY: Final = "SELECT NOT EXISTS (SELECT FROM {schema}.graphs WHERE tenant = {tenant})"


_SIZE: Final = """SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
    WHERE relkind = 'r' AND relnamespace = $1::regnamespace"""


class Batch:
    """Operations that are done together."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Do nothing yet."""
        self.operations = operations
        self.transaction: int | None = None
        """The number of its transaction, once its end was asked for: then it may be done."""


class _Graph(NamedTuple):
    """A row that a claim found."""

    number: int
    place: Place
    digest: bytes
    state: int
    run: bytes
    order: int
    has_order: bool
    ref: UUID | None

    @property
    def may_be_there(self) -> bool:
        """Whether its order is or may be on the server."""
        return self.has_order or self.state & ENDED == UNDER_WAY


class Tables:
    """The tables of one tenant; *lease*, seconds that a claim lasts."""

    def __init__(self, schema: str, tenant: int, lease: float) -> None:
        """Remember where the tables are."""
        self._schema = schema
        self._tenant = tenant
        self._lease = lease
        self._texts: dict[str, str] = {}
        self._stages: Mapping[type[Operation], Callable[[Connection, Sequence[Any]], Awaitable[None]]] = (
            MappingProxyType(
                {
                    Claim: self._claim,
                    Note: self._note,
                    Forget: self._forget,
                    Rename: self._rename,
                    End: self._end,
                    Renew: self._renew,
                    Owner: self._owner,
                    Read: self._read,
                }
            )
        )

    async def do(self, connection: Connection, batch: Batch) -> None:
        """Do a *batch*; its operations have their results then. A batch that fails has done nothing.

        If the connection ends while the transaction ends, only `is_done` knows whether it was done.
        """
        batch.transaction = None
        if not (locks := self._locks(batch.operations)):
            await self._do(connection, batch.operations)
            return
        await connection.execute("BEGIN")
        locked = await connection.fetch(_LOCK, locks)
        await self._do(connection, batch.operations)
        batch.transaction = locked[0][1]
        await connection.execute("COMMIT")

    @staticmethod
    async def is_done(connection: Connection, batch: Batch) -> bool | None:
        """Tell whether the transaction of a *batch* was done; None: it has not ended yet."""
        status = await connection.fetchval("SELECT txid_status($1)", batch.transaction)
        return None if status == "in progress" else status == "committed"

    async def is_empty(self, connection: Connection) -> bool:
        """Tell whether the tenant has no records."""
        return bool(await connection.fetchval(self._sql(_IS_EMPTY)))

    async def size(self, connection: Connection) -> int:
        """Return the size of the tables, in bytes."""
        return int(await connection.fetchval(_SIZE, quoted(self._schema)))

    async def known(self, connection: Connection, *, limit: int) -> list[tuple[str, UUID]]:
        """Return the newest complete orders."""
        rows = await connection.fetch(self._sql(_KNOWN), max(limit, 0))
        return [(_key(reference, moment), _uuid(ref)) for reference, moment, ref in rows]

    async def created(
        self, connection: Connection, *, before: _Cursor | None, limit: int
    ) -> tuple[list[CreatedPart], _Cursor | None]:
        """Return the newest created parts after the place *before*, and the place after them."""
        rows = await connection.fetch(self._sql(_CREATED), *(before or _NEWEST), limit)
        page = [
            CreatedPart(_key(reference, moment), part.decode(), _uuid(ref), digest)
            for reference, moment, digest, ref, _, _, part in rows
        ]
        return page, (rows[-1][4], rows[-1][5], rows[-1][6]) if rows else before

    async def orders(self, connection: Connection, *, after: int, limit: int) -> tuple[list[RecordedOrder], int]:
        """Return the oldest orders after a place, and the place behind them."""
        rows = await connection.fetch(self._sql(_ORDERS), after, limit)
        parts = await self._parts(connection, [row[0] for row in rows])
        page = [
            RecordedOrder(
                _key(reference, moment),
                _record(digest, state, parts.get(number, ()), run, order),
                frozenset(row["part"].decode() for row in parts.get(number, ()) if row["created"] > 0),
            )
            for number, reference, moment, digest, state, run, order in rows
        ]
        return page, rows[-1][0] if rows else after

    def _sql(self, text: str) -> str:
        """Return a statement for this schema and this tenant."""
        if (known := self._texts.get(text)) is None:
            texts = {"joined": _JOINED, "not_taken": _NOT_TAKEN} if "{joined}" in text else {}
            whole = text.format(**texts, schema="{schema}", tenant="{tenant}")
            known = self._texts[text] = whole.format(schema=quoted(self._schema), tenant=self._tenant)
        return known

    def _locks(self, operations: Iterable[Operation]) -> list[int]:
        """Return the numbers of the locks that *operations* need, in the order of all workers."""
        names = {name for operation in operations for name in operation.references}
        schema, tenant = self._schema.encode(), str(self._tenant).encode()
        return sorted(lock_number(schema, tenant, name) for name in names)

    async def _do(self, connection: Connection, operations: Iterable[Operation]) -> None:
        for stage in stages(operations):
            await self._stages[type(stage[0])](connection, stage)

    async def _claim(self, connection: Connection, claims: Sequence[Claim]) -> None:
        columns = [[c.place.reference for c in claims], [c.place.moment for c in claims], [c.token for c in claims]]
        granted = {token for (token,) in await connection.fetch(self._sql(_LEASE), *columns, self._lease)}
        refused = [claim for claim in claims if claim.token not in granted]
        if refused:
            await self._refuse(connection, refused)
        given = [claim for claim in claims if claim.token in granted]
        graphs = await self._graphs(connection, [claim.place.reference for claim in given])
        known = {graph.place: graph for same in graphs.values() for graph in same}
        for claim in given:
            await self._take_over(connection, claim, graphs.get(claim.place.reference, ()), known)
        places = [known[claim.place].number for claim in given if claim.place in known]
        parts = await self._parts(connection, places)
        begun: list[tuple[bytes, bytes, bytes, int, bytes, int]] = []
        for claim in given:
            graph = known.get(claim.place)
            same_reference = _same(claim.order, graphs.get(claim.place.reference, ()))
            sends = claim.sends and not same_reference
            digest, run = claim.digest, claim.run
            if graph is None:
                state = state_of_first_claim(sends=sends)
            else:
                digest, has_order = digest or graph.digest, graph.has_order
                run = run_of_claim(graph.state, graph.run, run, has_order=has_order)
                state = state_of_claim(graph.state, graph.digest, claim.digest, sends=sends, has_order=has_order)
            now = digest, state, run, claim.number
            if graph is None or now != (graph.digest, graph.state, graph.run, graph.order):
                begun.append((claim.place.reference, claim.place.moment, *now))
            record, newest, order_created = None, 0, False
            if graph is not None:
                rows = parts.get(graph.number, ())
                record = _record(graph.digest, graph.state, rows, graph.run, graph.order)
                newest = max((abs(row["created"]) for row in rows), default=0)
                created = any(row["part"] == b"order" and row["created"] > 0 for row in rows)
                order_created = is_order_created(graph.state, record.parts.get("order"), created=created)
            claim.result = Claimed(record, same_reference, order_created)
            claim.newest = newest
        if begun:
            await connection.execute(self._sql(_BEGIN), *map(list, zip(*begun, strict=True)))

    async def _take_over(
        self, connection: Connection, claim: Claim, graphs: Iterable[_Graph], known: dict[Place, _Graph]
    ) -> None:
        """Give the order of a *claim* the graph with its records, if an earlier version gave that another key.

        *graphs* are those with its reference id, and *known* are all, by their places.
        """
        own = {
            graph.place.key: graph.ref
            for graph in graphs
            if graph.may_be_there and current_key(graph.place.key) == claim.order.key
        }
        before = Place.of(key_of_record(claim.order, own))
        if before == claim.place:
            return
        taken, left = known.pop(before), known.pop(claim.place, None)
        if left is not None:
            await connection.execute(self._sql(_MOVE), left.number, b"")
        await connection.execute(self._sql(_MOVE), taken.number, claim.place.moment)
        if left is not None:
            await connection.execute(self._sql(_MOVE), left.number, before.moment)
        known[claim.place] = taken

    async def _refuse(self, connection: Connection, claims: Sequence[Claim]) -> None:
        rows = await connection.fetch(self._sql(_HOLDERS), [claim.place.reference for claim in claims])
        holders = {reference: Busy(_key(reference, moment), max(left, 0.0)) for reference, moment, left in rows}
        for claim in claims:
            claim.result = holders[claim.place.reference]

    async def _graphs(self, connection: Connection, references: Sequence[bytes]) -> Mapping[bytes, Sequence[_Graph]]:
        """Return all graphs with these reference ids, the one that was claimed first first."""
        found: dict[bytes, list[_Graph]] = {}
        for row in await connection.fetch(self._sql(_GRAPHS), references) if references else ():
            number, reference, moment, digest, state, run, order, part, ref, created = row
            ref = None if part is None else _ref(ref, created)
            graph = _Graph(number, Place(reference, moment), digest, state, run, order, part is not None, ref)
            found.setdefault(reference, []).append(graph)
        return found

    async def _parts(self, connection: Connection, numbers: Sequence[int]) -> Mapping[int, Sequence[Record]]:
        """Return the rows of the parts of some graphs."""
        found: dict[int, list[Record]] = {}
        for row in await connection.fetch(self._sql(_PARTS), numbers) if numbers else ():
            found.setdefault(row["graph"], []).append(row)
        return found

    async def _note(self, connection: Connection, notes: Sequence[Note]) -> None:
        await connection.execute(
            self._sql(_NOTE),
            *_columns(notes),
            [note.part for note in notes],
            [note.digest for note in notes],
            [note.ref for note in notes],
            [note.created for note in notes],
        )

    async def _forget(self, connection: Connection, notes: Sequence[Forget]) -> None:
        await connection.execute(self._sql(_FORGET), *_columns(notes), [note.part for note in notes])

    async def _rename(self, connection: Connection, notes: Sequence[Rename]) -> None:
        for note in notes:
            place = note.place
            find = self._sql(_NOT_TAKEN_GRAPH)
            number = await connection.fetchval(find, place.reference, place.moment, note.token)
            if number is None:
                continue
            rows = await connection.fetch(self._sql(_NAMED), number, list(note.parts))
            moved = {new: row for row in rows if (new := note.parts[row["part"]]) is not None}
            await connection.execute(self._sql(_DROP), number, [*note.parts, *moved])
            columns = [[row[name] for row in moved.values()] for name in ("digest", "ref", "created")]
            await connection.execute(self._sql(_PUT), number, [*moved], *columns)

    async def _end(self, connection: Connection, ends: Sequence[End]) -> None:
        held = [end for end in ends if end.token is not None]
        if not held:
            return
        states = [(None, 0) if e.complete is None else state_of_end(complete=e.complete, gaps=e.gaps) for e in held]
        columns = [
            [end.place.reference for end in held],
            [end.token for end in held],
            *map(list, zip(*states, strict=True)),
        ]
        await connection.execute(self._sql(_END), *columns)

    async def _renew(self, connection: Connection, renewals: Sequence[Renew]) -> None:
        for renewal in renewals:
            columns = [place.reference for place, _ in renewal.claims], [token for _, token in renewal.claims]
            rows = await connection.fetch(self._sql(_RENEW), *columns, self._lease)
            renewed = {token for (token,) in rows}
            renewal.result = {place.key for place, token in renewal.claims if token not in renewed}

    async def _owner(self, connection: Connection, questions: Sequence[Owner]) -> None:
        rows = await connection.fetch(self._sql(_OWNERS), [question.ref for question in questions])
        owners = {ref: _key(reference, moment) for ref, reference, moment in rows}
        for question in questions:
            question.result = owners.get(question.ref)

    async def _read(self, connection: Connection, reads: Sequence[Read]) -> None:
        for read in reads:
            read.result = await read.read(connection)


def _key(reference: bytes, moment: bytes) -> str:
    return current_key(Place(reference, moment).key)


def _columns(notes: Sequence[Change]) -> tuple[list[bytes], list[bytes], list[UUID | None]]:
    return (
        [note.place.reference for note in notes],
        [note.place.moment for note in notes],
        [note.token for note in notes],
    )


def _record(digest: bytes, state: int, parts: Iterable[Record], run: bytes, number: int) -> GraphRecord:
    known = {row["part"].decode(): PartRecord(row["digest"], _ref(row["ref"], row["created"])) for row in parts}
    return record_of(digest, state, known, run, number)


def _same(order: OrderId, graphs: Iterable[_Graph]) -> tuple[SameReference, ...]:
    """Return those of *graphs*, which have the reference id of *order*, that the server would take for it."""
    return tuple(
        SameReference(other.key, graph.ref, graph.run, graph.order)
        for graph in graphs
        if graph.may_be_there
        and (other := OrderId.parse(graph.place.key))
        and other.key != order.key
        and is_same_order(other.ordered_at, order.ordered_at)
    )


def _ref(ref: UUID | None, created: int) -> UUID | None:
    return None if ref is None or created < 0 else _uuid(ref)


def _uuid(ref: UUID) -> UUID:
    """Return a plain UUID: asyncpg has a class of its own."""
    return UUID(int=ref.int)
