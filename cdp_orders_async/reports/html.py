"""A report as one HTML file: it needs no network and no script."""

from __future__ import annotations

import contextlib
import importlib.resources
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cdp_orders_async.errors import InputError
from cdp_orders_async.jobs import NOT_AS_WANTED, ReportData
from cdp_orders_async.jobs.owned_file import check, create, put_aside, unwritable, write_all
from cdp_orders_async.jobs.report_data import Tally
from cdp_orders_async.redact import printable
from cdp_orders_async.reports import words
from cdp_orders_async.reports.charts import allowed_of, charts_of, coarser
from cdp_orders_async.reports.commands import commands_of, folder_of
from cdp_orders_async.version import VERSION

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["check_report", "to_html", "write_html"]

WHAT = "report"
START = b'<!doctype html>\n<html lang="en" data-made-by="cdp-orders report">'
"""How every report begins, and nothing else."""
EXISTING = {
    "keep": "keep: other values on the server stay",
    "update": "update: other values on the server are changed to those of the input",
    "fail": "fail: an order with other values on the server is a conflict",
}
"""What a load does with something that is there but differs, by ``--on-existing``."""
MOST_MOMENTS = 100
"""The moments of a chart: a line with more of them is hard to read."""
ROWS = 20
"""The rows of the table of a course."""
MOST_RUNS = 20
"""The runs that are shown one by one."""


def check_report(path: Path) -> None:
    """Raise `InputError` unless a report can be made and written to *path*, where only an earlier report may be."""
    _environment()
    _holds_report(path)


def to_html(data: ReportData) -> str:
    """Return the report of *data* as the text of an HTML page; raises `InputError` where jinja2 is missing."""
    page = _environment().get_template("report.html.jinja")
    text = page.render(
        data=data,
        shown=data.runs[:MOST_RUNS],
        most=MOST_MOMENTS,
        rows=ROWS,
        version=VERSION,
        style=_template("report.css"),
        not_as_wanted=NOT_AS_WANTED,
        verdicts=words.VERDICTS,
        purposes=words.PURPOSES,
        existing=EXISTING,
        share=words.share,
        allowed_of=allowed_of,
        charts_of=charts_of,
        coarser=coarser,
        commands_of=commands_of,
        folder_of=folder_of,
        options_in=words.options_in,
        times_of=_times_of,
        strays_of=_strays_of,
    )
    return f"{text.strip()}\n"


def write_html(data: ReportData, path: str | os.PathLike[str]) -> None:
    """Write the report of *data* to *path*, readable by its owner only, whole or not at all.

    An earlier report is put aside, as ``PATH.1`` or the first such name that is free. Raises `InputError` where it
    cannot be written, and for a file that holds something else.
    """
    text, target = to_html(data).encode("utf-8", "backslashreplace"), Path(path)
    has_earlier = _holds_report(target)
    new: str | None = None
    try:
        if target.is_char_device():
            _fill(create(target, WHAT), text)
            return
        number, new = tempfile.mkstemp(prefix=".cdp-orders-report-", dir=target.parent)  # readable by its owner only
        _fill(number, text)
        if has_earlier:
            put_aside(target)
        Path(new).replace(target)
        new = None
    except OSError as error:
        raise unwritable(target, WHAT, error.strerror) from error
    finally:
        if new is not None:
            with contextlib.suppress(OSError):
                Path(new).unlink()


def _fill(number: int, data: bytes) -> None:
    try:
        write_all(number, data)
    finally:
        os.close(number)


def _holds_report(path: Path) -> bool:
    """Tell whether *path* holds a report; raise `InputError` for a file of something else."""
    if not check(path, WHAT):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(len(START))
    except OSError as error:
        raise unwritable(path, WHAT, error.strerror) from error
    if start != START:
        raise unwritable(path, WHAT, "it holds something else, name another file")
    return True


def _times_of(tally: Tally) -> list[tuple[float, str]]:
    """Return the seconds by their purpose, the most first."""
    spent: dict[str, float] = msgspec.structs.asdict(tally.times)
    return sorted(((seconds, purpose) for purpose, seconds in spent.items() if seconds > 0), reverse=True)


def _strays_of(tally: Tally) -> int:
    """Return how many of the things that only the server has are named."""
    return sum(len(stray.refs) for stray in tally.strays)


def _template(name: str) -> str:
    return (importlib.resources.files("cdp_orders_async.reports") / "templates" / name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    """Return a text without what a browser may obey, such as marks of direction; anything else as it is."""
    return printable(value) if type(value) is str else value


def _environment() -> Environment:
    try:
        # It is an extra, so it may be missing.
        from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415
    except ImportError:
        raise InputError("the report needs an extra: pip install 'cdp-orders-async[cli]'") from None
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        {
            "number": words.number,
            "figure": words.figure,
            "duration": words.duration,
            "when": words.when,
            "megabytes": words.megabytes,
            "rate": words.rate,
        }
    )
    return environment
