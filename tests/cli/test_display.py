"""What a person sees of a load: lines in a log, a picture on a terminal, a table."""

from __future__ import annotations

import asyncio
import collections
import io
import json
import os
import pty
import re
import subprocess
import sys
import termios
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import attrs
import pytest

from cdp_orders_async import Verdict, Violation
from cdp_orders_async.cli.display import (
    ADVICE,
    PROGRESS_EVERY,
    Display,
    JsonDisplay,
    Screen,
    conclusion,
    picture,
    problem,
    show_summary,
    split,
)
from cdp_orders_async.ingest import Failure, Leftover, Outcome, PartOutcome, PartVerdict
from cdp_orders_async.jobs import Message, Problem, Progress, Report
from cdp_orders_async.timings import Timings
from tests.cli.support import PARTS, PATIENCE, orders, started, watched, write

PROGRESS = Progress(seconds=1.0, done=7, not_loaded=0, retries=0, speed=99.6, rate=200.0)
LARGE = attrs.evolve(PROGRESS, done=1_234_567, not_loaded=12, retries=345, speed=95, rate=100.0)
PAUSED = attrs.evolve(LARGE, paused="POST /v2.1/orders: 521 what the gateway said, which is long", wait=4.2)


def log() -> tuple[Screen, io.StringIO]:
    """Return a screen that is no terminal, and what it shows."""
    file = io.StringIO()
    return Screen(file=file, width=80), file


def noon() -> datetime:
    """Return a time of day."""
    return datetime(2026, 11, 29, 12, 3, 4, tzinfo=UTC)


def test_progress_is_lines_where_there_is_no_terminal() -> None:
    """In a log, progress is a line each half minute or as told: time of day, percent, counts, and no control codes."""
    for every, times in ((PROGRESS_EVERY, (30, 60)), (12.0, (12, 24, 36, 48, 60))):
        console, file = log()
        with Display(console, now=noon, every=every) as display:
            for n in range(62 * 4):
                display(attrs.evolve(PROGRESS, seconds=n / 4, done=n // 4, fraction=n / 1000))
        assert file.getvalue().splitlines() == [
            f"12:03:04 · {4 * n // 10} % · {n} done · 0 not loaded · 0 retries · 100 of 200 requests/s" for n in times
        ]


def test_progress_is_json_where_a_program_reads_it() -> None:
    """Each line of the other form is an object with the event and the time: messages, problems, progress, errors."""
    console, file = log()
    broken = Outcome(file="o", number=7, key="K", verdict=Verdict.INVALID, violations=(Violation("$", "no \x1b"),))
    with JsonDisplay(console, now=noon) as display:
        display(Message("It begins."))
        display(Problem(broken))
        display(attrs.evolve(PROGRESS, seconds=30.0, fraction=0.25))
        display.error("it ended")
    told = [json.loads(line) for line in file.getvalue().splitlines()]
    assert {line.pop("time") for line in told} == {"2026-11-29T12:03:04Z"}
    assert [line.pop("event") for line in told] == ["message", "problem", "progress", "error"]
    assert told[0] == {"text": "It begins."}
    assert (told[1]["file"], told[1]["number"], told[1]["key"], told[1]["verdict"]) == ("o", 7, "K", "invalid")
    assert list(told[2]) == list(attrs.fields_dict(Progress))
    assert (told[2]["done"], told[2]["fraction"], told[2]["breaker"]) == (7, 0.25, "closed")
    assert told[3] == {"text": "it ended"}
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (attrs.evolve(PROGRESS, rate=None), "100 requests/s"),
        (attrs.evolve(PROGRESS, seconds_left=75.0), "100 of 200 requests/s · about 75 s left"),
        (attrs.evolve(PROGRESS, seconds_left=0.2), "about 1 s left"),
        (attrs.evolve(PROGRESS, seconds_left=7100), "about 119 min left"),
        (attrs.evolve(PROGRESS, seconds_left=7300), "about 2.1 h left"),
        (attrs.evolve(PROGRESS, limits=("no limit known, last cut for 429",)), "requests/s · no limit known, last cut"),
        (PAUSED, "PAUSED, trying again in 5 s: POST /v2.1/orders: 521 "),
        (attrs.evolve(PROGRESS, wait=59.5), "the server asked to wait 60 s"),
        (attrs.evolve(PROGRESS, finishing=True), "finishing the orders that have begun"),
        (attrs.evolve(PROGRESS, held=True), "PAUSED by the control file"),
        (attrs.evolve(PROGRESS, interactive=3), "3 interactive calls go first"),
        (attrs.evolve(PROGRESS, fraction=0.999), " · 99 % · 7 done"),
    ],
)
def test_progress_in_words(progress: Progress, words: str) -> None:
    """The line says how long it still takes, and why nothing happens."""
    console, file = log()
    Display(console)(attrs.evolve(progress, seconds=30.0))
    assert words in file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("progress", [PROGRESS, LARGE, PAUSED, attrs.evolve(LARGE, fraction=0.5, seconds_left=3000)])
def test_picture_fits_the_terminal(progress: Progress, width: int) -> None:
    """Each line of the picture is cut where the terminal ends; the counts that fit it are whole, with the speed."""
    console = Screen(file=io.StringIO(), width=width, force_terminal=True)
    with console.capture() as captured:
        console.print(picture(progress, width))
    lines = re.sub(r"\x1b\[[\d;]*m", "", captured.get()).splitlines()
    assert max(map(len, lines)) <= width
    assert " done · " in lines[0]
    assert lines[0].rstrip().endswith(" requests/s")
    assert (" retries · " in lines[0]) is (width >= 80)
    assert len(lines) == (1 if progress is PROGRESS or progress is LARGE else 2)


@pytest.mark.parametrize(
    ("not_loaded", "words"),
    [
        (0, "1,234,567 done · 95 of 100 requests/s"),
        (12, "1,234,567 done · 12 not loaded · 95 requests/s"),
        (12_345, "1,234,567 done · 12,345 not loaded"),
    ],
)
def test_narrow_picture_shows_what_is_not_loaded(not_loaded: int, words: str) -> None:
    """Where little fits, orders that are not loaded are told rather than the rate; none of them is nothing to tell."""
    console = Screen(file=io.StringIO(), width=60, force_terminal=True)
    with console.capture() as captured:
        console.print(picture(attrs.evolve(LARGE, not_loaded=not_loaded), 60))
    (line,) = re.sub(r"\x1b\[[\d;]*m", "", captured.get()).splitlines()
    assert line.strip("━╺╸ ") == words


def test_first_problems_are_told_one_by_one() -> None:
    """After some problems, one line says where all of them are."""
    failed = Problem(Outcome(file="o", number=1, key=None, verdict=Verdict.BUSY))
    for outcomes, where in ((None, "--outcomes FILE keeps them all"), (Path("out"), "out has them all")):
        console, file = log()
        display = Display(console, outcomes)
        for _ in range(30):
            display(failed)
        assert file.getvalue().splitlines() == [
            *["o:1: busy: another process is loading it"] * 20,
            f"There are more problems: {where}.",
        ]


@pytest.mark.parametrize(("one_file", "where"), [(True, "line 186"), (False, "o:186")])
def test_invalid_lines_are_grouped(*, one_file: bool, where: str) -> None:
    """The first invalid lines are told one by one; at the end there is one line for each rule."""
    console, file = log()
    with Display(console, one_file=one_file) as display:
        for n in range(186, 298):
            broken = Violation(f"$.orderItems[{n}].name", "must be at most 128 characters")
            rules = (broken, Violation("$.price", "is required")) if n % 2 else (broken,)
            display(Problem(Outcome(file="o", number=n, key=None, verdict=Verdict.INVALID, violations=rules)))
    lines = file.getvalue().splitlines()
    assert [line.partition(": ")[0] for line in lines[:5]] == [f"o:{n}" for n in range(186, 191)]
    assert lines[5:] == [
        "112 lines are invalid; --outcomes FILE keeps them all:",
        f"  112 x $.orderItems[].name must be at most 128 characters, first at {where}",
        f"  56 x $.price is required, first at {where.replace('186', '187')}",
    ]


def test_summary_gives_no_advice_for_a_short_load() -> None:
    """What a load of a few seconds waited for is no reason to change anything; one request is no requests."""
    times, counts = Timings(server=9.0), collections.Counter({Verdict.LOADED: 1})
    told: list[list[str]] = []
    for seconds, requests in ((9.9, 1), (10.0, 2)):
        console, file = log()
        show_summary(console, Report(counts=counts, requests=requests, seconds=seconds, cpu=seconds, times=times))
        told.append(file.getvalue().splitlines())
    short, long = told
    assert short[-2:] == ["1 request in 9.9 s, 0 a second", "Where the time went: 100% server"]
    assert long[-3] == "2 requests in 10.0 s, 0 a second"
    assert long[-1].startswith("This process's CPU was busy 100% of the time, which is the limit")


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
    assert picture.count("\x1b[?25l") == 1
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
        "o.jsonl:3: already: 2 items on the server that the input does not have; "
        "1 consumer on the server that the input does not have"
    )
    unsure = (PartOutcome("items/0", PartVerdict.UNKNOWN),)
    outcome = Outcome(file=None, number=3, key="A", verdict=Verdict.UNKNOWN, parts=unsure, leftovers=left[:1])
    assert problem(outcome).endswith("; 1 item on the server that may be one of these parts")
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
    times = Timings(server=60, rate=30, connect=9.6, journal=0.36, decode=0.04)
    assert split(times) == "Where the time went: 60% server, 30% rate, 10% connect"
    assert times.to_json().keys() == {"server", "rate", "connect", "journal", "decode"}
    assert split(Timings()) == "Where the time went: there was too little to measure"


def test_conclusion_names_what_took_most() -> None:
    """The last line says what most of the time was spent on, and whether more connections would help."""
    assert conclusion(Timings(connection=50, rate=31, server=19), 10, 2) == (
        "81% of the time (50% connection and 31% rate) was waiting for the rate: more connections will not help"
    )
    assert conclusion(Timings(connection=50, lane=30, rate=1, server=19), 10, 2).startswith(
        "80% of the time (50% connection and 30% lane) was waiting for int"
    )
    assert conclusion(Timings(connection=50, rate=10, server=40), 10, 2).startswith(
        "50% of the time was waiting for a f"
    )
    assert conclusion(Timings(connection=0.1, rate=95, server=5), 10, 2) == (
        "95% of the time was waiting for the rate: more connections will not help"
    )
    assert conclusion(Timings(journal=50, server=40), 10, 2).startswith("56% of the time was waiting for the journal")
    assert conclusion(Timings(server=97, body=3), 10, 2).startswith("97% of the time was the server's own: more --conn")
    times = Timings(connection=27.4, rate=22.4, server=3, settle=47.2)
    assert split(times) == "Where the time went: 47% settle, 27% connection, 22% rate, 3% server"
    assert conclusion(times, 10, 2).startswith("49% of the time (27% connection and 22% rate) was waiting for the rate")
    assert set(ADVICE) == set(Timings.__struct_fields__)


QUEUE = Timings(connection=53, server=40, connect=7)


@pytest.mark.parametrize(
    ("times", "seconds", "cpu", "words"),
    [
        (QUEUE, 10, 8, "This process's CPU was busy 80% of the time, which is the limit: more connections will not"),
        (QUEUE, 10, 10.4, "This process's CPU was busy 100% of the time, which is the limit: more connections will"),
        (QUEUE, 10, 7.9, "53% of the time was waiting for a free connection: fewer are used"),
        (
            Timings(connection=50, rate=31, server=19),
            10,
            9,
            "81% of the time (50% connection and 31% rate) was waiting for the rate",
        ),
        (
            Timings(connection=50, lane=31, server=19),
            10,
            9,
            "81% of the time (50% connection and 31% lane) was waiting for interactive calls",
        ),
    ],
    ids=["most", "with the journal's thread", "not most", "rate", "lane"],
)
def test_conclusion_knows_a_process_that_computes_all_the_time(
    times: Timings, seconds: float, cpu: float, words: str
) -> None:
    """Where a core is used up, that is the limit and not what calls wait for; but a rate that they wait for is one."""
    assert conclusion(times, seconds, cpu).startswith(words)


PRINTING = """
import contextlib, os, subprocess
from cdp_orders_async.cli.display import kept_for_results
with kept_for_results():
    print("by Python")
    with contextlib.suppress(OSError):
        os.write(1, b"by the core\\n")
    subprocess.run(["echo", "by a process"])
print("result")
"""


@pytest.mark.parametrize("closed", ["", "1>&-", "2>&-"])
def test_what_others_print_is_no_result(closed: str) -> None:
    """What a library and its processes print goes to standard error, also where one of the two is closed."""
    command = f'exec "$0" -c "$1" {closed}'
    ended = subprocess.run(["sh", "-c", command, sys.executable, PRINTING], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "" if closed == "1>&-" else "result\n"), ended.stderr
    if not closed:
        assert sorted(ended.stderr.splitlines()) == ["by Python", "by a process", "by the core"]
