"""The values that a change replaces, for a caller who keeps them: they are in no outcome and in no text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

from msgspec import Struct

from cdp_orders_async.ingest.parts import Part
from cdp_orders_async.models import Extension
from cdp_orders_async.models.common import camel
from cdp_orders_async.redact import Opaque
from cdp_orders_async.wire import to_json

__all__ = ["Before", "KeepBefore", "before"]


class Before(Struct, frozen=True):
    """The fields of one part that a load is about to change, with the values that the server has."""

    key: str
    """Identifies the order."""
    part: str
    """``order``, ``contact``, ``items/3``, ``items/3/ext``, ``consumers/0``, ``ext``."""
    ref: UUID | None
    """What the server calls the part; of an extension, its owner."""
    fields: Opaque[Mapping[str, object]]
    """The values by the names of the API, as JSON data; None where the server has no value. They may be personal."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data, with the values."""
        ref = None if self.ref is None else str(self.ref)
        return {"key": self.key, "part": self.part, "ref": ref, "fields": dict(self.fields.open())}


KeepBefore: TypeAlias = Callable[[Before], None]
"""Is called before a change is sent. If it raises, the change is not sent, and the load ends."""


def before(key: str, part: Part, names: Sequence[str], stored: Any) -> Before:  # noqa: ANN401 any resource
    """Return the values of the fields *names* of a *part*, of the order *key*, that the server has as *stored*."""
    if isinstance(stored, Extension):
        values: dict[str, object] = {name: stored.pairs.get(name) for name in names}
    else:
        plain: Mapping[str, object] = to_json(stored)
        values = {camel(name): plain.get(camel(name)) for name in names}
    return Before(key, part.name, stored.ref or part.owner_ref, Opaque(values))
