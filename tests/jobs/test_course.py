"""The course of a load over time: bounded, and nothing of it is lost."""

from __future__ import annotations

import pytest

from cdp_orders_async.jobs.series import MOST_MOMENTS, MOST_PAUSES, Series
from cdp_orders_async.timings import Durations


@pytest.mark.parametrize("seconds", [0.0002, 0.01, 0.3, 7.0, 900.0])
def test_quantiles_are_right_to_within_a_tenth(seconds: float) -> None:
    """Of durations from a tenth of a millisecond to a quarter of an hour."""
    found = Durations()
    for n in range(100):
        found.add(seconds if n < 90 else 10 * seconds)
    median, slow = found.quantile(0.5), found.quantile(0.95)
    assert median == pytest.approx(seconds, rel=0.1)
    assert slow == pytest.approx(min(10 * seconds, 3077), rel=0.1)


def test_durations_out_of_range_are_counted_at_the_ends() -> None:
    """Zero, and more than 47 minutes; without a duration there is no quantile."""
    found = Durations()
    assert found.quantile(0.5) is None
    found.add(0.0)
    assert found.quantile(1.0) == pytest.approx(0.0001, rel=0.1)
    found.add(1e9)
    assert found.quantile(1.0) == pytest.approx(3077, rel=0.1)
    earlier = found.copy()
    found.add(1.0)
    assert sum(found.since(earlier).counts) == 1


@pytest.mark.parametrize("notes", [1, 599, 601, 5_000])
def test_course_is_bounded_and_complete(notes: int) -> None:
    """However long a load is, its moments are few, equally long except for the last, and add up to the whole."""
    series, answers = Series(), Durations()
    for n in range(1, notes + 1):
        answers.add(0.5)
        series.note(n / 4, (n, 10 * n, n // 2, n // 3), float(n), answers, None)
    moments = series.course().moments
    assert MOST_MOMENTS // 2 <= len(moments) <= MOST_MOMENTS or len(moments) == notes
    assert sum(moment.seconds for moment in moments) == pytest.approx(notes / 4)
    assert [sum(counts) for counts in zip(*(moment[1:5] for moment in map(list_of, moments)), strict=True)] == [
        notes,
        10 * notes,
        notes // 2,
        notes // 3,
    ]
    assert len({moment.seconds for moment in moments[:-1]}) <= 1
    assert moments[-1].rate == pytest.approx(notes, rel=1e-3)
    assert {round(moment.median or 0, 1) for moment in moments} == {0.5}


def list_of(moment: object) -> list[int]:
    """Return the values of a moment."""
    return [getattr(moment, name) for name in ("seconds", "orders", "requests", "retries", "refused")]


def test_pauses_are_told_apart_and_bounded() -> None:
    """Each has its start, its length and its last reason; only the number of the later ones is kept."""
    series, answers = Series(), Durations()
    for n, why in enumerate((None, "down", "still down", None, "down"), 1):
        series.note(float(n), (0, 0, 0, 0), None, answers, why)
    first, second = series.course().pauses
    assert (first.at, first.seconds, first.why) == (1.0, 2.0, "still down")
    assert (second.at, second.seconds) == (4.0, 1.0)
    assert sum(moment.waited for moment in series.course().moments) == 3.0
    for n in range(6, 306):
        series.note(float(n), (0, 0, 0, 0), None, answers, "down" if n % 2 else None)
    course = series.course()
    assert (len(course.pauses), course.more_pauses) == (MOST_PAUSES, 152 - MOST_PAUSES)
