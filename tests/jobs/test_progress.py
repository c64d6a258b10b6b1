"""How far a load is: what is counted, and what is estimated of the rest."""

from __future__ import annotations

import pytest

from cdp_orders_async.jobs.progress import TimeLeft

SIZE = 1000
"""Orders of an input."""


def estimates(*stages: tuple[int, float, int], step: int = 1) -> list[float | None]:
    """Return the estimate of each second of a load in which *step* orders are read at a time.

    A stage has its seconds, the orders that end in a second, and the requests of each.
    """
    left, now, done, requests = TimeLeft(), 0.0, 0.0, 0.0
    found: list[float | None] = []
    for seconds, speed, each in stages:
        for _ in range(seconds):
            found.append(left.seconds(now, done // step * step / SIZE, int(done), int(requests)))
            now, done, requests = now + 1, done + speed, requests + speed * each
    return found


def test_estimate_comes_after_some_seconds() -> None:
    """There is none in the first seconds; then it is the rest of the input at the speed so far."""
    found = estimates((100, 2.0, 6))
    assert found[:10] == [None] * 10
    assert found[10:100] == pytest.approx([(SIZE - 2 * now) / 2 for now in range(10, 100)])


def test_there_is_no_estimate_of_what_is_not_known() -> None:
    """Neither where the input has no size, nor before anything of it was read, nor when nothing is left to be read."""
    left = TimeLeft()
    assert [left.seconds(now, None, 0, 0) for now in (0.0, 20.0, 40.0)] == [None] * 3
    assert [left.seconds(now, 0.0, 0, 0) for now in (0.0, 20.0, 40.0)] == [None] * 3
    assert [left.seconds(now, 1.0, 5, 30) for now in (60.0, 80.0)] == [None] * 2


def test_what_a_journal_skips_does_not_count() -> None:
    """Orders that end without a request say nothing about how long those take that are sent."""
    found = estimates((2, 400.0, 0), (60, 1.0, 6))
    assert found[:12] == [None] * 12
    assert found[12:] == pytest.approx([200 - (now - 2) for now in range(12, 62)])


def test_estimate_follows_the_speed_of_the_last_minute() -> None:
    """A load that becomes slower takes as long as it takes now."""
    found = estimates((50, 10.0, 6), (100, 1.0, 6))
    assert found[49] == pytest.approx((SIZE - 490) / 10)
    assert found[149] == pytest.approx(SIZE - 599)


def test_estimate_of_an_input_that_is_read_in_large_steps() -> None:
    """A packed input is read in steps that take long: they are waited for, and then count for as long as they took."""
    found = estimates((400, 2.0, 6), step=100)
    assert found[:50] == [None] * 50
    assert found[50] == pytest.approx((SIZE - 100) / 2)
    assert found[350] == pytest.approx((SIZE - 700) / 2)


def test_estimate_begins_anew_after_a_pause() -> None:
    """How fast it went before a server was not well says nothing about afterwards."""
    left = TimeLeft()
    assert [left.seconds(now, now / 100, int(now), int(now) * 6) for now in (0.0, 20.0)] == [None, 80.0]
    left.restart()
    assert left.seconds(60.0, 0.3, 60, 360) is None
    assert left.seconds(80.0, 0.4, 80, 480) == pytest.approx(120.0)
