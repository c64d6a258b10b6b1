"""What an observer is told of a load, over real sockets in virtual time, and what the session counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import msgspec
import pytest

from cdp_orders_async import (
    AttemptEnded,
    CallEnded,
    CallStarted,
    CdpOrders,
    OrderEnded,
    OrderGraph,
    PartAdopted,
    PauseBegan,
    PauseEnded,
    Resources,
    ResourcesV2,
    Session,
    Settings,
    Stats,
    Verdict,
    ingest,
    parse_graph,
)
from cdp_orders_async.emulator import Emulator, Faults, running
from cdp_orders_async.ingest import Load
from tests.cli.support import write
from tests.ingest.expectations import stored, wanted
from tests.ingest.holding import Json
from tests.ingest.network import collected
from tests.ingest.orders import item, order, whole
from tests.ingest.serving import KEY, TOKEN
from tests.ingest.versions import NEW, OLD, Version
from tests.security.canaries import WHOLE, leaks
from tests.telemetry.watching import Kept, script, status, watched
from tests.virtual import LoopbackLoop, VirtualLoop, run_in

ORDER = "A@2024-01-01T16:17:16+00:00"
LOST: Json = {"action": "close", "phase": "written"}
NOT_DONE: Json = {"action": "close", "phase": "before"}


def begun(
    cdp: Resources | ResourcesV2, loop: VirtualLoop, graphs: Sequence[OrderGraph], *, width: int | None = None
) -> Load:
    """Begin a load of *graphs*; whoever begins it closes it."""
    load = Load(
        cdp,
        graphs,
        journal=None,
        look_first=False,
        on_existing="keep",
        open_orders=200,
        settle=2.0,
        drain=0.0,
        width=width,
        clock=loop.time,
    )
    load.start()
    return load


def loaded(
    emulator: Emulator,
    kept: Kept,
    graphs: Sequence[OrderGraph],
    *,
    width: int | None = None,
    version: Version = NEW,
) -> tuple[Load, Stats]:
    """Load *graphs*, watched by *kept*; return the load and what the session counted."""

    async def main(loop: LoopbackLoop) -> tuple[Load, Stats]:
        async with watched(emulator, loop, kept, version) as cdp:
            load = begun(cdp, loop, graphs, width=width)
            await collected(load)
            await load.aclose()
            assert isinstance(cdp.transport, Session)
            return load, cdp.transport.stats

    return run_in(LoopbackLoop, main)


def one(reference: str = "A") -> OrderGraph:
    """Return an order with one item."""
    return OrderGraph(order=order(reference), items=(item("i1"),))


def test_an_adopted_part() -> None:
    """A create whose answer is lost ends unknown, a look-up finds the part, and nothing is sent again."""
    kept = Kept()
    emulator = Emulator(faults=script(("items.create", [LOST])))
    load, stats = loaded(emulator, kept, [one()])
    assert load.counts == {Verdict.LOADED: 1}
    [adopted] = kept.of(PartAdopted)
    [ref] = [record.ref for record in emulator.store.all("items")]
    assert adopted == PartAdopted(order=ORDER, file=None, line=1, part="items/0", kind="items", ref=adopted.ref)
    assert str(adopted.ref) == ref
    assert [one.call.operation for one in kept.of(CallStarted)] == ["orders.create", "items.create", "items.list"]
    assert {(one.call.order, one.call.file, one.call.line) for one in kept.of(CallStarted)} == {(ORDER, None, 1)}
    assert kept.attempts() == [
        (1, 201, None, "done", False),
        (1, None, "OutcomeUnknown", "unknown", None),
        (1, 200, None, "done", False),
    ]
    assert sorted(kept.ends(), key=str) == [
        (1, 200, None, "done"),
        (1, 201, None, "done"),
        (1, None, "OutcomeUnknown", "unknown"),
    ]
    [ended] = kept.of(OrderEnded)
    assert (ended.order, ended.file, ended.line, ended.verdict) == (ORDER, None, 1, "loaded")
    assert (stats.requests, stats.retries, stats.refused, stats.adopted) == (3, 0, 0, 1)
    kept.check()


def test_a_part_that_is_sent_again() -> None:
    """A create that was refused, or lost and not done, is one call with two attempts, each with an id of its own."""
    kept = Kept()
    emulator = Emulator(faults=script(("orders.create", [status(429, 3)]), ("items.create", [NOT_DONE])))
    load, stats = loaded(emulator, kept, [one()])
    assert stored(emulator) == wanted([one()])
    assert load.counts == {Verdict.LOADED: 1}
    creates = [one for one in kept.of(AttemptEnded) if one.call.operation.endswith("create")]
    assert [(one.call.operation, one.number, one.status, one.again, one.wait) for one in creates] == [
        ("orders.create", 1, 429, True, 3),
        ("orders.create", 2, 201, False, None),
        ("items.create", 1, None, None, None),
        ("items.create", 2, 201, False, None),
    ]
    assert len({one.request_id for one in creates}) == 4
    assert [end for end in kept.ends() if end[0] == 2] == [(2, 201, None, "done"), (2, 201, None, "done")]
    assert (stats.retries, stats.refused, stats.adopted) == (2, 1, 0)
    assert stats.requests == len(kept.of(AttemptEnded))
    kept.check()


def test_looks_are_calls_too() -> None:
    """A look-up that is refused at first is one call with two attempts."""
    kept = Kept()
    faults = script(("orders.create", [LOST]), ("orders.list", [status(503, 1)]))
    _, stats = loaded(Emulator(faults=faults), kept, [one()])
    looks = [one for one in kept.of(AttemptEnded) if one.call.operation == "orders.list"]
    assert [(one.number, one.status, one.again) for one in looks[:2]] == [(1, 503, True), (2, 200, False)]
    assert (stats.retries, stats.refused, stats.adopted) == (1, 1, 1)
    kept.check()


def test_a_look_of_two_requests() -> None:
    """In version 2 an extension is read by two requests, which are two calls, also where they are made again."""
    kept, graph = Kept(), OLD.of(attrs.evolve(one(), extension={"campaign": "spring"}))
    faults = script(("order_extensions.create", [LOST]), ("order_extensions.get", [status(503)]))
    _, stats = loaded(Emulator(faults=faults), kept, [graph], version=OLD)
    looks = [one for one in kept.of(CallEnded) if one.call.operation.startswith("order_extensions")]
    assert [(one.call.operation, one.attempts, one.status) for one in looks] == [
        ("order_extensions.list", 1, 200),
        ("order_extensions.get", 1, 503),
        ("order_extensions.list", 1, 200),
        ("order_extensions.get", 1, 200),
        ("order_extensions.create", 1, None),
    ]
    assert stats.adopted == 1
    kept.check()


def test_a_pause() -> None:
    """A server that is not well makes the load pause: told once, with the cause, and once when it goes on."""
    kept = Kept()
    emulator = Emulator(faults=script(("orders.create", [{**status(500), "phase": "before"}] * 25)))
    load, _ = loaded(emulator, kept, [one(f"A-{n}") for n in range(30)], width=25)
    assert load.counts == {Verdict.LOADED: 30}
    [began], [ended] = kept.of(PauseBegan), kept.of(PauseEnded)
    assert began.seconds == 5
    assert "500" in began.cause
    assert ended.seconds >= 5
    assert ended.cause
    kept.check()


def test_a_pause_that_ends_with_the_load() -> None:
    """A load that is given up in a pause ends the pause."""
    kept = Kept({PauseBegan: 1})
    emulator = Emulator(faults=script(("orders.create", [status(500)] * 1000)))

    async def main(loop: LoopbackLoop) -> None:
        async with watched(emulator, loop, kept) as cdp:
            load = begun(cdp, loop, [one(f"A-{n}") for n in range(30)], width=25)
            await kept.reached.wait()
            await load.aclose()

    run_in(LoopbackLoop, main)
    assert len(kept.of(PauseBegan)) == len(kept.of(PauseEnded)) == 1
    kept.check()


async def test_places_in_a_file(tmp_path: Path) -> None:
    """Events name the file and the line; an order that cannot be read has no key, and ends all the same."""
    kept, path = Kept(), write(tmp_path / "orders.jsonl", [{**WHOLE, "contact": None}, {"referenceId": 5}])
    async with running(Emulator()) as url:
        settings = Settings(trust_env=False)
        async with (
            CdpOrders(
                base_url=url,
                client_key=KEY,
                api_token=TOKEN,
                settings=settings,
                observers=[kept],
            ) as cdp,
            ingest(cdp, path) as load,
        ):
            await load.run()
    key = "A-1@2024-01-01T16:17:16+00:00"
    assert {(one.call.order, one.call.file, one.call.line) for one in kept.of(CallStarted)} == {(key, str(path), 1)}
    assert {(one.order, one.file, one.line, one.verdict) for one in kept.of(OrderEnded)} == {
        (key, str(path), 1, "loaded"),
        (None, str(path), 2, "invalid"),
    }


FAULTS = [
    {"operation": "*", "action": "close", "phase": "written", "chance": 0.1},
    {"operation": "*", "action": "reset", "phase": "before", "chance": 0.1},
    {"operation": "*", "action": "status", "phase": "before", "status": 429, "chance": 0.1},
    {"operation": "*.create", "action": "status", "phase": "written", "status": 502, "chance": 0.1},
    {"operation": "contacts.create", "action": "status", "phase": "before", "status": 400, "chance": 0.3},
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stopped", [False, True])
def test_whatever_goes_wrong_calls_begin_and_end(seed: int, stopped: bool) -> None:  # noqa: FBT001 a parameter
    """Each call that began ends once, also where the load is given up, and the counts are those of the events."""
    kept = Kept({AttemptEnded: 40})
    plan: Json = {"seed": seed, "faults": FAULTS}
    emulator = Emulator(faults=Faults.of(plan))

    async def main(loop: LoopbackLoop) -> Stats:
        async with watched(emulator, loop, kept, rate=200.0) as cdp:
            load = begun(cdp, loop, [whole(f"A-{n}") for n in range(8)])
            if stopped:
                await kept.reached.wait()
                load.stop()
            await collected(load)
            await load.aclose()
            assert isinstance(cdp.transport, Session)
            return cdp.transport.stats

    stats = run_in(LoopbackLoop, main)
    kept.check()
    assert len(kept.of(OrderEnded)) == 8
    assert stats.adopted == len(kept.of(PartAdopted))
    assert stats.refused == sum(one.status in {429, 503} for one in kept.of(AttemptEnded))
    sent = [one for one in kept.of(AttemptEnded) if one.error not in {"GivenUp", "CancelledError"}]
    if not stopped:
        assert stats.requests == len(sent)
        assert stats.retries == sum(one.number > 1 for one in sent)
        assert stats.adopted
    assert stats.in_flight == 0


def test_no_event_shows_a_person() -> None:
    """No event of a load of people, in which much goes wrong, has a secret or a personal value, in any field."""
    kept = Kept()
    plan: Json = {"seed": 1, "faults": FAULTS}
    graphs = [parse_graph({**WHOLE, "referenceId": f"A-{n}"}) for n in range(5)]
    loaded(Emulator(faults=Faults.of(plan)), kept, graphs)
    assert {type(event) for event in kept.events} >= {CallStarted, AttemptEnded, PartAdopted, OrderEnded}
    assert leaks(*(f"{event!r} {msgspec.to_builtins(event)}" for event in kept.events)) == []
