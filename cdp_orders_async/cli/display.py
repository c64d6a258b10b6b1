"""What a person sees of a load: progress while it runs, a table at its end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import os
import sys
from collections.abc import AsyncGenerator
from typing import IO, Any, Self, cast

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cdp_orders_async.graph import Line
from cdp_orders_async.ingest import Load, Outcome, PartVerdict, Verdict
from cdp_orders_async.redact import printable
from cdp_orders_async.session import Session, Times
from cdp_orders_async.sources import GraphFile

__all__ = ["FAILURES", "Progress", "Screen", "hush", "place", "problem", "show_summary"]

ON_TERMINAL = 0.25  # seconds between two pictures
AS_LINES = 5.0
WINDOW = 5.0  # seconds over which the speed is measured
PACE = 15.0  # seconds over which is measured how fast orders end, pauses left out: what a journal skips ends at once
FAILURES = tuple(one for one in Verdict if one not in {Verdict.LOADED, Verdict.ALREADY, Verdict.UPDATED})
"""What an order comes to that is not on the server as the input says."""
SOME = 4  # of many things of the same kind, told by name
BUSY = 0.8
"""The share of one core from which a process is as fast as it gets: its threads take turns at Python's one lock."""
UNEXPLAINED = {
    PartVerdict.CONFLICT: "could be any of several things that are there",
    PartVerdict.UNKNOWN: "may be there or not, which the next run looks up",
    PartVerdict.BLOCKED: "not tried",
}
"""What to say of parts whose verdict comes with no reason."""
LEFTOVERS = {
    "items": ("item", "items"),
    "contacts": ("contact", "contacts"),
    "consumers": ("consumer", "consumers"),
    "order_extensions": ("extension of the order", "extensions of the order"),
    "item_extensions": ("extension of an item", "extensions of items"),
}
"""What to call one part, and several, that the input no longer has."""


class Unfailing:
    """A stream of text that takes everything: what nobody can hear is no reason to stop."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 whatever the stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write *text*, if it can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what was written, if it can be."""
        with contextlib.suppress(OSError):
            self._stream.flush()


class Screen(Console):
    """A console for sentences. Nobody reads it any more, as under ``| head``: then it goes on in silence."""

    @classmethod
    def of_messages(cls, *, plain: bool = False) -> Self:
        """Return the one on standard error, on which writing never fails; *plain* even on a terminal."""
        stream = None if sys.stderr is None else cast("IO[str]", Unfailing(sys.stderr))
        return cls(stderr=True, file=stream, force_terminal=False if plain else None)

    def say(self, text: str) -> None:
        """Print *text* on a line of its own as it stands, but for what a terminal would obey."""
        self.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Let the load that is told of go on, and its exit status be the last word."""
        self.quiet = True
        hush(self.file)


def hush(stream: IO[str] | None) -> None:
    """Send what *stream* still holds nowhere, since writing it at the exit would fail again."""
    if stream is None:  # it was closed from the start
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Progress:
    """The progress of a load: orders done, speed, rate allowed, retries, time left."""

    def __init__(self, graphs: GraphFile, session: Session, console: Screen) -> None:
        self._graphs = graphs
        self._session = session
        self._console = console
        self._taken = 0
        self._sends: collections.deque[tuple[float, int]] = collections.deque()
        self._pace: collections.deque[tuple[float, int]] = collections.deque()
        self._paused = 0.0  # seconds in which the server was waited for

    async def counted(self, lines: AsyncGenerator[Line, None]) -> AsyncGenerator[Line, None]:
        """Yield the *lines* that the load takes, and count them: more is read than is taken, and taken than done."""
        async with contextlib.aclosing(lines):
            async for line in lines:
                self._taken += 1
                yield line

    @contextlib.asynccontextmanager
    async def shown(self, load: Load) -> AsyncGenerator[None, None]:
        """Show *load* on standard error while the block runs: redrawn on a terminal, else a line now and then."""
        began = load.clock()
        self._sends.append((began, self._session.stats.requests))
        self._pace.append((began, load.done))
        live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        with live or contextlib.nullcontext():
            task = asyncio.get_running_loop().create_task(self._show(load, live))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait({task})  # which raises nothing but a cancellation of this task
            if not task.cancelled():
                task.result()

    async def _show(self, load: Load, live: Live | None) -> None:
        seconds = AS_LINES if live is None else ON_TERMINAL
        while True:
            await asyncio.sleep(seconds)
            fraction = self._fraction(load)
            line = self._line(load, fraction)
            if live is None:
                self._console.say(line)
            else:
                picture = Table.grid(padding=(0, 1))
                bar = ProgressBar(total=1.0, completed=fraction or 0.0, pulse=fraction is None, width=12)
                picture.add_row(bar, Text(line))
                live.update(picture, refresh=True)

    def _fraction(self, load: Load) -> float | None:
        read = self._graphs.fraction
        return None if read is None or not self._taken else read * load.done / self._taken

    def _line(self, load: Load, fraction: float | None) -> str:
        """Return the state of the load in one line."""
        stats, rate = self._session.stats, self._session.limiter.rate
        now = load.clock()
        if load.paused is not None:
            self._paused += now - self._sends[-1][0]
        sent = f"{speed(self._sends, now, stats.requests, WINDOW):,.0f}"
        pace = speed(self._pace, now - self._paused, load.done, PACE)
        words = [
            f"{load.done:,} done",
            f"{sum(load.counts[verdict] for verdict in FAILURES):,} not loaded",
            f"{stats.retries:,} retries",
            f"{sent} requests/s" if rate is None else f"{sent} of {rate:.4g} requests/s",
        ]
        autorate = self._session.autorate
        if autorate is not None:
            words += [str(state) for state in autorate.states()]
        if fraction and pace:
            words.append(f"{_hours(load.done * (1 - fraction) / fraction / pace)} left")
        if load.paused is not None:
            words.append(f"PAUSED, trying again in {math.ceil(load.paused_for)} s: {load.paused}")
        elif (paused := self._session.limiter.paused_for) > 0:
            words.append(f"the server asked to wait {math.ceil(paused)} s")
        if load.stopping and load.under_way:
            words.append("finishing the orders that have begun")
        return " · ".join(words)


def speed(counts: collections.deque[tuple[float, int]], now: float, count: int, window: float) -> float:
    """Return how fast a *count* grows a second, over the last seconds of the *window*; it is noted in *counts*."""
    counts.append((now, count))
    while len(counts) > 2 and now - counts[0][0] > window:  # noqa: PLR2004 two make a difference
        counts.popleft()
    since, before = counts[0]
    return (count - before) / max(now - since, 0.001)


def _hours(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def place(outcome: Outcome) -> str:
    """Say from where an order came."""
    return outcome.key or "an order" if outcome.file is None else f"{outcome.file}:{outcome.number}"


def problem(outcome: Outcome) -> str:
    """Say in one line why an order is not loaded, or in what it differs."""
    where = place(outcome)
    if outcome.violations:
        return f"{where}: {outcome.verdict}: {'; '.join(map(str, outcome.violations))}"
    whys = {part.name: part.reason or (part.failure and part.failure.message) for part in outcome.parts}
    reasons = [f"{name}: {why}" for name, why in whys.items() if why]
    reasons += [f"{part.name} differs in {', '.join(part.differs)}" for part in outcome.parts if part.differs]
    for verdict, words in UNEXPLAINED.items():
        alike = [
            part.name for part in outcome.parts if part.verdict is verdict and not whys[part.name] and not part.differs
        ]
        if alike:
            which = ", ".join(alike) if len(alike) <= SOME else f"{len(alike)} of {len(outcome.parts)} parts"
            reasons.append(f"{which} {words}")
    if len(reasons) > SOME:
        reasons[SOME:] = [f"and {len(reasons) - SOME} more"]
    reasons += [
        f"{count} {LEFTOVERS[kind][count > 1]} on the server that the input no longer has"
        for kind, count in collections.Counter(leftover.kind for leftover in outcome.leftovers).items()
    ]
    if outcome.verdict is Verdict.BUSY:
        reasons = ["another process is loading it"]
    return f"{where}: {outcome.verdict}: {'; '.join(reasons)}"


def show_summary(
    console: Screen, counts: collections.Counter[Verdict], requests: int, seconds: float, times: Times, *, cpu: float
) -> None:
    """Print the table at the end of a load, and where its time went; *cpu* are the seconds that it computed."""
    table = Table(show_footer=True)
    table.add_column("orders", footer="all")
    table.add_column("", justify="right", footer=f"{counts.total():,}")
    for verdict in Verdict:
        if counts[verdict] or verdict is Verdict.LOADED:
            style = "red" if verdict in FAILURES else "green"
            table.add_row(Text(verdict, style=style), f"{counts[verdict]:,}")
    console.print(table)
    console.say(f"{requests:,} requests in {seconds:,.1f} s, {requests / max(seconds, 0.001):,.0f} a second")
    if times.total:
        console.say(split(times))
        console.say(conclusion(times, seconds, cpu))


ADVICE = {
    "connection": "waiting for a free connection: fewer are used while the server is slow",
    "rate": "waiting for the rate: more connections will not help",
    "lane": "waiting for interactive calls of the same client, which go first",
    "backoff": "waiting to send again: the network or the server fails often",
    "connect": "making connections",
    "server": "the server's own: more --connections may help, if server and machine bear them",
    "body": "reading answers",
    "decode": "this machine's, decoding answers",
    "journal": "waiting for the journal's disk",
}


def split(times: Times) -> str:
    """Say in one line where the time went, the most first."""
    shares = {name: f"{seconds / times.total:.0%}" for name, seconds in msgspec.structs.asdict(times).items()}
    order = sorted(shares, key=lambda name: -getattr(times, name))
    return f"Where the time went: {', '.join(f'{shares[name]} {name}' for name in order if shares[name] != '0%')}"


def conclusion(times: Times, seconds: float, cpu: float) -> str:
    """Say what most of the time was spent on, and what follows, where the process computed *cpu* of *seconds*."""
    spent = msgspec.structs.asdict(times)
    if times.rate + times.lane > times.connect + times.server + times.body:
        # A call that waits for its turn holds its connection: then that is why others wait for one.
        spent[max("rate", "lane", key=lambda name: spent[name])] += spent.pop("connection")
    name, most = max(spent.items(), key=lambda one: one[1])
    # A process that computes all the time comes late to what has arrived, and that looks like waiting for it. But
    # where calls wait for a rate most of all, it could send more than that allows.
    if name not in {"rate", "lane"} and cpu >= BUSY * seconds:
        return (
            f"This process's CPU was busy {min(cpu / seconds, 1):.0%} of the time, which is the limit: "
            "more connections will not help; --http httptools may, where it is not used yet, "
            "and several processes, each with its part of the input and of the rate"
        )
    return f"{most / times.total:.0%} of the time was {ADVICE[name]}"
