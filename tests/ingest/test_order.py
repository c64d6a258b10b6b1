"""One order, and everything that can go wrong with each of its parts: it ends there, once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import attrs
import orjson
import pytest

from cdp_orders_async import (
    NewContact,
    OrderGraph,
    Outcome,
    PartVerdict,
    Request,
    Resources,
    SqliteJournal,
    Verdict,
    ingest,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Faults, Switches
from cdp_orders_async.wire import to_json
from tests.ingest.expectations import refs, stored, wanted
from tests.ingest.network import Network, add
from tests.ingest.orders import Json, consumer, count, item, order, person, whole
from tests.ingest.serving import BASE, serving, virtually
from tests.ingest.versions import NEW, OLD, Version, in_both_versions
from tests.virtual import LoopbackLoop, run_in

T = TypeVar("T")

CREATES = ("orders", "items", "contacts", "consumers", "order_extensions", "item_extensions")
LISTED = CREATES[:4]
REFUSED = ("contacts.create", "item_extensions.create")
LOOKS = (*(f"{kind}.list" for kind in LISTED), "order_extensions.get", "item_extensions.get")
LOOKS_V2 = tuple(f"{kind}.{verb}" for kind in (*LISTED, "order_extensions") for verb in ("list", "get"))
BEFORE_REPLY = ("before", "accepted", "written")
FAULTS: list[Json] = [
    *(
        {"action": action, "phase": phase}
        for action, phase in itertools.product(("close", "reset", "stall"), (*BEFORE_REPLY, "head", "body"))
    ),
    *(
        {"action": "status", "phase": phase, "status": status}
        for phase, status in itertools.product(BEFORE_REPLY, (500, 502, 503))
    ),
    *({"action": "html", "phase": phase} for phase in BEFORE_REPLY),
    {"action": "drip", "seconds": 60},
]


def parts(outcome: Outcome) -> dict[str, PartVerdict]:
    """Return what came of each part."""
    return {part.name: part.verdict for part in outcome.parts}


def everything_in(folder: Path) -> bytes:
    """Return what the files in *folder* hold."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


def named(fault: Json) -> str:
    """Return what a fault is called."""
    return "-".join(map(str, fault.values()))


def ended(monkeypatch: pytest.MonkeyPatch, version: Version, emulator: Emulator, graph: OrderGraph) -> Outcome:
    """Load an order over real sockets in virtual time."""

    async def load(loop: LoopbackLoop) -> Outcome:
        async with virtually(loop, monkeypatch, emulator) as given:
            return await ingest_one(version.resources(*given), graph)

    return run_in(LoopbackLoop, load)


def script(*entries: tuple[str, Sequence[Json | str]]) -> Faults:
    """Return faults by operation."""
    return Faults.of({"faults": [{"operation": name, "script": list(steps)} for name, steps in entries]})


@pytest.mark.parametrize("fault", FAULTS, ids=named)
@pytest.mark.parametrize(
    ("version", "kind"), [*((NEW, kind) for kind in CREATES), *((OLD, kind) for kind in CREATES[:-1])], ids=str
)
def test_any_fault_at_any_part(monkeypatch: pytest.MonkeyPatch, version: Version, kind: str, fault: Json) -> None:
    """A create that fails at whatever phase in whatever way is found or sent again, in the same load."""
    emulator, graph = Emulator(faults=script((f"{kind}.create", [fault]))), version.of(whole())
    outcome = ended(monkeypatch, version, emulator, graph)
    assert emulator.faults.done.total() == 1
    assert outcome.verdict == Verdict.LOADED
    assert set(parts(outcome).values()) == {PartVerdict.CREATED}
    assert stored(emulator) == wanted([graph])


class Odd(Network):
    """Does what is asked, and tells of it in its own way: *tell* makes it of what the API would answer."""

    def __init__(self, emulator: Emulator, tell: Callable[[Json], Json]) -> None:
        super().__init__(emulator)
        self.tell = tell

    async def send(self, request: Request[T], /) -> T:
        """Answer *request*."""
        read = request.read

        def told(body: bytes) -> T:
            return read(orjson.dumps(self.tell(orjson.loads(body))))

        if request.creates:
            request = Request(request.operation, request.method, request.path, told, body=request.body, creates=True)
        return await super().send(request)


@in_both_versions
async def test_a_reference_is_enough(version: Version) -> None:
    """Of the answer to a create only the reference counts: where nothing else of it fits, nothing is looked up."""
    network = Odd(Emulator(), lambda kept: dict.fromkeys(kept, 7) | {"ref": kept["ref"]})
    graph = version.of(whole())
    outcome = await ingest_one(version.resources(network, BASE), graph, settle=0.02)
    assert set(parts(outcome).values()) == {PartVerdict.CREATED}
    assert len(network.requests) == len(outcome.parts)
    assert stored(network.emulator) == wanted([graph])


@in_both_versions
async def test_without_its_reference_a_part_is_looked_up(version: Version) -> None:
    """What an answer does not refer to is found on the server; an extension, by its owner, needs no reference."""
    network = Odd(Emulator(), lambda kept: {key: value for key, value in kept.items() if key != "ref"})
    graph = version.of(whole())
    outcome = await ingest_one(version.resources(network, BASE), graph, settle=0.02)
    assert set(parts(outcome).values()) == {PartVerdict.CREATED}
    looked = {request.operation.partition(".")[0] for request in network.requests if not request.creates}
    assert looked == set(LISTED)
    assert stored(network.emulator) == wanted([graph])


@pytest.mark.parametrize("fault", FAULTS, ids=named)
@in_both_versions
def test_any_fault_while_looking(monkeypatch: pytest.MonkeyPatch, version: Version, fault: Json) -> None:
    """A look-up that fails is made again before anything is sent again."""
    lost: Json = {"action": "reset", "phase": "written"}
    looks, creates = (LOOKS, CREATES) if version is NEW else (LOOKS_V2, CREATES[:-1])
    steps = [(f"{kind}.create", [lost]) for kind in creates] + [(name, [fault, fault]) for name in looks]
    emulator, graph = Emulator(faults=script(*steps)), version.of(whole())
    outcome = ended(monkeypatch, version, emulator, graph)
    assert emulator.faults.done.total() == len(creates) + 2 * len(looks)
    assert outcome.verdict == Verdict.LOADED
    assert stored(emulator) == wanted([graph])


@pytest.mark.parametrize(
    "switches",
    [
        Switches(upsert=False),
        Switches(unexpanded="ref", ignore_expand=True),
        Switches(ignore_expand=True, upsert=False),
        Switches(repeat_next=True),
        Switches(limit_max=1),
        Switches(limit_max=2, repeat_next=True, ignore_expand=True),
        Switches(extension_post_existing="merge"),
        Switches(extension_post_existing="refuse"),
        Switches(unknown_ref_status=400),
    ],
    ids=lambda switches: "-".join(f"{k}={v}" for k, v in attrs.asdict(switches).items() if v != getattr(Switches(), k)),
)
@in_both_versions
async def test_any_reading_of_the_documents(version: Version, switches: Switches) -> None:
    """Whatever the server does where the documents are silent, each part whose answer is lost is found."""
    lost: list[Json | str] = [{"action": "close", "phase": "written"}] * 3
    emulator = Emulator(switches=switches, faults=script(*((f"{kind}.create", lost) for kind in CREATES)))
    graph = version.of(whole())
    async with version.serving(emulator) as cdp:
        outcome = await ingest_one(cdp, graph, settle=0.0)
    assert outcome.verdict == Verdict.LOADED
    assert stored(emulator) == wanted([graph])
    assert emulator.store.counts["items.create"] == len(graph.items)


async def test_a_refused_part_blocks_only_what_hangs_on_it() -> None:
    """An item that the server refuses takes its extension and its consumer along, and nothing else."""
    refused: Json = {"action": "status", "status": 400}
    emulator = Emulator(faults=script(("items.create", [refused])))
    graph = attrs.evolve(whole(), consumers=(consumer("Ann", uses=["i1"]), consumer("Eve", uses=["i2"])))
    async with serving(emulator, connections=1) as cdp:
        outcome = await ingest_one(cdp, graph, settle=0.0)
    assert outcome.verdict == Verdict.PARTIAL
    found = parts(outcome)
    assert {name for name, verdict in found.items() if verdict == PartVerdict.FAILED} == {"items/0"}
    assert {name for name, verdict in found.items() if verdict == PartVerdict.BLOCKED} == {"items/0/ext", "consumers/0"}
    failure = next(part.failure for part in outcome.parts if part.failure is not None)
    assert (failure.kind, failure.status, failure.delivery, failure.attempts) == ("BadRequest", 400, "refused", 1)
    assert len(stored(emulator)[0]["orderItems"]) == len(graph.items) - 1


@pytest.mark.parametrize("kind", ["items", "consumers"])
async def test_a_refused_twin_does_not_block_the_next(kind: str) -> None:
    """A part that only comes after another that looks like it is sent although that one was refused."""
    emulator = Emulator(faults=script((f"{kind}.create", [{"action": "status", "status": 400}])))
    graph = OrderGraph(order=order(), items=(item(), item(), item()), consumers=(consumer(), consumer(), consumer()))
    async with serving(emulator) as cdp:
        outcome = await ingest_one(cdp, graph, settle=0.0)
    assert sorted(parts(outcome).values()) == sorted([PartVerdict.FAILED, *[PartVerdict.CREATED] * 6])
    assert emulator.store.counts[f"{kind}.create"] == 2


async def test_an_unknown_twin_holds_up_the_next() -> None:
    """Of two parts that look alike only one is ever in doubt: the second waits for another run."""
    graph = OrderGraph(order=order(), items=(item(), item()))

    def fate(request: Request[object]) -> str | int:
        if request.operation == "items.create":
            return "lost"
        return 500 if request.operation == "items.list" else "ok"

    network = Network(Emulator(), fate)
    outcome = await ingest_one(Resources(network, BASE), graph, settle=0.0)
    assert outcome.verdict == Verdict.UNKNOWN
    assert parts(outcome) == {
        "order": PartVerdict.CREATED,
        "items/0": PartVerdict.UNKNOWN,
        "items/1": PartVerdict.BLOCKED,
    }
    assert network.emulator.requests.total() == 0
    assert network.emulator.store.counts["items.create"] == 1


async def test_several_candidates_are_a_conflict() -> None:
    """What could be more than one thing is set aside, never guessed; the rest of the order is loaded."""
    emulator = Emulator()
    graph = OrderGraph(order=order(), items=(item("i1"), item("i2")))

    def fate(request: Request[object]) -> str:
        if request.operation != "items.create" or emulator.store.counts["elsewhere"]:
            return "ok"
        for price in (1, 2):
            add(emulator, "items", {**to_json(graph.items[0].item), "price": price})
        return "lost, not done"

    outcome = await ingest_one(Resources(Network(emulator, fate), BASE), graph, settle=0.0)
    assert outcome.verdict == Verdict.CONFLICT
    assert parts(outcome) == {
        "order": PartVerdict.CREATED,
        "items/0": PartVerdict.CONFLICT,
        "items/1": PartVerdict.CREATED,
    }


async def test_a_failing_part_is_given_up_while_others_get_through() -> None:
    """What fails again and again, and alone, ends as failed and does not hold up the load."""
    network = Network(Emulator(), lambda request: "lost, not done" if request.operation == "contacts.create" else "ok")
    outcome = await ingest_one(Resources(network, BASE), whole(), settle=0.0)
    assert outcome.verdict == Verdict.PARTIAL
    assert parts(outcome)["contact"] == PartVerdict.FAILED
    sent = [request for request in network.requests if request.operation == "contacts.create"]
    assert 2 <= len(sent) <= 10
    failure = next(part.failure for part in outcome.parts if part.failure is not None)
    assert failure.delivery == "not_sent"  # it was looked up


async def test_equal_items_keep_their_own_extensions() -> None:
    """Items that differ in nothing but their extensions are told apart by those when answers are lost."""
    seats = tuple(item(None, {"seat": seat} if seat else None) for seat in ("1A", "", "1B", "", "1A"))
    graph = OrderGraph(order=order(), items=seats)
    lost: list[Json | str] = [{"action": "close", "phase": "written"}, "ok"] * 2
    emulator = Emulator(faults=script(("items.create", lost), ("item_extensions.create", lost)))
    async with serving(emulator) as cdp:
        assert (await ingest_one(cdp, graph, settle=0.0)).verdict == Verdict.LOADED
        again = await ingest_one(cdp, graph, look_first=True, settle=0.0)
    assert again.verdict == Verdict.ALREADY
    assert len(refs([again])) == count([graph])
    assert stored(emulator) == wanted([graph])


async def test_outcomes_hold_no_personal_value(tmp_path: Path) -> None:
    """What a server repeats of a person is masked; neither an outcome nor a journal holds any of it."""
    secrets = ("Ada", "ada@example.com", "1815-12-10T00:00:00Z", "CRM-7", "31415926", "at the window")
    graph = OrderGraph(
        order=order(),
        contact=NewContact(
            **person("Ada", "CRM-7"), emails=("ada@example.com",), date_of_birth=datetime(1815, 12, 10, tzinfo=UTC)
        ),
        items=(item("i1", {"phone": 31415926, "wish": "at the window"}),),
    )
    message = {"status": 400, "code": 400, "message": " and ".join(secrets)}
    network = Network(Emulator(), lambda request: message if request.operation in REFUSED else "ok")
    async with (
        await SqliteJournal.open(tmp_path / "J.sqlite", identity={}) as journal,
        ingest(Resources(network, BASE), [graph], journal=journal) as load,
    ):
        outcomes = [outcome async for outcome in load]
        kept = everything_in(tmp_path)
    line = orjson.dumps(outcomes[0].to_json())
    masked, told = ["***"] * len(secrets), {part.name: part.failure for part in outcomes[0].parts}
    assert {name: failure.message.partition(": 400 ")[2] for name, failure in told.items() if failure} == {
        "contact": " and ".join([*masked[1:], "at the ***"]),  # words that are no value of this part
        "items/0/ext": " and ".join(masked),
    }
    assert [secret for secret in secrets if secret.encode() in line + kept] == []


async def test_outcomes_are_json() -> None:
    """An outcome goes to JSON and back, with what a person or a later command needs."""
    refused: Json = {"action": "status", "status": 400}
    emulator = Emulator(faults=script(("contacts.create", [refused])))
    async with serving(emulator) as cdp:
        outcome = await ingest_one(cdp, whole(), settle=0.0)
    plain = orjson.loads(orjson.dumps(outcome.to_json()))
    assert (plain["number"], plain["key"], plain["verdict"]) == (1, "A@2024-01-01T16:17:16+00:00", "partial")
    told = {part["name"]: part for part in plain["parts"]}
    assert told["order"] == {"name": "order", "verdict": "created", "ref": str(outcome.ref)}
    assert told["contact"]["verdict"] == "failed"
    assert told["contact"]["failure"]["status"] == 400
    assert told["contact"]["failure"]["request_id"]
