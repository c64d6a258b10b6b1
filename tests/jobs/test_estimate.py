"""The time that the rest of a load takes: real loads in virtual time, whose end is known afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from cdp_orders_async import GraphFiles, Journal, MemoryJournal, Resources, ResourcesV2, ingest
from cdp_orders_async.emulator import Emulator, Faults
from cdp_orders_async.ingest import Load
from cdp_orders_async.jobs import Event, Progress
from cdp_orders_async.jobs.estimate import Mix, Speed
from cdp_orders_async.jobs.progress import Meter
from cdp_orders_async.kinds import V2, V2_1, Api
from cdp_orders_async.session import Session
from cdp_orders_async.sources import jsonlines
from tests.cli.support import Json, orders, orders_v2, write
from tests.ingest.serving import KEY, TOKEN, virtually
from tests.virtual import LoopbackLoop, run_in

T = TypeVar("T")

RATE = 10.0
"""Requests a second."""
ORDERS = 100
"""Orders of an input, each of six requests."""


class Look(NamedTuple):
    """The progress at a time."""

    at: float
    progress: Progress
    down: bool
    """Whether the server is down, or nothing was done since."""


class Watch:
    """Looks at a load of the file *source* over *session* until its end."""

    def __init__(self, loop: LoopbackLoop, session: Session, source: Path, api: Api = V2_1) -> None:
        self.looks: list[Look] = []
        self.began = self.ended = 0.0
        self.down = False
        """Whether the server is down now."""
        self.do: Callable[[Load, Progress], None] = lambda _, __: None
        self.loop = loop
        self.session = session
        self._source = source
        self._api = api
        self._load: Load | None = None

    def __call__(self, event: Event) -> None:
        """Note the progress."""
        assert isinstance(event, Progress)
        assert self._load is not None
        before = self.looks[-1] if self.looks else None
        still = before is not None and before.down and before.progress.done == event.done
        self.looks.append(Look(self.loop.time(), event, self.down or still))
        self.do(self._load, event)

    async def load(self, base_url: str, journal: Journal, *, stop_after: int = 0, **options: Any) -> None:  # noqa: ANN401
        """Load the file, or so many of its orders, with *options* of `ingest`."""
        meter = Meter(GraphFiles([self._source], self._api), self.session)
        resources = Resources if self._api is V2_1 else ResourcesV2
        given: Json = {"open_orders": 8, "settle": 0.5, **options}
        self.looks.clear()
        self.began = self.loop.time()
        async with ingest(resources(self.session, base_url), aiter(meter), journal=journal, **given) as load:
            self._load = load
            with meter.watching(load, self, lambda: None):
                async for outcome in load:
                    meter.hear(outcome)
                    if load.done == stop_after:
                        load.stop(60)
        self.ended = self.loop.time()

    def wrong(self, since: float) -> list[tuple[float, float | None, float]]:
        """Return the estimates after *since* that are not within a fifth of the time that the work still took.

        Each with when it was made, and the truth. The last seconds do not count, in which a second is a fifth.
        """
        found: list[tuple[float, float | None, float]] = []
        for now, later in zip(self.looks, [*self.looks[1:], None], strict=True):
            waited = sum(
                b.at - a.at for a, b in zip(self.looks, self.looks[1:], strict=False) if a.down and a.at >= now.at
            )
            truth, left = self.ended - now.at - waited, now.progress.seconds_left
            if now.at < since or now.down or later is None or truth < 3:
                continue
            if left is None or not 0.8 * truth <= left <= 1.2 * truth:
                found.append((round(now.at - self.began, 2), left, round(truth, 2)))
        return found

    @property
    def tenth(self) -> float:
        """When a tenth of the time had passed."""
        return self.began + (self.ended - self.began) / 10


def in_virtual_time(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    main: Callable[[Watch, str, Emulator], Awaitable[None]],
    *,
    api: Api = V2_1,
    lines: Sequence[Json] = (),
    **settings: object,
) -> None:
    """Call *main* with what watches loads of a file, and with the server."""

    async def at_once(do: Callable[[], T]) -> T:
        return do()

    async def run(loop: LoopbackLoop) -> None:
        monkeypatch.setattr(jsonlines, "in_thread", at_once)  # a thread takes real time
        emulator = Emulator(client_key=KEY, api_token=TOKEN)
        source = write(folder / "o.jsonl", lines or orders(ORDERS))
        async with virtually(loop, monkeypatch, emulator, **{"rate": RATE, "connections": 4, **settings}) as (
            session,
            url,
        ):
            await main(Watch(loop, session, source, api), url, emulator)

    run_in(LoopbackLoop, run)


def test_fresh_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a tenth of the time, the estimate of a load that runs evenly is right within a fifth."""

    async def main(watch: Watch, url: str, _: Emulator) -> None:
        await watch.load(url, MemoryJournal())
        assert watch.ended - watch.began == pytest.approx(ORDERS * 6 / RATE, rel=0.1)
        assert watch.wrong(watch.tenth) == []
        shares = [look.progress.fraction or 0.0 for look in watch.looks if look.at > watch.tenth]
        assert shares[0] > 0.09
        assert shares == sorted(shares)

    in_virtual_time(monkeypatch, tmp_path, main)


def test_resumed_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The orders that the journal skips, which take no time, do not count."""

    async def main(watch: Watch, url: str, _: Emulator) -> None:
        journal = MemoryJournal()
        await watch.load(url, journal, stop_after=ORDERS * 7 // 10)
        await watch.load(url, journal)
        assert watch.ended - watch.began == pytest.approx(ORDERS * 3 / 10 * 6 / RATE, rel=0.1)
        assert watch.wrong(watch.tenth) == []

    in_virtual_time(monkeypatch, tmp_path, main)


@pytest.mark.parametrize("seconds", [20, 100])
def test_load_with_an_outage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: int) -> None:
    """A pause of the server counts neither as work nor as slow work afterwards."""

    async def main(watch: Watch, url: str, emulator: Emulator) -> None:
        ends: list[float] = []

        def end() -> None:
            emulator.faults, watch.down = Faults(), False

        def act(_: Load, progress: Progress) -> None:
            if progress.done >= ORDERS // 2 and not ends:
                plan: Json = {"faults": [{"operation": "*", "action": "status", "status": 503}]}
                emulator.faults, watch.down = Faults.of(plan), True
                ends.append(watch.loop.time() + seconds)
                watch.loop.call_at(ends[0], end)

        watch.do = act
        await watch.load(url, MemoryJournal())
        assert watch.ended > ends[0]
        assert watch.wrong(watch.tenth) == []

    in_virtual_time(monkeypatch, tmp_path, main)


@pytest.mark.parametrize("factor", [0.5, 3])
def test_load_with_another_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float) -> None:
    """A rate that is changed is the speed from then on, once there were some requests at it."""

    async def main(watch: Watch, url: str, _: Emulator) -> None:
        changed: list[float] = []

        def act(_: Load, progress: Progress) -> None:
            if progress.done >= ORDERS // 2 and not changed:
                watch.session.set_rate(RATE * factor)
                changed.append(watch.loop.time())

        watch.do = act
        await watch.load(url, MemoryJournal())
        assert watch.wrong(changed[0] + 1.5 + 10 / (RATE * factor)) == []

    in_virtual_time(monkeypatch, tmp_path, main)


def of_many_sizes(api: Api) -> list[Json]:
    """Return 25 orders, the largest of which have many times the parts of the smallest."""
    lines = orders(25) if api is V2_1 else orders_v2(25)
    for n, line in enumerate(lines):
        more = [{**line["orderItems"][0], "referenceId": f"A-{n}-{i}"} for i in range(n * 7 % 13)]
        line["orderItems"] += more
    return lines


@pytest.mark.parametrize("api", [V2_1, V2])
def test_small_load_with_all_orders_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: Api) -> None:
    """The requests that are left count, not the orders, which differ in size; so does the time in which lists lag.

    The orders are first absent, and then on the server already, so that most parts of an order take one list.
    """

    async def main(watch: Watch, url: str, _: Emulator) -> None:
        for look_first in (False, True):
            await watch.load(url, MemoryJournal(), open_orders=128, look_first=look_first)
            assert watch.wrong(watch.tenth) == []

    async def absent(watch: Watch, url: str, _: Emulator) -> None:
        await watch.load(url, MemoryJournal(), open_orders=128, look_first=True, settle=10.0)
        assert watch.wrong(watch.tenth) == []

    given: Json = {"api": api, "lines": of_many_sizes(api), "rate": 20.0, "connections": 32}
    in_virtual_time(monkeypatch, tmp_path, main, **given)
    in_virtual_time(monkeypatch, tmp_path, absent, **given)


def mixed(*ends: bool) -> Mix:
    """Return the mix of orders that ended, each with requests or not."""
    mix = Mix()
    for sent in ends:
        mix.ended(sent=sent)
    return mix


@pytest.mark.parametrize(
    ("ends", "row", "share"),
    [
        ([], 0, 1.0),
        ([True] * 3, 0, 1.0),
        ([False] * 100, 0, None),
        ([False] * 100, 4, 1.0),  # those that were taken since are enough
        ([False] * 100 + [True] * 4, 0, 1.0),
        ([True, False, False, False] * 50, 0, 0.25),
        ([False, True] * 20 + [False] * 40 + [True] * 20, 0, 1.0),  # a ragged end of what was loaded
        ([True] * 50 + [False] * 4, 0, None),
    ],
)
def test_share_of_orders_that_need_requests(ends: list[bool], row: int, share: float | None) -> None:
    """Orders without requests among others are a share of the rest; those in a row are not."""
    assert mixed(*ends).share(row) == share


def test_speed_leaves_out_time_without_progress() -> None:
    """A wait that is told, and a stall that is not, count neither while they last nor afterwards."""
    for told in (True, False):
        speed = Speed()
        for second in range(200):
            waits = 50 <= second < 150
            done = min(second, 50) + max(0, second - 150)
            speed.note(float(second), 6 * done, waiting=told and waits)
            if second >= 20 and not (45 < second < 60):
                assert speed.requests == pytest.approx(6.0, rel=0.1), second
        speed.restart()
        assert speed.requests is None


def test_speed_is_that_of_the_last_minute() -> None:
    """A load that becomes slower is as fast as it is now."""
    speed, done = Speed(), 0
    for second in range(400):
        done += 60 if second < 200 else 6
        speed.note(float(second), done)
    assert speed.requests == pytest.approx(6.0)
