"""What a person sees of a load: lines in a log, a picture on a terminal, a table."""

from __future__ import annotations

import asyncio
import collections
import io
import os
import pty
import re
import termios
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from cdp_orders_async import CdpOrders, GraphFile, Load, Settings, Verdict, ingest
from cdp_orders_async.cli import display
from cdp_orders_async.cli.display import ADVICE, Progress, Screen, conclusion, problem, speed, split
from cdp_orders_async.ingest import Failure, Leftover, Outcome, PartOutcome, PartVerdict
from cdp_orders_async.session import Times
from tests.cli.support import PARTS, PATIENCE, TOKEN, Json, orders, started, watched, write

LINE = re.compile(r"(\d+) done · 0 not loaded · \d+ retries · \d+ of 200 requests/s( · .*)?")


class Log(io.StringIO):
    """What a screen that is no terminal wrote."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def write(self, text: str) -> int:
        """Write *text*."""
        self._more.set()
        return super().write(text)

    async def has(self, words: str) -> None:
        """Wait until *words* are written."""
        async with asyncio.timeout(PATIENCE):
            while words not in self.getvalue():
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def loading(
    source: Path, faults: Json | None = None, connections: int = 2
) -> AsyncGenerator[tuple[Progress, Load, CdpOrders, Log], None]:
    """Load *source* with its progress going to a log."""
    log = Log()
    settings = Settings(rate=200, connections=connections)
    async with watched(faults) as server:
        cdp = CdpOrders(base_url=server.base_url, client_key="key", api_token=TOKEN, settings=settings)
        graphs = GraphFile(source)
        progress = Progress(graphs, cdp.session, Screen(file=log, width=80))
        async with cdp, ingest(cdp, progress.counted(aiter(graphs)), open_orders=2 * connections, drain=0) as load:
            yield progress, load, cdp, log


async def test_progress_is_lines_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log, progress is a line now and then: what is done, how fast, and the time left; no control codes."""
    monkeypatch.setattr(display, "AS_LINES", 0.02)
    async with loading(write(tmp_path / "o.jsonl", orders(12))) as (progress, load, _, log):
        async with progress.shown(load):
            verdicts = [outcome.verdict async for outcome in load]
        lines = log.getvalue().splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    done = [int(match[1]) for match in found if match is not None]
    assert verdicts == [Verdict.LOADED] * 12
    assert None not in found
    assert len(done) > 2
    assert done == sorted(done)
    assert re.search(r" · \d+:\d\d left", lines[-1]) is not None
    assert "\x1b" not in "".join(lines)


async def test_progress_says_why_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server is not well or asks to wait, and while a stopped load ends, the progress says why."""
    monkeypatch.setattr(display, "AS_LINES", 0.02)
    source = write(tmp_path / "o.jsonl", orders(30))
    async with loading(source) as (progress, load, cdp, log):
        cdp.session.limiter.pause_until(load.clock() + 60)
        async with progress.shown(load):
            await log.has("the server asked to wait 60 s")
            load.stop(60)
            await log.has("finishing the orders that have begun")
    down = {"operation": "orders.create", "action": "html", "status": 521}
    async with loading(source, {"faults": [down]}, 60) as (progress, load, _, log), progress.shown(load):
        await log.has("PAUSED, trying again in 5 s: POST /v2.1/orders: 521 ")


async def test_progress_says_what_is_known_of_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit that was found, when, and what the rate was last lowered for, are in the line."""
    monkeypatch.setattr(display, "AS_LINES", 0.02)
    busy = {"operation": "orders.create", "action": "status", "status": 429}
    source = write(tmp_path / "o.jsonl", orders(30))
    async with loading(source, {"faults": [busy]}, 60) as (progress, load, _, log), progress.shown(load):
        await log.has("requests/s · no limit known")
        await log.has("no limit known, last cut for 429")


async def test_progress_passes_a_cancellation_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that comes while the progress ends is not swallowed by it."""
    async with loading(write(tmp_path / "o.jsonl", orders(1))) as (progress, load, _, _):

        async def stubborn(*_: object) -> None:
            try:
                await asyncio.sleep(PATIENCE)
            except asyncio.CancelledError:
                await asyncio.sleep(0)  # so that the block ends while this one still does

        monkeypatch.setattr(progress, "_show", stubborn)

        async def block() -> None:
            async with progress.shown(load):
                await asyncio.sleep(0)

        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


def test_time_left_is_that_of_the_last_orders() -> None:
    """What a journal skipped at once does not count for how fast the orders end that are sent."""
    pace: collections.deque[tuple[float, int]] = collections.deque([(0.0, 0)])
    assert speed(pace, 1.0, 9000, 15.0) == 9000
    assert [speed(pace, 1.0 + n, 9000 + 5 * n, 15.0) for n in range(1, 30)][-1] == 5.0


async def test_picture_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal a bar is redrawn in place; at its end it is gone, the cursor shown, the modes as before."""
    main, side = pty.openpty()
    before = termios.tcgetattr(side)
    came = bytearray()
    over = asyncio.Event()

    def read() -> None:
        try:
            came.extend(os.read(main, 65536))
        except OSError:  # nobody has the terminal any more
            asyncio.get_running_loop().remove_reader(main)
            over.set()

    asyncio.get_running_loop().add_reader(main, read)
    async with watched() as server:
        arguments = ("load", write(tmp_path / "o.jsonl", [*orders(12), {}]), "--rate", "80")
        env = {**server.environment, "TERM": "xterm", "COLUMNS": "100"}
        async with started(*arguments, cwd=tmp_path, env=env, stdin=side, stdout=side, stderr=side) as process:
            assert await asyncio.wait_for(process.wait(), PATIENCE) == 1
            assert termios.tcgetattr(side) == before
            os.close(side)
            await asyncio.wait_for(over.wait(), PATIENCE)
        os.close(main)
        assert server.received == 12 * PARTS
    text = came.decode()
    picture, shown_again, rest = text.rpartition("\x1b[?25h")
    assert shown_again
    assert picture.startswith("\x1b[?25l")
    assert re.search(r"━.* \d+ done · \d not loaded · 0 retries · \d+ of 80 requests/s", picture)
    assert f"{tmp_path / 'o.jsonl'}:13: invalid: $.referenceId" in picture.replace("\r\n", "")
    assert rest.startswith("\r\x1b[1A\x1b[2K")
    assert "requests/s" not in rest
    assert "12" in rest.partition("loaded")[2].splitlines()[0]


REFUSED = Failure("BadRequest", "POST /v2.1/orders/1/orderItems: 400 no", 400)
CONFLICT, UNKNOWN, BLOCKED = PartVerdict.CONFLICT, PartVerdict.UNKNOWN, PartVerdict.BLOCKED


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([("items/0", PartVerdict.FAILED, (), REFUSED)], "items/0: POST /v2.1/orders/1/orderItems: 400 no"),
        ([("order", PartVerdict.FOUND, ("price", "status"), None)], "order differs in price, status"),
        ([("items/1", CONFLICT, (), None)], "items/1 could be any of several things that are there"),
        (
            [("order", UNKNOWN, (), None), ("contact", BLOCKED, (), None), ("ext", BLOCKED, (), None)],
            "order may be there or not, which the next run looks up; contact, ext not tried",
        ),
        ([("order", CONFLICT, (), "it is another order")], "order: it is another order"),
        ([(f"items/{n}", BLOCKED, (), None) for n in range(5)], "5 of 5 parts not tried"),
        (
            [(f"items/{n}", PartVerdict.FAILED, (), REFUSED) for n in range(100)],
            "; ".join([*(f"items/{n}: {REFUSED.message}" for n in range(4)), "and 96 more"]),
        ),
    ],
    ids=["failed", "differs", "conflict", "stopped", "reason", "blocked", "many"],
)
def test_problem_in_one_line(
    parts: list[tuple[str, PartVerdict, tuple[str, ...], Failure | str | None]], words: str
) -> None:
    """A problem says where the order came from, what became of it and why, however many parts it has."""
    told = tuple(
        PartOutcome(name, verdict, None, differs, None, why)
        if isinstance(why, str)
        else PartOutcome(name, verdict, None, differs, why)
        for name, verdict, differs, why in parts
    )
    outcome = Outcome(file="o.jsonl", number=3, key="A", verdict=Verdict.PARTIAL, parts=told)
    assert problem(outcome) == f"o.jsonl:3: partial: {words}"


def test_what_the_input_no_longer_has_is_told() -> None:
    """Parts that stay on the server though the input dropped them are counted by kind, and so is an order in use."""
    left = tuple(Leftover(kind, UUID(int=n)) for n, kind in enumerate(("items", "consumers", "items")))
    outcome = Outcome(file="o.jsonl", number=3, key="A", verdict=Verdict.ALREADY, leftovers=left)
    assert problem(outcome) == (
        "o.jsonl:3: already: 2 items on the server that the input no longer has; "
        "1 consumer on the server that the input no longer has"
    )
    busy = Outcome(file=None, number=3, key="A", verdict=Verdict.BUSY)
    assert problem(busy) == "A: busy: another process is loading it"


def test_screen_disarms_what_a_terminal_would_obey() -> None:
    """Text from files and servers cannot move the cursor, nor is it read as markup."""
    screen = Screen(file=io.StringIO(), force_terminal=True, width=20)
    screen.say("a\x1b[2J\nb [bold]c[/bold] :warning: http://localhost/a-long-path-that-is-not-broken 17")
    assert isinstance(screen.file, io.StringIO)
    assert screen.file.getvalue() == (
        "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}b [bold]c[/bold] :warning: "
        "http://localhost/a-long-path-that-is-not-broken 17\n"
    )


def test_split_tells_all_that_matters() -> None:
    """One line has every share of a percent or more, the largest first, by the names that --json has."""
    times = Times(server=60, rate=30, connect=9.6, journal=0.36, decode=0.04)
    assert split(times) == "Where the time went: 60% server, 30% rate, 10% connect"
    assert times.to_json().keys() == {"server", "rate", "connect", "journal", "decode"}


def test_conclusion_names_what_took_most() -> None:
    """The last line says what most of the time was spent on, and whether more connections would help."""
    assert conclusion(Times(connection=50, rate=31, server=19), 10, 2) == (
        "81% of the time was waiting for the rate: more connections will not help"
    )
    assert conclusion(Times(connection=50, lane=30, rate=1, server=19), 10, 2).startswith(
        "80% of the time was waiting for int"
    )
    assert conclusion(Times(connection=50, rate=10, server=40), 10, 2).startswith("50% of the time was waiting for a f")
    assert conclusion(Times(journal=50, server=40), 10, 2).startswith("56% of the time was waiting for the journal")
    assert conclusion(Times(server=97, body=3), 10, 2).startswith("97% of the time was the server's own: more --conn")
    assert set(ADVICE) == set(Times.__struct_fields__)


QUEUE = Times(connection=53, server=40, connect=7)


@pytest.mark.parametrize(
    ("times", "seconds", "cpu", "words"),
    [
        (QUEUE, 10, 8, "This process's CPU was busy 80% of the time, which is the limit: more connections will not"),
        (QUEUE, 10, 10.4, "This process's CPU was busy 100% of the time, which is the limit: more connections will"),
        (QUEUE, 10, 7.9, "53% of the time was waiting for a free connection: fewer are used"),
        (Times(connection=50, rate=31, server=19), 10, 9, "81% of the time was waiting for the rate"),
        (Times(connection=50, lane=31, server=19), 10, 9, "81% of the time was waiting for interactive calls"),
    ],
    ids=["most", "with the journal's thread", "not most", "rate", "lane"],
)
def test_conclusion_knows_a_process_that_computes_all_the_time(
    times: Times, seconds: float, cpu: float, words: str
) -> None:
    """Where a core is used up, that is the limit and not what calls wait for; but a rate that they wait for is one."""
    assert conclusion(times, seconds, cpu).startswith(words)
