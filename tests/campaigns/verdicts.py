"""Every operation under every fault, sent once: what the error says of its delivery, and what the ledger knows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import attrs

from cdp_orders_async import CdpError
from cdp_orders_async.emulator import Emulator, Faults
from cdp_orders_async.models import Resource
from tests.calls import CALLS, Refs
from tests.campaigns.loads import PHASES, every_fault
from tests.campaigns.orders import Json
from tests.ingest.serving import serving

DELETED_LAST = ("order_extensions item_extensions", "items contacts consumers", "orders")
"""What is deleted at once, after everything else was done, and in which order."""


@attrs.frozen
class Sent:
    """What became of one request under a fault."""

    operation: str
    fault: Json
    done: bool
    """Whether the server did it; for what changes something, by its ledger."""
    said: str
    """What the client says of its delivery; ``done`` where there was no error."""
    requests: int
    attempts: int

    @property
    def true(self) -> bool:
        """Whether the client says what is so or that it does not know, and one attempt was one request."""
        known = self.done == (self.said in {"done", "done_unreadable"})
        return (known or self.said == "unknown") and self.requests == self.attempts == 1


async def error_of(call: Awaitable[object]) -> CdpError | None:
    """Return what a call raises."""
    try:
        await call
    except CdpError as error:
        return error
    return None


async def sent_under(fault: Json) -> list[Sent]:
    """Send a request of every operation under *fault*."""
    emulator, refs = Emulator(), Refs()
    async with serving(emulator) as cdp:
        for operation, call in CALLS.items():
            made = await call(cdp, refs) if operation.endswith(".create") else None
            if isinstance(made, Resource):
                setattr(refs, operation.partition(".")[0], made.ref)
    before = emulator.store.counts.copy()
    emulator.requests.clear()
    emulator.faults = Faults.of({"faults": [{**fault, "chance": 1}]})
    errors: dict[str, CdpError | None] = {}
    deletions = [[f"{kind}.delete" for kind in kinds.split()] for kinds in DELETED_LAST]
    for turn in ([operation for operation in CALLS if not operation.endswith(".delete")], *deletions):
        # Only what never ends is given up soon, so that a busy machine changes nothing.
        timeout = 0.6 if fault["action"] in {"stall", "drip"} else 60
        async with serving(emulator, timeout=timeout, connections=len(turn)) as cdp, asyncio.TaskGroup() as group:
            tasks = {operation: group.create_task(error_of(CALLS[operation](cdp, refs))) for operation in turn}
        errors.update((operation, task.result()) for operation, task in tasks.items())
    sent: list[Sent] = []
    for operation, error in errors.items():
        reads = operation.endswith((".get", ".list", ".items"))
        done = fault["phase"] in PHASES[2:] if reads else emulator.store.counts[operation] > before[operation]
        said, attempts = ("done", 1) if error is None else (str(error.delivery), error.attempts)
        received = emulator.requests[operation] + emulator.dropped[operation]
        sent.append(Sent(operation, fault, done, said, received, attempts))
    return sent


async def verdicts() -> list[Sent]:
    """Send a request of every operation under every fault."""
    return [one for fault in every_fault(1) for one in await sent_under(fault)]
