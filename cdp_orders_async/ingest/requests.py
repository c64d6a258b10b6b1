"""The requests that create and change the parts of orders."""

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
"""The fields that no update changes, by the kind of a part."""
READ: Mapping[str, Callable[[bytes], Any]] = {
    **dict.fromkeys(("orders", "items", "contacts", "consumers"), reads(CreatedRef)),
    **dict.fromkeys(EXTENSIONS, reads(CreatedExtension)),
}
"""The reader of the answer to a create, by kind."""


class Requests:
    """Makes the requests of one *client*."""

    def __init__(self, client: Resources | ResourcesV2) -> None:
        self._client = client
        # What the load raises passes its own seal.
        self._creators = {one: unsealed(getattr(client, one).to_create) for one in READ if hasattr(client, one)}

    def to_create(self, part: Part) -> Request[Any]:
        """Return the request that creates *part*."""
        kind, owner = part.kind, part.owner
        to_create: Callable[..., Request[Any]] = self._creators[kind]
        if owner is None:
            return to_create(part.value, read=READ[kind])
        return to_create(owner.ref, part.sent() if part.uses else part.held.cell_contents, read=READ[kind])

    def to_change(self, part: Part, names: Sequence[str], got: Any) -> Request[Any]:  # noqa: ANN401 any resource
        """Return the request that brings the fields *names* of *part* up to the input, where the server has *got*.

        Version 2 takes only the whole thing, so what the input does not say is sent as it is there. For extensions
        it has one request: what makes one, and may put its pairs in place of all that are there.
        """
        resource: Any = getattr(self._client, part.kind)
        legacy, sent = isinstance(self._client, ResourcesV2), part.sent()
        if part.kind in EXTENSIONS and legacy:
            request: Request[Any] = resource.to_create(part.under, {**got.pairs, **sent})
            request.creates = False
        elif part.kind in EXTENSIONS:
            request = resource.to_update(part.under, {name: sent[name] for name in names})
        elif legacy:
            request = resource.to_update(part.ref, merge(sent, got, IMMUTABLE.get(part.kind, ())))
        else:
            request = resource.to_update(part.ref, {name: getattr(sent, name) for name in names})
        return request
