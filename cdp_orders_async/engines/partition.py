"""The load of one partition of an input: the part that one process of a cluster loads. It needs no cluster."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from types import NoneType
from typing import Final, Literal, Self, TypeAlias
from uuid import UUID

import attrs
from msgspec import structs

from cdp_orders_async.arguments import called, need, need_method
from cdp_orders_async.client import CdpOrders, CdpOrdersV2
from cdp_orders_async.errors import CdpError, Invalid, JournalError, Violation
from cdp_orders_async.graph import InputLine, zone_of
from cdp_orders_async.ingest import SETTLE, Load, OnExisting, Outcome, Verdict, ingest
from cdp_orders_async.journal import Journal, PostgresAddress, PostgresJournal, SqliteJournal
from cdp_orders_async.pacing.postgres import MAX_NAME, PostgresLimiter
from cdp_orders_async.redact import Opaque, sealed
from cdp_orders_async.session import RateLimiter
from cdp_orders_async.settings import Settings
from cdp_orders_async.sources.parser import LineParser

__all__ = [
    "Condition",
    "Line",
    "PartitionLoader",
    "PartitionOptions",
    "SourceLine",
    "load_partition",
    "make_client",
    "of_all",
]

NAME: Final = "partition"
"""The file of a line that does not say its file."""
NOBODY: Final = UUID(int=0)
RATES: Final = "requests a second, a number, or a limiter with a method acquire, or None"
JOURNALS: Final = "an open Journal, or the place of one, or None"
LOOK: Final = 1.0
"""Seconds between two tries of an order that another process has claimed."""
LEASES: Final = 2.0
"""How many leases to wait for such an order by default: the claim of a process that died ends after one."""


@attrs.frozen
class SourceLine:
    """One line with its place, so that its outcome names it. Its repr has no text, which may be about a person."""

    file: str
    number: int
    text: str | bytes = attrs.field(repr=False)


Line: TypeAlias = str | bytes | SourceLine | InputLine
"""One order: its JSON text, alone or with its place; or an order that was read already."""


@attrs.frozen(kw_only=True)
class PartitionOptions:
    """How each partition of a load is loaded: the same in all processes.

    *api*, the version of the API; *settings* of the client, from the environment by default, whose rate does not count;
    *timezone* and *assign_references*, as in `GraphFile`; *look_first*, *on_existing* and *settle*, as in `ingest`;
    *patience*, the seconds for which an order is tried again that another process has claimed, by default two leases of
    the journal. Raises `Invalid` and TypeError for what cannot be.
    """

    api: Literal["v2", "v2.1"] = "v2.1"
    settings: Settings | None = None
    timezone: str | tzinfo | None = None
    assign_references: bool = False
    look_first: bool = False
    on_existing: OnExisting = "keep"
    settle: float = SETTLE
    patience: float | None = None

    def __attrs_post_init__(self) -> None:
        need(self.settings, (Settings, NoneType), "settings")
        need(self.patience, (float, NoneType), "patience", "seconds, a number, or None")
        found: list[Violation] = []
        if self.api not in {"v2", "v2.1"}:
            found.append(Violation("api", "must be v2 or v2.1"))
        if self.patience is not None and not self.patience >= 0:
            found.append(Violation("patience", "must be a number of at least 0"))
        if found:
            raise Invalid(tuple(found))


@attrs.frozen(kw_only=True)
class Condition:
    """How the loads of one process get on with the server."""

    paused: str | None = None
    """Why all of them wait for a server that is not well."""
    trouble: str | None = None
    """The last failure of a server that is not well or busy, if nothing has succeeded in any of them since."""
    succeeded: int = 0
    """The number of calls that succeeded."""


def of_all(reasons: Sequence[str | None]) -> str | None:
    """Return the first of the *reasons* if all have one."""
    return reasons[0] if reasons and all(reasons) else None


def make_client(
    url: str | None, options: PartitionOptions, limiter: RateLimiter | None = None
) -> CdpOrders | CdpOrdersV2:
    """Return a client for *url* whose credentials come from the environment, and whose rate is that of *limiter*."""
    settings = attrs.evolve(options.settings or Settings.from_env(), rate=None)
    if options.api == "v2":
        return CdpOrdersV2(base_url=url, settings=settings, shared_limiter=limiter)
    return CdpOrders(base_url=url, settings=settings, shared_limiter=limiter)


@sealed
async def load_partition(
    lines: Iterable[Line],
    url: str | None,
    rate: float | RateLimiter | None,
    journal: Journal | str | os.PathLike[str] | None,
    *,
    options: PartitionOptions | None = None,
) -> list[Outcome]:
    """Load one partition of an input in this process, and return the outcome of each of its orders.

    Parameters: *lines*, the orders, as JSON texts or as `SourceLine`. *url*, the base URL; None is that of the
    environment, from which the credentials come too. *rate*, requests a second, or a limiter. *journal*, an open
    journal; or the place of one: ``postgresql://…``, where *rate* is then the rate of all processes with this database,
    or a file, which only one process can use at a time. *options*, the rest.

    Orders that another process has claimed are tried again until the claim of a process that died has ended. The same
    call again resumes.

    Raises what ends a load, as `ingest` says; the journal has what was done by then. Raises TypeError for an argument
    of another type.

        outcomes = asyncio.run(load_partition(lines, url, 20, "postgresql://app@db/app"))
    """
    given = PartitionOptions() if options is None else options
    async with PartitionLoader(url, rate, journal, given) as loader:
        outcomes, error = await loader.load(lines)
    if error is not None:
        raise error
    return outcomes


class PartitionLoader:
    """Loads partitions one after the other, or at the same time, with one client; the parameters of `load_partition`.

    *clock* gives the time in seconds. Use it as ``async with``.
    """

    def __init__(
        self,
        url: str | None,
        rate: float | RateLimiter | None,
        journal: Journal | str | os.PathLike[str] | None,
        options: PartitionOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        need(options, PartitionOptions, "options")
        if isinstance(rate, (int, float)):
            need(rate, float, "rate", RATES)
        elif rate is not None:
            need_method(rate, "acquire", "rate", RATES)
        if not isinstance(journal, (str, os.PathLike, NoneType)):
            need_method(journal, "claim", "journal", JOURNALS)
        self._url = url
        self._rate = rate
        # An address may hold a password.
        self._place = Opaque(os.fspath(journal)) if isinstance(journal, (str, os.PathLike)) else journal
        self._options = options
        self._clock = clock
        self._zone = zone_of(options.timezone)
        self.client: CdpOrders | CdpOrdersV2
        """The client with which it loads, once it is open."""
        self._journal: Journal | None = None
        self._resources = contextlib.AsyncExitStack()
        self._loads: set[Load] = set()
        self._succeeded = 0  # calls of the loads that have ended
        self._stopped = False

    @property
    def condition(self) -> Condition:
        """How its loads get on with the server now."""
        return Condition(
            paused=of_all([load.paused for load in self._loads]),
            trouble=of_all([load.trouble for load in self._loads]),
            succeeded=self._succeeded + sum(load.succeeded for load in self._loads),
        )

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._resources.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    async def _open(self) -> None:
        enter = self._resources.enter_async_context
        identity = make_client(self._url, self._options).identity
        place, limiter = self._place, self._rate
        self._journal = None if isinstance(place, Opaque) else place
        if isinstance(place, Opaque):
            text = place.open()
            if PostgresAddress.matches(text):
                if isinstance(limiter, (int, float)):
                    # All processes of a tenant have this name, whoever starts them.
                    name = " ".join(identity.values())[-MAX_NAME:]
                    limiter = await enter(await PostgresLimiter.open(text, name=name, rate=float(limiter)))
                self._journal = await enter(await PostgresJournal.open(text, identity=identity))
            else:
                self._journal = await enter(await SqliteJournal.open(text, identity=identity))
        own = float(limiter) if isinstance(limiter, (int, float)) else None
        client = make_client(self._url, self._options, None if isinstance(limiter, (int, float)) else limiter)
        self._resources.push_async_callback(client.aclose)
        self.client = client
        if own is not None:
            client.session.set_rate(own)

    def stop(self, drain: float = 0.0) -> None:
        """Take no new order; after *drain* seconds give up the calls in flight."""
        self._stopped = True
        for load in self._loads:
            load.stop(drain)

    async def load(self, lines: Iterable[Line]) -> tuple[list[Outcome], CdpError | None]:
        """Load *lines*; return the outcome of each order, and the error that ended the load, if one did.

        Orders that were not begun by then have the outcome ``not_tried``. The journal has written that their claims
        have ended, so a process that is killed after this holds up nobody.
        """
        outcomes, error = await self._load_all(lines)
        if self._journal is not None:
            try:
                await self._journal.owner(NOBODY)  # returns after all that was noted before
            except JournalError as failure:
                error = error or failure
        return outcomes, error

    async def _load_all(self, lines: Iterable[Line]) -> tuple[list[Outcome], CdpError | None]:
        left = self.parsed(lines)
        journal_lease = None if self._journal is None else self._journal.lease
        patience = self._options.patience
        if patience is None:
            patience = LEASES * (journal_lease or 0.0)
        end = self._clock() + patience
        outcomes: list[Outcome] = []
        while left:
            found, error = await self._load(left)
            waits = {
                (outcome.file, outcome.number): min(outcome.retry_after or LOOK, LOOK)
                for outcome in found
                if outcome.verdict is Verdict.BUSY
            }
            wait = min(waits.values(), default=0.0)
            if error is not None or self._stopped or not waits or self._clock() + wait > end:
                ended = {(outcome.file, outcome.number) for outcome in found}
                outcomes += found
                outcomes += [not_tried(line) for line in left if (line.file, line.number) not in ended]
                return outcomes, error
            outcomes += [outcome for outcome in found if outcome.verdict is not Verdict.BUSY]
            left = [line for line in left if (line.file, line.number) in waits]
            await asyncio.sleep(wait)
        return outcomes, None

    async def _load(self, lines: Sequence[InputLine]) -> tuple[list[Outcome], CdpError | None]:
        outcomes: list[Outcome] = []
        if self._stopped:
            return outcomes, None
        options = self._options
        async with ingest(
            self.client,
            lines,
            journal=self._journal,
            look_first=options.look_first,
            on_existing=options.on_existing,
            settle=options.settle,
        ) as load:
            self._loads.add(load)
            try:
                async for outcome in load:
                    outcomes.append(outcome)  # noqa: PERF401 those before an error count too
            except CdpError as error:
                return outcomes, error
            finally:
                self._loads.discard(load)
                self._succeeded += load.succeeded
        return outcomes, None

    def parsed(self, lines: Iterable[Line]) -> list[InputLine]:
        """Read the orders of *lines*; each has a place of its own."""
        need(lines, Iterable, "lines", "several lines")
        if isinstance(lines, (str, bytes)):
            raise TypeError("lines must be several lines: put the one into a list")
        found: dict[tuple[str, int], InputLine] = {}
        for position, line in enumerate(lines, 1):
            match line:
                case InputLine():
                    read: InputLine | None = structs.replace(line, raw=None)
                case SourceLine(file, number, text):
                    read = self._line(file, number, text)
                case str() | bytes():
                    read = self._line(NAME, position, line)
                case _:
                    raise TypeError(f"a line must be a text or a SourceLine, not {called(line)}")
            if read is not None:
                if (read.file, read.number) in found:
                    raise ValueError(f"two lines have one place: {read.file}, line {read.number}")
                found[read.file, read.number] = read
        return list(found.values())

    def _line(self, file: str, number: int, text: str | bytes) -> InputLine | None:
        need(text, (str, bytes), "the text of a line")
        raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
        parser = LineParser(file, self.client.api, self._zone, self._options.assign_references, None)
        return parser.line(number, raw)


def not_tried(line: InputLine) -> Outcome:
    """Return the outcome of a *line* that was not begun."""
    verdict = Verdict.INVALID if line.violations else Verdict.NOT_TRIED
    key = line.key if line.graph is None else line.graph.key
    return Outcome(file=line.file, number=line.number, key=key, verdict=verdict, violations=line.violations)
