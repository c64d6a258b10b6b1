"""Lives of orders, lived in virtual time: ``python -m tests.ingest.lives --examples 10000 --seed 1``."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
import traceback
from collections.abc import Coroutine, Generator, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar
from unittest.mock import patch

import anyio
import attrs

from cdp_orders_async import CdpError, Load, Outcome, Verdict, ingest, ingest_one
from cdp_orders_async.emulator import Emulator
from cdp_orders_async.emulator.records import Record
from cdp_orders_async.ingest import entry
from tests.ingest import judging
from tests.ingest.drawing import Drawing
from tests.ingest.holding import Told, held_of
from tests.ingest.judging import MADE, Seen
from tests.ingest.life import SETTLE, START, Call, Crash, Key, Life, Order, Phase, Sleep
from tests.ingest.processes import Process
from tests.ingest.serving import BASE
from tests.ingest.versions import NEW, OLD
from tests.journal.shared import SharedDatabase
from tests.virtual import VirtualLoop, run

T = TypeVar("T")

MOST_RUNS = 4
"""Runs without failures after which nothing is left to do."""


@attrs.define(eq=False)
class Making:
    """A call that is made, and what came of it."""

    tenant: Tenant
    call: Call
    orders: tuple[Order, ...]
    process: Process
    journaled: frozenset[str]
    """What the journal must know, by reference."""
    told: list[Told] = attrs.Factory(list[Told])
    """What its load told, with what the server held at that moment."""
    taken: list[Outcome] = attrs.Factory(list[Outcome])
    """What its caller got."""
    error: CdpError | None = None
    """What ended it."""

    def tell(self, outcome: Outcome) -> None:
        """Note an outcome, unless the process is dead."""
        if self.process.alive:
            order = self.orders[self.call.lines[outcome.number - 1]]
            self.told.append(Told(order, outcome, self.tenant.held(order.key), self.must_know()))

    def must_know(self) -> frozenset[str]:
        """Return what the call must know: without a journal, what its client made or found just now."""
        if self.call.journal:
            return self.journaled
        now = asyncio.get_running_loop().time()
        return frozenset(ref for ref, then in self.process.known.items() if then > now - SETTLE)


MAKING: ContextVar[Making] = ContextVar("MAKING")


class WatchedLoad(Load):
    """A load in virtual time, each outcome of which is judged by what is so at the moment when it is told."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 those of a load
        super().__init__(*args, clock=asyncio.get_running_loop().time, **options)
        self._making = MAKING.get()

    def _tell(self, outcome: Outcome) -> None:
        self._making.tell(outcome)
        super()._tell(outcome)


def make_task(
    loop: asyncio.AbstractEventLoop,
    main: Coroutine[Any, Any, T] | Generator[Any, None, T],
    **options: Any,  # noqa: ANN401 those of a task
) -> asyncio.Future[T]:
    """Make a task that belongs to the process in which it is made."""
    task = asyncio.Task(main, loop=loop, **options)
    making = MAKING.get(None)
    if making is not None:
        making.process.tasks.add(task)
        task.add_done_callback(making.process.tasks.discard)
    return task


async def make(making: Making) -> None:
    """Make a call, and end it as it is told."""
    MAKING.set(making)
    task = asyncio.current_task()
    assert task is not None
    making.process.tasks.add(task)
    call, loop = making.call, asyncio.get_running_loop()
    await asyncio.sleep(call.begins)
    with anyio.CancelScope() as scope:
        ends = {"scope": scope.cancel, "task": task.cancel}
        timer = loop.call_later(call.end.after, ends[call.end.way]) if call.end and call.end.way in ends else None
        try:
            await (load_one if call.one else load_all)(making)
        except asyncio.CancelledError:
            if call.end is None or call.end.way != "task" or not making.process.alive:
                raise
            task.uncancel()
        finally:
            if timer is not None:
                timer.cancel()


async def load_one(making: Making) -> None:
    """Load one order."""
    call, end = making.call, making.call.end
    try:
        outcome: Outcome | None = await ingest_one(
            making.tenant.version.resources(making.process.wire, BASE),
            making.tenant.graph(making.orders[call.lines[0]]),
            journal=making.process.journal if call.journal else None,
            look_first=call.look_first,
            on_existing=call.on_existing,
            settle=SETTLE,
            deadline=end.after if end is not None and end.way == "deadline" else None,
            drain=0.0 if end is None else end.drain,
        )
    except CdpError as error:
        making.error, outcome = error, Outcome.of(error)
    except asyncio.CancelledError as error:
        making.taken.extend(filter(None, [Outcome.of(error)]))
        raise
    making.taken.extend(filter(None, [outcome]))


async def load_all(making: Making) -> None:
    """Load many orders."""
    call, end = making.call, making.call.end
    load: Load | None = None

    def look() -> None:
        """Look at the progress, as a display does at any moment."""
        try:
            left: Sequence[tuple[float, bool]] = () if load is None else load.requests_left
        except Exception as error:  # noqa: BLE001 it is a finding
            making.tenant.wrong.append(f"no requests left: {error!r}")
        else:
            if any(requests < 0 for requests, _ in left):
                making.tenant.wrong.append(f"requests left: {left}")

    making.process.wire.looks.add(look)
    try:
        async with ingest(
            making.tenant.version.resources(making.process.wire, BASE),
            [making.tenant.graph(making.orders[n]) for n in call.lines],
            journal=making.process.journal if call.journal else None,
            look_first=call.look_first,
            on_existing=call.on_existing,
            open_orders=call.open_orders,
            settle=SETTLE,
            drain=1.0 if end is None else end.drain,
        ) as load:
            if end is not None and end.way == "stop":
                asyncio.get_running_loop().call_later(end.after, load.stop, end.drain)
            while end is None or end.way != "leave" or len(making.taken) < end.after:
                making.taken.append(await anext(load))
    except StopAsyncIteration:
        pass
    except CdpError as error:
        making.error = error
    finally:
        making.process.wire.looks.discard(look)
        with suppress(CdpError):  # the same one again
            while load is not None and (left := await anext(load, None)) is not None:
                making.taken.append(left)


class Tenant:
    """A server, its journal and its processes, through one life; collects what is not as it must be."""

    def __init__(self, life: Life, loop: VirtualLoop) -> None:
        self.life, self.loop = life, loop
        self.version = OLD if life.legacy else NEW
        self.emulator = Emulator(switches=life.switches, clock=lambda: START + timedelta(seconds=loop.time()))
        self.database = SharedDatabase(loop.time, life.lease) if life.journal else None
        self.processes: dict[int, Process] = {}
        self.versions: dict[Key, list[Order]] = {}
        """The versions of each order that were in the input so far."""
        self.open: set[Key] = set()
        """The orders of which the phase before left something open."""
        self.refs: dict[Key, set[str]] = {}
        """Whatever was told to be there."""
        self.journaled: set[str] = set()
        """The same, by the calls with a journal."""
        self.wrong: list[str] = []

    @property
    def lag(self) -> float:
        """Seconds after which a known part can be read: in version 2 an extension is read from a list."""
        return self.life.switches.list_lag if self.life.legacy else 0.0

    def graph(self, order: Order) -> Any:  # noqa: ANN401 an OrderGraph
        """Return an order as it is loaded."""
        return self.version.of(order.graph)

    def held(self, key: Key) -> dict[str, Record]:
        """Return everything that the server has of an order."""
        return held_of(self.emulator, key)

    def all_held(self) -> dict[Key, dict[str, Record]]:
        """Return everything that the server has of each order that was in the input."""
        return {key: self.held(key) for key in self.versions}

    def process(self, number: int) -> Process:
        """Return the process with this number, a new one where it has died."""
        known = self.processes.get(number)
        if known is None or not known.alive:
            known = self.processes[number] = Process(self.emulator, self.database)
        return known

    async def live(self, phase: Phase) -> Seen:
        """Live through a phase, and return what was seen of it."""
        for order in phase.orders:
            self.versions.setdefault(order.key, []).append(order)
        before, effects, began = self.all_held(), len(self.emulator.store.effects), self.loop.time()
        fates = itertools.chain.from_iterable(itertools.repeat(fate, times) for fate, times in phase.fates)
        delays = itertools.cycle(phase.delays)
        makings: list[Making] = []
        for call in phase.calls:
            process = self.process(call.process)
            process.wire.fates, process.wire.delays = fates, delays
            makings.append(Making(self, call, phase.orders, process, frozenset(self.journaled)))
        hurts = [asyncio.create_task(hurt) for hurt in self.hurts(phase)]
        came = await asyncio.gather(*(asyncio.create_task(make(one)) for one in makings), return_exceptions=True)
        dying = any(not one.process.alive for one in makings)
        for hurt in hurts if not dying else ():
            hurt.cancel()
        await asyncio.gather(*hurts, return_exceptions=True)
        for one, end in zip(makings, came, strict=True):
            if one.process.alive:
                self.wrong += wrong_call(one, end)
        for one in makings:
            told_refs = {ref for told in one.told for ref in judging.refs_there(told)}
            one.process.known |= dict.fromkeys(told_refs, began)
            self.journaled |= told_refs if one.call.journal else set()
        created = {one["ref"] for one in self.emulator.store.effects[effects:] if one["effect"] == "created"}
        crashed = {phase.orders[n].key for one in makings if not one.process.alive for n in one.call.lines}
        return Seen(
            version=self.version,
            versions=self.versions,
            calls=tuple((phase.orders[n], one.call) for one in makings for n in one.call.lines),
            told=tuple((one.call, told) for one in makings for told in one.told),
            before=before,
            after=self.all_held(),
            created=created,
            crashed=crashed,
            open=self.open,
        )

    def hurts(self, phase: Phase) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what happens to the processes in a phase."""
        if phase.crash is not None and phase.crash.process in self.processes:
            yield crash(self.processes[phase.crash.process], phase.crash)
        if phase.sleep is not None and phase.sleep.process in self.processes:
            yield sleep(self.processes[phase.sleep.process], phase.sleep)

    async def restart(self) -> None:
        """End the processes, so that the next calls are made by new ones."""
        for process in self.processes.values():
            if process.alive:
                await process.close()

    def judge(self, seen: Seen) -> None:
        """Collect what is wrong with what was seen, and remember it for the next phase."""
        self.wrong += judging.wrong(seen)
        for _, told in seen.told:
            self.refs.setdefault(told.order.key, set()).update(judging.refs_there(told))
        for key, refs in self.refs.items():
            self.wrong += [f"{key}: {ref} was there, and is lost" for ref in refs - self.held(key).keys()]
        self.open = judging.open_after(seen)

    async def end(self, orders: tuple[Order, ...]) -> None:
        """Load everything without failures, and once more: then there is nothing left to do."""
        life = self.life
        call = Call(
            lines=tuple(range(len(orders))), journal=life.journal, look_first=life.look_first, on_existing=life.last
        )
        await asyncio.sleep(life.lease or 0)
        verdicts: dict[Key, Verdict] = {}
        for turn in range(MOST_RUNS):
            await self.restart()
            wire = self.process(0).wire
            seen = await self.live(Phase(orders=orders, calls=(call,)))
            self.judge(seen)
            self.wrong += judging.wrong_end(seen)
            said = {told.order.key: told.outcome.verdict for _, told in seen.told}
            same = {key: Verdict.ALREADY if verdict in MADE else verdict for key, verdict in verdicts.items()}
            if said == same and not wire.changing:
                return
            if turn and Verdict.CONFLICT not in verdicts.values():  # what one run cannot tell, the next one may
                self.wrong.append(f"a run without failures says {verdicts}, then {said}: {wire.changing} changes")
            verdicts = said
            await asyncio.sleep(self.lag)
        self.wrong.append(f"there is no end: {verdicts}")


async def crash(process: Process, how: Crash) -> None:
    """Let a process crash."""
    await asyncio.sleep(how.at)
    await process.crash(done=how.done, kept=how.kept)


async def sleep(process: Process, how: Sleep) -> None:
    """Let a process sleep."""
    await asyncio.sleep(how.at)
    process.wire.awake.clear()
    try:
        await asyncio.sleep(how.seconds)
    finally:
        process.wire.awake.set()


def wrong_call(making: Making, end: BaseException | None) -> Iterator[str]:
    """Yield what is wrong with the end of a call whose process lives."""
    call = making.call
    if end is not None:
        yield "".join(traceback.format_exception(end))
    if making.taken != [told.outcome for told in making.told]:
        yield f"the caller got {len(making.taken)} outcomes of {len(making.told)}"
    if call.end is None and making.error is None and len(making.taken) != len(call.lines):
        yield f"{len(call.lines)} orders had {len(making.taken)} outcomes"


async def lived(life: Life, loop: VirtualLoop) -> list[str]:
    """Live a life, and return what was wrong with it."""
    loop.set_task_factory(make_task)
    tenant = Tenant(life, loop)
    with patch.object(entry, "Load", WatchedLoad):
        for phase in life.phases:
            tenant.judge(await tenant.live(phase))
            if phase.restarts:
                await tenant.restart()
            await asyncio.sleep(max(phase.rest, tenant.lag))
        await tenant.end(life.phases[-1].orders)
        await tenant.restart()
    return tenant.wrong


def wrong_in(life: Life) -> list[str]:
    """Return what is wrong in a life, in sentences."""
    return run(lambda loop: lived(life, loop))


def drawn(seed: int, number: int) -> Life:
    """Return a life that is always the same."""
    return Drawing(random.Random(f"{seed}/{number}")).life()  # noqa: S311 (it chooses lives)


def main(examples: int, seed: int, first: int) -> int:
    """Live many lives; print each that finds something, and return 1 if one does."""
    began, bad = time.monotonic(), 0
    for number in range(first, first + examples):
        life = drawn(seed, number)
        try:
            wrong = wrong_in(life)
        except Exception:  # noqa: BLE001 it is a finding like any other
            wrong = [traceback.format_exc()]
        if wrong:
            bad += 1
            sys.stdout.write(f"--seed {seed} --first {number} --examples 1\n{life!r}\n")
            sys.stdout.writelines(f"  {line}\n" for line in wrong)
            sys.stdout.flush()
    seconds = time.monotonic() - began
    sys.stdout.write(f"{examples} lives from seed {seed} in {seconds:.0f} s: {bad} with findings\n")
    return int(bad > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("examples", 1000), ("seed", 1), ("first", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    raise SystemExit(main(**vars(parser.parse_args())))
