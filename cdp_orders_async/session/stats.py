"""The counters of a session."""

from __future__ import annotations

from msgspec import Struct, field

from cdp_orders_async.timings import Durations, Timings

__all__ = ["Stats"]


class Stats(Struct):
    """The counters of a session, for calls and for loads."""

    requests: int = 0
    """Attempts; each one is one send at most."""
    retries: int = 0
    """Attempts after the first of a call."""
    answered: int = 0
    """Attempts that the server answered, with a success or an error, except for refusals and failures of its own."""
    refused: int = 0
    """Attempts that the server refused because of its load: answers 429 and 503."""
    adopted: int = 0
    """Parts of orders that a look-up found on the server, so that they were not created again."""
    in_flight: int = 0
    """Attempts that wait for their answer now."""
    times: Timings = field(default_factory=Timings)
    """The times of the calls that are not part of a load."""
    answers: Durations = field(default_factory=Durations)
    """How long attempts took from the send to the last byte of the answer, whatever its status."""
