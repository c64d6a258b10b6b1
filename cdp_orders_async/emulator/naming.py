"""Operations by name, with wildcards: ``items.create``, ``*.create``, ``*``."""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase

from cdp_orders_async.routes import V2_1

__all__ = ["EXAMPLES", "OPERATIONS", "WRITES", "named"]

OPERATIONS = frozenset(route.operation for route in V2_1.routes())
"""The operations of the API; version 2 has some of them."""
WRITES = frozenset(route.operation for route in V2_1.routes() if route.method != "GET")
"""The operations that change something."""
EXAMPLES = "such as items.create or *.create"


@functools.cache
def named(pattern: str) -> frozenset[str]:
    """Return the operations that *pattern* names."""
    return frozenset(name for name in OPERATIONS if fnmatchcase(name, pattern))
