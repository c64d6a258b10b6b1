"""A server that is not well: the load pauses, probes, says why, and loses nothing; what does not pass ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs
import pytest

from cdp_orders_async import (
    CdpError,
    Forbidden,
    MemoryJournal,
    NotFound,
    NotSent,
    OrderGraph,
    OutcomeUnknown,
    PartVerdict,
    Refused,
    Request,
    Resources,
    ServerError,
    Settings,
    Unauthorized,
    Verdict,
    ingest,
)
from cdp_orders_async.emulator import Emulator, Faults, Switches, running
from cdp_orders_async.session import Session
from cdp_orders_async.settings import Credentials
from tests.ingest.expectations import stored, wanted
from tests.ingest.network import Network, collected, loading
from tests.ingest.orders import Json, count, item, order, whole
from tests.ingest.serving import BASE, KEY, TOKEN
from tests.ingest.versions import VERSIONS, Version
from tests.virtual import VirtualLoop, run

Break: TypeAlias = Callable[[Request[Any]], str | int | Json]


def some(number: int) -> list[OrderGraph]:
    """Return small orders."""
    return [OrderGraph(order=order(f"A-{n}"), items=(item("i1"),)) for n in range(number)]


def alternating(*fates: str | int) -> Break:
    """Return the fates by turns."""
    made = [0]

    def fate(_: Request[Any]) -> str | int:
        made[0] += 1
        return fates[made[0] % len(fates)]

    return fate


OUTAGES: dict[str, Break] = {
    **{str(status): alternating(status) for status in (500, 501, 502, 503, 504, 520, 521, 599)},
    **{
        f"page {status}": alternating(f"page {status}") for status in (200, 201, 301, 400, 404, 405, 408, 409, 421, 502)
    },
    **{f"page {status}, done": alternating(f"page {status}, done") for status in (200, 301, 400, 404, 502)},
    **{f"json {status}": alternating(f"json {status}") for status in (400, 404, 409, 422)},
    "json 404, done": alternating("json 404, done"),
    "other JSON": alternating(200, 201, 202),
    "redirected": alternating(302),
    "lost": alternating("lost", "lost, not done"),
    "mixed": alternating(521, "page 200", "not sent", "lost", "page 404", 503),
}


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("upsert", [True, False])
def test_ten_bad_seconds(outage: str, upsert: bool) -> None:  # noqa: FBT001 a parameter of the test
    """Ten seconds in which nothing that comes back is about the request: all is loaded after them, once."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=upsert)))
        network.delay = 0.1
        network.fate = lambda request: OUTAGES[outage](request) if 1 <= loop.time() < 11 else "ok"
        load = loading(loop, network, some(100), settle=0.5)
        paused: set[str] = set()

        async def look() -> None:
            while True:
                await asyncio.sleep(0.05)
                if load.paused is not None:
                    paused.add(load.paused)

        looking = asyncio.create_task(look())
        outcomes = await collected(load)
        looking.cancel()
        await load.aclose()
        assert {outcome.verdict for outcome in outcomes} == {Verdict.LOADED}
        assert stored(network.emulator) == wanted(some(100))
        assert paused
        assert load.paused is None
        assert 11 < loop.time() < 60
        assert len(network.requests) < count(some(100)) + 300

    run(main)


@pytest.mark.parametrize("kind", ["orders", "items", "contacts", "consumers", "order_extensions", "item_extensions"])
def test_a_create_that_was_passed_on_twice(kind: str) -> None:
    """A gateway sends a create twice, and the answer is the 409 to the second one: the load looks, and finds it."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator())
        network.fate = lambda request: "exists 409, done" if request.operation == f"{kind}.create" else "ok"
        async with contextlib.aclosing(loading(loop, network, [whole()])) as load:
            [outcome] = await collected(load)
        assert outcome.verdict == Verdict.LOADED
        assert stored(network.emulator) == wanted([whole()])

    run(main)


@pytest.mark.parametrize(
    "page",
    [*(f"page {status}" for status in (301, 302, 303, 307, 400, 404, 405, 408, 409, 410, 421, 502)), "json 404"],
)
@pytest.mark.parametrize("kind", ["orders", "items", "contacts", "consumers", "order_extensions", "item_extensions"])
def test_a_page_in_place_of_the_answer_to_a_create(kind: str, page: str) -> None:
    """A gateway that shows a page after the create was done has refused nothing: the part is looked for and found."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False)))
        pages = [f"{page}, done"]
        network.fate = lambda request: pages.pop() if pages and request.operation == f"{kind}.create" else "ok"
        load = loading(loop, network, [whole()], settle=0.5)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert not pages
        assert stored(network.emulator) == wanted([whole()])

    run(main)


@pytest.mark.parametrize("outage", ["500", "503", "521", "page 404", "page 200", "lost"])
def test_bad_seconds_at_the_start(outage: str) -> None:
    """A server that is not well when the load begins, and then is, loads everything."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False)))
        network.delay = 0.1
        network.fate = lambda request: OUTAGES[outage](request) if loop.time() < 10 else "ok"
        load = loading(loop, network, some(30), settle=0.5)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert stored(network.emulator) == wanted(some(30))

    run(main)


@pytest.mark.parametrize("status", [405, 408, 421])
def test_reads_that_go_elsewhere(status: int) -> None:
    """Answers that the API never gives to a look for an order are waited out; a read that came too late is repeated."""

    async def main(loop: VirtualLoop) -> None:
        network, refused = Network(Emulator()), [0]
        network.delay = 0.1

        def fate(request: Request[Any]) -> str | int:
            is_read = request.operation == "orders.list" or (status == 408 and request.method == "GET")
            if not is_read or not 0.15 <= loop.time() < 5:
                return "ok"
            refused[0] += 1
            return status

        network.fate = fate
        load = loading(loop, network, some(60), settle=0.5, look_first=True)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert refused[0] > 0
        assert stored(network.emulator) == wanted(some(60))

    run(main)


@pytest.mark.parametrize("lie", ["json 200", "json 200, done"])
@pytest.mark.parametrize("kind", ["order_extensions", "item_extensions"])
def test_json_of_a_gateway_in_place_of_an_extension(kind: str, lie: str) -> None:
    """It shows no extension, neither one that was made or changed, nor one that is there."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False)))
        network.delay = 0.1
        network.fate = lambda request: lie if request.operation.startswith(kind) and loop.time() % 100 < 5 else "ok"
        other = (item("i1", {"seat": "2A"}), *whole().items[1:])
        for graph in (whole(), attrs.evolve(whole(), items=other, extension={"campaign": "summer", "visits": 3})):
            load = loading(loop, network, [graph], settle=0.5, look_first=True, on_existing="update")
            assert {outcome.verdict for outcome in await collected(load)} <= {Verdict.LOADED, Verdict.UPDATED}
            await load.aclose()
            assert stored(network.emulator) == wanted([graph])
            await asyncio.sleep(100 - loop.time() % 100)

    run(main)


@pytest.mark.parametrize(
    ("verb", "page"),
    [("list", "page 404"), ("get", "page 404"), ("list", "json 404"), ("get", "json 404"), ("list", "no entries")],
)
@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_reads_that_meet_a_page(version: Version, verb: str, page: str) -> None:
    """An answer of a gateway does not show whether a part is on the server: no part is sent again because of it."""
    graph = version.of(whole())

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False)))

        def fate(request: Request[Any]) -> str:
            if request.creates:
                return "lost"
            return page if loop.time() < 10 and request.operation.endswith(verb) else "ok"

        network.fate = fate
        network.delay = 0.1
        load = loading(loop, network, [graph], settle=0.5, version=version)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert stored(network.emulator) == wanted([graph])

    run(main)


Way: TypeAlias = tuple[str, str | int, type[CdpError]]


@pytest.mark.parametrize(
    ("fate", "error"), [("page 404", NotFound), (404, NotFound), (405, Refused), (302, Refused), (500, ServerError)]
)
def test_a_server_that_never_was_the_api(fate: str | int, error: type[CdpError]) -> None:
    """A wrong address ends the load with its error: soon where the answers are the API's, else within a minute."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(), lambda _: fate)
        network.delay = 0.1
        load = loading(loop, network, some(300))
        with pytest.raises((error, OutcomeUnknown)) as caught:
            await collected(load)
        await load.aclose()
        assert isinstance(caught.value, error) or isinstance(caught.value.__cause__, error)
        assert load.counts.total() < 60
        assert set(load.counts) <= {Verdict.FAILED, Verdict.UNKNOWN, Verdict.NOT_TRIED}
        assert len(network.requests) < 150
        assert loop.time() < 60

    run(main)


def distrusted() -> NotSent:
    """Return the error of a certificate that is not trusted."""
    error = NotSent("the certificate is not trusted")
    error.lasting = True
    return error


class Distrusted(Network):
    """A network on which the certificate becomes untrusted."""

    loop: VirtualLoop

    async def send(self, request: Request[Any], /) -> Any:  # noqa: ANN401 whatever it gives
        """Send, or not."""
        if self.loop.time() > 1:
            raise distrusted()
        return await super().send(request)


def test_what_does_not_pass_ends_the_load() -> None:
    """A certificate that becomes untrusted pauses the load, which names the cause, and ends it after some minutes."""

    async def main(loop: VirtualLoop) -> None:
        network = Distrusted(Emulator())
        network.delay, network.loop = 0.1, loop
        load = loading(loop, network, some(300))
        causes: list[str | None] = []

        async def look() -> None:
            await asyncio.sleep(60)
            causes.append(load.paused)

        looking = asyncio.create_task(look())
        with pytest.raises(OutcomeUnknown, match="not trusted"):
            await collected(load)
        await load.aclose()
        await looking
        assert causes == ["the certificate is not trusted"]
        assert 180 < loop.time() < 300
        assert set(load.counts) <= {Verdict.LOADED, Verdict.PARTIAL, Verdict.FAILED, Verdict.NOT_TRIED}

    run(main)


def test_a_server_that_is_away_for_long_is_waited_for() -> None:
    """A cause that may pass does not end a load that has begun, not in an hour."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator())
        network.delay = 0.1
        network.fate = lambda _: "not sent" if 1 <= loop.time() < 3600 else "ok"
        load = loading(loop, network, some(100))
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()
        assert loop.time() < 3700

    run(main)


def test_the_last_order_that_always_fails_ends() -> None:
    """One create that always fails holds up no load for ever, neither the first one nor the one that resumes."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False)))
        network.delay = 0.1
        network.fate = lambda request: 500 if request.operation == "contacts.create" else "ok"
        journal, graphs = MemoryJournal(), [*some(5), whole("unlucky")]
        for verdict in (Verdict.LOADED, Verdict.ALREADY):
            began = loop.time()
            load = loading(loop, network, graphs, journal=journal, settle=0.5)
            await collected(load)
            await load.aclose()
            assert load.counts == {verdict: 5, Verdict.PARTIAL: 1}
            assert loop.time() - began < 400

    run(main)


@pytest.mark.parametrize("page", ["page 406", "page 400", "json 422", "page 200"])
def test_a_body_among_the_last_that_a_firewall_refuses_with_a_page(page: str) -> None:
    """The API answers the look-ups meanwhile, so it is about this part: the order is partial, and the load goes on."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False)))
        network.delay = 0.1
        network.fate = lambda request: page if request.operation == "contacts.create" else "ok"
        load = loading(loop, network, [*some(5), whole("unlucky")], settle=0.5)
        await collected(load)
        await load.aclose()
        assert load.counts == {Verdict.LOADED: 5, Verdict.PARTIAL: 1}
        assert loop.time() < 180

    run(main)


@pytest.mark.parametrize("status", [407, 411, 415, 417, 451])
@pytest.mark.parametrize("well", [0, 40], ids=["from the start", "later"])
async def test_a_gateway_that_lets_nothing_through_ends_the_load(status: int, well: int) -> None:
    """A proxy that asks for a password, or a page of the law: no order has a chance, and waiting does not help."""
    network = Network(Emulator(), lambda _: f"page {status}" if len(network.requests) > well else "ok")
    async with ingest(Resources(network, BASE), some(100), open_orders=3) as load:
        with pytest.raises(Refused):
            await collected(load)
    assert len(network.requests) <= well + 5 + 3


async def test_bodies_in_a_row_that_are_too_large_for_a_gateway() -> None:
    """Each is the failure of its order: the load goes on, and so does the one that resumes."""
    network = Network(Emulator(), lambda request: "page 413" if request.operation == "contacts.create" else "ok")
    async with ingest(Resources(network, BASE), [*(whole(f"B-{n}") for n in range(20)), *some(3)]) as load:
        await collected(load)
    assert load.counts == {Verdict.PARTIAL: 20, Verdict.LOADED: 3}


def test_the_last_orders_wait_for_a_server_that_creates_nothing_for_a_while() -> None:
    """Two minutes in which only reads succeed, at the end of the input, lose no order."""

    async def main(loop: VirtualLoop) -> None:
        network = Network(Emulator(switches=Switches(upsert=False)))
        network.delay = 0.1
        network.fate = lambda request: 500 if request.creates and 0.5 < loop.time() < 120 else "ok"
        load = loading(loop, network, some(8), settle=0.5)
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
        await load.aclose()

    run(main)


@pytest.mark.parametrize(("status", "kind"), [(403, "Forbidden"), (401, "Unauthorized")])
async def test_one_body_that_is_refused_by_a_firewall(status: int, kind: str) -> None:
    """After calls that succeeded, a 403 or 401 to one order is that order's failure, and the load goes on."""
    graphs = some(60)
    network = Network(Emulator(), lambda request: status if b'"A-40"' in (request.body or b"") else "ok")
    async with ingest(Resources(network, BASE), graphs, open_orders=3) as load:
        told = {outcome.number: outcome for outcome in await collected(load)}
    assert load.counts == {Verdict.LOADED: 59, Verdict.FAILED: 1}
    failure = told[41].parts[0].failure
    assert failure is not None
    assert (failure.kind, failure.status, failure.attempts) == (kind, status, 1)
    assert stored(network.emulator) == wanted([graph for n, graph in enumerate(graphs) if n != 40])


@pytest.mark.parametrize(("status", "error"), [(403, Forbidden), (401, Unauthorized)])
async def test_credentials_that_become_wrong(status: int, error: type[CdpError]) -> None:
    """Some refusals in a row end the load, and every order that was taken has an outcome."""
    network = Network(Emulator(), lambda _: status if len(network.requests) > 40 else "ok")
    async with ingest(Resources(network, BASE), some(100), open_orders=3) as load:
        with pytest.raises(error):
            await collected(load)
    assert len(network.requests) <= 40 + 5 + 3
    assert set(load.counts) <= {Verdict.LOADED, Verdict.PARTIAL, Verdict.FAILED, Verdict.NOT_TRIED}


async def test_refused_bodies_here_and_there() -> None:
    """Bodies that a firewall refuses do not end the load as long as others get through."""
    network = Network(Emulator(), lambda request: 403 if request.operation == "contacts.create" else "ok")
    graphs = [whole(f"A-{n}") for n in range(20)]
    async with ingest(Resources(network, BASE), graphs, open_orders=3) as load:
        outcomes = await collected(load)
    assert load.counts == {Verdict.PARTIAL: 20}
    assert {part.name for one in outcomes for part in one.parts if part.verdict is PartVerdict.FAILED} == {"contact"}


async def test_a_gateway_that_ends_connections_between_requests() -> None:
    """Where each third request finds its connection closed, everything is loaded, with few requests more."""
    network = Network(Emulator(switches=Switches(upsert=False)), alternating("not sent", "ok", "ok"))
    async with ingest(Resources(network, BASE), [whole(f"A-{n}") for n in range(30)], open_orders=5) as load:
        assert {outcome.verdict for outcome in await collected(load)} == {Verdict.LOADED}
    assert stored(network.emulator) == wanted([whole(f"A-{n}") for n in range(30)])
    assert len(network.requests) <= 2 * count([whole()]) * 30 + 1


def faults(*entries: tuple[str, Sequence[Json | str]]) -> Faults:
    """Return faults by operation."""
    return Faults.of({"faults": [{"operation": name, "script": list(steps)} for name, steps in entries]})


async def test_one_create_that_is_always_refused_for_now() -> None:
    """A create that always meets a 429 counts its attempts truly, waits alone, and slows nobody."""
    busy: Json = {"action": "status", "phase": "before", "status": 429}
    emulator = Emulator(faults=faults(("contacts.create", [busy] * 100)))
    graphs = [whole("unlucky"), *some(20)]
    async with running(emulator) as url:
        session = Session(url, Credentials(KEY, TOKEN), Settings(timeout=30, trust_env=False), uniform=min)
        resources = Resources(session, url)
        async with ingest(resources, graphs, journal=MemoryJournal(), open_orders=30) as load:
            told = {outcome.number: outcome for outcome in await collected(load)}
        await session.aclose()
    assert load.counts == {Verdict.LOADED: 20, Verdict.PARTIAL: 1}
    [failure] = [part.failure for part in told[1].parts if part.failure is not None]
    assert failure.attempts == emulator.faults.done.total()
    assert (failure.kind, failure.status) == ("RateLimited", 429)
