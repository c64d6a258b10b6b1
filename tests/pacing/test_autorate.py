"""The rate that is found of limiters that nobody documents, in virtual time: what is used of each, and what refused."""

from __future__ import annotations

import collections
import itertools
from typing import Any

import attrs
import pytest

from cdp_orders_async.emulator.limits import Bucket, Concurrency, Limit, Queue, Window
from cdp_orders_async.session.autorate.governor import Governor
from tests.limited import World

MINUTE = 60.0


@attrs.frozen(kw_only=True)
class Case:
    """A server, and what must come of calls to it after the first minute."""

    limits: tuple[Limit, ...]
    most: float
    """Calls per second that it allows."""
    used: float = 0.85
    """The least share of them that is used."""
    refused: float = 0.02
    """The largest share of the calls that is refused."""
    until: float = 300.0
    """When it ends, in seconds."""
    world: dict[str, Any] = attrs.field(factory=dict[str, Any])


def bucket(**rest: Any) -> Bucket:  # noqa: ANN401 any of its fields
    """Return a bucket of 50 a second with a burst of 50."""
    return Bucket(**{"rate": 50, "burst": 50, **rest})


def slow(**rest: Any) -> Bucket:  # noqa: ANN401 any of its fields
    """Return a bucket of 20 a second with a burst of 20."""
    return bucket(rate=20, burst=20, **rest)


SECOND: dict[str, Any] = {"calls": 50, "seconds": 1}
A_MINUTE: dict[str, Any] = {"calls": 600, "seconds": 60}
PAUSES: dict[str, Any] = {"most": 50, "used": 0.6, "until": 1200}  # what a pause costs cannot be got back
SLOW_PAUSES: dict[str, Any] = {**PAUSES, "most": 20, "until": 600}
CASES = {
    "a fixed second": Case(limits=(Window(**SECOND),), most=50),
    "a fixed second that asks to wait one": Case(limits=(Window(**SECOND, retry_after=1),), most=50),
    "a fixed second, near": Case(limits=(Window(**SECOND),), most=50, world={"latency": 0.02}),
    "a fixed second, far": Case(limits=(Window(**SECOND),), most=50, world={"latency": 1}),
    "a fixed minute": Case(limits=(Window(**A_MINUTE),), most=10, refused=0.05, until=600),
    "a fixed minute that tells its rest": Case(limits=(Window(**A_MINUTE, tells=True),), most=10, until=600),
    "a fixed minute that asks for one": Case(limits=(Window(**A_MINUTE, retry_after=60),), most=10, until=600),
    "a fixed minute that asks for ten seconds": Case(
        limits=(Window(**A_MINUTE, retry_after=10),), most=10, refused=0.05, until=600
    ),
    "a large minute": Case(limits=(Window(calls=3000, seconds=60),), most=50, refused=0.05, until=600),
    "a quota of 90 s": Case(limits=(Window(calls=1000, seconds=90),), most=1000 / 90, refused=0.05, until=900),
    "a sliding minute": Case(limits=(Window(**A_MINUTE, sliding=True),), most=10, refused=0.05, until=600),
    "a large sliding minute": Case(
        limits=(Window(calls=3000, seconds=60, sliding=True),), most=50, refused=0.05, until=600
    ),
    "five sliding seconds": Case(limits=(Window(calls=250, seconds=5, sliding=True),), most=50),
    "ten sliding seconds, near": Case(
        limits=(Window(calls=1944, seconds=10, sliding=True, counts_refused=True),),
        most=194.4,
        world={"latency": 0.011, "connections": 8},
    ),
    "a sliding second": Case(limits=(Window(**SECOND, sliding=True),), most=50),
    "a sliding second that counts all": Case(limits=(Window(**SECOND, sliding=True, counts_refused=True),), most=50),
    "a sliding minute that counts all": Case(
        limits=(Window(**A_MINUTE, sliding=True, counts_refused=True),), most=10, refused=0.05, until=600
    ),
    # The way there makes two calls come closer than they were sent, for which this one has no room: of a steady rate
    # that is given by hand, 35 a second are let through when 2 % are refused.
    "no burst": Case(limits=(bucket(burst=1),), most=50, used=0.6),
    "a burst of 5": Case(limits=(bucket(burst=5),), most=50),
    "a burst": Case(limits=(bucket(),), most=50),
    "a burst of ten seconds": Case(limits=(bucket(burst=500),), most=50),
    "a burst, 0.2 s away": Case(limits=(bucket(),), most=50, world={"latency": 0.2}),
    "a burst, 1 s away": Case(limits=(bucket(),), most=50, world={"latency": 1}),
    "1/s": Case(limits=(bucket(rate=1, burst=2),), most=1, until=1800),
    "5/s": Case(limits=(bucket(rate=5, burst=5),), most=5, until=600),
    "200/s": Case(limits=(bucket(rate=200, burst=200),), most=200, until=180),
    "500/s": Case(limits=(bucket(rate=500, burst=500),), most=500, until=120),
    "503 for 429": Case(limits=(bucket(refusal=503),), most=50),
    "resets": Case(limits=(bucket(refusal="reset"),), most=50),
    # Each takes half of the latency there, and they come unevenly: of a steady rate by hand, 313 a second are let
    # through when 2 % are refused; and 78 where they take 0.1 s.
    "ten at once": Case(limits=(Concurrency(calls=10),), most=313),
    "ten at once, 0.2 s away": Case(limits=(Concurrency(calls=10),), most=78, world={"latency": 0.2}),
    "a queue": Case(limits=(Queue(rate=40),), most=40),
    "a slow queue": Case(limits=(Queue(rate=1.5),), most=1.5, until=900),
    "a slow queue behind a gateway": Case(limits=(Queue(rate=4, gateway=10),), most=4, until=600),
    "a queue behind a gateway": Case(limits=(Queue(rate=40, gateway=1),), most=40),
    "it asks for 1 s": Case(limits=(bucket(retry_after=1),), most=50),
    "it asks for 30 s": Case(limits=(bucket(retry_after=30),), **PAUSES),
    "it asks for 60 s": Case(limits=(bucket(retry_after=60),), **PAUSES),
    "20/s, it asks for 30 s": Case(limits=(slow(retry_after=30),), **SLOW_PAUSES),
    "20/s, it asks for 60 s": Case(limits=(slow(retry_after=60),), **SLOW_PAUSES),
    "a ban of 10 s": Case(limits=(bucket(ban=10),), **PAUSES),
    "a ban of 10 s that is told": Case(limits=(bucket(ban=10, retry_after=10),), **PAUSES),
    "a ban of 60 s": Case(limits=(bucket(ban=60),), **PAUSES),
    "a ban of 60 s that is told": Case(limits=(bucket(ban=60, retry_after=60),), **PAUSES),
    "a ban of 60 s, hardly a burst": Case(limits=(bucket(burst=5, ban=60),), **PAUSES),
    "a ban of 60 s, a burst of ten seconds": Case(limits=(bucket(burst=500, ban=60),), **PAUSES),
    "20/s, a ban of 60 s": Case(limits=(slow(ban=60),), **SLOW_PAUSES),
    "20/s, a ban of 60 s that is told": Case(limits=(slow(ban=60, retry_after=60),), **SLOW_PAUSES),
    "20/s, a ban of 60 s that asks for ten": Case(limits=(slow(ban=60, retry_after=10),), **SLOW_PAUSES),
    "resets for 10 s": Case(limits=(bucket(refusal="reset", ban=10),), **PAUSES),
    "resets for 60 s": Case(limits=(bucket(refusal="reset", ban=60),), **PAUSES),
    # Nothing says that the other one has gone: a climb of ten seconds begins after each change.
    "another tenant takes 70 of 100": Case(
        limits=(bucket(rate=100, burst=100, steps=((20, 0.3),), repeat=40),), most=65, used=0.7, until=600
    ),
    "it becomes five times as fast": Case(limits=(bucket(rate=20, burst=20, steps=((30, 5),)),), most=100),
    "it becomes five times as slow": Case(limits=(bucket(rate=100, burst=20, steps=((30, 0.2),)),), most=20),
    "50/s and 1 % fail": Case(limits=(bucket(),), most=49.5, refused=0.01 + 0.02, world={"refusing": 0.01}),
    "50/s and 5 % fail": Case(limits=(bucket(),), most=47.5, refused=0.05 + 0.02, world={"refusing": 0.05}),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_limit_is_found(name: str, seed: int) -> None:
    """After the first minute what a server allows is used, and little is refused."""
    case = CASES[name]
    good, refused = World(case.limits, seed=seed, **case.world).run(case.until).seen(MINUTE, case.until)
    assert good >= case.used * case.most
    assert refused <= case.refused


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("sliding", "used"), [(False, 0.85), (True, 0.75)])
@pytest.mark.parametrize("times", [2, 10])
def test_a_limit_by_the_minute_grows(times: int, sliding: bool, used: float, seed: int) -> None:  # noqa: FBT001
    """A limit by the minute that grows is used after seven minutes."""
    limit = Window(calls=300, seconds=60, sliding=sliding, steps=((180, times),))
    good, refused = World((limit,), seed=seed).run(1200).seen(600, 1200)
    assert good >= used * 5 * times
    assert refused <= 0.05


NOISE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "1 % refused": {"refusing": 0.01},
    "5 % refused": {"refusing": 0.05},
    "15 % refused": {"refusing": 0.15},
    "30 % refused": {"refusing": 0.3},
    "1 % lost": {"losing": 0.01, "timeout": 2},
    "5 % lost": {"losing": 0.05, "timeout": 2},
    "15 % lost": {"losing": 0.15, "timeout": 2},
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("latency", [0.1, 0.2])
@pytest.mark.parametrize("name", NOISE)
def test_noise_is_no_limit(name: str, latency: float, seed: int) -> None:
    """What fails at any rate leaves nine tenths of the calls of a careless client."""
    worlds = [World(latency=latency, connections=20, governed=g, seed=seed, **NOISE[name]) for g in (True, False)]
    made = [world.run(120).seen(MINUTE, 120)[0] for world in worlds]
    assert made[0] >= 0.9 * made[1]


def test_it_starts_slowly() -> None:
    """In the first second ten calls leave, in the next twice as many; 640 a second are reached after six seconds."""
    world = World(latency=0.05).run(10)
    seconds = [world.seen(at, at + 1)[0] for at in range(8)]
    assert seconds[0] <= 15
    assert all(second <= 2.2 * before for before, second in itertools.pairwise(seconds))
    assert sum(seconds[:7]) > 640
    assert seconds[7] >= 0.95 * 64 / 0.05
    assert world.limiter.rate is None  # the connections limit it, and the limiter costs nothing


@pytest.mark.parametrize("latency", [0.05, 0.2, 1])
def test_a_start_is_no_blast(latency: float) -> None:
    """In the first ten seconds at a limit that is not known few calls are refused."""
    world = World((bucket(),), latency=latency, seed=1).run(10)
    assert len(world.bad) <= 200


def test_noise_at_the_start_is_found_in_seconds() -> None:
    """Where one call in twenty fails from the start, most of what the connections give is used after 15 seconds."""
    world = World(latency=0.05, refusing=0.05, seed=0).run(25)
    assert world.seen(15, 25)[0] >= 0.85 * 64 / 0.05


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("rate", "most"), [(45, 45), (100, 50)])
def test_a_rate_given_by_hand(rate: float, most: float, seed: int) -> None:
    """It is never exceeded, is used from the first second on, and above the limit it is lowered."""
    world = World((bucket(burst=5),), most=rate, seed=seed).run(300)
    good, refused = world.seen(MINUTE, 300)
    assert good >= 0.85 * most
    assert refused <= 0.02
    assert max(collections.Counter(int(when) for when, _ in world.good).values()) <= rate + 2
    assert world.seen(0, 1)[0] >= 0.8 * most


@pytest.mark.parametrize("seed", [1, 2])
def test_calls_that_wait_for_connections_hide_no_pace(seed: int) -> None:
    """A rate by hand takes all connections at once, and a second later they are free again: the pace is of both."""
    world = World((bucket(burst=5),), most=1000, connections=256, latency=1, seed=seed).run(300)
    assert world.seen(MINUTE, 300)[0] >= 0.85 * 50


@pytest.mark.parametrize("seed", [1, 2])
def test_reads_and_writes_are_told_apart(seed: int) -> None:
    """Of 50 writes and 5 reads a second both are used, and the rates are said one by one."""
    limits = (bucket(methods=("POST",)), bucket(rate=5, burst=5, methods=("GET",)))
    world = World(limits, reads=32, seed=seed).run(300)
    assert world.autorate.apart
    for reads, most in ((False, 50), (True, 5)):
        good, refused = world.seen(90, 300, reads=reads)
        assert good >= 0.85 * most
        assert refused <= 0.02
    assert [state.of for state in world.autorate.states()] == ["writes", "reads"]


@pytest.mark.parametrize("seed", [1, 2])
def test_reads_and_writes_that_share_a_limit_stay_together(seed: int) -> None:
    """One bucket for all methods is one rate."""
    world = World((bucket(burst=5),), reads=32, seed=seed).run(300)
    assert not world.autorate.apart
    assert sum(world.seen(MINUTE, 300, reads=reads)[0] for reads in (True, False)) >= 0.85 * 50


def test_reads_that_are_all_refused() -> None:
    """Reads that the server never accepts leave the writes their limit."""
    world = World((bucket(methods=("POST",)), bucket(rate=1e-9, burst=1, methods=("GET",))), reads=32, seed=1).run(300)
    assert world.autorate.apart
    assert world.seen(MINUTE, 300)[0] >= 0.85 * 50


@pytest.mark.parametrize(("rate", "most"), [(None, 50), (45, 45)])
def test_an_outage_is_survived(rate: float | None, most: float) -> None:
    """While nothing succeeds few calls are made; half a minute later four fifths of the limit are used."""
    world = World((bucket(steps=((100, 1e-9), (160, 1.0))),), most=rate, seed=1).run(220)
    assert sum(100 < when <= 160 for when, _ in world.bad) < 150
    good, refused = world.seen(190, 220)
    assert good >= 0.8 * most
    assert refused <= 0.02


def test_noise_whose_place_a_limit_takes() -> None:
    """Noise is doubted after some minutes: a limit that refuses as many calls is found all the same."""
    world = World(latency=0.2, connections=20, refusing=0.25, seed=1).run(60)
    world.limit(bucket(rate=80, burst=5), refusing=0.0)
    world.run(600)
    good, refused = world.seen(480, 600)
    assert good >= 0.85 * 80
    assert refused <= 0.02


@pytest.mark.parametrize("seed", [1, 2])
def test_a_sliding_minute_is_used_after_half_an_hour(seed: int) -> None:
    """Each climb above the limit leaves the window too full for what it accepts later: that is not its limit."""
    world = World((Window(calls=600, seconds=60, sliding=True),), seed=seed).run(3600)
    good, refused = world.seen(1800, 3600)
    assert good >= 0.85 * 10
    assert refused <= 0.05


def test_the_state_is_said() -> None:
    """No limit is known; then there is one, found when and for what."""
    world = World((bucket(refusal=503),), seed=1).run(1)
    assert str(world.autorate.states()[0]) == "no limit met so far"
    world.run(200)
    state = world.autorate.states()[0]
    assert state.limit is not None
    assert state.limit == pytest.approx(50, rel=0.15)
    assert str(state) == f"limit about {state.limit:.4g}/s, found {state.found_for:.0f} s ago, last cut for 503"


def test_answers_that_take_no_time() -> None:
    """A clock that stands still while calls are answered breaks nothing, whatever else they meet."""
    for asked in (0.0, 5.0):
        governor = Governor(10)
        for spell in range(6):
            now = 10.0 * spell
            for _ in range(30):
                governor.sent(now, full=True)
                governor.answered(now, 0.0)
            governor.refused(now, 0.0, "429", asked)
        assert 0 < governor.rate < 1_000
