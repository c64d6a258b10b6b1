"""The operations that a journal queues, and the stages in which a batch of them is done.

All operations of one stage are done by the same few statements. Operations on one reference id keep their order;
operations on different reference ids do not depend on each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from msgspec import Struct

from cdp_orders_async.journal.records import OrderId

__all__ = [
    "Change",
    "Claim",
    "End",
    "Forget",
    "Note",
    "OnGraph",
    "Operation",
    "Owner",
    "Place",
    "Read",
    "Rename",
    "Renew",
    "stages",
]


class Place(Struct, frozen=True):
    """The place of a graph in the tables. Bytes, because the encoding of a database may lack characters."""

    reference: bytes
    """The reference id."""
    moment: bytes
    """The time of the order, as its key has it."""

    @classmethod
    def of(cls, key: str) -> Place:
        """Return the place of the graph *key*."""
        reference, _, moment = key.rpartition("@")
        return cls(reference.encode(errors="surrogatepass"), moment.encode(errors="surrogatepass"))

    @property
    def key(self) -> str:
        """The key of the graph."""
        return f"{self.reference.decode()}@{self.moment.decode()}"


class Operation(Struct, eq=False, kw_only=True):
    """An operation: its *answer*, if somebody waits for it, and its *result*, once it is done."""

    answer: asyncio.Future[Any] | None = None
    result: Any = None

    @property
    def references(self) -> Iterable[bytes]:
        """The reference ids that it changes, and therefore locks."""
        return ()


class OnGraph(Operation, eq=False):
    """An operation on one graph."""

    place: Place

    @property
    def references(self) -> Iterable[bytes]:
        """Its reference id."""
        return (self.place.reference,)


class Change(OnGraph, eq=False):
    """A change by a worker that holds the claim *token*, None if it holds none."""

    token: UUID | None


class Claim(OnGraph, eq=False):
    """Claim an order; *token* tells this claim from all others."""

    token: UUID
    order: OrderId
    digest: bytes
    run: bytes
    number: int
    sends: bool
    maybe_done: bool = False
    """Whether the database may have done it."""
    newest: int = 0
    """The place of the newest created part of the order, when it was claimed."""


class Note(Change, eq=False):
    """Record a part; *created* is its place among the created parts, 0 for a part that was not created."""

    part: bytes
    digest: bytes
    ref: UUID | None
    created: int


class Forget(Change, eq=False):
    """Delete the record of a part."""

    part: bytes


class Rename(Change, eq=False):
    """Rename the records of parts."""

    parts: Mapping[bytes, bytes | None]


class End(Change, eq=False):
    """Give up a claim, and note how the order ended; *complete* None: it did not end."""

    complete: bool | None
    gaps: bool | None = None


class Renew(Operation, eq=False):
    """Renew some claims."""

    claims: Sequence[tuple[Place, UUID]]

    @property
    def references(self) -> Iterable[bytes]:
        """The reference ids of the claims."""
        return [place.reference for place, _ in self.claims]


class Owner(Operation, eq=False):
    """Find the graph whose order has a reference."""

    ref: UUID


class Read(Operation, eq=False):
    """Read with a function of its own, which gets the connection."""

    read: Callable[[Any], Awaitable[Any]]


Stage: TypeAlias = "list[Operation]"


def stages(operations: Iterable[Operation]) -> list[Stage]:
    """Arrange *operations* in as few stages as possible, each of one kind."""
    found: list[Stage] = []
    members: list[set[Hashable]] = []
    last: dict[bytes, int] = {}
    """The last stage of each reference id."""
    for operation in operations:
        if not isinstance(operation, OnGraph):  # it comes after all that was queued before it
            if not (isinstance(operation, Owner) and found and isinstance(found[-1][0], Owner)):
                found.append([])
                members.append(set())
            found[-1].append(operation)
            last.update(dict.fromkeys(operation.references, len(found) - 1))
            continue
        # A statement touches each row once, and one claim of a reference id decides about the next one.
        reference = operation.place.reference
        member = (operation.place, operation.part) if isinstance(operation, (Note, Forget)) else reference
        number = last.get(reference, 0)
        while number < len(found) and (type(found[number][0]) is not type(operation) or member in members[number]):
            number += 1
        if number == len(found):
            found.append([])
            members.append(set())
        found[number].append(operation)
        members[number].add(member)
        last[reference] = number
    return found
