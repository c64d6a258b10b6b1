"""Make the requests that create and change the parts of orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.ingest.compare import merge
from cdp_orders_async.ingest.parts import EXTENSIONS, CreatedExtension, CreatedRef, Part
from cdp_orders_async.redact import unsealed
from cdp_orders_async.wire import Request, reads

__all__ = ["IMMUTABLE", "Requests"]

IMMUTABLE: Mapping[str, frozenset[str]] = {"orders": frozenset({"reference_id", "ordered_at"})}
"""The fields that an update cannot change, by the kind of a part."""
RESPONSE_READERS: Mapping[str, Callable[[bytes], Any]] = {
    **dict.fromkeys(("orders", "items", "contacts", "consumers"), reads(CreatedRef)),
    **dict.fromkeys(EXTENSIONS, reads(CreatedExtension)),
}
"""The reader of the answer to a create, by the kind of a part."""


class Requests:
    """Makes the requests of one *client*."""

    def __init__(self, client: Resources | ResourcesV2) -> None:
        self._client = client
        # The seal of the client is not needed here, because the load has its own.
        self._creators = {
            kind: unsealed(getattr(client, kind).to_create) for kind in RESPONSE_READERS if hasattr(client, kind)
        }

    def to_create(self, part: Part) -> Request[Any]:
        """Return the request that creates *part*."""
        kind, owner = part.kind, part.owner
        to_create: Callable[..., Request[Any]] = self._creators[kind]
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
            request: Request[Any] = resource.to_create(part.owner_ref, {**stored.pairs, **sent})
            request.creates = False
        elif part.kind in EXTENSIONS:
            request = resource.to_update(part.owner_ref, {name: sent[name] for name in names})
        elif legacy:
            request = resource.to_update(part.ref, merge(sent, stored, IMMUTABLE.get(part.kind, ())))
        else:
            request = resource.to_update(part.ref, {name: getattr(sent, name) for name in names})
        return request
