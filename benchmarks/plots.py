"""The pictures of the results; the only file here that needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from harness import Point

Axes: TypeAlias = Any  # matplotlib's, which need not be installed
Picture: TypeAlias = Callable[[Axes, Sequence[Point]], None]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#8C8C8C"  # told apart by the colour-blind too
STYLE = {
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "svg.fonttype": "none",  # text stays text, so that the files are small
    "svg.hashsalt": "cdp-orders",  # the same results give the same file
}


def _errors(points: Sequence[Point]) -> list[list[float]]:
    return [[point.y - point.low for point in points], [point.high - point.y for point in points]]


def cost(axes: Axes, points: Sequence[Point]) -> None:
    """Draw what a call costs, a bar for each client."""
    bars = sorted(points, key=lambda point: -point.y)
    names = [bar.series for bar in bars]
    colours = [BLUE if name.startswith("cdp-") else GREY if name.startswith("raw") else ORANGE for name in names]
    axes.barh(names, [bar.y for bar in bars], xerr=_errors(bars), color=colours, ecolor="#333333", capsize=3)
    for n, bar in enumerate(bars):
        axes.annotate(f"{bar.y:,.0f}", (bar.high, n), (7, 0), textcoords="offset points", va="center")
    axes.set(
        title="One create: CPU of the client", xlabel="microseconds of CPU per call, 16 in flight (less is better)"
    )
    axes.set_xlim(0, max(bar.high for bar in bars) * 1.12)
    axes.grid(visible=False, axis="y")
    kinds = {"this package": BLUE, "other SDKs, or httpx by hand": ORANGE, "bytes in, bytes out, nothing else": GREY}
    patch = import_module("matplotlib.patches").Patch
    axes.legend(handles=[patch(color=colour, label=label) for label, colour in kinds.items()], loc="upper right")


def layers(axes: Axes, points: Sequence[Point]) -> None:
    """Draw what each layer of a call adds, below it what raw aiohttp takes."""
    *ours, raw = points
    left = 0.0
    for layer, colour in zip(ours, (GREY, BLUE, GREEN, ORANGE), strict=True):
        axes.barh("typed create", layer.y, left=left, color=colour, label=layer.series)
        axes.annotate(f"{layer.y:.0f}", (left + layer.y / 2, 0), ha="center", va="center", color="white", weight="bold")
        left += layer.y
    axes.barh(raw.series, raw.y, color=GREY)
    axes.annotate(f"{raw.y:.0f}", (raw.y / 2, 1), ha="center", va="center", color="white", weight="bold")
    axes.set(
        title="One create: where the CPU goes", xlabel="microseconds of CPU per call, 16 in flight", ylim=(1.6, -1)
    )
    axes.grid(visible=False, axis="y")
    axes.legend(loc="upper center", ncols=2, frameon=False)


def little(axes: Axes, points: Sequence[Point]) -> None:
    """Draw how close the loader comes to what latency allows."""
    rows = {"raw aiohttp": (GREY, 70), "loader": (BLUE, 64), "loader over httptools": (GREEN, 58)}
    for series, (colour, row) in rows.items():
        some = [point for point in points if point.series == series]
        at = [f"{point.x:g}" for point in some]
        line = {"color": colour, "marker": "o", "capsize": 4, "linewidth": 2, "label": series}
        axes.errorbar(at, [point.y for point in some], _errors(some), **line)
        for name, point in zip(at, some, strict=True):
            label = {"ha": "center", "color": colour}
            axes.annotate(f"{point.y:.0f} %", (name, row), **label)
    mark = {"linestyle": "none", "marker": "_", "markersize": 26, "markeredgewidth": 3}
    axes.plot(["256", "512"], [95, 85], color=ORANGE, label="goal", **mark)
    axes.set(title="Loading orders from a server that takes 100 ms", xlabel="connections", ylim=(0, 112))
    axes.set_ylabel("% of Little's bound (more is better)")
    axes.legend(loc="lower left")


def memory(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the resident memory while a large input is loaded."""
    axes.plot([point.x / 1000 for point in points], [point.y for point in points], color=BLUE, linewidth=2)
    last = points[-1]
    axes.annotate(f"{last.y:.0f} MB", (last.x / 1000, last.y), (0, 8), textcoords="offset points", ha="right")
    axes.set(title="Memory while loading, with journal and outcomes", xlabel="orders loaded, in thousands")
    axes.set(ylabel="resident memory in MB", ylim=(0, max(point.y for point in points) * 1.3))
    axes.set_xlim(0)


def rate(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the rate that the limiter lets through."""
    axes.axhspan(99, 100.5, color=GREEN, alpha=0.15, label="goal")
    for series, colour, marker, aside in (("asyncio", BLUE, "o", 0.93), ("uvloop", ORANGE, "s", 1.07)):
        some = [point for point in points if point.series == series]
        mark = {"color": colour, "marker": marker, "linestyle": "none", "capsize": 4, "markersize": 8}
        axes.errorbar([p.x * aside for p in some], [p.y for p in some], _errors(some), label=series, **mark)
    asked = sorted({point.x for point in points})
    axes.set(xscale="log", xlim=(asked[0] / 2, asked[-1] * 2), ylim=(98, 101.5))
    axes.set_xticks(asked, [f"{one:,.0f}" for one in asked])
    axes.minorticks_off()
    axes.set(title="Rate achieved against rate asked", xlabel="calls per second asked", ylabel="% of it achieved")
    axes.legend(loc="lower right", ncols=3)


def limits(axes: Axes, points: Sequence[Point]) -> None:
    """Draw what is used of each limit, and below the line what is refused."""
    names = list(dict.fromkeys(point.series.split("|")[0] for point in points))
    for n, (way, colour) in enumerate((("auto", BLUE), ("aimd", ORANGE), ("by hand", GREY))):
        for what, sign in (("used", 1), ("refused", -1)):
            some = [point for point in points if point.series.endswith(f"|{way}|{what}")]
            label = {"label": way} if sign > 0 else {"alpha": 0.6}
            axes.bar(
                [p.x + (n - 1) * 0.27 for p in some], [100 * sign * p.y for p in some], 0.27, color=colour, **label
            )
    axes.axhline(0, color="#333333", linewidth=1)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axes.set(title="Limits that nobody documents", ylabel="% of the limit used, below: % refused")
    axes.grid(visible=False, axis="x")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)  # in the axes it would hide a bar


PICTURES: Mapping[str, Picture] = {
    "cost": cost,
    "layers": layers,
    "little": little,
    "limits": limits,
    "memory": memory,
    "rate": rate,
}


def draw(points: Sequence[Point], out: Path, note: str) -> list[str]:
    """Draw every picture that there are *points* for into the folder *out*, with a *note* below; return the names."""
    import_module("matplotlib").use("agg")
    pyplot = import_module("matplotlib.pyplot")
    written: list[str] = []
    with pyplot.rc_context(STYLE):
        for name, picture in PICTURES.items():
            if some := [point for point in points if point.picture == name]:
                figure, axes = pyplot.subplots(figsize=(8, 4.8), layout="constrained")
                picture(axes, some)
                figure.supxlabel(note, fontsize=8, color="#666666")
                text = io.StringIO()
                figure.savefig(text, format="svg", metadata={"Date": None})
                # On one line: nobody reads a picture as text.
                (out / f"{name}.svg").write_text(" ".join(text.getvalue().split()) + "\n", encoding="utf-8")
                pyplot.close(figure)
                written.append(f"{name}.svg")
    return written
