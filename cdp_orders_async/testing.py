"""What pytest takes from here, for tests of your own.

In the ``conftest.py`` at the root of your tests::

pytest_plugins = ["cdp_orders_async.testing"]
"""

from __future__ import annotations

from cdp_orders_async.emulator.fixtures import cdp_emulator, cdp_served
from cdp_orders_async.models.common import Value, differences

__all__ = ["cdp_emulator", "cdp_served", "pytest_assertrepr_compare"]


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Tell in which fields two models differ that a test takes for equal, and show no personal value.

    In place of a personal value stands a mark: equal values have equal marks, within one process. Returns the lines of
    the message, and None for what pytest compares itself.
    """
    if op != "==" or not isinstance(left, Value) or not isinstance(right, Value) or type(left) is not type(right):
        return None
    name = type(left).__name__
    return [f"{name}(...) == {name}(...), but these fields differ:", *differences(left, right)]
