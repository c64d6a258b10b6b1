"""``cdp-orders load``: a file of whole orders, exactly once in effect."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import hashlib
import logging
import os
import re
import shlex
import signal
import stat
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Annotated

import attrs
import orjson
from cyclopts import Parameter

from cdp_orders_async.cli.display import FAILURES, Progress, Screen, problem, show_summary
from cdp_orders_async.cli.options import Connection, refuse
from cdp_orders_async.client import CdpOrders, CdpOrdersV2, ResourcesV2
from cdp_orders_async.errors import CdpError, Forbidden, InputError, NotSent, Unauthorized
from cdp_orders_async.ingest import SETTLE, Load, OnExisting, Outcome, Verdict, ingest
from cdp_orders_async.journal import SqliteJournal
from cdp_orders_async.session import Times
from cdp_orders_async.sources import GraphFile

__all__ = ["Report", "in_words", "load", "run"]

Flag = Annotated[bool, Parameter(negative="", show_default=False)]

CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
"""What a terminal may obey although JSON lets it stand: DEL, C1, line separators, marks of direction; in UTF-8."""
FEW = 20  # problems that are told one by one; the file of outcomes has them all


@attrs.define
class Report:
    """What became of a load, for the exit status and the last words."""

    counts: collections.Counter[Verdict] = attrs.field(factory=collections.Counter[Verdict])
    requests: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds that this process computed, in all its threads."""
    times: Times = attrs.field(factory=Times)
    error: CdpError | None = None
    stopped_by: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return what ``--json`` prints."""
        return {
            "graphs": self.counts.total(),
            **{str(verdict): self.counts[verdict] for verdict in Verdict},
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "cpu": round(self.cpu, 3),
            "times": self.times.to_json(),
        }

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

    @property
    def resumable(self) -> bool:
        """Whether the same command again has something to do; a line that breaks a rule will break it again."""
        if self.error is not None:
            return self.anything
        return self.stopped_by is not None or any(
            self.counts[verdict] for verdict in FAILURES if verdict is not Verdict.INVALID
        )


def _file_or_dash(_: object, value: str) -> None:
    if value.startswith("--"):
        raise ValueError("It is no option of this command")


def load(  # noqa: D417 the options of a connection say themselves what they are
    file: Annotated[str, Parameter(allow_leading_hyphen=True, validator=_file_or_dash)],
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
    # What is logged would break a picture that is redrawn.
    console = Screen(stderr=True, force_terminal=False if verbose else None)
    connection = connection or Connection()
    try:
        path = _journal_path(file, journal, outcomes)
        client = connection.client()
        report = asyncio.run(
            run(
                client,
                GraphFile(file, client.api),
                console,
                journal=path,
                outcomes=outcomes,
                client_key=connection.client_key,
                look_first=look_first,
                on_existing=on_existing,
                settle=settle,
                drain=drain,
                verbose=verbose,
            )
        )
    except CdpError as error:
        return refuse(error)
    if json:
        Screen().say(orjson.dumps(report.to_json()).decode())
    elif report.error is None or report.anything:
        show_summary(Screen(), report.counts, report.requests, report.seconds, report.times, cpu=report.cpu)
    if report.error is not None:
        refuse(in_words(report.error, client.base_url))
    if report.resumable:
        console.say(f"To resume: {_resume(sys.argv[1:], path, connection.api_token)}")
    return report.status


def _journal_path(file: str, journal: Path | None, outcomes: Path | None) -> Path:
    """Return where the journal is; raises `InputError` before anything is made for an input that is not there."""
    try:
        if file != "-" and not Path(file).is_fifo():  # whose writer would see the reader go
            Path(file).open("rb").close()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    if journal is None and not Path(file).is_file():
        raise InputError("--journal must be given where the input is no file that can be read again")
    journal = journal or Path(f"{Path(file).name}.journal.sqlite")
    places = [path.resolve() for path in (Path(file), journal, outcomes) if path is not None]
    if len(set(places)) < len(places):
        raise InputError("the input, the journal and the outcomes must be different files")
    return journal


async def run(
    client: CdpOrders | CdpOrdersV2,
    graphs: GraphFile,
    console: Screen,
    *,
    journal: Path,
    outcomes: Path | None,
    client_key: str | None,
    look_first: bool = False,
    on_existing: OnExisting = "keep",
    settle: float = SETTLE,
    drain: float = 5.0,
    verbose: bool = False,
) -> Report:
    """Load *graphs*, write each outcome, and show progress and problems on *console*."""
    report = Report()
    began, computed = time.monotonic(), time.process_time()
    identity = {"base URL": client.base_url, "client key": _fingerprint(client_key)}
    if isinstance(client, ResourcesV2):  # the journals of version 2.1 do not say so
        identity["API version"] = client.api.version
    async with client, await SqliteJournal.open(journal, identity=identity) as records:
        progress = Progress(graphs, client.session, console)
        tell = _teller(console, outcomes, all_of_them=verbose)
        # The outcomes come second: they are those of another run, as long as that run has the journal.
        with _written(outcomes) as write:
            async with ingest(
                client,
                progress.lines(),
                journal=records,
                look_first=look_first,
                on_existing=on_existing,
                open_orders=2 * client.session.settings.connections,
                settle=settle,
                drain=drain,
            ) as load:
                try:
                    with _stoppable(load, drain, report, console):
                        async with progress.shown(load):
                            async for outcome in load:
                                write(outcome)
                                if load.error is None:  # else one sentence at the end says it for all it took along
                                    tell(outcome)
                except CdpError as error:
                    report.error = error
        report.counts = load.counts
        report.requests = client.session.stats.requests
        report.times = load.times
        report.seconds, report.cpu = time.monotonic() - began, time.process_time() - computed
    return report


@contextlib.contextmanager
def _stoppable(load: Load, drain: float, report: Report, console: Screen) -> Generator[None, None, None]:
    """Let the first SIGINT or SIGTERM finish what is in flight, and the second stop at once."""
    loop = asyncio.get_running_loop()

    def stop(number: int) -> None:
        if report.stopped_by is None:
            report.stopped_by = number
            console.say(f"Stopping: what is in flight has {drain:.0f} s to finish. Once more stops at once.")
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
    if path.exists() and not (path.is_file() or path.is_char_device()):  # a pipe would wait for its reader
        raise InputError(f"the outcomes cannot be written to {path}: it is no regular file")
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if stat.S_ISREG(os.fstat(number).st_mode):
            os.fchmod(number, 0o600)  # whatever the umask, and whoever could read an older one
            os.ftruncate(number, 0)
    except OSError as error:
        raise _unwritable(path, error) from error

    def write(outcome: Outcome) -> None:
        line = CONTROLS.sub(_escaped, orjson.dumps(outcome.to_json())) + b"\n"
        try:
            while line:  # a disk that is nearly full takes a part
                line = line[os.write(number, line) :]
        except OSError as error:
            raise _unwritable(path, error) from error

    try:
        yield write
    finally:
        os.close(number)


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found[0].decode())


def _unwritable(path: Path, error: OSError) -> InputError:
    link = error.errno == errno.ELOOP
    reason = "it is a symbolic link, name the file itself" if link else error.strerror
    return InputError(f"the outcomes cannot be written to {path}: {reason}")


def _teller(console: Screen, outcomes: Path | None, *, all_of_them: bool) -> Callable[[Outcome], None]:
    """Give a function that tells the first problems one by one."""
    told = 0

    def tell(outcome: Outcome) -> None:
        nonlocal told
        if outcome.verdict not in FAILURES and not any(part.differs for part in outcome.parts):
            return
        told += 1
        if all_of_them or told <= FEW:
            console.say(problem(outcome))
        elif told == FEW + 1:
            where = f"{outcomes} has them all" if outcomes else "--outcomes FILE keeps them all"
            console.say(f"There are more problems: {where}.")

    return tell


def in_words(error: CdpError, base_url: str) -> str:
    """Say in one sentence what ended a load."""
    if isinstance(error, (Unauthorized, Forbidden)):
        return f"{base_url} refused the credentials ({error.status}): check the client key and the API token"
    if isinstance(error, NotSent):
        return f"{base_url} cannot be reached: {error}"
    return str(error)


def _fingerprint(client_key: str | None) -> str:
    """Tell tenants apart in the journal without writing the client key into it."""
    return hashlib.blake2b((client_key or "").encode(), digest_size=6).hexdigest()


def _resume(arguments: Sequence[str], journal: Path, api_token: str | None) -> str:
    """Return the command that resumes, with the name of a variable in place of the API token."""
    words = [shlex.quote(word) for word in arguments]
    for n, word in enumerate(arguments):
        name = word.removesuffix(api_token) if api_token else word
        if name != word and (not name or name.endswith("=")):
            words[n] = f'{name}"$CDP_API_TOKEN"'
    if not any(word.partition("=")[0] == "--journal" for word in arguments):
        words += ["--journal", shlex.quote(str(journal))]
    return " ".join(["cdp-orders", *words])
