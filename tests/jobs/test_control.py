"""A load that is made slower, faster or paused while it runs, and one that ends itself."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from cdp_orders_async import GraphFiles, Invalid, Verdict, jobs
from cdp_orders_async.jobs import throttle, ticking
from cdp_orders_async.jobs.throttle import Wish, parse_wish
from tests.cli.support import PARTS, orders, write
from tests.jobs.test_load import connected


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often."""
    monkeypatch.setattr(ticking, "EVERY", 0.01)
    monkeypatch.setattr(throttle, "EVERY", 0.01)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("", Wish()),
        ("rate = 50", Wish(rate=50.0)),
        ('rate = "auto"\npause = true', Wish(rate="auto", pause=True)),
        ('rate = "none"\npause = false', Wish(rate=None, pause=False)),
    ],
)
def test_contents_of_a_control_file(text: str, wish: Wish) -> None:
    """It says the rate, or whether the load pauses, or nothing."""
    assert parse_wish(text.encode()) == wish


@pytest.mark.parametrize(
    "text",
    [
        "rate = 0",
        "rate = -1",
        "rate = nan",
        "rate = inf",
        "rate = true",
        'rate = "as it is"',
        "rate",
        "rate = [1]",
        "pause = 1",
        'pause = "yes"',
        "speed = 5",
        "\x00",
        "x" * 70_000,
        "rate = " + "[" * 5000,
        "rate = " + "9" * 400,
        "rate = " + "9" * 5000,
    ],
)
def test_wrong_contents_are_refused(text: str) -> None:
    """Whatever else it holds is wrong."""
    with pytest.raises(ValueError, match=r"^(it m|rate must|pause must)"):
        parse_wish(text.encode())


async def test_links_that_lead_to_each_other(tmp_path: Path) -> None:
    """A control file that is such a link changes nothing; no other file that is one ends in a traceback."""
    loop, told = tmp_path / "loop", list[jobs.Event]()
    loop.symlink_to(loop)
    source = GraphFiles([write(tmp_path / "o.jsonl", orders(1))])
    journal = jobs.journal_path([], source.names, tmp_path / "j", told.append, {"control": loop}, source.paths)
    assert journal == tmp_path / "j"
    async with connected() as (_, cdp):
        report = await jobs.load(cdp, source, journal=tmp_path / "j", control=loop, on_event=told.append)
    assert report.status == 0
    assert any("it cannot be read: Too many levels" in str(event) for event in told)


async def test_control_file_changes_rate_and_pauses(tmp_path: Path) -> None:
    """Each change is obeyed and told once; wrong contents change nothing; a pause lasts until it is taken back."""
    source, control = write(tmp_path / "o.jsonl", orders(30)), tmp_path / "control.toml"
    control.write_text("rate = 150")
    told: list[str] = []
    steps = iter(["rate = 0", 'rate = "none"\npause = true', "pause = false"])
    held = 0

    def observe(event: jobs.Event) -> None:
        nonlocal held
        if isinstance(event, jobs.Message) and str(control) in event.text:
            told.append(event.text.removeprefix(f"{control}: "))
            if "the rate is now no limit" not in event.text and (step := next(steps, None)) is not None:
                control.write_text(step)
        elif isinstance(event, jobs.Progress):
            held += event.held

    async with connected() as (server, cdp):
        report = await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", control=control, on_event=observe)
        assert server.holds(orders(30))
    assert report.counts == {Verdict.LOADED: 30}
    assert held
    assert told == [
        "the rate is now at most 150 requests a second.",
        'rate must be a number above 0, "auto" or "none". Nothing was changed.',
        "the rate is now no limit.",
        "the load pauses; pause = false lets it go on.",
        "the load goes on.",
    ]


async def test_signals_change_the_rate(tmp_path: Path) -> None:
    """SIGUSR1 lowers the rate by a quarter and SIGUSR2 raises it; afterwards they are what they were."""
    source = write(tmp_path / "o.jsonl", orders(20))
    told: list[str] = []
    numbers = [signal.SIGUSR1, signal.SIGUSR2]

    def observe(event: jobs.Event) -> None:
        if isinstance(event, jobs.Message) and event.text.startswith("SIGUSR"):
            told.append(event.text)
        elif isinstance(event, jobs.Progress) and numbers and len(numbers) + len(told) == 2:
            os.kill(os.getpid(), numbers.pop(0))

    async with connected() as (_, cdp):
        await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", on_event=observe)
        assert cdp.session.settings.rate == 187.5
    assert told == [
        "SIGUSR1: the rate is now at most 150 requests a second.",
        "SIGUSR2: the rate is now at most 187.5 requests a second.",
    ]
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_load_ends_after_errors(tmp_path: Path) -> None:
    """After so many errors nothing new is begun; the status is that of orders that are not loaded, and it resumes."""
    source = write(tmp_path / "o.jsonl", [*orders(1), {}, {}, *orders(200)])
    async with connected() as (server, cdp):
        report = await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", max_errors=2)
        assert server.received < 100 * PARTS
    assert (report.status, report.resumable, report.error) == (1, True, None)
    assert report.reason == "the load ended after 2 orders that failed or are invalid (max_errors=2)"


@pytest.mark.parametrize("status", [429, 503])
async def test_load_gives_up(tmp_path: Path, status: int) -> None:
    """A server that is down or busy for good ends the load after the seconds that it has, and not after the drain."""
    source = write(tmp_path / "o.jsonl", orders(60))
    down = {"operation": "orders.create", "script": ["ok"] * 5 + [{"action": "status", "status": status}] * 9999}
    async with connected({"faults": [down]}, 60) as (server, cdp), asyncio.timeout(60):
        report = await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", give_up=0.5, drain=900)
        assert report.reason is not None
        why = f"{server.base_url}: nothing has succeeded for 0.5 s, and the load gave up: POST /v2.1/orders: {status} "
        assert report.reason.startswith(why)
    assert (report.status, report.resumable) == (2, True)


@pytest.mark.parametrize(("max_errors", "give_up"), [(0, None), (-1, None), (None, 0.0), (None, -1.0)])
async def test_limits_must_be_above_0(tmp_path: Path, max_errors: int | None, give_up: float | None) -> None:
    """A limit that cannot be is refused before anything."""
    source = write(tmp_path / "o.jsonl", orders(1))
    async with connected() as (server, cdp):
        with pytest.raises(Invalid, match="must be above 0"):
            await jobs.load(cdp, GraphFiles([source]), journal=tmp_path / "j", max_errors=max_errors, give_up=give_up)
        assert server.received == 0
