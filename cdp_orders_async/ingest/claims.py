"""The claims of a client on the orders under way, and its memory of the orders that just ended.

The server takes orders with one reference id for the same order, so an order is claimed by its reference id. Claims
belong to the client: all its loads share them, with any journals and options.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.ingest.parts import Part, digest_of_parts
from cdp_orders_async.journal import Journal, PartRecord
from cdp_orders_async.wire import Transport

__all__ = ["Claims", "Remembered", "packed"]

T = TypeVar("T")

MIN_REMEMBERED_PARTS = 1_000
"""The number of parts of ended orders that are always remembered."""
MAX_REMEMBERED_PARTS = 10_000
"""The maximum, while the lists of the server may lag behind: the parts of ten seconds, at 1,000 parts a second."""
MAX_REMEMBERED_OWNERS = 10_000
"""The maximum number of orders on the server that are remembered with the key of their order in an input."""


class Remembered(Struct):
    """An ended order."""

    key: str
    ordered_at: datetime
    run: bytes
    """The load of the order."""
    number: int
    """Its position in the input of that load."""
    ended: float
    """The time of the end, in seconds of the clock of that load."""
    complete: bool
    """Whether every part was on the server as the input says."""
    parts: Sequence[Part] | bytes
    """Its parts, or their records, `packed`: these take a fifth of the memory."""
    count: int
    """The number of known parts."""
    gaps: bool = False
    """Whether the server may have parts of it that have no record."""
    hashed: bytes = b""
    """The hash of the whole order; it may be empty if its parts are here."""
    journal: Journal | None = None
    """The journal of that load."""

    @property
    def digest(self) -> bytes:
        """The hash of the whole order."""
        return self.hashed if isinstance(self.parts, bytes) else self.hashed or digest_of_parts(self.parts)

    def records(self) -> Mapping[str, PartRecord]:
        """Return the records of its parts, as a journal has them."""
        if isinstance(self.parts, bytes):
            known = _UNPACK.decode(self.parts)
            return {key: PartRecord(digest, UUID(bytes=ref) if ref else None) for key, digest, ref in known}
        return {part.key: part.record for part in self.parts if part.ref is not None or part.in_doubt}


_PACK, _UNPACK = Encoder(), Decoder(list[tuple[str, bytes, bytes]])


def packed(records: Mapping[str, PartRecord]) -> bytes:
    """Return the *records* of parts in few bytes."""
    rows = [(key, part.digest, part.ref.bytes if part.ref else b"") for key, part in records.items()]
    return _PACK.encode(rows)


class Claims:
    """The claims of one client, and its memory."""

    def __init__(self) -> None:
        self._held: dict[str, deque[tuple[Callable[[Any], None], Any]]] = {}
        """The orders that wait for a claim, by the reference id that is claimed."""
        self._memory: dict[str, tuple[Remembered, ...]] = {}
        """The ended orders, by reference id, the oldest first."""
        self._parts = 0
        self._owners: dict[UUID, str] = {}

    @classmethod
    def of(cls, client: Resources | ResourcesV2) -> Claims:
        """Return the claims of *client*; all resources over one transport are one client."""
        claims = _CLAIMS.get(client.transport)
        if claims is None:
            _CLAIMS[client.transport] = claims = cls()
        return claims

    def acquire(self, reference_id: str, granted: Callable[[T], None], order: T) -> bool:
        """Claim *reference_id*; if it is held, return False, and call *granted* with *order* once it is free."""
        waiting = self._held.get(reference_id)
        if waiting is None:
            self._held[reference_id] = deque()
            return True
        waiting.append((granted, order))
        return False

    def withdraw(self, reference_id: str, granted: Callable[[T], None], order: T) -> bool:
        """Stop waiting for a claim; tell whether *order* waited for one."""
        waiting = self._held.get(reference_id)
        if waiting is None or (granted, order) not in waiting:
            return False
        waiting.remove((granted, order))
        return True

    def release(self, reference_id: str) -> None:
        """Give up a claim; the order that has waited longest gets it."""
        waiting = self._held[reference_id]
        if waiting:
            granted, order = waiting.popleft()
            granted(order)
        else:
            del self._held[reference_id]

    def remember(self, reference_id: str, order: Remembered, settle: float) -> None:
        """Remember an *order* for *settle* seconds, or longer while there is room; forget the oldest orders."""
        kept = [known for known in self._memory.pop(reference_id, ()) if known.key != order.key or self._drop(known)]
        self._memory[reference_id] = (*kept, order)
        self._parts += order.count
        while self._parts > MIN_REMEMBERED_PARTS and len(self._memory) > 1:
            oldest = next(iter(self._memory))
            if self._parts <= MAX_REMEMBERED_PARTS and order.ended - self._memory[oldest][-1].ended <= settle:
                break
            for forgotten in self._memory.pop(oldest):
                self._drop(forgotten)

    def recall(self, reference_id: str) -> Sequence[Remembered]:
        """Return the ended orders with this reference id, the oldest first."""
        return self._memory.get(reference_id, ())

    def forget(self, reference_id: str, key: str) -> None:
        """Forget the order *key*, which was taken back."""
        known = self._memory.pop(reference_id, ())
        kept = tuple(order for order in known if order.key != key or self._drop(order))
        if kept:
            self._memory[reference_id] = kept

    def own(self, ref: UUID, key: str) -> str:
        """Note that the order *ref* on the server belongs to the order *key*; return the key of its first owner."""
        owner = self._owners.setdefault(ref, key)
        if len(self._owners) > MAX_REMEMBERED_OWNERS:
            del self._owners[next(iter(self._owners))]
        return owner

    def owner(self, ref: UUID) -> str | None:
        """Return the key of the order in an input that owns the order *ref* on the server, None if it is unknown."""
        return self._owners.get(ref)

    def _drop(self, order: Remembered) -> bool:
        self._parts -= order.count
        return False


_CLAIMS: weakref.WeakKeyDictionary[Transport, Claims] = weakref.WeakKeyDictionary()
