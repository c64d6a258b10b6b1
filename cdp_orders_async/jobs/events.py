"""What a job tells its observer while it runs, as values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import attrs

from cdp_orders_async.ingest import Outcome

__all__ = ["Event", "Message", "OnEvent", "Problem", "Progress", "Reading", "Teller", "ignore"]


@attrs.frozen
class Message:
    """A sentence that a person should read."""

    text: str


@attrs.frozen
class Problem:
    """An order that is not on the server as the input says, or of which the server has more parts."""

    outcome: Outcome


@attrs.frozen(kw_only=True)
class Progress:
    """How far a load is."""

    seconds: float
    """Since the load began."""
    done: int
    """Orders that came to their end."""
    not_loaded: int
    """Those of them that are not on the server as the input says."""
    retries: int
    """Requests that were sent again."""
    speed: float
    """Requests a second, over the last seconds."""
    rate: float | None
    """Requests a second that are allowed; None: without a limit."""
    limits: tuple[str, ...] = ()
    """What is known of the limits of the server, in words."""
    interactive: int = 0
    """Interactive calls of the same client that wait; they go before the load."""
    fraction: float | None = None
    """The share of the input that is done, from 0 to 1; None while it is not known."""
    seconds_left: float | None = None
    """The estimate of the work that is left, without pauses; None while there is none."""
    breaker: Literal["closed", "open", "half-open"] = "closed"
    """Whether requests pass, wait for a server that is not well, or are tried one at a time."""
    paused: str | None = None
    """Why the load waits for a server that is not well, in a sentence."""
    wait: float = 0.0
    """Seconds until a request may be sent again, because the load is *paused* or the server asked to wait."""
    held: bool = False
    """Whether the load waits because the control file says so."""
    finishing: bool = False
    """Whether the load was stopped: it takes no further order, and ends those that have begun."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON data, in the order of the fields; seconds and rates are rounded."""
        return {name: _rounded(value) for name, value in attrs.asdict(self, recurse=False).items()}


def _rounded(value: object) -> object:
    return round(value, 3) if isinstance(value, float) else value


@attrs.frozen(kw_only=True)
class Reading:
    """How far a job is that reads an input and sends nothing."""

    seconds: float
    """Since it began."""
    orders: int
    """Orders that were read."""
    invalid: int
    """Those of them that break rules."""
    fraction: float | None = None
    """The share of the input that was read, from 0 to 1; None where its size is not known."""


Event: TypeAlias = Message | Problem | Progress | Reading
OnEvent: TypeAlias = Callable[[Event], None]
"""The observer of a job. It is called in the event loop of the job and must not block."""


def ignore(_: Event) -> None:
    """Hear what happens, and do nothing."""


class Ends(Protocol):
    """A job that an error can end."""

    def fail(self, error: Exception) -> None:
        """End because of *error*."""
        ...


class Teller:
    """Tells an observer what happens. If it raises, that ends the job, which then tells it nothing more.

    Nothing is raised where it is told: there, what was done may not be written yet.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self.error: Exception | None = None
        """What the observer raised."""
        self._on_event = on_event
        self._job: Ends | None = None

    def watch(self, job: Ends) -> None:
        """End this *job* when the observer raises, or now if it did."""
        self._job = job
        if self.error is not None:
            job.fail(self.error)

    def check(self, told: Exception | None) -> None:
        """Raise what the observer raised, unless that is the error that was *told*."""
        if self.error is not None and self.error is not told:
            raise self.error

    def __call__(self, event: Event) -> None:
        """Tell of an *event*."""
        if self.error is not None:
            return
        try:
            self._on_event(event)
        except Exception as error:  # noqa: BLE001 the job raises it
            self.error = error
            if self._job is not None:
                self._job.fail(error)
