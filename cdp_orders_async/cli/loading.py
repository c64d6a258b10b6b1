"""``cdp-orders load``: a file of whole orders, exactly once in effect."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated

import attrs
import orjson
from cyclopts import Parameter
from rich.console import Console

from cdp_orders_async.cli.display import FAILURES, Progress, problem, show_summary
from cdp_orders_async.cli.options import Connection, refuse
from cdp_orders_async.client import CdpOrders
from cdp_orders_async.errors import CdpError, InputError, NotSent, Unauthorized
from cdp_orders_async.graph import GraphFile
from cdp_orders_async.ingest import SETTLE, Load, OnExisting, Outcome, Verdict, ingest
from cdp_orders_async.journal import SqliteJournal

__all__ = ["load"]

Flag = Annotated[bool, Parameter(negative="")]

FEW = 20  # problems that are told one by one; the file of outcomes has them all


@attrs.define
class Report:
    """What became of a load, for the exit status and the last words."""

    counts: collections.Counter[Verdict] = attrs.field(factory=collections.Counter[Verdict])
    requests: int = 0
    seconds: float = 0.0
    error: CdpError | None = None
    stopped_by: int | None = None

    def to_json(self) -> dict[str, int | float]:
        """Return what ``--json`` prints."""
        verdicts = {str(verdict): self.counts[verdict] for verdict in Verdict}
        return {"graphs": self.counts.total(), **verdicts, "requests": self.requests, "seconds": round(self.seconds, 3)}

    @property
    def anything(self) -> bool:
        """Whether anything is on the server."""
        return any(self.counts[verdict] for verdict in (Verdict.LOADED, Verdict.ALREADY, Verdict.PARTIAL))

    @property
    def status(self) -> int:
        """The exit status."""
        if self.error is not None:
            return 2
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        return int(any(self.counts[verdict] for verdict in FAILURES))


def load(  # noqa: D417 the options of a connection say themselves what they are
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    connection: Connection | None = None,
    journal: Path | None = None,
    outcomes: Path | None = None,
    look_first: Flag = False,
    on_existing: OnExisting = "keep",
    settle: Annotated[float, Parameter(allow_leading_hyphen=True)] = SETTLE,
    drain: Annotated[float, Parameter(allow_leading_hyphen=True)] = 30.0,
    verbose: Flag = False,
    json: Flag = False,
) -> int:
    """Load the orders of FILE: each order, then its contact, consumers and items, then their extensions.

    FILE holds JSON lines, plain or gzip, or is - for standard input: orders with their parts nested, or the
    import records of the Batch API. The same command again resumes: what is loaded is skipped, what is
    unknown is looked up, what failed is tried again. The first Ctrl-C finishes what is in flight, the second
    stops at once. Exit status: 0 all loaded, 1 some order not, 2 bad usage or input, 130 or 143 stopped.

    Example: cdp-orders load orders.jsonl.gz --region eu --rate 50 --journal orders.sqlite --outcomes outcomes.jsonl

    Parameters
    ----------
    file
        The file of orders, or - for standard input.
    journal
        The SQLite file that remembers what is done; made where it is missing. By default FILE.journal.sqlite in
        the current folder.
    outcomes
        Where to write what came of each order, as JSON lines; written anew by each run.
    look_first
        Ask the server about each order before it is sent, for input of which a part may be loaded already
        without this journal.
    on_existing
        What to do with something that is there but differs from the input.
    settle
        Seconds that lists of the server may lag behind writes: how long to look before something whose answer
        was lost counts as absent.
    drain
        Seconds that what is in flight may take to finish after the first Ctrl-C.
    verbose
        Tell each problem, and log each request.
    json
        Print one JSON object at the end in place of the table.

    """
    if verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("cdp_orders_async").setLevel(logging.DEBUG)
    console = Console(stderr=True)
    connection = connection or Connection()
    try:
        path = _journal_path(file, journal)
        client = connection.client()
        with _written(outcomes) as write:
            tell = _teller(console, outcomes, all_of_them=verbose)

            def take(outcome: Outcome, load: Load) -> None:
                write(outcome)
                if load.error is None:  # else one sentence at the end says it for all that it took along
                    tell(outcome)

            report = asyncio.run(
                run(
                    client,
                    GraphFile(file),
                    path,
                    take,
                    console,
                    client_key=connection.client_key,
                    look_first=look_first,
                    on_existing=on_existing,
                    settle=settle,
                    drain=drain,
                )
            )
    except CdpError as error:
        return refuse(error)
    if json:
        print(orjson.dumps(report.to_json()).decode())  # noqa: T201 this is a command
    elif report.error is None or report.anything:
        show_summary(Console(), report.counts, report.requests, report.seconds)
    if report.error is not None:
        refuse(_in_words(report.error, client.base_url))
    if report.status and (report.anything or report.error is None):
        print(f"To go on: {_resume(sys.argv[1:], path)}", file=sys.stderr)  # noqa: T201 this is a command
    return report.status


def _journal_path(file: str, journal: Path | None) -> Path:
    """Return where the journal is; raises `InputError` before one is made for an input that is not there."""
    if file == "-" and journal is None:
        raise InputError("--journal must be given where the input is standard input")
    try:
        if file != "-":
            Path(file).open("rb").close()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    return journal or Path(f"{Path(file).name}.journal.sqlite")


async def run(
    client: CdpOrders,
    graphs: GraphFile,
    journal_path: Path,
    take: Callable[[Outcome, Load], None],
    console: Console,
    *,
    client_key: str | None,
    look_first: bool,
    on_existing: OnExisting,
    settle: float,
    drain: float,
) -> Report:
    """Load *graphs*, hand each outcome to *take*, and show the progress on *console*."""
    report = Report()
    began = time.monotonic()
    identity = {"base URL": client.base_url, "client key": _fingerprint(client_key)}
    async with client, await SqliteJournal.open(journal_path, identity=identity) as journal:
        async with ingest(
            client,
            graphs,
            journal=journal,
            look_first=look_first,
            on_existing=on_existing,
            open_orders=2 * client.session.settings.connections,
            settle=settle,
            drain=drain,
        ) as load:
            progress = Progress(load, client.session, lambda: graphs.fraction, console)
            try:
                with _stoppable(load, drain, report, console):
                    async with progress.shown():
                        async for outcome in load:
                            take(outcome, load)
            except CdpError as error:
                report.error = error
        report.counts = load.counts
        report.requests = client.session.stats.requests
        report.seconds = time.monotonic() - began
    return report


@contextlib.contextmanager
def _stoppable(load: Load, drain: float, report: Report, console: Console) -> Generator[None, None, None]:
    """Let the first SIGINT or SIGTERM finish what is in flight, and the second stop at once."""
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if report.stopped_by is None:
            report.stopped_by = number
            console.print(f"Stopping: what is in flight has {drain:.0f} s to finish. Once more stops at once.")
            load.stop(drain)
        else:
            load.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _written(path: Path | None) -> Generator[Callable[[Outcome], None], None, None]:
    """Give a function that writes outcomes to *path*, readable by its owner only; raises `InputError`."""
    if path is None:
        yield lambda _: None
        return
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"the outcomes cannot be written to {path}: {error.strerror}") from error
    with os.fdopen(number, "wb", buffering=0) as stream:

        def write(outcome: Outcome) -> None:
            try:
                stream.write(orjson.dumps(outcome.to_json()) + b"\n")
            except OSError as error:
                raise InputError(f"the outcomes cannot be written to {path}: {error.strerror}") from error

        yield write


def _teller(console: Console, outcomes: Path | None, *, all_of_them: bool) -> Callable[[Outcome], None]:
    """Give a function that tells the first problems one by one."""
    told = 0

    def tell(outcome: Outcome) -> None:
        nonlocal told
        if outcome.verdict not in FAILURES and not any(part.differs for part in outcome.parts):
            return
        told += 1
        if all_of_them or told <= FEW:
            console.print(problem(outcome), markup=False, highlight=False, soft_wrap=True)
        elif told == FEW + 1:
            where = f"{outcomes} has them all" if outcomes else "--outcomes FILE keeps them all"
            console.print(f"There are more problems: {where}.", markup=False, highlight=False)

    return tell


def _in_words(error: CdpError, base_url: str) -> str:
    if isinstance(error, Unauthorized):
        return f"{base_url} refused the credentials (401): check the client key and the API token"
    if isinstance(error, NotSent):
        return f"{base_url} cannot be reached: {error}"
    return str(error)


def _fingerprint(client_key: str | None) -> str:
    """Tell tenants apart in the journal without writing the client key into it."""
    return hashlib.blake2b((client_key or "").encode(), digest_size=6).hexdigest()


def _resume(arguments: list[str], journal: Path) -> str:
    """Return the command that resumes, without the API token."""
    hidden = [
        "$CDP_API_TOKEN"
        if before == "--api-token"
        else "--api-token=$CDP_API_TOKEN"
        if one.startswith("--api-token=")
        else one
        for before, one in zip(["", *arguments], arguments, strict=False)
    ]
    if not any(one == "--journal" or one.startswith("--journal=") for one in hidden):
        hidden += ["--journal", str(journal)]
    return shlex.join(["cdp-orders", *hidden]).replace("'$CDP_API_TOKEN'", '"$CDP_API_TOKEN"')
