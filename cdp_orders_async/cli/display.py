"""What a person sees of a load: progress while it runs, a table at its end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import os
from collections.abc import AsyncGenerator
from typing import IO

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cdp_orders_async.errors import printable
from cdp_orders_async.graph import Line
from cdp_orders_async.ingest import Load, Outcome, PartVerdict, Verdict
from cdp_orders_async.session import Session, Times
from cdp_orders_async.sources import GraphFile

__all__ = ["FAILURES", "Progress", "Screen", "hush", "problem", "show_summary"]

ON_TERMINAL = 0.25  # seconds between two pictures
AS_LINES = 5.0
WINDOW = 5.0  # seconds over which the speed is measured
FAILURES = (Verdict.PARTIAL, Verdict.FAILED, Verdict.UNKNOWN, Verdict.CONFLICT, Verdict.INVALID)
SOME = 4  # of many things of the same kind, told by name
BUSY = 0.8
"""The share of one core from which a process is as fast as it gets: its threads take turns at Python's one lock."""
UNEXPLAINED = {
    PartVerdict.CONFLICT: "could be any of several things that are there",
    PartVerdict.UNKNOWN: "may be there or not, which the next run looks up",
    PartVerdict.BLOCKED: "not tried",
}
"""What to say of parts whose verdict comes with no error."""


class Screen(Console):
    """A console for sentences. Nobody reads it any more, as under ``| head``: then it goes on in silence."""

    def say(self, text: str) -> None:
        """Print *text* on a line of its own as it stands, but for what a terminal would obey."""
        self.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Let the load that is told of go on, and its exit status be the last word."""
        self.quiet = True
        hush(self.file)


def hush(stream: IO[str]) -> None:
    """Send what *stream* still holds nowhere, since writing it at the exit would fail again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Progress:
    """The progress of a load: orders done, speed, rate allowed, retries, time left."""

    def __init__(self, graphs: GraphFile, session: Session, console: Screen) -> None:
        self._graphs = graphs
        self._session = session
        self._console = console
        self._taken = 0
        self._sends: collections.deque[tuple[float, int]] = collections.deque()

    async def lines(self) -> AsyncGenerator[Line, None]:
        """Yield what the load takes from the input, and count it: more is read than is taken, and taken than done."""
        async with contextlib.aclosing(aiter(self._graphs)) as lines:
            async for line in lines:
                self._taken += 1
                yield line

    @contextlib.asynccontextmanager
    async def shown(self, load: Load) -> AsyncGenerator[None, None]:
        """Show *load* on standard error while the block runs: redrawn on a terminal, else a line now and then."""
        began = load.clock()
        self._sends.append((began, self._session.stats.requests))
        live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        with live or contextlib.nullcontext():
            task = asyncio.get_running_loop().create_task(self._show(load, began, live))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _show(self, load: Load, began: float, live: Live | None) -> None:
        while True:
            await asyncio.sleep(AS_LINES if live is None else ON_TERMINAL)
            fraction = self._fraction(load)
            line = self._line(load, began, fraction)
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

    def _line(self, load: Load, began: float, fraction: float | None) -> str:
        """Return the state of the load in one line."""
        stats, rate = self._session.stats, self._session.limiter.rate
        now = load.clock()
        self._sends.append((now, stats.requests))
        while len(self._sends) > 2 and now - self._sends[0][0] > WINDOW:  # noqa: PLR2004 two make a difference
            self._sends.popleft()
        since, before = self._sends[0]
        speed = f"{(stats.requests - before) / max(now - since, 0.001):,.0f}"
        words = [
            f"{load.done:,} done",
            f"{sum(load.counts[verdict] for verdict in FAILURES):,} not loaded",
            f"{stats.retries:,} retries",
            f"{speed} requests/s" if rate is None else f"{speed} of {rate:g} requests/s",
        ]
        if fraction:
            words.append(f"{_hours((now - began) * (1 - fraction) / fraction)} left")
        if load.breaker.state != "closed":
            words.append(f"PAUSED: the server does not answer, trying again in {math.ceil(load.breaker.open_for)} s")
        elif (paused := self._session.limiter.paused_for) > 0:
            words.append(f"the server asked to wait {math.ceil(paused)} s")
        if load.stopping and load.runs:
            words.append("finishing what is in flight")
        return " · ".join(words)


def _hours(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def problem(outcome: Outcome) -> str:
    """Say in one line why an order is not loaded, or in what it differs."""
    where = outcome.key or "an order" if outcome.file is None else f"{outcome.file}:{outcome.number}"
    if outcome.violations:
        return f"{where}: {outcome.verdict}: {'; '.join(map(str, outcome.violations))}"
    reasons = [f"{part.name}: {part.failure.message}" for part in outcome.parts if part.failure is not None]
    reasons += [f"{part.name} differs in {', '.join(part.differs)}" for part in outcome.parts if part.differs]
    for verdict, words in UNEXPLAINED.items():
        alike = [
            part.name for part in outcome.parts if part.verdict is verdict and not part.failure and not part.differs
        ]
        if alike:
            which = ", ".join(alike) if len(alike) <= SOME else f"{len(alike)} of {len(outcome.parts)} parts"
            reasons.append(f"{which} {words}")
    if len(reasons) > SOME:
        reasons[SOME:] = [f"and {len(reasons) - SOME} more"]
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
