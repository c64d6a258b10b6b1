"""The charts of a report as numbers: where each line, tick and label is in its picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from msgspec import Struct

from cdp_orders_async.jobs.series import Course, Moment, Pause
from cdp_orders_async.reports.words import duration, number

__all__ = ["Band", "Chart", "Line", "allowed_of", "charts_of", "coarser"]

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 62, 14, 24
"""The room for labels around the lines."""
MARKERS = 6
"""The markers on a line, which tell it from others where colours and dashes do not."""
LEAST = 1e-6
"""The seconds that are shown of less, so that no number is without a bound."""
TICKS = 7
"""The most ticks of a logarithmic scale that may be 1, 2 and 5 times a power of ten."""
NEAR = 1e-9
"""The share by which a value may lie beside a tick that it is."""
APART = 12
"""The least distance of two labels."""
SPARE = 2
"""The requests that a limiter may grant in a span in addition to those of its rate."""
NARROW = 1.5
"""The width of the narrowest band that can be seen."""

Words = Callable[[float | None], str]
Scale = Callable[[float, float], tuple[Callable[[float], float], list[float]]]
"""Makes the scale of an axis for the least and the most value."""


class Line(Struct, frozen=True):
    """One line of a chart."""

    label: str
    segments: list[str]
    """The corners of each unbroken piece, as SVG has them."""
    markers: list[tuple[float, float]]
    x: float
    y: float
    """Where its label is."""
    words: str
    """What it shows, in a sentence."""


class Band(Struct, frozen=True):
    """A stretch in which the load waited."""

    x: float
    width: float


class Chart(Struct, frozen=True, kw_only=True):
    """One chart."""

    id: str
    title: str
    desc: str
    """What it shows, in sentences, for those who do not see it."""
    lines: list[Line]
    bands: list[Band]
    ticks_x: list[tuple[float, str]]
    ticks_y: list[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def coarser(moments: Sequence[Moment], most: int) -> list[Moment]:
    """Return at most *most* moments: where there are more, neighbours become one.

    The median of such a moment is the mean of the medians, its slow time is the longest, its rate the highest. Moments
    without a length are left out.
    """
    size = max(1, math.ceil(len(moments) / most))
    found = (_together(moments[at : at + size]) for at in range(0, len(moments), size))
    return [moment for moment in found if moment.seconds >= LEAST]


def allowed_of(moments: Sequence[Moment]) -> list[float | None]:
    """Return the most requests a second that could be sent in each of the *moments*, if there is a limit.

    The rate may have changed in a moment: then the higher of its rates counts. Any span has room for one or two
    requests more than its rate, which are many a second where it is short.
    """
    before = [None, *(moment.rate for moment in moments)]
    rates = [
        moment.rate if earlier is None or moment.rate is None else max(earlier, moment.rate)
        for earlier, moment in zip(before, moments, strict=False)
    ]
    return [
        None if rate is None else rate + SPARE / moment.seconds for rate, moment in zip(rates, moments, strict=True)
    ]


def _together(moments: Sequence[Moment]) -> Moment:
    if len(moments) == 1:
        return moments[0]
    medians = [(moment.median, moment.requests or 1) for moment in moments if moment.median is not None]
    return Moment(
        sum(moment.seconds for moment in moments),
        sum(moment.orders for moment in moments),
        sum(moment.requests for moment in moments),
        sum(moment.retries for moment in moments),
        sum(moment.refused for moment in moments),
        max((moment.rate for moment in moments if moment.rate is not None), default=None),
        sum(median * weight for median, weight in medians) / sum(weight for _, weight in medians) if medians else None,
        max((moment.slow for moment in moments if moment.slow is not None), default=None),
        sum(moment.waited for moment in moments),
    )


def charts_of(course: Course, prefix: str, most: int) -> list[Chart]:
    """Return the charts of a *course* with at most *most* moments, without those that would show nothing but zeros.

    *prefix* begins the ids of the charts.
    """
    moments = coarser(course.moments, most)
    if not moments:
        return []
    axis = _Axis(moments, course.pauses)

    def a_second(count: Callable[[Moment], int]) -> list[float | None]:
        return [count(moment) / moment.seconds for moment in moments]

    lines: list[tuple[str, str, Words, dict[str, list[float | None]]]] = [
        (
            "requests",
            "Requests a second",
            number,
            {"sent": a_second(lambda moment: moment.requests), "allowed": allowed_of(moments)},
        ),
        ("orders", "Orders a second", number, {"ended": a_second(lambda moment: moment.orders)}),
        (
            "answers",
            "Time of an answer (logarithmic scale)",
            duration,
            {"median": [moment.median for moment in moments], "95 %": [moment.slow for moment in moments]},
        ),
        (
            "refusals",
            "Refusals and retries a second",
            number,
            {
                "refused": a_second(lambda moment: moment.refused),
                "retried": a_second(lambda moment: moment.retries),
            },
        ),
    ]
    found = (
        # One late answer would flatten all others on a linear scale.
        axis.chart(f"{prefix}-{name}", title, words, values, _logarithmic if name == "answers" else _linear)
        for name, title, words, values in lines
    )
    return [chart for chart in found if chart is not None]


class _Axis:
    """The time, which the charts of a run have in common."""

    def __init__(self, moments: Sequence[Moment], pauses: Sequence[Pause]) -> None:
        self._ends = list(itertools.accumulate(moment.seconds for moment in moments))
        self._moments = moments
        self._whole = self._ends[-1]
        self._pauses = pauses
        starts = [0.0, *self._ends[:-1]]
        self._middles = [self._x((start + end) / 2) for start, end in zip(starts, self._ends, strict=True)]

    def _x(self, seconds: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, seconds / self._whole), 1)

    def chart(
        self, name: str, title: str, words: Words, values: dict[str, list[float | None]], scale: Scale
    ) -> Chart | None:
        """Return the chart of *values* by the labels of their lines; None if there is nothing but zeros."""
        known = {label: ys for label, ys in values.items() if any(y is not None for y in ys)}
        positive = [y for ys in known.values() for y in ys if y]
        if not positive:
            return None
        part_of, ticks = scale(min(positive), max(positive))

        def place(value: float) -> float:
            return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part_of(value), 1)

        lines = [self._line(label, ys, place, words) for label, ys in known.items()]
        bands = [
            Band(self._x(pause.at), max(NARROW, round(self._x(pause.at + pause.seconds) - self._x(pause.at), 1)))
            for pause in self._pauses
        ]
        desc = [f"The time goes from 0 to {duration(self._whole)}.", *(line.words for line in lines)]
        if bands:
            desc.append(f"{len(bands)} {'stretch is' if len(bands) == 1 else 'stretches are'} marked: the load paused.")
        return Chart(
            id=name,
            title=title,
            desc=" ".join(desc),
            lines=_parted(lines),
            bands=bands,
            ticks_x=[(self._x(self._whole * part), duration(self._whole * part)) for part in (0.0, 0.5, 1.0)],
            ticks_y=[(place(tick), words(tick)) for tick in ticks],
        )

    def _line(self, label: str, values: list[float | None], place: Callable[[float], float], words: Words) -> Line:
        points = [None if value is None else (x, place(value)) for x, value in zip(self._middles, values, strict=True)]
        pieces = [list(piece) for gap, piece in itertools.groupby(points, lambda point: point is None) if not gap]
        corners = [[point for point in piece if point is not None] for piece in pieces]
        if len(points) == 1:  # one moment is a level
            corners = [[(float(end), corners[0][0][1]) for end in (LEFT, WIDTH - RIGHT)]]
        elif any(len(piece) == 1 for piece in corners):  # a line needs two ends
            corners = [piece if len(piece) > 1 else [piece[0], (piece[0][0] + 1, piece[0][1])] for piece in corners]
        flat = [point for piece in corners for point in piece]
        every = max(1, len(flat) // MARKERS)
        known = [value for value in values if value is not None]
        return Line(
            label=label,
            segments=[" ".join(f"{x:g},{y:g}" for x, y in piece) for piece in corners],
            markers=flat[every // 2 :: every],
            x=flat[-1][0] + 5,
            y=flat[-1][1],
            words=f"{label}: {words(min(known))} to {words(max(known))}, {words(known[-1])} at the end.",
        )


def _linear(_: float, most: float) -> tuple[Callable[[float], float], list[float]]:
    """Return a scale from 0 up to *most*: the part of its height for a value, and its ticks."""
    step = _step(most)
    top = step * math.ceil(most / step - 1e-9)
    return lambda value: value / top, [step * n for n in range(round(top / step) + 1)]


def _logarithmic(least: float, most: float) -> tuple[Callable[[float], float], list[float]]:
    """Return a scale in the same form; a value of 0 is at its foot.

    It has ticks at 1, 2 and 5 times the powers of ten, or at the powers alone where those are too many.
    """
    least, most = max(least, LEAST), max(most, LEAST)
    powers = range(math.floor(math.log10(least)) - 1, math.ceil(math.log10(most)) + 2)
    steps = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    below = max(n for n, step in enumerate(steps) if step <= least * (1 + NEAR))
    above = min(n for n, step in enumerate(steps) if step >= most * (1 - NEAR) and n > below)
    ticks = steps[below : above + 1]
    if len(ticks) > TICKS:
        ticks = steps[below - below % 3 : above + 1 : 3]
    height = math.log10(steps[above] / ticks[0])
    return lambda value: math.log10(max(value, ticks[0]) / ticks[0]) / height, ticks


def _step(most: float) -> float:
    """Return the distance of the ticks of an axis up to *most*: 1, 2 or 5 times a power of ten."""
    rough = most / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough - 1e-12)


def _parted(lines: list[Line]) -> list[Line]:
    """Return the *lines* with labels that do not lie upon each other."""
    lowest, placed = float(HEIGHT - BOTTOM), dict[str, float]()
    for line in sorted(lines, key=lambda line: -line.y):
        placed[line.label] = lowest = min(line.y, lowest)
        lowest -= APART
    if (over := TOP - min(placed.values())) > 0:
        placed = {label: y + over for label, y in placed.items()}
    return [
        Line(line.label, line.segments, line.markers, line.x, round(placed[line.label], 1), line.words)
        for line in lines
    ]
