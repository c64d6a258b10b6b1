"""Whatever some workers do, in whatever order, every journal tells what the model tells."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdp_orders_async.journal import Journal, OrderId
from cdp_orders_async.journal.load_ids import load_id
from tests.journal.model import Model
from tests.journal.stores import LEASE, STORES, Store, order

ONE, TWO, BIG = UUID(int=1), UUID(int=2), UUID(int=2**128 - 1)
ORDERS = [order("G"), order("G", 48), order("G", 96.5), *map(order, ("", "g", "G\0", "G\0H", "'; --", "Ж", "G@"))]
RENAMED: dict[bytes, dict[str, str | None]] = {
    b"": {"order": "contact", "contact": "order"},
    b"\0": {"order": "contact"},
    b"old": {"contact": "order\0", "order\0": "order", "never recorded": "contact"},
    b"new": {"order": None, "contact": "order"},
}
"""Names that are exchanged, replaced, taken in turn and dropped."""
GAPS = {b"": None, b"\0": None, b"old": False, b"new": True}
LIMIT = 4
MEMORY = next(filter(os.path.isdir, ["/dev/shm"]), None)  # noqa: S108 where syncing costs nothing


class Step(NamedTuple):
    """What one worker does."""

    name: str
    worker: int
    order: OrderId
    part: str
    digest: bytes
    ref: UUID | None
    created: bool


STEPS = st.builds(
    Step,
    st.sampled_from(
        ("claim",) * 4
        + ("rename",) * 2
        + ("record",) * 4
        + ("complete",) * 2
        + ("forget", "incomplete", "release", "renew", "owner", "known", "created", "orders", "wait", "reopen", "crash")
    ),
    st.integers(0, 2),
    st.sampled_from([*ORDERS[:3] * 3, *ORDERS]),
    st.sampled_from(["order", "order", "contact", "orderItems[0].extensions[0]", "order\0"]),
    st.sampled_from([b"", b"\0", b"old", b"new"]),
    st.sampled_from([None, ONE, TWO, BIG]),
    st.booleans(),
)


class Play:
    """The same steps, done by workers of a store and by those of the model."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.journals: list[Journal] = []

    async def play(self, steps: Sequence[Step]) -> None:
        """Do *steps*, and compare what is told at each, and what is known at the end."""
        self.journals = [await self.store.connect() for _ in range(self.store.workers)]
        self.model = Model(self.store.workers, self.journals[0].lease)
        try:
            for step in steps:
                told, expected = await self.do(step._replace(worker=step.worker % self.store.workers))
                assert told == expected, step
            await self.compare_all()
        finally:
            for journal in self.journals:
                await journal.aclose()

    async def do(self, step: Step) -> tuple[object, object]:
        """Do one step twice, and return what is told."""
        name, worker, wanted, _, digest, ref, _ = step
        journal, model = self.journals[worker], self.model
        told: tuple[object, object] = None, None
        match name:
            case "claim":
                run, number = load_id(10 - len(digest) - worker, bytes), len(digest)
                found = await journal.claim(wanted, digest, run=run, number=number, sends=step.created)
                told = found, model.claim(worker, wanted, digest, run, number, sends=step.created)
            case "renew":
                told = await journal.renew([known.key for known in ORDERS]), model.renew(worker)
            case "owner" | "known" | "created" | "orders":
                told = await self.look(worker, name, ref or ONE)
            case "complete" | "incomplete":
                gaps = GAPS[digest]
                await journal.end(wanted.key, complete=name == "complete", gaps=gaps)
                model.end(worker, wanted.key, complete=name == "complete", gaps=gaps)
            case "wait":
                self.store.seconds += LEASE / 3
                model.now += LEASE / 3
            case "reopen" | "crash":
                await self.restart(worker, crash=name == "crash")
            case _:
                self.note(step)
                if name == "release" and self.store.releases_at_once:
                    await journal.known(0)
                    model.write(worker)
        return told

    def note(self, step: Step) -> None:
        """Do twice what is queued."""
        name, worker, wanted, part, digest, ref, created = step
        journal, model = self.journals[worker], self.model
        match name:
            case "record":
                journal.record(wanted.key, part, digest, ref, created=created)
                model.record(worker, wanted.key, part, digest, ref, created=created)
            case "forget":
                journal.forget(wanted.key, part)
                model.forget(worker, wanted.key, part)
            case "rename":
                parts = RENAMED[digest]
                journal.rename(wanted.key, parts)
                model.rename(worker, wanted.key, parts)
            case _:
                journal.release(wanted.key)
                model.release(worker, wanted.key)

    async def look(self, worker: int, name: str, ref: UUID) -> tuple[object, object]:
        """Read, which writes what is queued."""
        journal, model = self.journals[worker], self.model
        model.write(worker)
        match name:
            case "owner":
                return await journal.owner(ref), model.owner(ref)
            case "known":
                return await journal.known(LIMIT), model.known(LIMIT)
            case "orders":
                return [order async for order in journal.orders()], model.orders()
            case _:
                return [part async for part in journal.created()], model.created()

    async def restart(self, worker: int, *, crash: bool) -> None:
        """Let a worker end, and another take its place."""
        if self.store.can_crash:
            await (self.store.crash(self.journals[worker]) if crash else self.journals[worker].aclose())
            (self.model.crash if crash else self.model.close)(worker)
            self.model.held[worker].clear()
            self.journals[worker] = await self.store.connect()

    async def compare_all(self) -> None:
        """Compare all that is known when every worker has ended and all leases have too."""
        for worker in range(self.store.workers):
            await self.restart(worker, crash=worker == 1)
        self.store.seconds += LEASE
        self.model.now += LEASE
        for name, ref in (
            ("known", ONE),
            ("created", ONE),
            ("orders", ONE),
            ("owner", ONE),
            ("owner", TWO),
            ("owner", BIG),
        ):
            told, expected = await self.look(0, name, ref)
            assert told == expected
        for wanted in ORDERS:
            for name in ("claim", "release"):
                told, expected = await self.do(Step(name, 0, wanted, "", b"last", None, created=False))
                assert told == expected


@pytest.mark.parametrize("name", [name for name in STORES if name != "postgres"])
@settings(max_examples=150)
@given(steps=st.lists(STEPS, max_size=40))
def test_every_journal_tells_what_the_model_tells(name: str, steps: list[Step]) -> None:
    """Claims, records and refs are those of the model, with crashes, restarts and leases that end in between."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        asyncio.run(Play(STORES[name](Path(folder))).play(steps))


@settings(max_examples=12)
@given(steps=st.lists(STEPS, max_size=40))
def test_a_database_tells_what_the_model_tells(steps: list[Step]) -> None:
    """As above; fewer lists of steps, because each step takes a while."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        asyncio.run(Play(STORES["postgres"](Path(folder))).play(steps))
