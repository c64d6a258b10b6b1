"""What the documents leave open is handled by client and loader however the server reads it, point by point."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import attrs
import pytest

from cdp_orders_async import (
    BadRequest,
    Invalid,
    NewContact,
    NotFound,
    OrderGraph,
    PartVerdict,
    RateLimited,
    Verdict,
    ingest_one,
)
from cdp_orders_async.emulator import Emulator, Switches
from tests.calls import CALLS, CONTACT, ITEM, ORDER, PAIRS, Refs, walked
from tests.ingest.expectations import stored, wanted
from tests.ingest.orders import later, whole
from tests.ingest.serving import serving

NOBODY = UUID("00000000-0000-4000-8000-000000000000")
LAG = 0.2
START = datetime(2025, 1, 1, tzinfo=UTC)

READINGS: Mapping[str, Switches] = {
    "all defaults": Switches(),
    "1: a known order is stored again": Switches(upsert=False),
    "2: orders are the same within a day": Switches(match_hours=24),
    "3: another identity is ignored": Switches(refuse_identity_change=False),
    "4: PATCH needs every required key": Switches(require_all_on_patch=True),
    "5: an unknown reference is 400": Switches(unknown_ref_status=400),
    "6: bare entries have references": Switches(unexpanded="ref", ignore_expand=True),
    "6: bare entries have none": Switches(unexpanded="href", ignore_expand=True),
    "7: pages are small": Switches(limit_max=2),
    "8: people need a first name": Switches(require_first_name=True),
    "9: extensions are merged": Switches(extension_post_existing="merge"),
    "9: extensions are made once": Switches(extension_post_existing="refuse"),
    "10: unknown keys are refused": Switches(unknown_keys="refuse"),
    "11: calls are limited": Switches(rate=100, burst=5, retry_after=0),
    "11: calls are limited in silence": Switches(rate=100, burst=5),
    "12: lists lag": Switches(list_lag=LAG),
    "13: the last contact stays": Switches(delete_last_contact="refuse"),
    "answers are late": Switches(latency={"*": 0.01, "*.list": 0.02}),
    "writes are slow": Switches(slow_writes=0.01, upsert=False),
}
"""The other readings of the open points, by their numbers, and what is slow."""


@pytest.mark.parametrize("reading", READINGS)
async def test_a_load_is_exact_under_every_reading(reading: str) -> None:
    """An order with every kind of part is loaded once, is found again, and nothing is made twice."""
    emulator = Emulator(switches=READINGS[reading])
    async with serving(emulator, retries=3) as cdp:
        first = await ingest_one(cdp, whole())
        assert first.verdict is Verdict.LOADED
        assert stored(emulator) == wanted([whole()])
        again = await ingest_one(cdp, whole(), look_first=True, settle=2 * LAG)
        assert (again.verdict, [part.ref for part in again.parts]) == (
            Verdict.ALREADY,
            [part.ref for part in first.parts],
        )
        assert stored(emulator) == wanted([whole()])


@pytest.mark.parametrize("upsert", [True, False])
async def test_order_that_is_known(*, upsert: bool) -> None:
    """1: A second POST is the same order or another; the client says which by the reference."""
    async with serving(Emulator(switches=Switches(upsert=upsert))) as cdp:
        first, second = [await cdp.orders.create(attrs.evolve(ORDER, card_type=card)) for card in ("Visa", "Diners")]
        assert (first.ref == second.ref) is upsert
        listed = await walked(cdp.orders.list(reference_id=ORDER.reference_id))
        assert [(order.ref, order.card_type) for order in listed] == (
            [(first.ref, "Diners")] if upsert else [(first.ref, "Visa"), (second.ref, "Diners")]
        )


@pytest.mark.parametrize(("hours", "orders"), [(48, 1), (24, 2)])
async def test_orders_a_day_and_a_half_apart(hours: float, orders: int) -> None:
    """2: The server takes them for one or for two; a load goes by the documents, and makes one."""
    emulator = Emulator(switches=Switches(match_hours=hours))
    first = OrderGraph(order=ORDER)
    second = later(first, timedelta(hours=36))
    async with serving(emulator) as cdp:
        made = [
            await cdp.orders.create(order)
            for order in (ORDER, attrs.evolve(ORDER, ordered_at=ORDER.ordered_at + timedelta(hours=36)))
        ]
        assert len({order.ref for order in made}) == len(stored(emulator)) == orders
    emulator.reset()
    async with serving(emulator) as cdp:
        outcomes = [await ingest_one(cdp, graph) for graph in (first, second)]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.LOADED, Verdict.CONFLICT]
    assert len(stored(emulator)) == 1


@pytest.mark.parametrize("refuse", [True, False])
async def test_identity_of_an_order_stays(*, refuse: bool) -> None:
    """3: A replacement by another order is refused, or answered with the identity that stayed; the same one is fine."""
    async with serving(Emulator(switches=Switches(refuse_identity_change=refuse))) as cdp:
        order = await cdp.orders.create(ORDER)
        changed = attrs.evolve(ORDER, reference_id="other", point_of_sale="home")
        if refuse:
            with pytest.raises(BadRequest, match="referenceId: cannot be changed"):
                await cdp.orders.replace(order.ref, changed)
        else:
            assert (await cdp.orders.replace(order.ref, changed)).reference_id == ORDER.reference_id
        same = await cdp.orders.replace(order.ref, attrs.evolve(ORDER, point_of_sale="shop"))
        assert (same.ref, same.point_of_sale, same.reference_id) == (order.ref, "shop", ORDER.reference_id)


@pytest.mark.parametrize("strict", [True, False])
async def test_changes_of_some_fields(*, strict: bool) -> None:
    """4: PATCH with some keys is done or refused with nothing changed; with all required keys it is done."""
    async with serving(Emulator(switches=Switches(require_all_on_patch=strict))) as cdp:
        order = await cdp.orders.create(ORDER)
        item = await cdp.items.create(order.ref, ITEM)
        with pytest.raises(BadRequest) if strict else nullcontext():
            assert (await cdp.items.update(item.ref, {"quantity": 2})).quantity == 2
        assert (await cdp.items.get(item.ref)).quantity == (None if strict else 2)
        every = await cdp.items.update(
            item.ref,
            {
                "type": ITEM.type,
                "name": ITEM.name,
                "price": ITEM.price,
                "currency_code": ITEM.currency_code,
                "status": "CANCELLED",
            },
        )
        assert every.status == "CANCELLED"


@pytest.mark.parametrize("strict", [True, False])
async def test_load_that_changes_some_fields(*, strict: bool) -> None:
    """4: What a load cannot bring up to the input because the server takes no PATCH of some keys is said."""
    emulator = Emulator(switches=Switches(require_all_on_patch=strict))
    async with serving(emulator) as cdp:
        before, after = (OrderGraph(order=attrs.evolve(ORDER, card_type=card)) for card in ("Visa", "Diners"))
        await ingest_one(cdp, before)
        outcome = await ingest_one(cdp, after, look_first=True, on_existing="update", settle=0)
        assert [part.verdict for part in outcome.parts] == [PartVerdict.FAILED if strict else PartVerdict.UPDATED]
        assert stored(emulator) == wanted([before if strict else after])


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (400, BadRequest)])
async def test_reference_that_is_unknown(status: Literal[400, 404], kind: type[Exception]) -> None:
    """5: It is a refusal in either number, and an extension that is absent is always 404."""
    async with serving(Emulator(switches=Switches(unknown_ref_status=status))) as cdp:
        for call in (cdp.orders.get, cdp.items.delete, cdp.order_extensions.get):
            with pytest.raises(kind):
                await call(NOBODY)
        with pytest.raises(kind):
            await walked(cdp.contacts.list(NOBODY))
        order = await cdp.orders.create(ORDER)
        with pytest.raises(NotFound):
            await cdp.order_extensions.get(order.ref)


@pytest.mark.parametrize(("unexpanded", "ignored"), [("href", False), ("href", True), ("ref", True)])
@pytest.mark.parametrize("limit_max", [100, 2])
async def test_entries_of_a_list(unexpanded: Literal["href", "ref"], *, ignored: bool, limit_max: int) -> None:
    """6, 7: Entries come whole, whether the server expands them or only links to them, and in pages of any size."""
    switches = Switches(unexpanded=unexpanded, ignore_expand=ignored, limit_max=limit_max)
    async with serving(Emulator(switches=switches)) as cdp:
        order = await cdp.orders.create(ORDER)
        items = [await cdp.items.create(order.ref, attrs.evolve(ITEM, name=str(n))) for n in range(5)]
        for limit in (1, 3, 100):
            assert await walked(cdp.items.list(order.ref, limit=limit)) == items
        with pytest.raises(Invalid, match="must be from 1 to 100"):
            cdp.items.list(order.ref, limit=101)


@pytest.mark.parametrize("needed", [True, False])
async def test_person_without_a_first_name(*, needed: bool) -> None:
    """8: The person is made or refused; of an order only that part is missing, and it is said."""
    emulator = Emulator(switches=Switches(require_first_name=needed))
    graph = OrderGraph(order=ORDER, contact=NewContact(last_name="Doe"), extension=PAIRS)
    async with serving(emulator) as cdp:
        outcome = await ingest_one(cdp, graph)
        assert outcome.verdict is (Verdict.PARTIAL if needed else Verdict.LOADED)
        found = {part.name: part.verdict for part in outcome.parts}
        assert found == {
            "order": PartVerdict.CREATED,
            "contact": PartVerdict.FAILED if needed else PartVerdict.CREATED,
            "ext": PartVerdict.CREATED,
        }


@pytest.mark.parametrize(
    ("existing", "left"), [("replace", {"b": 2}), ("merge", {"a": 1, "b": 2}), ("refuse", {"a": 1})]
)
async def test_extension_that_is_known(existing: Literal["replace", "merge", "refuse"], left: dict[str, int]) -> None:
    """9: Creating it again replaces it, adds to it or is refused; the client says what it then holds."""
    async with serving(Emulator(switches=Switches(extension_post_existing=existing))) as cdp:
        order = await cdp.orders.create(ORDER)
        await cdp.order_extensions.create(order.ref, {"a": 1})
        with pytest.raises(BadRequest) if existing == "refuse" else nullcontext():
            assert (await cdp.order_extensions.create(order.ref, {"b": 2})).pairs == left
        assert (await cdp.order_extensions.get(order.ref)).pairs == left
        assert (await cdp.order_extensions.replace(order.ref, {"c": 3})).pairs == {"c": 3}


@pytest.mark.parametrize("unknown", ["ignore", "refuse"])
async def test_keys_are_all_known(unknown: Literal["ignore", "refuse"]) -> None:
    """10: Every call is done, because none sends a key that the pages do not name."""
    async with serving(Emulator(switches=Switches(unknown_keys=unknown))) as cdp:
        refs = Refs()
        for operation, call in CALLS.items():
            ref: object = getattr(await call(cdp, refs), "ref", None)
            kind, _, verb = operation.partition(".")
            if verb == "create" and hasattr(refs, kind) and isinstance(ref, UUID):
                setattr(refs, kind, ref)


@pytest.mark.parametrize("retry_after", [None, 0])
async def test_calls_above_the_limit(retry_after: int | None) -> None:
    """11: A 429 is waited out with and without Retry-After, and is an error of its own where nothing is tried again."""
    times = (START + timedelta(seconds=0.3) * n for n in itertools.count())
    emulator = Emulator(switches=Switches(rate=1, retry_after=retry_after), clock=lambda: next(times))
    async with serving(emulator, retries=3) as cdp:
        order = await cdp.orders.create(ORDER)
        assert [(await cdp.orders.get(order.ref)).ref for _ in range(3)] == [order.ref] * 3
        assert cdp.session.stats.retries == 2  # each of the two looks of the server at its clock takes 0.3 s
    async with serving(Emulator(switches=Switches(rate=1, retry_after=retry_after), clock=lambda: START)) as cdp:
        await cdp.orders.create(ORDER)
        with pytest.raises(RateLimited) as caught:
            await cdp.orders.create(ORDER)
        assert caught.value.retry_after == retry_after


@pytest.mark.parametrize("lag", [0, 1])
async def test_lists_that_lag(lag: float) -> None:
    """12: What lists do not show yet is there by its reference."""
    async with serving(Emulator(switches=Switches(list_lag=lag), clock=lambda: START)) as cdp:
        order = await cdp.orders.create(ORDER)
        listed = await walked(cdp.orders.list(reference_id=ORDER.reference_id))
        assert (listed, await cdp.orders.get(order.ref)) == ([] if lag else [order], order)


@pytest.mark.parametrize("kept", [True, False])
async def test_last_contact_of_an_order(*, kept: bool) -> None:
    """13: Deleting it is done or refused, and the order is there in any case."""
    emulator = Emulator(switches=Switches(delete_last_contact="refuse" if kept else "keep"))
    async with serving(emulator) as cdp:
        order = await cdp.orders.create(ORDER)
        contact = await cdp.contacts.create(order.ref, CONTACT)
        with pytest.raises(BadRequest) if kept else nullcontext():
            await cdp.contacts.delete(contact.ref)
        assert [one.ref for one in await walked(cdp.contacts.list(order.ref))] == ([contact.ref] if kept else [])
        assert (await cdp.orders.get(order.ref)).ref == order.ref
