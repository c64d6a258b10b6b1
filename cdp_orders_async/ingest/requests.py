"""Make the requests that create and change the parts of orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.ingest.compare import merge
from cdp_orders_async.ingest.parts import EXTENSIONS, CreatedExtension, CreatedRef, Part
from cdp_orders_async.models import Extension
from cdp_orders_async.redact import unsealed
from cdp_orders_async.wire import Request, reads

__all__ = ["IMMUTABLE", "NO_EXTENSION", "Requests", "is_shown"]

IMMUTABLE: Mapping[str, frozenset[str]] = {"orders": frozenset({"reference_id", "ordered_at"})}
"""The fields that an update cannot change, by the kind of a part."""

NO_EXTENSION = "must have a key that the server sets in an extension"
read_created = reads(CreatedExtension)


def is_shown(extension: CreatedExtension | Extension) -> bool:
    """Tell whether an answer shows an *extension*: it has no key that the JSON of a gateway could not have too."""
    return not (extension.ref is None and extension.key is None and extension.created_at is None)


def read_extension(body: bytes) -> CreatedExtension:
    """Read the answer to the create or the change of an extension; raise ValueError for the JSON of a gateway."""
    extension = read_created(body)
    if not is_shown(extension):
        raise ValueError(f"{NO_EXTENSION} @ $")
    return extension


RESPONSE_READERS: Mapping[str, Callable[[bytes], Any]] = {
    **dict.fromkeys(("orders", "items", "contacts", "consumers"), reads(CreatedRef)),
    **dict.fromkeys(EXTENSIONS, read_extension),
}
"""The reader of the answer to a create, by the kind of a part."""


class Requests:
    """Makes the requests of one *client*."""

    def __init__(self, client: Resources | ResourcesV2) -> None:
        self._client = client
        self._creators: dict[str, Callable[..., Request[Any]]] = {}

    def to_create(self, part: Part) -> Request[Any]:
        """Return the request that creates *part*."""
        kind, owner = part.kind, part.owner
        to_create = self._creators.get(kind)
        if to_create is None:  # The seal of the client is not needed here, because the load has its own.
            to_create = self._creators[kind] = unsealed(getattr(self._client, kind).to_create)
        if owner is None:
            return to_create(part.value, read=RESPONSE_READERS[kind])
        return to_create(owner.ref, part.sent() if part.uses else part.held.cell_contents, read=RESPONSE_READERS[kind])

    def to_change(self, part: Part, names: Sequence[str], stored: Any) -> Request[Any]:  # noqa: ANN401 any resource
        """Return the request that changes the fields *names* of *part* to the input; the server has *stored*.

        Version 2 takes only whole resources, so fields that the input leaves out are sent with their stored values.
        For an extension it has only the create request, which may replace all stored pairs.
        """
        resource: Any = getattr(self._client, part.kind)
        legacy, sent = isinstance(self._client, ResourcesV2), part.sent()
        if part.kind in EXTENSIONS and legacy:
            request: Request[Any] = resource.to_create(part.owner_ref, {**stored.pairs, **sent}, read=read_extension)
            request.creates = False
        elif part.kind in EXTENSIONS:
            request = resource.to_update(part.owner_ref, {name: sent[name] for name in names})
            request.read = read_extension
        elif legacy:
            request = resource.to_update(part.ref, merge(sent, stored, IMMUTABLE.get(part.kind, ())))
        else:
            request = resource.to_update(part.ref, {name: getattr(sent, name) for name in names})
        return request
