"""The rows of the API are the operations of the vendor's index page."""

from __future__ import annotations

import re
from pathlib import Path

from cdp_orders_async.kinds import V2_1

OPERATIONS = Path(__file__).parents[1] / "data" / "operations.txt"


def test_rows_are_the_vendors_operations() -> None:
    """Every operation that the vendor lists is a row once, and there is no other."""
    listed = [line for line in OPERATIONS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    ours = [f"{route.method} {route.path}" for route in V2_1.routes()]
    assert len(listed) == 39
    # The one extension that the vendor supports is named "ext"; all other placeholders are references.
    assert sorted(ours) == sorted(
        re.sub(r"\{\w+\}", "{ref}", line.replace("{dataExtensionName}", "ext")) for line in listed
    )


def test_operations_have_names_of_their_own() -> None:
    """No two operations are called the same, so a call says which one is meant."""
    names = [route.operation for route in V2_1.routes()]
    assert sorted(names) == sorted(set(names))
