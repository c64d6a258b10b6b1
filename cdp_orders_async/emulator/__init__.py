"""An emulator of the Order REST API, so that everything runs and is tested with no account.

    async with emulator.running() as base_url:
        ...

Where there is no loop, or another one for each test, a thread serves it:

    with emulator.in_thread() as served:
        ...

It is an honest witness: it shares only the table of routes with the client, never models, converter or errors.
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
