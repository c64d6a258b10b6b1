"""What a session counts."""

from __future__ import annotations

from msgspec import Struct, field

from cdp_orders_async.timings import Timings

__all__ = ["Stats"]


class Stats(Struct):
    """What a session did so far, in calls and in loads."""

    requests: int = 0
    """Attempts that were made, each one send at most."""
    retries: int = 0
    """Attempts after the first of a call."""
    refused: int = 0
    """Attempts that the server refused for its load: answers 429 and 503."""
    adopted: int = 0
    """Parts of orders that a look-up found on the server, so that they were not created again."""
    in_flight: int = 0
    """Attempts that are sent and not answered now."""
    times: Timings = field(default_factory=Timings)
    """Where the time of the calls went that were not part of a load."""
