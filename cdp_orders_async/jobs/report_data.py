"""What files of outcomes, and the records of their runs, say of loads: bounded values for a report."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import attrs
import msgspec
from msgspec import Struct

from cdp_orders_async.arguments import need
from cdp_orders_async.errors import InputError, shown
from cdp_orders_async.ingest import Verdict
from cdp_orders_async.jobs.causes import Causes, kind_of
from cdp_orders_async.jobs.events import Event, Message, OnEvent, ignore
from cdp_orders_async.jobs.given import FileName, file_given
from cdp_orders_async.jobs.inputs import STANDARD_INPUT
from cdp_orders_async.jobs.recorded import WholeRecord, read_whole
from cdp_orders_async.jobs.report import NOT_AS_WANTED, Report
from cdp_orders_async.jobs.run_file import RunRecord, read_run, run_path
from cdp_orders_async.redact import sealed
from cdp_orders_async.sources.files import real
from cdp_orders_async.threads import in_thread
from cdp_orders_async.timings import Durations, Timings

__all__ = ["ReportData", "RunData", "Slow", "Stray", "Tally", "report_data", "report_of"]

MOST_SLOW = 20
MOST_STRAYS = 20
MOST_REFS = 5
MOST_FIELDS = 500
"""The most names of fields that are counted one by one; an extension may have any names."""
OTHER_FIELDS = "other fields"
LONGEST_TEXT = 200
MOST_RUNS = 8
"""The ids of other runs that are remembered."""


class Slow(Struct, frozen=True):
    """An order that took long."""

    seconds: float
    place: str
    key: str | None
    verdict: Verdict
    most: str | None
    """The purpose on which most of the time was spent, a name of `Timings`."""


class Stray(Struct, frozen=True):
    """Things on the server that the input no longer has."""

    place: str
    key: str | None
    kind: str
    """The resource, as in ``cdp.items``."""
    refs: tuple[str, ...]
    """The first references."""


class Tally:
    """What outcomes add up to. Its size does not grow with their number."""

    def __init__(self) -> None:
        self.orders = 0
        self.verdicts = Counter[Verdict]()
        self.parts = Counter[str]()
        """Parts by their verdict."""
        self.times = Timings()
        """Where the time of the orders went; the times of parallel calls add up."""
        self.durations = Durations()
        """How long orders took."""
        self.causes = Causes()
        """Why orders are not as wanted; the kept ones are in *differs*."""
        self.differs = Counter[tuple[str, str]]()
        """The parts that differ from the input and were not changed, by their kind and the name of the field."""
        self.leftovers = Counter[str]()
        """The things on the server that the input no longer has, by their kind."""
        self.strays: list[Stray] = []
        """The first of these."""
        self._slowest: list[tuple[float, int, Slow]] = []
        self._pushed = 0

    @property
    def slowest(self) -> list[Slow]:
        """The orders that took longest, the slowest first."""
        return [slow for _, _, slow in sorted(self._slowest, key=lambda entry: (-entry[0], -entry[1]))]

    @property
    def not_as_wanted(self) -> int:
        """Orders that are not on the server as the input says."""
        return sum(self.verdicts[verdict] for verdict in NOT_AS_WANTED)

    def add(self, record: WholeRecord) -> None:
        """Count one outcome."""
        self.orders += 1
        self.verdicts[record.verdict] += 1
        for part in record.parts:
            self.parts[part.verdict] += 1
            for name in part.differs:
                self._count_field(kind_of(part.name), shown(name, LONGEST_TEXT), 1)
        self.times.add(record.times)
        self.durations.add(record.seconds)
        if record.verdict in NOT_AS_WANTED and record.verdict is not Verdict.KEPT:
            self.causes.add(record, place_of(record))
        if record.leftovers:
            self._add_strays(record)
        if len(self._slowest) < MOST_SLOW or record.seconds > self._slowest[0][0]:
            self._push(_slow(record))

    def merge(self, other: Tally) -> None:
        """Add what *other* counted."""
        self.orders += other.orders
        self.verdicts.update(other.verdicts)
        self.parts.update(other.parts)
        self.times.add(other.times)
        self.durations.merge(other.durations)
        self.causes.merge(other.causes)
        for (kind, name), count in other.differs.items():
            self._count_field(kind, name, count)
        self.leftovers.update(other.leftovers)
        self.strays = [*self.strays, *other.strays][:MOST_STRAYS]
        for slow in other.slowest:
            self._push(slow)

    def _push(self, slow: Slow) -> None:
        self._pushed += 1
        entry = (slow.seconds, -self._pushed, slow)  # of equal ones the first stays
        if len(self._slowest) < MOST_SLOW:
            heapq.heappush(self._slowest, entry)
        else:
            heapq.heappushpop(self._slowest, entry)

    def _count_field(self, kind: str, name: str, count: int) -> None:
        known = (kind, name) in self.differs or len(self.differs) < MOST_FIELDS
        self.differs[(kind, name) if known else (kind, OTHER_FIELDS)] += count

    def _add_strays(self, record: WholeRecord) -> None:
        by_kind: dict[str, list[str]] = {}
        for leftover in record.leftovers:
            by_kind.setdefault(shown(leftover.kind, LONGEST_TEXT), []).append(str(leftover.ref))
        for kind, refs in by_kind.items():
            self.leftovers[kind] += len(refs)
            if len(self.strays) < MOST_STRAYS:
                self.strays.append(Stray(place_of(record), _key(record), kind, tuple(refs[:MOST_REFS])))


@attrs.frozen(kw_only=True)
class RunData:
    """One run of a load, from its file of outcomes and the record beside it."""

    outcomes: Path
    """The file of outcomes."""
    record: RunRecord | None
    """The record of the run; None where there is none."""
    tally: Tally
    from_file: bool = True
    """Whether each order has the name of a file that can be read again."""
    notes: tuple[str, ...] = ()
    """Why the report may not be complete, in sentences."""


@attrs.frozen
class ReportData:
    """What a report shows."""

    runs: tuple[RunData, ...]
    total: Tally
    """The sum of the runs. An order that several runs loaded counts several times."""

    @property
    def requests(self) -> int:
        """The requests of all runs that have a record."""
        return sum(run.record.requests for run in self.runs if run.record is not None)

    @property
    def seconds(self) -> float:
        """The time of all runs that have a record."""
        return sum(run.record.seconds or 0.0 for run in self.runs if run.record is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the report may not be complete, in sentences."""
        return tuple(note for run in self.runs for note in run.notes)


@sealed
async def report_data(outcomes: Iterable[str | os.PathLike[str]], *, on_event: OnEvent = ignore) -> ReportData:
    """Read files of *outcomes*, and the record of the run beside each, and return what a report shows.

    The memory does not grow with the number of orders. A last line that a crash has cut, a record that is missing, and
    a record that does not fit the lines are `notes` of the data, which are told to *on_event* too.

    Raises `InputError` for a file that cannot be read, that has no outcome, or that holds something else; for a file
    that is named twice; and for runs on several servers or tenants, which one report cannot show.
    """
    need(outcomes, Iterable, "outcomes", "names of files")
    paths = [outcomes] if isinstance(outcomes, (str, os.PathLike)) else list(outcomes)
    if not paths:
        raise InputError("no file of outcomes is named: name the file that cdp-orders load --outcomes wrote")
    data = await in_thread(lambda: _read([Path(path) for path in paths]))
    for note in data.notes:
        on_event(Message(note))
    return data


@sealed
async def report_of(report: Report, outcomes: FileName, *, on_event: OnEvent = ignore) -> ReportData:
    """Return what a report shows of the load with this *report*, whose file of *outcomes* was just written.

    A load without an outcome has written no file: then the data has its record alone. Raises what `report_data` does.
    """
    need(report, Report, "report")
    path = file_given(outcomes, "outcomes")
    record = await in_thread(lambda: read_run(run_path(path)))
    if isinstance(record, RunRecord) and report.run is not None and record.run == report.run.id:
        return await report_data([path], on_event=on_event)
    own = msgspec.convert(report.record, RunRecord)
    notes = () if not report.counts else (f"{path} could not be written: the outcomes of this run are lost",)
    run = RunData(outcomes=path, record=own, tally=Tally(), notes=notes)
    return ReportData((run,), run.tally)


def place_of(record: WholeRecord) -> str:
    """Say where an order is in the input."""
    where = f"{'position' if record.file is None else record.file}{' ' if record.file is None else ':'}{record.number}"
    return shown(where, LONGEST_TEXT)


def _key(record: WholeRecord) -> str | None:
    return None if record.key is None else shown(record.key, LONGEST_TEXT)


def _slow(record: WholeRecord) -> Slow:
    spent: dict[str, float] = msgspec.structs.asdict(record.times)
    most = max(spent, key=lambda name: spent[name])
    return Slow(record.seconds, place_of(record), _key(record), record.verdict, most if spent[most] > 0 else None)


def _read(paths: list[Path]) -> ReportData:
    seen: dict[Path, Path] = {}
    for path in paths:
        if (other := seen.setdefault(real(path), path)) is not path:
            raise InputError(f"{path} is named twice{'' if other == path else f', also as {other}'}: name it once")
    runs: list[RunData] = []
    for path in paths:
        runs.append(_run(path))
        _check_same_server(runs[0], runs[-1])
    total = Tally() if len(runs) > 1 else runs[0].tally
    if len(runs) > 1:
        for run in runs:
            total.merge(run.tally)
    return ReportData(tuple(runs), total)


def _check_same_server(first: RunData, other: RunData) -> None:
    if first.record is None or other.record is None or first.record.server == other.record.server:
        return
    told = "; ".join(
        f"{run.outcomes} is of {run.record.server_words}" for run in (first, other) if run.record is not None
    )
    raise InputError(f"the runs are of different tenants: {told}; make a report of each")


def _run(path: Path) -> RunData:
    """Read one file of outcomes and the record beside it."""
    notes: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Message):
            notes.append(event.text)

    tally, ids, from_file = Tally(), dict[str | None, None](), True
    for record in read_whole(path, hear):
        tally.add(record)
        from_file = from_file and record.file not in {None, STANDARD_INPUT}
        if record.run not in ids and len(ids) < MOST_RUNS:
            ids[record.run] = None
    if not tally.orders:
        cut = f" ({notes[0]})" if notes else ""
        what = "name the file that cdp-orders load --outcomes wrote"
        raise InputError(f"{path} holds no outcome, so there is nothing to report{cut}: {what}")
    found = read_run(run_path(path))
    run = found if isinstance(found, RunRecord) else None
    if isinstance(found, str):
        notes.append(f"{found}: the report of {path} has no course over time and no options")
    elif found.run not in ids:
        notes.append(f"{run_path(path)} is the record of another run than {path}, so it is left out")
        run = None
    if len(ids) > 1:
        notes.append(f"{path} holds the outcomes of several runs: they are shown as one")
    elif run is not None:
        notes.extend(_caveats(path, run, tally))
    return RunData(outcomes=path, record=run, tally=tally, from_file=from_file, notes=tuple(notes))


def _caveats(path: Path, run: RunRecord, tally: Tally) -> Iterable[str]:
    if run.ended is None:
        yield f"the record of {path} was not completed: the load still runs, or was killed"
    elif (counted := sum(run.counts.values())) != tally.orders:
        yield f"{path} has {tally.orders:,} outcomes, but its load counted {counted:,}: some are missing or added"
