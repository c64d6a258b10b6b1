"""Timings that do not say their zone."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from cdp_orders_async import V2, V2_1, GraphFile, Identifier, Invalid, parse_graph
from cdp_orders_async.graph.zones import DATES, MOMENTS
from cdp_orders_async.models.common import camel
from cdp_orders_async.wire import to_json
from tests.graphs import ORDER, Json, read, refused, told, written
from tests.v2.samples import FLIGHT
from tests.v2.test_graphs import FILE

NO_ZONE = (
    "must have a time zone, such as Z or +01:00 at its end; --timezone Europe/Dublin (timezone= in Python) "
    "reads it as a time in Dublin"
)
NO_TIME = "must be a date and time, since a date alone is a whole day"
CHANGED = "must have an offset, such as +01:00: in Europe/Dublin this time was {}, as clocks changed"
DUBLIN = zoneinfo.ZoneInfo("Europe/Dublin")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2024-01-01T16:17:16", NO_ZONE),
        ("2024-01-01 16:17", NO_ZONE),
        ("2024-01-01T16:17:16.123456", NO_ZONE),
        ("20240101T161716", NO_ZONE),
        ("2024-01-01T00:00:00", NO_ZONE),
        ("2024-01-01", NO_TIME),
        ("20240101", NO_TIME),
        ("2024-W01-1", NO_TIME),
        ("yesterday", "must be a time, such as 2024-01-01T16:17:16Z"),
        ("2024-01-01Z", "must be a time, such as 2024-01-01T16:17:16Z"),
    ],
)
async def test_time_without_a_zone(text: str, rule: str, tmp_path: Path) -> None:
    """When an order was made is not guessed: the rule names the option that says where."""
    assert refused({**ORDER, "orderedAt": text}) == [f"$.orderedAt: {rule}"]
    (line,) = await read(GraphFile(written(tmp_path / "o.jsonl", orjson.dumps({**ORDER, "orderedAt": text}))))
    assert told(line) == [f"$.orderedAt: {rule}"]
    assert line.key == "B94TXY-1"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-01T16:17:16", datetime(2024, 1, 1, 16, 17, 16, tzinfo=UTC)),
        ("2024-07-01 16:17", datetime(2024, 7, 1, 15, 17, tzinfo=UTC)),
        ("2024-07-01T16:17:16Z", datetime(2024, 7, 1, 16, 17, 16, tzinfo=UTC)),
        ("2024-07-01T16:17:16+02:00", datetime(2024, 7, 1, 14, 17, 16, tzinfo=UTC)),
        ("2024-10-27T01:30:00+01:00", datetime(2024, 10, 27, 0, 30, tzinfo=UTC)),
        ("1850-01-01T00:00:00", datetime(1850, 1, 1, 0, 25, 21, tzinfo=UTC)),
    ],
)
async def test_time_in_the_zone_that_is_told(text: str, moment: datetime, tmp_path: Path) -> None:
    """A zone reads the times that have none, summer or winter, and leaves the others alone."""
    value = {**ORDER, "orderedAt": text}
    path = written(tmp_path / "o.jsonl", orjson.dumps(value))
    for zone in ("Europe/Dublin", DUBLIN):
        assert parse_graph(value, timezone=zone).order.ordered_at == moment
        (line,) = await read(GraphFile(path, timezone=zone))
        assert line.graph is not None
        assert line.graph.order.ordered_at == moment
        assert line.key == line.graph.key
    assert value["orderedAt"] == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("2024-10-27T01:30:00", CHANGED.format("there twice")),
        ("2024-03-31T01:30:00", CHANGED.format("never there")),
        ("2024-03-31", NO_TIME),
    ],
)
def test_time_that_a_clock_shows_twice_or_never(text: str, rule: str) -> None:
    """What two moments could be, or none, is refused."""
    with pytest.raises(Invalid) as caught:
        parse_graph({**ORDER, "orderedAt": text}, timezone="Europe/Dublin")
    assert [str(one) for one in caught.value.violations] == [f"$.orderedAt: {rule}"]


def person(time: str) -> Json:
    """Return a person with each time that it may have."""
    return {
        "dateOfBirth": time,
        "passportExpiry": time,
        "identifiers": [{"provider": "CRM", "id": "1", "expiryDate": time}],
    }


@pytest.mark.parametrize("text", ["1985-07-24", "1985-07-24T00:00", "1985-07-24T00:00:00.000"])
def test_day_of_the_calendar(text: str) -> None:
    """A day stays that day, whatever the zone: the vendor has it as midnight in UTC."""
    day = datetime(1985, 7, 24, tzinfo=UTC)
    for zone in (None, "Pacific/Auckland"):
        graph = parse_graph({**ORDER, "contact": person(text), "consumers": [person(text)]}, timezone=zone)
        for one in (graph.contact, graph.consumers[0].consumer):
            assert one is not None
            assert (one.date_of_birth, one.passport_expiry) == (day, day)
            assert one.identifiers == (Identifier(provider="CRM", id="1", expiry_date=day),)


def test_time_of_a_day_without_a_zone() -> None:
    """Where a day has a time, it is a moment as any other."""
    value = {**ORDER, "contact": person("1985-07-24T16:17")}
    paths = ("dateOfBirth", "passportExpiry", "identifiers[0].expiryDate")
    assert sorted(refused(value)) == sorted(f"$.contact.{path}: {NO_ZONE}" for path in paths)
    graph = parse_graph(value, timezone="Europe/Dublin")
    assert graph.contact is not None
    assert graph.contact.date_of_birth == datetime(1985, 7, 24, 15, 17, tzinfo=UTC)
    assert value["contact"] == person("1985-07-24T16:17")


def test_version_2() -> None:
    """An item of version 2 has a time of its own; those of flights are local times and stay text."""
    item = {**to_json(FLIGHT), "orderedAt": "2024-07-01T16:17"}
    value = {**FILE, "orderItems": [item]}
    with pytest.raises(Invalid) as caught:
        parse_graph(value, V2)
    assert [str(one) for one in caught.value.violations] == [f"$.orderItems[0].orderedAt: {NO_ZONE}"]
    read_item = parse_graph(value, V2, timezone="Europe/Dublin").items[0].item
    assert attrs.asdict(read_item, recurse=False)["ordered_at"] == datetime(2024, 7, 1, 15, 17, tzinfo=UTC)
    assert attrs.asdict(read_item, recurse=False)["flight_segments"] == FLIGHT.flight_segments


def test_item_has_the_time_of_its_order_in_any_zone() -> None:
    """An item that repeats the time of its order is no item with a time of its own."""
    value = {**ORDER, "orderedAt": "2024-07-01T16:17"}
    item = {"type": "a", "name": "b", "price": 1, "currencyCode": "EUR", "status": "c", "orderedAt": "2024-07-01T16:17"}
    assert len(parse_graph({**value, "orderItems": [item]}, timezone="Europe/Dublin").items) == 1


@pytest.mark.parametrize(
    "name", ["Nowhere/Land", "", "Europe", "../Dublin", "/etc/passwd", "a\0b", "zone.tab", "x" * 999]
)
def test_zone_that_nobody_knows(name: str) -> None:
    """A zone is looked up where it is given, not at the first line."""
    for make in (lambda: GraphFile("absent", timezone=name), lambda: parse_graph(ORDER, timezone=name)):
        with pytest.raises(Invalid, match=r"^timezone: '.{0,70}' is no time zone that this system knows"):
            make()


def test_system_without_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a system has no zones, as Windows, it is said what to install."""

    def unknown(name: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", unknown)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(Invalid, match=r"^timezone: this system has no time zones: install the package tzdata$"):
        GraphFile("absent", timezone="Europe/Dublin")


def test_zone_of_the_wrong_type() -> None:
    """A zone is a name or a tzinfo."""
    with pytest.raises(TypeError, match=r"^timezone must be str or tzinfo or None, not int$"):
        GraphFile("absent", timezone=1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] on purpose
    fixed = timezone(timedelta(hours=2))
    assert parse_graph({**ORDER, "orderedAt": "2024-01-01T18:17:16"}, timezone=fixed) == parse_graph(ORDER)


def test_every_time_has_a_reading() -> None:
    """Each field of a model that holds a time is known as a moment or as a day."""
    models: list[type[Any]] = [Identifier, *V2.models.values(), *V2_1.models.values()]
    fields = [one for model in models if attrs.has(model) for one in attrs.fields(model)]
    assert {camel(one.name) for one in fields if "datetime" in str(one.type)} == MOMENTS | DATES
