"""Operations by name, with wildcards: ``items.create``, ``*.create``, ``*``."""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase

from cdp_orders_async.routes import BATCHES, V2_1

__all__ = ["BATCH_LOG", "BATCH_PROCESSING", "BATCH_UPLOAD", "EXAMPLES", "OPERATIONS", "WRITES", "named"]

BATCH_UPLOAD = "batches.upload"
"""The PUT of a batch file to its location."""
BATCH_LOG = "batches.log"
"""The GET of the error log of a batch."""
BATCH_PROCESSING = "batches.process"
"""The work of the server on an uploaded file; no request does it, so only a fault names it."""
OPERATIONS = frozenset(route.operation for route in (*V2_1.routes(), *BATCHES.values())) | {BATCH_UPLOAD, BATCH_LOG}
"""The operations of both APIs; version 2 of the Order REST API has some of them."""
WRITES = frozenset(route.operation for route in V2_1.routes() if route.method != "GET") | {
    "batches.create",
    BATCH_UPLOAD,
}
"""The operations that change something."""
EXAMPLES = "such as items.create or *.create"


@functools.cache
def named(pattern: str) -> frozenset[str]:
    """Return the operations that *pattern* names."""
    return frozenset(name for name in OPERATIONS if fnmatchcase(name, pattern))
