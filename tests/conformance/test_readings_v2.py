"""What the documents leave open is handled by the client of version 2 however the server reads it, point by point."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

import attrs
import pytest

from cdp_orders_async import BadRequest, CdpOrdersV2, NotFound, RateLimited, Settings
from cdp_orders_async.emulator import Emulator, Switches, running
from tests.calls import walked
from tests.v2.samples import CONTACT, FLIGHT, ORDER, PAIRS

NOBODY = UUID("00000000-0000-4000-8000-000000000000")
START = datetime(2025, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def serving(switches: Switches) -> AsyncGenerator[CdpOrdersV2, None]:
    """Give a client of version 2 of an emulator whose clock stands still."""
    async with (
        running(Emulator(switches=switches, clock=lambda: START)) as url,
        CdpOrdersV2(base_url=url, client_key="key", api_token="token", settings=Settings(retries=0)) as cdp,  # noqa: S106
    ):
        yield cdp


@pytest.mark.parametrize("upsert", [True, False])
async def test_order_that_is_known(*, upsert: bool) -> None:
    """1: A second POST is the same order or another; the client says which by the reference."""
    async with serving(Switches(upsert=upsert)) as cdp:
        first, second = [await cdp.orders.create(attrs.evolve(ORDER, card_type=card)) for card in ("Visa", "Diners")]
        assert (first.ref == second.ref) is upsert
        listed = await walked(cdp.orders.list(reference_id=ORDER.reference_id))
        assert [order.card_type for order in listed] == (["Diners"] if upsert else ["Visa", "Diners"])


@pytest.mark.parametrize(("hours", "same"), [(48, True), (24, False)])
async def test_orders_a_day_and_a_half_apart(hours: float, *, same: bool) -> None:
    """2: The server takes them for one or for two, and the references say which."""
    async with serving(Switches(match_hours=hours)) as cdp:
        later = attrs.evolve(ORDER, ordered_at=ORDER.ordered_at + timedelta(hours=36))
        assert ((await cdp.orders.create(ORDER)).ref == (await cdp.orders.create(later)).ref) is same


@pytest.mark.parametrize("refuse", [True, False])
async def test_identity_of_an_order_stays(*, refuse: bool) -> None:
    """3: An update to another order is refused, or answered with the identity that stayed."""
    async with serving(Switches(refuse_identity_change=refuse)) as cdp:
        ref = (await cdp.orders.create(ORDER)).ref
        changed = attrs.evolve(ORDER, reference_id="other", status="REFUNDED")
        with pytest.raises(BadRequest, match="referenceId: cannot be changed") if refuse else nullcontext():
            assert (await cdp.orders.update(ref, changed)).reference_id == ORDER.reference_id
        assert (await cdp.orders.get(ref)).status == (ORDER.status if refuse else "REFUNDED")


@pytest.mark.parametrize("strict", [True, False])
async def test_update_sends_every_key(*, strict: bool) -> None:
    """4: Version 2 has no changes of some fields, so the whole that an update sends is enough in any case."""
    async with serving(Switches(require_all_on_patch=strict)) as cdp:
        ref = (await cdp.orders.create(ORDER)).ref
        assert (await cdp.orders.update(ref, attrs.evolve(ORDER, status="REFUNDED"))).status == "REFUNDED"


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (400, BadRequest)])
async def test_reference_that_is_unknown(status: Literal[400, 404], kind: type[Exception]) -> None:
    """5: It is a refusal in either number."""
    async with serving(Switches(unknown_ref_status=status)) as cdp:
        for call in (cdp.orders.get, cdp.items.delete, cdp.consumers.get):
            with pytest.raises(kind):
                await call(NOBODY)
        with pytest.raises(kind):
            await cdp.contacts.create(NOBODY, CONTACT)


@pytest.mark.parametrize("unexpanded", ["href", "ref"])
@pytest.mark.parametrize("limit_max", [100, 2])
async def test_entries_of_a_list(unexpanded: Literal["href", "ref"], limit_max: int) -> None:
    """6, 7: Entries are fetched one by one, whether they have references or only links, and in pages of any size."""
    async with serving(Switches(unexpanded=unexpanded, limit_max=limit_max)) as cdp:
        order = await cdp.orders.create(ORDER)
        items = [await cdp.items.create(order.ref, attrs.evolve(FLIGHT, reference_id=str(n))) for n in range(5)]
        assert await walked(cdp.items.list(order.ref)) == items
        refs = [entry.ref for page in await walked(cdp.items.list(order.ref).pages()) for entry in page.items]
        assert refs == [item.ref for item in items]


@pytest.mark.parametrize("needed", [True, False, None])
async def test_names_are_always_sent(*, needed: bool | None) -> None:
    """8: The client asks for both names, so no server can miss them."""
    async with serving(Switches(require_first_name=needed)) as cdp:
        order = await cdp.orders.create(ORDER)
        assert (await cdp.contacts.create(order.ref, CONTACT)).first_name == CONTACT.first_name


@pytest.mark.parametrize(
    ("existing", "left"), [("replace", {"b": 2}), ("merge", {**PAIRS, "b": 2}), ("refuse", {**PAIRS})]
)
async def test_extension_that_is_known(existing: Literal["replace", "merge", "refuse"], left: dict[str, int]) -> None:
    """9: Creating it again replaces it, adds to it or is refused; the client says what it then holds."""
    async with serving(Switches(extension_post_existing=existing)) as cdp:
        order = await cdp.orders.create(ORDER)
        await cdp.order_extensions.create(order.ref, PAIRS)
        with pytest.raises(BadRequest) if existing == "refuse" else nullcontext():
            assert (await cdp.order_extensions.create(order.ref, {"b": 2})).pairs == left
        assert (await cdp.order_extensions.get(order.ref)).pairs == left


@pytest.mark.parametrize("unknown", ["ignore", "refuse"])
async def test_keys_are_all_known(unknown: Literal["ignore", "refuse"]) -> None:
    """10: No call sends a key that the pages do not name."""
    async with serving(Switches(unknown_keys=unknown)) as cdp:
        order = await cdp.orders.create(ORDER)
        assert (await cdp.items.create(order.ref, FLIGHT)).flight_segments == FLIGHT.flight_segments
        assert (await cdp.contacts.create(order.ref, CONTACT)).emails == CONTACT.emails


@pytest.mark.parametrize("retry_after", [None, 7])
async def test_calls_above_the_limit(retry_after: int | None) -> None:
    """11: A 429 is an error of its own, with the seconds to wait where they are told."""
    async with serving(Switches(rate=1, retry_after=retry_after)) as cdp:
        await cdp.orders.create(ORDER)
        with pytest.raises(RateLimited) as caught:
            await cdp.orders.create(ORDER)
        assert caught.value.retry_after == retry_after


@pytest.mark.parametrize("lag", [0, 1])
async def test_lists_that_lag(lag: float) -> None:
    """12: What lists do not show yet is there by its reference."""
    async with serving(Switches(list_lag=lag)) as cdp:
        order = await cdp.orders.create(ORDER)
        listed = await walked(cdp.orders.list(reference_id=ORDER.reference_id))
        assert [each.ref for each in listed] == ([] if lag else [order.ref])
        assert (await cdp.orders.get(order.ref)).ref == order.ref


@pytest.mark.parametrize("kept", [True, False])
async def test_last_contact_of_an_order(*, kept: bool) -> None:
    """13: Deleting it is done or refused, and the order is there in any case."""
    async with serving(Switches(delete_last_contact="refuse" if kept else "keep")) as cdp:
        order = await cdp.orders.create(ORDER)
        contact = await cdp.contacts.create(order.ref, CONTACT)
        with pytest.raises(BadRequest) if kept else nullcontext():
            await cdp.contacts.delete(contact.ref)
        assert [each.ref for each in await walked(cdp.contacts.list(order.ref))] == ([contact.ref] if kept else [])
        assert (await cdp.orders.get(order.ref)).ref == order.ref
