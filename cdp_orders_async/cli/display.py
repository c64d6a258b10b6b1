"""What a person sees of a load: progress while it runs, a table at its end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Callable

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cdp_orders_async.ingest import Load, Outcome, PartVerdict, Verdict
from cdp_orders_async.session import Session

__all__ = ["FAILURES", "Progress", "problem", "show_summary"]

ON_TERMINAL = 0.25  # seconds between two pictures
AS_LINES = 5.0
WINDOW = 5.0  # seconds over which the speed is measured
FAILURES = (Verdict.PARTIAL, Verdict.FAILED, Verdict.UNKNOWN, Verdict.CONFLICT, Verdict.INVALID)


class Progress:
    """The progress of a load: orders done, speed, rate allowed, retries, failures, time left."""

    def __init__(self, load: Load, session: Session, fraction: Callable[[], float | None], console: Console) -> None:
        self._load = load
        self._session = session
        self._fraction = fraction
        self._console = console
        self._began = load.clock()
        self._sends: collections.deque[tuple[float, int]] = collections.deque([(self._began, 0)])

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncGenerator[None, None]:
        """Show it on standard error while the block runs: redrawn on a terminal, else a line now and then."""
        live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        with live or contextlib.nullcontext():
            task = asyncio.get_running_loop().create_task(self._show(live))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _show(self, live: Live | None) -> None:
        while True:
            await asyncio.sleep(AS_LINES if live is None else ON_TERMINAL)
            line = self.line()
            if live is None:
                self._console.print(line, soft_wrap=True, highlight=False)
            else:
                live.update(self._picture(line), refresh=True)

    def _picture(self, line: str) -> Table:
        picture = Table.grid(padding=(0, 1))
        fraction = self._fraction()
        bar = ProgressBar(total=1.0, completed=fraction or 0.0, pulse=fraction is None, width=24)
        picture.add_row(bar, Text(line, overflow="ellipsis", no_wrap=True))
        return picture

    def line(self) -> str:
        """Return the state of the load in one line."""
        load, stats = self._load, self._session.stats
        now = load.clock()
        self._sends.append((now, stats.requests))
        while len(self._sends) > 2 and now - self._sends[0][0] > WINDOW:  # noqa: PLR2004 two make a difference
            self._sends.popleft()
        since, before = self._sends[0]
        speed = (stats.requests - before) / max(now - since, 0.001)
        rate = self._session.limiter.rate
        words = [
            f"{load.done:,} orders",
            f"{speed:,.0f} requests/s of {'any number' if rate is None else f'{rate:,.0f}'} allowed",
            f"{stats.retries:,} retries",
            f"{sum(load.counts[verdict] for verdict in FAILURES):,} failed",
        ]
        if left := self._left(now):
            words.append(f"{left} left")
        if load.breaker.state != "closed":
            words.append(f"PAUSED: the server does not answer, trying again in {load.breaker.open_for:.0f} s")
        elif (paused := self._session.limiter.paused_for) > 0:
            words.append(f"the server asked to wait {paused:.0f} s")
        if load.stopping and load.tasks:
            words.append("finishing what is in flight")
        return " · ".join(words)

    def _left(self, now: float) -> str | None:
        fraction = self._fraction()
        if not fraction or not self._load.done:
            return None
        seconds = int((now - self._began) * (1 - fraction) / fraction)
        hours, rest = divmod(seconds, 3600)
        return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def problem(outcome: Outcome) -> str:
    """Say in one line why an order is not loaded, or in what it differs."""
    where = outcome.key or "an order" if outcome.file is None else f"{outcome.file}:{outcome.number}"
    if outcome.violations:
        return f"{where}: {outcome.verdict}: {'; '.join(map(str, outcome.violations))}"
    reasons = [f"{part.name}: {part.failure.message}" for part in outcome.parts if part.failure is not None]
    reasons += [f"{part.name} differs in {', '.join(part.differs)}" for part in outcome.parts if part.differs]
    unclear = [part.name for part in outcome.parts if part.verdict is PartVerdict.CONFLICT and not part.differs]
    reasons += [f"{name} could be any of several things that are there" for name in unclear]
    blocked = sum(part.verdict is PartVerdict.BLOCKED for part in outcome.parts)
    if blocked:
        reasons.append(f"{blocked} of {len(outcome.parts)} parts not tried")
    return f"{where}: {outcome.verdict}: {'; '.join(reasons)}"


def show_summary(console: Console, counts: collections.Counter[Verdict], requests: int, seconds: float) -> None:
    """Print the table at the end of a load."""
    table = Table(show_footer=True)
    table.add_column("orders", footer="all")
    table.add_column("", justify="right", footer=f"{counts.total():,}")
    for verdict in Verdict:
        if counts[verdict] or verdict is Verdict.LOADED:
            style = "red" if verdict in FAILURES else "green"
            table.add_row(Text(verdict, style=style), f"{counts[verdict]:,}")
    console.print(table)
    console.print(
        f"{requests:,} requests in {seconds:,.1f} s, {requests / max(seconds, 0.001):,.0f} a second", highlight=False
    )
