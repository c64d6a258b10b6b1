"""Loads of several processes that share one rate, which the database of their journal holds."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from cdp_orders_async import CdpOrders, Invalid, PostgresLimiter, Settings, Verdict, jobs
from cdp_orders_async.cli import main
from cdp_orders_async.emulator import running
from cdp_orders_async.sources import GraphFiles
from tests.cli.support import PARTS, TOKEN, Watched, cdp_orders, orders, write
from tests.pacing.rates import TimedEmulator

RATE = 60
ORDERS = 16
FILE = "o.jsonl"
JOURNAL = ("--journal", "postgresql://h/d")


class Timed(TimedEmulator, Watched):
    """A watched emulator that keeps when each request came."""

    longest = 0.0
    """Seconds for which it stood still at most; what came meanwhile, it sees at once."""

    async def look(self) -> None:
        """Note how long it stands still."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            last, before = time.monotonic(), last
            self.longest = max(self.longest, last - before)


async def test_two_loads_share_one_rate(tmp_path: Path, postgres: str) -> None:
    """Two loads keep the rate together, and a third one with another rate is refused, as long as the first is in use.

    Without a rate of its own, a load takes the one of the others.
    """
    server = Timed()
    lines = orders(ORDERS)
    halves = [write(tmp_path / name, half) for name, half in (("1", lines[::2]), ("2", lines[1::2]))]
    more = ("--journal", postgres, "--shared-rate", "eu")
    async with running(server) as server.base_url:

        async def run(*words: object) -> tuple[int, str]:
            ran = await cdp_orders("load", *words, *more, cwd=tmp_path, env=server.environment)
            return ran.status, ran.err.splitlines()[-1]

        looking = asyncio.create_task(server.look())
        ran = await asyncio.gather(*(run(half, "--rate", RATE) for half in halves))
        looking.cancel()
        assert [status for status, _ in ran] == [0, 0]
        assert 0 <= len(server.times) - ORDERS * PARTS <= 2  # with a new journal, a load looks for its first order
        seconds = server.times[-1] - server.times[0] + server.longest
        assert seconds > 0.8 * (len(server.times) - 1) / RATE  # half of it, if each load had the rate for itself
        sentence = "cdp-orders: --rate must be 60: other processes used the shared rate 'eu' at that rate in the last"
        assert await run(halves[0], "--rate", 50) == (2, f"{sentence} minute; nothing was sent")
        assert (await run(halves[0], "--rate", "none"))[0] == 0
    assert server.holds(lines)
    server.close()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--rate", "5", "--journal", "j"), "--shared-rate needs a journal in Postgres, whose database holds the rate"),
        (("--rate", "5"), "--shared-rate needs a journal in Postgres"),
        ((), "--shared-rate needs a journal in Postgres"),
        (JOURNAL, "--rate must be a number where processes share it: each process would find another rate"),
        (("--rate", "auto", *JOURNAL), "--rate must be a number where processes share it"),
        (
            ("--rate", "2e6", *JOURNAL),
            "--rate must be from 0.001 to 1,000,000 requests a second",
        ),
        (
            ("--rate", "5", *JOURNAL, "--shared-rate", ""),
            "--shared-rate must have from 1 to 200",
        ),
        (("--rate", "5", *JOURNAL, "--engine", "batch"), "--shared-rate cannot be given with"),
        (
            ("--rate", "5", *JOURNAL, "--shared-rate", "\udcff"),
            "--shared-rate must be text that",
        ),
    ],
)
def test_a_rate_that_cannot_be_shared(
    words: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence says what is wrong, before any database or server is asked; no file is made."""
    monkeypatch.chdir(tmp_path)
    for name, value in Watched().environment.items():
        monkeypatch.setenv(name, value or "http://127.0.0.1:1")
    monkeypatch.delenv("CDP_RATE", raising=False)
    write(tmp_path / FILE, orders(1))
    assert main(["load", FILE, *(() if "--shared-rate" in words else ("--shared-rate", "eu")), *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"cdp-orders: {sentence}"), told
    assert told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


async def test_the_client_of_a_job_is_as_before(tmp_path: Path, postgres: str) -> None:
    """The rate is shared while the load lasts; a client that shares one already is refused."""
    source = GraphFiles([write(tmp_path / FILE, orders(1))])
    server = Watched()
    place = jobs.journal_place(postgres)

    async def load(cdp: CdpOrders) -> jobs.Report:
        return await jobs.load(cdp, source, journal=place, shared_rate="eu")

    async with (
        running(server) as url,
        await PostgresLimiter.open(postgres, name="eu", rate=500) as limiter,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN, settings=Settings()) as cdp,
        CdpOrders(base_url=url, client_key="key", api_token=TOKEN, shared_limiter=limiter) as sharing,
    ):
        assert (await load(cdp)).counts == {Verdict.LOADED: 1}
        assert cdp.session.settings.rate is None
        await cdp.ping()
        with pytest.raises(Invalid, match="shared_rate: cannot be given: the client has a shared_limiter"):
            await load(sharing)
    server.close()
