"""Cancellation, by asyncio and by anyio alike: when the block is left, nothing of the load lives on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest

from cdp_orders_async import (
    Load,
    OrderGraph,
    Outcome,
    Resources,
    SqliteJournal,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, loading
from tests.ingest.orders import Json, item, order, whole
from tests.ingest.serving import BASE, serving
from tests.virtual import VirtualLoop, run

Body: TypeAlias = Callable[[], Awaitable[object]]


def some(number: int) -> list[OrderGraph]:
    """Return small orders."""
    return [OrderGraph(order=order(f"A-{n}"), items=(item("i1"), item())) for n in range(number)]


def ours() -> list[asyncio.Task[object]]:
    """Return the tasks that a load started and that are still there."""
    tasks: list[asyncio.Task[object]] = []
    for task in asyncio.all_tasks():
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and "cdp_orders_async/ingest" in Path(code.co_filename).as_posix():
            tasks.append(task)
    return tasks


async def asyncio_timeout(body: Body, seconds: float) -> None:
    """Cancel *body* by `asyncio.timeout`."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await body()


async def asyncio_wait_for(body: Body, seconds: float) -> None:
    """Cancel *body* by `asyncio.wait_for`."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(body(), seconds)


async def asyncio_cancel(body: Body, seconds: float) -> None:
    """Cancel the task of *body*, again and again."""
    task = asyncio.ensure_future(body())
    await asyncio.sleep(seconds)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()


async def asyncio_group(body: Body, seconds: float) -> None:
    """Cancel *body* because a task beside it fails."""

    class BesideError(Exception):
        pass

    async def fail() -> None:
        await asyncio.sleep(seconds)
        raise BesideError

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(waited(body))

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert caught.group_contains(BesideError)


async def waited(body: Body) -> None:
    """Wait for *body*."""
    await body()


async def anyio_move_on(body: Body, seconds: float) -> None:
    """Cancel *body* by `anyio.move_on_after`."""
    with anyio.move_on_after(seconds) as scope:
        await body()
    assert scope.cancelled_caught


async def anyio_fail(body: Body, seconds: float) -> None:
    """Cancel *body* by `anyio.fail_after`."""
    with pytest.raises(TimeoutError):
        with anyio.fail_after(seconds):
            await body()


async def anyio_group(body: Body, seconds: float) -> None:
    """Cancel *body* by the scope of a task group."""
    async with anyio.create_task_group() as group:
        group.start_soon(waited, body)
        await anyio.sleep(seconds)
        group.cancel_scope.cancel()


WAYS = (
    asyncio_timeout,
    asyncio_wait_for,
    asyncio_cancel,
    asyncio_group,
    anyio_move_on,
    anyio_fail,
    anyio_group,
)
in_every_way = pytest.mark.parametrize("cancelling", WAYS, ids=lambda way: way.__name__)


@in_every_way
@pytest.mark.parametrize("drain", [0.0, 0.2])
async def test_a_load_is_cancelled(
    tmp_path: Path, cancelling: Callable[[Body, float], Awaitable[None]], drain: float
) -> None:
    """No task of it lives on, its journal can be opened at once, and the next run completes it."""
    emulator = Emulator(switches=Switches(upsert=False, latency=0.05))
    file = tmp_path / "J.sqlite"
    async with serving(emulator) as cdp:

        async def body() -> None:
            async with (
                await SqliteJournal.open(file, identity=cdp.identity) as journal,
                ingest(cdp, some(100), journal=journal, open_orders=10, drain=drain) as load,
            ):
                await load.run()

        # Its requests alone take longer than this; a busy machine may need longer to send the first one.
        while not (begun := emulator.requests.total()):
            await cancelling(body, 0.6)
            assert ours() == []
        async with (
            await SqliteJournal.open(file, identity=cdp.identity) as journal,
            ingest(cdp, some(100), journal=journal, settle=0.1) as load,
        ):
            assert set(await load.run()) <= {Verdict.LOADED, Verdict.ALREADY}
    assert begun < emulator.requests.total()
    assert stored(emulator) == wanted(some(100))


@in_every_way
@pytest.mark.parametrize("drain", [0.0, 5.0])
def test_leaving_takes_the_drain_and_not_more(
    cancelling: Callable[[Body, float], Awaitable[None]], drain: float
) -> None:
    """With a server that does not answer, a load ends after at most the drain, whatever cancelled it."""

    async def main(loop: VirtualLoop) -> None:
        network, ended = Network(Emulator(), lambda _: "hung, not done"), list[float]()

        async def body() -> None:
            try:
                async with ingest(Resources(network, BASE), some(5), drain=drain) as load:
                    await load.run()
            finally:
                ended.append(loop.time())

        await cancelling(body, 0.5)
        assert ours() == []
        # Who is cancelled again meanwhile does not wait for the drain.
        assert ended == [pytest.approx(0.5 if cancelling is asyncio_cancel else 0.5 + drain)]

    run(main)


@in_every_way
@pytest.mark.parametrize("drain", [None, 3.0])
def test_a_single_order_is_cancelled(cancelling: Callable[[Body, float], Awaitable[None]], drain: float | None) -> None:
    """It ends at once, or after the drain that it was given, and the error says what may be there."""

    async def main(loop: VirtualLoop) -> None:
        network, ended = (
            Network(Emulator(), lambda one: "hung" if one.operation == "contacts.create" else "ok"),
            list[float](),
        )
        told: list[Outcome | None] = []

        async def body() -> None:
            try:
                if drain is None:
                    await ingest_one(Resources(network, BASE), whole())
                else:
                    await ingest_one(Resources(network, BASE), whole(), drain=drain)
            except asyncio.CancelledError as error:
                told.append(Outcome.of(error))
                raise
            finally:
                ended.append(loop.time())

        await cancelling(body, 0.5)
        assert ours() == []
        assert ended == [pytest.approx(0.5 if cancelling is asyncio_cancel else 0.5 + (drain or 0))]
        [outcome] = told
        assert outcome is not None
        assert outcome.verdict == Verdict.UNKNOWN
        [made] = network.emulator.store.all("orders")
        assert str(outcome.ref) == made.ref

    run(main)


async def test_leaving_an_anyio_scope_from_within_the_iteration() -> None:
    """A scope that is cancelled while an outcome is read ends the load as any other way does."""
    emulator = Emulator(switches=Switches(upsert=False))
    async with serving(emulator) as cdp:
        loads: list[Load] = []
        with anyio.CancelScope() as scope:
            async with ingest(cdp, some(100), open_orders=4) as load:
                loads.append(load)
                async for _ in load:
                    scope.cancel()
        assert ours() == []
        assert 0 < loads[0].done < 100


def test_a_loop_that_closes_while_a_list_is_read() -> None:
    """Nobody closes the load; a warning of the loop, that it closes, is an error here, and must not crash Python."""
    refusal: Json = {"status": 400, "code": 0, "message": "no"}
    fates: dict[str, list[str | Json]] = {"items.create": ["lost", "lost"], "items.list": [refusal]}
    network = Network(Emulator())
    network.fate = lambda request: (fates.get(request.operation) or ["ok"]).pop(0)

    async def leave(loop: VirtualLoop) -> None:
        loading(loop, network, some(1), open_orders=1)

    run(leave)
    assert len([*network.emulator.store.all("orders")]) <= 1
