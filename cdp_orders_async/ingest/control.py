"""What the orders of a load share, and how they judge failures by what became of the others."""

from __future__ import annotations

from typing import Literal, Protocol
from uuid import UUID

from cdp_orders_async.breaker import Breaker
from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, PoolTimeout, RateLimited
from cdp_orders_async.journal import Journal
from cdp_orders_async.retry import down
from cdp_orders_async.session import Times
from cdp_orders_async.wire import Transport

__all__ = ["Control", "OnExisting", "counts_against"]

OnExisting = Literal["keep", "update", "fail"]


class Control(Protocol):
    """What an order shares with the load that it belongs to."""

    cdp: Resources | ResourcesV2
    journal: Journal | None
    breaker: Breaker
    settle: float
    """Seconds that a list may lag behind a write."""
    on_existing: OnExisting
    look_first: bool
    answers: int
    """How many calls succeeded so far."""
    halted: bool
    """Whether nothing more may be created."""
    aborting: bool
    """Whether what is in flight is being given up."""
    starting: int
    """How many orders are about to begin: they soon have parts to send."""

    def clock(self) -> float:
        """Return the time in seconds."""
        ...

    def transport(self, times: Times) -> Transport:
        """Return what sends the requests of one order, and counts in *times* where their time goes."""
        ...

    def step_aside(self) -> None:
        """Let somebody else send, because who calls this waits for something else."""
        ...

    def step_in(self) -> None:
        """End what `step_aside` began."""
        ...

    async def pause(self, seconds: float) -> None:
        """Sleep, but wake up when the load is halted."""
        ...

    def heard(self, error: CdpError | None) -> None:
        """Note what the server answered, or that it did not."""
        ...

    async def may_claim(self, ref: UUID, key: str) -> bool:
        """Tell whether the order *ref* belongs to no other order of the input."""
        ...

    def claim(self, ref: UUID, key: str) -> None:
        """Note to which order of the input the order *ref* belongs."""
        ...


def counts_against(error: CdpError, *, others: bool) -> bool:
    """Tell whether a failed try speaks against the part itself, given whether *others* got through meanwhile.

    A server that is down fails everybody, and one that is busy somebody: then the part waits for its turn.
    """
    match error:
        case PoolTimeout():
            return False
        case RateLimited():
            return not others
        case _:
            return others or not down(error)
