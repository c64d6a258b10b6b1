"""The governor, told of calls one by one, with no server and no loop."""

from __future__ import annotations

import attrs
import pytest

from cdp_orders_async.limiter import Limiter, Slots
from cdp_orders_async.session.governor import Governor
from tests.governed import MOST
from tests.virtual import VirtualLoop, run


@attrs.define
class Calls:
    """Tells a governor of calls, with no server and no loop."""

    now: float = 0.0
    governor: Governor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        clock = lambda: self.now  # noqa: E731
        self.governor = Governor(Limiter(None, clock=clock), Slots(MOST), MOST, clock)

    @property
    def rate(self) -> float:
        """The rate, of which there must be one."""
        assert self.governor.rate is not None
        return self.governor.rate

    def go(self, seconds: float, rate: float | None = None) -> None:
        """Make calls at that rate, or else at the governor's, all of them good."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1 / (rate or self.rate)
            self.governor.sent()
            self.governor.answered(0.0)

    def refuse(self, seconds: float = 0.0, times: int = 10) -> None:
        """Refuse calls that were sent *seconds* ago."""
        for _ in range(times):
            self.governor.sent()
            self.governor.refused(seconds)


def limited() -> Calls:
    """Return calls at a rate that has been cut for the second time, which helped."""
    calls = Calls()
    calls.go(10, 100)
    for _ in range(2):
        calls.refuse()
        calls.go(6)
    return calls


def test_the_first_rate_is_what_succeeded() -> None:
    """The first refusals give a rate below the number of good calls in the second before."""
    calls = Calls()
    calls.go(10, 100)
    calls.refuse()
    assert calls.rate == pytest.approx(85, rel=0.05)


def test_one_refusal_of_many_calls_changes_nothing() -> None:
    """Lone refusals are no limit, nor soon after a cut, but two with few calls between are."""
    calls = Calls()
    for _ in range(10):
        calls.go(4, 50)
        calls.governor.refused()
    assert calls.governor.rate is None
    calls.go(0.2, 50)
    calls.governor.refused()
    calls.go(0.6)
    before = calls.rate
    calls.governor.refused()
    assert calls.rate == before


def test_a_share_of_refusals_that_stays_is_noise() -> None:
    """When every tenth call is refused before and after the cut, the rate is what it was before."""
    calls = limited()
    before = calls.rate
    rates: list[float] = []
    for _ in range(60):
        calls.go(9 / calls.rate)
        calls.refuse(times=1)
        rates.append(calls.rate)
    assert min(rates) < 0.85 * before
    assert rates[-1] >= before


def test_much_is_no_noise() -> None:
    """When of the calls only a third succeeds at any rate, the server is spared."""
    calls = limited()
    before = calls.rate
    for _ in range(2000):
        calls.go(1 / calls.rate)
        calls.refuse(times=2)
    assert calls.rate < before / 20


def test_a_first_guess_that_is_too_low_is_made_up_for() -> None:
    """The first cut teaches no maximum: after it the rate doubles each second."""
    calls = Calls()
    calls.go(20, 5)
    calls.refuse()
    calls.go(30, 0.8 * calls.rate)
    low = calls.rate
    calls.go(3)
    assert calls.rate > 6 * low


def test_there_is_one_cut_for_a_round_trip() -> None:
    """Within half a second of a cut the rate does not change, nor is it lowered by what was sent before the cut."""
    calls = limited()
    before = calls.rate
    calls.refuse()
    cut = calls.rate
    assert cut < before
    calls.go(0.49)
    calls.refuse()
    calls.now += 4
    calls.refuse(seconds=5)
    assert calls.rate == cut
    calls.refuse(seconds=1)
    assert calls.rate < cut


def test_no_cut_goes_below_the_least_rate() -> None:
    """Refused all the time, the rate stays at one call in two seconds; the first good answer gives it back."""
    calls = limited()
    before = calls.rate
    for _ in range(100):
        calls.now += 1
        calls.refuse()
    assert calls.rate == 0.5
    calls.now += 10_000
    calls.governor.answered(0.1)
    assert 0.4 * before < calls.rate < before


def test_load_that_does_not_use_the_rate_does_not_raise_it() -> None:
    """Two minutes at half of the rate leave it as it is."""
    calls = limited()
    calls.go(1, calls.rate / 2)
    before = calls.rate
    calls.go(120, before / 2)
    assert calls.rate == before


def test_the_rate_returns_and_then_probes() -> None:
    """It is back at the old maximum after 10 s, hardly moves there, then grows, but at most doubles in 12 s."""
    calls = limited()
    peak = calls.rate
    calls.refuse(times=3)
    cut = calls.rate
    assert 0.8 * peak < cut < 0.85 * peak
    calls.go(3)
    assert calls.rate == cut
    while calls.rate == cut:
        calls.go(0.1)
    calls.go(10)
    assert calls.rate == pytest.approx(peak, rel=0.02)
    calls.go(4)
    assert 0.98 * peak < calls.rate < 1.02 * peak
    calls.go(15)
    for _ in range(3):
        before = calls.rate
        calls.go(12)
        assert 1.5 * before < calls.rate < 2.1 * before


def test_the_slots_stay_within_their_bounds() -> None:
    """Answers that become slower and slower leave 4 slots; quick ones give back as many as there may be, not more."""

    async def main(_loop: VirtualLoop) -> None:
        calls = Calls()
        governor = calls.governor
        for _ in range(MOST):
            await governor.slots.acquire()
        limits: list[int] = []
        for latency in [*(0.01 * 1.05**n for n in range(1000)), *([0.0] * 2000)]:
            calls.now += 0.05
            governor.answered(latency)
            limits.append(governor.limit)
        assert min(limits) == 4
        assert max(limits) == limits[-1] == MOST

    run(main)
