"""Values that keep every rule, for property tests, and people whose every value would be noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import get_args

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cdp_orders_async import (
    Channel,
    ExtensionValue,
    FlightSegment,
    Gender,
    GraphConsumer,
    GraphItem,
    Identifier,
    NewConsumer,
    NewConsumerV2,
    NewContact,
    NewContactV2,
    NewOrder,
    NewOrderItem,
    NewOrderItemV2,
    NewOrderV2,
    OrderGraph,
    OrderItemStatusV2,
    OrderItemTypeV2,
    OrderStatus,
    OrderStatusV2,
)
from cdp_orders_async.models.constraints import RESERVED_TYPES

NOW = datetime(2024, 1, 1, 16, 17, 16, tzinfo=UTC)
SECRETS = ("Ada", "Lovelace", "1815", "ada@example.com", "+44 20", "PZ4A9565", "St James", "London-Hall", "B7524AE6")
"""What stands in `PERSON`."""
IDENTIFIER = Identifier(provider="CRM", id="B7524AE6", expiry_date=datetime(1815, 12, 11, tzinfo=UTC))
CONTACT = NewContact(
    title="Lovelace",
    first_name="Ada",
    last_name="Lovelace",
    gender="Lovelace",
    date_of_birth=datetime(1815, 12, 10, tzinfo=UTC),
    emails=("ada@example.com",),
    phone_numbers=("+44 20",),
    nationality="London-Hall",
    passport_number="PZ4A9565",
    passport_expiry=datetime(1815, 12, 10, tzinfo=UTC),
    identifiers=(IDENTIFIER,),
    street=("St James",),
    city="London-Hall",
    state="London-Hall",
    post_code="London-Hall",
    country="London-Hall",
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
filled = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
money = st.tuples(st.integers(-(10**15) + 1, 10**15 - 1), st.integers(-30, 30)).map(
    lambda amount: Decimal(amount[0]).scaleb(amount[1])
)
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def moments(latest: int) -> SearchStrategy[datetime]:
    """Return times to the millisecond, which is as fine as the API's are, before the year *latest*."""
    naive = st.datetimes(datetime(1, 1, 3), datetime(latest, 1, 1))  # noqa: DTZ001 the zone comes next
    return st.tuples(naive, zones).map(
        lambda pair: pair[0].replace(microsecond=pair[0].microsecond // 1000 * 1000, tzinfo=pair[1])
    )


times = moments(9999)
some = st.lists(texts, max_size=3).map(tuple)


def maybe(strategy: SearchStrategy[str]) -> SearchStrategy[str | None]:
    """Return *strategy*, or nothing."""
    return st.none() | strategy


currencies = st.from_regex("[A-Z]{3}", fullmatch=True)
orders = st.builds(
    NewOrder,
    reference_id=filled,
    ordered_at=times,
    price=money,
    currency_code=currencies,
    channel=st.none() | st.sampled_from(get_args(Channel)),
    point_of_sale=maybe(texts),
    status=st.none() | st.sampled_from(get_args(OrderStatus)),
    payment_type=maybe(texts),
    card_type=maybe(texts),
)
items = st.builds(
    NewOrderItem,
    type=filled.filter(lambda word: word not in RESERVED_TYPES),
    name=filled,
    price=money,
    currency_code=filled,
    status=filled,
    description=maybe(texts),
    product_id=maybe(texts),
    original_price=st.none() | money,
    original_currency_code=maybe(texts),
    reference_id=maybe(texts),
    vendor=maybe(texts),
    language=maybe(texts),
    quantity=st.none() | st.integers(-(2**31), 2**31 - 1),
    channel=maybe(texts),
)
people = {
    "title": maybe(texts),
    "first_name": maybe(texts),
    "last_name": maybe(texts),
    "gender": st.none() | st.sampled_from(get_args(Gender)),
    "date_of_birth": st.none() | moments(2000),
    "emails": st.none() | some,
    "phone_numbers": st.none() | some,
    "nationality": maybe(texts),
    "passport_number": maybe(texts),
    "passport_expiry": st.none() | times,
    "identifiers": st.none()
    | st.lists(
        st.builds(Identifier, provider=filled, id=filled, expiry_date=st.none() | times),
        max_size=3,
    ).map(tuple),
    "street": st.none() | some,
    "city": maybe(texts),
    "state": maybe(texts),
    "post_code": maybe(texts),
    "country": maybe(st.from_regex("[A-Z]{2}", fullmatch=True)),
}
contacts = st.builds(NewContact, **people)
consumers = st.builds(NewConsumer, **people)
pairs: SearchStrategy[dict[str, ExtensionValue]] = st.dictionaries(
    st.from_regex("[a-z][A-Za-z0-9]{2,8}", fullmatch=True).map("my".__add__),
    texts | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    max_size=5,
)


@st.composite
def graphs(draw: st.DrawFn) -> OrderGraph:
    """Draw a whole order, whose consumers use some of its items."""
    drawn = draw(st.lists(st.builds(GraphItem, items, st.none() | pairs), max_size=4))
    known = [one.item.reference_id for one in drawn if one.item.reference_id is not None]
    single = [reference for reference in known if known.count(reference) == 1]
    uses = st.lists(st.sampled_from(single), max_size=3).map(tuple) if single else st.just(())
    return OrderGraph(
        order=draw(orders),
        contact=draw(st.none() | contacts),
        items=tuple(drawn),
        consumers=tuple(draw(st.lists(st.builds(GraphConsumer, consumers, uses), max_size=3))),
        extension=draw(st.none() | pairs),
        mode=draw(st.sampled_from(["insert", "upsert"])),
    )


orders_v2 = st.builds(
    NewOrderV2,
    reference_id=filled,
    ordered_at=times,
    price=money,
    currency_code=currencies,
    point_of_sale=filled,
    channel=st.none() | st.sampled_from(get_args(Channel)),
    status=st.none() | st.sampled_from(get_args(OrderStatusV2)),
    payment_type=maybe(texts),
    card_type=maybe(texts),
)
local_times = st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='minutes')}Z")
capitals = st.from_regex("[A-Z0-9_-]{1,8}", fullmatch=True)
segments = st.builds(
    FlightSegment,
    id=filled,
    origin=capitals,
    destination=capitals,
    origin_destination=maybe(capitals),
    departure_date_time=local_times,
    arrival_date_time=local_times,
    fare_class=filled,
    fare_family=maybe(texts),
    booking_class=maybe(capitals),
    carrier=capitals,
    flight_number=filled,
    operating_carrier=maybe(texts),
    operating_flight_number=maybe(texts),
    equipment_type=maybe(capitals),
)
items_v2 = st.builds(
    NewOrderItemV2,
    type=st.sampled_from(get_args(OrderItemTypeV2)),
    status=st.sampled_from(get_args(OrderItemStatusV2)),
    price=money,
    currency_code=currencies,
    product_id=filled,
    reference_id=filled,
    name=maybe(filled),
    description=maybe(texts),
    original_price=st.none() | money,
    original_currency_code=maybe(currencies),
    vendor=maybe(texts),
    language=maybe(st.from_regex("[A-Z]{2}", fullmatch=True)),
    channel=maybe(capitals),
    ordered_at=st.none() | times,
    quantity=st.none() | st.integers(-(2**31), 2**31 - 1),
    passenger_type_code=maybe(texts),
    consumer_type_code=maybe(texts),
    flight_segments=st.none() | st.lists(segments, max_size=3).map(tuple),
)
people_v2 = {
    **{key: value for key, value in people.items() if key not in {"street", "city", "state", "post_code"}},
    "first_name": filled,
    "last_name": filled,
    "guest": st.none() | st.uuids(),
}
contacts_v2 = st.builds(NewContactV2, **people_v2)
consumers_v2 = st.builds(NewConsumerV2, **people_v2)


@st.composite
def graphs_v2(draw: st.DrawFn) -> OrderGraph:
    """Draw a whole order for version 2, each item of which one consumer uses."""
    drawn = draw(st.lists(items_v2, max_size=3, unique_by=lambda item: item.reference_id))
    return OrderGraph(
        order=draw(orders_v2),
        contact=draw(st.none() | contacts_v2),
        items=tuple(map(GraphItem, drawn)),
        consumers=tuple(GraphConsumer(draw(consumers_v2), (item.reference_id,)) for item in drawn),
        extension=draw(st.none() | pairs),
    )
