"""The options and the state that the orders of a load share."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeAlias

from cdp_orders_async.client import Resources, ResourcesV2
from cdp_orders_async.errors import CdpError, OutcomeUnknown
from cdp_orders_async.ingest.ages import Dated, by_server_clock, is_older
from cdp_orders_async.ingest.before import Before, KeepBefore
from cdp_orders_async.ingest.claims import Claims
from cdp_orders_async.ingest.requests import Requests
from cdp_orders_async.ingest.scheduler import Scheduler
from cdp_orders_async.journal import Journal
from cdp_orders_async.journal.load_ids import id_with_file, load_id, without_first_start
from cdp_orders_async.pacing.health import Health, Sign
from cdp_orders_async.session import BulkTransport, Session, TimeoutPool, Timings
from cdp_orders_async.telemetry import Event, PauseBegan, PauseEnded
from cdp_orders_async.wire import Transport

__all__ = ["RENEWALS", "LoadContext", "OnExisting", "as_failure", "longest_call"]

P = ParamSpec("P")

OnExisting: TypeAlias = Literal["keep", "update", "fail"]
"""What to do with an object on the server that differs from the input."""

RENEWALS = 3
"""The number of renewals of a claim within its lease."""
LONG = 1.0
"""Seconds without success, or that the server asks to wait, after which a load that is stopped waits no longer."""
MOST_FILES = 1_000
"""The most files whose names are remembered for messages."""


class LoadContext:
    """The options of a load, and the state that its orders share.

    *fail* ends the load because of an error. *bulk* says whether interactive calls of the client go first. A *patient*
    load waits for a server that is down; any other load gives up an order after some attempts.
    """

    def __init__(
        self,
        client: Resources | ResourcesV2,
        scheduler: Scheduler[Any, Any, Any],
        fail: Callable[[Exception], None],
        *,
        journal: Journal | None,
        look_first: bool,
        on_existing: OnExisting,
        settle: float,
        bulk: bool,
        patient: bool,
        keep_before: KeepBefore | None,
        clock: Callable[[], float],
    ) -> None:
        self.cdp = client
        self._fail = fail
        self._keep_before = keep_before
        self._session = client.transport if isinstance(client.transport, Session) else None
        self.scheduler = scheduler
        self.journal = journal
        self.lease = None if journal is None else journal.lease
        """Seconds that a claim lasts unless it is renewed; None: as long as the journal is open."""
        self.longest_call = 0.0
        """Seconds for which a claim must still hold when a request leaves."""
        if self.lease is not None:
            self.longest_call = longest_call(client, self.lease)
        self.claims = Claims.of(client)
        self.look_first = look_first
        self.on_existing: OnExisting = on_existing
        self.settle = settle
        """Seconds that a list may lag behind a write."""
        self.bulk = bulk
        self.patient = patient
        self.clock = clock
        self.began = clock()
        """The start of the load: it sent nothing before."""
        self.settled_at = self.began
        """The time until which some part is looked for before it counts as absent."""
        now = time.time()
        self._run = load_id(now, os.urandom)
        self._start = datetime.fromtimestamp(int(now), UTC)  # cut off after the seconds, as servers do with times
        self._files: dict[bytes, str] = {}
        self._last: tuple[str | None, bytes] = None, self._run  # for the last file: its orders come together
        self.health = Health(fail, patient=patient, clock=clock)
        self.halted = False
        """Whether nothing may be created from now on."""
        self.is_at_end = False
        """Whether all orders of the input were taken."""
        self.aborting = False
        """Whether calls in flight are being given up."""
        self._halted = asyncio.Event()
        self._waits = TimeoutPool(math.inf, asyncio.get_running_loop())  # of calls, before they are sent
        self._released = asyncio.Event()
        self._released.set()
        self.pausing: float | None = None
        """The start of the pause of the load; None while it does not pause."""
        self.requests = Requests(client)

    @property
    def id(self) -> str:
        """The id of this load."""
        return self._run.hex()

    def run_of(self, file: str | None) -> bytes:
        """Return the id of this load and *file*, because lines are numbered within one file."""
        last, run = self._last
        if file == last:
            return run
        run = self._run
        if file is not None:
            run = id_with_file(run, file)
            if len(self._files) < MOST_FILES:
                self._files[run] = file
        self._last = file, run
        return run

    def was_there(self, resource: Dated, since: datetime | None) -> bool:
        """Tell from its times whether the server had a *resource* before *since*, by default the start of this load."""
        return is_older(resource, self.by_server_clock(since or self._start))

    def by_server_clock(self, moment: datetime) -> datetime:
        """Return a *moment* of this machine by the clock of the server."""
        return moment if self._session is None else by_server_clock(moment, self._session.clock_skew)

    def is_own(self, run: bytes) -> bool:
        """Tell whether *run* belongs to this load, for any file."""
        return run.startswith(self._run)

    def file_of(self, run: bytes) -> str | None:
        """Return the name of the file of a *run* of this load; None for orders without a file."""
        run = without_first_start(run)
        return None if run == self._run else self._files.get(run, "another file")

    def halt(self) -> None:
        """Create nothing from now on, and end all pauses and all waits: for the server, a connection or the rate."""
        self.halted = True
        self._halted.set()
        self._released.set()
        self._waits.close()
        self.health.breaker.retire()
        self._follow_pause()

    def hold(self) -> None:
        """Let no request begin until `release`."""
        if not self.halted:
            self._released.clear()

    def release(self) -> None:
        """Let requests begin again after `hold`."""
        self._released.set()

    @property
    def held(self) -> bool:
        """Whether no request begins, because somebody wants it so."""
        return not self._released.is_set()

    @property
    def waits_in_vain(self) -> bool:
        """Whether a load that is stopped should not wait: it is held, or the server is not well or asks to wait."""
        health, session = self.health, self._session
        asked = 0.0 if session is None else session.paused_for
        return self.held or health.breaker.until is not None or max(health.troubled_for, asked) >= LONG

    @property
    def is_given_up(self) -> bool:
        """Whether not even a read is sent from now on: the load was halted, and the server is not well."""
        return self.halted and self.health.troubled_for >= LONG

    @property
    def must_wait(self) -> bool:
        """Whether a request has to wait in `server_is_up` before it begins."""
        return self.health.breaker.until is not None or not self._released.is_set()

    @property
    def is_watched(self) -> bool:
        """Whether an observer or the log gets the events."""
        return self._session is not None and self._session.is_watched

    def kept(self, make: Callable[P, Before], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Keep the values that *make* returns, if anybody wants them; tell whether the change may be sent."""
        if self._keep_before is not None:
            try:
                self._keep_before(make(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 the load raises it
                self._fail(error)
                return False
        return True

    def tell(self, event: Event) -> None:
        """Pass *event* to the observers of the client."""
        if self._session is not None:
            self._session.tell(event)

    def transport(
        self, times: Timings, key: str, file: str | None, number: int, given_up: Callable[[], bool]
    ) -> Transport:
        """Return the transport of one order, which adds the times of its calls to *times*.

        *key* is the key of the order; *file* and *number* are its place in the input. *given_up* tells, when a
        request that writes has its permit, whether it must not be sent any longer.
        """
        if self._session is None:
            return self.cdp.transport
        return BulkTransport(
            self._session,
            times,
            given_up,
            self.bulk,
            order=key,
            file=file,
            line=number,
            load=self.id,
            waits=self._waits,
        )

    def over(self, transport: Transport) -> Resources | ResourcesV2:
        """Return the resources of the client's version over *transport*."""
        of_version = ResourcesV2 if isinstance(self.cdp, ResourcesV2) else Resources
        return of_version(transport, self.cdp.base_url)

    def waiting(self, times: Timings, name: str) -> Waiting:
        """Return a context in which another worker may work; its seconds are added to *times* as *name*."""
        return Waiting(self, times, name)

    async def pause(self, seconds: float) -> None:
        """Sleep, but wake up when the load is halted."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._halted.wait()

    async def server_is_up(self, times: Timings) -> None:
        """Wait while the load is held or the server is not well, or until this call may try it; *times* counts it."""
        if not self.halted:
            if not self._released.is_set():
                with self.waiting(times, "held"):
                    await self._released.wait()
            with self.waiting(times, "backoff"):
                await self.health.breaker.wait()

    def record_success(self, *, creates: bool) -> None:
        """Note that a call succeeded, a create or another one."""
        self.health.succeeded(creates=creates)
        if self.pausing is not None:
            self._follow_pause()

    def record_result(self, error: CdpError, operation: str) -> Sign:
        """Note that a call of *operation* failed, and return what its *error* says."""
        sign = self.health.failed(error, operation)
        self._follow_pause()
        return sign

    def _follow_pause(self) -> None:
        """Tell the observers if a pause of the load began or ended just now."""
        health, now = self.health, self.clock()
        until, began = health.breaker.until, self.pausing
        if until is not None and began is None:
            self.pausing = now
            if self.is_watched:
                self.tell(PauseBegan(health.why, until - now))
        elif until is None and began is not None:
            self.pausing = None
            if self.is_watched:
                self.tell(PauseEnded(health.why, now - began))


class Waiting:
    """A wait of a worker for something other than an answer."""

    __slots__ = ("_began", "_context", "_name", "_times")

    def __init__(self, context: LoadContext, times: Timings, name: str) -> None:
        self._context = context
        self._times = times
        self._name = name

    def __enter__(self) -> None:
        self._began = self._context.clock()
        self._context.scheduler.block()

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._context.scheduler.resume()
        spent = self._context.clock() - self._began
        setattr(self._times, self._name, getattr(self._times, self._name) + spent)


def as_failure(error: BaseException) -> Exception:
    """Return the error that ends a load, for *error*, which comes from the user's own limiter or journal.

    An error that ends the process is raised again, after the load has noted it.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        asyncio.get_running_loop().call_soon(_raise, error)
    failure = OutcomeUnknown(f"a call ended in {type(error).__name__}")
    failure.__cause__ = error
    return failure


def _raise(error: BaseException) -> None:
    raise error


def longest_call(client: Resources | ResourcesV2, lease: float) -> float:
    """Return the seconds for which a claim of *lease* seconds must still hold when a request leaves.

    A short lease allows only half of itself, because it is renewed when a third of it has passed.
    """
    return min(client.transport.settings.timeout, lease / 2) if isinstance(client.transport, Session) else 0.0
