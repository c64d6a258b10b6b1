"""The time that the rest of a load takes: real loads in virtual time, whose end is known afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cdp_orders_async import GraphFiles, Journal, MemoryJournal, Resources, ingest
from cdp_orders_async.emulator import Emulator, Faults
from cdp_orders_async.ingest import Load
from cdp_orders_async.jobs import Event, Progress
from cdp_orders_async.jobs.estimate import Mix, Speed
from cdp_orders_async.jobs.progress import Meter
from cdp_orders_async.session import Session
from tests.cli.support import Json, orders, write
from tests.ingest.serving import KEY, TOKEN, virtually
from tests.virtual import LoopbackLoop, run_in

RATE = 10.0
"""Requests a second."""
ORDERS = 100
"""Orders of an input, each of six requests."""


class Look(NamedTuple):
    """The progress at a time."""

    at: float
    progress: Progress
    waits: bool


class Watch:
    """Looks at a load of the file *source* over *session* until its end."""

    def __init__(self, loop: LoopbackLoop, session: Session, source: Path) -> None:
        self.looks: list[Look] = []
        self.began = self.ended = 0.0
        self.do: Callable[[Load, Progress], None] = lambda _, __: None
        self.loop = loop
        self.session = session
        self._source = source
        self._load: Load | None = None

    def __call__(self, event: Event) -> None:
        """Note the progress."""
        assert isinstance(event, Progress)
        assert self._load is not None
        waits = event.paused is not None or event.held
        self.looks.append(Look(self.loop.time(), event, waits))
        self.do(self._load, event)

    async def load(self, base_url: str, journal: Journal, *, stop_after: int = 0) -> None:
        """Load the file, or so many of its orders."""
        meter = Meter(GraphFiles([self._source]), self.session)
        self.looks.clear()
        self.began = self.loop.time()
        async with ingest(
            Resources(self.session, base_url), aiter(meter), journal=journal, open_orders=8, settle=0.5
        ) as load:
            self._load = load
            with meter.watching(load, self, lambda: None):
                async for outcome in load:
                    meter.hear(outcome)
                    if load.done == stop_after:
                        load.stop(60)
        self.ended = self.loop.time()

    @property
    def paused(self) -> bool:
        """Whether the load paused."""
        return any(look.waits for look in self.looks)

    def wrong(self, since: float) -> list[tuple[float, float | None, float]]:
        """Return the estimates after *since* that are not within a fifth of the time that the work still took.

        Each with when it was made, and the truth. The last seconds do not count, in which a second is a fifth.
        """
        found: list[tuple[float, float | None, float]] = []
        for now, later in zip(self.looks, [*self.looks[1:], None], strict=True):
            waited = sum(
                b.at - a.at for a, b in zip(self.looks, self.looks[1:], strict=False) if a.waits and a.at >= now.at
            )
            truth, left = self.ended - now.at - waited, now.progress.seconds_left
            if now.at < since or now.waits or later is None or truth < 3:
                continue
            if left is None or not 0.8 * truth <= left <= 1.2 * truth:
                found.append((round(now.at - self.began, 2), left, round(truth, 2)))
        return found

    @property
    def tenth(self) -> float:
        """When a tenth of the time had passed."""
        return self.began + (self.ended - self.began) / 10


def in_virtual_time(
    monkeypatch: pytest.MonkeyPatch, folder: Path, main: Callable[[Watch, str, Emulator], object], **settings: object
) -> None:
    """Call *main* with what watches loads of a file, and with the server."""

    async def run(loop: LoopbackLoop) -> None:
        emulator = Emulator(client_key=KEY, api_token=TOKEN)
        source = write(folder / "o.jsonl", orders(ORDERS))
        async with virtually(loop, monkeypatch, emulator, **{"rate": RATE, "connections": 4, **settings}) as (
            session,
            url,
        ):
            await main(Watch(loop, session, source), url, emulator)  # type: ignore[misc]

    run_in(LoopbackLoop, run)


def test_fresh_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After a tenth of the time, the estimate of a load that runs evenly is right within a fifth."""

    async def main(watch: Watch, url: str, _: Emulator) -> None:
        await watch.load(url, MemoryJournal())
        assert watch.ended - watch.began == pytest.approx(ORDERS * 6 / RATE, rel=0.1)
        assert watch.wrong(watch.tenth) == []
        shares = [look.progress.fraction for look in watch.looks if look.at > watch.tenth]
        assert None not in shares
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
        loop, down = watch.loop, Faults.of({"faults": [{"operation": "*", "action": "status", "status": 503}]})

        def act(_: Load, progress: Progress) -> None:
            if progress.done >= ORDERS // 2 and emulator.faults is not down and not watch.paused:
                emulator.faults = down
                loop.call_later(seconds, setattr, emulator, "faults", Faults())

        watch.do = act
        await watch.load(url, MemoryJournal())
        assert watch.paused
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
        assert watch.wrong(changed[0] + 30 / (RATE * factor)) == []

    in_virtual_time(monkeypatch, tmp_path, main)
