"""Servers with limits, and a client that calls them as fast as it may, in virtual time and with no event loop."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Sequence

import attrs

from cdp_orders_async.emulator.limits import Gate, Limit
from cdp_orders_async.pacing.limiter import ConnectionSlots, Limiter
from cdp_orders_async.session.autorate import Autorate

LONGEST_PAUSE = 300.0


@attrs.define
class World:
    """A server behind *limits*, and a client with *connections* that always has more to send."""

    limits: Sequence[Limit] = ()
    latency: float = 0.05
    """Seconds of the way there and back; each differs by a fifth."""
    refusing: float = 0.0
    """The chance that a call is refused with 503 at any rate."""
    losing: float = 0.0
    """The chance that a call gets no answer at any rate."""
    reads: int = 0
    """How many of the slots are for reads."""
    most: float | None = None
    """The rate that is given by hand."""
    governed: bool = True
    connections: int = 64
    timeout: float = 30.0
    seed: int = 0

    now: float = 0.0
    good: list[tuple[float, bool]] = attrs.field(factory=list[tuple[float, bool]])
    """When each call that was done came to the server, and whether it read."""
    bad: list[tuple[float, bool]] = attrs.field(factory=list[tuple[float, bool]])
    """The same of calls that were refused."""
    limiter: Limiter = attrs.field(init=False)
    slots: ConnectionSlots = attrs.field(init=False)
    autorate: Autorate = attrs.field(init=False)
    _random: random.Random = attrs.field(init=False)
    _gate: Gate = attrs.field(init=False)
    _events: list[tuple[float, int, Callable[[], None]]] = attrs.field(
        factory=list[tuple[float, int, Callable[[], None]]]
    )
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)
    _held: list[int] = attrs.field(factory=lambda: [0, 0])
    _asking: list[bool] = attrs.field(factory=list[bool])
    _due: list[float] = attrs.field(factory=lambda: [-1.0, -1.0])

    def __attrs_post_init__(self) -> None:
        clock = lambda: self.now  # noqa: E731
        self.limiter = Limiter(self.most, clock=clock)
        self.slots = ConnectionSlots(self.connections)
        self.autorate = Autorate(self.limiter, self.slots, self.most, clock)
        if not self.governed:
            self.limiter.set_rate(self.most)
        self._random = random.Random(self.seed)  # noqa: S311 not for secrets
        self._gate = Gate(self.limits, 0.0)

    def run(self, until: float) -> World:
        """Call until then."""
        self._go()
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = until
        return self

    def limit(self, *limits: Limit, refusing: float) -> None:
        """Change the server: from now on it has these limits, and another chance to refuse at any rate."""
        self._gate = Gate(limits, self.now)
        self.refusing = refusing

    def seen(self, since: float, until: float, *, reads: bool = False) -> tuple[float, float]:
        """Return how many calls a second were done in that time, and the share of the calls that were refused."""
        good, bad = (
            sum(which == reads and since <= when < until for when, which in some) for some in (self.good, self.bad)
        )
        return good / (until - since), bad / max(1, good + bad)

    def _at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), do))

    def _go(self) -> None:
        """Take free slots for calls, which then wait for their turn."""
        while self.slots.acquire_nowait():
            reads = self._held[True] < self.reads
            self._held[reads] += 1
            self._asking.append(reads)
        for reads in self._asking[:]:
            if self._limiter(reads=reads).acquire_nowait():
                self._asking.remove(reads)
                self._send(reads=reads)
            elif not self.autorate.apart:
                break
        for reads in set(self._asking):
            due = self.now + max(self._limiter(reads=reads).delay(), 1e-6)
            if due != self._due[reads]:
                self._due[reads] = due
                self._at(due, self._go)

    def _limiter(self, *, reads: bool) -> Limiter:
        return self.autorate.limiter(reads=reads) if self.governed else self.limiter

    def _send(self, *, reads: bool) -> None:
        if self.governed:
            self.autorate.sent(reads=reads)
        sent = self.now
        self._at(sent + self._way(), lambda: self._arrive(sent, reads=reads))

    def _way(self) -> float:
        return self.latency / 2 * self._random.uniform(0.8, 1.2)

    def _arrive(self, sent: float, *, reads: bool) -> None:
        fate, leave = self._gate.enter("GET" if reads else "POST", self.now)
        refusal, wait = fate.refusal, fate.wait
        if refusal is None and self._random.random() < self.refusing:
            refusal = 503
        if refusal is None and self._random.random() < self.losing:
            refusal = "lost"
        came = self.now + wait + self._way()
        if refusal == "lost" or came > sent + self.timeout:
            refusal, came = "lost", sent + self.timeout
        (self.good if refusal is None else self.bad).append((self.now, reads))

        def come() -> None:
            leave()
            self.slots.release()
            self._held[reads] -= 1
            if fate.retry_after is not None:
                self._limiter(reads=reads).pause_until(self.now + min(fate.retry_after, LONGEST_PAUSE))
            if self.governed:
                if refusal is None:
                    self.autorate.answered(self.now - sent, reads=reads)
                else:
                    self.autorate.refused(self.now - sent, str(refusal), fate.retry_after or 0.0, reads=reads)
            self._go()

        self._at(came, come)
