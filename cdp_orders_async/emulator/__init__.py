"""An emulator of the Order REST API, to run and test everything without an account.

    async with emulator.running() as base_url:
        ...

Without an event loop, or with another one for each test, a thread serves it:

    with emulator.in_thread() as served:
        ...

It is independent of the client: both share only the table of routes, no models, converters or errors.
"""

from cdp_orders_async.emulator.app import running, serve
from cdp_orders_async.emulator.faults import Fault, Faults
from cdp_orders_async.emulator.limits import Bucket, Concurrency, Limit, Queue, Window
from cdp_orders_async.emulator.service import Emulator
from cdp_orders_async.emulator.storage import Storage
from cdp_orders_async.emulator.store import Store
from cdp_orders_async.emulator.switches import Switches
from cdp_orders_async.emulator.threads import Served, in_thread

__all__ = [
    "Bucket",
    "Concurrency",
    "Emulator",
    "Fault",
    "Faults",
    "Limit",
    "Queue",
    "Served",
    "Storage",
    "Store",
    "Switches",
    "Window",
    "in_thread",
    "running",
    "serve",
]
