"""What a person sees of a load: progress while it runs, a table at its end."""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self, cast

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cdp_orders_async.errors import counted
from cdp_orders_async.ingest import Outcome, PartVerdict, Verdict
from cdp_orders_async.jobs import NOT_AS_WANTED, Event, Message, Problem, Progress, Report, place
from cdp_orders_async.jobs.groups import Groups
from cdp_orders_async.redact import printable
from cdp_orders_async.timings import Timings

__all__ = [
    "PROGRESS_EVERY",
    "Display",
    "JsonDisplay",
    "Screen",
    "kept_for_results",
    "problem",
    "show_summary",
    "silence",
]

PROGRESS_EVERY = 30.0  # seconds between two lines of progress
HOUR, MINUTE = 3600, 60  # in seconds
BAR = 12  # columns of the bar of progress
SEPARATOR = " · "
FEW = 20  # problems that are told one by one; the file of outcomes has them all
FEW_INVALID = 5  # invalid lines that are told one by one; then they are grouped
WORTH_ADVICE = 10.0  # seconds that a load takes before it is worth making faster
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
"""What to call one part, and several, that the input does not have."""


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
    """A console for sentences. Where its reader is gone, as under ``| head``, it goes on in silence."""

    @classmethod
    def of_messages(cls, *, plain: bool = False) -> Self:
        """Return the one on standard error, on which writing never fails; *plain* even on a terminal."""
        stream = None if sys.stderr is None else cast("IO[str]", Unfailing(sys.stderr))
        return cls(stderr=True, file=stream, force_terminal=False if plain else None)

    def say(self, text: str) -> None:
        """Print *text* on a line of its own as it stands, except for what a terminal would obey."""
        self.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Let the load that is told of go on, and its exit status be the last word."""
        self.quiet = True
        silence(self.file)


def silence(stream: IO[str] | None) -> None:
    """Send what *stream* still holds nowhere, since writing it at the exit would fail again."""
    if stream is None:  # it was closed from the start
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def kept_for_results() -> Generator[None, None, None]:
    """Keep standard output for the results: other code and its processes print to standard error meanwhile."""
    if sys.__stdout__ is None:  # it was closed from the start, and its number may be that of another file
        yield
        return
    output = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere if sys.__stderr__ is None else 2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(output, 1)
        os.close(output)
        os.close(nowhere)


class Display:
    """Tells a person what happens in a load: its problems, and how far it is.

    The first problems are told one by one, with *every_problem* each; invalid lines are grouped at the end. Progress
    is redrawn in place on a terminal, else it is a line each *every* seconds; *lines*: also on a terminal. *now* gives
    the time of day. *one_file*: the lines of the input are those of one file.
    """

    def __init__(
        self,
        console: Screen,
        outcomes: Path | None = None,
        *,
        every_problem: bool = False,
        every: float = PROGRESS_EVERY,
        lines: bool = False,
        one_file: bool = True,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._console = console
        self._outcomes = outcomes
        self._every_problem = every_problem
        self._every = every
        self._one_file = one_file
        self._now = now
        self._problems = self._invalid = 0
        self._groups = Groups()
        self._next_line = every
        live = console.is_terminal and not lines
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._show_groups()

    def __call__(self, event: Event) -> None:
        """Tell of an *event*."""
        match event:
            case Message():
                self.say(event.text)
            case Problem():
                self._tell(event.outcome)
            case Progress() if self._live is not None:
                self._live.start()
                self._live.update(picture(event, self._console.width), refresh=True)
            case Progress():
                if event.seconds >= self._next_line:
                    self._next_line = event.seconds + self._every
                    self._show_line(event)
            case _:
                pass

    def say(self, text: str) -> None:
        """Tell a sentence."""
        self._console.say(text)

    def error(self, text: str) -> None:
        """Tell the sentence that says what is wrong."""
        self._console.say(f"cdp-orders: {text}")

    def _show_line(self, progress: Progress) -> None:
        words = [f"{self._now():%H:%M:%S}", *percent(progress), *counts(progress), *remarks(progress)]
        self._console.say(SEPARATOR.join(words))

    def _tell(self, outcome: Outcome) -> None:
        if outcome.verdict is Verdict.INVALID:
            self._invalid += 1
            where = f"line {outcome.number}" if self._one_file else place(outcome)
            self._groups.add(outcome.violations, where)
            if self._every_problem or self._invalid <= FEW_INVALID:
                self._show_problem(outcome)
            return
        self._problems += 1
        if self._every_problem or self._problems <= FEW:
            self._show_problem(outcome)
        elif self._problems == FEW + 1:
            self.say(f"There are more problems: {self._where()}.")

    def _where(self) -> str:
        return f"{self._outcomes} has them all" if self._outcomes else "--outcomes FILE keeps them all"

    def _show_problem(self, outcome: Outcome) -> None:
        self.say(problem(outcome))

    def _show_groups(self) -> None:
        """Tell of the invalid lines, if there are more than were told one by one."""
        if self._invalid <= FEW_INVALID:
            return
        self.say(f"{self._invalid:,} lines are invalid; {self._where()}:")
        groups = list(self._groups)
        for group in groups[:FEW]:
            self.say(f"  {group}")
        if (more := len(groups) - FEW) > 0:
            self.say(f"  and {more:,} other rules")


class JsonDisplay(Display):
    """Tells a program what happens in a load: a JSON object a line, each with ``event`` and ``time`` (UTC)."""

    def say(self, text: str) -> None:
        """Tell a sentence."""
        self.write("message", {"text": text})

    def error(self, text: str) -> None:
        """Tell the sentence that says what is wrong."""
        self.write("error", {"text": text})

    def write(self, event: str, values: Mapping[str, object]) -> None:
        """Write one line."""
        line = {"event": event, "time": f"{self._now().astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", **values}
        self._console.say(json.dumps(line))  # in ASCII, which no terminal obeys

    def _show_line(self, progress: Progress) -> None:
        self.write("progress", progress.to_json())

    def _show_problem(self, outcome: Outcome) -> None:
        where = {"file": outcome.file, "number": outcome.number, "key": outcome.key, "verdict": str(outcome.verdict)}
        self.write("problem", {**where, "text": problem(outcome)})


def picture(progress: Progress, width: int = 80) -> Group:
    """Return how far a load is in one line or two that fit a terminal of so many columns."""
    words = fitting(progress, width - BAR - 1)
    bar = Table.grid(padding=(0, 1))
    bar.add_column(width=BAR)
    bar.add_column(no_wrap=True, overflow="ellipsis")
    fraction = progress.fraction
    bar.add_row(
        ProgressBar(total=1.0, completed=fraction or 0.0, pulse=fraction is None, width=BAR),
        Text(words),
    )
    more = SEPARATOR.join([*percent(progress), *remarks(progress)])
    return Group(bar, Text(printable(more), no_wrap=True, overflow="ellipsis")) if more else Group(bar)


def fitting(progress: Progress, room: int) -> str:
    """Return as many counts of a load as *room* columns take; what is not loaded is the last to go, if there is any."""
    done, not_loaded, retries, speed = counts(progress)
    forms = [[done, not_loaded, retries, speed], [done, not_loaded, speed]]
    if progress.not_loaded:
        forms += [[done, not_loaded, f"{progress.speed:,.0f} requests/s"], [done, not_loaded]]
    else:
        forms.append([done, speed])
    texts = [SEPARATOR.join(form) for form in forms]
    return next((text for text in texts if len(text) <= room), texts[-1])


def percent(progress: Progress) -> list[str]:
    """Return the share that is done, in words; none while it is not known. 100 % is said only when all is done."""
    return [] if progress.fraction is None else [f"{math.floor(100 * progress.fraction)} %"]


def counts(progress: Progress) -> list[str]:
    """Return the counts of a load, in words."""
    speed = f"{progress.speed:,.0f}"
    return [
        f"{progress.done:,} done",
        f"{progress.not_loaded:,} not loaded",
        counted(progress.retries, "retry", "retries"),
        f"{speed} requests/s" if progress.rate is None else f"{speed} of {progress.rate:.4g} requests/s",
    ]


def remarks(progress: Progress) -> list[str]:
    """Return what else is known of a load, in words; the reasons why nothing happens come first."""
    words: list[str] = []
    if progress.paused is not None:
        words.append(f"PAUSED, trying again in {math.ceil(progress.wait)} s: {progress.paused}")
    elif progress.wait > 0:
        words.append(f"the server asked to wait {math.ceil(progress.wait)} s")
    if progress.held:
        words.append("PAUSED by the control file")
    if progress.finishing:
        words.append("finishing the orders that have begun")
    if progress.seconds_left is not None:
        words.append(f"{about(progress.seconds_left)} left")
    if progress.interactive:
        words.append(f"{progress.interactive:,} interactive calls go first")
    return [*words, *progress.limits]


def about(seconds: float) -> str:
    """Return an estimate in words, rounded to what it can tell."""
    return f"about {rounded(seconds)}"


def rounded(seconds: float) -> str:
    """Return a time in words, rounded up: in seconds, from two minutes on in minutes, from two hours on in hours."""
    if seconds >= 2 * HOUR:
        return f"{math.ceil(10 * seconds / HOUR) / 10:,.1f}".removesuffix(".0") + " h"
    return f"{math.ceil(seconds / MINUTE)} min" if seconds >= 2 * MINUTE else f"{math.ceil(seconds)} s"


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
    is_unsure = any(part.verdict is PartVerdict.UNKNOWN for part in outcome.parts)
    what = "that may be one of these parts" if is_unsure else "that the input does not have"
    reasons += [
        f"{count} {LEFTOVERS[kind][count > 1]} on the server {what}"
        for kind, count in collections.Counter(leftover.kind for leftover in outcome.leftovers).items()
    ]
    if outcome.verdict is Verdict.BUSY:
        reasons = ["another process is loading it"]
    return f"{where}: {outcome.verdict}: {'; '.join(reasons)}"


def show_summary(console: Screen, report: Report) -> None:
    """Print the table at the end of a load, and where its time went."""
    table = Table(show_footer=True)
    table.add_column("orders", footer="all")
    table.add_column("", justify="right", footer=f"{report.counts.total():,}")
    for verdict in Verdict:
        if report.counts[verdict] or verdict is Verdict.LOADED:
            style = "red" if verdict in NOT_AS_WANTED else "green"
            table.add_row(Text(verdict, style=style), f"{report.counts[verdict]:,}")
    console.print(table)
    sent = f"{counted(report.requests, 'request')} in {report.seconds:,.1f} s"
    console.say(f"{sent}, {report.requests / max(report.seconds, 0.001):,.0f} a second")
    if report.requests:
        console.say(split(report.times))
        if report.seconds >= WORTH_ADVICE and report.times.total:
            console.say(conclusion(report.times, report.seconds, report.cpu))


ADVICE = {
    "connection": "waiting for a free connection: fewer are used while the server is slow",
    "rate": "waiting for the rate: more connections will not help",
    "lane": "waiting for interactive calls of the same client, which go first",
    "backoff": "waiting to send again: the network or the server fails often",
    "settle": "waiting until lists of the server show what was written: orders of which something may be there",
    "held": "the pause that the control file asked for",
    "connect": "making connections",
    "server": "the server's own: more --connections may help, if server and machine bear them",
    "body": "reading answers",
    "decode": "this machine's, decoding answers",
    "journal": "waiting for the journal's disk",
}


def split(times: Timings) -> str:
    """Say in one line where the time went, the most first; a coarse clock may measure none."""
    if not times.total:
        return "Where the time went: there was too little to measure"
    shares = {name: f"{seconds / times.total:.0%}" for name, seconds in msgspec.structs.asdict(times).items()}
    order = sorted(shares, key=lambda name: -getattr(times, name))
    return f"Where the time went: {', '.join(f'{shares[name]} {name}' for name in order if shares[name] != '0%')}"


def conclusion(times: Timings, seconds: float, cpu: float) -> str:
    """Say what most of the time was spent on, and what follows, where the process computed *cpu* of *seconds*."""
    spent: dict[str, float] = msgspec.structs.asdict(times)
    parts: dict[str, list[str]] = {name: [name] for name in spent}
    if times.rate + times.lane > times.connect + times.server + times.body:
        # A call that waits for its turn holds its connection: then that is why others wait for one.
        waited_for = max("rate", "lane", key=lambda name: spent[name])
        parts[waited_for] = sorted((waited_for, *parts.pop("connection")), key=lambda name: -spent[name])
    name = max(parts, key=lambda name: sum(spent[part] for part in parts[name]))
    # A process that computes all the time comes late to what has arrived, and that looks like waiting for it. But
    # where calls wait for a rate most of all, it could send more than that allows.
    if name not in {"rate", "lane"} and cpu >= BUSY * seconds:
        return (
            f"This process's CPU was busy {min(cpu / seconds, 1):.0%} of the time, which is the limit: "
            "more connections will not help; --http httptools may, where it is not used yet, "
            "and several processes, each with its part of the input and of the rate"
        )
    # The sum of the shares as the line above shows them.
    shares = {part: round(100 * spent[part] / times.total) for part in parts[name]}
    told = [f"{share}% {part}" for part, share in shares.items() if share]
    named = f" ({' and '.join(told)})" if len(told) > 1 else ""
    return f"{sum(shares.values())}% of the time{named} was {ADVICE[name]}"
