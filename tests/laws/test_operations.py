"""The rows of the API are the operations of the vendor's pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdp_orders_async.kinds import V2, V2_1, Api

DATA = Path(__file__).parents[1] / "data"
UNDOCUMENTED = {
    "POST /v2/orders/{ref}/extext",
    "GET /v2/orders/{ref}/extext",
    "GET /v2/orders/{ref}/extext/{ext}",
}
"""What version 2 documents for guests, and has no page for orders."""


@pytest.mark.parametrize(("api", "name", "count"), [(V2_1, "operations.txt", 39), (V2, "operations-v2.txt", 18)])
def test_rows_are_the_vendors_operations(api: Api, name: str, count: int) -> None:
    """Every operation that the vendor lists is a row once, and there is no other."""
    listed = [line for line in (DATA / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    ours = [f"{route.method} {route.path}" for route in api.table.routes()]
    assert len(listed) == count
    # The one extension that the vendor supports is named "ext"; all other placeholders are references.
    expected = [re.sub(r"\{\w+\}", "{ref}", line.replace("{dataExtensionName}", "ext")) for line in listed]
    assert sorted(ours) == sorted([*expected, *(UNDOCUMENTED if api is V2 else ())])


@pytest.mark.parametrize("api", [V2_1, V2], ids=lambda api: api.version)
def test_operations_have_names_of_their_own(api: Api) -> None:
    """No two operations are called the same, so a call says which one is meant."""
    names = [route.operation for route in api.table.routes()]
    assert sorted(names) == sorted(set(names))


def test_version_2_has_no_names_of_its_own() -> None:
    """What version 2 can do is called as in version 2.1, so a plan of faults or a ledger holds for both."""
    assert {route.operation for route in V2.table.routes()} < {route.operation for route in V2_1.table.routes()}
