"""Limiters such as real APIs have: each alone with the time passed in, and in an emulator over sockets."""

from __future__ import annotations

from uuid import UUID

import pytest

from cdp_orders_async import CdpOrders, NotSent, OutcomeUnknown, Settings
from cdp_orders_async.emulator import Bucket, Concurrency, Emulator, Queue, Switches, Window, running
from cdp_orders_async.emulator.limits import Gate, Limit, read_limits
from cdp_orders_async.errors import CdpError
from tests.ingest.orders import order


def fates(limit: Limit, *times: float, method: str = "POST") -> list[int | str | None]:
    """Return what becomes of requests that come then and end at once."""
    gate = Gate((limit,), 0.0)
    found: list[int | str | None] = []
    for now in times:
        fate, leave = gate.enter(method, now)
        found.append(fate.refusal)
        leave()
    return found


@pytest.mark.parametrize(
    ("limit", "times", "expected"),
    [
        (Bucket(rate=2, burst=2), (0, 0, 0, 0.5, 0.5), [None, None, 429, None, 429]),
        (Bucket(rate=2, burst=1, ban=10), (0, 0, 5, 9.9, 10.1), [None, 429, 429, 429, None]),
        (Bucket(rate=1, refusal="reset"), (0, 0), [None, "reset"]),
        (Bucket(rate=1, steps=((10, 2),)), (0, 0.5, 10, 10.5, 11), [None, 429, None, None, None]),
        (Bucket(rate=1, steps=((10, 2),), repeat=20), (10, 10.5, 20, 20.5), [None, None, None, 429]),
        (Window(calls=2, seconds=10), (0, 1, 9, 10), [None, None, 429, None]),
        (Window(calls=2, seconds=10, sliding=True), (0, 9, 9.5, 10, 11), [None, None, 429, None, 429]),
        (Window(calls=1, seconds=10, sliding=True, counts_refused=True), (0, 9, 11, 22), [None, 429, 429, None]),
        (Concurrency(calls=1), (0, 0, 0), [None, None, None]),
        (Queue(rate=1, gateway=2), (0, 0, 0, 0), [None, None, 504, 504]),
    ],
)
def test_a_limiter(limit: Limit, times: tuple[float, ...], expected: list[int | str | None]) -> None:
    """Each admits what it bears, and refuses the rest in its way."""
    assert fates(limit, *times) == expected


def test_what_is_under_way_counts() -> None:
    """A limit of two at once refuses the third, until one of the two has ended; leaving twice counts once."""
    gate = Gate((Concurrency(calls=2),), 0.0)
    _, leave = gate.enter("GET", 0.0)
    gate.enter("GET", 0.0)
    assert gate.enter("GET", 0.0)[0].refusal == 429
    leave()
    leave()
    assert gate.enter("GET", 0.0)[0].refusal is None
    assert gate.enter("GET", 0.0)[0].refusal == 429


def test_a_queue_waits_and_a_gateway_gives_up() -> None:
    """The third of a queue of one a second waits three seconds; a gateway answers before, and the work is done."""
    gate = Gate((Queue(rate=1, gateway=2.5),), 0.0)
    waits = [gate.enter("POST", 0.0)[0] for _ in range(3)]
    assert [fate.wait for fate in waits] == [1, 2, 2.5]
    assert (waits[2].refusal, waits[2].work, waits[2].is_done) == (504, 3, True)


def test_methods_and_waits() -> None:
    """A limit of some methods leaves the others alone; Retry-After is whole seconds, or what is left of the window."""
    assert fates(Bucket(rate=1, methods=("GET",)), 0, 0, 0) == [None, None, None]
    gate = Gate((Window(calls=1, seconds=60, tells=True),), 100.0)
    gate.enter("GET", 110.0)
    assert gate.enter("GET", 130.5)[0].retry_after == 30


def test_the_switch_is_read() -> None:
    """Limits are given in Python, or as JSON on the command line, one or several."""
    text = 'limits={"kind": "bucket", "rate": 50, "burst": 50, "methods": ["GET"], "steps": [[0, 1], [30, 2]]}'
    limit = Bucket(rate=50, burst=50, methods=("GET",), steps=((0, 1), (30, 2)))
    assert Switches.read([text]).limits == (limit,)
    assert Switches.read([text]) == Switches(limits=limit)
    assert hash(Switches(limits=[limit, {"kind": "queue", "rate": 4}])) is not None
    assert read_limits([]) == ()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (3, "must be objects"),
        ({"kind": "tap"}, "must be one of bucket, concurrency, queue, window"),
        ({"kind": "bucket"}, "bucket: missing"),
        ({"kind": "bucket", "rate": 0}, "bucket: rate must be a finite number above 0"),
        ({"kind": "bucket", "rate": float("nan")}, "rate must be"),
        ({"kind": "bucket", "rate": True}, "rate must be"),
        ({"kind": "bucket", "rate": 1, "speed": 1}, "bucket: got an unexpected keyword argument 'speed'"),
        ({"kind": "bucket", "rate": 1, "refusal": 200}, "refusal must be a status"),
        ({"kind": "bucket", "rate": 1, "refusal": "no"}, "refusal must be a status"),
        ({"kind": "bucket", "rate": 1, "methods": "GET"}, "methods must be names"),
        ({"kind": "bucket", "rate": 1, "steps": [1]}, "steps must be pairs"),
        ({"kind": "bucket", "rate": 1, "ban": -1}, "ban must be"),
        ({"kind": "window", "calls": 1, "seconds": 1, "sliding": 1}, "sliding must be true or false"),
    ],
)
def test_what_is_no_limit_is_refused(given: object, problem: str) -> None:
    """The message names the kind, the field and the rule."""
    with pytest.raises(ValueError, match=problem):
        read_limits(given)


@pytest.mark.parametrize(
    ("limit", "error", "status"),
    [
        (Bucket(rate=1e-6, burst=1), CdpError, 429),
        (Bucket(rate=1e-6, burst=1, refusal=503, retry_after=3), CdpError, 503),
        (Bucket(rate=1e-6, burst=1, refusal="reset"), (OutcomeUnknown, NotSent), None),
        (Bucket(rate=1e-6, burst=1, refusal="lost"), CdpError, None),
    ],
)
async def test_an_emulator_refuses(limit: Limit, error: type[CdpError], status: int | None) -> None:
    """What is too much is refused over the socket, does nothing, and is free of limits where it is not of the API."""
    server = Emulator(switches=Switches(limits=(limit,)))
    hurried = 0.5 if limit.refusal == "lost" else 30.0  # what is lost is waited for
    async with (
        running(server) as url,
        CdpOrders(base_url=url, client_key="key", api_token="token") as first,  # noqa: S106
        CdpOrders(
            base_url=url,
            client_key="key",
            api_token="token",  # noqa: S106
            settings=Settings(retries=0, timeout=hurried),
        ) as cdp,
    ):
        await first.orders.create(order("A"))
        with pytest.raises(error) as failure:
            await cdp.orders.get(UUID(next(iter(server.store.all("orders"))).ref))
        assert getattr(failure.value, "status", None) == status
        assert getattr(failure.value, "retry_after", None) == limit.retry_after
    assert server.store.counts == {"orders.create": 1}


async def test_a_gateway_gives_up_and_the_work_is_done() -> None:
    """Behind a gateway an order is made after its 504."""
    server = Emulator(switches=Switches(limits=Queue(rate=0.001, gateway=0.1)))
    settings = Settings(retries=0)
    async with (
        running(server) as url,
        CdpOrders(base_url=url, client_key="key", api_token="token", settings=settings) as cdp,  # noqa: S106
    ):
        with pytest.raises(OutcomeUnknown, match="504"):
            await cdp.orders.create(order("A"))
        assert server.store.counts == {}
        assert len(server.waiting) == 1
        server.waiting.finish()
    assert server.store.counts == {"orders.create": 1}
