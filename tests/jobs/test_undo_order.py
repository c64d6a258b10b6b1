"""One order that is taken back over a network that dies, and over one that shows other values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest

from cdp_orders_async import (
    Contact,
    MemoryJournal,
    NewContact,
    NewOrder,
    OrderGraph,
    Request,
    Resources,
    Transport,
    Verdict,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches
from cdp_orders_async.errors import JournalError
from cdp_orders_async.ingest import OrderUndo, UndoneOrder, UndoVerdict
from cdp_orders_async.journal import Journal
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network
from tests.ingest.orders import consumer, count, item, order, person
from tests.ingest.serving import BASE
from tests.journal.shared import SharedDatabase, SharedJournal

T = TypeVar("T")

KINDS = ("orders", "items", "contacts", "consumers", "order_extensions", "item_extensions")
CASCADES = pytest.mark.parametrize("cascade", [True, False], ids=["cascade", "parts stay"])


class Normalising:
    """A transport to an emulator that shows each contact with a further value, and with times of its own."""

    def __init__(self, network: Network, created: str, modified: str | None) -> None:
        self.network = network
        self.times = [None if time is None else datetime.fromisoformat(time) for time in (created, modified)]

    async def send(self, request: Request[T], /) -> T:
        """Send a *request*, and normalise what comes."""
        answer = await self.network.send(request)
        entries: list[Any] = list(getattr(answer, "items", [answer]))
        for one in entries:
            if isinstance(one, Contact):
                one.city = "Dublin"
                one.created_at, one.modified_at = self.times
        return answer


@pytest.mark.parametrize(
    ("created", "modified", "verdict"),
    [
        ("2025-01-01T16:17:16.123Z", "2025-01-01T16:17:16.123Z", UndoVerdict.DELETED),
        ("2025-01-01T16:17:16.123Z", "2025-01-01T16:17:16.124Z", UndoVerdict.KEPT),
        ("2025-01-01T16:17:16Z", "2025-01-01T16:17:17Z", UndoVerdict.KEPT),
        ("2025-01-01T16:17:16Z", "2025-01-01T16:17:16Z", UndoVerdict.KEPT),  # it may be a change of that second
        ("2025-01-01T16:17:16.123Z", None, UndoVerdict.KEPT),
    ],
)
async def test_values_that_a_server_normalises_are_told_by_its_times(
    created: str, modified: str | None, verdict: UndoVerdict
) -> None:
    """Where the values are not those that were sent, only equal and exact times tell that nobody changed them."""
    network, journal = Network(Emulator()), MemoryJournal()
    await ingest_one(Resources(network, BASE), small(), journal=journal, settle=0.0)
    undone = await take_back(Normalising(network, created, modified), journal)
    assert {part.name for part in undone.parts if part.verdict is UndoVerdict.KEPT} == (
        set() if verdict is UndoVerdict.DELETED else {"contact", "order"}
    )
    assert undone.verdict is verdict


class Cut(Exception):
    """The process dies here."""


class Cutting:
    """A transport to an emulator that dies at one of its requests: before it is sent, or right after.

    Without a *kill* the death is an error, after which the journal can still be written.
    """

    def __init__(self, network: Network, left: int, *, done: bool, kill: Callable[[], None] = lambda: None) -> None:
        self.network = network
        self.left = left
        self.done = done
        self.kill = kill

    async def send(self, request: Request[T], /) -> T:
        """Send a *request*, unless this is where it dies."""
        if self.left == 0:
            if self.done:
                await self.network.send(request)
            self.kill()
            raise Cut
        self.left -= 1
        return await self.network.send(request)


def small() -> OrderGraph:
    """Return a small order with every kind of part."""
    return OrderGraph(
        order=order(),
        contact=NewContact(**person("Ann", "1")),
        items=(item("i1", {"seat": "1A"}), item()),
        consumers=(consumer("Ann", "1", uses=["i1"]),),
        extension={"campaign": "spring"},
    )


async def take_back(transport: Transport, journal: Journal, *, force: bool = False) -> UndoneOrder:
    """Undo the whole order."""
    created = [part async for part in journal.created()]
    undo = OrderUndo(Resources(transport, BASE), journal, small().key, created, force=force, stopped=lambda: False)
    return await undo.run()


async def cut_at(number: int, *, done: bool, cascade: bool, force: bool) -> tuple[Network, SharedJournal, bool]:
    """Load an order, and let the undo die at its request *number*, with what it had not written; tell whether it did.

    Returns the network and the journal of the next process.
    """
    network, database = Network(Emulator(switches=Switches(cascade=cascade))), SharedDatabase(lambda: 0.0, None)
    first, second, third = (database.connect() for _ in range(3))
    await ingest_one(Resources(network, BASE), small(), journal=first, settle=0.0)
    await first.aclose()
    try:
        await take_back(Cutting(network, number, done=done), second, force=force)
    except Cut:
        second.kill()
        return Network(network.emulator), third, True
    return Network(network.emulator), third, False


@pytest.mark.parametrize("force", [False, True], ids=["looks", "force"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not sent"])
@CASCADES
@pytest.mark.parametrize("then", ["undo", "load"])
async def test_an_undo_that_is_cut_anywhere_is_repaired(then: str, *, cascade: bool, done: bool, force: bool) -> None:
    """Wherever an undo dies, the next undo deletes the rest, and the same load loads exactly once."""
    number, died = 0, True
    while died:
        network, journal, died = await cut_at(number, done=done, cascade=cascade, force=force)
        if then == "undo" and died:
            undone = await take_back(network, journal, force=force)
            assert undone.verdict is UndoVerdict.DELETED, number
            assert not any(network.emulator.store.all(kind) for kind in KINDS)
            assert [part async for part in journal.created()] == []
        outcome = await ingest_one(Resources(network, BASE), small(), journal=journal, settle=0.0)
        assert outcome.verdict in {Verdict.LOADED, Verdict.ALREADY}, number
        assert stored(network.emulator) == wanted([small()]), number
        assert sum(len([*network.emulator.store.all(kind)]) for kind in KINDS) == count([small()])
        number += 1
    assert number > count([small()])


async def load_cut_at(
    number: int, *, done: bool, kept: int | None, network: Network | None = None
) -> tuple[Network, SharedJournal, bool]:
    """Let a load die at its request *number*, with all but the first *kept* notes of its journal; then load again.

    None: it ends with an error, and its journal is written. Returns the network, the journal of a third process, and
    whether the first one died.
    """
    network, database = network or Network(Emulator()), SharedDatabase(lambda: 0.0, None)
    first, second, third = (database.connect() for _ in range(3))
    died, looks = False, bool([*network.emulator.store.all("orders")])
    kill = partial(first.kill, kept) if kept is not None else (lambda: None)
    cutting = Resources(Cutting(network, number, done=done, kill=kill), BASE)
    try:
        await ingest_one(cutting, small(), journal=first, settle=0.0, look_first=looks)
    except (Cut, JournalError):
        died = True
    if kept is None:
        await first.aclose()
    network = Network(network.emulator)
    outcome = await ingest_one(Resources(network, BASE), small(), journal=second, settle=0.0, look_first=looks)
    assert outcome.verdict in {Verdict.LOADED, Verdict.ALREADY}, number
    assert stored(network.emulator) == wanted([small()]), number
    await second.aclose()
    return network, third, died


@pytest.mark.parametrize("kept", [0, 1, 1000, None], ids=["killed", "killed later", "killed late", "error"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not sent"])
async def test_what_a_load_made_before_it_was_cut_off_is_deleted(kept: int | None, *, done: bool) -> None:
    """Wherever a load dies, an undo of the next one deletes all, found again or made."""
    number, died = 0, True
    while died:
        network, journal, died = await load_cut_at(number, done=done, kept=kept)
        undone = await take_back(network, journal)
        assert undone.verdict is UndoVerdict.DELETED, number
        assert not any(network.emulator.store.all(kind) for kind in KINDS), number
        number += 1
    assert number > count([small()])


@pytest.mark.parametrize("kept", [0, 1, 1000, None], ids=["killed", "killed later", "killed late", "error"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not sent"])
async def test_what_was_there_before_a_load_that_was_cut_off_stays(kept: int | None, *, done: bool) -> None:
    """Under an order that no load with the journal made, what a load finds after another was cut off is not its own."""
    number, died = 0, True
    while died:
        network = Network(Emulator())
        cdp, new = Resources(network, BASE), small().order
        assert isinstance(new, NewOrder)
        made = await cdp.orders.create(new)
        await cdp.order_extensions.create(made.ref, {"campaign": "spring"})
        network, journal, died = await load_cut_at(number, done=done, kept=kept, network=network)
        await take_back(network, journal)
        assert [len([*network.emulator.store.all(kind)]) for kind in ("orders", "order_extensions")] == [1, 1], number
        number += 1
    assert number > count([small()])


@pytest.mark.parametrize("kept", [0, 1, 1000], ids=["killed", "killed later", "killed late"])
@CASCADES
async def test_a_load_that_is_cut_off_after_an_undo_that_was_cut_off_doubles_nothing(
    kept: int, *, cascade: bool
) -> None:
    """What a load made again may have no record: then the next load finds it, and an undo deletes it."""
    for undone in range(count([small()]), 2 * count([small()])):
        number, died = 0, True
        while died:
            network, journal, _ = await cut_at(undone, done=True, cascade=cascade, force=False)
            order_stays = any(network.emulator.store.all("orders"))
            first, second, third = (journal.beside() for _ in range(3))
            cutting = Cutting(network, number, done=True, kill=partial(first.kill, kept))
            try:
                await ingest_one(Resources(cutting, BASE), small(), journal=first, settle=0.0)
                await first.aclose()
                died = False
            except (Cut, JournalError):
                pass
            network = Network(network.emulator)
            outcome = await ingest_one(Resources(network, BASE), small(), journal=second, settle=0.0)
            await second.aclose()
            assert outcome.verdict in {Verdict.LOADED, Verdict.ALREADY}, (undone, number)
            assert stored(network.emulator) == wanted([small()]), (undone, number)
            await take_back(network, third)
            assert not (order_stays and any(network.emulator.store.all(kind) for kind in KINDS)), (undone, number)
            number += 1


@pytest.mark.parametrize("done", [True, False], ids=["done", "not sent"])
async def test_an_undo_between_a_load_that_was_cut_off_and_the_next_one_forgets_nothing(*, done: bool) -> None:
    """An undo keeps what it does not know, and says so; after the next load another undo deletes all."""
    for number in range(1, count([small()])):
        network, database = Network(Emulator()), SharedDatabase(lambda: 0.0, None)
        first, second, third, fourth = (database.connect() for _ in range(4))
        cutting = Cutting(network, number, done=done, kill=partial(first.kill, 1000))
        with pytest.raises((Cut, JournalError)):
            await ingest_one(Resources(cutting, BASE), small(), journal=first, settle=0.0)
        network = Network(network.emulator)
        kept = [part.reason for part in (await take_back(network, second)).parts if part.reason is not None]
        assert any("load once more" in reason for reason in kept) or not kept, kept
        await second.aclose()
        await ingest_one(Resources(network, BASE), small(), journal=third, settle=0.0)
        assert stored(network.emulator) == wanted([small()]), number
        await third.aclose()
        assert (await take_back(network, fourth)).verdict is UndoVerdict.DELETED, number
        assert not any(network.emulator.store.all(kind) for kind in KINDS), number


@pytest.mark.parametrize("age", [3600, 0])
async def test_an_order_that_is_older_than_the_load_that_may_have_sent_it_stays(age: int) -> None:
    """A load that is killed before its create leaves: what the next one finds may be of somebody else."""
    behind = timedelta(seconds=age)
    network, database = Network(Emulator(clock=lambda: datetime.now(UTC) - behind)), SharedDatabase(lambda: 0.0, None)
    first, second, third = (database.connect() for _ in range(3))
    await ingest_one(Resources(network, BASE), small(), settle=0.0)
    cutting = Cutting(network, 0, done=False, kill=partial(first.kill, 1000))
    with pytest.raises((Cut, JournalError)):
        await ingest_one(Resources(cutting, BASE), small(), journal=first, settle=0.0)
    network, behind = Network(network.emulator), timedelta(0)
    assert (await ingest_one(Resources(network, BASE), small(), journal=second, settle=0.0)).verdict is Verdict.ALREADY
    await second.aclose()
    await take_back(network, third)
    assert len([*network.emulator.store.all("orders")]) == (age > 0)


@pytest.mark.parametrize("others", [True, False], ids=["of others", "of the load"])
async def test_an_order_that_stays_in_doubt_for_several_loads_is_told_by_its_age(
    monkeypatch: pytest.MonkeyPatch, *, others: bool
) -> None:
    """Each load an hour later does not find out whether it is there; the first start decides whose it is."""
    started = datetime.now(UTC)
    emulator = Emulator(clock=lambda: started - timedelta(seconds=3600 if others else 0))
    database = SharedDatabase(lambda: 0.0, None)
    if others:
        await ingest_one(Resources(Network(emulator), BASE), small(), settle=0.0)
    lost = "lost, not done" if others else "lost"
    for number in range(4):
        monkeypatch.setattr("time.time", partial(float, started.timestamp() + 3600 * number))
        # A process of its own, which remembers nothing of the earlier ones.
        network, journal = Network(emulator, lambda _: lost if number < 3 else "ok"), database.connect()  # noqa: B023
        outcome = await ingest_one(Resources(network, BASE), small(), journal=journal, settle=0.0)
        assert outcome.verdict in ({Verdict.UNKNOWN} if number < 3 else {Verdict.LOADED, Verdict.ALREADY})
        await journal.aclose()
    assert stored(emulator) == wanted([small()])
    await take_back(Network(emulator), database.connect())
    assert len([*emulator.store.all("orders")]) == others


async def test_the_memory_of_a_client_does_not_outlive_an_undo() -> None:
    """A client that loaded and undid an order loads it again, also with no journal."""
    network, journal = Network(Emulator()), MemoryJournal()
    cdp = Resources(network, BASE)
    await ingest_one(cdp, small(), journal=journal, settle=60.0)
    created = [part async for part in journal.created()]
    await OrderUndo(cdp, journal, small().key, created, force=False, stopped=lambda: False).run()
    assert (await ingest_one(cdp, small(), settle=60.0)).verdict is Verdict.LOADED
    assert stored(network.emulator) == wanted([small()])
