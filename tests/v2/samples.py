"""What is sent in the tests of version 2."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import attrs

from cdp_orders_async import (
    Consumer,
    Contact,
    ExtensionValue,
    FlightSegment,
    Identifier,
    NewConsumerV2,
    NewContactV2,
    NewOrderItemV2,
    NewOrderV2,
    OrderItemV2,
    OrderV2,
)
from tests import values

BASE = "https://host/base"
REF = UUID("2d7de9df-45a2-45ea-872c-30e45139007d")
GUEST = UUID("9d94ee11-7043-4b71-980c-a777d00a7b46")

ORDER = NewOrderV2(
    reference_id="B94TXY-1",
    ordered_at=values.NOW,
    price=Decimal(50),
    currency_code="EUR",
    point_of_sale="spinair.com",
    channel="WEB",
    status="PURCHASED",
    payment_type="Card",
    card_type="Visa",
)
SEGMENT = FlightSegment(
    id="1234",
    origin="DUB",
    destination="LHR",
    origin_destination="DUB-LHR",
    departure_date_time="2025-08-15T16:00Z",
    arrival_date_time="2025-08-15T17:20Z",
    fare_class="Economy",
    fare_family="Plus",
    booking_class="Y",
    carrier="FR",
    flight_number="459",
    operating_carrier="FR",
    operating_flight_number="459",
    equipment_type="73H",
)
FLIGHT = NewOrderItemV2(
    type="FLIGHT",
    product_id="DUB-LHR",
    reference_id="B94TXY-1-1",
    price=Decimal("30.6"),
    currency_code="EUR",
    status="CONFIRMED",
    passenger_type_code="ADT",
    flight_segments=(SEGMENT,),
)
CONTACT = NewContactV2(
    first_name="Ada",
    last_name="Lovelace",
    emails=("ada@example.com",),
    identifiers=(Identifier(provider="CRM", id="17", expiry_date=values.NOW),),
)
PAIRS: dict[str, ExtensionValue] = {"loyalty": True, "tier": "gold"}
KEPT: Mapping[type[attrs.AttrsInstance], type[attrs.AttrsInstance]] = {
    NewOrderV2: OrderV2,
    NewOrderItemV2: OrderItemV2,
    NewContactV2: Contact,
    NewConsumerV2: Consumer,
}
